"""A twin of the media core's tap: a frame log with sequence numbers, acknowledgements, credit and preroll.

It serves the tap protocol on a Unix socket from a thread of its own. Tests play publishers:

    with FakeCore(path) as core:
        video = core.start_track("1/s/room", "amy", "video", "h264")
        core.push(video, pts, dts, data, key=True, capture_ns=at)
        core.advance("1/s/room", watermark_ns)      # readers get what is due by then

Time is what `capture_ns` and `advance` say, so a test may run faster than life. `sent` keeps every frame
ever pushed, for comparison with what was recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from roomtape.media import tap
from roomtape.media.frames import GAP, KEY, PREROLL, TapFrame, Track

SOUND_TAIL_NS = 400_000_000  # always kept
KEEP_NS = 10_000_000_000  # for a durable reader that has not acknowledged


@dataclass
class _Log:
    """One track's frames, oldest first."""

    room: str
    track: Track
    frames: deque[TapFrame] = field(default_factory=deque)
    next_seq: int = 0
    live: bool = True
    cause: str = ""
    ended_ns: int = 0

    def described(self) -> Track:
        oldest = self.frames[0].seq if self.frames else self.next_seq
        return replace(
            self.track, next_seq=self.next_seq, oldest_seq=oldest, live=self.live, cause=self.cause
        )


@dataclass
class _Position:
    """How far one reader has been sent a track, and what it said is safe."""

    next_send: int
    acked: int
    first_batch: bool = True
    reading: bool = True
    preroll: list[TapFrame] = field(default_factory=list)
    end_told: bool = False


@dataclass
class _Reader:
    number: int
    name: str
    room: str
    flush_ns: int
    credit: int
    connection: _Connection | None = None
    positions: dict[int, _Position] = field(default_factory=dict)
    in_flight: deque[tuple[int, int, int]] = field(default_factory=deque)  # track, seq, size
    flushed_at: int | None = None
    told: int = 0
    declined: set[int] = field(default_factory=set)


@dataclass(eq=False)
class _Connection:
    sock: socket.socket
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
    readers: dict[int, _Reader] = field(default_factory=dict)


