"""One MP4 file: H.264 and AAC packets on a common time line, written through a file of ours, and checked.

The library's own file output reports success on a full disk; a Python file raises. Parameter sets stay
in-band as well, so pictures may change their size within the file (`avc1`; older players refuse `avc3`). An
AAC packet before time 0 (the coder's priming) becomes an edit list by itself.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av

from roomtape.media.adts import AacConfig

VIDEO_CLOCK = 90_000


class Mp4Broken(Exception):
    """The finished file does not hold what was written to it."""


@dataclass(slots=True)
class _Track:
    stream: Any
    time_base: Fraction
    packets: int = 0
    keys: int = 0
    last_dts: int | None = None


class Mp4Writer:
    """Writes one file; both tracks are named at the start. Times: picture 1/90000 s, sound 1/rate s.

    `key_picture`: an access unit with SPS, PPS and IDR, from which the track's description is made; `size`:
    what the track header says (the largest picture). Raises OSError as the file does.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        key_picture: bytes | None,
        size: tuple[int, int] = (0, 0),
        sound: AacConfig | None,
    ) -> None:
        self._file = file
        self._container = av.open(file, "w", format="mp4", buffer_size=1 << 18)
        self._tracks: dict[str, _Track] = {}
        self._template: Any = None
        if key_picture is not None:
            self._template = av.open(io.BytesIO(key_picture), "r", format="h264")
            stream: Any = self._container.add_stream_from_template(self._template.streams.video[0])
            if size[0] and size[1]:
                stream.codec_context.width, stream.codec_context.height = size
            stream.time_base = Fraction(1, VIDEO_CLOCK)
            self._tracks["video"] = _Track(stream, stream.time_base)
        if sound is not None:
            stream = self._container.add_stream("aac", rate=sound.sample_rate)
            stream.codec_context.layout = _LAYOUTS[sound.channels]
            stream.time_base = Fraction(1, sound.sample_rate)
            self._tracks["audio"] = _Track(stream, stream.time_base)

    def write(self, kind: str, pts: int, dts: int, duration: int, key: bool, data: bytes) -> None:
        """Append one packet of "video" (Annex B) or "audio" (raw AAC); dts must rise within a track."""
        track = self._tracks[kind]
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.duration = pts, dts, duration
        packet.time_base = track.time_base
        packet.is_keyframe = key
        packet.stream = track.stream
        self._container.mux_one(packet)
        track.packets += 1
        track.keys += key
        track.last_dts = dts

    def close(self) -> None:
        """Write the index; the file is complete after it, but not yet durable."""
        self._container.close()
        if self._template is not None:
            self._template.close()

    def check(self, path: Path) -> None:
        """Read the file's index back and compare it with what was written. Raises Mp4Broken."""
        written = {kind: track for kind, track in self._tracks.items() if track.packets}
        seen = {kind: [0, 0] for kind in written}
        with av.open(str(path), "r", format="mp4", options=_AS_IT_STANDS) as container:
            if {stream.type for stream in container.streams} != written.keys():
                raise Mp4Broken(f"{path.name}: tracks {[stream.type for stream in container.streams]}")
            for packet in container.demux():
                if packet.size:
                    seen[packet.stream.type][0] += 1
                    seen[packet.stream.type][1] += packet.is_keyframe
                if packet.is_corrupt:
                    raise Mp4Broken(f"{path.name}: a damaged packet")
        for kind, track in written.items():
            if seen[kind] != [track.packets, track.keys]:
                raise Mp4Broken(f"{path.name}: {kind} {seen[kind]} instead of {[track.packets, track.keys]}")


# Without these, pictures that are all intra count as key pictures though the index does not say so.
_AS_IT_STANDS = {"fflags": "+noparse+nofillin"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "7.1"}
