"""The M3U8 text: tags in the order the real service writes them, times exact to the millisecond."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from roomtape.recording.playlist import Body, PlaylistHead, Segment, render

HEAD = PlaylistHead(
    user="amy",
    media="main",
    type="audiovideo",
    start_rec_ms=1_700_000_000_123,
    version="1.2.3",
    date="2026-11-25",
    width=1280,
    height=720,
    channels=2,
    sample_rate=48_000,
)


def segment(number: int, start_ms: int, length_ms: int, *, mark: bool = False) -> Segment:
    return Segment(
        name=f"s{number}.ts",
        size=1000 + number,
        start_ms=start_ms,
        duration_us=length_ms * 1000,
        discontinuity=mark,
    )


def test_the_whole_text() -> None:
    rows = [
        segment(0, 1_700_000_000_123, 10_005),
        segment(1, 1_700_000_010_128, 2_500),
        segment(2, 1_700_000_060_000, 11_600, mark=True),
    ]
    assert render(HEAD, rows, ended=True) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-ALLOW-CACHE:NO\n"
        "#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-TARGETDURATION:12\n"
        "#EXT-X-TRTC-VERSION:1.2.3\n"
        "#EXT-X-TRTC-DATE:2026-11-25\n"
        "#EXT-X-TRTC-START-REC-TIME:1700000000123\n"
        "#EXT-X-TRTC-MEDIA-ID:main\n"
        "#EXT-X-TRTC-USER-ID:amy\n"
        "#EXT-X-TRTC-MIX-STREAM:0\n"
        "#EXT-X-TRTC-STREAM-TYPE:2\n"
        "#EXT-X-TRTC-VIDEO-METADATA:WIDTH:1280 HEIGHT:720 Codec:27\n"
        "#EXT-X-TRTC-AUDIO-METADATA:Channel:2 SampleRate:48000 SampleFormat:1 Codec:86018\n"
        "#EXT-X-TRTC-FILE-ATTR:1700000000123,1000\n"
        "#EXTINF:10.005,\n"
        "s0.ts\n"
        "#EXT-X-TRTC-FILE-ATTR:1700000010128,1001\n"
        "#EXTINF:2.500,\n"
        "s1.ts\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-TRTC-FILE-ATTR:1700000060000,1002\n"
        "#EXTINF:11.600,\n"
        "s2.ts\n"
        "#EXT-X-ENDLIST\n"
    )


def test_a_playlist_that_grows_has_no_end() -> None:
    assert "ENDLIST" not in render(HEAD, [segment(0, 0, 10)], ended=False)


def test_a_sound_track_says_nothing_of_pictures_and_the_other_way_round() -> None:
    def tags(track_type: str) -> str:
        head = PlaylistHead(
            user="amy",
            media="main",
            type=track_type,
            start_rec_ms=0,
            version="",
            date="",
            width=8,
            height=8,
            channels=1,
            sample_rate=8000,
        )
        return render(head, [], ended=False)

    assert "VIDEO-METADATA" not in tags("audio")
    assert "STREAM-TYPE:0\n" in tags("audio")
    assert "AUDIO-METADATA" not in tags("video")
    assert "STREAM-TYPE:1\n" in tags("video")


def test_a_mix_names_no_user() -> None:
    head = PlaylistHead(user="", media="main", type="audiovideo", start_rec_ms=0, version="", date="")
    text = render(head, [], ended=False)
    assert "MIX-STREAM:1" in text
    assert "USER-ID" not in text


@given(
    st.integers(0, 10**13),
    st.lists(st.tuples(st.integers(1, 70_000), st.integers(0, 100_000), st.booleans()), min_size=1),
)
def test_without_a_mark_each_segment_begins_where_the_one_before_ended(
    start_ms: int, rows: list[tuple[int, int, bool]]
) -> None:
    """Also if a row's own duration was rounded otherwise; and no EXTINF exceeds the target."""
    segments = []
    for number, (length_ms, hole_ms, mark) in enumerate(rows):
        segments.append(
            Segment(
                name="x",
                size=0,
                start_ms=start_ms + (hole_ms if mark else 0),
                duration_us=length_ms * 1000 - 400,
                discontinuity=mark,
            )
        )
        start_ms = segments[number].start_ms + length_ms
    text = render(HEAD, segments, ended=True)
    starts = [int(n) for n in re.findall(r"FILE-ATTR:(\d+)", text)]
    lengths = [int(a) * 1000 + int(b) for a, b in re.findall(r"EXTINF:(\d+)\.(\d{3}),", text)]
    target = int(re.findall(r"TARGETDURATION:(\d+)", text)[0])
    assert all(length <= target * 1000 for length in lengths)
    for k, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        if k + 1 < len(starts) and not segments[k + 1].discontinuity:
            assert start + length == starts[k + 1]


@given(st.lists(st.tuples(st.integers(1, 70_000), st.booleans()), min_size=1, max_size=12))
def test_a_playlist_that_grew_says_what_one_made_at_once_says(rows: list[tuple[int, bool]]) -> None:
    body = Body()
    segments: list[Segment] = []
    for number, (length_ms, mark) in enumerate(rows):
        segments.append(segment(number, number * 10_000, length_ms, mark=mark))
        body.add(segments[-1])
        assert body.render(HEAD, ended=False) == render(HEAD, segments, ended=False)
        assert body.count == len(segments)
