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


def durations_ms(segments: Sequence[Segment]) -> list[int]:
    """EXTINF of each segment: up to the next one's beginning, or its own length before a mark or the end."""
    found = []
    for place, segment in enumerate(segments):
        following = segments[place + 1] if place + 1 < len(segments) else None
        if following is None or following.discontinuity:
            found.append(round(segment.duration_us / 1000))
        else:
            found.append(following.start_ms - segment.start_ms)
    return found


def render(head: PlaylistHead, segments: Sequence[Segment], *, ended: bool) -> str:
    """The text of the playlist; `ended` at the stop. Segments in the order of their piece numbers."""
    lengths = durations_ms(segments)
    target = max(_TARGET_S, -(-max(lengths, default=0) // 1000))
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
    for place, (segment, length) in enumerate(zip(segments, lengths, strict=True)):
        if segment.discontinuity and place:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += [
            f"#EXT-X-TRTC-FILE-ATTR:{segment.start_ms},{segment.size}",
            f"#EXTINF:{length // 1000}.{length % 1000:03d},",
            segment.name,
        ]
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"
