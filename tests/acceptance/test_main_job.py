"""The main job through the outside only: two people publish, the official SDK records, files and callbacks.

One call of 13 s is recorded by many tasks at once, each with its own parameters; every test looks at
one promise. FFmpeg's whip and flv muxers publish, the unmodified official client calls.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import CALLBACK_KEY
from tests.support.measure import Measured, measure
from tests.support.numbered import joined, pictures
from tests.support.publishers import publish_rtmp, publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

ROOM = "class_7"
CALL_S = 13.0
PIECE_S = 10.0
FRAME_S = 1 / 30
EARLY_S, LATE_S, MEDIAN_S = 0.040, 0.060, 0.020  # the lip-sync band of each flash and of the median
FINAL = {0: 305, 1: 310, 2: 310, 3: 310, 4: 310}

TASKS: dict[str, dict[str, Any]] = {
    "separate": {"OutputFormat": 0},
    "merged_mp4": {"OutputFormat": 1, "AvMerge": 1},
    "separate_mp4": {"OutputFormat": 1, "AvMerge": 0},
    "hls_aac": {"OutputFormat": 2, "AvMerge": 0},
    "mp4_only": {"OutputFormat": 3, "AvMerge": 1},
    "aac_only": {"OutputFormat": 4, "StreamType": 1},
    "sound_only": {"OutputFormat": 0, "StreamType": 1},
    "picture_only": {"OutputFormat": 0, "StreamType": 2, "MediaId": 1},
    "prefix_list": {"OutputFormat": 0, "SubscribeStreamUserIds": {
        "SubscribeAudioUserIds": ["ali.*$"], "UnSubscribeVideoUserIds": ["b.*$"]}},
}


def enc(text: str) -> str:
    return base64.b64encode(text.encode()).decode().replace("/", "-").replace("=", ".")


@dataclass
class Call:
    """What the recorded call left behind."""

    stack: Stack
    callbacks: CallbackReceiver
    tasks: dict[str, str]
    live: dict[str, dict[str, Any]]
    sent: dict[str, dict[str, Any]]

    def files(self, task: str, suffix: str) -> list[Path]:
        return recordings(self.stack, self.tasks[task], suffix)

    def types(self, task: str) -> list[int]:
        events = self.callbacks.events(task_id=self.tasks[task])
        return [e.type for e in sorted(events, key=lambda e: e.info["EventMsTs"])]

    def event(self, task: str, type_: int) -> list[dict[str, Any]]:
        return [e.payload for e in self.callbacks.events(type_, task_id=self.tasks[task])]


@pytest.fixture(scope="module")
def call(stack: Stack, callbacks: CallbackReceiver) -> Call:
    alice = publish_whip(stack, ROOM, "alice", seconds=CALL_S + 30)
    alice.wait_up()  # she opens the room
    bob = publish_rtmp(stack, ROOM, "bob", seconds=CALL_S + 30)
    tasks: dict[str, str] = {}
    try:
        bob.wait_up()
        for name, record in TASKS.items():
            tasks[name] = stack.create_recording(ROOM, robot=f"robot_{name}", **record)
        callbacks.wait(307, task_id=tasks["separate"], timeout_s=CALL_S + 10, count=4)  # 10 s of each track are a file
        live = {name: stack.describe(task) for name, task in tasks.items()}
    finally:
        sent = {"alice": alice.end(), "bob": bob.end()}
    for task in tasks.values():
        stack.delete(task)
    for name, task in tasks.items():
        callbacks.wait(FINAL[TASKS[name]["OutputFormat"]], task_id=task, timeout_s=30)
    return Call(stack, callbacks, tasks, live, sent)


def playlist(call: Call, task: str, user: str, media_type: str) -> tuple[Path, list[str]]:
    found = [p for p in call.files(task, ".m3u8") if f"_s_{enc(user)}__" in p.name and p.name.endswith(f"_{media_type}.m3u8")]
    assert len(found) == 1, [p.name for p in call.files(task, ".m3u8")]
    return found[0], found[0].read_text().splitlines()


def segments(path: Path, lines: list[str]) -> list[Path]:
    return [path.parent / line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("user", ["alice", "bob"])
@pytest.mark.parametrize("task", ["separate", "picture_only"])
def test_every_picture_sent_while_recorded_is_in_the_file_once(call: Call, task: str, user: str, tmp_path: Path) -> None:
    path, lines = playlist(call, task, user, "main_video")
    seen = pictures(joined(segments(path, lines), tmp_path / "all.ts"))
    assert seen.holes() == []
    # The call ends when the first task has its first whole piece; the other was created a moment later.
    assert len(seen.numbers) >= (PIECE_S - 1) / FRAME_S
    assert seen.numbers[-1] >= call.sent[user]["pictures"] - 2, "the end of the call is missing"
    assert seen.complaints == []


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_file_of_both_media_is_lip_synced_and_complete(call: Call, user: str) -> None:
    file = next(p for p in call.files("merged_mp4", ".mp4") if enc(user) in p.name)
    seen: Measured = measure(file)
    pictured = pictures(file)
    assert pictured.holes() == []
    assert pictured.complaints == []
    offsets = sorted(seen.av_offsets_s)
    assert len(offsets) >= 9
    assert abs(offsets[len(offsets) // 2]) <= MEDIAN_S
    assert all(-EARLY_S <= offset <= LATE_S for offset in offsets), offsets


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_separate_tracks_are_aligned_by_their_start_times(call: Call, user: str, tmp_path: Path) -> None:
    starts: dict[str, int] = {}
    marks: dict[str, list[float]] = {}
    for kind in ("main_video", "main_audio"):
        path, lines = playlist(call, "separate", user, kind)
        start = next(line for line in lines if line.startswith("#EXT-X-TRTC-START-REC-TIME:"))
        starts[kind] = int(start.split(":")[1])
        seen = measure(joined(segments(path, lines), tmp_path / f"{kind}.ts"))
        found = seen.flashes_s if kind == "main_video" else seen.beeps_s
        marks[kind] = [starts[kind] / 1000 + at for at in found]
    offsets = sorted(
        min((beep - flash for beep in marks["main_audio"]), key=abs) for flash in marks["main_video"][1:-1]
    )
    assert len(offsets) >= 7
    assert abs(offsets[len(offsets) // 2]) <= MEDIAN_S
    assert all(-EARLY_S <= offset <= LATE_S for offset in offsets), offsets


def test_playlists_carry_the_documented_tags_and_continuous_times(call: Call) -> None:
    path, lines = playlist(call, "separate", "alice", "main_video")
    names = [line.split(":", 1)[0] for line in lines if line.startswith("#EXT")]
    head = names[: names.index("#EXT-X-TRTC-FILE-ATTR")]
    assert head[:5] == ["#EXTM3U", "#EXT-X-VERSION", "#EXT-X-ALLOW-CACHE", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-TARGETDURATION"]
    assert {"#EXT-X-TRTC-START-REC-TIME", "#EXT-X-TRTC-MEDIA-ID", "#EXT-X-TRTC-USER-ID", "#EXT-X-TRTC-VIDEO-METADATA"} <= set(head)
    assert "#EXT-X-TRTC-USER-ID:alice" in lines
    assert "#EXT-X-TRTC-VIDEO-METADATA:WIDTH:320 HEIGHT:180 Codec:27" in lines
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert "#EXT-X-DISCONTINUITY" not in lines
    attrs = [line.split(":")[1].split(",") for line in lines if line.startswith("#EXT-X-TRTC-FILE-ATTR")]
    lengths = [round(float(line.split(":")[1].rstrip(",")) * 1000) for line in lines if line.startswith("#EXTINF")]
    for (at, _), length, (following, _) in zip(attrs, lengths, attrs[1:], strict=False):
        assert int(at) + length == int(following)
    for segment, (at, size) in zip(segments(path, lines), attrs, strict=True):
        assert segment.stat().st_size == int(size)
        stamp = segment.stem.rsplit("_", 1)[1]
        assert re.fullmatch(r"\d{17}", stamp)
        assert stamp.endswith(f"{int(at) % 1000:03d}")


def test_names_follow_the_published_pattern(call: Call) -> None:
    prefix = f"{call.stack.sdk_app_id}_{enc(ROOM)}__UserId_s_{enc('alice')}__UserId_e_main"
    assert f"{prefix}_video.m3u8" in [p.name for p in call.files("separate", ".m3u8")]
    assert f"{prefix}_audiovideo.m3u8" in [p.name for p in call.files("merged_mp4", ".m3u8")]
    assert f"{prefix}.mp4" in [p.name for p in call.files("merged_mp4", ".mp4")]
    assert f"{prefix}.aac" in [p.name for p in call.files("aac_only", ".aac")]


@pytest.mark.parametrize(("task", "suffixes"), [
    ("separate", {".m3u8", ".ts"}), ("merged_mp4", {".m3u8", ".ts", ".mp4"}), ("hls_aac", {".m3u8", ".ts", ".aac"}),
    ("mp4_only", {".mp4"}), ("aac_only", {".aac"}),
])  # fmt: skip
def test_each_output_format_stores_what_it_promises(call: Call, task: str, suffixes: set[str]) -> None:
    assert {p.suffix for p in call.stack.bucket(call.tasks[task]).iterdir()} == suffixes


def test_stream_type_and_lists_choose_what_is_recorded(call: Call) -> None:
    def tracks(task: str) -> set[str]:
        return {re.sub(r"^.*_s_(.*)__UserId_e_(.*)\.m3u8$", r"\1 \2", p.name) for p in call.files(task, ".m3u8")}

    alice, bob = enc("alice"), enc("bob")
    assert tracks("sound_only") == {f"{alice} main_audio", f"{bob} main_audio"}
    assert tracks("picture_only") == {f"{alice} main_video", f"{bob} main_video"}
    assert tracks("prefix_list") == {f"{alice} main_audio", f"{alice} main_video"}


def test_describe_tells_the_state_and_the_playlists(call: Call) -> None:
    for name in ("separate", "merged_mp4"):
        live = call.live[name]
        assert live["Status"] == "InProgress"
        assert {f["TrackType"] for f in live["StorageFileList"]} == ({"audio", "video"} if name == "separate" else {"audio_video"})
        after = call.stack.describe(call.tasks[name])
        assert after["Status"] == "Exited"
        assert {f["UserId"] for f in after["StorageFileList"]} == {"alice", "bob"}
    file = next(f for f in call.live["separate"]["StorageFileList"] if f["UserId"] == "alice" and f["TrackType"] == "video")
    _, lines = playlist(call, "separate", "alice", "main_video")
    assert f"#EXT-X-TRTC-START-REC-TIME:{file['BeginTimeStamp']}" in lines


def test_callbacks_are_signed_complete_and_in_order(call: Call) -> None:
    received = call.callbacks.events()
    assert all(e.signed_with(CALLBACK_KEY) for e in received)
    assert all(e.headers["sdkappid"] == str(call.stack.sdk_app_id) for e in received)
    separate = call.types("separate")
    assert separate[:2] == [301, 303]
    assert separate.count(307) == separate.count(304) == 4
    assert separate[-1] == 305
    assert separate.count(305) == separate.count(302) == separate.count(301) == 1
    merged = call.types("merged_mp4")
    assert merged[-1] == 310
    assert merged.index(302) < merged.index(305) < merged.index(310)
    only = call.types("mp4_only")
    assert 304 not in only
    assert 305 not in only
    assert only[-1] == 310


def test_the_mp4_event_names_the_stored_files_and_their_times(call: Call) -> None:
    (payload,) = call.event("merged_mp4", 310)
    assert payload["Status"] == 0
    assert sorted(payload["FileList"]) == sorted(p.name for p in call.files("merged_mp4", ".mp4"))
    for message in payload["FileMessage"]:
        assert message["TrackType"] == "audio_video"
        assert message["MediaId"] == "main"
        seen = measure(call.stack.bucket(call.tasks["merged_mp4"]) / message["FileName"])
        told_s = (message["EndTimeStamp"] - message["StartTimeStamp"]) / 1000
        assert told_s == pytest.approx(seen.duration_s, abs=0.1)


def test_rooms_tell_who_came_and_what_they_sent(call: Call) -> None:
    mine = [e for e in call.callbacks.events(101, 103, 104, 201, 203) if e.info["RoomId"] == ROOM]
    for user in ("alice", "bob"):
        types = [e.type for e in mine if e.info.get("UserId") == user]
        assert {103, 201, 203, 104} <= set(types)
        assert types[-1] == 104
    assert [e.info["UserId"] for e in mine if e.type == 101] == ["alice"]
    assert not [e for e in mine if str(e.info.get("UserId", "")).startswith("robot")]
    ended = until("the end of the room", lambda: [e for e in call.callbacks.events(102) if e.info["RoomId"] == ROOM])
    assert [set(e.info) for e in ended] == [{"RoomId", "EventTs", "EventMsTs"}]
    assert all(e.info["EventMsTs"] <= ended[0].info["EventMsTs"] for e in mine)
