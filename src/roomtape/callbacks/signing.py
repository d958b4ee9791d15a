"""The signature of a callback: HMAC-SHA256 of the body's bytes, base64.

Source: page 647/39558, read 2026-11.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from roomtape.secret import Secret


def sign(key: Secret, body: bytes) -> str:
    """The value of the `Sign` header for exactly these bytes."""
    digest = hmac.new(key.reveal_bytes(), body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def is_signed(key: Secret, body: bytes, signature: str) -> bool:
    """Whether `signature` is right; takes the same time when it is not."""
    return hmac.compare_digest(sign(key, body).encode(), signature.encode())
