"""A viewer whose network lets no UDP through plays over TCP (RFC 6544, RFC 4571)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.integration.core.stage import staged
from tests.integration.core.test_browser import page_of, play
from tests.support.browser import FLAGS

ROOM = "1400000001/s/room"
NAMESPACE, OUTSIDE, INSIDE = "roomtape-tcp", "rt-out", "rt-in"
SERVER_IP, CLIENT_IP = "10.203.77.1", "10.203.77.2"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="makes a network namespace: needs root and ip"
)


def ip(*args: str, check: bool = True) -> None:
    subprocess.run(["ip", *args], check=check, capture_output=True)


@pytest.fixture
def namespace() -> Iterator[Path]:
    """A network without UDP, joined to ours by a cable; the path of a Chromium that lives in it."""
    ip("netns", "del", NAMESPACE, check=False)
    ip("link", "del", OUTSIDE, check=False)
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", OUTSIDE, "type", "veth", "peer", "name", INSIDE, "netns", NAMESPACE)
        ip("addr", "add", f"{SERVER_IP}/24", "dev", OUTSIDE)
        ip("link", "set", OUTSIDE, "up")
        ip("-n", NAMESPACE, "addr", "add", f"{CLIENT_IP}/24", "dev", INSIDE)
        ip("-n", NAMESPACE, "link", "set", INSIDE, "up")
        ip("-n", NAMESPACE, "link", "set", "lo", "up")
        ip("-n", NAMESPACE, "rule", "add", "ipproto", "udp", "blackhole")
        with tempfile.TemporaryDirectory() as directory:
            script = Path(directory) / "chromium"
            script.write_text(f'#!/bin/sh\nexec ip netns exec {NAMESPACE} /usr/bin/chromium "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
            yield script
    finally:
        ip("netns", "del", NAMESPACE, check=False)
        ip("link", "del", OUTSIDE, check=False)


async def test_r_nat_1_a_browser_without_udp_plays_over_tcp(namespace: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        async with staged(Path(directory), host=SERVER_IP) as stage, async_playwright() as playwright:
            publisher = await stage.publisher(stage.whip(ROOM, "amy"), "--seconds", "60")
            await publisher.up()
            await stage.news.wait("track_size", "amy")
            browser = await playwright.chromium.launch(
                executable_path=str(namespace), args=FLAGS, headless=True
            )
            page = await page_of(browser, stage)
            seen = await play(page, stage.whep(ROOM), 60)
            assert seen["video"]["lost"] == 0
            pair = await page.evaluate("""async () => {
              const all = [...(await window.sub.getStats()).values()];
              const transport = all.find(s => s.type === 'transport');
              const pair = all.find(s => s.id === transport.selectedCandidatePairId);
              return all.find(s => s.id === pair.remoteCandidateId).protocol;
            }""")
            assert pair == "tcp"
            await browser.close()
            await publisher.cut()
