"""Secrets at rest: AES-256-GCM under a master key that is not in the database.

A sealed value is `01 | key id (4) | nonce (12) | ciphertext and tag`. The key id says which master key
of the ring opens it, so that a new one can be put in front and old rows be sealed anew at leisure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from roomtape.secret import Secret

ENVIRONMENT = "ROOMTAPE_MASTER_KEY"
KEY_BYTES = 32

_VERSION = b"\x01"
_ID_BYTES = 4
_NONCE_BYTES = 12


class SealError(Exception):
    """A master key cannot be used, or a sealed value cannot be opened; the message names no secret."""


class Sealer:
    """Seals with the first key of a ring and opens with any of them."""

    def __init__(self, keys: list[bytes], path: Path | None = None) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"a master key is {KEY_BYTES} bytes")
        self._path = path  # of the file the ring is kept in, if it is in one
        self._take(keys)

    def _take(self, keys: list[bytes]) -> None:
        self._keys = keys
        self._ring = {_key_id(key): AESGCM(key) for key in keys}
        self._current = _key_id(keys[0])

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str] = os.environ) -> Sealer:
        """Take the keys of ROOMTAPE_MASTER_KEY, else of the file, which is made (0600) when absent.

        Both hold base64 keys, one per line or separated by spaces, the current one first.

        Raises:
            SealError: a key is malformed, or others than the owner may read the file.
        """
        given = environment.get(ENVIRONMENT)
        if given:
            return cls(_parse(given, ENVIRONMENT))
        if not path.exists():
            _write(path, [secrets.token_bytes(KEY_BYTES)])
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SealError(f"{path} can be read by others; do: chmod 600 {path}")
        return cls(_parse(path.read_text(), str(path)), path)

    @property
    def is_rotating(self) -> bool:
        """Whether there are former keys, under which values may still be sealed."""
        return len(self._ring) > 1

    @property
    def is_filed(self) -> bool:
        """Whether the ring is in a file that we may change."""
        return self._path is not None

    def put_new_key_in_front(self) -> None:
        """Draw a master key, keep it (a crash leaves the old ring or the new one), and seal with it.

        Raises:
            SealError: the ring comes from the environment.
            OSError: the file cannot be written; nothing has changed.
        """
        if self._path is None:
            raise SealError(
                f"the master key comes from {ENVIRONMENT}; put a new one in front of it there and restart"
            )
        keys = [secrets.token_bytes(KEY_BYTES), *self._keys]
        _write(self._path, keys)
        self._take(keys)

    def drop_former_keys(self) -> None:
        """Forget all keys but the first; call it when nothing is sealed under them. Raises OSError."""
        keys = self._keys[:1]
        if self._path is not None:
            _write(self._path, keys)
        self._take(keys)

    def seal(self, value: bytes | str | Secret, context: str = "") -> bytes:
        """Encrypt. `context` (a purpose, a row's id) must be given again to open."""
        plain = value.reveal_bytes() if isinstance(value, Secret) else value
        plain = plain.encode() if isinstance(plain, str) else plain
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ring[self._current].encrypt(nonce, plain, context.encode())
        return _VERSION + self._current + nonce + sealed

    def open(self, sealed: bytes, context: str = "") -> Secret:
        """Decrypt. Raises SealError when it was altered, or sealed under another key or context."""
        sealed = bytes(sealed)
        key_id = sealed[1 : 1 + _ID_BYTES]
        nonce = sealed[1 + _ID_BYTES : 1 + _ID_BYTES + _NONCE_BYTES]
        if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise SealError("not a sealed value")
        cipher = self._ring.get(key_id)
        if cipher is None:
            raise SealError(f"sealed under master key {key_id.hex()}, which is not in the ring")
        try:
            return Secret(cipher.decrypt(nonce, sealed[1 + _ID_BYTES + _NONCE_BYTES :], context.encode()))
        except InvalidTag:
            raise SealError("a sealed value was altered or belongs to another place") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether the value is sealed under the ring's first key; if not, seal it anew."""
        return bytes(sealed)[1 : 1 + _ID_BYTES] == self._current


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"roomtape master key id" + key).digest()[:_ID_BYTES]


def _parse(text: str, where: str) -> list[bytes]:
    try:
        return [base64.b64decode(word, validate=True) for word in text.split()]
    except binascii.Error:
        raise SealError(f"{where}: a master key is the base64 of {KEY_BYTES} random bytes") from None


def _write(path: Path, keys: list[bytes]) -> None:
    """Write the ring so that a crash leaves the whole file or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(b"".join(base64.b64encode(key) + b"\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
