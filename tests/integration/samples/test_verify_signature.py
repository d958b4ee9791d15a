"""The samples for receivers of callbacks accept what the vectors sign, and nothing else (docs/vectors.md, S1 to S4)."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roomtape.callbacks.signing import is_signed
from roomtape.secret import Secret
from tests.support.stack import REPO

SAMPLES = REPO / "docs" / "samples" / "verify-signature"
VECTORS = json.loads((REPO / "tests" / "golden" / "callback_signatures.json").read_text())["vectors"]
PAGE = (SAMPLES / "README.md").read_text()
COMMANDS = {
    language: command.removesuffix(" KEY SIGN < body").split()
    for language, command in re.findall(r"^\| (\w+) \| `(.+)` \|$", PAGE, re.MULTILINE)
}


@pytest.fixture(scope="module", params=COMMANDS)
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The page's command; Go and Java are compiled once, as a receiver would be."""
    folder: Path = tmp_path_factory.mktemp("samples")
    if request.param == "Go":
        subprocess.run(["go", "build", "-o", str(folder / "verify"), "verify.go"], cwd=SAMPLES, check=True)
        return [str(folder / "verify")]
    if request.param == "Java":
        subprocess.run(["javac", "-d", str(folder), "Verify.java"], cwd=SAMPLES, check=True)
        return ["java", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "Verify"]
    return COMMANDS[request.param]


def run(command: list[str], key: str, sign: str, body: bytes) -> tuple[int, str]:
    done = subprocess.run([*command, key, sign], cwd=SAMPLES, input=body, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_the_page_names_the_five_languages() -> None:
    assert list(COMMANDS) == ["Python", "Go", "Node", "Java", "PHP"]
    assert {path.name for path in SAMPLES.iterdir()} == {"README.md"} | {part[-1] for part in COMMANDS.values()}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_good_signature_is_accepted(command: list[str], vector: dict[str, Any]) -> None:
    body = vector["body"].encode()
    assert len(body) == vector["length"]
    assert is_signed(Secret(vector["key"]), body, vector["sign"]), "the server itself signs so"
    assert run(command, vector["key"], vector["sign"], body) == (0, "good\n")


def test_what_is_changed_is_refused(command: list[str]) -> None:
    key, sign, body = VECTORS[0]["key"], VECTORS[0]["sign"], VECTORS[0]["body"].encode()
    for given in ((key, sign, body + b"\n"), (key + "x", sign, body), (key, sign[:-2] + "A=", body), (key, "房", body), (key, "", body)):
        assert run(command, *given) == (1, "bad\n")


@pytest.mark.parametrize("language", ["Go", "Java"])
def test_the_command_of_the_page_runs_the_source(language: str) -> None:
    vector = VECTORS[1]
    assert run(COMMANDS[language], vector["key"], vector["sign"], vector["body"].encode())[0] == 0


def test_the_example_of_the_page_is_a_vector() -> None:
    assert VECTORS[0]["body"] in PAGE
    assert VECTORS[0]["sign"] in PAGE
    assert VECTORS[0]["key"] in PAGE
