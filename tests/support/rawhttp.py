"""Signed API requests as bytes, and sending them: for loads where an HTTP client would be what is measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from typing import Any

from roomtape.api.signing import (
    Authorization,
    Tc3Request,
    canonical_request,
    payload_hash,
    tc3_key,
    tc3_signature,
    utc_date,
)

REGION = "ap-singapore"


def signed(
    host: str,
    secret_id: str,
    secret_key: str,
    action: str,
    body: bytes,
    *,
    at_s: int | None = None,
    signed_host: str = "",
    signed_body: bytes | None = None,
    content_type: str = "application/json",
) -> bytes:
    """One request as the Python SDK sends it; `signed_*` differ from what is sent when given."""
    stamp = str(int(time.time()) if at_s is None else at_s)
    date = utc_date(int(stamp))
    names = ("content-type", "host")
    covered = {"content-type": content_type, "host": signed_host or host}
    request = Tc3Request("POST", "/", b"", covered, body if signed_body is None else signed_body, stamp)
    canonical = canonical_request(
        request, names, payload_hash(request), path="/", host=covered["host"], lower=False
    )
    scope = Authorization(secret_id, date, "trtc", names, "")
    signature = tc3_signature(tc3_key(secret_key, date, "trtc"), scope, stamp, canonical)
    head = (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nUser-Agent: test\r\nAccept: */*\r\nX-TC-Action: {action}\r\n"
        f"X-TC-Version: 2019-07-22\r\nX-TC-Timestamp: {stamp}\r\nX-TC-Region: {REGION}\r\n"
        "X-TC-RequestClient: SDK_PYTHON_3.1.193\r\nX-TC-Language: en-US\r\n"
        f"Authorization: TC3-HMAC-SHA256 Credential={secret_id}/{date}/trtc/tc3_request, "
        f"SignedHeaders=content-type;host, Signature={signature}\r\n\r\n"
    )
    return head.encode() + body


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Send one request on an open connection and return the answer's body."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return await reader.readexactly(length)


async def sip(client: socket.socket, most: int, *, every_s: float) -> int:
    """Read a connection to its end, up to so many bytes at a time and then a pause; how many there were."""
    loop, total = asyncio.get_running_loop(), 0
    while True:
        left = most
        while left:
            piece = await loop.sock_recv(client, left)
            if not piece:
                return total
            left -= len(piece)
            total += len(piece)
        await asyncio.sleep(every_s)


def code_of(answer: bytes) -> str:
    """The error's code, "OK" for a success."""
    response: dict[str, Any] = json.loads(answer)["Response"]
    error = response.get("Error")
    return "OK" if error is None else str(error["Code"])


async def _paced(order: dict[str, Any]) -> dict[str, Any]:
    """Ten calls a second over one connection until stdin ends, and for `at_least_s`; says `up` when connected."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), done.set)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", order["port"], local_addr=(order["address"], 0)
    )
    print("up", flush=True)
    took: list[float] = []
    codes: list[str] = []
    until = time.monotonic() + float(order.get("at_least_s", 0))
    while not codes or not done.is_set() or time.monotonic() < until:
        request = signed(
            order["host"], order["secret_id"], order["secret_key"], order["action"], order["body"].encode()
        )
        began = time.monotonic()
        codes.append(code_of(await exchange(reader, writer, request)))
        took.append(time.monotonic() - began)
        if done.is_set():
            await asyncio.sleep(0.1)
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), 0.1)
    writer.close()
    return {"took_s": sorted(took), "codes": sorted(set(codes))}


if __name__ == "__main__":  # a good client in a process of its own, so that only the server is shared
    print(json.dumps(asyncio.run(_paced(json.loads(sys.argv[1])))))
