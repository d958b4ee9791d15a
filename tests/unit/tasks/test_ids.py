"""Task IDs go into object keys and URLs as they are."""

from __future__ import annotations

import re

from roomtape.tasks.ids import is_task_id, new_task_id


def test_an_id_is_64_safe_characters_and_never_drawn_twice() -> None:
    drawn = {new_task_id() for _ in range(500)}
    assert len(drawn) == 500
    assert all(re.fullmatch(r"[A-Za-z0-9-]{64}", task_id) and is_task_id(task_id) for task_id in drawn)
    assert any("-" in task_id for task_id in drawn)
    assert not any(task_id.startswith("-") for task_id in drawn), "a command line would take it for an option"


def test_what_is_no_id() -> None:
    good = new_task_id()
    for text in ("", "xx", good[:-1], good + "a", good[:-1] + "+", good[:-1] + "/", good[:-1] + "."):
        assert not is_task_id(text)
