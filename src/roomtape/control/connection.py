"""A Unix socket that never blocks: what the worker's ends of the control channel and of the tap share.

The owner of the selector loop calls `on_readable` (of the class above) and `on_writable`; what cannot be
written yet waits in memory. Whoever has something to write must go on reading, or both ends would wait for
each other.
"""

from __future__ import annotations

import contextlib
import socket
from typing import ClassVar, Self

ONCE_BYTES = 1 << 20  # received at once, at most


class Connection:
    """One connection; `closed` is what its owner is told by when the other end has gone."""

    closed: ClassVar[type[ConnectionError]] = ConnectionError

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out = bytearray()

    @classmethod
    def connect(cls, path: str) -> Self:
        """Raises OSError when nobody listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def on_writable(self) -> None:
        """Write what waits, as far as the socket takes it. Raises `closed`."""
        while self._out:
            try:
                sent = self._sock.send(self._out)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise self.closed(str(error)) from error
            del self._out[:sent]

    def close(self) -> None:
        self._sock.close()

    def _received(self) -> bytes:
        """What has come, b"" if nothing. Raises `closed` at the end of the connection."""
        try:
            chunk = self._sock.recv(ONCE_BYTES)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            raise self.closed(str(error)) from error
        if not chunk:
            raise self.closed("the other end has closed the connection")
        return chunk

    def _write(self, data: bytes) -> None:
        """Write now or later; that the other end has gone is found by the loop, and stops nobody here."""
        self._out += data
        with contextlib.suppress(self.closed):
            self.on_writable()
