"""What a recording makes of media that are missing, come late, come back or change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from roomtape.control import messages as say
from roomtape.media.frames import NS
from tests.support.inline import Inline
from tests.support.measure import measure_bytes
from tests.support.recordings import TASK, TASK0_NS, Source, read_pieces, strip_aud
from tests.support.signals import (
    AacSignal,
    Frame,
    aac_beeps,
    between,
    h264_flashes,
    moved,
    opus_beeps,
    vp8_flashes,
)

GOLDEN = Path(__file__).parents[2] / "golden"
BEEP_S = 0.062  # two Opus packets and one AAC frame
FRAME_S = 1 / 30 + 0.001
LIP_SYNC_S = 0.045  # ITU-R BT.1359: nobody notices less
SBR_DELAY_S = 0.021  # a decoder with replication gives its sound 962 samples of 48 kHz later
ROUNDED_TICKS = 1.5  # 44.1 kHz does not divide 90 kHz
MOSTLY_MISSING = 0.01  # 0.2 in the source, 0.02 to 0.12 after coarse coding; without replication nothing
SILENT_BYTES = 40  # what codes silence may be the same by chance
SBR_24_TO_48 = bytes.fromhex("2b118800")  # AudioSpecificConfig: SBR, 24 kHz, stereo, 48 kHz, LC


def test_r_gap_1_a_muted_microphone_is_silence_not_a_cut(inline: Callable[..., Inline]) -> None:
    it = inline()
    sound = opus_beeps(16)
    it.start()
    it.publish("amy", "audio", (*between(sound, 0, 3.5, 48_000), *between(sound, 8.5, 16, 48_000)))
    it.until(16)
    it.stop()
    seen = it.measured("amy", "main", "audio")
    assert seen.audio_gaps_s == []
    assert seen.beeps_s == pytest.approx([0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15], abs=BEEP_S)
    assert seen.duration_s == pytest.approx(16, abs=0.04)
    assert not any(p.discontinuity for p in it.of("amy", "main", "audio"))


def test_a_user_who_comes_back_goes_on_in_the_same_output_after_a_mark(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    first = [it.publish("amy", "video", h264_flashes(4)), it.publish("amy", "audio", opus_beeps(4))]
    it.until(4)
    for source in first:
        it.unpublish(source)
    it.until(9)
    it.publish("amy", "video", h264_flashes(5))
    it.publish("amy", "audio", opus_beeps(5))
    it.until(14)
    it.stop()
    for what in ("video", "audio"):
        pieces = it.of("amy", "main", what)
        assert [p.piece_no for p in pieces] == [0, 1]
        assert [p.discontinuity for p in pieces] == [False, True]
        assert pieces[0].end_ns == pytest.approx(4e9, abs=5e7)
        assert pieces[1].start_ns == pytest.approx(9e9, abs=5e7)
    beeps = it.measured("amy", "main", "audio").beeps_s
    assert beeps == pytest.approx([0, 1, 2, 3, 9, 10, 11, 12, 13], abs=BEEP_S)


def test_merged_sound_that_went_away_is_silence_while_the_picture_goes_on(
    inline: Callable[..., Inline],
) -> None:
    it = inline(av_merge=1)
    it.start()
    it.publish("amy", "video", h264_flashes(12))
    sound = it.publish("amy", "audio", opus_beeps(3))
    it.until(3)
    it.unpublish(sound)
    it.until(8)
    it.publish("amy", "audio", opus_beeps(4))
    it.until(12)
    it.stop()
    seen = it.measured("amy", "main", "audiovideo")
    assert seen.audio_gaps_s == []
    assert seen.warnings == []
    assert seen.beeps_s == pytest.approx([0, 1, 2, 8, 9, 10, 11], abs=BEEP_S)
    assert seen.flashes_s == pytest.approx(list(range(12)), abs=FRAME_S)
    assert not any(p.discontinuity for p in it.of("amy", "main", "audiovideo"))


@pytest.mark.parametrize(("away_s", "marked"), [(4, False), (40, True)])
def test_r_gap_3_merged_absence_is_filled_at_most_max_idle_time(
    inline: Callable[..., Inline], away_s: int, marked: bool
) -> None:
    it = inline(av_merge=1)
    it.start()
    both = [it.publish("amy", "video", h264_flashes(3)), it.publish("amy", "audio", opus_beeps(3))]
    it.until(3)
    for source in both:
        it.unpublish(source)
    it.until(3 + away_s)
    it.publish("amy", "video", h264_flashes(4))
    it.publish("amy", "audio", opus_beeps(4))
    it.until(7 + away_s)
    it.stop()
    pieces = it.of("amy", "main", "audiovideo")
    assert any(p.discontinuity for p in pieces) is marked
    seen = it.measured("amy", "main", "audiovideo")
    back = [3 + away_s + n for n in range(4)]
    assert seen.beeps_s == pytest.approx([0, 1, 2, *back], abs=BEEP_S)
    assert (seen.audio_gaps_s == []) is not marked
    assert max(map(abs, seen.av_offsets_s)) < 0.045


def test_r_key_2_a_picture_published_before_create_begins_with_the_first_idr_after_it(
    inline: Callable[..., Inline],
) -> None:
    it = inline()
    it.publish("amy", "video", h264_flashes(9), at_s=-1.5)
    it.publish("amy", "audio", opus_beeps(9), at_s=-1.5)
    for source in it.sources:
        source.push(it.core, it.plan.created_ns)
    it.start()
    it.until(7)
    it.stop()
    assert it.of("amy", "main", "video")[0].start_ns == pytest.approx(0.5e9, abs=5e7)
    assert it.of("amy", "main", "audio")[0].start_ns == pytest.approx(0, abs=5e7)
    assert it.core.keyframes_asked


@pytest.mark.parametrize(("pre_create", "start_s"), [("gop", -0.5), ("never", 3.5)])
def test_without_an_idr_in_a_second_the_held_one_begins_if_it_may(
    inline: Callable[..., Inline], pre_create: str, start_s: float
) -> None:
    it = inline(pre_create=pre_create)
    it.publish("amy", "video", h264_flashes(9, gop_s=4), at_s=-0.5)
    it.sources[0].push(it.core, it.plan.created_ns)
    it.start()
    it.until(8)
    it.stop()
    assert it.of("amy", "main", "video")[0].start_ns == pytest.approx(start_s * 1e9, abs=5e7)


@pytest.mark.parametrize(("pre_create", "pictures"), [("gop", 30), ("never", 0)])
@pytest.mark.parametrize("av_merge", [0, 1])
def test_one_that_is_stopped_before_an_idr_comes_has_the_held_one_if_it_may(
    inline: Callable[..., Inline], pre_create: str, pictures: int, av_merge: int
) -> None:
    """From the last IDR before Create on; the sound begins at Create."""
    it = inline(pre_create=pre_create, av_merge=av_merge)
    for kind, frames in (("video", h264_flashes(9, gop_s=4)), ("audio", opus_beeps(9))):
        it.publish("amy", kind, frames, at_s=-0.5)
    for source in it.sources:
        source.push(it.core, it.plan.created_ns)
    it.start()
    it.until(0.5)
    it.stop()
    what = "audiovideo" if av_merge else "video"
    found = it.elementary("amy", "main", what).pictures if it.of("amy", "main", what) else []
    assert len(found) == pictures
    if pictures:
        assert found[0][0] == pytest.approx(-0.5 * 90_000, abs=4500)
        assert it.measured("amy", "main", what).warnings == []
    sound = it.of("amy", "main", "audiovideo" if av_merge else "audio")
    assert len(sound) == 1
    assert len(it.elementary("amy", "main", "audiovideo" if av_merge else "audio").aac) in (23, 24, 25)


def test_f30_r_res_1_a_change_of_size_begins_a_piece_after_a_mark(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    small, large = h264_flashes(4), h264_flashes(4, width=320, height=192, start_s=4.0)
    it.publish("amy", "video", (*small, *large))
    it.until(8)
    it.stop()
    pieces = it.of("amy", "main", "video")
    assert [(p.width, p.height, p.discontinuity) for p in pieces] == [(160, 96, False), (320, 192, True)]
    assert it.measured("amy", "main", "video").sizes == [(160, 96), (320, 192)]


def test_vp8_becomes_h264_frame_by_frame(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    frames = vp8_flashes(6)
    it.publish("amy", "video", frames, codec="vp8")
    it.until(6)
    it.stop()
    seen = it.measured("amy", "main", "video")
    assert len(seen.pictures) == len(frames)
    assert seen.flashes_s == pytest.approx(list(range(6)), abs=0.001)
    assert seen.warnings == []


def test_r_cap_1_aac_is_kept_byte_for_byte_and_its_holes_are_silence(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    signal = aac_beeps(12, sample_rate=44_100)
    frames = [*between(signal.frames, 0, 4.5, 44_100), *between(signal.frames, 7.5, 11.95, 44_100)]
    coarse = [f._replace(pts=f.pts * 1000 // 44_100, dts=f.dts * 1000 // 44_100) for f in frames]
    it.publish(
        "amy",
        "audio",
        tuple(coarse),
        codec="aac",
        clock=1000,
        time_base_den=1000,
        extradata=signal.config,
        sample_rate=44_100,
    )
    it.until(12)
    it.stop()
    seen = it.measured("amy", "main", "audio")
    assert (seen.sample_rate, seen.audio_gaps_s, seen.warnings) == (44_100, [], [])
    assert seen.beeps_s == pytest.approx([0, 1, 2, 3, 4, 8, 9, 10, 11], abs=0.03)
    assert seen.duration_s == pytest.approx(12, abs=0.04)


def test_modify_ends_one_user_and_takes_him_back(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    it.publish("amy", "audio", opus_beeps(12))
    it.publish("bob", "audio", opus_beeps(12))
    it.until(4)
    only_amy = say.Subscription(audio_allow=["amy"])
    it.control(say.Modify(task_id=TASK, epoch=it.epoch, subscription=only_amy))
    it.until(8)
    ended = [m.output for m in it.said if isinstance(m, say.OutputEnded)]
    assert ended == ["bob\x1fmain\x1faudio"]
    it.control(say.Modify(task_id=TASK, epoch=it.epoch, subscription=say.Subscription()))
    it.until(12)
    it.stop()
    assert it.measured("amy", "main", "audio").beeps_s == pytest.approx(list(range(12)), abs=BEEP_S)
    bob = it.of("bob", "main", "audio")
    assert [p.discontinuity for p in bob] == [False, True]
    assert bob[1].start_ns == pytest.approx(8e9, abs=1e8)
    beeps = it.measured("bob", "main", "audio").beeps_s
    assert beeps == pytest.approx([0, 1, 2, 3, 8, 9, 10, 11], abs=BEEP_S)


def test_after_a_new_boot_the_same_outputs_go_on_after_a_mark(inline: Callable[..., Inline]) -> None:
    it = inline(av_merge=1)
    it.start()
    it.publish("amy", "video", h264_flashes(5))
    it.publish("amy", "audio", opus_beeps(5))
    it.until(5)
    it.recorder.close_stretch(it.plan.created_ns)
    it.die()
    it.now_s = 8
    it.reboot()
    it.start(new_stretch=True)
    it.publish("amy", "video", h264_flashes(4))
    it.publish("amy", "audio", opus_beeps(4))
    it.until(12)
    it.stop()
    pieces = it.of("amy", "main", "audiovideo")
    assert [(p.piece_no, p.discontinuity) for p in pieces] == [(0, False), (1, True)]
    assert pieces[0].duration_us == pytest.approx(5e6, abs=1.2e6)
    assert pieces[1].start_ns == pytest.approx(8e9, abs=5e7)
    seen = it.measured("amy", "main", "audiovideo")
    assert seen.beeps_s == pytest.approx([0, 1, 2, 3, 4, 8, 9, 10, 11], abs=BEEP_S)


def test_an_overrun_is_told_and_goes_on_at_the_next_key_frame(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.core.keep_ns = 2_000_000_000
    it.start()
    source = it.publish("amy", "video", h264_flashes(12))
    it.until(4)
    it.die()
    while it.now_s < 10:
        it.now_s += 0.5
        source.push(it.core, it._now_ns)
        it.core.advance("1400000001/s/class", it._now_ns)
    it.start()
    it.until(12)
    it.stop()
    assert sum(n.count for n in it.notes("gap_overrun")) > 0
    pictures = it.elementary("amy", "main", "video").pictures
    sent = {frame.data for frame in it.core.sent[source.track]}
    assert all(strip_aud(data) in sent for _pts, _dts, data in pictures)
    assert it.measured("amy", "main", "video").flashes_s[-3:] == pytest.approx([9, 10, 11], abs=FRAME_S)


def test_r_gap_1_pictures_that_did_not_arrive_are_told_of_once_per_hole(
    inline: Callable[..., Inline],
) -> None:
    it = inline()
    it.start()
    frames = h264_flashes(8)
    source = it.publish("amy", "video", (*between(frames, 0, 2.5, 90_000), *between(frames, 3, 5.2, 90_000),
                                         *between(frames, 6, 8, 90_000)))  # fmt: skip
    # What the file begins with may be behind a hole too: nobody misses it.
    source.behind_gaps = frozenset({0, 3 * 90_000, 6 * 90_000})
    it.until(8)
    it.stop()
    assert sum(n.count for n in it.notes("gap_network")) == 2
    seen = it.measured("amy", "main", "video")
    assert seen.warnings == []
    assert seen.flashes_s == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7], abs=FRAME_S)


def test_derived_tracks_are_never_recorded(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    it.publish("amy", "audio", opus_beeps(3))
    it.publish("amy", "aux", tuple(moved(h264_flashes(3), 0, 90_000)), derived_from=1)
    it.until(3)
    it.stop()
    assert {output for output, _no in it.pieces} == {"amy\x1fmain\x1faudio"}


def test_a_picture_that_sends_nothing_is_black_after_two_seconds(inline: Callable[..., Inline]) -> None:
    it = inline(fill_type=1)
    it.start()
    frames = h264_flashes(14)
    it.publish("amy", "video", (*between(frames, 0, 3.5, 90_000), *between(frames, 9.5, 14, 90_000)))
    it.until(14)
    it.stop()
    seen = it.measured("amy", "main", "video")
    assert seen.warnings == []
    assert seen.flashes_s == pytest.approx([0, 1, 2, 3, 10, 11, 12, 13], abs=FRAME_S)
    ours = [p for p in seen.pictures if 3.5 <= p.time_s < 10]
    assert [p.time_s for p in ours] == pytest.approx([5.47, 6.47, 7.47, 8.47], abs=0.05)
    assert all(p.key and p.luma < 20 for p in ours)
    assert it.core.keyframes_asked
    assert not any(p.discontinuity for p in it.of("amy", "main", "video"))


def test_a_merged_picture_that_was_taken_away_is_black_at_once(inline: Callable[..., Inline]) -> None:
    it = inline(fill_type=1, av_merge=1)
    it.start()
    it.publish("amy", "audio", opus_beeps(8))
    picture = it.publish("amy", "video", h264_flashes(3))
    it.until(3)
    it.unpublish(picture)
    it.until(8)
    it.stop()
    seen = it.measured("amy", "main", "audiovideo")
    ours = [p.time_s for p in seen.pictures if p.time_s >= 3 - FRAME_S / 2]
    assert ours == pytest.approx([3, 4, 5, 6, 7], abs=0.05)
    assert seen.audio_gaps_s == []


def test_a_blocked_user_is_silence_without_a_mark(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    sound = it.publish("amy", "audio", opus_beeps(3))
    it.until(3)
    it.unpublish(sound, cause="blocked")
    it.until(8)
    it.publish("amy", "audio", opus_beeps(3))
    it.until(11)
    it.stop()
    seen = it.measured("amy", "main", "audio")
    assert seen.audio_gaps_s == []
    assert seen.beeps_s == pytest.approx([0, 1, 2, 8, 9, 10], abs=BEEP_S)
    assert not any(p.discontinuity for p in it.of("amy", "main", "audio"))


@pytest.mark.parametrize("when", ["before the death", "while nobody reads"])
def test_a_block_is_known_to_the_next_worker(inline: Callable[..., Inline], when: str) -> None:
    it = inline()
    it.start()
    sound = it.publish("amy", "audio", opus_beeps(3))
    picture = it.publish("amy", "video", h264_flashes(3))
    it.until(3)
    if when == "while nobody reads":
        it.die()
        for source in (sound, picture):
            it.core.stop_track(source.track, at_ns=TASK0_NS + 3 * NS, cause="blocked")
        it.sources.clear()
    else:
        for source in (sound, picture):
            it.unpublish(source, cause="blocked")
        it.until(5)
        it.die()
    it.start()
    it.until(8)
    it.publish("amy", "audio", opus_beeps(3))
    it.publish("amy", "video", h264_flashes(3))
    it.until(11)
    it.stop()
    heard, seen = it.measured("amy", "main", "audio"), it.measured("amy", "main", "video")
    assert heard.audio_gaps_s == []
    assert heard.beeps_s == pytest.approx([0, 1, 2, 8, 9, 10], abs=BEEP_S)
    assert seen.flashes_s == pytest.approx([0, 1, 2, 8, 9, 10], abs=FRAME_S)
    for what in ("audio", "video"):
        assert not any(p.discontinuity for p in it.of("amy", "main", what))


def test_a_block_ends_with_the_media_core(inline: Callable[..., Inline]) -> None:
    """Rooms begin anew: whoever published before counts as gone, blocked or not."""
    it = inline()
    it.start()
    sound = it.publish("amy", "audio", opus_beeps(3))
    it.until(3)
    it.unpublish(sound, cause="blocked")
    it.until(4)
    it.die()
    it.reboot()
    it.start()
    it.until(8)
    it.publish("amy", "audio", opus_beeps(2))
    it.until(10)
    it.stop()
    pieces = it.of("amy", "main", "audio")
    assert [p.discontinuity for p in pieces] == [False, True]
    assert it.measured("amy", "main", "audio").beeps_s == pytest.approx([0, 1, 2, 8, 9], abs=BEEP_S)


def test_a_held_picture_does_not_keep_a_piece_open_past_its_bound(inline: Callable[..., Inline]) -> None:
    it = inline(av_merge=1, piece_ms=2000, max_piece_ms=6000)
    it.start()
    it.publish("amy", "audio", opus_beeps(20))
    frames = h264_flashes(20, gop_s=20)
    it.publish("amy", "video", tuple(between(frames, 0, 1.05, 90_000)))
    it.until(20)
    it.stop()
    pieces = it.of("amy", "main", "audiovideo")
    assert [p.start_ns / 1e9 for p in pieces] == pytest.approx([0, 6, 12, 18], abs=0.03)
    for piece in pieces[1:]:
        first = read_pieces([it.path(piece)]).pictures[0]
        assert first[1] == pytest.approx(piece.start_ns * 9 / 100_000, abs=2)
    seen = it.measured("amy", "main", "audiovideo")
    assert all(p.luma > 128 for p in seen.pictures if p.time_s > 1)  # the flash of second 1 is held
    assert seen.audio_gaps_s == []


def test_a_track_that_was_read_to_its_end_is_not_read_again_by_the_next_worker(
    inline: Callable[..., Inline],
) -> None:
    it = inline()
    it.start()
    first = it.publish("amy", "audio", opus_beeps(3))
    it.until(3)
    it.unpublish(first)
    it.until(4)
    it.die()
    it.start()  # the log still tells of the track
    it.publish("amy", "audio", opus_beeps(3))
    it.until(7)
    it.stop()
    seen = it.measured("amy", "main", "audio")
    assert seen.beeps_s == pytest.approx([0, 1, 2, 4, 5, 6], abs=BEEP_S)


def test_what_was_over_before_create_is_not_recorded(inline: Callable[..., Inline]) -> None:
    it = inline()
    gone = it.publish("amy", "video", h264_flashes(3), at_s=-4)
    gone.push(it.core, it.plan.created_ns)
    it.core.stop_track(gone.track)
    it.start()
    it.publish("bob", "audio", opus_beeps(3))
    it.until(3)
    it.stop()
    assert {output for output, _no in it.pieces} == {"bob\x1fmain\x1faudio"}


def test_another_aac_configuration_goes_on_in_the_same_output_after_a_mark(
    inline: Callable[..., Inline],
) -> None:
    it = inline()
    it.start()
    low, high = aac_beeps(4, sample_rate=44_100), aac_beeps(4, start_s=4.0)
    rows = [f._replace(pts=f.pts * 10 // 441, dts=f.dts * 10 // 441) for f in low.frames]
    later = [f._replace(pts=f.pts // 48, dts=f.dts // 48) for f in high.frames]
    aac = {"codec": "aac", "clock": 1000, "time_base_den": 1000, "sample_rate": 44_100}
    source = it.publish("amy", "audio", tuple(rows), extradata=low.config, **aac)
    it.until(4)
    it.core.change_config(source.track, high.config)
    it.sources.remove(source)
    it.sources.append(Source(source.track, later, 1000, source.at_ns))
    it.until(8)
    it.stop()
    pieces = it.of("amy", "main", "audio")
    assert [(p.piece_no, p.discontinuity) for p in pieces] == [(0, False), (1, True)]
    for piece, beeps in zip(pieces, ([0, 1, 2, 3], [4, 5, 6, 7]), strict=True):
        seen = measure_bytes(it.path(piece).read_bytes(), "mpegts", origin_s=10)
        assert seen.beeps_s == pytest.approx(beeps, abs=0.03)
        assert seen.sample_rate == (44_100 if piece.piece_no == 0 else 48_000)


def flv_sound(path: Path) -> tuple[bytes, tuple[Frame, ...]]:
    """The AudioSpecificConfig and the frames of a file, times in ms."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        packets = [packet for packet in file.demux(stream) if packet.size]
        frames = tuple(Frame(p.pts or 0, p.dts or 0, 43, True, bytes(p)) for p in packets)
        return bytes(stream.codec_context.extradata or b""), frames


