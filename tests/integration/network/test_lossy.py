"""Lost, doubled, late and reordered datagrams (F-10, G-17): what is asked for again is in the file."""

from __future__ import annotations

import pytest

from tests.integration.network.scenes import SCENES, Recorded

FRAME_S = 1 / 30
PROBING = "Could not find codec parameters"  # FFmpeg looks at 5 s only; the picture of "withheld" comes later


@pytest.mark.parametrize(
    ("user", "percent", "least"),
    [("loss1", 1, 0.999), ("loss5", 5, 0.995), ("bursts5", 5, 0.995), ("loss10", 10, 0.98), ("loss20", 20, 0.90)],
)
def test_f10_g17_pictures_are_stored_under_loss_with_retransmission(
    storm: dict[str, Recorded], user: str, percent: float, least: float
) -> None:
    seen = storm[user]
    assert seen.link is not None
    lost = 100 * seen.link["up"]["lost"] / seen.link["up"]["offered"]
    assert lost == pytest.approx(percent, rel=0.5), "the link did not lose what it was to lose"
    assert seen.link["down"]["lost"] > 0
    stored = len(seen.pictures.numbers) / seen.sent["sent_pictures"]
    assert stored >= least, f"{stored:.4f}; missing after {seen.pictures.holes()}"


@pytest.mark.parametrize("user", SCENES)
def test_whatever_happened_the_file_decodes_without_complaint(storm: dict[str, Recorded], user: str) -> None:
    seen = storm[user]
    said = [text for text in (*seen.pictures.complaints, *seen.measured.warnings) if PROBING not in text]
    assert said == []
    assert seen.measured.audio_gaps_s == []


def test_f10_doubled_and_reordered_datagrams_change_nothing(storm: dict[str, Recorded]) -> None:
    seen = storm["unruly"]
    assert seen.link is not None
    assert min(seen.link["up"]["doubled"], seen.link["up"]["reordered"]) > 100
    assert seen.pictures.holes() == []
    # Packets of the first picture that come later than the door sorts for (50 ms; this link delays by 130) are
    # refused; the file then begins with the next key picture.
    first = seen.pictures.numbers[0]
    assert first in (0, 30)
    assert seen.pictures.numbers == list(range(first, seen.sent["sent_pictures"]))


def test_r_rec_1_after_a_cut_cable_the_same_file_goes_on_in_its_place(storm: dict[str, Recorded]) -> None:
    seen = storm["cut"]
    assert seen.link is not None
    assert seen.link["up"]["lost"] > 100
    assert seen.pictures.numbers[-1] == seen.sent["sent_pictures"] - 1
    times: dict[int, float] = {}
    for number, at in zip(seen.pictures.numbers, seen.pictures.times_s, strict=True):
        times.setdefault(number, at)  # what refers to a lost picture may show any number
    for number in (0, 30, *range(300, 390, 30)):
        assert times[number] - times[0] == pytest.approx(number * FRAME_S, abs=2 * FRAME_S)
    missing = [beep for beep in range(13) if not any(abs(beep - at) < 0.06 for at in seen.measured.beeps_s)]
    assert 1 <= len(missing) <= 3
