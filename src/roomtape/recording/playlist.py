"""The M3U8 of one output, written from the rows of its committed pieces.

The header tags stand in the order in which the real service writes them. FILE-ATTR carries the Unix time of
a segment's beginning; without a DISCONTINUITY it is the one before plus its EXTINF, to the millisecond.

Source: API docs > On-cloud Recording > M3U8 time metadata (647/45169), read 2026-11; RFC 8216.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_CODEC_H264, _CODEC_AAC, _SAMPLE_S16 = 27, 86018, 1  # FFmpeg's numbers, which customers' scripts expect
_STREAM_TYPES = {"audio": 0, "video": 1, "audiovideo": 2}
_TARGET_S = 10  # what segments aim at; the tag is never less


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaylistHead:
    """What the header says. `user` "" means the mix; sizes of 0 leave a metadata line out."""

    user: str
    media: str  # "main" or "aux"
    type: str  # "audio", "video" or "audiovideo"
    start_rec_ms: int  # Unix ms at which the track began
    version: str
    date: str
    width: int = 0
    height: int = 0
    channels: int = 0
    sample_rate: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A row of the playlist; `discontinuity` marks that something is different or missing before it."""

    name: str
    size: int
    start_ms: int
    duration_us: int
    discontinuity: bool = False


class Body:
    """The segments of a playlist that grows: what was added is written once, however often it is asked for.

    EXTINF is the time up to the next segment's beginning, or the segment's own length before a mark or the
    end; so all but the last one are final.
    """

    def __init__(self) -> None:
        self.count = 0
        self._text = ""  # of all but the last one
        self._longest_ms = 0
        self._last: Segment | None = None

    def __len__(self) -> int:
        """Characters that are held."""
        return len(self._text)

    def add(self, segment: Segment) -> None:
        """Append the next one, in the order of the piece numbers."""
        if self._last is not None:
            alone = segment.discontinuity
            length = _own_ms(self._last) if alone else segment.start_ms - self._last.start_ms
            self._text += self._lines(self._last, length)
            self._longest_ms = max(self._longest_ms, length)
        self._last = segment
        self.count += 1

    def _lines(self, segment: Segment, length_ms: int) -> str:
        mark = "#EXT-X-DISCONTINUITY\n" if segment.discontinuity and self._text else ""
        return (
            f"{mark}#EXT-X-TRTC-FILE-ATTR:{segment.start_ms},{segment.size}\n"
            f"#EXTINF:{length_ms // 1000}.{length_ms % 1000:03d},\n{segment.name}\n"
        )

    def render(self, head: PlaylistHead, *, ended: bool) -> str:
        """The text of the playlist as it is now; `ended` at the stop."""
        longest_ms = self._longest_ms
        last = ""
        if self._last is not None:
            last = self._lines(self._last, _own_ms(self._last))
            longest_ms = max(longest_ms, _own_ms(self._last))
        end = "#EXT-X-ENDLIST\n" if ended else ""
        return f"{_head(head, longest_ms)}{self._text}{last}{end}"


def render(head: PlaylistHead, segments: Sequence[Segment], *, ended: bool) -> str:
    """The text of a whole playlist, its segments in the order of their piece numbers."""
    body = Body()
    for segment in segments:
        body.add(segment)
    return body.render(head, ended=ended)


def _own_ms(segment: Segment) -> int:
    return round(segment.duration_us / 1000)


def _head(head: PlaylistHead, longest_ms: int) -> str:
    target = max(_TARGET_S, -(-longest_ms // 1000))
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-ALLOW-CACHE:NO",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-TARGETDURATION:{target}",
        f"#EXT-X-TRTC-VERSION:{head.version}",
        f"#EXT-X-TRTC-DATE:{head.date}",
        f"#EXT-X-TRTC-START-REC-TIME:{head.start_rec_ms}",
    ]
    if head.user:
        lines += [f"#EXT-X-TRTC-MEDIA-ID:{head.media}", f"#EXT-X-TRTC-USER-ID:{head.user}"]
    lines += [
        f"#EXT-X-TRTC-MIX-STREAM:{0 if head.user else 1}",
        f"#EXT-X-TRTC-STREAM-TYPE:{_STREAM_TYPES[head.type]}",
    ]
    if head.type != "audio" and head.width:
        lines.append(
            f"#EXT-X-TRTC-VIDEO-METADATA:WIDTH:{head.width} HEIGHT:{head.height} Codec:{_CODEC_H264}"
        )
    if head.type != "video" and head.sample_rate:
        lines.append(
            f"#EXT-X-TRTC-AUDIO-METADATA:Channel:{head.channels} SampleRate:{head.sample_rate}"
            f" SampleFormat:{_SAMPLE_S16} Codec:{_CODEC_AAC}"
        )
    return "\n".join(lines) + "\n"
