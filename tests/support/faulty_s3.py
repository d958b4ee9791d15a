"""An S3 endpoint that breaks on demand: a real server behind it, faults in front.

`fault` is asked for every request and may change at any time; None lets it pass. What passes goes to the
real server as it came, signature and all.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.s3 import S3Server


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    key: str  # without the bucket, decoded
    query: str
    headers: dict[str, str]  # names in lower case
    number: int  # of all requests, from 0

    @property
    def completes(self) -> bool:
        """Whether this is what makes the object appear."""
        return (self.method == "PUT" and not self.query) or (self.method == "POST" and "uploadId=" in self.query)


@dataclass(frozen=True)
class Answer:
    """Answer by itself, with an S3 error document or with `raw`."""

    status: int
    code: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    endless: bool = False  # the body never ends


@dataclass(frozen=True)
class Reset:
    """Read so much of the body, then reset the connection."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Slow:
    """Let it pass after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Change:
    """Say 200, and store other bytes than were sent; or only say another ETag.

    `etag` None is an honest one: the MD5 of what is stored.
    """

    change: Callable[[bytes], bytes] | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Death:
    """`kill` somebody in the middle of the request, whose client is then gone.

    After so many bytes of its body, which goes nowhere; or, with None, when the store has done what was asked and
    before it can say so.
    """

    kill: Callable[[], None]
    after_bytes: int | None = None


Fault = Answer | Reset | Slow | Change | Death


class FaultyS3:
    """`endpoint` is its URL; `requests` is all that came."""

    def __init__(self, behind: S3Server, fault: Callable[[Request], Fault | None] | None = None) -> None:
        self.behind = behind
        self.fault = fault or (lambda _request: None)
        self.requests: list[Request] = []
        self.ended = threading.Event()
        outer = self

        class Handler(_Handler):
            owner = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients go away
        self.port = int(self._server.server_address[1])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self, method: str, *, query: str = "") -> int:
        return len([r for r in self.requests if r.method == method and query in r.query])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultyS3

    def do_PUT(self) -> None:
        path = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        _, _, key = path.path.removeprefix("/").partition("/")
        request = Request(self.command, unquote(key), path.query, headers, len(self.owner.requests))
        self.owner.requests.append(request)
        fault = self.owner.fault(request)
        length = int(headers.get("content-length", 0))
        if isinstance(fault, Reset):
            self.rfile.read(min(fault.after_bytes, length))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(fault, Death) and fault.after_bytes is not None:
            self.rfile.read(min(fault.after_bytes, length))
            fault.kill()
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if isinstance(fault, Slow):
            self.owner.ended.wait(fault.seconds)
        if isinstance(fault, Answer):
            self._answer(fault)
            return
        status, answered, content = self._pass(body)
        if isinstance(fault, Death):
            fault.kill()
        if isinstance(fault, Change) and status == 200 and request.completes:
            answered, content = self._change(fault, answered, content)
        self._send(status, answered, content)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _pass(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.owner.behind.host_port, timeout=30)) as onward:
            onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    onward.putheader(name, value)
            onward.endheaders(body)
            answer = onward.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def _change(self, fault: Change, headers: dict[str, str], content: bytes) -> tuple[dict[str, str], bytes]:
        stored = self.owner.behind.root / unquote(urlsplit(self.path).path).removeprefix("/")
        if fault.change is not None:
            stored.write_bytes(fault.change(stored.read_bytes()))
        honest = hashlib.md5(stored.read_bytes()).hexdigest()
        if self.command == "POST":
            etag = fault.etag if fault.etag is not None else f"{honest}-2"
            named = re.sub(rb"(<ETag>).*?(</ETag>)", rb"\g<1>&quot;" + etag.encode() + rb"&quot;\g<2>", content)
            return headers, named
        others = {name: value for name, value in headers.items() if name.lower() != "etag"}
        etag = fault.etag if fault.etag is not None else honest
        return ({**others, "ETag": f'"{etag}"'} if etag else others), content

    def _answer(self, fault: Answer) -> None:
        document = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
        content = fault.raw if fault.raw is not None else document.encode() if fault.code else b""
        if fault.endless:
            self.send_response(fault.status)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                while not self.owner.ended.is_set():
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        self._send(fault.status, fault.headers, content)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
