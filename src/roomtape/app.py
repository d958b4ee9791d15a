"""The server process: builds every service once, wires them, serves, and ends in order.

The only module that knows all of them. Started by the supervisor as `python -m roomtape.app CONFIG`;
CONFIG is the effective configuration as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import secrets
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
import uvloop
from prometheus_client import REGISTRY, Histogram
from starlette.applications import Starlette

from roomtape import loglines, process
from roomtape.access import declared
from roomtape.access.development import development_keys
from roomtape.access.service import Access
from roomtape.api import gateway, openapi
from roomtape.api.actions.recording import automatic_spec
from roomtape.api.services import Services
from roomtape.callbacks.dispatcher import CallbackSettings, Dispatcher
from roomtape.callbacks.poster import HttpPoster
from roomtape.callbacks.service import CallbackService
from roomtape.clock import Clock, SystemClock
from roomtape.config import Config, load_effective, split_address
from roomtape.console import admin, demo, explorer, health, pages
from roomtape.console.metrics import Lag, Metrics, Sources
from roomtape.control.server import ControlServer
from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy
from roomtape.library import playback
from roomtape.library.service import Library
from roomtape.library.store import LibraryStore
from roomtape.media.core import MediaCore
from roomtape.recording.disk import DiskRules
from roomtape.recording.service import RecordingService, UploadRules, kernel_boot_id
from roomtape.recording.task import TaskSettings
from roomtape.rooms import record
from roomtape.rooms.media import CoreEvents
from roomtape.rooms.rtmp import RtmpDoor
from roomtape.rooms.service import Rooms
from roomtape.rooms.whip import WebrtcDoor
from roomtape.serving import Bounds, HttpServer, listen
from roomtape.state import facts, replay
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.ledger import Ledger
from roomtape.state.resealing import MasterKey
from roomtape.state.schema import nodes
from roomtape.state.sealing import Sealer, SealError
from roomtape.stats.quality import QualitySampler
from roomtape.storage.s3 import S3Rules, S3Stores
from roomtape.storage.spool import Spool
from roomtape.storage.stores import GB, LocalBucket, LocalBuckets, LocalStore
from roomtape.tasks.workers import Workers
from roomtape.version import version

log = structlog.get_logger("roomtape.server")

DRAIN_S = 5.0  # what workers get to close their files when the server ends
END_S = 2.0  # what a loop gets for the step it is in
LAG_EVERY_S = 0.1
PRUNE_EVERY_S = 3600.0
LAG = Histogram(
    "roomtape_loop_lag_seconds",
    "How late the event loop runs",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0),
)


class StartFailed(Exception):
    """The server cannot start; the text says what, why, and what to do."""


class Server:
    """One life of the server process. `start`, then `stop`."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.boot_id = uuid.uuid4().hex
        self._down = AsyncExitStack()  # what has to be closed, last made first
        self._draining = False
        self._taking_accounts = asyncio.Lock()
        self._http_servers: list[HttpServer] = []

    async def start(self) -> None:
        """Bring everything up. Raises StartFailed; what was made until then is closed."""
        try:
            await self._start()
        except BaseException:
            await self._down.aclose()
            raise

    async def _start(self) -> None:
        config, clock = self.config, self.clock
        for path in (config.data_path, config.run_path, config.spool_path):
            path.mkdir(parents=True, exist_ok=True)
        self.node_id = _node_id(config.data_path)
        http_socket = self._bind(config.server.http_host, config.server.http_port, "server.http_port")
        self.http_port: int = http_socket.getsockname()[1]

        self.db = await Database.open(config.database_url, clock)
        self._down.push_async_callback(self.db.close)
        await self.db.migrate()
        self.db.set_origin(self.node_id, self.boot_id)
        self.sealer = Sealer.load(config.data_path / "master.key")
        self.master_key = MasterKey(self.db, self.sealer, clock)
        self._spawn(self.master_key.run())
        self.access = Access(self.db, self.sealer, clock)
        await self._take_accounts(config)

        self._rooms_ledger = Ledger(self.db, clock, "rooms")
        self.rooms = Rooms(
            self._rooms_ledger,
            clock,
            lost_after_s=config.rooms.lost_after_s,
            one_share_per_room=config.rooms.one_share_per_room,
        )
        self._down.callback(self.rooms.close)
        self._events = CoreEvents(self.rooms)
        self.core = self._start_core()
        self._down.push_async_callback(self.core.close)
        self.rooms.attach(self.core)
        await record.take_back(self.db, self.rooms, clock, self.node_id)
        self._spawn(self._rooms_ledger.run(), end=self._rooms_ledger.end)
        self._events.open_rtmp(RtmpDoor(self.access, self.rooms, self.core))
        sampler = QualitySampler(self.db, clock, self.boot_id)
        self._events.on_stats(sampler.add)
        self._spawn(sampler.run())

        self.workers = Workers()
        self.spool = Spool(config.spool_path)
        guard = Guard(config.fetching.allow, allow_loopback=config.dev)
        egress = EgressProxy(guard)
        await egress.start()
        self._down.push_async_callback(egress.close)
        stores = S3Stores(egress, _s3_rules(config))
        self.library = Library(
            self.db,
            clock,
            self.sealer,
            LibraryStore(config.library_path, int(config.library.max_gb * GB)),
            public_url=_public_url(config, self.http_port),
            link_s=config.library.link_s,
        )
        await self.library.open()
        self._spawn(self.library.run(), end=self.library.end)
        self.recording = self._make_recording(stores)
        await self.recording.start()
        self._down.push_async_callback(self.recording.close)
        control = ControlServer(config.run_path / "control.sock", self.workers)
        await control.start()
        self._down.push_async_callback(control.close)

        lag = Lag()
        self.metrics = self._make_metrics(lag)
        self._events.on_stats(self.metrics.heard)

        poster = HttpPoster(clock, guard.connector())
        self._down.push_async_callback(poster.close)
        self._callback_settings = CallbackSettings(config.callbacks.give_up_after_s)
        self.callbacks = CallbackService(self.db, clock, poster, self.sealer)
        self._spawn(Dispatcher(self.db, clock, poster, self.sealer, self._callback_settings).run())
        self._spawn(_measure_lag(lag))
        self._spawn(self._prune())
        self._spawn(self.recording.disk.run())

        dev = await development_keys(self.db, self.access, self.sealer) if config.dev else None
        await self._announce_node()
        await self._serve_http(http_socket, dev)
        process.write_report(
            config.run_path,
            process.ServerReport(
                http_host=config.server.http_host,
                http_port=self.http_port,
                webrtc_addrs=list(self.core.webrtc_addrs),
                rtmp_host=config.rtmp.host,
                rtmp_port=self.core.rtmp_port,
                tls=bool(config.server.tls_cert),
                dev=dev,
            ),
        )
        log.info("server_up", http_port=self.http_port, rtmp_port=self.core.rtmp_port, node=self.node_id)

    async def ready(self) -> None:
        """Return when `/readyz` says yes."""
        while await health.problems(self._checks()):
            await self.clock.sleep(0.05)

    async def stop(self) -> None:
        """End in order: workers close their files, what they said is committed, then everything else."""
        self._draining = True
        self.workers.drain()
        deadline_ns = self.clock.monotonic_ns() + int(DRAIN_S * 1e9)
        while len(self.workers) and self.clock.monotonic_ns() < deadline_ns:
            await self.clock.sleep(0.05)
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.recording.settled()
                await self._rooms_ledger.settled()
        await self._down.aclose()
        log.info("server_down")

    def reload(self, config: Config) -> None:
        """Take over what may change while the server runs."""
        self._callback_settings.give_up_after_s = config.callbacks.give_up_after_s
        self.rooms.retune(
            lost_after_s=config.rooms.lost_after_s, one_share_per_room=config.rooms.one_share_per_room
        )
        self._renew_certificates(config)
        for name in ("limits", "api", "callbacks", "rooms"):
            setattr(self.config, name, getattr(config, name))
        self._spawn(self._take_accounts_anew(config))
        log.info("configuration_reloaded")

    async def _take_accounts(self, config: Config) -> None:
        """Make accounts, keys and policies what their file says. Raises StartFailed."""
        if not config.access.accounts_file:
            return
        try:
            wanted = declared.read(Path(config.access.accounts_file))
            await declared.take_over(self.db, self.sealer, self.clock, wanted)
        except (declared.BadDeclaration, SealError) as error:
            raise StartFailed(f"access.accounts_file: {error}") from None
        log.info("accounts_taken_over", file=config.access.accounts_file, accounts=len(wanted.account))

    async def _take_accounts_anew(self, config: Config) -> None:
        try:
            async with self._taking_accounts:  # two reloads one after the other, the later last
                await self._take_accounts(config)
        except (StartFailed, DatabaseUnavailable) as error:
            log.error("accounts_not_taken_over", reason=str(error), still="the former")

    def _renew_certificates(self, config: Config) -> None:
        for server in self._http_servers:
            try:
                server.renew(config.server.tls_cert, config.server.tls_key)
            except OSError as error:
                log.error(
                    "certificate_not_renewed",
                    file=config.server.tls_cert,
                    reason=str(error),
                    still="the former",
                )

    # --- parts ------------------------------------------------------------------------------------

    def _bind(self, host: str, port: int, key: str) -> socket.socket:
        try:
            listener = listen(host, port)
        except OSError as error:
            raise StartFailed(
                f"{key}: cannot listen on {host}:{port}: {error.strerror}; "
                "stop the other program or choose another port"
            ) from error
        self._down.callback(listener.close)
        return listener

    def _start_core(self) -> MediaCore:
        config = self.config
        try:
            return MediaCore.start(
                self._events.handle,
                boot_id=self.boot_id,
                tap_path=config.run_path / "tap.sock",
                webrtc_host=config.webrtc.host,
                webrtc_port=config.webrtc.port,
                lanes=config.webrtc.lanes,
                advertise=config.webrtc.advertise,
                rtmp_host=config.rtmp.host,
                rtmp_port=config.rtmp.port,
                log_max_track_mb=config.log.max_track_mb,
                log_max_mb=config.log.max_mb or _quarter_of_memory_mb(),
                allow_bframes=config.rtmp.allow_bframes,
                lost_after_ms=config.webrtc.lost_after_ms,
                rtmp_connections_per_address=config.rtmp.connections_per_address,
                rtmp_publish_within_ms=round(1000 * config.rtmp.publish_within_s),
            )
        except OSError as error:
            raise StartFailed(
                f"webrtc.port, rtmp.port: the media core cannot listen: {error}; "
                "stop the other program or choose other ports"
            ) from error

    def _make_recording(self, stores: S3Stores) -> RecordingService:
        config = self.config
        return RecordingService(
            db=self.db,
            clock=self.clock,
            access=self.access,
            sealer=self.sealer,
            rooms=self.rooms,
            workers=self.workers,
            spool=self.spool,
            buckets=_buckets(config),
            node_id=self.node_id,
            boot_id=self.boot_id,
            settings=TaskSettings(
                pre_create=config.recording.pre_create,
                mp4_on_resize=config.recording.mp4_on_resize,
                exited_min_s=config.recording.exited_min_s,
                max_tasks_per_app=config.recording.max_tasks_per_app,
                check_every=config.recording.check_every,
                flush_ms=config.spool.flush_ms,
                sync_ms=int(config.spool.sync_s * 1000),
            ),
            disk=self._disk_rules(),
            upload=UploadRules(config.upload.max_age_s, config.upload.concurrency, config.upload.probe),
            remote=stores,
            library=self.library,
        )

    async def _set_auto_record(self, sdk_app_id: int, members: dict[str, Any] | None) -> None:
        """Record every new room of an application as the members of a Create say, or no longer (None)."""
        if members is None:
            await self.recording.no_automatic(sdk_app_id)
        else:
            await self.recording.set_automatic(automatic_spec(sdk_app_id, members))

    def _make_metrics(self, lag: Lag) -> Metrics:
        """What `/metrics` tells, registered until the server ends."""
        rooms, recording = self.rooms, self.recording
        metrics = Metrics(
            Sources(
                db=self.db,
                clock=self.clock,
                spool=self.spool.root,
                supervisor=self.config.run_path / "supervisor.sock",
                core=self.core.stats,
                worker_counters=self.workers.counters,
                gauges={
                    "roomtape_rooms": ("Open rooms", lambda: len(rooms.open_rooms())),
                    "roomtape_users": (
                        "Users in rooms",
                        lambda: sum(len(room.members) for room in rooms.open_rooms()),
                    ),
                    "roomtape_workers": ("Connected workers", lambda: len(self.workers)),
                    "roomtape_recordings": ("Recording tasks that are not gone", recording.count),
                    "roomtape_recordings_paused": (
                        "Recording tasks that wait for room on the disk",
                        recording.paused,
                    ),
                    "roomtape_spool_free_bytes": (
                        "Free space of the spool's disk",
                        lambda: self.spool.levels().free_bytes,
                    ),
                },
                lag=lag,
            )
        )
        REGISTRY.register(metrics)
        self._down.callback(REGISTRY.unregister, metrics)
        return metrics

    def _disk_rules(self) -> DiskRules:
        disk = self.config.disk
        return DiskRules(
            warn=(disk.warn_percent, disk.warn_gb),
            refuse=(disk.refuse_percent, disk.refuse_gb),
            pause=(disk.pause_percent, disk.pause_gb),
            task_reserve_mb=disk.task_reserve_mb,
        )

    async def _serve_http(self, http_socket: socket.socket, dev: process.DevKeys | None) -> None:
        config = self.config
        services = Services(self.db, self.clock, self.access, self.recording, self.rooms)
        actions = gateway.routes(services, config)
        api = [*actions, *openapi.routes()]
        public = [
            *WebrtcDoor(self.access, self.rooms, self.core, self.clock).routes(),
            *playback.routes(self.library, self.clock),
            *api,
        ]
        administration = admin.Administration(
            db=self.db,
            access=self.access,
            callbacks=self.callbacks,
            workers=self.workers,
            run_path=config.run_path,
            hint=self.recording.hint,
            rotate_master_key=self.master_key.rotate,
            auto_record=self._set_auto_record,
            library=self.library,
        )
        operators = [
            *health.routes(self._checks(), self.metrics.refresh),
            *admin.routes(administration),
            *pages.routes(administration, config),
            *explorer.routes(config),
        ]
        if config.admin.listen:
            host, port = split_address(config.admin.listen, "admin.listen")
            admin_socket = self._bind(host, port, "admin.listen")
            # The API is there too: the explorer's page may call its own origin only.
            await self._listen(gateway.Straight(actions, Starlette(routes=operators + api)), admin_socket)
            public += health.routes(self._checks(), self.metrics.refresh)[:2]
        else:
            public = operators + public
        if dev is not None:
            public += demo.routes(self.access, dev.sdk_app_id)
        await self._listen(
            gateway.Straight(actions, Starlette(routes=public)),
            http_socket,
            config.server.tls_cert,
            config.server.tls_key,
        )

    async def _listen(
        self, app: gateway.Straight, listener: socket.socket, tls_cert: str = "", tls_key: str = ""
    ) -> None:
        given = self.config.server
        bounds = Bounds(
            header_s=given.header_timeout_s,
            body_s=given.body_timeout_s,
            idle_s=given.idle_timeout_s,
            write_s=given.write_timeout_s,
            ping_s=given.ping_every_s,
            pong_s=given.pong_timeout_s,
            per_address=given.connections_per_address,
            in_all=_connections_at_most(given.max_connections),
            proxies=given.trusted_proxies,
        )
        server = HttpServer(app, listener, bounds, answers=app.at_once, tls_cert=tls_cert, tls_key=tls_key)
        await server.start()
        self._http_servers.append(server)
        self._down.push_async_callback(server.stop)

    def _checks(self) -> dict[str, health.Check]:
        async def database() -> str:
            try:
                async with self.db.read() as conn:
                    await conn.execute(sa.select(sa.literal(1)))
            except DatabaseUnavailable:
                return "the database does not answer"
            return ""

        async def workers() -> str:
            return "" if len(self.workers) else "no worker is connected"

        async def draining() -> str:
            return "the server is ending" if self._draining else ""

        return {"database": database, "workers": workers, "server": draining}

    async def _announce_node(self) -> None:
        now_ms = self.clock.now_ms()
        values = {
            "boot_id": self.boot_id,
            "kernel_boot_id": kernel_boot_id(),
            "host": socket.gethostname(),
            "version": version(),
            "addresses": list(self.core.webrtc_addrs),
            "started_ms": now_ms,
        }
        async with self.db.write() as conn:
            known = await conn.execute(
                sa.update(nodes)
                .where(nodes.c.node_id == self.node_id)
                .values(epoch=nodes.c.epoch + 1, **values)
            )
            if not known.rowcount:
                await conn.execute(sa.insert(nodes).values(node_id=self.node_id, epoch=1, **values))

    def _spawn(self, work: Coroutine[Any, Any, None], end: Callable[[], None] | None = None) -> None:
        """Run a loop until the server ends; `end` asks it to return, otherwise it is cancelled."""
        task = asyncio.create_task(work)
        task.add_done_callback(_loud)

        async def stop() -> None:
            if end is not None:
                end()
                await asyncio.wait([task], timeout=END_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._down.push_async_callback(stop)

    def _forget_old(self, conn: sa.Connection) -> None:
        facts.prune(conn, self.clock.now_ms())
        replay.prune(conn, self.clock.now_ms())

    async def _prune(self) -> None:
        """Delete what is too old to be asked for."""
        while True:
            try:
                await self.db.run(self._forget_old)
                await self.callbacks.prune()
            except DatabaseUnavailable as error:
                log.error("database_unavailable", reason=str(error))
            await self.clock.sleep(PRUNE_EVERY_S)


def _buckets(config: Config) -> LocalBuckets:
    return LocalBuckets(
        {
            name: LocalBucket(
                LocalStore(config.data_path / bucket.dir, int(bucket.max_gb * GB)), frozenset(bucket.apps)
            )
            for name, bucket in config.storage.local.items()
        }
    )


def _connections_at_most(wanted: int) -> int:
    """As many as wanted (0: any number), but leave files for the database and the disk."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    most = files * 3 // 4
    return min(wanted, most) if wanted else most


def _public_url(config: Config, port: int) -> str:
    """The URL that links name: the configured one, else that of the listener."""
    if config.server.public_url:
        return config.server.public_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.server.http_host, config.server.http_host)
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if config.server.tls_cert else 'http'}://{host}:{port}"


def _s3_rules(config: Config) -> S3Rules:
    storage = config.storage
    try:
        ca_pem = Path(storage.ca_file).read_bytes() if storage.ca_file else b""
    except OSError as error:
        raise StartFailed(
            f"storage.ca_file: cannot read {storage.ca_file}: {error.strerror}; name a PEM file"
        ) from error
    upload = config.upload
    return S3Rules(
        storage.endpoints, storage.checksums, ca_pem,
        one_put_bytes=upload.one_put_mb << 20, part_bytes=upload.part_mb << 20,
    )  # fmt: skip


def _node_id(data_path: Path) -> str:
    """The name of this data directory's node, drawn once."""
    path = data_path / "node_id"
    if not path.exists():
        process.write_private(path, secrets.token_hex(8).encode())
    return path.read_text().strip()


def _quarter_of_memory_mb() -> int:
    return max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 >> 20, 64)


