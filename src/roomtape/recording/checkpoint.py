"""What a journal's checkpoint says: all a new worker needs to go on where the last batch ended.

It is JSON on purpose: a hundred bytes per stream that a person can read.
"""

from __future__ import annotations

from typing import Any

import msgspec

STOPPED = "stop"  # no input will come any more
STRETCH = "stretch"  # the media core was about to go; what comes later is after a hole


class StrandState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One stream: where its input stands and the state of its element."""

    user: str
    media: str
    kind: str
    stream: int
    track: int | None = None  # of the boot the checkpoint names
    next_seq: int = -1  # the first frame not yet in the journal; -1: none is
    element: dict[str, Any] | None = None
    since_ns: int = 0  # wanted from this monotonic instant on
    blocked_until: int | None = None  # monotonic; its user is blocked and counts as publishing so long


class OutletState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One output: whether it is interrupted, and since when."""

    key: str
    strands: list[int]
    dormant_ns: int | None = None  # task time at which the last of its media went away
    hole: bool = False  # its next packet begins after a hole
    priming: bytes = b""


class Checkpoint(msgspec.Struct, kw_only=True, omit_defaults=True):
    boot_id: str = ""
    watermark_ns: int = 0
    strands: list[StrandState] = []
    outlets: list[OutletState] = []
    done: list[int] = []  # tracks of this boot that were read to their end
    ended: str = ""

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Checkpoint:
        """Raises msgspec.ValidationError for a checkpoint of another make."""
        return msgspec.convert(state, cls)
