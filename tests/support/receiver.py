"""An HTTP receiver of callbacks for tests: keeps every request, checks its signature, waits for events."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery as it arrived."""

    headers: dict[str, str]  # names in lower case
    raw: bytes
    at_s: float  # time.monotonic()

    @property
    def body(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed

    @property
    def group(self) -> int:
        return int(self.body["EventGroupId"])

    @property
    def type(self) -> int:
        return int(self.body["EventType"])

    @property
    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.body["EventInfo"]
        return info

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = self.info.get("Payload", {})
        return payload

    def signed_with(self, key: str) -> bool:
        """Whether `Sign` is the documented HMAC of the raw body."""
        want = base64.b64encode(hmac.new(key.encode(), self.raw, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(want, self.headers.get("sign", ""))


class CallbackReceiver:
    """Listens on a free loopback port, or on `port`. `answer` decides the HTTP status of each request (default 200)."""

    def __init__(self, answer: Callable[[Received], int] | None = None, *, port: int = 0) -> None:
        self._events: list[Received] = []
        self._change = threading.Condition()
        self.answer = answer or (lambda _received: 200)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                received = Received({k.lower(): v for k, v in self.headers.items()}, raw, time.monotonic())
                status = outer.answer(received)
                if status == 200:
                    with outer._change:
                        outer._events.append(received)
                        outer._change.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "10")
                self.end_headers()
                self.wfile.write(b'{"code":0}')

            def log_message(self, *_args: object) -> None:
                """Silent: the test tells what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/callback"

    def events(self, *types: int, task_id: str | None = None) -> list[Received]:
        """What has arrived so far, in order of arrival; all types when none is named."""
        with self._change:
            found = list(self._events)
        return [
            e
            for e in found
            if (not types or e.type in types) and (task_id is None or e.info.get("TaskId") == task_id)
        ]

    def wait(
        self, type_: int, *, timeout_s: float = 30, task_id: str | None = None, count: int = 1
    ) -> list[Received]:
        """Wait until `count` events of that type are there.

        Raises TimeoutError naming what did arrive.
        """
        deadline = time.monotonic() + timeout_s
        with self._change:
            while True:
                found = [
                    e
                    for e in self._events
                    if e.type == type_ and (task_id is None or e.info.get("TaskId") == task_id)
                ]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = [e.type for e in self._events]
                    raise TimeoutError(f"no {count} x {type_} within {timeout_s} s; seen {seen}")
                self._change.wait(left)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
