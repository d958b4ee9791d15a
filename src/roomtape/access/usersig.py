"""UserSig: the ticket that proves a user's right to use an application (TLS 2.0, HMAC-SHA256).

Pure functions: the time and the keys are arguments.
Source: the official libraries tls-sig-api-v2 (Python, Go), whose tickets verify here and the reverse.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from roomtape.access.errors import BadUserSig

MAX_TICKET_BYTES = 8 * 1024
MAX_CONTENT_BYTES = 64 * 1024
DEFAULT_EXPIRE_S = 15_552_000  # 180 days, as the official library

# What a client is told by number (-70xxx) when a check fails.
EMPTY, NOT_BASE64, NOT_ZLIB, NOT_JSON = -70002, -70003, -70004, -70005
WRONG_KEY, WRONG_USER, WRONG_APP, UNKNOWN_APP, EXPIRED, HAS_USERBUF = (
    -70009,
    -70013,
    -70014,
    -70020,
    -70001,
    -70052,
)

_TO_TICKET = bytes.maketrans(b"+/=", b"*-_")  # not RFC 4648's base64url
_FROM_TICKET = bytes.maketrans(b"*-_", b"+/=")


@dataclass(frozen=True, slots=True)
class Content:
    """What a ticket says, its signature not yet checked. `userbuf` is the Base64 text as signed."""

    user: str
    sdk_app_id: int
    time_s: int  # Unix seconds
    expire_s: int  # seconds from `time_s`
    userbuf: str | None
    signature: str

    @property
    def expires_at_s(self) -> int:
        """The last second in which the ticket is valid."""
        return self.time_s + self.expire_s


def issue(
    key: str,
    sdk_app_id: int,
    user: str,
    *,
    time_s: int,
    expire_s: int = DEFAULT_EXPIRE_S,
    userbuf: bytes | None = None,
) -> str:
    """A ticket for one user. `key` is the application's secret, used as text, never hex-decoded."""
    encoded = None if userbuf is None else base64.b64encode(userbuf).decode()
    content: dict[str, object] = {
        "TLS.ver": "2.0",
        "TLS.identifier": user,
        "TLS.sdkappid": sdk_app_id,
        "TLS.expire": expire_s,
        "TLS.time": time_s,
    }
    if encoded is not None:
        content["TLS.userbuf"] = encoded
    content["TLS.sig"] = sign(key, user, sdk_app_id, time_s, expire_s, encoded)
    packed = zlib.compress(json.dumps(content).encode())
    return base64.b64encode(packed).translate(_TO_TICKET).decode()


def sign(key: str, user: str, sdk_app_id: int, time_s: int, expire_s: int, userbuf: str | None) -> str:
    """Base64 of the MAC over the content lines; `userbuf` is its Base64 text."""
    lines = (
        f"TLS.identifier:{user}\nTLS.sdkappid:{sdk_app_id}\nTLS.time:{time_s}\nTLS.expire:{expire_s}\n"
        + (f"TLS.userbuf:{userbuf}\n" if userbuf is not None else "")
    )
    mac = hmac.new(key.encode(), lines.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def parse(ticket: str) -> Content:
    """Unpack a ticket. Raises BadUserSig for one that is empty, too long or not made like one."""
    if not ticket or len(ticket) > MAX_TICKET_BYTES:
        raise BadUserSig(EMPTY, "it is empty or too long")
    if set("+/=") & set(ticket):
        raise BadUserSig(NOT_BASE64, "it is not in the alphabet of a UserSig")
    try:
        packed = base64.b64decode(ticket.encode("ascii").translate(_FROM_TICKET), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise BadUserSig(NOT_BASE64, "it is not in the alphabet of a UserSig") from None
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(packed, MAX_CONTENT_BYTES)
    except zlib.error:
        raise BadUserSig(NOT_ZLIB, "its compression is broken") from None
    if not inflate.eof or inflate.unused_data:
        raise BadUserSig(NOT_ZLIB, "its compression is broken, or it is too large")
    try:
        return _content(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadUserSig(NOT_JSON, "its content does not read as TLS 2.0") from None


def verify(
    ticket: str, keys: Sequence[str], sdk_app_id: int, user: str, *, now_s: int, userbuf: bool = False
) -> Content:
    """Check a ticket of this application and user against any of its keys; returns what it says.

    With `userbuf` the ticket must carry a permission block (a PrivateMapKey), without it must not.
    Raises BadUserSig with the native code of the first check that fails.
    """
    content = parse(ticket)
    if content.sdk_app_id != sdk_app_id:
        raise BadUserSig(WRONG_APP, "it is for another SdkAppId")
    if content.user != user:
        raise BadUserSig(WRONG_USER, "it is for another UserId")
    if not _signed_by_any(content, keys):
        raise BadUserSig(WRONG_KEY, "it was signed with another key")
    if now_s > content.expires_at_s:
        raise BadUserSig(EXPIRED, "it has expired")
    if (content.userbuf is not None) != userbuf:
        raise BadUserSig(HAS_USERBUF, "it has a permission block" if not userbuf else "it has none")
    return content


def _signed_by_any(content: Content, keys: Sequence[str]) -> bool:
    """Whether one of the keys made the signature; all are tried, so that time tells nothing."""
    given = content.signature.encode("utf-8", "surrogatepass")
    matched = False
    for key in keys:
        wanted = sign(
            key, content.user, content.sdk_app_id, content.time_s, content.expire_s, content.userbuf
        )
        matched |= hmac.compare_digest(wanted.encode(), given)
    return matched


def _content(data: dict[str, object]) -> Content:
    """Raises KeyError, TypeError or ValueError for what is not a ticket's JSON."""
    if data["TLS.ver"] != "2.0":
        raise ValueError("version")
    userbuf = data.get("TLS.userbuf")
    user, signature = data["TLS.identifier"], data["TLS.sig"]
    if not isinstance(user, str) or not isinstance(signature, str):
        raise TypeError("identifier and signature are strings")
    if userbuf is not None and not isinstance(userbuf, str):
        raise TypeError("userbuf is a string")
    return Content(
        user=user,
        sdk_app_id=_integer(data["TLS.sdkappid"]),
        time_s=_integer(data["TLS.time"]),
        expire_s=_integer(data["TLS.expire"]),
        userbuf=userbuf,
        signature=signature,
    )


def _integer(value: object) -> int:
    """A JSON number, or decimal text: some generators quote numbers."""
    if isinstance(value, bool):
        raise TypeError("a boolean is no number")
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    raise TypeError("not a number")
