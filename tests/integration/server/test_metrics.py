"""What `/metrics` tells is what docs/metrics.md says, and the numbers are those of the parts."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from roomtape.app import Server
from roomtape.console.metrics import Lag
from roomtape.control import counters
from roomtape.control.messages import Beat, Hello
from roomtape.tasks.workers import Workers
from tests.integration.server.test_app import server
from tests.support.stage import ScriptedWorker

__all__ = ["server"]

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


async def told(server: Server) -> dict[str, float]:
    """Every sample by its name and labels."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{server.http_port}/metrics") as answer,
    ):
        text = await answer.text()
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_metric_is_on_its_page_and_no_other(server: Server) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{server.http_port}/metrics") as answer,
    ):
        text = await answer.text()
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if family.name.startswith("roomtape_") and not family.name.endswith("_created")
    }
    written = set(re.findall(r"^\| `(roomtape_\w+)`", PAGE.read_text(), re.MULTILINE))
    assert ours == written


async def test_what_workers_count_is_told_and_survives_them(server: Server) -> None:
    skew = Counter(counters.skew_bucket_of(ms) for ms in (-300, -3, 0, 44, 900))
    first = ScriptedWorker(server.workers, index=7)
    first.say(Beat(counters={counters.lost("overrun"): 12, **skew}))
    first.die()
    second = ScriptedWorker(server.workers, index=7)
    second.say(Beat(counters={counters.lost("overrun"): 3, counters.lost("disk"): 2}))
    now = await told(server)
    assert now["roomtape_frames_lost_total,cause=overrun"] == 15
    assert now["roomtape_frames_lost_total,cause=disk"] == 2
    assert now["roomtape_frames_lost_total,cause=poison"] == 0
    assert now["roomtape_lip_sync_seconds_bucket,le=-0.2"] == 1
    assert now["roomtape_lip_sync_seconds_bucket,le=0"] == 3
    assert now["roomtape_lip_sync_seconds_bucket,le=0.045"] == 4
    assert now["roomtape_lip_sync_seconds_bucket,le=+Inf"] == 5


async def test_the_network_the_spool_and_the_supervisor_are_asked(server: Server) -> None:
    server.metrics.heard([(1, 50, 4000, 3, 1.0), (2, 50, 4000, 4, 1.0)])
    journal = server.spool.make("T") / "1-1.j"
    journal.write_bytes(bytes(1234))

    async def supervisor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b'{"cmd": "restarts"}\n'
        writer.write(b'[{"role": "worker", "cause": "memory", "count": 2}]\n')
        await writer.drain()
        writer.close()

    path = server.config.run_path / "supervisor.sock"
    async with await asyncio.start_unix_server(supervisor, str(path)):
        now = await told(server)
    assert now["roomtape_packets_lost_total"] == 7
    assert now["roomtape_journal_bytes"] == 1234
    assert now["roomtape_process_restarts_total,cause=memory,role=worker"] == 2
    assert now["roomtape_spool_free_bytes"] > 0
    assert (await told(server))["roomtape_process_restarts_total,cause=memory,role=worker"] == 2


def test_the_percentile_is_of_what_was_measured_last() -> None:
    lag = Lag()
    assert lag.p99 == 0
    for number in range(100):
        lag.add(0.001 if number < 98 else 0.2)
    assert lag.p99 == 0.2
    for _ in range(600):
        lag.add(0.002)
    assert lag.p99 == 0.002


def test_a_worker_that_takes_its_former_number_does_not_take_its_counters() -> None:
    pool = Workers()
    first = ScriptedWorker(pool, index=0)
    first.say(Beat(counters={"lost_late": 1}))
    pool.joined(Hello(index=0, pid=2), first)
    assert pool.counters()["lost_late"] == 1
