"""Coded signals through journal, pieces, playlist and finalisation, without core or worker.

A `Tape` is one user's medium in one output (or two): frames go into a real journal in batches, and pieces are
cut where the caller says. It does by hand what the recording driver does by rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from roomtape.control.messages import Finalise, FinalPiece
from roomtape.recording.journal import KEY, Journal, OutputHead, Packet, StreamHead
from roomtape.recording.pieces import MadePiece, make_piece
from roomtape.recording.playlist import PlaylistHead, Segment, render
from tests.support.signals import VIDEO_CLOCK, AacSignal, Frame

WALL_MS = 1_700_000_000_000  # wall time of task time 0
SECOND = 1_000_000_000
VIDEO, AUDIO = 1, 2  # stream ids


def video_packets(frames: Iterable[Frame], stream: int = VIDEO) -> list[Packet]:
    return [Packet(stream, KEY if f.key else 0, f.pts, f.dts, f.duration, f.data) for f in frames]


def audio_packets(frames: Iterable[Frame], stream: int = AUDIO) -> list[Packet]:
    return [Packet(stream, KEY, f.pts, f.dts, f.duration, f.data) for f in frames]


def output_key(track_type: str, user: str = "amy", media: str = "main") -> str:
    return f"{user}\x1f{media}\x1f{track_type}"


class Tape:
    """One user's journal with the outputs named in `types`; `sound` gives the AAC configuration."""

    def __init__(
        self, directory: Path, *, types: Sequence[str] = ("audiovideo",), sound: AacSignal | None = None
    ) -> None:
        self.directory = directory
        self.pieces_dir = directory / "pieces"
        self.pieces_dir.mkdir(parents=True, exist_ok=True)
        self.journal = Journal.open(directory, 1)
        self.sound = sound
        self.priming = sound.priming if sound is not None else b""  # for the first piece with sound
        streams = [
            StreamHead(
                id=VIDEO, user="amy", media="main", kind="video", codec="h264", time_base_den=VIDEO_CLOCK
            )
        ]
        if sound is not None:
            streams.append(
                StreamHead(
                    id=AUDIO,
                    user="amy",
                    media="main",
                    kind="audio",
                    codec="aac",
                    time_base_den=sound.sample_rate,
                    sample_rate=sound.sample_rate,
                    channels=sound.channels,
                    extradata=sound.config,
                )
            )
        of_type = {"audio": [AUDIO], "video": [VIDEO], "audiovideo": [VIDEO, AUDIO]}
        self.journal.declare(
            streams,
            [
                OutputHead(
                    key=output_key(t),
                    user="amy",
                    media="main",
                    type=t,
                    streams=of_type[t],
                    piece_ns=10 * SECOND,
                )
                for t in types
            ],
        )
        self.made: list[tuple[str, MadePiece, bool]] = []
        self._counters: dict[str, dict[int, int]] = {}

    def write(self, packets: Iterable[Packet], batch_s: float = 1.0) -> None:
        """Append packets in batches of about a second, as the driver does."""
        dens = {VIDEO: VIDEO_CLOCK, AUDIO: self.sound.sample_rate if self.sound else 1}
        batches: dict[int, list[Packet]] = {}
        for packet in packets:
            batches.setdefault(int(packet.dts / dens[packet.stream] // batch_s), []).append(packet)
        for number in sorted(batches):
            self.journal.append(batches[number], {"batch": number})

    def piece(
        self,
        track_type: str,
        piece_no: int,
        from_ns: int,
        to_ns: int | None,
        *,
        discontinuity: bool = False,
        hole_follows: bool = False,
    ) -> MadePiece | None:
        """Cut and make one piece, demultiplexed by FFmpeg as well."""
        key = output_key(track_type)
        self.journal.cut(key, piece_no, from_ns, discontinuity=discontinuity)
        counters = {} if discontinuity else self._counters.get(key, {})
        made = make_piece(
            self.journal,
            key,
            piece_no,
            from_ns,
            to_ns,
            counters,
            directory=self.pieces_dir,
            sdk_app_id=1600001234,
            room_in_names="Y2xhc3NfNw..",
            clock_wall_ms=WALL_MS,
            hole_follows=hole_follows,
            demux=True,
        )
        if made is not None:
            self._counters[key] = made.counters
            self.made.append((track_type, made, discontinuity))
        return made

    def playlist(self, track_type: str) -> Path:
        """Write the playlist of an output beside its pieces."""
        rows = [(made, mark) for kind, made, mark in self.made if kind == track_type]
        first = rows[0][0]
        head = PlaylistHead(
            user="amy",
            media="main",
            type=track_type,
            start_rec_ms=first.start_ms,
            version="0.1.0",
            date="2026-11-25",
            width=first.width,
            height=first.height,
            channels=first.channels,
            sample_rate=first.sample_rate,
        )
        segments = [
            Segment(
                name=made.name,
                size=made.size,
                start_ms=made.start_ms,
                duration_us=made.duration_us,
                discontinuity=mark,
            )
            for made, mark in rows
        ]
        path = self.pieces_dir / f"{track_type}.m3u8"
        path.write_text(render(head, segments, ended=True))
        return path

    def job(self, kind: str = "mp4", **changes: object) -> Finalise:
        """The finalisation the server would ask for."""
        firsts: set[str] = set()
        pieces = []
        for track_type, made, mark in self.made:
            first = track_type not in firsts
            firsts.add(track_type)
            priming = self.priming if first and track_type != "video" else b""
            pieces.append(
                FinalPiece(
                    path=str(made.path),
                    type=track_type,
                    piece_no=made.piece_no,
                    start_ms=made.start_ms,
                    start_ns=made.start_ns,
                    duration_us=made.duration_us,
                    discontinuity=mark,
                    priming=priming,
                    width=made.width,
                    height=made.height,
                    sha256=made.sha256,
                )
            )
        values: dict[str, object] = {
            "task_id": "t",
            "epoch": 1,
            "job": "amy\x1fmain",
            "user": "amy",
            "media": "main",
            "kind": kind,
            "out_dir": str(self.directory / "files"),
            "base_name": "1600001234_Y2xhc3NfNw..__UserId_s_YW15__UserId_e_main",
            "pieces": pieces,
            "max_file_ms": 3_600_000,
            "max_idle_ms": 30_000,
        }
        return Finalise(**{**values, **changes})  # type: ignore[arg-type]
