"""Playback links: who has one may fetch that file until it expires; nothing else is asked.

A link names the file, the object and the second of its end, and carries an HMAC-SHA256 over the three. The
segments of an HLS get links of their own when their playlist is served, so that a player needs no cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import quote

from roomtape.secret import Secret

PREFIX = "/media"
MAX_NAME = 1024
_SECONDS = re.compile(r"[0-9]{1,11}")


@dataclass(frozen=True, slots=True)
class Links:
    """Signs and checks under one key of the installation."""

    key: Secret

    def path(self, file_id: str, name: str, expires_s: int) -> str:
        """The absolute path of an object, valid before Unix second `expires_s`."""
        return f"{PREFIX}/{file_id}/{self.reference(file_id, name, expires_s)}"

    def reference(self, file_id: str, name: str, expires_s: int) -> str:
        """The same relative to another object of that file, as a playlist names its segments."""
        return f"{quote(name, safe='')}?exp={expires_s}&sign={self._sign(file_id, name, expires_s)}"

    def admits(self, file_id: str, name: str, expires: str, sign: str, now_ms: int) -> int | None:
        """The second in which the link ends, or None when it was not signed here or has expired."""
        if not _SECONDS.fullmatch(expires) or len(name) > MAX_NAME:
            return None
        expires_s = int(expires)
        good = hmac.compare_digest(sign.encode(), self._sign(file_id, name, expires_s).encode())
        return expires_s if good and now_ms < expires_s * 1000 else None

    def _sign(self, file_id: str, name: str, expires_s: int) -> str:
        text = f"{file_id}\n{expires_s}\n{name}".encode()
        digest = hmac.digest(self.key.reveal_bytes(), text, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
