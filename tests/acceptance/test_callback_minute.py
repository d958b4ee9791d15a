"""The published minute of retries, in real time, by the started product: the one test that waits it out."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from tests.support.receiver import CallbackReceiver, Received
from tests.support.stack import start_stack

STARTS_S = [0, 0, 10, 20, 30, 40, 50, 60]  # attempts against an instant refusal, page 647/39558
EARLY_S = 0.05  # sender and receiver read their clocks at different moments
LATE_S = 0.9  # "to the second", on a busy machine
KEY = "minuteKey0123456789"


@pytest.mark.slow
def test_r_cb_3_the_published_minute_in_real_time(tmp_path: Path) -> None:
    arrived: queue.Queue[Received] = queue.Queue()

    def refuse(received: Received) -> int:
        arrived.put(received)
        return 500

    receiver = CallbackReceiver(refuse)
    try:
        with start_stack(tmp_path / "data") as stack:
            stack.set_callbacks(receiver.url, key=KEY)
            task_id = stack.create_recording("nobody_here")
            attempts = [arrived.get(timeout=30) for _ in STARTS_S]
    finally:
        receiver.close()
    assert {(attempt.type, attempt.info["TaskId"]) for attempt in attempts} == {(301, task_id)}
    sent = {(attempt.raw, attempt.headers["sign"], attempt.headers["x-event-id"]) for attempt in attempts}
    assert len(sent) == 1
    assert attempts[0].signed_with(KEY)
    for attempt, wanted_s in zip(attempts, STARTS_S, strict=True):
        assert wanted_s - EARLY_S <= attempt.at_s - attempts[0].at_s <= wanted_s + LATE_S
