"""Who is in which room: memberships, seats, roles, and when they end.

Memory is the present, SQL the record: every change is made here at once, on the event loop, and written
behind in order through the ledger, together with the events it causes. After a restart the record is
read back; who does not return within `lost_after_s` is put out then.

No media, no SQL and no HTTP here. All times come from the injected clock.
Source: In-room rules: Room entry, Exit and kick-out, Event Callbacks; read 2026-11. Seats are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import structlog

from roomtape.clock import Clock
from roomtape.rooms import facts
from roomtape.rooms.errors import RoomFull, RoomNotFound, SubstreamTaken, UserNotInRoom
from roomtape.rooms.model import (
    KINDS_OF_SEAT,
    MAX_PUBLISHERS,
    Kind,
    Member,
    Out,
    Role,
    Room,
    Scene,
    Seat,
    Session,
    Track,
    UserType,
)
from roomtape.rooms.names import RoomName, RoomType
from roomtape.state.ledger import Entry, Ledger
from roomtape.timers import Timers

log = structlog.get_logger(__name__)

LINGER_S = 600.0
REPLACED_WAIT_S = 10.0
NORMAL_ENTRY = 1
StopCause = Literal["closed", "lost", "blocked", "replaced", "dismissed"]


class Media(Protocol):
    """What the rooms ask of the media core."""

    def remove_peer(self, peer: int) -> None: ...

    def rtmp_close(self, conn: int) -> None: ...

    def block(self, room: str, user: str, audio: bool, video: bool) -> None: ...

    def dismiss(self, room: str) -> None: ...


class Watcher(Protocol):
    """Who has robots in rooms. All calls are quick and made after the change."""

    def anchors_changed(self, name: RoomName) -> None: ...

    def user_entered(self, name: RoomName, user_id: str) -> None: ...

    def user_removed(self, name: RoomName, user_id: str) -> bool:
        """The customer removed this user; True when it is a robot of the watcher's."""
        ...

    def room_dismissed(self, name: RoomName) -> bool:
        """The customer closed the room; True when a robot of the watcher's was in it."""
        ...


Upstream = Callable[[Room, int], None]


