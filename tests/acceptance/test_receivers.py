"""Receivers of callbacks that misbehave under the started product (F-8, R-CB-1..4): each by itself, none lost."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.publishers import publish_rtmp
from tests.support.receiver import CallbackReceiver
from tests.support.stack import start_stack, until

MEDIA_EVENTS = [203, 201]


def test_f8_r_cb_2_r_cb_3_a_receiver_that_is_down_and_one_that_hangs_hinder_no_other(tmp_path: Path) -> None:
    """Recording events wait for a port that is closed, media events for one that takes and never answers."""
    with (
        closing(CallbackReceiver()) as rooms,
        closing(CallbackReceiver()) as media,
        socket.socket() as down,
        socket.socket() as hanging,
        start_stack(tmp_path / "data") as stack,
    ):
        down.bind(("127.0.0.1", 0))  # and does not listen
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(64)  # the kernel takes what comes; nobody reads it
        urls = [f"http://127.0.0.1:{end.getsockname()[1]}/hook" for end in (down, hanging)]
        app = str(stack.dev["sdk_app_id"])
        slots = ("--record-url", urls[0], "--media-url", urls[1], "--room-url", rooms.url)
        stack.cli("app", "set", app, *slots, "--callback-key", "k3y")

        alice = publish_rtmp(stack, "one", "alice", seconds=60)
        alice.wait_up()
        entered = rooms.wait(103, timeout_s=20)[0]
        task = stack.create_recording("one", AvMerge=1)
        until("a stored piece", lambda: list(stack.bucket(task).glob("*.m3u8")), 40)
        stack.delete(task)
        until("the end", lambda: stack.describe(task)["Status"] == "Exited")
        alice.end()
        left = rooms.wait(102, timeout_s=20)[0]
        assert [event.type for event in rooms.events()] == [101, 103, 104, 102]
        for event in (entered, left):
            assert event.signed_with("k3y")
            delay_ms = event.body["CallbackTs"] - event.info["EventMsTs"]
            assert delay_ms < 4000, "an attempt at the others takes five seconds"

        def told() -> list[dict[str, Any]]:
            shown: list[dict[str, Any]] = json.loads(stack.cli("record", "show", task, "--json"))["callbacks"]
            return shown

        until("all its events", lambda: [row["type"] for row in told()][-1] == 305)
        assert [row["type"] for row in told() if row["tries"]] == [301], "the rest waits for its turn"
        assert not any(row["state"] == "delivered" for row in told())
        port = int(down.getsockname()[1])
        down.close()
        with closing(CallbackReceiver(port=port)) as back:
            back.wait(305, task_id=task, timeout_s=90)
        types = [row["type"] for row in told()]
        assert types == [301, 303, 307, 304, 302, 305]
        assert [event.type for event in back.events()] == types, "each once, none before its turn"
        assert len({event.headers["x-event-id"] for event in back.events()}) == len(types)
        assert back.events()[-1].payload["Status"] == 0

        stack.cli("app", "set", app, "--media-url", media.url)
        media.wait(201, timeout_s=90)
        assert sorted(event.type for event in media.events()) == sorted(MEDIA_EVENTS)
