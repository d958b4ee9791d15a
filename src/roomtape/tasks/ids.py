"""Task IDs: opaque, safe in object keys and URLs, with nothing inside that a move would make false."""

from __future__ import annotations

import base64
import re
import secrets
from typing import NewType

TaskId = NewType("TaskId", str)

_FORM = re.compile(r"[A-Za-z0-9-]{64}")


def new_task_id() -> TaskId:
    """Draw one: base64 of 48 random bytes with `/` as `-`, drawn again while it holds a `+`.

    One that begins with `-` is drawn again, too: a command line would take it for an option.

    Source: On-cloud Recording APIs > CreateCloudRecording > Output (alphabet as observed), 2026-01.
    """
    while True:
        text = base64.b64encode(secrets.token_bytes(48)).decode().replace("/", "-")
        if "+" not in text and not text.startswith("-"):
            return TaskId(text)


def is_task_id(text: str) -> bool:
    """Whether a text has the form of our IDs; says nothing of whether such a task exists."""
    return _FORM.fullmatch(text) is not None
