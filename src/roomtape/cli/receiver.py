"""A receiver of callbacks that checks their signatures: for `callback listen` and for the demo."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY_BYTES = 1 << 20
REPLY = b'{"code":0}'


@dataclass(frozen=True, slots=True)
class Callback:
    """One delivery. `signed` is None when no key was given to check it with."""

    body: dict[str, Any]
    event_id: str
    sdk_app_id: str
    signed: bool | None

    @property
    def group(self) -> int:
        return int(self.body.get("EventGroupId", 0))

    @property
    def type(self) -> int:
        return int(self.body.get("EventType", 0))

    @property
    def info(self) -> dict[str, Any]:
        info = self.body.get("EventInfo")
        return info if isinstance(info, dict) else {}


def is_signed(body: bytes, sign: str, key: str) -> bool:
    """Whether `Sign` is the MAC of these very bytes. Source: Event Callbacks > Verify Signature."""
    wanted = base64.b64encode(hmac.digest(key.encode(), body, "sha256")).decode()
    return hmac.compare_digest(wanted, sign)


class Receiver:
    """An HTTP server on its own thread that hands each callback to `on_callback`; answers 200."""

    def __init__(
        self, host: str, port: int, key: str | None, on_callback: Callable[[Callback], None]
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                if length > MAX_BODY_BYTES:
                    self.send_error(413)
                    return
                raw = self.rfile.read(length)
                try:
                    body = json.loads(raw)
                except ValueError:
                    self.send_error(400)
                    return
                sign = self.headers.get("Sign", "")
                on_callback(
                    Callback(
                        body,
                        self.headers.get("X-Event-Id", ""),
                        self.headers.get("SdkAppId", ""),
                        None if key is None else is_signed(raw, sign, key),
                    )
                )
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(REPLY)))
                self.end_headers()
                self.wfile.write(REPLY)

            def log_message(self, format: str, *args: Any) -> None:
                """What arrives is told by `on_callback`."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def wait(self) -> None:
        """Receive until interrupted."""
        self._thread.join()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
