"""Who may come in by which door, and what those hear who may not (ingest.md B and C)."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from tests.support.publishers import publish_rtmp, publish_whip
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, until

REFUSED_WITHIN_S = 1.0


def ask(
    url: str, *, method: str = "POST", body: bytes | None = b"v=0\r\n", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One HTTP request; returns status, headers with names in lower case, body."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, {k.lower(): v for k, v in refused.headers.items()}, refused.read()


def sdp(token: str) -> dict[str, str]:
    return {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("change", "status"), [
    ("no token", 401), ("foreign token", 403), ("unknown application", 404), ("not sdp", 415), ("garbage", 400),
    ("bad user", 400), ("huge", 400),
])  # fmt: skip
def test_whip_tells_each_refusal_apart(stack: Stack, change: str, status: int) -> None:
    url, headers, body = stack.whip_url("doors", "eve"), sdp(stack.usersig("eve")), b"v=0\r\n"
    if change == "no token":
        del headers["Authorization"]
    elif change == "foreign token":
        headers = sdp(stack.usersig("mallory"))
    elif change == "unknown application":
        url = url.replace(str(stack.sdk_app_id), "1499999999")
    elif change == "not sdp":
        headers["Content-Type"] = "text/plain"
    elif change == "bad user":
        url = url.replace("SessionID=eve", "SessionID=")
    elif change == "huge":
        body = b"v=0\r\n" + b"a=x\r\n" * 100_000
    got, _, text = ask(url, headers=headers, body=body)
    assert got == status, text
    assert stack.usersig("eve").encode() not in text


def offer(direction: str) -> bytes:
    """What aiortc offers who wants to send (`sendonly`) or see (`recvonly`) a picture."""

    async def made() -> str:
        pc = RTCPeerConnection()
        pc.addTransceiver("video", direction=direction)
        await pc.setLocalDescription(await pc.createOffer())
        text = pc.localDescription.sdp
        await pc.close()
        return str(text)

    return asyncio.run(made()).encode()


def test_whep_of_an_empty_room_is_not_found(stack: Stack) -> None:
    url, headers = stack.whep_url("nobody_here", "viewer"), sdp(stack.usersig("viewer"))
    got, _, text = ask(url, headers=headers, body=offer("recvonly"))
    assert got == 404, text


def test_a_session_is_a_resource_that_is_patched_and_deleted_once(stack: Stack) -> None:
    status, headers, text = ask(stack.whip_url("resource", "eve"), headers=sdp(stack.usersig("eve")), body=offer("sendonly"))
    assert status == 201, text
    assert headers["accept-patch"] == "application/trickle-ice-sdpfrag"
    url = urllib.parse.urljoin(stack.dev["http_url"], headers["location"])
    fragment = {"Content-Type": "application/trickle-ice-sdpfrag"}
    trickle = b"a=candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host\r\n"
    restart = b"a=ice-ufrag:newu\r\na=ice-pwd:newpasswordnewpassword00\r\n"
    assert ask(url, method="PATCH", body=trickle, headers=fragment)[0] == 204
    assert ask(url, method="PATCH", body=trickle, headers={**fragment, "If-Match": '"another"'})[0] == 412
    assert ask(url, method="PATCH", body=trickle, headers={"Content-Type": "text/plain"})[0] == 415
    status, _, text = ask(url, method="PATCH", body=restart, headers={**fragment, "If-Match": headers["etag"]})
    assert status == 200
    assert b"a=ice-ufrag:" in text
    assert [ask(url, method="DELETE", body=None)[0] for _ in range(2)] == [200, 404]
    assert ask(url, method="PATCH", body=trickle, headers=fragment)[0] == 404


def test_only_one_shares_a_screen_and_nobody_knocks_without_end(stack: Stack) -> None:
    body = offer("sendonly")

    def knock(user: str, **query: str) -> tuple[int, bytes]:
        status, _, text = ask(stack.whip_url("knocking", user, **query), headers=sdp(stack.usersig(user)), body=body)
        return status, text

    assert knock("eve", stream="aux")[0] == 201
    status, text = knock("dan", stream="aux")
    assert (status, b"-102016" in text) == (409, True)
    statuses = [knock("kim")[0] for _ in range(21)]
    assert set(statuses) == {201, 429}, "a session of the same user takes the place of the one before"
    assert statuses[0] == 201
    assert statuses[-1] == 429, "faster than 20 in 10 s"


def test_a_browser_may_ask_first(stack: Stack) -> None:
    got, headers, _ = ask(stack.whip_url("doors", "eve"), method="OPTIONS", body=None, headers={
        "Origin": "https://app.example.test", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type"})
    assert got in (200, 204)
    assert headers["access-control-allow-origin"] in ("*", "https://app.example.test")
    assert "authorization" in headers["access-control-allow-headers"].lower()
    assert "delete" in headers["access-control-allow-methods"].lower()


def test_aiortc_publishes_is_watched_and_leaves_by_delete(stack: Stack, callbacks: CallbackReceiver) -> None:
    async def scene() -> tuple[dict[str, Any], int]:
        publisher = RTCPeerConnection()
        publisher.addTrack(VideoStreamTrack())
        publisher.addTrack(AudioStreamTrack())
        await publisher.setLocalDescription(await publisher.createOffer())
        status, headers, answer = await asyncio.to_thread(
            ask, stack.whip_url("aio", "alice"), headers=sdp(stack.usersig("alice")),
            body=publisher.localDescription.sdp.encode())
        assert status == 201, answer
        assert headers["content-type"] == "application/sdp"
        await publisher.setRemoteDescription(RTCSessionDescription(answer.decode(), "answer"))
        await asyncio.to_thread(callbacks.wait, 201, timeout_s=20)
        viewer = RTCPeerConnection()
        viewer.addTransceiver("video", direction="recvonly")
        viewer.addTransceiver("audio", direction="recvonly")
        tracks: dict[str, Any] = {}
        viewer.on("track", lambda track: tracks.update({track.kind: track}))
        await viewer.setLocalDescription(await viewer.createOffer())
        status, _, answer = await asyncio.to_thread(
            ask, stack.whep_url("aio", "bob"), headers=sdp(stack.usersig("bob")),
            body=viewer.localDescription.sdp.encode())
        assert status == 201, answer
        await viewer.setRemoteDescription(RTCSessionDescription(answer.decode(), "answer"))
        seen = {"video": 0, "audio": 0}
        for kind, wanted in (("video", 30), ("audio", 50)):
            for _ in range(wanted):
                await asyncio.wait_for(tracks[kind].recv(), 10)
                seen[kind] += 1
        location = stack.dev["http_url"] + headers["location"] if headers["location"].startswith("/") else headers["location"]
        gone, _, _ = await asyncio.to_thread(ask, location, method="DELETE", body=None, headers=sdp(stack.usersig("alice")))
        await viewer.close()
        await publisher.close()
        return seen, gone

    seen, gone = asyncio.run(scene())
    assert seen == {"video": 30, "audio": 50}
    assert gone == 200
    left = until("the 104 of Alice", lambda: [
        e.info for e in callbacks.events(104) if (e.info["RoomId"], e.info["UserId"]) == ("aio", "alice")])
    assert [info["Reason"] for info in left] == [1]


@pytest.mark.parametrize(("extra", "word"), [
    (("--option", "bf=2", "--option", "tune=film", "--option", "preset=medium"), "bf=0"), (("--codec", "libx265"), "H.264"),
])  # fmt: skip
def test_rtmp_refuses_what_it_cannot_forward_and_says_what_to_set(stack: Stack, extra: tuple[str, ...], word: str) -> None:
    publisher = publish_rtmp(stack, "refused", "carol", seconds=20, extra=extra)
    started = time.monotonic()
    publisher.wait_up()
    sent = publisher.finish(20)
    assert "error" in sent, sent
    assert time.monotonic() - started < 10 + REFUSED_WITHIN_S
    said = [line for line in stack.log().splitlines() if "rtmp_refused" in line and word in line]
    assert len(said) == 1, stack.log()[-2000:]
    assert f"{stack.sdk_app_id}/s/refused" in said[0]
    assert "carol" in said[0]
    assert stack.usersig("carol") not in stack.log()


def test_rtmp_with_a_foreign_usersig_is_refused(stack: Stack) -> None:
    url = stack.rtmp_url("refused", "carol").replace("userid=carol", "userid=dave")
    from tests.support.publishers import Publisher

    publisher = Publisher("rtmp", url, seconds=10)
    sent = publisher.finish(20)
    assert "error" in sent
    assert stack.usersig("carol") not in stack.log()


def test_a_later_session_takes_its_own_seat_only(stack: Stack, callbacks: CallbackReceiver) -> None:
    first = publish_whip(stack, "seat", "alice", seconds=30)
    first.wait_up()
    second = publish_whip(stack, "seat", "alice", seconds=4)
    second.wait_up()
    assert "pictures" in second.finish()
    first.cut()
    mine = [e for e in callbacks.events(103, 104) if e.info["RoomId"] == "seat"]
    assert [(e.type, e.info["Reason"]) for e in mine][:3] == [(103, 1), (104, 3), (103, 1)]


def test_slow_and_oversized_requests_are_ended(stack: Stack) -> None:
    host, port = stack.dev["http_url"].removeprefix("http://").split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), 15) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        heard = slow.recv(4096)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 12
    assert stack.http("/livez")[0] == 200