async def _measure_lag(lag: Lag) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(LAG_EVERY_S)
        late_s = max(time.monotonic() - began - LAG_EVERY_S, 0.0)
        LAG.observe(late_s)
        lag.add(late_s)


def _loud(task: asyncio.Task[None]) -> None:
    """A loop that ends by itself is a bug nobody waits for: say so."""
    if not task.cancelled() and task.exception() is not None:
        log.error("background_work_broke", exc_info=task.exception())


async def run(config_path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartFailed."""
    config = load_effective(config_path)
    loglines.set_up(config.log.level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifeline = process.lifeline_fd()
    beating = asyncio.create_task(process.heartbeat(lifeline))
    server = Server(config, SystemClock())
    await server.start()
    # What is loaded stays. Looked through again and again it costs a tenth of a second each time.
    gc.collect()
    gc.freeze()
    loop.add_signal_handler(signal.SIGHUP, lambda: server.reload(load_effective(config_path)))
    ready = asyncio.create_task(server.ready())
    ready.add_done_callback(lambda task: task.cancelled() or process.tell_ready(lifeline))
    await stop.wait()
    ready.cancel()
    await server.stop()
    beating.cancel()


def _raise_file_limit() -> None:
    """A socket is a file: a thousand of them, the usual soft limit, are held by one idle client."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: list[str]) -> int:
    """The process's entry: one argument, the effective configuration."""
    process.die_with_parent()
    _raise_file_limit()
    if len(argv) != 2:
        print("roomtape server: started by the supervisor with its configuration", file=sys.stderr)
        return 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(Path(argv[1])))
    except (StartFailed, DatabaseUnavailable, OSError, msgspec.MsgspecError) as error:
        print(f"roomtape: the server cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
