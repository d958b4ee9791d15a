"""When a callback is tried again. Pure: ages in seconds since the event became head of its queue.

Source: page 647/39558 for the first minute, read 2026-11; what comes after it is ours.
"""

from __future__ import annotations

from typing import Final, Literal

Outcome = Literal["delivered", "down", "refused"]

TIMEOUT_S: Final = 5.0
RETRY_S: Final = 10.0  # between attempts of the first minute, after the immediate second one
MINUTE_S: Final = 60.0  # the last attempt of the vendor's schedule starts at most so old
BACKOFF_MAX_S: Final = 300.0
POISON_S: Final = 600.0

_DOWN = frozenset({429, 502, 503, 504})


def judge(status: int) -> Outcome:
    """What an HTTP status says: it took the event, is not able to now, or does not take it."""
    if status == 200:
        return "delivered"
    return "down" if status in _DOWN else "refused"


def next_start(failures: int, age_s: float, give_up_after_s: float) -> float | None:
    """The age at which the next attempt starts after one that failed at `age_s`; None: give up.

    In the first minute: at once after the first failure, then 10 s after each. Later the wait is half
    the age, at most 5 minutes (so each attempt comes 1.5 times as late as the one before), with a last
    one exactly at `give_up_after_s`. With 60 s or less there is no later: the vendor's behaviour.
    """
    start = age_s if failures == 1 else age_s + RETRY_S
    # To the second, as the page counts: each attempt takes its milliseconds, and the eighth one comes
    # at 60.05, which is still "60".
    if int(start) <= min(MINUTE_S, give_up_after_s):
        return start
    if give_up_after_s <= MINUTE_S or age_s >= give_up_after_s:
        return None
    wait = min(max(age_s / 2, RETRY_S), BACKOFF_MAX_S)
    return min(age_s + wait, give_up_after_s)
