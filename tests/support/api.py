"""A whole API without a network: real database, real access, the gateway called as the server calls it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from roomtape.access.service import Access, Account, App, NewKey
from roomtape.api.gateway import Gateway
from roomtape.api.services import Services
from roomtape.api.signing import (
    Authorization,
    Tc3Request,
    canonical_request,
    payload_hash,
    tc3_key,
    tc3_signature,
    utc_date,
    v1_signature,
    v1_string,
)
from roomtape.clock import Clock
from roomtape.config import Config
from roomtape.rooms.service import Rooms
from roomtape.state.database import Database
from roomtape.state.ledger import Ledger
from roomtape.state.sealing import Sealer
from tests.support.coretwin import CoreTwin
from tests.support.taskrows import RecordingRows

HOST = "rtc.example.test:8080"
VERSION = "2019-07-22"
REGION = "ap-singapore"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
DELETE = "DeleteCloudRecording"


@dataclass
class Answer:
    """One response of the gateway, as raw as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def response(self) -> dict[str, Any]:
        told = json.loads(self.body)
        assert set(told) == {"Response"}
        response: dict[str, Any] = told["Response"]
        return response

    @property
    def code(self) -> str:
        """The error's code, "OK" for a success."""
        error = self.response.get("Error")
        return str(error["Code"]) if error is not None else "OK"

    @property
    def message(self) -> str:
        return str(self.response["Error"]["Message"])


