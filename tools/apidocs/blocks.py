"""The generated parts of the prose pages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from apidocs import reference
from roomtape.access.policies import PRESETS, STAR_ONLY
from roomtape.api import signing
from roomtape.api.dispatch import ACTIONS, PLANNED, RETIRED
from roomtape.api.openapi import GROUPS, described, group
from roomtape.contract.codes import COMMON, LISTED
from roomtape.contract.explanations import explain
from roomtape.contract.regions import REGIONS

ROOT = Path(__file__).resolve().parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "signatures.json").read_text())
SIGNED = ("content-type", "host")


class VectorBroken(Exception):
    """The code does not sign as the recorded example says."""


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, ["---"] * len(names), *rows])


def fence(kind: str, text: str) -> str:
    return f"```{kind}\n{text}\n```"


# --- signatures ---------------------------------------------------------------------------------------


def tc3_examples() -> str:
    return "\n\n".join(_tc3(vector) for vector in VECTORS["tc3"])


def _tc3(vector: Mapping[str, Any]) -> str:
    timestamp = str(VECTORS["timestamp"])
    headers = {"host": vector["host"], "content-type": vector["content_type"], **vector["headers"]}
    request = signing.Tc3Request(
        vector["method"], "/", vector["query"].encode(), headers, vector["body"].encode(), timestamp
    )
    date = signing.utc_date(VECTORS["timestamp"])
    authorization = signing.Authorization(VECTORS["secret_id"], date, "trtc", SIGNED, "")
    canonical = signing.canonical_request(
        request, SIGNED, signing.payload_hash(request), path="/", host=vector["host"], lower=True
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = signing.tc3_key(VECTORS["secret_key"], date, "trtc")
    signature = signing.tc3_signature(key, authorization, timestamp, canonical)
    if (hashed, signature) != (vector["canonical_sha256"], vector["signature"]):
        raise VectorBroken(vector["name"])
    scope = f"{date}/trtc/tc3_request"
    sent = "".join(f"{name}: {value}\n" for name, value in vector["headers"].items())
    target = f"/?{vector['query']}" if vector["query"] else "/"
    return "\n\n".join(
        (
            f"### {vector['title']} ({vector['name']})",
            fence(
                "http",
                f"{vector['method']} {target} HTTP/1.1\nHost: {vector['host']}\n"
                f"Content-Type: {vector['content_type']}\n"
                f"X-TC-Timestamp: {timestamp}\n{sent}\n{vector['body']}".rstrip(),
            ),
            "Canonical request:",
            fence("text", canonical),
            "String to sign:",
            fence("text", f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{hashed}"),
            "Authorization:",
            fence(
                "text",
                f"TC3-HMAC-SHA256 Credential={VECTORS['secret_id']}/{scope}, "
                f"SignedHeaders={';'.join(SIGNED)}, Signature={signature}",
            ),
        )
    )


def tc3_shell() -> str:
    """TC3-1 by openssl: a test runs it."""
    vector = VECTORS["tc3"][0]
    return "\n\n".join(
        (fence("sh", TC3_SHELL.format(body=vector["body"], **VECTORS)), fence("text", vector["signature"]))
    )


TC3_SHELL = """\
sha256() {{ openssl dgst -sha256 -r | cut -d ' ' -f 1; }}
hmac() {{ openssl dgst -sha256 -mac HMAC -macopt "$1" -r | cut -d ' ' -f 1; }}

hashed=$(printf %s '{body}' | sha256)
headers='content-type:application/json\\nhost:trtc.example.test\\n'
canonical=$(printf "POST\\n/\\n\\n$headers\\ncontent-type;host\\n%s" "$hashed")
key=$(printf 2025-01-01 | hmac 'key:TC3{secret_key}')
key=$(printf trtc | hmac "hexkey:$key")
key=$(printf tc3_request | hmac "hexkey:$key")
hashed=$(printf %s "$canonical" | sha256)
printf 'TC3-HMAC-SHA256\\n{timestamp}\\n2025-01-01/trtc/tc3_request\\n%s' "$hashed" | hmac "hexkey:$key\""""