class Rooms:
    """All rooms of this node."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        lost_after_s: float = 90.0,
        one_share_per_room: bool = True,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._timers = Timers(clock)
        self._lost_after_s = lost_after_s
        self._one_share = one_share_per_room
        self._rooms: dict[str, Room] = {}
        self._tracks: dict[int, Track] = {}
        self._by_handle: dict[tuple[bool, int], tuple[Room, Member, Session]] = {}
        self._rtmp: dict[tuple[int, str], tuple[Room, Member, Session]] = {}  # unique in an application
        self._watchers: list[Watcher] = []
        self._upstreams: list[Upstream] = []
        self._media: Media | None = None

    def attach(self, media: Media) -> None:
        """Name the core; before that nobody can enter."""
        self._media = media

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def on_upstream(self, listener: Upstream) -> None:
        """Be told of each track that begins: the room, and the instant on the core's clock."""
        self._upstreams.append(listener)

    def retune(self, *, lost_after_s: float, one_share_per_room: bool) -> None:
        """Other rules from now on; a timer that runs keeps its time."""
        self._lost_after_s = lost_after_s
        self._one_share = one_share_per_room

    def close(self) -> None:
        """Stop all timers: the process ends, the rooms live on in the record."""
        self._timers.close()

    # --- looking ----------------------------------------------------------------------------------

    def room(self, name: RoomName) -> Room | None:
        return self._rooms.get(name.key)

    def open_rooms(self) -> list[Room]:
        return list(self._rooms.values())

    def anchors(self, name: RoomName) -> list[str]:
        """The users with role anchor, in order of entry; those whose connection is lost are counted."""
        room = self._rooms.get(name.key)
        return room.anchors if room is not None else []

    def entered_ns(self, name: RoomName, user_id: str) -> int:
        """When this user's membership began on the core's clock; now, for one who is not in the room."""
        room = self._rooms.get(name.key)
        member = room.members.get(user_id) if room is not None else None
        return member.entered_ns if member is not None else self._clock.monotonic_ns()

    def session(self, handle: int, *, rtmp: bool) -> tuple[Room, Member, Session] | None:
        return self._by_handle.get((rtmp, handle))

    # --- entering ---------------------------------------------------------------------------------

    def admit(self, name: RoomName, user_id: str, seat: Seat) -> None:
        """Check what a room's state can refuse; raises RoomFull or SubstreamTaken."""
        room = self._rooms.get(name.key)
        if room is None:
            return
        member = room.members.get(user_id)
        if member is None and len(room.members) >= room.scene.max_users:
            raise RoomFull(f"The room has {len(room.members)} users, as many as it may.")
        if seat == "play":
            return
        if (member is None or not member.publishes) and sum(
            1 for other in room.members.values() if other.publishes
        ) >= MAX_PUBLISHERS:
            raise RoomFull(f"{MAX_PUBLISHERS} users of the room publish, as many as may.")
        if seat == "aux" and self._one_share and room.sharer not in (None, user_id):
            raise SubstreamTaken("Another user of the room already publishes a substream.")

    def enter(
        self,
        name: RoomName,
        user_id: str,
        session: Session,
        *,
        user_type: UserType = UserType.WEBRTC,
        device_type: str = "",
        client_ip: str = "",
        scene: Scene = Scene.LIVE,
    ) -> Member:
        """Give a session its seat, opening the room if need be; whoever holds the seat loses it.

        Raises RoomFull or SubstreamTaken, as `admit` does.
        """
        self.admit(name, user_id, session.seat)
        if session.via == "rtmp":
            self._end_other_push(name, user_id)
        room = self._rooms.get(name.key) or self._open(name, user_id, scene)
        if ("linger", name.key) in self._timers:
            self._timers.cancel(("linger", name.key))
            self._put(facts.room_emptied(room, None))
        before = room.anchors
        member = room.members.get(user_id)
        if member is None:
            member = self._join(room, user_id, session, user_type, device_type, client_ip)
        else:
            member = self._take_seat(room, member, session, user_type, device_type, client_ip)
        self._by_handle[(session.via == "rtmp", session.handle)] = (room, member, session)
        if session.via == "rtmp":
            self._rtmp[(name.sdk_app_id, user_id)] = (room, member, session)
        if session.seat == "play":
            self._put(facts.watch_began(room, member, session, self._clock.now_ms()))
        for watcher in self._watchers:
            watcher.user_entered(name, user_id)
        self._tell_anchors(room, before)
        return member

    def _open(self, name: RoomName, creator: str, scene: Scene) -> Room:
        now_ms = self._clock.now_ms()
        room = Room(name, scene, creator, now_ms)
        self._rooms[name.key] = room
        self._put(facts.room_opened(room), facts.event(name, facts.CREATED, now_ms, user_id=creator))
        log.info("room_opened", room=name.key)
        return room

    def _join(
        self,
        room: Room,
        user_id: str,
        session: Session,
        user_type: UserType,
        device_type: str,
        client_ip: str,
        seats: dict[Seat, Session] | None = None,
    ) -> Member:
        now_ms = self._clock.now_ms()
        held = {**(seats or {}), session.seat: session}
        member = Member(
            user_id=user_id,
            role=_role(held),
            user_type=user_type,
            device_type=device_type,
            client_ip=client_ip,
            entered_ms=now_ms,
            entered_ns=self._clock.monotonic_ns(),
            seats=held,
        )
        room.members[user_id] = member
        self._put(
            facts.stay_began(room, member, NORMAL_ENTRY),
            facts.event(
                room.name,
                facts.ENTERED,
                now_ms,
                **facts.role_fact(member),
                **facts.device_fact(member),
                reason=NORMAL_ENTRY,
            ),
        )
        log.info("user_entered", room=room.name.key, user=user_id, seat=session.seat, via=session.via)
        return member

    def _take_seat(
        self,
        room: Room,
        member: Member,
        session: Session,
        user_type: UserType,
        device_type: str,
        client_ip: str,
    ) -> Member:
        seat = session.seat
        former = member.seats.get(seat)
        self._timers.cancel(("lost", room.name.key, member.user_id, seat))
        member.waiting_seats.discard(seat)
        if former is not None:
            self._cut(former)
        if former is None or former.lost or seat != "main":
            # A seat that was free, or whose holder had lost its connection: the same membership goes on.
            member.seats[seat] = session
            self._settle_role(room, member)
            self._put(facts.stay_changed(member))
            if member.blocked_audio or member.blocked_video:
                self._block(room, member)
            return member
        others: dict[Seat, Session] = {s: held for s, held in member.seats.items() if s != seat}
        self._out(room, member, Out.REMOVED)
        fresh = self._join(room, member.user_id, session, user_type, device_type, client_ip, others)
        for other in others.values():
            self._by_handle[(other.via == "rtmp", other.handle)] = (room, fresh, other)
        return fresh

    def _end_other_push(self, name: RoomName, user_id: str) -> None:
        """A UserId pushes once per application: the later push ends the earlier one in another room."""
        held = self._rtmp.get((name.sdk_app_id, user_id))
        if held is not None and held[0].name != name:
            room, member, session = held
            self._cut(session)
            self._give_up(room, member, session.seat, Out.REMOVED)

    # --- leaving ----------------------------------------------------------------------------------

    def leave(self, session: Session, reason: Out = Out.LEFT) -> None:
        """A session gives its seat up; with its last seat the user leaves."""
        held = self._by_handle.get((session.via == "rtmp", session.handle))
        if held is None or held[2] is not session:
            return
        room, member, _ = held
        self._cut(session)
        self._give_up(room, member, session.seat, reason)

    def lost(self, session: Session) -> None:
        """Its connection went silent: it may come back until `lost_after_s` has passed."""
        held = self._by_handle.get((session.via == "rtmp", session.handle))
        if held is None or session.lost:
            return
        room, member, _ = held
        session.lost = True
        self._timers.set(
            ("lost", room.name.key, member.user_id, session.seat),
            self._lost_after_s,
            lambda: self.leave(session, Out.LOST),
        )
        self._put(facts.stay_changed(member, lost_ms=self._clock.now_ms()))

    def replaced(self, session: Session) -> None:
        """The core gave its seat to a newer session, which is about to enter.

        If that one never does (its client went away in the middle), the seat is given up.
        """
        held = self._by_handle.get((session.via == "rtmp", session.handle))
        if held is not None and not session.lost:
            room, member, _ = held
            self._timers.set(
                ("lost", room.name.key, member.user_id, session.seat),
                REPLACED_WAIT_S,
                lambda: self.leave(session, Out.REMOVED),
            )

    def found(self, session: Session) -> None:
        """It is back before its time was over: nothing has happened."""
        held = self._by_handle.get((session.via == "rtmp", session.handle))
        if held is None or not session.lost:
            return
        room, member, _ = held
        session.lost = False
        self._timers.cancel(("lost", room.name.key, member.user_id, session.seat))
        self._put(facts.stay_changed(member))

    def _give_up(self, room: Room, member: Member, seat: Seat, reason: Out) -> None:
        if room.members.get(member.user_id) is not member:
            return
        before = room.anchors
        self._timers.cancel(("lost", room.name.key, member.user_id, seat))
        member.seats.pop(seat, None)
        member.waiting_seats.discard(seat)
        if member.seats or member.waiting_seats:
            for kind in KINDS_OF_SEAT[seat]:
                self._silence(room, member, kind)
            self._settle_role(room, member)
            self._put(facts.stay_changed(member))
        else:
            self._out(room, member, reason)
            self._after_leaving(room, member, reason)
        self._tell_anchors(room, before)

    def _out(self, room: Room, member: Member, reason: Out) -> None:
        now_ms = self._clock.now_ms()
        del room.members[member.user_id]
        for session in member.seats.values():
            self._timers.cancel(("lost", room.name.key, member.user_id, session.seat))
        for seat in member.waiting_seats:
            self._timers.cancel(("lost", room.name.key, member.user_id, seat))
        if member.blocked_audio or member.blocked_video:
            self._core.block(room.name.key, member.user_id, False, False)
        self._put(
            facts.stay_ended(member, now_ms, reason),
            facts.event(room.name, facts.LEFT, now_ms, **facts.role_fact(member), reason=int(reason)),
        )
        log.info("user_left", room=room.name.key, user=member.user_id, reason=int(reason))

    def _after_leaving(self, room: Room, member: Member, reason: Out) -> None:
        """Close the room that has emptied: at once, or after its last viewer's linger."""
        if room.members:
            return
        if reason is Out.LOST or member.role is Role.ANCHOR or not room.scene.lingers:
            self._close(room, "lost" if reason is Out.LOST else "emptied")
            return
        self._put(facts.room_emptied(room, self._clock.now_ms()))
        self._linger(room, LINGER_S)

    def _linger(self, room: Room, seconds: float) -> None:
        self._timers.set(("linger", room.name.key), seconds, lambda: self._close(room, "emptied"))

    def _close(self, room: Room, cause: str) -> None:
        if self._rooms.get(room.name.key) is not room or room.members:
            return
        now_ms = self._clock.now_ms()
        del self._rooms[room.name.key]
        self._timers.cancel(("linger", room.name.key))
        self._put(facts.room_closed(room, now_ms, cause), facts.event(room.name, facts.CLOSED, now_ms))
        log.info("room_closed", room=room.name.key, cause=cause)

    # --- what the customer does -------------------------------------------------------------------

    async def remove_users(
        self, sdk_app_id: int, room_type: RoomType, room_id: str, users: Iterable[str]
    ) -> None:
        """Put users out, robots too; unknown users are ignored. Raises RoomNotFound."""
        name = RoomName(sdk_app_id, room_type, room_id)
        room = self._rooms.get(name.key)
        known = room is not None
        for user_id in users:
            member = room.members.get(user_id) if room is not None else None
            if room is not None and member is not None:
                self._kick(room, member)
            for watcher in self._watchers:
                known = watcher.user_removed(name, user_id) or known
        if not known:
            raise RoomNotFound(f"There is no room {room_id!r}.")
        await self._ledger.settled()

    async def dismiss(self, sdk_app_id: int, room_type: RoomType, room_id: str) -> None:
        """Put everyone out, hidden robots too, and close the room. Raises RoomNotFound."""
        name = RoomName(sdk_app_id, room_type, room_id)
        room = self._rooms.get(name.key)
        known = room is not None
        if room is not None:
            before = room.anchors
            for member in list(room.members.values()):
                self._forget_sessions(room, member)
                self._out(room, member, Out.REMOVED)
            self._core.dismiss(name.key)
            self._close(room, "dismissed")
            self._tell_anchors(room, before)
        for watcher in self._watchers:
            known = watcher.room_dismissed(name) or known
        if not known:
            raise RoomNotFound(f"There is no room {room_id!r}.")
        await self._ledger.settled()

    async def block(
        self, sdk_app_id: int, room_type: RoomType, room_id: str, user_id: str, *, audio: bool, video: bool
    ) -> None:
        """Drop a user's media until that is reversed or the user leaves.

        Raises RoomNotFound, UserNotInRoom.
        """
        room = self._rooms.get(RoomName(sdk_app_id, room_type, room_id).key)
        if room is None:
            raise RoomNotFound(f"There is no room {room_id!r}.")
        member = room.members.get(user_id)
        if member is None:
            raise UserNotInRoom(f"User {user_id!r} is not in the room.")
        member.blocked_audio, member.blocked_video = audio, video
        self._block(room, member)
        self._put(facts.stay_changed(member))
        await self._ledger.settled()

    def robot_enters(self, name: RoomName, user_id: str) -> None:
        """A hidden robot takes every seat of its UserId: whoever has one is put out."""
        room = self._rooms.get(name.key)
        member = room.members.get(user_id) if room is not None else None
        if room is not None and member is not None:
            self._kick(room, member)

    def _kick(self, room: Room, member: Member) -> None:
        before = room.anchors
        self._forget_sessions(room, member, cut=True)
        self._out(room, member, Out.REMOVED)
        self._after_leaving(room, member, Out.REMOVED)
        self._tell_anchors(room, before)

    # --- media ------------------------------------------------------------------------------------

    def track_started(
        self, number: int, name: RoomName, user_id: str, kind: Kind, codec: str, at_ns: int
    ) -> None:
        """The first accepted packet of a track."""
        room = self._rooms.get(name.key)
        member = room.members.get(user_id) if room is not None else None
        if room is None or member is None:
            return
        at_ms = self._wall(at_ns)
        track = Track(number, room, user_id, kind, codec)
        self._tracks[number] = track
        self._put(facts.track_started(room, member, track, at_ms, at_ns))
        if kind not in member.announced:
            member.announced.add(kind)
            self._put(facts.event(room.name, facts.STARTED[kind], at_ms, user_id=user_id))
        for listener in self._upstreams:
            listener(room, at_ns)

    def track_stopped(self, number: int, at_ns: int, cause: StopCause) -> None:
        """A track's end. Only a block tells it to receivers here: a seat's end does it for the others,
        and a lost connection may come back."""
        track = self._tracks.pop(number, None)
        if track is None or track.room is None:
            return
        self._put(facts.track_stopped(track, self._wall(at_ns), cause))
        member = track.room.members.get(track.user_id)
        if cause == "blocked" and member is not None:
            self._silence(track.room, member, track.kind)

    def track_sized(self, number: int, width: int, height: int, at_ns: int) -> None:
        track = self._tracks.get(number)
        if track is not None and track.room is not None:
            self._put(facts.track_sized(track.room, track, self._wall(at_ns), width, height))

    # --- after a restart --------------------------------------------------------------------------

    def restore(self, rooms: Iterable[Room], emptied: dict[str, int]) -> None:
        """Take the record of the former process: its members may return until `lost_after_s` is over.

        `emptied`: room key to the wall time since when it has been empty.
        """
        now_ms = self._clock.now_ms()
        for room in rooms:
            self._rooms[room.name.key] = room
            for member in room.members.values():
                for seat in member.waiting_seats:
                    self._expect(room, member, seat)
            if not room.members:
                left_s = LINGER_S - (now_ms - emptied.get(room.name.key, now_ms)) / 1000
                self._linger(room, max(left_s, 0))

    def _expect(self, room: Room, member: Member, seat: Seat) -> None:
        def missed() -> None:
            self._give_up(room, member, seat, Out.LOST)

        self._timers.set(("lost", room.name.key, member.user_id, seat), self._lost_after_s, missed)

    # --- within -----------------------------------------------------------------------------------

    @property
    def _core(self) -> Media:
        if self._media is None:
            raise RuntimeError("the rooms have no media core yet")
        return self._media

    def _cut(self, session: Session) -> None:
        """End the connection in the core and forget its handle."""
        rtmp = session.via == "rtmp"
        held = self._by_handle.pop((rtmp, session.handle), None)
        if held is None:
            return
        self._end_watch(session)
        if rtmp:
            room, member, _ = held
            self._rtmp.pop((room.name.sdk_app_id, member.user_id), None)
            self._core.rtmp_close(session.handle)
        else:
            self._core.remove_peer(session.handle)

    def _forget_sessions(self, room: Room, member: Member, *, cut: bool = False) -> None:
        for session in member.seats.values():
            if cut:
                self._cut(session)
            else:
                self._end_watch(session)
                self._by_handle.pop((session.via == "rtmp", session.handle), None)
                self._rtmp.pop((room.name.sdk_app_id, member.user_id), None)

    def _end_watch(self, session: Session) -> None:
        if session.seat == "play":
            self._put(facts.watch_ended(session, self._clock.now_ms()))

    def _block(self, room: Room, member: Member) -> None:
        self._core.block(room.name.key, member.user_id, member.blocked_audio, member.blocked_video)

    def _silence(self, room: Room, member: Member, kind: Kind) -> None:
        """Tell that a user who stays sends this kind no more."""
        if kind in member.announced:
            member.announced.discard(kind)
            self._put(
                facts.event(
                    room.name, facts.STOPPED[kind], self._clock.now_ms(), user_id=member.user_id, reason=0
                )
            )

    def _settle_role(self, room: Room, member: Member) -> None:
        held = {*member.seats, *member.waiting_seats}
        role = Role.ANCHOR if held & {"main", "aux"} else Role.AUDIENCE
        if role is not member.role:
            member.role = role
            self._put(
                facts.event(room.name, facts.ROLE_CHANGED, self._clock.now_ms(), **facts.role_fact(member))
            )

    def _tell_anchors(self, room: Room, before: list[str]) -> None:
        if room.anchors != before:
            for watcher in self._watchers:
                watcher.anchors_changed(room.name)

    def _wall(self, at_ns: int) -> int:
        """Wall time of an instant of the core's clock."""
        return self._clock.now_ms() - (self._clock.monotonic_ns() - at_ns) // 1_000_000

    def _put(self, *entries: Entry) -> None:
        for entry in entries:
            self._ledger.put(entry)


def _role(seats: dict[Seat, Session]) -> Role:
    return Role.ANCHOR if "main" in seats or "aux" in seats else Role.AUDIENCE
