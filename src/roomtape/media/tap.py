"""Client of the media core's tap: frames of tracks out of the frame log, acknowledgements back.

One connection carries many readers. Nothing here blocks; see `roomtape.control.connection`.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from roomtape.control.connection import ONCE_BYTES, Connection
from roomtape.media.frames import Batch, TapFrame, Track

OPEN, READ, ACK, UNREAD, CLOSE, KEYFRAME, FLUSH = range(1, 8)
HELLO, OPENED, TRACK, BATCH, GAP, ERROR = range(1, 7)

HEADER = struct.Struct("<IB")  # length of type and body, type
BATCH_HEAD = struct.Struct("<IIq")  # reader, count, watermark
BATCH_ENTRY = struct.Struct("<QQIqqqI")  # track, seq, flags, pts, dts, capture, size
MAX_MESSAGE = 256 << 20


@dataclass(slots=True, frozen=True)
class Hello:
    boot_id: str
    now_ns: int


@dataclass(slots=True, frozen=True)
class Opened:
    reader: int
    room: str
    tracks: list[Track]


@dataclass(slots=True, frozen=True)
class TrackEvent:
    reader: int
    event: str  # start, stop (and it is not read), read_out (it has stopped, this was all), config or size
    track: Track
    at_ns: int
    cause: str


@dataclass(slots=True, frozen=True)
class BatchRead:
    reader: int
    batch: Batch
    size: int  # payload bytes


@dataclass(slots=True, frozen=True)
class GapRead:
    """The log could not keep `first` up to but not including `last` for this reader."""

    reader: int
    track: int
    first: int
    last: int
    reason: str  # overrun, disk or poison


@dataclass(slots=True, frozen=True)
class TapError:
    reader: int
    message: str
    track: int | None = None  # asked for, and not there any more


TapMessage = Hello | Opened | TrackEvent | BatchRead | GapRead | TapError


class TapClosed(ConnectionError):
    """The core has gone, or said something that is not the protocol."""


class TapPort(Protocol):
    """What a task's driver needs of a tap connection."""

    def open(self, reader: int, name: str, room: str, *, flush_ms: int, credit: int = ...) -> None: ...
    def read(self, reader: int, track: int, from_seq: int, preroll_ms: int) -> None: ...
    def ack(self, reader: int, acks: Iterable[tuple[int, int]]) -> None: ...
    def unread(self, reader: int, track: int) -> None: ...
    def close_reader(self, reader: int) -> None: ...
    def keyframe(self, reader: int, track: int) -> None: ...
    def flush(self, reader: int) -> None: ...


def track_from_json(row: dict[str, Any]) -> Track:
    return Track(
        track=int(row["track"]),
        user=str(row["user"]),
        kind=str(row["kind"]),
        codec=str(row["codec"]),
        time_base_den=int(row["time_base_den"]),
        sample_rate=int(row.get("sample_rate") or 0),
        channels=int(row.get("channels") or 0),
        extradata=base64.b64decode(row.get("extradata") or ""),
        entered_ns=int(row.get("entered_ns") or 0),
        started_ns=int(row.get("started_ns") or 0),
        life=int(row.get("life") or 0),
        derived_from=row.get("derived_from"),
        width=int(row.get("width") or 0),
        height=int(row.get("height") or 0),
        next_seq=int(row.get("next_seq") or 0),
        oldest_seq=int(row.get("oldest_seq") or 0),
        live=bool(row.get("live", True)),
        cause=str(row.get("cause") or ""),
    )


def track_to_json(track: Track) -> dict[str, Any]:
    row = {name: getattr(track, name) for name in Track.__dataclass_fields__}
    row["extradata"] = base64.b64encode(track.extradata).decode()
    return row


