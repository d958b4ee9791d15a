"""The control channel between the server and its workers: a length and a msgpack map, both ways.

`pack` and `Unpacker` are the codec both ends use; `Channel` is the worker's end, which never blocks. A
message is read back as exactly one of the structs of `messages.py`, or the connection is broken.
"""

from __future__ import annotations

import socket
import struct
from typing import Generic, TypeVar

import msgspec

from roomtape.control.connection import Connection
from roomtape.control.messages import ToServer, ToWorker

LENGTH = struct.Struct("<I")
MAX_MESSAGE_BYTES = 64 << 20

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_server: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)


class ChannelClosed(ConnectionError):
    """The other end has gone, or sent something that is not a message."""


def pack(message: ToServer | ToWorker) -> bytes:
    """One message with its length in front."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def unpack_to_worker(body: bytes) -> ToWorker:
    """Raises ChannelClosed for anything but a message to a worker."""
    return _decode(_to_worker, body)


def unpack_to_server(body: bytes) -> ToServer:
    """Raises ChannelClosed for anything but a message to the server."""
    return _decode(_to_server, body)


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise ChannelClosed(f"not a control message: {error}") from error


class Unpacker(Generic[T]):
    """Bytes in any portions in, whole messages out."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    @classmethod
    def at_worker(cls) -> Unpacker[ToWorker]:
        return Unpacker(_to_worker)

    @classmethod
    def at_server(cls) -> Unpacker[ToServer]:
        return Unpacker(_to_server)

    def feed(self, chunk: bytes) -> list[T]:
        """Every message that is whole now. Raises ChannelClosed when the bytes are no messages."""
        self._buffer += chunk
        out: list[T] = []
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, start)
            if length > MAX_MESSAGE_BYTES:
                raise ChannelClosed(f"control message of {length} bytes")
            end = start + LENGTH.size + length
            if len(self._buffer) < end:
                break
            out.append(_decode(self._decoder, bytes(memoryview(self._buffer)[start + LENGTH.size : end])))
            start = end
        if start:
            del self._buffer[:start]
        return out


class Channel(Connection):
    """The worker's end."""

    closed = ChannelClosed

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._unpacker = Unpacker.at_worker()

    def send(self, message: ToServer) -> None:
        self._write(pack(message))

    def on_readable(self) -> list[ToWorker]:
        """Every whole message that has come. Raises ChannelClosed at the end of the connection."""
        chunk = self._received()
        return self._unpacker.feed(chunk) if chunk else []