@dataclass
class Stand:
    """An application, its key, and the gateway in front of them."""

    db: Database
    clock: Any  # ManualClock, in all tests but those over a network
    access: Access
    account: Account
    app: App
    key: NewKey
    config: Config
    recording: RecordingRows
    core: CoreTwin
    rooms: Rooms
    gateway: Gateway = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new gateway under the present configuration, with full buckets."""
        self.gateway = Gateway(self.services, self.config)

    @property
    def services(self) -> Services:
        return Services(self.db, self.clock, self.access, self.recording, self.rooms)

    async def send(
        self,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        query: bytes = b"",
        path: str = "/",
        address: str = "203.0.113.7",
        at_once: bool = False,
    ) -> Answer:
        """Hand one request to the gateway: in two pieces of body, or whole for an answer at once if it can."""
        pieces = [body[: len(body) // 2], body[len(body) // 2 :]]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                return {"type": "http.disconnect"}
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in (headers or {}).items()],
            "client": (address, 50000),
        }
        if at_once:
            # As a listener does, of a repeated header the first, names in lower case.
            answered = self.gateway.at_once(path, dict(headers or {}), body, address)
            lines, told = answered if isinstance(answered, tuple) else await answered
            pairs = lines.decode().removesuffix("\r\n").split("\r\n")
            return Answer(200, dict(line.split(": ", 1) for line in pairs), told)
        await self.gateway(scope, receive, send)
        start, end = sent
        return Answer(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])

    def headers(self, action: str, body: bytes, **changes: Any) -> dict[str, str]:
        """TC3 headers of a POST; `changes` by name: secret_id, secret_key, timestamp, date, service, host,
        method, query, content_type, region, version, payload (what is hashed), extra (more headers)."""
        given = {
            "secret_id": self.key.secret_id,
            "secret_key": self.key.secret_key.reveal(),
            "timestamp": str(self.clock.now_ms() // 1000),
            "service": "trtc",
            "host": HOST,
            "method": "POST",
            "query": b"",
            "content_type": JSON,
            "region": REGION,
            "version": VERSION,
            "payload": body,
            "extra": {},
        } | changes
        date = given.get("date") or utc_date(int(given["timestamp"]))
        signed = {"host": given["host"], "content-type": given["content_type"]}
        request = Tc3Request(
            given["method"],
            "/",
            given["query"],
            signed | given["extra"],
            given["payload"],
            given["timestamp"],
        )
        names = ("content-type", "host")
        authorization = Authorization(given["secret_id"], date, given["service"], names, "")
        canonical = canonical_request(
            request, names, payload_hash(request), path="/", host=given["host"], lower=False
        )
        key = tc3_key(given["secret_key"], date, given["service"])
        signature = tc3_signature(key, authorization, given["timestamp"], canonical)
        headers = {
            "host": given["host"],
            "content-type": given["content_type"],
            "x-tc-action": action,
            "x-tc-version": given["version"],
            "x-tc-timestamp": given["timestamp"],
            "x-tc-region": given["region"],
            "authorization": (
                f"TC3-HMAC-SHA256 Credential={given['secret_id']}/{date}/{given['service']}/tc3_request, "
                f"SignedHeaders=content-type;host, Signature={signature}"
            ),
        }
        return headers | given["extra"]

    async def call(self, action: str, parameters: Any = None, **changes: Any) -> Answer:
        """A signed POST with a JSON body."""
        body = parameters if isinstance(parameters, bytes) else json.dumps(parameters or {}).encode()
        return await self.send("POST", self.headers(action, body, **changes), body)

    async def get(self, action: str, flat: dict[str, str], **changes: Any) -> Answer:
        """A GET with a TC3 signature."""
        query = urlencode(flat).encode()
        headers = self.headers(action, b"", method="GET", query=query, content_type=FORM, **changes)
        return await self.send("GET", headers, query=query)

    def v1(
        self, action: str, flat: dict[str, str], method: str = "POST", path: str = "/", **changes: str
    ) -> dict[str, str]:
        """The signed parameters of a v1 request; `changes` replace common ones, "" removes them."""
        common = {
            "Action": action,
            "Version": VERSION,
            "Region": REGION,
            "Timestamp": str(self.clock.now_ms() // 1000),
            "Nonce": "0",
            "SecretId": self.key.secret_id,
            "SignatureMethod": "HmacSHA256",
            "RequestClient": "test",
            "Language": "en-US",
        } | changes
        parameters = {n: v for n, v in common.items() if v != ""} | flat
        text = v1_string(method, HOST, path, parameters)
        signature = v1_signature(self.key.secret_key.reveal(), text, parameters.get("SignatureMethod"))
        return parameters | {"Signature": signature}

    async def form(self, action: str, flat: dict[str, str], **changes: str) -> Answer:
        """A v1-signed form."""
        body = urlencode(self.v1(action, flat, **changes)).encode()
        return await self.send("POST", {"host": HOST, "content-type": FORM}, body)

    async def robot(self, user: str = "robot") -> str:
        """A UserSig for a recorder."""
        return (await self.access.issue_user_sig(self.app.sdk_app_id, user)).reveal()

    async def create_request(self, **members: Any) -> dict[str, Any]:
        """The members of a legal CreateCloudRecording; a member given as None is left out."""
        request: dict[str, Any] = {
            "SdkAppId": self.app.sdk_app_id,
            "RoomId": "class_7",
            "RoomIdType": 0,
            "UserId": "robot",
            "UserSig": await self.robot(),
            "RecordParams": {"RecordMode": 1},
            "StorageParams": {
                "CloudStorage": {
                    "Vendor": 1,
                    "Region": "us-east-1",
                    "Bucket": "rec",
                    "AccessKey": "AK",
                    "SecretKey": "SK",
                }
            },
        }
        return {n: v for n, v in (request | members).items() if v is not None}


@asynccontextmanager
async def stand(db: Database, clock: Clock) -> AsyncIterator[Stand]:
    """One account with one application and one key, on real rooms over a twin of the media core."""
    access = Access(db, Sealer([hashlib.sha256(b"a test's master key").digest()]), clock)
    account = await access.create_account("tester")
    app, _ = await access.create_app("app", uin=account.uin)
    key = await access.create_key(account.uin)
    config = Config()
    db.set_origin("node-1", "boot-1")
    core, ledger = CoreTwin(clock), Ledger(db, clock, "rooms")
    rooms = Rooms(ledger, clock)
    rooms.attach(core)
    writing = asyncio.create_task(ledger.run())
    try:
        yield Stand(
            db, clock, access, account, app, key, config, RecordingRows(db, access, clock), core, rooms
        )
    finally:
        rooms.close()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        core.stop()


def task(api: Stand, task_id: str = "xx") -> dict[str, Any]:
    """Parameters that name a task."""
    return {"SdkAppId": api.app.sdk_app_id, "TaskId": task_id}


async def create(api: Stand, **members: Any) -> Answer:
    """CreateCloudRecording with `members` beside what it must have."""
    return await api.call("CreateCloudRecording", await api.create_request(**members))


async def foreign_app(api: Stand) -> int:
    """The SdkAppId of another account's application."""
    other = await api.access.create_account("other")
    app, _ = await api.access.create_app(uin=other.uin)
    return app.sdk_app_id
