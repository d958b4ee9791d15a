"""The media core (Rust): WebRTC lanes, RTMP, the tap; transport streams, packed and taken apart; signatures.

All calls return at once; what comes of them is told by events. Times called `*_ns` are nanoseconds of
CLOCK_MONOTONIC, the clock of `time.monotonic_ns()`. A room is named by its key: "<sdk_app_id>/s/<string
room>" or "<sdk_app_id>/i/<integer room>". Every call but `fileno`, `poll` and `stop` raises RuntimeError
once the core has been stopped.
"""

from collections.abc import Mapping, Sequence
from typing import final

__all__ = ["Core", "header_texts", "plain_request", "tc3_fits", "ts_inspect", "ts_mux", "ts_piece"]

def ts_mux(
    units: Sequence[tuple[int, int, int, bool, bytes]], counters: Mapping[int, int]
) -> tuple[bytes, dict[int, int]]:
    """One transport stream of (pid, pts, dts, key, data) and its counters; see `roomtape.media.ts.mux`."""

def ts_piece(
    batches: Sequence[tuple[bytes, bytes]],
    streams: Mapping[int, tuple[int, int | None]],
    from_ns: int,
    to_ns: int,
    counters: Mapping[int, int],
) -> tuple[bytes, dict[int, int], dict[int, tuple[int, int, int]], int, int, bytes | None, int | None]:
    """The members of `roomtape.media.ts.Packed`, in their order; see `roomtape.media.ts.pack`."""

def ts_inspect(data: bytes, counters: Mapping[int, int]) -> dict[int, tuple[int, int, int]]:
    """Per elementary PID (PES packets, elementary bytes, first pts); see `roomtape.media.ts.inspect`."""

def header_texts(headers: list[tuple[bytes, bytes]], /) -> dict[str, str]:
    """Headers by name, as ISO 8859-1 has them; of a repeated one the first."""

def plain_request(data: bytes, /) -> tuple[str, dict[str, str], bytes, bool] | tuple[str, int] | None:
    """Target (a path), headers as `header_texts` has them, body, and whether the connection stays open: of a
    plain POST that `data` is all of. Target and length of all: of one that lacks some of its body. None: what
    `data` is is for an HTTP parser to say.
    """

def tc3_fits(
    key: bytes,
    signature: str,
    beginning: str,
    method: str,
    path: str,
    query: bytes,
    headers: dict[str, str],
    signed: tuple[str, ...],
    payload: bytes,
    hosts: tuple[str, ...],
    /,
) -> bool | None:
    """Whether a TC3 signature fits; see `roomtape.api.signing.verify_tc3`. None: a signed header is absent.

    `beginning`: of the text that is signed, all before the hash of the canonical request. `payload`: what is
    hashed as the body. Raises UnicodeEncodeError for lone surrogates.
    """

