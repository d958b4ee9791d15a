"""Checks a callback's signature: python3 verify.py KEY SIGN < body; ends with 0 when it is good."""

import base64
import hashlib
import hmac
import sys


def is_signed(key: str, body: bytes, sign: str) -> bool:
    """Whether `sign` (the header Sign) is the signature of the body, byte for byte as it was received."""
    wanted = base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest())
    return hmac.compare_digest(wanted, sign.encode())


if __name__ == "__main__":
    good = is_signed(sys.argv[1], sys.stdin.buffer.read(), sys.argv[2])
    print("good" if good else "bad")
    sys.exit(0 if good else 1)
