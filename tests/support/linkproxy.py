"""A bad network in front of the server for clients that know nothing of it: FFmpeg, browsers.

    with LinkProxy(stack.dev["http_url"], stack.dev["webrtc_addr"], seed=7, loss=5, delay_ms=40) as proxy:
        url = proxy.url(stack.whip_url(room, user))

Signalling goes through an HTTP proxy that puts the address of a roomtape-link (tests/support/bots.py) in the
place of the server's in each answer; what a client then sends and hears goes through the link. Candidates over
TCP are taken out: there is no way around it.
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.support.bots import Link

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
PATIENCE_S = 30


def through(answer: str, link: str) -> str:
    """An SDP answer whose candidates are all that address ("host:port")."""
    host, port = link.rsplit(":", 1)
    lines = []
    for line in answer.splitlines():
        words = line.split(" ")
        if line.startswith("a=candidate:") and len(words) > 5:
            if words[2].lower() != "udp":
                continue
            words[4:6] = [host, port]
        lines.append(" ".join(words))
    return "\r\n".join(lines) + "\r\n"


class LinkProxy:
    """See the module. `link.end()` gives the counts when the client is done; `close` ends both."""

    def __init__(self, http_url: str, webrtc_addr: str, *, seed: int, **weather: object) -> None:
        self._server_at = urlsplit(http_url).netloc
        self.link = Link(webrtc_addr, seed=seed, **weather)
        handler = type("Handler", (_Handler,), {"server_at": self._server_at, "link_at": self.link.address})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """http://host:port of the proxy."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def url(self, url: str) -> str:
        """That URL of the server, by way of the proxy."""
        parts = urlsplit(url)
        return self.origin + parts.path + (f"?{parts.query}" if parts.query else "")

    def close(self) -> None:
        self.link.kill()
        self._http.shutdown()
        self._thread.join(PATIENCE_S)
        self._http.server_close()

    def __enter__(self) -> LinkProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    server_at: ClassVar[str]
    link_at: ClassVar[str]

    def _forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        server = http.client.HTTPConnection(self.server_at, timeout=PATIENCE_S)
        try:
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            data = answer.read()
        finally:
            server.close()
        if answer.getheader("Content-Type", "").startswith("application/sdp"):
            data = through(data.decode(), self.link_at).encode()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value.replace(f"//{self.server_at}", f"//{self.headers['Host']}"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _forward

    def log_message(self, *_args: Any) -> None:
        """Nothing: what is wrong shows at the client."""
