"""Chromium at both doors: its camera is recorded, its viewers see others (ingest.md C, D15, D17, P10)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.support.browser import chromium, client_page
from tests.support.measure import measure
from tests.support.publishers import publish_rtmp, publish_whip, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

FIRST_PICTURE_MS = 500  # from the GOP cache, after the connection is up


@pytest.fixture(scope="module")
def browser() -> Any:
    with chromium() as running:
        yield running


def test_chromiums_camera_is_recorded_as_it_was_sent(stack: Stack, callbacks: CallbackReceiver, browser: Any) -> None:
    page = client_page(browser, stack.dev["http_url"])
    done = page.evaluate("whip", {
        "url": stack.whip_url("cam", "chrome"), "token": stack.usersig("chrome"), "video": True, "audio": True})
    assert "H264" in done["answer"]
    task = stack.create_recording("cam", OutputFormat=1, AvMerge=1)
    callbacks.wait(307, task_id=task, timeout_s=30)
    sent = page.evaluate("outbound()")
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=30)
    page.evaluate("pub.close()")
    (file,) = recordings(stack, task, ".mp4")
    seen = measure(file)
    assert seen.duration_s >= 9.5
    assert len(seen.pictures) >= 0.8 * 20 * seen.duration_s, "Chromium's fake camera gives 20 pictures a second"
    assert sent["video"]["frames"] > 0


@pytest.mark.parametrize("profile", ["baseline", "high"])
def test_a_chromium_viewer_sees_the_first_picture_at_once(stack: Stack, browser: Any, profile: str) -> None:
    room = f"watch_{profile}"
    extra = ("--option", f"profile={profile}", "--gop-s", "4")
    publisher = publish_whip(stack, room, "alice", seconds=30, extra=extra)
    publisher.wait_up()
    page = client_page(browser, stack.dev["http_url"])
    page.evaluate("whep", {"url": stack.whep_url(room, "viewer"), "token": stack.usersig("viewer")})
    first = page.evaluate("firstPicture")
    assert first["sinceConnected"] <= FIRST_PICTURE_MS
    def flowing() -> Any:
        # Cached pictures come at once, sound only from now on: sixty pictures say nothing of the sound.
        seen = page.evaluate("inbound()")
        return seen if seen["video"]["frames"] >= 60 and seen["audio"]["packets"] > 50 else None

    got = until("60 pictures and a second of sound", flowing)
    assert got["video"]["dropped"] <= 2
    assert got["video"]["lost"] == 0
    page.evaluate("sub.close()")
    publisher.end()


def test_a_chromium_viewer_sees_an_rtmp_publisher(stack: Stack, browser: Any) -> None:
    publisher = publish_rtmp(stack, "watch_rtmp", "bob", seconds=30)
    publisher.wait_up()
    page = client_page(browser, stack.dev["http_url"])
    page.evaluate("whep", {
        "url": stack.whep_url("watch_rtmp", "viewer"), "token": stack.usersig("viewer"), "audio": False})
    got = until("60 pictures", lambda: ((s := page.evaluate("inbound()")).get("video", {}).get("frames", 0) >= 60 and s) or None)
    assert got["video"]["dropped"] <= 2
    page.evaluate("sub.close()")
    publisher.end()


def test_a_vp8_camera_is_recorded_as_h264(stack: Stack, callbacks: CallbackReceiver, browser: Any) -> None:
    page = client_page(browser, stack.dev["http_url"])
    done = page.evaluate("whip", {"url": stack.whip_url("vp8", "chrome"), "token": stack.usersig("chrome"),
                                  "video": True, "audio": True, "codec": "vp8", "width": 320})
    assert "VP8" in done["answer"]
    task = stack.create_recording("vp8", OutputFormat=1, AvMerge=1)
    callbacks.wait(307, task_id=task, timeout_s=30)
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=30)
    page.evaluate("pub.close()")
    (file,) = recordings(stack, task, ".mp4")
    seen = measure(file)
    assert len(seen.pictures) >= 0.8 * 20 * seen.duration_s
    assert seen.duration_s >= 9.5


def test_r_gap_1_a_microphone_that_saves_packets_and_is_muted_keeps_real_time(
    stack: Stack, callbacks: CallbackReceiver, browser: Any
) -> None:
    page = client_page(browser, stack.dev["http_url"])
    task = stack.create_recording("dtx", OutputFormat=1, AvMerge=1)
    page.evaluate("whip", {"url": stack.whip_url("dtx", "mic"), "token": stack.usersig("mic"), "video": False,
                           "dtx": True, "audio": {"echoCancellation": False, "noiseSuppression": False,
                                                  "autoGainControl": False}})  # fmt: skip
    sent = []
    for on in (True, False, True):
        page.evaluate("(on) => { for (const sender of pub.getSenders()) sender.track.enabled = on; }", on)
        before = page.evaluate("outbound()")["audio"]["packets"]
        page.wait_for_timeout(3500)
        sent.append(page.evaluate("outbound()")["audio"]["packets"] - before)
    stack.delete(task)
    callbacks.wait(310, task_id=task, timeout_s=30)
    page.evaluate("pub.close()")
    assert sent[1] < sent[0] < 3.5 * 40, "it was to leave out packets of silence"
    (file,) = recordings(stack, task, ".mp4")
    seen = measure(file)
    assert seen.audio_gaps_s == []
    # Chromium's fake microphone beeps twice a second.
    places = [round((at - seen.beeps_s[1]) * 2) for at in seen.beeps_s]
    assert max(b - a for a, b in pairwise(places)) >= 7, "the mute"
    assert seen.beeps_s[1:] == pytest.approx([seen.beeps_s[1] + place / 2 for place in places[1:]], abs=0.06)
