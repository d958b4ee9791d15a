"""How rooms and users may be written."""

from __future__ import annotations

import pytest

from roomtape.rooms.names import RoomName, is_room_id, is_user_id


@pytest.mark.parametrize("room_id", ["1", "4294967295", "70012"])
def test_integer_rooms(room_id: str) -> None:
    assert is_room_id("i", room_id)


@pytest.mark.parametrize("room_id", ["", "0", "-1", "01", "4294967296", "1.0", "room", "١"])
def test_not_integer_rooms(room_id: str) -> None:
    assert not is_room_id("i", room_id)


@pytest.mark.parametrize("room_id", ["a", "x" * 64, "A room, 1!#$%&()+-:;<=.>?@[]^_{}|~"])
def test_string_rooms(room_id: str) -> None:
    assert is_room_id("s", room_id)


@pytest.mark.parametrize("room_id", ["", "x" * 65, 'a"b', "a'b", "a*b", "a/b", "a\\b", "a`b", "房", "a\n"])
def test_not_string_rooms(room_id: str) -> None:
    assert not is_room_id("s", room_id)


def test_users() -> None:
    assert is_user_id("amy_1-2.3@x#:+=")
    assert is_user_id("x" * 64)
    for user_id in ("", "x" * 65, "a b", "a/b", "é"):
        assert not is_user_id(user_id)


def test_a_room_of_one_type_is_not_the_room_of_the_other() -> None:
    room = RoomName(1400000001, "i", "123")
    assert room.key == "1400000001/i/123"
    assert room.twin.key == "1400000001/s/123"
    assert RoomName.of_key(room.key) == room
    assert RoomName.of_key("7/s/a:b") == RoomName(7, "s", "a:b")
    with pytest.raises(ValueError, match="not a room key"):
        RoomName.of_key("7/x/a")
