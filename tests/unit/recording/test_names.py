"""Names as customers' scripts take them apart."""

from __future__ import annotations

import pytest

from roomtape.recording import names


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("amy", "YW15"),
        ("class_7", "Y2xhc3NfNw.."),
        ("房1", "5oi-MQ.."),  # a slash in the base64 becomes a minus
        ("a", "YQ.."),
        ("ab>", "YWI+"),  # plus stays
        ("", ""),
    ],
)
def test_enc_is_base64_that_may_stand_in_a_name(text: str, encoded: str) -> None:
    assert names.enc(text) == encoded


def test_the_example_of_the_published_rules() -> None:
    """application 1600001234, string room class_7, user amy, prefixes school and 2026."""
    room = names.room_in_names("s", "class_7")
    start_ms = 1772352900125  # 2026-03-01 08:15:00.125 UTC
    name = names.piece_name(1600001234, room, "amy", "main", "video", start_ms)
    assert name == "1600001234_Y2xhc3NfNw..__UserId_s_YW15__UserId_e_main_video_20260301081500125.ts"
    assert names.object_key(("school", "2026"), "T-1", name) == f"school/2026/T-1/{name}"
    assert names.object_key((), "T-1", name) == f"T-1/{name}"


def test_an_integer_room_is_written_as_it_is() -> None:
    assert names.room_in_names("i", "20015") == "20015"
    assert names.room_in_names("s", "20015") == "MjAwMTU."


def test_single_stream_names() -> None:
    base = names.track_base(1, "20015", "amy", "aux")
    assert base == "1_20015__UserId_s_YW15__UserId_e_aux"
    assert names.playlist_name(1, "20015", "amy", "aux", "audiovideo") == f"{base}_audiovideo.m3u8"
    assert names.playlist_name(1, "20015", "amy", "aux", "video", part=2) == f"{base}_video_2.m3u8"
    assert names.file_name(base, "mp4", None) == f"{base}.mp4"
    assert names.file_name(base, "aac", 2) == f"{base}_2.aac"


def test_mixed_names_have_neither_user_nor_type() -> None:
    assert names.playlist_name(1, "20015", "", "main", "audiovideo") == "1_20015.m3u8"
    assert names.piece_name(1, "20015", "", "main", "audiovideo", 0) == "1_20015_19700101000000000.ts"
    assert names.file_name(names.track_base(1, "20015", "", "main"), "mp4", 1) == "1_20015_1.mp4"


def test_vod_names_have_single_underscores() -> None:
    base = names.track_base(1, "20015", "amy", "main", vod=True)
    assert base == "20015_UserId_s_YW15_UserId_e_main"
    assert names.defined_base("lesson", base) == f"lesson__UserDefine_u_{base}"


def test_a_task_that_moved_says_how_often() -> None:
    assert names.moved_prefix(0) == ""
    prefix = names.moved_prefix(4)
    assert names.playlist_name(1, "9", "amy", "main", "audio", prefix=prefix).startswith("ha4_1_9__UserId_s_")
    assert names.piece_name(1, "9", "amy", "main", "audio", 0, prefix=prefix).startswith("ha4_1_9__")


def test_utc_has_seventeen_digits_before_and_after_1970() -> None:
    assert names.utc17(1772352900007) == "20260301081500007"
    assert names.utc17(-1) == "19691231235959999"
