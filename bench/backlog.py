"""How fast what waited for a store that was away is stored when it is back: G-18, in real time.

    python -m bench.backlog                 # 120 s of outage, 4 users, about 4 minutes
    python -m bench.backlog --outage-s 600 --users 8

A real S3 server (versitygw) behind a front that answers 503 for so long. The drain is timed from the end of the
outage until every object that waited is proven; recording goes on meanwhile, as it would.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from bench.cpu import Figure, circumstances
from tests.support.bots import BotPublisher
from tests.support.faulty_s3 import Answer, FaultyS3
from tests.support.numbered_media import pictures, sounds
from tests.support.receiver import CallbackReceiver
from tests.support.record import keep
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, s3_server
from tests.support.stack import REPO, Stack, start_stack, until

BUCKET, ROOM = "tenant-bucket", "backlog"
LOOP_S = 20
GOAL = 2.0


def run(outage_s: float, users: int) -> dict[str, float]:
    """Record `users`, take the store away for `outage_s`, give it back. Seconds."""
    with contextlib.ExitStack() as stack_of, tempfile.TemporaryDirectory(prefix="rt-") as folder:
        work = Path(folder)
        s3 = stack_of.enter_context(s3_server(work / "buckets"))
        s3.bucket(BUCKET)
        faulty, receiver = FaultyS3(s3), CallbackReceiver()
        stack_of.callback(faulty.close)
        stack_of.callback(receiver.close)
        film, beeps = pictures(work / "p.h264", LOOP_S), sounds(work / "s.opus20", LOOP_S)
        stack = stack_of.enter_context(start_stack(work / "data"))
        stack.set_callbacks(receiver.url)
        task = create(stack, faulty)
        people = [
            BotPublisher(
                stack.whip_url(ROOM, f"user{n}"), token=stack.usersig(f"user{n}"), seconds=outage_s + 600,
                pictures=[film], sounds=beeps,
            )
            for n in range(users)
        ]  # fmt: skip
        for person in people:
            stack_of.callback(person.kill)
            person.wait_up()
        receiver.wait(304, task_id=task, timeout_s=60)  # it works
        faulty.fault = lambda _request: Answer(503, "SlowDown", "Please reduce your request rate.")
        pause(outage_s)
        behind = waiting(stack)
        media_s = backlog_s(stack)
        faulty.fault = lambda _request: None
        back = time.monotonic()
        until("the backlog is stored", lambda: not behind & waiting(stack), outage_s + 300)
        drain_s = time.monotonic() - back
        stack.delete(task)
        receiver.wait(305, task_id=task, timeout_s=60)
        lost = books(stack, "SELECT name FROM uploads WHERE state != 'proven'")
        assert not lost, lost
    return {"outage_s": outage_s, "users": users, "objects": len(behind), "backlog_media_s": round(media_s),
            "drain_s": round(drain_s, 1), "times_real_time": round(outage_s / drain_s, 1)}  # fmt: skip


def books(stack: Stack, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{stack.data_dir / 'roomtape.db'}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def waiting(stack: Stack) -> set[object]:
    """Pieces that are made and not stored."""
    query = "SELECT name FROM uploads WHERE state = 'ready' AND subject = 'piece'"
    return {name for (name,) in books(stack, query)}


def backlog_s(stack: Stack) -> float:
    ((total,),) = books(stack, "SELECT coalesce(sum(duration_us), 0) FROM pieces WHERE upload_state != 'proven'")
    assert isinstance(total, int)
    return total / 1e6


def create(stack: Stack, faulty: FaultyS3) -> str:
    place = {"Vendor": 1, "Region": "us-east-1", "Bucket": BUCKET, "AccessKey": ACCESS_KEY, "SecretKey": SECRET_KEY,
             "EndpointUrl": faulty.endpoint}  # fmt: skip
    params = {
        "RoomId": ROOM, "RoomIdType": 0, "UserId": "robot", "UserSig": stack.usersig("robot"),
        "RecordParams": {"RecordMode": 1, "MaxIdleTime": 60, "AvMerge": 1},
        "StorageParams": {"CloudStorage": place},
    }  # fmt: skip
    return str(stack.call("CreateCloudRecording", params)["TaskId"])


def pause(seconds: float) -> None:
    time.sleep(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--outage-s", type=float, default=120)
    parser.add_argument("--users", type=int, default=4)
    args = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)
    print(circumstances(REPO))
    found = run(args.outage_s, args.users)
    print(found)
    print(Figure("seconds of drain per second of outage", found["drain_s"] / found["outage_s"], "", 1 / GOAL).line())
    keep("backlog", "python -m bench.backlog", **found)


if __name__ == "__main__":
    main()
