"""F-2, F-6: the server dies at every stage of an upload to a real S3 server; the object is whole, once, and proven."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from roomtape.supervisor import ask
from tests.support.bots import BotPublisher
from tests.support.faulty_s3 import Death, Fault, FaultyS3, Request
from tests.support.numbered import joined, pictures
from tests.support.numbered_media import pictures as coded_pictures
from tests.support.numbered_media import sounds as coded_sounds
from tests.support.receiver import CallbackReceiver
from tests.support.record import keep
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, s3_server
from tests.support.stack import REPO, Stack, start_stack, until

BUCKET = "tenant-bucket"
ROOM = "bucket_deaths"
MEDIA_S = 16
LARGE_BPS, SMALL_BPS = 9_000_000, 400_000
KILLS_S = 120  # until the last death: starts of a server that died young are up to 5 s apart
RULES = {"ROOMTAPE_UPLOAD__ONE_PUT_MB": "4", "ROOMTAPE_UPLOAD__PART_MB": "5"}
NAMED = ("mid-upload", "before-delete")

Stage = tuple[str, Callable[[Request], bool], int | None]
STAGES: list[Stage] = [  # what is asked of the store, and when in it the server dies
    ("within one PUT", lambda r: r.method == "PUT" and not r.query and r.key.endswith(".ts"), 5_000),
    ("one PUT that is never answered", lambda r: r.method == "PUT" and not r.query and r.key.endswith(".ts"), None),
    ("a multipart upload begun and never answered", lambda r: r.method == "POST" and r.query.startswith("uploads"), None),
    ("within its second part", lambda r: "partNumber=2" in r.query, 1_000_000),
    ("a part that is never answered", lambda r: "partNumber=1" in r.query, None),
    ("before its completion", lambda r: r.method == "POST" and "uploadId" in r.query, 0),
    ("a completion that is never answered", lambda r: r.method == "POST" and "uploadId" in r.query, None),
]  # fmt: skip


@dataclass
class Gauntlet:
    """One death per stage, each by the first request of its kind after the death before."""

    stack: Stack
    left: list[Stage] = field(default_factory=lambda: list(STAGES))
    died: list[str] = field(default_factory=list)
    victims: set[int] = field(default_factory=set)

    def __call__(self, request: Request) -> Fault | None:
        for stage in self.left:
            name, meant, after_bytes = stage
            if meant(request):
                self.left.remove(stage)
                return Death(functools.partial(self.kill, name), after_bytes)
        return None

    def kill(self, name: str) -> None:
        with contextlib.suppress(OSError):
            tree = ask(self.stack.data_dir / "run", cmd="tree")
            pid = next((int(p["pid"]) for p in tree if p["role"] == "server"), 0)
            if pid and pid not in self.victims:
                self.victims.add(pid)
                os.kill(pid, signal.SIGKILL)
                self.died.append(name)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        server.bucket(BUCKET)
        yield server


def test_f2_r_up_2_a_server_killed_at_every_stage_of_an_upload_leaves_whole_objects_and_no_parts(
    s3: S3Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)
    receiver, faulty = CallbackReceiver(), FaultyS3(s3)
    media = {
        "large": coded_pictures(tmp_path / "large.h264", MEDIA_S, size=(960, 540), bps=LARGE_BPS),
        "small": coded_pictures(tmp_path / "small.h264", MEDIA_S, bps=SMALL_BPS),
    }
    beeps = coded_sounds(tmp_path / "beeps.opus20", MEDIA_S)
    people: list[BotPublisher] = []
    try:
        with start_stack(tmp_path / "data", env={**RULES, "ROOMTAPE_FAULT": ",".join(NAMED)}) as stack:
            stack.set_callbacks(receiver.url)
            gauntlet = Gauntlet(stack)
            for user, path in media.items():
                people.append(
                    BotPublisher(
                        stack.whip_url(ROOM, user), token=stack.usersig(user), seconds=MEDIA_S - 1,
                        pictures=[path], sounds=beeps,
                    )
                )  # fmt: skip
                people[-1].wait_up()
            task = create(stack, faulty)
            receiver.wait(301, task_id=task)
            faulty.fault = gauntlet
            fired = stack.data_dir / "run" / "faults"
            try:
                until("a death", lambda: not gauntlet.left and (fired / "fault-mid-upload").exists(), KILLS_S)
            except TimeoutError:
                raise AssertionError(f"none {[name for name, *_ in gauntlet.left]}; {asked(faulty)}") from None
            until("the server", lambda: serves(stack), 30)
            until("the stop", lambda: stopped(stack, task), 30)
            receiver.wait(310, task_id=task, timeout_s=90)
            until("a death before the pieces are deleted", (fired / "fault-before-delete").exists)
            until("the spool's end", lambda: not list((stack.data_dir / "spool").rglob("*.ts")), 40)

            objects = s3.objects(BUCKET)
            stored = {key: ("proven", hashlib.md5(content).hexdigest()) for key, content in objects.items()}
            assert books(stack) == stored
            assert max(map(len, objects.values())) > 5 << 20, "nothing was sent in parts"
            assert s3.unfinished(BUCKET) == []
            told = {event.headers["x-event-id"]: event for event in receiver.events(task_id=task)}
            types = Counter(event.type for event in told.values())
            assert (types[301], types[302], types[305], types[310], types[306], types[308]) == (
                1,
                1,
                1,
                1,
                0,
                0,
            )
            assert [event.payload["Status"] for event in told.values() if event.type == 310] == [0]
            for index in (s3.root / BUCKET).rglob("*.m3u8"):
                lines = index.read_text().splitlines()
                assert lines[-1] == "#EXT-X-ENDLIST"
                parts = [index.parent / line for line in lines if not line.startswith("#")]
                assert len(parts) == len(set(parts))
                seen = pictures(joined(parts, tmp_path / "whole.ts"))
                assert (seen.holes(), seen.complaints) == ([], [])
                of_user = index.name.partition("__UserId_e_")[0]
                (film,) = (path for path in index.parent.glob("*.mp4") if path.name.startswith(of_user))
                assert pictures(film).numbers == seen.numbers
            assert len(gauntlet.died) >= len(STAGES) - 2, gauntlet.died  # two may fall together
            keep(
                "upload_deaths", request.node.nodeid, deaths=len(gauntlet.died) + len(NAMED),
                points=[*NAMED, *gauntlet.died], objects=len(objects), unfinished=0,
            )  # fmt: skip
    finally:
        for person in people:
            person.kill()
        receiver.close()
        faulty.close()


def create(stack: Stack, faulty: FaultyS3) -> str:
    params = {
        "RoomId": ROOM,
        "RoomIdType": 0,
        "UserId": "robot",
        "UserSig": stack.usersig("robot"),
        "RecordParams": {"RecordMode": 1, "MaxIdleTime": 600, "OutputFormat": 1, "AvMerge": 1},
        "StorageParams": {
            "CloudStorage": {
                "Vendor": 1,
                "Region": "us-east-1",
                "Bucket": BUCKET,
                "AccessKey": ACCESS_KEY,
                "SecretKey": SECRET_KEY,
                "EndpointUrl": faulty.endpoint,
            }
        },
    }
    return str(stack.call("CreateCloudRecording", params)["TaskId"])


def stopped(stack: Stack, task: str) -> bool:
    """The task is stopped; False: the server died on the call, which may have been obeyed all the same."""
    try:
        stack.delete(task)
    except TencentCloudSDKException as error:
        if error.get_code() != "ClientNetworkError":
            raise
        return False
    return True


def serves(stack: Stack) -> bool:
    try:
        return stack.http("/readyz")[0] == 200
    except OSError:
        return False


def books(stack: Stack) -> dict[str, tuple[str, str]]:
    """State and MD5 of every object, as the server's database has them."""
    with contextlib.closing(
        sqlite3.connect(f"file:{stack.data_dir / 'roomtape.db'}?mode=ro", uri=True)
    ) as db:
        return {
            key: (state, md5) for key, state, md5 in db.execute("SELECT object_key, state, md5 FROM uploads")
        }


def asked(faulty: FaultyS3) -> list[str]:
    """What the store was asked for."""
    return [f"{r.method} {r.key[-30:]}?{r.query[:30]} {r.headers.get('content-length')}" for r in faulty.requests]
