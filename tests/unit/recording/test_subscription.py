"""Whom a recording takes: lists, prefixes, literal names, places."""

from __future__ import annotations

import pytest

from roomtape.control.messages import Subscription
from roomtape.recording.subscription import Presence, chosen


def room(*users: str, kinds: tuple[str, ...] = ("audio", "video")) -> list[tuple[Presence, str]]:
    return [(Presence(user, at), kind) for at, user in enumerate(users) for kind in kinds]


def users(found: set[tuple[str, str]], kind: str) -> set[str]:
    return {user for user, its in found if its == kind}


def test_empty_lists_mean_everyone() -> None:
    assert users(chosen(room("a", "b"), Subscription()), "audio") == {"a", "b"}


def test_sound_and_picture_are_chosen_apart() -> None:
    found = chosen(room("a", "b"), Subscription(audio_allow=["a"], video_deny=["a"]))
    assert found == {("a", "audio"), ("b", "video")}


@pytest.mark.parametrize(
    ("entry", "taken"),
    [
        ("1.*$", {"1", "12", "1abc"}),
        ("1.*", set()),
        ("1.", set()),
        (".*$", {"1", "12", "1abc", "21"}),
        ("12", {"12"}),
    ],
)
def test_only_the_exact_ending_makes_a_prefix(entry: str, taken: set[str]) -> None:
    found = chosen(room("1", "12", "1abc", "21"), Subscription(audio_allow=[entry]))
    assert users(found, "audio") == taken


def test_a_user_of_the_literal_name_turns_the_prefix_off() -> None:
    found = chosen(room("1", "12", "1.*$"), Subscription(audio_allow=["1.*$"]))
    assert users(found, "audio") == {"1.*$"}


def test_places_go_to_those_who_entered_first_and_a_user_takes_one() -> None:
    many = room(*[f"u{n:02}" for n in range(30)], kinds=("audio", "video", "aux"))
    found = chosen(reversed(many), Subscription())
    assert {user for user, _kind in found} == {f"u{n:02}" for n in range(25)}
    assert len(found) == 75


def test_users_who_are_not_subscribed_take_no_place() -> None:
    found = chosen(room("a", "b", "c"), Subscription(audio_deny=["a"], video_deny=["a"]), max_users=2)
    assert {user for user, _kind in found} == {"b", "c"}


@pytest.mark.parametrize(
    ("stream_type", "media_id", "kinds"),
    [
        (0, 0, {"audio", "video", "aux"}),
        (1, 0, {"audio"}),
        (2, 0, {"video", "aux"}),
        (0, 1, {"audio", "video"}),
        (0, 2, {"aux"}),
        (1, 2, set()),
    ],
)
def test_stream_type_and_media_id_bound_the_kinds(stream_type: int, media_id: int, kinds: set[str]) -> None:
    every = room("a", kinds=("audio", "video", "aux"))
    found = chosen(every, Subscription(), stream_type=stream_type, media_id=media_id)
    assert {kind for _user, kind in found} == kinds
