"""Request signatures: TC3-HMAC-SHA256 and the older HmacSHA1 / HmacSHA256.

Only bytes in, a verdict out: no clock, no key store. Clients differ in what they sign (which host text,
which header case, which service name), so a signature is compared with an ordered list of candidates.
Source: API docs > Signature v3 and > Signature, and what the official SDKs send, read 2026-11.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from roomtape._core import header_texts as header_texts
from roomtape._core import tc3_fits

ALGORITHM = "TC3-HMAC-SHA256"
TERMINATOR = "tc3_request"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_REGIONS = (
    *("ap-guangzhou", "ap-shanghai", "ap-nanjing", "ap-beijing", "ap-chengdu", "ap-chongqing"),
    *("ap-hongkong", "ap-singapore", "ap-bangkok", "ap-jakarta", "ap-mumbai", "ap-seoul", "ap-tokyo"),
    *("na-ashburn", "na-siliconvalley", "sa-saopaulo", "eu-frankfurt"),
)
OFFICIAL_HOSTS = (
    "trtc.tencentcloudapi.com",
    "trtc.intl.tencentcloudapi.com",
    *(f"trtc.{region}.tencentcloudapi.com" for region in _REGIONS),
)


class BadAuthorization(Exception):
    """The Authorization header cannot be read; the text says what is wrong with it."""


class SignedHeaderAbsent(Exception):
    """The signature covers a header the request does not have."""


class Authorization(msgspec.Struct):
    """What a TC3 Authorization header says. `signed_headers` is the client's own list, in its order."""

    secret_id: str
    date: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


class Tc3Request(msgspec.Struct):
    """What a TC3 signature covers. `headers` by lower-case name; `query` is the raw bytes after `?`."""

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    body: bytes
    timestamp: str


_FIELDS = re.compile(r"([A-Za-z]+)=(.*)", re.DOTALL)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_SIGNATURE_LENGTH = 64
_SAMPLE = "0" * _SIGNATURE_LENGTH
_MAX_PREFIX = 512  # of an Authorization header whose reading is kept
_MAX_KNOWN, _MAX_KNOWN_TEXT = 256, 255  # hosts whose texts are kept, and how long these are together


def parse_authorization(value: str) -> Authorization:
    """Read a TC3 Authorization header. Raises BadAuthorization.

    All but the signature at its end is the same in every request of a key on one day, and is read once.
    """
    prefix, signature = value[:-_SIGNATURE_LENGTH], value[-_SIGNATURE_LENGTH:]
    if (
        prefix.endswith("Signature=")
        and len(prefix) <= _MAX_PREFIX
        and _SIGNATURE.fullmatch(signature) is not None
    ):
        secret_id, date, service, names = _parse_prefix(prefix)
        return Authorization(secret_id, date, service, names, signature)
    return _parse(value)


@functools.lru_cache(maxsize=4096)
def _parse_prefix(prefix: str) -> tuple[str, str, str, tuple[str, ...]]:
    """What stands before a signature. Raises BadAuthorization, which is not kept."""
    read = _parse(prefix + _SAMPLE)
    return read.secret_id, read.date, read.service, read.signed_headers


def _parse(value: str) -> Authorization:
    algorithm, space, rest = value.partition(" ")
    if algorithm != ALGORITHM or not space:
        raise BadAuthorization(f"the algorithm must be {ALGORITHM}")
    if rest.startswith(" "):
        raise BadAuthorization("one space must follow the algorithm")
    fields: dict[str, str] = {}
    for piece in rest.split(","):
        match = _FIELDS.fullmatch(piece.strip(" "))
        if match is None or match[1] in fields:
            raise BadAuthorization("three fields name=value, split by commas, must follow the algorithm")
        fields[match[1]] = match[2]
    if fields.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise BadAuthorization("the fields must be Credential, SignedHeaders and Signature")
    scope = fields["Credential"].split("/")
    if len(scope) != 4 or scope[3] != TERMINATOR:
        raise BadAuthorization(f"Credential must be SecretId/Date/service/{TERMINATOR}")
    secret_id, date, service, _ = scope
    if not secret_id or not service or _DATE.fullmatch(date) is None:
        raise BadAuthorization(f"Credential must be SecretId/Date/service/{TERMINATOR}")
    names = tuple(fields["SignedHeaders"].split(";"))
    if not {"content-type", "host"} <= set(names):
        raise BadAuthorization("SignedHeaders must hold content-type and host")
    if _SIGNATURE.fullmatch(fields["Signature"]) is None:
        raise BadAuthorization("Signature must be 64 lower-case hexadecimal digits")
    return Authorization(secret_id, date, service, names, fields["Signature"])


@functools.lru_cache(maxsize=16)
def utc_date(timestamp: int) -> str:
    """The date of a Unix time, as a credential scope writes it. Raises ValueError far outside our times."""
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    except (OverflowError, OSError) as error:
        raise ValueError("no such date") from error


@functools.lru_cache(maxsize=256)
def tc3_key(secret_key: str, date: str, service: str) -> bytes:
    """The derived key k3 of a day and service; the same for all requests of a key on one day."""
    key = _hmac(("TC3" + secret_key).encode(), date)
    return _hmac(_hmac(key, service), TERMINATOR)


def payload(request: Tc3Request) -> bytes:
    """What is hashed: the body, nothing for GET, the mark for an unsigned body."""
    if request.headers.get("x-tc-content-sha256") == UNSIGNED_PAYLOAD:
        return UNSIGNED_PAYLOAD.encode()
    return b"" if request.method == "GET" else request.body


