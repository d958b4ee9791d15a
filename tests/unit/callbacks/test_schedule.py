"""When an attempt follows a failed one, as numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from roomtape.callbacks.schedule import judge, next_start

DAY_S = 86_400.0


def _starts(attempt_takes_s: float, give_up_after_s: float) -> list[float]:
    starts, start, failures = [], 0.0, 0
    while start is not None:
        starts.append(start)
        failures += 1
        start = next_start(failures, start + attempt_takes_s, give_up_after_s)  # type: ignore[assignment]
    return starts


def test_the_published_minute_against_an_instant_refusal() -> None:
    assert _starts(0, 60) == [0, 0, 10, 20, 30, 40, 50, 60]


def test_the_published_minute_against_silence() -> None:
    assert _starts(5, 60) == [0, 5, 20, 35, 50]


def test_after_the_minute_pauses_grow_to_five_minutes_and_end_at_give_up() -> None:
    starts = _starts(0, DAY_S)
    assert starts[:8] == [0, 0, 10, 20, 30, 40, 50, 60]
    assert starts[8:11] == [90, 135, 202.5]
    assert starts[-1] == DAY_S
    pauses = [b - a for a, b in pairwise(starts[7:])]
    assert max(pauses) == 300
    assert pauses[:-1] == sorted(pauses[:-1])


@pytest.mark.parametrize("give_up_s", [0, 5, 30, 61, 300, DAY_S])
@pytest.mark.parametrize("takes_s", [0, 0.2, 5])
def test_no_attempt_starts_before_the_last_ended_or_later_than_give_up(
    give_up_s: float, takes_s: float
) -> None:
    starts = _starts(takes_s, give_up_s)
    assert all(later >= earlier + takes_s for earlier, later in pairwise(starts))
    assert all(int(start) <= give_up_s for start in starts)


def test_the_milliseconds_of_each_attempt_do_not_cost_the_last_one() -> None:
    starts = _starts(0.008, 60)
    assert [int(start) for start in starts] == [0, 0, 10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "delivered"), (429, "down"), (502, "down"), (503, "down"), (504, "down")]
    + [(status, "refused") for status in (201, 204, 301, 302, 307, 400, 401, 404, 500, 501, 599)],
)
def test_what_a_status_means(status: int, outcome: str) -> None:
    assert judge(status) == outcome