def v1_examples() -> str:
    return "\n\n".join(_v1(vector) for vector in VECTORS["v1"])


def _v1(vector: Mapping[str, Any]) -> str:
    parameters = dict(parse_qsl(vector["parameters"], keep_blank_values=True))
    text = signing.v1_string(vector["method"], vector["host"], "/", parameters)
    signature = signing.v1_signature(VECTORS["secret_key"], text, parameters["SignatureMethod"])
    if signature != vector["signature"]:
        raise VectorBroken(vector["name"])
    digest = "sha256" if parameters["SignatureMethod"] == "HmacSHA256" else "sha1"
    shell = f"printf %s '{text}' |\n  openssl dgst -{digest} -hmac {VECTORS['secret_key']} -binary | base64"
    return "\n\n".join(
        (
            f"### {vector['title']} ({vector['name']})",
            "What is signed:",
            fence("text", text),
            "Signature:",
            fence("sh", shell),
            fence("text", signature),
        )
    )


# --- tables -------------------------------------------------------------------------------------------


def common_codes() -> str:
    return grid(("Code", "Meaning"), ((f"`{code}`", str(explain(code))) for code in sorted(COMMON)))


def action_codes() -> str:
    """Every other code, with the actions that list it."""
    users: dict[str, list[str]] = {}
    for action, listed in sorted(LISTED.items()):
        for code in listed - COMMON:
            users.setdefault(code, []).append(action)
    return grid(
        ("Code", "Meaning", "Actions"),
        (
            (f"`{code}`", str(explain(code)), ", ".join(_link(name) for name in users[code]))
            for code in sorted(users)
        ),
    )


def _link(name: str) -> str:
    return f"[{name}](actions/{name}.md)"


def action_index() -> str:
    parts = []
    for title in GROUPS.values():
        rows = [
            (_link(name), "works" if name in ACTIONS else f"not built: {PLANNED[name].reason}")
            for name, row in sorted(described().items())
            if group(row) == title
        ]
        parts += [f"### {title}", grid(("Action", "State"), rows)]
    return "\n\n".join(parts)


def regions() -> str:
    rows: dict[tuple[str, ...], list[str]] = {}
    for action, accepted in REGIONS.items():
        rows.setdefault(accepted, []).append(action)
    return grid(
        ("Regions", "Actions"),
        ((", ".join(f"`{r}`" for r in accepted), ", ".join(names)) for accepted, names in rows.items()),
    )


def retired() -> str:
    return ", ".join(f"`{name}`" for name in sorted(RETIRED)) + "."


def resource_actions() -> str:
    names = sorted(name for name in described() if name not in STAR_ONLY)
    return grid(
        ("Action", "In a policy", "Resource"),
        (
            (_link(name), f"`name/trtc:{name}`", "`qcs::trtc::uin/${uin}:sdkappid/${SdkAppId}`")
            for name in names
        ),
    )


def star_actions() -> str:
    return grid(
        ("Action", "In a policy", "Resource"),
        (
            (_link(name) if name in described() else name, f"`name/trtc:{name}`", "`*`")
            for name in sorted(STAR_ONLY)
        ),
    )


def presets() -> str:
    return "\n\n".join(
        f"### {name}\n\n{fence('json', json.dumps(document, indent=2))}" for name, document in PRESETS.items()
    )


def history() -> str:
    """CHANGELOG.md below its title, one heading level down."""
    text = (ROOT / "CHANGELOG.md").read_text()
    return re.sub(r"^(#+) ", r"\1 ", text.partition("\n")[2].strip(), flags=re.MULTILINE)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "tc3_examples": tc3_examples,
    "tc3_shell": tc3_shell,
    "v1_examples": v1_examples,
    "common_codes": common_codes,
    "action_codes": action_codes,
    "action_index": action_index,
    "regions": regions,
    "retired": retired,
    "structures": reference.structures,
    "resource_actions": resource_actions,
    "star_actions": star_actions,
    "presets": presets,
    "history": history,
}
