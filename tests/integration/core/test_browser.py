"""Chromium publishes and plays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import av
import pytest
from playwright.async_api import Browser, Page, async_playwright

from roomtape.media.frames import KEY
from tests.integration.core.stage import Stage
from tests.support.browser import CLIENT, FLAGS

ROOM = "1400000001/s/room"
FIRST_PICTURE_MS = 500  # from the connection to a decoded picture, on two shared cores

DECODED = """async (frames) => {
  const next = () => new Promise(requestAnimationFrame);
  while (!(((await window.inbound()).video || {}).frames >= frames)) await next();
}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=FLAGS, headless=True
        )
        yield running
        await running.close()


async def page_of(browser: Browser, stage: Stage) -> Page:
    page = await browser.new_page()
    await page.goto(stage.url + "/")
    await page.add_script_tag(content=CLIENT)
    return page


async def play(page: Page, url: str, frames: int) -> dict[str, Any]:
    """Play until that many pictures are decoded; inbound statistics and the time to the first picture."""
    await page.evaluate("async (o) => { await window.whep(o) }", {"url": url, "token": "t"})
    first = await page.evaluate("window.firstPicture")
    await page.evaluate(DECODED, frames)
    return {**await page.evaluate("window.inbound()"), "first": first}


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_chromium_publishes_to_the_tap_and_to_another_chromium(
    stage: Stage, browser: Browser, codec: str
) -> None:
    room = f"{ROOM}-{codec}"
    publisher, viewer = await page_of(browser, stage), await page_of(browser, stage)
    options = {"url": stage.whip(room, "amy"), "token": "t", "video": True, "audio": True}
    only = {"codec": "vp8"} if codec == "vp8" else {}  # H.264 comes unasked
    await publisher.evaluate("async (o) => { await window.whip(o) }", {**options, **only})
    start = await stage.news.wait("track_start", room, "amy", "video")
    assert start[5] == codec
    reader = stage.read(room)
    seen = await play(viewer, stage.whep(room), 60)
    assert seen["video"]["dropped"] <= 1
    assert seen["video"]["lost"] == 0
    assert seen["audio"]["packets"] > 20
    assert seen["first"]["sinceConnected"] < FIRST_PICTURE_MS
    await reader.until(lambda: len(reader.of("amy", "video")) > 60 and len(reader.of("amy", "audio")) > 100)
    pictures = reader.of("amy", "video")
    assert pictures[0].flags & KEY
    decoder = av.CodecContext.create(codec, "r")
    decoded = [f for p in pictures for f in decoder.decode(av.Packet(p.data))]
    assert len(decoded) >= len(pictures) - 1


async def test_chromium_plays_a_high_profile_stream_though_it_names_no_high_profile(
    stage: Stage, browser: Browser
) -> None:
    publisher = await stage.publisher(
        stage.whip(ROOM, "amy"), "--seconds", "30", "--gop-s", "1", "--option", "profile=high",
        "--option", "preset=veryfast",
    )  # fmt: skip
    await publisher.up()
    await stage.news.wait("track_size", ROOM, "amy", "video")
    seen = await play(await page_of(browser, stage), stage.whep(ROOM), 60)
    assert seen["video"]["dropped"] <= 1
    assert seen["video"]["lost"] == 0
    assert seen["first"]["sinceConnected"] < FIRST_PICTURE_MS
    assert [e for e in stage.news.of("log") if e[1] != "info"] == []
    await publisher.cut()


SIMULCAST = """async (url) => {
  const pc = window.pub = new RTCPeerConnection();
  const media = await navigator.mediaDevices.getUserMedia({video: {width: 1280, height: 720}});
  const sendEncodings = [
    {rid: 'l', scaleResolutionDownBy: 4}, {rid: 'm', scaleResolutionDownBy: 2}, {rid: 'h'}];
  pc.addTransceiver(media.getVideoTracks()[0], {direction: 'sendonly', streams: [media], sendEncodings});
  await window.negotiate(pc, url, 't');
  await window.connected(pc);
}"""


async def test_r_res_2_of_a_simulcast_the_largest_layer_is_taken_and_never_another(stage: Stage, browser: Browser) -> None:
    publisher, viewer = await page_of(browser, stage), await page_of(browser, stage)
    await publisher.evaluate(SIMULCAST, stage.whip(ROOM, "amy"))
    size = await stage.news.wait("track_size", ROOM, "amy", "video")
    assert isinstance(size[5], int)
    assert size[5] > 320, "the smallest layer is 320 wide; the largest begins with what the network gives"
    seen = await play(viewer, stage.whep(ROOM), 30)
    assert seen["video"]["lost"] == 0
    assert len({e[1] for e in stage.news.of("track_start", "video")}) == 1