@final
class Core:
    webrtc_addrs: list[str]
    """The bound "host:port" of each lane, for UDP and TCP alike."""
    rtmp_port: int
    """The bound RTMP port."""

    def __new__(
        cls,
        *,
        boot_id: str,
        webrtc_host: str,
        webrtc_port: int,
        rtmp_host: str,
        rtmp_port: int,
        tap_path: str,
        lanes: int = 1,
        advertise: list[str] = ...,
        log_max_track_mb: int = 64,
        log_max_mb: int = 1024,
        allow_bframes: bool = False,
        lost_after_ms: int = 5000,
        rtmp_connections_per_address: int = 256,
        rtmp_publish_within_ms: int = 10_000,
    ) -> Core:
        """Bind the ports and start the threads.

        `webrtc_port`: the first of `lanes` consecutive numbers on UDP and TCP; 0 finds a free block.
        `rtmp_port`: 0 finds a free one. `advertise`: names or addresses to put into answers instead of
        the bound address (behind NAT). `tap_path`: where the workers' socket is put, mode 0600; shorter
        than 108 bytes. `log_max_track_mb`, `log_max_mb`: what the frame log may hold of one track and
        in all. `allow_bframes`: take RTMP streams with B-frames, which WebRTC viewers cannot show.
        `lost_after_ms`: silence after which a peer's tracks stop. `rtmp_connections_per_address`: RTMP
        connections of one address (of IPv6: of one /64) at the same time; 0: no bound.
        `rtmp_publish_within_ms`: from an RTMP connection to its publish command.

        Raises OSError: a port is taken, a name cannot be resolved, the socket cannot be made.
        """

    def fileno(self) -> int:
        """An eventfd, readable while events wait; lowered by `poll`."""

    def poll(self) -> list[tuple[object, ...]]:
        """All events that wait, oldest first; never blocks. The first element is the name:

        ("answer", ticket, peer, sdp)
        ("refused", ticket, reason, message): reason is bad_sdp, no_codec, nobody or internal
        ("patched", ticket, fragment): "" when the client needs to know nothing
        ("peer_up", peer, room, user, seat): media can flow, for the first time or again
        ("peer_lost", peer, room, user, seat): silent for `lost_after_ms`; its tracks have stopped
        ("peer_closed", peer, room, user, seat, reason)
        ("track_start", track, room, user, kind, codec, at_ns): the first accepted packet
        ("track_stop", track, room, user, kind, at_ns, cause): cause is closed, lost, blocked, replaced
            or dismissed
        ("track_size", track, room, user, kind, width, height, at_ns)
        ("rtmp_publish", conn, app, stream key with its query, remote address): to be answered by
            `rtmp_accept` or `rtmp_refuse`; after five seconds the core refuses by itself
        ("rtmp_closed", conn, room, user, reason)
        ("stats", [(track, packets, bytes, lost, jitter_ms), ...]): the last second
        ("log", level, text): level is debug, info, warning or error
        """

    def accept_offer(
        self,
        ticket: int,
        room: str,
        user: str,
        seat: str,
        sdp: str,
        *,
        kind: str,
        watch_user: str | None = None,
        watch_stream: str = "main",
        entered_ns: int = 0,
    ) -> None:
        """Let a WebRTC client in; answered by ("answer", ...) or ("refused", ...) with this ticket.

        `seat`: main, aux or play. `kind`: publish or play. A publisher ends the session that has the same
        seat of the same user in the room. `watch_user`: whom to play; None is the first publisher.
        `watch_stream`: main or aux picture. `entered_ns`: when the user's membership began.

        Raises ValueError for another seat, kind or stream.
        """

    def patch(self, ticket: int, peer: int, fragment: str) -> None:
        """Candidates or an ICE restart (application/trickle-ice-sdpfrag); answered by ("patched", ...)
        or ("refused", ...). Source: RFC 9725 section 4.3.

        Raises ValueError for a number that was never a peer's.
        """

    def remove_peer(self, peer: int) -> None:
        """Say goodbye to a peer and close it: ("peer_closed", ..., "removed"). Nothing if it is gone."""

    def block(self, room: str, user: str, audio: bool, video: bool) -> None:
        """Take no sound or no pictures of this user from now on; both False lifts it."""

    def dismiss(self, room: str) -> None:
        """Close all peers and RTMP connections of the room."""

    def rtmp_accept(self, conn: int, room: str, user: str, entered_ns: int) -> None:
        """Let an RTMP connection publish as this user."""

    def rtmp_refuse(self, conn: int, description: str) -> None:
        """Refuse an RTMP connection, tell it why, and close it."""

    def rtmp_close(self, conn: int) -> None:
        """Close an RTMP connection."""

    def forget_reader(self, name: str) -> None:
        """Stop keeping frames in the log for this durable reader."""

    def keyframe(self, track: int) -> None:
        """Ask the publisher of this picture for a key frame (at most twice a second)."""

    def stats(self) -> dict[str, object]:
        """{"lanes": [{"peers", "tracks", "datagrams_in", "datagrams_out", "dropped"}, ...], "log": {"bytes",
        "tracks", "readers", "frames_in", "frames_out", "overrun_frames"}}."""

    def stop(self) -> None:
        """End all threads and close all sockets; waits for them. A second call does nothing."""