class FakeCore:
    """See the module's text. `sound_tail_ns` and `keep_ns` are the retention rules of the log."""

    def __init__(self, path: str, *, boot_id: str = "boot-1", now_ns: int = 0) -> None:
        self.path = path
        self.boot_id = boot_id
        self.keep_ns = KEEP_NS
        self.sound_tail_ns = SOUND_TAIL_NS
        self.sent: dict[int, list[TapFrame]] = {}
        self.keyframes_asked: list[int] = []
        self.overruns: list[tuple[int, int, int]] = []
        self._now_ns = now_ns
        self._lock = threading.RLock()
        self._logs: dict[int, _Log] = {}
        self._names: dict[str, _Reader] = {}
        self._connections: list[_Connection] = []
        self._watermarks: dict[str, int] = {}
        self._next_track = 1
        self._changed = threading.Condition(self._lock)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.setblocking(False)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._running = True
        self._thread = threading.Thread(target=self._serve, name="fakecore", daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeCore:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away as a killed server does: every connection ends."""
        if not self._running:
            return
        self._running = False
        self._wake()
        self._thread.join()
        for connection in self._connections:
            connection.sock.close()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    # --- what a publisher does ------------------------------------------------------------------------

    def start_track(
        self,
        room: str,
        user: str,
        kind: str,
        codec: str,
        *,
        time_base_den: int = 0,
        entered_ns: int = 0,
        started_ns: int = 0,
        extradata: bytes = b"",
        sample_rate: int = 0,
        channels: int = 2,
        derived_from: int | None = None,
    ) -> int:
        """A new track of the room; its readers are told."""
        with self._lock:
            number = self._next_track
            self._next_track += 1
            audio = kind == "audio"
            track = Track(
                track=number,
                user=user,
                kind=kind,
                codec=codec,
                time_base_den=time_base_den or (48_000 if audio else 90_000),
                sample_rate=sample_rate or (48_000 if audio else 0),
                channels=channels if audio else 0,
                extradata=extradata,
                entered_ns=entered_ns,
                started_ns=started_ns,
                derived_from=derived_from,
            )
            self._logs[number] = _Log(room, track)
            self.sent[number] = []
            self._tell_track("start", number, started_ns, "")
            self._wake()
            return number

    def push(
        self,
        track: int,
        pts: int,
        data: bytes,
        *,
        capture_ns: int,
        dts: int | None = None,
        key: bool = True,
        gap: bool = False,
    ) -> int:
        """Append one frame; gives its sequence number."""
        with self._lock:
            log = self._logs[track]
            flags = (KEY if key else 0) | (GAP if gap else 0)
            frame = TapFrame(track, log.next_seq, flags, pts, pts if dts is None else dts, capture_ns, data)
            log.next_seq += 1
            log.frames.append(frame)
            self.sent[track].append(frame)
            return frame.seq

    def stop_track(self, track: int, *, at_ns: int = 0, cause: str = "closed") -> None:
        with self._lock:
            log = self._logs[track]
            log.live, log.cause, log.ended_ns = False, cause, at_ns
            self._tell_track("stop", track, at_ns, cause)
            self._wake()

    def forget(self, track: int) -> None:
        """The log has this track no more."""
        with self._lock:
            del self._logs[track]

    def change_config(self, track: int, extradata: bytes, *, at_ns: int = 0) -> None:
        with self._lock:
            log = self._logs[track]
            log.track = replace(log.track, extradata=extradata)
            self._tell_track("config", track, at_ns, "")
            self._wake()

    def advance(self, room: str, watermark_ns: int) -> None:
        """Nothing captured before `watermark_ns` will be pushed any more."""
        with self._lock:
            self._watermarks[room] = max(watermark_ns, self._watermarks.get(room, watermark_ns))
            self._now_ns = max(self._now_ns, watermark_ns)
            self._expire(room)
            self._pump()
            self._wake()

    # --- what a test waits for ------------------------------------------------------------------------

    def wait_until_acked(self, track: int, seq: int, timeout_s: float) -> bool:
        """Whether some durable reader has acknowledged everything before `seq` in time."""

        def acked() -> bool:
            return any(
                position.acked >= seq
                for reader in self._names.values()
                for number, position in reader.positions.items()
                if number == track
            )

        with self._lock:
            return self._changed.wait_for(acked, timeout_s)

    def wait_until_asked_for_key(self, track: int, timeout_s: float) -> bool:
        with self._lock:
            return self._changed.wait_for(lambda: track in self.keyframes_asked, timeout_s)

    def wait_for_reader(self, name: str, track: int, timeout_s: float) -> bool:
        """Whether the named reader reads `track` in time."""

        def reads() -> bool:
            reader = self._names.get(name)
            return reader is not None and reader.connection is not None and track in reader.positions

        with self._lock:
            return self._changed.wait_for(reads, timeout_s)

    @property
    def behind(self) -> dict[int, int]:
        """Per track, how many frames the slowest durable reader has not acknowledged."""
        with self._lock:
            return {
                track: max(self._logs[track].next_seq - p.acked for p in positions)
                for track, positions in self._by_track().items()
            }

    # --- the log --------------------------------------------------------------------------------------

    def _by_track(self) -> dict[int, list[_Position]]:
        found: dict[int, list[_Position]] = {}
        for reader in self._names.values():
            for track, position in reader.positions.items():
                found.setdefault(track, []).append(position)
        return found

    def _expire(self, room: str) -> None:
        """Forget what every durable reader has acknowledged, but for the tail; and what is too old."""
        positions = self._by_track()
        for number, log in self._logs.items():
            if log.room != room or not log.frames:
                continue
            acked = min((p.acked for p in positions.get(number, [])), default=0)
            newest = log.frames[-1].capture_ns
            keep_from = newest - self.keep_ns
            if log.track.kind == "audio":
                at = next((f.capture_ns for f in log.frames if f.seq >= acked), newest)
                tail = at - self.sound_tail_ns
                while log.frames and log.frames[0].seq < acked and log.frames[0].capture_ns < tail:
                    log.frames.popleft()
            else:
                keys = [f.seq for f in log.frames if f.flags & KEY and f.seq <= acked]
                while keys and log.frames and log.frames[0].seq < keys[-1]:
                    log.frames.popleft()
            while log.frames and log.frames[0].capture_ns < keep_from:
                log.frames.popleft()

    def _pump(self) -> None:
        for reader in self._names.values():
            if reader.connection is not None:
                self._serve_reader(reader, force=False)

    def _serve_reader(self, reader: _Reader, *, force: bool) -> None:
        self._serve_frames(reader, force=force)
        if reader.connection is not None:
            self._tell_ends(reader)

    def _serve_frames(self, reader: _Reader, *, force: bool) -> None:
        watermark = self._watermarks.get(reader.room)
        if watermark is None or reader.connection is None:
            return
        first = [n for n, p in reader.positions.items() if p.first_batch]
        due = force or reader.flushed_at is None or watermark - reader.flushed_at >= reader.flush_ns
        if not due and not first:
            return
        in_flight = sum(size for _track, _seq, size in reader.in_flight)
        frames: list[TapFrame] = []
        whole = True
        for number, position in sorted(reader.positions.items()):
            if not position.reading or (not due and number not in first):
                continue
            log = self._logs[number]
            if log.frames and position.next_send < log.frames[0].seq:
                self._gap(reader, log, position)
            frames += position.preroll
            position.preroll = []
            if log.frames:
                position.first_batch = False
            for frame in log.frames:
                if frame.seq < position.next_send:
                    continue
                if in_flight + len(frame.data) > reader.credit:
                    whole = False
                    break
                in_flight += len(frame.data)
                reader.in_flight.append((number, frame.seq, len(frame.data)))
                frames.append(frame)
                position.next_send = frame.seq + 1
        if not due and not frames:
            return
        if due and whole:
            reader.flushed_at = watermark
            reader.told = max(reader.told, min([watermark, *self._undecided(reader)]))
        self._send(reader.connection, tap.BATCH, tap.pack_batch(reader.number, reader.told, frames))

    def _undecided(self, reader: _Reader) -> list[int]:
        """Captures that hold the watermark back: of tracks the reader has neither taken nor declined."""
        return [
            log.frames[0].capture_ns
            for number, log in self._logs.items()
            if log.room == reader.room
            and log.frames
            and number not in reader.declined
            and (number not in reader.positions or not reader.positions[number].reading)
        ]

    def _gap(self, reader: _Reader, log: _Log, position: _Position) -> None:
        """The reader was overtaken: it goes on at the next frame a decoder can start with."""
        audio = log.track.kind == "audio"
        start = next((f.seq for f in log.frames if audio or f.flags & KEY), log.next_seq)
        self.overruns.append((log.track.track, position.next_send, start))
        assert reader.connection is not None
        self._say(
            reader.connection,
            tap.GAP,
            {
                "reader": reader.number,
                "track": log.track.track,
                "from": position.next_send,
                "to": start,
                "reason": "overrun",
            },
        )
        position.next_send = start

    # --- requests -------------------------------------------------------------------------------------

    def _on_message(self, connection: _Connection, kind: int, row: dict[str, Any]) -> None:
        if kind == tap.OPEN:
            self._open(connection, row)
            return
        reader = connection.readers.get(row["reader"])
        if reader is None:
            self._say(connection, tap.ERROR, {"reader": row["reader"], "message": "no such reader"})
            return
        if kind == tap.READ:
            self._read(reader, row["track"], row["from_seq"], row["preroll_ms"])
        elif kind == tap.ACK:
            for track, seq in row["acks"]:
                self._ack(reader, track, seq)
            self._serve_reader(reader, force=False)
        elif kind == tap.UNREAD:
            reader.positions.pop(row["track"], None)
            reader.declined.add(row["track"])
            log = self._logs.get(row["track"])
            if log is not None and not log.live:
                self._tell_one(reader, "stop", log, log.ended_ns, log.cause)
            self._serve_reader(reader, force=True)
        elif kind == tap.CLOSE:
            connection.readers.pop(reader.number, None)
            if self._names.get(reader.name) is reader:
                del self._names[reader.name]
        elif kind == tap.KEYFRAME:
            self.keyframes_asked.append(row["track"])
        elif kind == tap.FLUSH:
            self._serve_reader(reader, force=True)
        self._changed.notify_all()

    def _open(self, connection: _Connection, row: dict[str, Any]) -> None:
        flush_ns = row["flush_ms"] * 1_000_000
        reader = _Reader(row["reader"], row["name"], row["room"], flush_ns, row["credit"], connection)
        before = self._names.get(reader.name)
        if before is not None:  # its positions hold the log until each track is read again
            reader.positions = {track: _Position(p.acked, p.acked) for track, p in before.positions.items()}
            if before.connection is not None:
                before.connection.readers.pop(before.number, None)
        self._names[reader.name] = reader
        connection.readers[reader.number] = reader
        for track, position in list(reader.positions.items()):
            if track in self._logs:
                position.reading = position.first_batch = False  # nothing is sent before READ
            else:
                del reader.positions[track]
        tracks = [
            tap.track_to_json(log.described())
            for log in self._logs.values()
            if log.room == reader.room and (log.live or log.frames)
        ]
        self._say(connection, tap.OPENED, {"reader": reader.number, "room": reader.room, "tracks": tracks})
        self._serve_reader(reader, force=False)

    def _read(self, reader: _Reader, track: int, from_seq: int, preroll_ms: int) -> None:
        log = self._logs.get(track)
        if log is None:
            assert reader.connection is not None
            gone = {"reader": reader.number, "message": f"no such track: {track}", "track": track}
            self._say(reader.connection, tap.ERROR, gone)
            return
        audio = log.track.kind == "audio"
        if from_seq < 0:
            from_seq = next((f.seq for f in log.frames if audio or f.flags & KEY), log.next_seq)
        position = _Position(from_seq, from_seq)
        before = [f for f in log.frames if f.seq < from_seq]
        if before and audio and preroll_ms:
            since = next((f.capture_ns for f in log.frames if f.seq >= from_seq), before[-1].capture_ns)
            before = [f for f in before if f.capture_ns >= since - preroll_ms * 1_000_000]
            position.preroll = [f._replace(flags=f.flags | PREROLL) for f in before]
        elif before and not audio:
            following = next((f for f in log.frames if f.seq == from_seq), None)
            if following is None or not following.flags & KEY:
                start = max((f.seq for f in before if f.flags & KEY), default=from_seq)
                position.preroll = [f._replace(flags=f.flags | PREROLL) for f in before if f.seq >= start]
        reader.positions[track] = position
        reader.in_flight = deque(row for row in reader.in_flight if row[0] != track)
        self._serve_reader(reader, force=True)

    def _ack(self, reader: _Reader, track: int, seq: int) -> None:
        position = reader.positions.get(track)
        if position is not None:
            position.acked = max(position.acked, seq)
        reader.in_flight = deque(row for row in reader.in_flight if row[0] != track or row[1] >= seq)

    def _tell_track(self, event: str, number: int, at_ns: int, cause: str) -> None:
        log = self._logs[number]
        for reader in self._names.values():
            if reader.room == log.room and reader.connection is not None:
                if event != "stop" or number in reader.declined:
                    self._tell_one(reader, event, log, at_ns, cause)
                else:  # told behind the last frame, or when the reader decides
                    self._serve_reader(reader, force=True)

    def _tell_one(self, reader: _Reader, event: str, log: _Log, at_ns: int, cause: str) -> None:
        assert reader.connection is not None
        body = {"reader": reader.number, "event": event, "at_ns": at_ns, "cause": cause}
        self._say(reader.connection, tap.TRACK, body | {"track": tap.track_to_json(log.described())})

    def _tell_ends(self, reader: _Reader) -> None:
        for number, position in reader.positions.items():
            log = self._logs[number]
            if log.live or not position.reading or position.end_told or position.next_send < log.next_seq:
                continue
            position.end_told = True
            self._tell_one(reader, "read_out", log, log.ended_ns, log.cause)

    # --- the socket -----------------------------------------------------------------------------------

    def _say(self, connection: _Connection, kind: int, row: dict[str, Any]) -> None:
        self._send(connection, kind, json.dumps(row).encode())

    def _send(self, connection: _Connection, kind: int, body: bytes) -> None:
        connection.outgoing += tap.frame_message(kind, body)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b".")

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, "listener")
            selector.register(self._wake_read, selectors.EVENT_READ, "wake")
            while self._running:
                with self._lock:
                    for connection in list(self._connections):
                        writing = selectors.EVENT_WRITE if connection.outgoing else 0
                        selector.modify(connection.sock, selectors.EVENT_READ | writing, connection)
                ready = selector.select()
                with self._lock:
                    for key, events in ready:
                        self._serve_one(selector, key, events)

    def _serve_one(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int) -> None:
        if key.data == "wake":
            os.read(self._wake_read, 4096)
            return
        if key.data == "listener":
            sock, _address = self._listener.accept()
            sock.setblocking(False)
            connection = _Connection(sock)
            self._connections.append(connection)
            selector.register(sock, selectors.EVENT_READ, connection)
            self._say(connection, tap.HELLO, {"boot_id": self.boot_id, "now_ns": self._now_ns})
            return
        connection = key.data
        try:
            for kind, body in self._receive(connection, events):
                self._on_message(connection, kind, json.loads(body))
        except ConnectionError:
            selector.unregister(connection.sock)
            self._connections.remove(connection)
            connection.sock.close()
            for reader in connection.readers.values():
                reader.connection = None
                reader.in_flight.clear()
            self._changed.notify_all()

    def _receive(self, connection: _Connection, events: int) -> Iterator[tuple[int, bytes]]:
        if events & selectors.EVENT_READ:
            chunk = connection.sock.recv(1 << 18)
            if not chunk:
                raise ConnectionResetError("the worker closed its connection")
            connection.incoming += chunk
            yield from tap.split(connection.incoming)
        if connection.outgoing:
            with contextlib.suppress(BlockingIOError):
                sent = connection.sock.send(connection.outgoing)
                del connection.outgoing[:sent]
