"""The command as a user runs it: the demo, HTTPS, what is printed where, the process tree."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.publishers import publish_whip
from tests.support.stack import REPO, Stack, start_stack, until

pytestmark = pytest.mark.slow
COMMAND = (sys.executable, "-m", "roomtape")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: sockets are made in it."""
    with tempfile.TemporaryDirectory(prefix="rt-") as directory:
        yield Path(directory)


def test_the_demo_records_two_people_over_a_worker_death_and_finds_all_right(place: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--json", "--seconds", "12", "--data-dir", str(place / "d")],
        capture_output=True, text=True, timeout=180, cwd=REPO, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert len(result["files"]) == 4
    assert {row["tracks"] for row in result["files"]} == {"H.264 + AAC"}
    assert [row["missing"] for row in result["files"]] == [0, 0, 0, 0]
    assert all(callback["signed"] for callback in result["callbacks"])
    assert result["killed_worker"] > 0
    assert {path.suffix for path in Path(result["directory"]).iterdir()} == {".m3u8", ".ts", ".mp4"}


def test_keys_are_printed_on_stdout_alone_and_kept_for_the_owner(place: Path) -> None:
    data = place / "d"
    ports = [part for name in ("http", "webrtc", "rtmp") for part in (f"--{name}", "127.0.0.1:0")]
    command = [*COMMAND, "dev", "--data-dir", str(data), *ports]
    with (place / "out").open("w") as out, (place / "err").open("w") as err:
        server = subprocess.Popen(command, stdout=out, stderr=err, cwd=REPO)
    try:
        until("the banner", lambda: "Stop with Ctrl-C" in (place / "out").read_text(), 60)
        dev = json.loads((data / "dev.json").read_text())
        assert stat.S_IMODE((data / "dev.json").stat().st_mode) == 0o600
        banner = (place / "out").read_text()
        for name in ("secret_id", "secret_key", "app_secret_key", "callback_key", "http_url"):
            assert dev[name] in banner
        assert f"--endpoint {dev['http_url']}" in banner, "a ready tccli line"
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    log = (place / "err").read_text()
    assert "server_up" in log
    for name in ("secret_key", "app_secret_key", "callback_key"):
        assert dev[name] not in log
    assert not (data / "dev.json").exists()


def test_the_same_keys_come_back_with_the_same_data(place: Path) -> None:
    keys = []
    for _ in range(2):
        with start_stack(place / "d") as stack:
            keys.append(
                {k: stack.dev[k] for k in ("secret_id", "secret_key", "sdk_app_id", "app_secret_key")}
            )
    assert keys[0] == keys[1]


def test_dev_serves_https_to_who_trusts_its_authority(place: Path) -> None:
    with start_stack(place / "d", args=("--tls",)) as stack:
        url = f"{stack.dev['http_url']}/readyz"
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=stack.data_dir / "tls" / "ca.pem")
        with urllib.request.urlopen(url, timeout=10, context=trusting) as answer:
            assert answer.status == 200
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url, timeout=10)
        assert json.loads(stack.cli("app", "list", "--json"))[0]["sdk_app_id"] == stack.sdk_app_id


def test_a_taken_port_is_named_and_dev_ends_with_1(place: Path) -> None:
    with start_stack(place / "a") as first:
        taken = first.dev["http_url"].removeprefix("http://")
        command = [*COMMAND, "dev", "--data-dir", str(place / "b"), "--http", taken]
        command += ["--webrtc", "127.0.0.1:0", "--rtmp", "127.0.0.1:0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPO, check=False)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("roomtape: ")]
    assert len(said) == 1
    assert taken in said[0]
    assert not (place / "b" / "dev.json").exists()


def test_a_second_dev_on_the_same_data_is_refused(place: Path) -> None:
    with start_stack(place / "d") as stack:
        command = [*COMMAND, "dev", "--data-dir", str(place / "d")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPO, check=False)
        assert done.returncode == 1
        assert f"pid {stack.dev['pid']}" in done.stderr
        assert stack.http("/readyz")[0] == 200


def test_f2_r_sfu_1_the_tree_comes_back_on_the_same_ports_after_its_server_died(place: Path) -> None:
    with start_stack(place / "d") as stack:
        before = (stack.data_dir / "dev.json").stat()
        old = stack.pid_of("server")
        os.kill(old, signal.SIGKILL)

        def back() -> bool:
            try:
                return stack.http("/readyz")[0] == 200 and stack.pid_of("server") != old
            except OSError:
                return False

        until("the server is back", back, 20)
        after = (stack.data_dir / "dev.json").stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_browser_page_is_there_for_addresses_only(place: Path) -> None:
    with start_stack(place / "d") as stack:
        status, page = stack.http("/demo/")
        assert (status, b"WHIP in, WHEP out" in page) == (200, True)
        for name in ("demo.js", "demo.css", "ticket?user=amy"):
            assert stack.http(f"/demo/{name}")[0] == 200
        assert stack.http("/demo/ticket?user=a%20b")[0] == 400
        host = {"Host": "rebound.example"}
        request = urllib.request.Request(f"{stack.dev['http_url']}/demo/ticket?user=amy", headers=host)
        with pytest.raises(OSError, match="403"):
            urllib.request.urlopen(request, timeout=10)


def test_recordings_are_started_shown_and_stopped_by_the_command(stack: Stack) -> None:
    task = stack.cli("record", "start", "verbs", "--robot", "rec_verbs").strip()
    until("it is listed", lambda: task in stack.cli("record", "list"))
    shown = json.loads(stack.cli("record", "show", task, "--json"))
    assert shown["room_id"] == "verbs"
    assert shown["spec"]["output_format"] == 1
    assert json.loads(stack.cli("record", "stop", task, "--json")) == {"TaskId": task}
    until("it has ended", lambda: task in stack.cli("record", "list", "--status", "exited"))


def test_operator_pages_show_the_recording_and_nothing_that_is_secret(stack: Stack) -> None:
    task = stack.cli("record", "start", "watched", "--robot", "rec_watched").strip()
    status, page = stack.http("/console")
    assert status == 200
    assert task.encode() in page
    status, page = stack.http(f"/console/recordings/{task}")
    assert (status, b"watched" in page) == (200, True)
    assert stack.http("/console/recordings/nothing")[0] == 404
    for name in ("secret_key", "app_secret_key", "callback_key"):
        assert stack.dev[name].encode() not in page
    host = {"Host": "rebound.example"}
    request = urllib.request.Request(f"{stack.dev['http_url']}/console", headers=host)
    with pytest.raises(OSError, match="403"):
        urllib.request.urlopen(request, timeout=10)
    stack.cli("record", "stop", task)


def test_users_are_listed_blocked_removed_and_rooms_dismissed_by_the_command(stack: Stack) -> None:
    def inside() -> list[str]:
        rows = json.loads(stack.cli("user", "list", "verbs_users", "--json"))
        return [row["user_id"] for row in rows if row["left_ms"] is None]

    people = [publish_whip(stack, "verbs_users", user, seconds=60) for user in ("amy", "ben")]
    try:
        for person in people:
            person.wait_up()
        until("both are listed", lambda: set(inside()) == {"amy", "ben"})
        assert json.loads(stack.cli("user", "block", "verbs_users", "amy", "--media", "audio", "--json")) == {}
        assert json.loads(stack.cli("user", "remove", "verbs_users", "amy", "nobody", "--json")) == {}
        until("amy is out", lambda: inside() == ["ben"])
        assert json.loads(stack.cli("room", "dismiss", "verbs_users", "--json")) == {}
        until("ben is out", lambda: inside() == [])
    finally:
        for person in people:
            person.cut()
