"""The wrapper of the media core, over the twin."""

from __future__ import annotations

import asyncio

import pytest

from roomtape.clock import ManualClock
from roomtape.media.core import Event, MediaCore, OfferRefused
from tests.support.coretwin import CoreTwin

ROOM = "1/s/room"
OFFER = "v=0\r\n"


def make() -> tuple[CoreTwin, MediaCore, list[Event]]:
    twin = CoreTwin(ManualClock())
    events: list[Event] = []
    return twin, MediaCore(twin, events.append), events


async def test_an_offer_is_answered_to_whom_it_belongs() -> None:
    twin, core, events = make()
    first, second = await asyncio.gather(
        core.accept_offer(ROOM, "amy", "main", OFFER, kind="publish"),
        core.accept_offer(ROOM, "bob", "main", OFFER, kind="publish"),
    )
    assert [twin.peers[p.peer].user for p in (first, second)] == ["amy", "bob"]
    assert first.sdp.startswith("v=0")
    assert events == []
    await core.close()


async def test_a_refusal_is_raised_with_its_reason() -> None:
    _twin, core, _ = make()
    with pytest.raises(OfferRefused) as refused:
        await core.accept_offer(ROOM, "amy", "main", "hello", kind="publish")
    assert (refused.value.reason, refused.value.message) == ("bad_sdp", "the offer is no SDP")
    await core.close()


async def test_the_session_of_a_client_that_went_before_its_answer_is_removed() -> None:
    twin, core, _ = make()
    task = asyncio.create_task(core.accept_offer(ROOM, "amy", "main", OFFER, kind="publish"))
    await asyncio.sleep(0)  # the offer is with the core, its answer not yet read
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = await core.accept_offer(ROOM, "bob", "main", OFFER, kind="publish")
    assert list(twin.peers) == [again.peer]
    await core.close()


async def test_other_events_come_in_order_and_closing_ends_those_who_wait() -> None:
    twin, core, events = make()
    answer = await core.accept_offer(ROOM, "amy", "main", OFFER, kind="publish")
    twin.connect(answer.peer)
    core.remove_peer(answer.peer)
    await core.patch((await core.accept_offer(ROOM, "bob", "main", OFFER, kind="publish")).peer, "")
    assert [e[0] for e in events] == ["peer_up", "peer_closed"]
    task = asyncio.create_task(core.accept_offer(ROOM, "eve", "main", OFFER, kind="publish"))
    await asyncio.sleep(0)
    await core.close()
    with pytest.raises(OfferRefused):
        await task
    assert twin.stopped
    with pytest.raises(OfferRefused):
        await core.accept_offer(ROOM, "eve", "main", OFFER, kind="publish")
