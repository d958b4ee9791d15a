"""What every door asks of somebody who wants in: application, names, UserSig, ticket.

Source: Room entry, steps 1 to 3; In-room rules > identifiers; read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from roomtape.access.errors import UnknownApp
from roomtape.access.service import App
from roomtape.access.tickets import Right
from roomtape.errors import DomainError
from roomtape.rooms.names import RoomName, RoomType, is_room_id, is_user_id
from roomtape.secret import Secret

PUBLISH = Right.ENTER | Right.SEND_AUDIO | Right.SEND_VIDEO
SHARE = Right.ENTER | Right.SEND_SUBSTREAM
WATCH = Right.ENTER | Right.RECEIVE_AUDIO | Right.RECEIVE_VIDEO


class BadName(DomainError):
    """A room or user is not written as the rules want it."""


class Guard(Protocol):
    """The part of `access.service.Access` that doors use."""

    async def app(self, sdk_app_id: int) -> App | None: ...

    async def verify_user(self, sdk_app_id: int, user: str, sig: Secret | str) -> None: ...

    async def verify_ticket(
        self,
        sdk_app_id: int,
        user: str,
        room_type: RoomType,
        room: str,
        ticket: Secret | str | None,
        needs: Right = Right.ENTER,
    ) -> Right: ...


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who wants into which room, and what they show for it."""

    name: RoomName
    user_id: str
    user_sig: Secret
    ticket: Secret | None
    needs: Right


async def check(guard: Guard, who: Entrant) -> None:
    """Let the entrant pass.

    Raises:
        BadName, UnknownApp, BadUserSig, TicketRefused.
    """
    if not is_room_id(who.name.type, who.name.room_id):
        raise BadName(
            "An integer room is a number from 1 to 4294967295."
            if who.name.type == "i"
            else "A string room has 1 to 64 of the documented characters."
        )
    if not is_user_id(who.user_id):
        raise BadName("A UserId has 1 to 64 letters, digits or characters of _-.@#:+=.")
    app = await guard.app(who.name.sdk_app_id)
    if app is None or app.blocked:
        raise UnknownApp(who.name.sdk_app_id)
    await guard.verify_user(who.name.sdk_app_id, who.user_id, who.user_sig)
    await guard.verify_ticket(
        who.name.sdk_app_id, who.user_id, who.name.type, who.name.room_id, who.ticket, who.needs
    )