def high_part(path: Path, *, from_s: float) -> float:
    """How strong the strongest tone of 8 to 12 kHz is in 40 ms of a piece, against the strongest of all."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
        start = float(frames[0].time or 0) - 10
        pcm = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        rate = frames[0].sample_rate
    first = round((from_s - start) * rate)
    part = pcm[first : first + rate // 25]
    strength = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    hz = np.fft.rfftfreq(len(part), 1 / rate)
    return float(strength[(hz > 8000) & (hz < 12_000)].max() / strength.max())


def publish_aac(
    it: Inline, signal: AacSignal, *, config: bytes = b"", samples: int = 1024, rate: int = 0
) -> Source:
    """AAC as RTMP brings it, in ms; `config`, `samples` and `rate` where they are not those of LC."""
    rate = rate or signal.sample_rate
    frames = tuple(
        f._replace(pts=n * samples * 1000 // rate, dts=n * samples * 1000 // rate)
        for n, f in enumerate(signal.frames)
    )
    return it.publish(
        "amy",
        "audio",
        frames,
        codec="aac",
        clock=1000,
        time_base_den=1000,
        extradata=config or signal.config,
        sample_rate=signal.sample_rate,
        channels=signal.channels,
    )


def test_stereo_that_turns_mono_goes_on_after_a_mark(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    both, one = aac_beeps(4, sample_rate=44_100), aac_beeps(4, sample_rate=44_100, channels=1, start_s=4.0)
    source = publish_aac(it, both)
    it.until(4)
    it.core.change_config(source.track, one.config)
    it.sources.remove(source)
    later = [f._replace(pts=f.pts * 10 // 441, dts=f.dts * 10 // 441) for f in one.frames]
    it.sources.append(Source(source.track, later, 1000, source.at_ns))
    it.until(8)
    it.stop()
    pieces = it.of("amy", "main", "audio")
    assert [(p.discontinuity, p.sample_rate, p.channels) for p in pieces] == [
        (False, 44_100, 2),
        (True, 44_100, 1),
    ]
    for piece, beeps in zip(pieces, ([0, 1, 2, 3], [4, 5, 6, 7]), strict=True):
        seen = measure_bytes(it.path(piece).read_bytes(), "mpegts", origin_s=10)
        assert seen.beeps_s == pytest.approx(beeps, abs=0.03)
        assert (seen.audio_gaps_s, seen.warnings) == ([], [])


def test_sound_announced_as_he_aac_is_decoded_to_its_full_rate(inline: Callable[..., Inline]) -> None:
    """Frames of 24 kHz LC whose configuration announces replication; they bring none, so the top is empty."""
    it = inline()
    it.start()
    signal = aac_beeps(6, sample_rate=24_000)
    publish_aac(it, signal, config=SBR_24_TO_48)
    it.until(6)
    it.stop()
    (piece,) = it.of("amy", "main", "audio")
    assert (piece.sample_rate, piece.channels) == (48_000, 2)
    seen = it.measured("amy", "main", "audio")
    assert seen.beeps_s == pytest.approx(list(range(6)), abs=SBR_DELAY_S + BEEP_S)
    assert (seen.audio_gaps_s, seen.warnings) == ([], [])


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize(("name", "rate"), [("he_aac_48000", 48_000), ("he_aac_v2_44100", 44_100)])
def test_he_aac_of_another_coder_is_heard_whole(
    inline: Callable[..., Inline], name: str, rate: int, kill: bool
) -> None:
    """Beeps of 1 kHz and 9 kHz; the upper one is not in the core of the stream, replication makes it."""
    it = inline()
    it.start()
    config, frames = flv_sound(GOLDEN / f"{name}.flv")
    it.publish(
        "amy",
        "audio",
        frames,
        codec="aac",
        clock=1000,
        time_base_den=1000,
        extradata=config,
        sample_rate=rate // 2,
        channels=2,
    )
    if kill:
        it.until(1.5)
        it.die()
        it.start()
    it.until(4)
    it.stop()
    (piece,) = it.of("amy", "main", "audio")
    assert (piece.sample_rate, piece.channels) == (rate, 2)
    seen = it.measured("amy", "main", "audio")
    assert seen.beeps_s == pytest.approx([0, 1, 2, 3], abs=BEEP_S)
    assert (seen.audio_gaps_s, seen.warnings) == ([], [])
    assert high_part(it.path(piece), from_s=2.02) > MOSTLY_MISSING


def test_lc_that_turns_he_aac_is_decoded_from_there_on(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    plain, low = aac_beeps(4), aac_beeps(4, sample_rate=24_000, start_s=4.0)
    source = publish_aac(it, plain)
    it.until(4)
    it.core.change_config(source.track, SBR_24_TO_48)
    it.sources.remove(source)
    later = [f._replace(pts=f.pts // 24, dts=f.dts // 24) for f in low.frames]
    it.sources.append(Source(source.track, later, 1000, source.at_ns))
    it.until(8)
    it.stop()
    pieces = it.of("amy", "main", "audio")
    assert [p.discontinuity for p in pieces] == [False, True]
    kept = it.elementary_of(pieces[0]).aac
    assert kept == [f.data for f in plain.frames][: len(kept)]
    assert len(kept) >= len(plain.frames) - 1
    made = it.elementary_of(pieces[1]).aac
    assert not set(made) & {f.data for f in low.frames if len(f.data) > SILENT_BYTES}
    seen = measure_bytes(it.path(pieces[1]).read_bytes(), "mpegts", origin_s=10)
    assert seen.sample_rate == 48_000
    assert seen.beeps_s == pytest.approx([4, 5, 6, 7], abs=SBR_DELAY_S + BEEP_S)


@pytest.mark.parametrize("av_merge", [0, 1])
def test_kept_aac_of_44_1_khz_lies_on_its_own_grid_in_step_with_the_picture(
    inline: Callable[..., Inline], av_merge: int
) -> None:
    it = inline(av_merge=av_merge)
    it.start()
    signal = aac_beeps(12, sample_rate=44_100)
    publish_aac(it, signal)
    it.publish("amy", "video", h264_flashes(12))
    it.until(12)
    it.stop()
    sound, both = ("audio", "video") if av_merge == 0 else ("audiovideo", "audiovideo")
    recorded = it.elementary("amy", "main", sound)
    kept = recorded.aac
    assert kept == [f.data for f in signal.frames][: len(kept)]
    assert len(kept) >= len(signal.frames) - 1
    grid = [recorded.sounds[0] + n * 1024 * 90_000 / 44_100 for n in range(len(kept))]
    assert recorded.sounds == pytest.approx(grid, abs=ROUNDED_TICKS)
    heard, seen = it.measured("amy", "main", sound), it.measured("amy", "main", both)
    assert heard.audio_gaps_s == []
    off = [beep - flash for beep, flash in zip(heard.beeps_s, seen.flashes_s, strict=True)]
    assert max(map(abs, off)) < LIP_SYNC_S


def test_only_the_first_users_have_a_place_and_a_leaver_s_goes_to_the_next(
    inline: Callable[..., Inline],
) -> None:
    it = inline(max_users=2)
    it.start()
    sources = [it.publish(user, "audio", opus_beeps(9), entered_ns=n) for n, user in enumerate("abc")]
    it.until(3)
    it.unpublish(sources[0])
    it.until(6)
    it.stop()
    users = {output.split("\x1f")[0]: piece for (output, _no), piece in it.pieces.items()}
    assert users.keys() == {"a", "b", "c"}
    assert users["c"].start_ns == pytest.approx(3e9, abs=6e8)


def test_r_ts_1_a_clock_that_jumps_is_placed_anew_and_told_once(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    hour_s = 3600
    for frames, clock, kind in ((opus_beeps(6), 48_000, "audio"), (h264_flashes(6), 90_000, "video")):
        source = it.publish("amy", kind, tuple(between(frames, 0, 3, clock)))
        reset = moved(between(frames, 3, 6, clock), hour_s, clock)
        it.sources.append(Source(source.track, reset, clock, source.at_ns - hour_s * NS))
    it.until(3)
    assert it.notes("resync") == []
    it.until(4)
    it.die()
    it.start()
    it.until(6)
    it.stop()
    assert sorted((n.text, n.count) for n in it.notes("resync")) == [
        ("the clock of track 1 (audio) jumped", 1),
        ("the clock of track 2 (video) jumped", 1),
    ]
    assert it.measured("amy", "main", "audio").beeps_s == pytest.approx(list(range(6)), abs=BEEP_S)
    assert it.measured("amy", "main", "video").flashes_s == pytest.approx(list(range(6)), abs=FRAME_S)