def payload_hash(request: Tc3Request) -> str:
    """Lower-case hex of the hash of `payload`."""
    return hashlib.sha256(payload(request)).hexdigest()


def canonical_request(
    request: Tc3Request, signed: Sequence[str], hashed: str, *, path: str, host: str, lower: bool
) -> str:
    """The canonical request with one choice of path, host text and header value case."""
    lines = ""
    for name in signed:
        value = host if name == "host" else request.headers.get(name)
        if value is None:
            raise SignedHeaderAbsent(name)
        value = value.strip(" \t")
        lines += f"{name}:{value.lower() if lower else value}\n"
    # Signed as received: clients order and encode their queries each in their own way.
    query = request.query.decode("latin-1") if request.method == "GET" else ""
    return f"{request.method}\n{path}\n{query}\n{lines}\n{';'.join(signed)}\n{hashed}"


def tc3_signature(key: bytes, authorization: Authorization, timestamp: str, canonical: str) -> str:
    """Lower-case hex of the signature over one canonical request."""
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    scope = f"{authorization.date}/{authorization.service}/{TERMINATOR}"
    return _hmac(key, f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}").hex()


def verify_tc3(
    request: Tc3Request, authorization: Authorization, secret_key: str, hosts: tuple[str, ...]
) -> bool:
    """Whether the signature fits, trying each host text, both paths and both header value cases.

    One call of the core, because a wrong signature costs all of these: per text, what `canonical_request` and
    `tc3_signature` give. Raises SignedHeaderAbsent.
    """
    fits = tc3_fits(
        tc3_key(secret_key, authorization.date, authorization.service),
        authorization.signature,
        f"{ALGORITHM}\n{request.timestamp}\n{authorization.date}/{authorization.service}/{TERMINATOR}\n",
        request.method,
        request.path,
        request.query if request.method == "GET" else b"",
        request.headers,
        authorization.signed_headers,
        payload(request),
        hosts,
    )
    if fits is None:
        raise SignedHeaderAbsent
    return fits


def v1_string(method: str, host: str, path: str, parameters: Mapping[str, str]) -> str:
    """What a v1 signature covers: decoded parameters, sorted by name, joined without escaping."""
    return f"{method}{host}{path}?{_v1_joined(parameters)}"


def _v1_joined(parameters: Mapping[str, str]) -> str:
    return "&".join([f"{name}={parameters[name]}" for name in sorted(parameters) if name != "Signature"])


def v1_signature(secret_key: str, text: str, method: str | None) -> str:
    """Base64 of the MAC; `method` "HmacSHA256" selects SHA-256, anything else (or None) SHA-1."""
    mac = hmac.digest(secret_key.encode(), text.encode("utf-8", "surrogateescape"), _v1_digest(method))
    return base64.b64encode(mac).decode()


def _v1_digest(method: str | None) -> str:
    return "sha256" if method == "HmacSHA256" else "sha1"


def verify_v1(
    method: str, path: str, parameters: Mapping[str, str], secret_key: str, hosts: Iterable[str]
) -> bool:
    """Whether the `Signature` among the decoded parameters fits, trying each host text and path."""
    signature = parameters.get("Signature", "").encode()
    digest = _v1_digest(parameters.get("SignatureMethod"))
    paths = ("/",) if path == "/" else (path, "/")
    key = secret_key.encode()
    # A form may have 1 MB, and is tried some forty times when nothing fits: written out and encoded once.
    endings = [_v1_joined(named).encode("utf-8", "surrogateescape") for named in _v1_names(parameters)]
    for host in hosts:
        for candidate in paths:
            for ending in endings:
                beginning = f"{method}{host}{candidate}?".encode("utf-8", "surrogateescape")
                mac = hmac.new(key, beginning, digest)
                mac.update(ending)
                if hmac.compare_digest(base64.b64encode(mac.digest()), signature):
                    return True
    return False


def host_candidates(host: str, forwarded: str | None, aliases: Iterable[str]) -> tuple[str, ...]:
    """Host texts a client may have signed, most likely first, without repeats; nearly always the first fits.

    Some clients drop the port, some put a whole URL into the Host header, some sign the name they were
    configured with behind a gateway. `forwarded` is X-Forwarded-Host when a trusted proxy set it.
    """
    candidates = [host]
    for text in (host, *([forwarded] if forwarded else [])):
        lower = text.lower()
        bare = re.sub(r"^https?://", "", lower)
        candidates += [text, lower, bare, _without_port(bare)]
    return tuple(dict.fromkeys((*candidates, *aliases)))


class HostTexts:
    """`host_candidates` with a server's aliases and the official names, remembered: most name one host."""

    def __init__(self, aliases: Sequence[str]) -> None:
        self.aliases = aliases
        self._known: dict[tuple[str, str | None], tuple[str, ...]] = {}

    def of(self, host: str, forwarded: str | None) -> tuple[str, ...]:
        """The texts of a Host header and of an X-Forwarded-Host that counts."""
        texts = self._known.get((host, forwarded))
        if texts is None:
            texts = host_candidates(host, forwarded, (*self.aliases, *OFFICIAL_HOSTS))
            if len(host) + len(forwarded or "") <= _MAX_KNOWN_TEXT:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[host, forwarded] = texts
        return texts


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host)


def _v1_names(parameters: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The parameters, and once more with `_` as `.` in names: two of the SDKs sign it so."""
    yield parameters
    if any("_" in name for name in parameters):
        yield {name.replace("_", "."): value for name, value in parameters.items()}


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), "sha256")
