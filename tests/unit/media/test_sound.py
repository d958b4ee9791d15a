"""Sound on its grid: nothing between packets, nothing twice, and a seam nobody hears."""

from __future__ import annotations

import json
import random

import av
import numpy as np
import pytest

from roomtape.media.aac_coder import FRAME, AacCoder, silent_frame
from roomtape.media.adts import AAC_LC, AacConfig
from roomtape.media.frames import NS, PREROLL, Coded, Samples, TapFrame, Track
from roomtape.media.sound import GridSound, KeptSound
from tests.support.signals import aac_beeps, opus_beeps

RATE = 48_000
OPUS = Track(1, "amy", "audio", "opus", RATE, channels=2)
SEAM_DB = 1.5  # worst loss at a seam against an unbroken run; 0.7 was measured, 4 and more is audible


def frames(long_s: float, first: int = 0, last: int | None = None) -> list[TapFrame]:
    rows = opus_beeps(long_s)
    return [
        TapFrame(1, seq, 1, row.pts, row.dts, row.pts * NS // RATE, row.data) for seq, row in enumerate(rows)
    ][first:last]


def pcm(packets: list[Coded]) -> Samples:
    """Decode AAC packets; sample 0 is the first packet's first."""
    decoder = av.CodecContext.create("aac", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = AacConfig(AAC_LC, RATE, 2).extradata()
    parts = [f.to_ndarray() for p in packets for f in decoder.decode(av.Packet(p.data))]
    return np.concatenate(parts, axis=1)


def test_packets_lie_on_a_grid_from_the_first_sample_and_priming_is_kept_apart() -> None:
    sound = GridSound()
    sound.begin(OPUS)
    out = sound.push(frames(2), 0) + sound.flush()
    assert [p.pts for p in out] == [n * FRAME for n in range(len(out))]
    assert len(out) == -(-2 * RATE // FRAME)
    assert sound.priming


def test_batches_of_any_size_give_the_same_bytes() -> None:
    whole, parts = GridSound(), GridSound()
    whole.begin(OPUS)
    parts.begin(OPUS)
    once = whole.push(frames(3), 0) + whole.flush()
    many: list[Coded] = []
    for n in range(0, 150, 7):
        many += parts.push(frames(3, n, n + 7), 0)
    many += parts.flush()
    assert [(p.pts, p.data) for p in once] == [(p.pts, p.data) for p in many]


def restarted(at: int) -> list[Coded]:
    """3 s of sound whose element dies after `at` packets and is made anew from its state."""
    first = GridSound()
    first.begin(OPUS)
    out = first.push(frames(3, 0, at), 0)
    state = json.loads(json.dumps(first.state()))
    second = GridSound.restore(state)
    second.begin(OPUS, resume=True)
    ago = second.preroll_ms
    assert ago <= 400, "the log keeps no more"
    preroll = [f for f in frames(3, 0, at) if f.pts >= at * 960 - ago * RATE // 1000]
    again = [f._replace(flags=f.flags | PREROLL) for f in preroll]
    return out + second.push(again + frames(3, at), 0) + second.flush()


def test_a_restart_continues_the_grid_and_its_seam_cannot_be_heard() -> None:
    unbroken = GridSound()
    unbroken.begin(OPUS)
    reference = pcm(unbroken.push(frames(3), 0) + unbroken.flush())
    source = np.concatenate([_decoded(f.data) for f in frames(3)], axis=1)
    for at in random.Random(7).sample(range(20, 140), 8):
        out = restarted(at)
        assert [p.pts for p in out] == [n * FRAME for n in range(len(out))]
        heard = pcm(out)
        seam = slice(at * 960 - 4 * FRAME, at * 960 + 2 * FRAME)
        # the decoder's first packet primes it: its sample 0 is the grid's sample 0
        assert _error_db(heard, source, seam) - _error_db(reference, source, seam) < SEAM_DB


_decoder = av.CodecContext.create("opus", "r")


def _decoded(data: bytes) -> Samples:
    assert isinstance(_decoder, av.AudioCodecContext)
    if not _decoder.is_open:
        _decoder.sample_rate, _decoder.layout = RATE, "stereo"
    return np.concatenate([f.to_ndarray() for f in _decoder.decode(av.Packet(data))], axis=1)


def _error_db(heard: Samples, source: Samples, where: slice) -> float:
    error = heard[:, where] - source[:, where]
    return float(10 * np.log10(np.mean(error**2) + 1e-9))


def test_silence_fills_what_time_brings_and_late_sound_is_trimmed() -> None:
    sound = GridSound()
    sound.begin(OPUS)
    out = sound.push(frames(1), 0)
    out += sound.fill_to(3 * RATE)
    assert sound.end == 3 * RATE
    late = [
        f._replace(pts=f.pts + 2 * RATE - 4800, capture_ns=f.capture_ns + 1_900_000_000) for f in frames(1)
    ]
    out += sound.push(late, 0) + sound.flush()
    assert [p.pts for p in out] == [n * FRAME for n in range(len(out))]
    assert len(out) * FRAME == pytest.approx(3.0 * RATE, abs=FRAME)


def test_f13_hostile_packets_are_silence_and_do_not_stop_the_rest() -> None:
    sound = GridSound()
    sound.begin(OPUS)
    chance = random.Random(3)
    rows = [
        f._replace(data=chance.randbytes(chance.randrange(1, 90))) if n % 3 == 0 else f
        for n, f in enumerate(frames(2))
    ]
    out = sound.push(rows, 0) + sound.flush()
    assert [p.pts for p in out] == [n * FRAME for n in range(len(out))]


def test_a_coder_gives_each_packet_once_from_the_one_that_is_due() -> None:
    coder = AacCoder(RATE, 2, next_index=40)
    assert coder.fed == 37 * FRAME
    places = [p.place for p in coder.push(np.zeros((2, 10 * FRAME), np.float32))]
    places += [p.place for p in coder.flush()]
    assert places == list(range(40, 47))


def test_kept_aac_is_never_changed_and_its_holes_are_whole_silent_frames() -> None:
    signal = aac_beeps(2)
    track = Track(1, "amy", "audio", "aac", 1000, 48_000, 2, signal.config)
    sound = KeptSound(48_000, 2)
    sound.begin(track)
    rows = [
        TapFrame(1, n, 1, f.pts * 1000 // RATE, 0, f.pts * NS // RATE, f.data)
        for n, f in enumerate(signal.frames)
        if not 20 <= n < 40
    ]
    out = sound.push(rows, 0)
    assert [p.pts for p in out] == [n * FRAME for n in range(len(signal.frames))]
    assert [p.data for p in out[:20]] == [f.data for f in signal.frames[:20]]
    assert {p.data for p in out[20:40]} == {silent_frame(48_000, 2)}
    assert [p.data for p in out[40:]] == [f.data for f in signal.frames[40:]]
