"""Which pieces FFmpeg takes apart, beside the check that all of them get."""

from __future__ import annotations

from itertools import pairwise

from roomtape.recording.piecework import is_sample


def test_one_piece_in_so_many_is_taken_of_a_long_recording() -> None:
    taken = [number for number in range(1000) if is_sample("task", "alice", number, 100)]
    assert len(taken) == 10
    assert {after - before for before, after in pairwise(taken)} == {100}


def test_first_pieces_are_taken_no_more_often_than_others() -> None:
    tasks = [f"task-{number}" for number in range(10_000)]
    for piece_no in (0, 1, 7):
        taken = sum(is_sample(task, "alice", piece_no, 100) for task in tasks)
        assert 50 <= taken <= 200, f"piece {piece_no}: {taken} of 10000, 100 are expected"


def test_every_piece_is_taken_where_that_is_asked_for() -> None:
    assert all(is_sample("task", "alice", number, 1) for number in range(50))
