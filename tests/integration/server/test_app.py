"""The server as the composition root wires it, with the real core and a worker's socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from tencentcloud.common import credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models, trtc_client

from roomtape.access import usersig
from roomtape.app import Server, StartFailed
from roomtape.clock import SystemClock
from roomtape.config import Config, LocalBucket
from roomtape.control.messages import Drain, StoppedCommitted
from roomtape.process import DevKeys, read_report
from roomtape.recording.task import TOPIC
from roomtape.serving import listen
from roomtape.state.schema import events, nodes, tasks
from tests.support.stage import SocketWorker


def config(data_dir: Path) -> Config:
    made = Config(data_dir=str(data_dir), dev=True)
    made.server.http_port = made.webrtc.port = made.rtmp.port = 0
    made.admin.listen = ""
    made.storage.local["recordings"] = LocalBucket(dir="recordings")
    made.disk.refuse_percent = made.disk.refuse_gb = 0
    return made


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    running = Server(config(tmp_path / "d"), SystemClock())
    await running.start()
    yield running
    await running.stop()


class Api:
    """The unmodified official client, called from a thread."""

    def __init__(self, keys: DevKeys, port: int) -> None:
        self.keys = keys
        profile = HttpProfile(endpoint=f"127.0.0.1:{port}", protocol="http")
        self._client = trtc_client.TrtcClient(
            credential.Credential(keys.secret_id, keys.secret_key),
            "ap-singapore",
            ClientProfile(httpProfile=profile),
        )

    async def call(self, action: str, **members: Any) -> dict[str, Any]:
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps({"SdkAppId": self.keys.sdk_app_id, **members}))
        answer = await asyncio.to_thread(getattr(self._client, action), request)
        found: dict[str, Any] = json.loads(answer.to_json_string())
        return found

    async def create(self, now_s: int) -> str:
        sig = usersig.issue(self.keys.app_secret_key, self.keys.sdk_app_id, "robot", time_s=now_s)
        store = {
            "Vendor": 1,
            "Region": "here",
            "Bucket": "recordings",
            "AccessKey": "AK",
            "SecretKey": "SK",
        }
        answer = await self.call(
            "CreateCloudRecording",
            RoomId="class",
            RoomIdType=0,
            UserId="robot",
            UserSig=sig,
            RecordParams={"RecordMode": 1, "MaxIdleTime": 86_400},
            StorageParams={"CloudStorage": store},
        )
        return str(answer["TaskId"])


async def test_a_recording_through_the_official_client_and_a_workers_socket(
    server: Server, tmp_path: Path
) -> None:
    report = read_report(server.config.run_path)
    assert report.dev is not None
    assert report.http_port == server.http_port
    base = f"http://127.0.0.1:{report.http_port}"
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{base}/readyz") as early:
            assert (early.status, await early.json()) == (
                503,
                {"status": "not ready", "reasons": {"workers": "no worker is connected"}},
            )
        worker = await SocketWorker.connect(server.config.run_path / "control.sock")
        await server.ready()
        async with http.get(f"{base}/readyz") as now:
            assert now.status == 200
        async with http.get(f"{base}/metrics") as metrics:
            counted = await metrics.text()
            assert "roomtape_workers 1.0" in counted
            assert "roomtape_spool_free_bytes " in counted

    api = Api(report.dev, report.http_port)
    task_id = await api.create(server.clock.now_ms() // 1000)
    assign = await worker.take()
    assert assign.plan.room == f"{report.dev.sdk_app_id}/s/class"
    piece = worker.piece(assign, 0)
    await api.call("DeleteCloudRecording", TaskId=task_id)
    worker.stopped(assign)
    await worker.told(StoppedCommitted)
    gone_or_final = asyncio.create_task(_final(server, task_id))
    assert await asyncio.wait_for(gone_or_final, 20) == "305:0"

    described = await api.call("DescribeCloudRecording", TaskId=task_id)
    assert described["Status"] == "Exited"
    stored = tmp_path / "d" / "recordings" / task_id
    assert sorted(path.name for path in stored.iterdir()) == sorted(
        [piece.name, described["StorageFileList"][0]["FileName"]]
    )
    async with server.db.read() as conn:
        types = list(await conn.scalars(sa.select(events.c.type).order_by(events.c.id)))
        assert types == [301, 303, 307, 304, 302, 305] or types == [301, 303, 307, 302, 304, 305]
        assert await conn.scalar(sa.select(nodes.c.boot_id)) == server.boot_id

    stopping = asyncio.create_task(server.stop())
    await worker.told(Drain)
    await worker.end()
    await stopping


async def _final(server: Server, task_id: str) -> str:
    """The task's final event, once it was written."""
    changed = asyncio.Event()
    server.db.on_commit(TOPIC, changed.set)
    while True:
        changed.clear()
        async with server.db.read() as conn:
            found = await conn.scalar(sa.select(tasks.c.final_event).where(tasks.c.task_id == task_id))
        if found:
            return str(found)
        await changed.wait()


async def test_the_keys_of_dev_are_the_same_after_a_restart(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        server = Server(config(tmp_path / "d"), SystemClock())
        await server.start()
        seen.append((read_report(server.config.run_path).dev, server.node_id, server.boot_id))
        await server.stop()
    (keys, node, boot), (keys_again, node_again, boot_again) = seen
    assert keys is not None
    assert (keys, node) == (keys_again, node_again)
    assert boot != boot_again
    written = b"".join(path.read_bytes() for path in (tmp_path / "d").glob("roomtape.db*"))
    assert keys.secret_key.encode() not in written
    assert keys.app_secret_key.encode() not in written


async def test_a_taken_port_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    taken = listen("127.0.0.1", 0)
    wanted = config(tmp_path / "d")
    wanted.server.http_port = taken.getsockname()[1]
    with pytest.raises(StartFailed, match=r"server\.http_port: cannot listen on 127\.0\.0\.1:"):
        await Server(wanted, SystemClock()).start()
    taken.close()
