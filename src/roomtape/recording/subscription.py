"""Which users' media a recording takes: the four subscribe lists and the places there are.

Source: API docs > On-cloud Recording APIs > Data types > SubscribeStreamUserIds, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from roomtape.control.messages import Subscription

PATTERN_END = ".*$"  # an entry that ends so is a prefix; nothing else is a pattern
BOTH, ONLY_SOUND, ONLY_PICTURE = 0, 1, 2  # stream_type
MAIN_AND_AUX, ONLY_MAIN, ONLY_AUX = 0, 1, 2  # media_id


class Presence(NamedTuple):
    """A user who publishes something, and when that user came in."""

    user: str
    entered_ns: int


def matches(entries: Sequence[str], user: str, present: frozenset[str]) -> bool:
    """Whether one of `entries` means `user`.

    An entry that ends in `.*$` is a prefix, unless a user of exactly that name is in the room: then it
    means that one user.
    """
    for entry in entries:
        if entry == user:
            return True
        if entry in present or not entry.endswith(PATTERN_END):
            continue
        if user.startswith(entry.removesuffix(PATTERN_END)):
            return True
    return False


def wants(lists: Subscription, kind: str, user: str, present: frozenset[str]) -> bool:
    """Whether the lists take `user`'s media of this kind ("audio", "video" or "aux")."""
    sound = kind == "audio"
    allow = lists.audio_allow if sound else lists.video_allow
    deny = lists.audio_deny if sound else lists.video_deny
    if allow and not matches(allow, user, present):
        return False
    return not (deny and matches(deny, user, present))


def kinds(stream_type: int, media_id: int) -> frozenset[str]:
    """The kinds of track a task takes at all. The auxiliary stream has no sound of its own."""
    taken = set()
    if stream_type != ONLY_PICTURE and media_id != ONLY_AUX:
        taken.add("audio")
    if stream_type != ONLY_SOUND:
        if media_id != ONLY_AUX:
            taken.add("video")
        if media_id != ONLY_MAIN:
            taken.add("aux")
    return frozenset(taken)


def chosen(
    publishing: Iterable[tuple[Presence, str]],
    lists: Subscription,
    *,
    stream_type: int = BOTH,
    media_id: int = MAIN_AND_AUX,
    max_users: int = 25,
) -> set[tuple[str, str]]:
    """The (user, kind) pairs to record of all that are published.

    `max_users` places go to the subscribed users who came in first; a user takes one place whatever is
    published.
    """
    pairs = list(publishing)
    present = frozenset(presence.user for presence, _kind in pairs)
    taken_kinds = kinds(stream_type, media_id)
    wanted: dict[str, set[str]] = {}
    entered: dict[str, int] = {}
    for presence, kind in pairs:
        if kind in taken_kinds and wants(lists, kind, presence.user, present):
            wanted.setdefault(presence.user, set()).add(kind)
            at = entered.get(presence.user, presence.entered_ns)
            entered[presence.user] = min(at, presence.entered_ns)
    first = sorted(wanted, key=lambda user: (entered[user], user))[:max_users]
    return {(user, kind) for user in first for kind in wanted[user]}