def split(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take every whole (type, body) off the front of `buffer`. Raises TapClosed on a senseless length."""
    out: list[tuple[int, bytes]] = []
    start = 0
    while len(buffer) - start >= HEADER.size:
        length, kind = HEADER.unpack_from(buffer, start)
        if not 1 <= length <= MAX_MESSAGE:
            raise TapClosed(f"message of {length} bytes on the tap")
        if len(buffer) - start < 4 + length:
            break
        out.append((kind, bytes(memoryview(buffer)[start + HEADER.size : start + 4 + length])))
        start += 4 + length
    if start:
        del buffer[:start]
    return out


def frame_message(kind: int, body: bytes) -> bytes:
    return HEADER.pack(len(body) + 1, kind) + body


def pack_batch(reader: int, watermark_ns: int, frames: list[TapFrame]) -> bytes:
    """The body of a BATCH message."""
    parts = [BATCH_HEAD.pack(reader, len(frames), watermark_ns)]
    parts += [
        BATCH_ENTRY.pack(f.track, f.seq, f.flags, f.pts, f.dts, f.capture_ns, len(f.data)) for f in frames
    ]
    parts += [f.data for f in frames]
    return b"".join(parts)


def unpack_batch(body: bytes) -> BatchRead:
    reader, count, watermark_ns = BATCH_HEAD.unpack_from(body)
    offset = BATCH_HEAD.size
    payload = offset + count * BATCH_ENTRY.size
    frames: defaultdict[int, list[TapFrame]] = defaultdict(list)
    start = payload
    for track, seq, flags, pts, dts, capture_ns, size in BATCH_ENTRY.iter_unpack(body[offset:payload]):
        end = payload + size
        frames[track].append(TapFrame(track, seq, flags, pts, dts, capture_ns, body[payload:end]))
        payload = end
    if payload != len(body):
        raise TapClosed("a batch whose sizes do not add up")
    return BatchRead(reader, Batch(watermark_ns, dict(frames)), payload - start)


def parse(kind: int, body: bytes) -> TapMessage:
    """One message of the core. Raises TapClosed for anything that is not one."""
    try:
        if kind == BATCH:
            return unpack_batch(body)
        row = json.loads(body)
        if kind == HELLO:
            return Hello(row["boot_id"], row["now_ns"])
        if kind == OPENED:
            return Opened(row["reader"], row["room"], [track_from_json(t) for t in row["tracks"]])
        if kind == TRACK:
            track = track_from_json(row["track"])
            return TrackEvent(row["reader"], row["event"], track, row["at_ns"], row.get("cause") or "")
        if kind == GAP:
            return GapRead(row["reader"], row["track"], row["from"], row["to"], row["reason"])
        if kind == ERROR:
            return TapError(row.get("reader", 0), row["message"], row.get("track"))
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise TapClosed(f"message {kind} on the tap: {error}") from error
    raise TapClosed(f"unknown message {kind} on the tap")


class TapClient(Connection):
    """The worker's end of a tap socket."""

    closed = TapClosed

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._in = bytearray()

    def on_readable(self) -> list[TapMessage]:
        """Every whole message that has come. Raises TapClosed at the end of the connection."""
        while chunk := self._received():
            self._in += chunk
            if len(chunk) < ONCE_BYTES:
                break
        return [parse(kind, body) for kind, body in split(self._in)]

    def open(self, reader: int, name: str, room: str, *, flush_ms: int, credit: int = 16 << 20) -> None:
        """Begin a durable reader; `name` is its identity across connections."""
        body = {"reader": reader, "name": name, "room": room, "mode": "durable"}
        self._say(OPEN, body | {"flush_ms": flush_ms, "credit": credit})

    def read(self, reader: int, track: int, from_seq: int, preroll_ms: int) -> None:
        """From `from_seq` (-1: the oldest the log holds) on; everything before it is acknowledged."""
        body = {"reader": reader, "track": track, "from_seq": from_seq, "preroll_ms": preroll_ms}
        self._say(READ, body)

    def ack(self, reader: int, acks: Iterable[tuple[int, int]]) -> None:
        """Everything before each (track, next_seq) is safe."""
        self._say(ACK, {"reader": reader, "acks": list(acks)})

    def unread(self, reader: int, track: int) -> None:
        self._say(UNREAD, {"reader": reader, "track": track})

    def close_reader(self, reader: int) -> None:
        """Forget the reader and its positions."""
        self._say(CLOSE, {"reader": reader})

    def keyframe(self, reader: int, track: int) -> None:
        self._say(KEYFRAME, {"reader": reader, "track": track})

    def flush(self, reader: int) -> None:
        """Send what there is now."""
        self._say(FLUSH, {"reader": reader})

    def _say(self, kind: int, body: dict[str, Any]) -> None:
        self._write(frame_message(kind, json.dumps(body, separators=(",", ":")).encode()))
