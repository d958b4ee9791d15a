"""A frame that kills its decoder costs itself, not the recording."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomtape.media.frames import Samples
from roomtape.media.sound import SoundDecoder
from tests.support.inline import Inline
from tests.support.recordings import strip_aud
from tests.support.signals import h264_flashes, opus_beeps

POISON = b"\xfc poison"


class Died(BaseException):
    """Stands for a signal that nothing can catch."""


def test_f13_r_lost_5_a_frame_that_kills_each_time_is_left_out_and_told(
    inline: Callable[..., Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SoundDecoder.decode

    def decode(self: SoundDecoder, data: bytes) -> Samples:
        if data == POISON:
            raise Died
        return real(self, data)

    monkeypatch.setattr(SoundDecoder, "decode", decode)
    it = inline()
    it.start()
    rows = list(opus_beeps(8))
    rows[220] = rows[220]._replace(data=POISON)  # at 4.4 s, where it is quiet
    video = it.publish("amy", "video", h264_flashes(8))
    it.publish("amy", "audio", tuple(rows))
    deaths = 0
    while it.now_s < 8:
        try:
            it.until(min(8, it.now_s + 0.5))
        except Died:
            deaths += 1
            it.die()
            it.start()
            it.now_s -= 0.5
    it.stop()
    assert deaths == 4
    assert [n.count for n in it.notes("gap_poison")] == [1]
    seen = it.measured("amy", "main", "audio")
    assert seen.audio_gaps_s == []
    assert seen.beeps_s == pytest.approx(list(range(8)), abs=0.062)
    pictures = it.elementary("amy", "main", "video").pictures
    sent = [frame.data for frame in it.core.sent[video.track]]
    assert [strip_aud(data) for _pts, _dts, data in pictures] == sent


def test_a_worker_killed_between_frames_leaves_no_suspicion(inline: Callable[..., Inline]) -> None:
    it = inline()
    it.start()
    it.publish("amy", "audio", opus_beeps(6))
    for second in range(1, 7):
        it.until(second)
        it.die()
        it.start()
    it.stop()
    assert it.notes("gap_poison") == []
    assert not (it.directory / "spool" / "poison.json").exists()
