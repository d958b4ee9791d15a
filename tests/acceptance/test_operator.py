"""What an operator sees of the started product while things go wrong: `/metrics`, `record show`, the log."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.numbered import pictures
from tests.support.publishers import publish_rtmp, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack, until

LIP_SYNC = (
    "roomtape_lip_sync_seconds_bucket,+Inf"  # of all: the format has no count where values may be negative
)


def metrics(stack: Stack) -> dict[str, float]:
    """Samples by name and labels."""
    status, text = stack.http("/metrics")
    assert status == 200
    return {
        ",".join([sample.name, *sorted(sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def life(stack: Stack, task: str) -> dict[str, dict[str, Any]]:
    return {step["what"]: step for step in told_of(stack, task)["life"]}


def told_of(stack: Stack, task: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(stack.cli("record", "show", task, "--json"))
    return shown


def turn_a_bit(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        at = path.stat().st_size // 2
        (byte,) = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte ^ 1]), at)


def test_f1_f6_each_trouble_is_counted_told_and_explained(tmp_path: Path) -> None:
    """A byte of a journal that is not what was written, its worker killed then, a store that is not there."""
    with (
        closing(CallbackReceiver()) as receiver,
        socket.socket() as nobody,
        start_stack(tmp_path / "data") as stack,
    ):
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        stack.set_callbacks(receiver.url)
        alice = publish_rtmp(stack, "seen", "alice", seconds=90)
        alice.wait_up()
        task = stack.create_recording("seen", OutputFormat=1, AvMerge=1)
        place = {
            "Vendor": 1,
            "Region": "us-east-1",
            "Bucket": "tenant",
            "AccessKey": "AK",
            "SecretKey": "SK",
            "EndpointUrl": f"http://127.0.0.1:{nobody.getsockname()[1]}",
        }
        params = {
            "RoomId": "seen",
            "RoomIdType": 0,
            "UserId": "astray",
            "UserSig": stack.usersig("astray"),
            "RecordParams": {"RecordMode": 1, "AvMerge": 1},
            "StorageParams": {"CloudStorage": place},
        }
        astray = str(stack.call("CreateCloudRecording", params)["TaskId"])
        spool = stack.data_dir / "spool" / task

        def grown() -> Path | None:
            return next((path for path in spool.glob("*.j") if path.stat().st_size > 40_000), None)

        journal = until("some batches", grown, 30, every_s=0.2)
        until("the lip-sync estimate", lambda: metrics(stack)[LIP_SYNC] > 0)
        now = metrics(stack)
        assert now["roomtape_recordings"] == 2
        assert now["roomtape_log_readers"] == 2
        assert now["roomtape_journal_bytes"] > 40_000
        assert now["roomtape_frames_lost_total,broken"] == 0
        assert 0 < now["roomtape_loop_lag_p99_seconds"] < 1
        assert now["roomtape_log_bytes"] >= 0

        turn_a_bit(journal)
        for process in stack.tree():
            if process["role"] == "worker" and process["tasks"]:
                os.kill(int(process["pid"]), signal.SIGKILL)
        until("its successor", lambda: "worker_died" in life(stack, task))
        receiver.wait(307, task_id=task, timeout_s=40)
        receiver.wait(307, task_id=astray, timeout_s=40)
        until("a refused piece", lambda: "store_failed" in life(stack, astray))
        alice.end()
        stack.delete(task)
        assert receiver.wait(310, task_id=task, timeout_s=40)[0].payload["Status"] == 0

        now = metrics(stack)
        lost = now["roomtape_frames_lost_total,broken"]
        assert 1 <= lost < 400
        assert now["roomtape_process_restarts_total,signal,worker"] >= 1
        assert now["roomtape_upload_backlog_files"] >= 1
        assert now["roomtape_upload_backlog_bytes"] > 10_000
        assert now["roomtape_upload_backlog_oldest_seconds"] > 0
        steps = life(stack, task)
        assert {"created", "assigned", "worker_died", "gap_broken", "stop ordered"} <= set(steps)
        notes = [note for note in told_of(stack, task)["notes"] if note["kind"] == "gap_broken"]
        assert sum(note["count"] for note in notes) == lost
        refused = life(stack, astray)["store_failed"]
        assert refused["more"].startswith("EndpointUnreachable: ")
        assert refused["count"] >= 2
        told = [line for line in stack.log().splitlines() if "task_note" in line and "gap_broken" in line]
        assert len(told) == len(notes), "one line per cause"
        (mp4,) = recordings(stack, task, ".mp4")
        seen = pictures(mp4)
        assert seen.complaints == []
        assert 1 <= len(seen.holes()) <= 2, "the batch, and what refers to it"
