"""The admin interface over real services on a real port, found by the command as a running server's is."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from roomtape.access.service import Access
from roomtape.api.actions.recording import automatic_spec
from roomtape.callbacks.service import CallbackService
from roomtape.cli.main import run
from roomtape.clock import ManualClock
from roomtape.config import Admin, Config, save_effective
from roomtape.console.admin import Administration, routes
from roomtape.library.service import Library
from roomtape.library.store import LibraryStore
from roomtape.process import ServerReport, write_report
from roomtape.recording.automatic import to_keep
from roomtape.state.database import Database
from roomtape.tasks.workers import Workers
from tests.support.callbacks import ScriptedPoster, sealer
from tests.support.databases import clock, database_url, db, postgres_cluster

__all__ = ["clock", "database_url", "db", "postgres_cluster"]

TOKEN = "a-token"


@dataclass
class Bench:
    """A data directory whose server answers, and the command run against it."""

    data_dir: Path
    db: Database
    clock: ManualClock
    access: Access
    poster: ScriptedPoster
    workers: Workers
    capture: pytest.CaptureFixture[str]
    library: Library

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run one command line; returns exit code, stdout, stderr."""
        self.capture.readouterr()
        code = await asyncio.to_thread(run, [*arguments, "--data-dir", str(self.data_dir)])
        streams = self.capture.readouterr()
        return code, streams.out, streams.err

    async def json(self, *arguments: str) -> Any:
        """Run one that must succeed; returns what it printed."""
        code, out, err = await self.command(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
async def bench(
    db: Database, clock: ManualClock, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[Bench]:
    data_dir = tmp_path / "data"
    run_path = data_dir / "run"
    run_path.mkdir(parents=True)
    (run_path / "admin.token").write_text(TOKEN)
    access = Access(db, sealer(), clock)
    poster, workers = ScriptedPoster(clock), Workers()
    callbacks = CallbackService(db, clock, poster, sealer())
    store = LibraryStore(tmp_path / "library")
    library = Library(db, clock, sealer(), store, public_url="http://rooms.example", link_s=60)
    await library.open()

    async def set_auto_record(sdk_app_id: int, members: dict[str, Any] | None) -> None:
        if members is None:
            await access.set_auto_record(sdk_app_id, None, b"")
        else:
            await access.set_auto_record(sdk_app_id, *to_keep(automatic_spec(sdk_app_id, members)))

    administration = Administration(
        db=db,
        access=access,
        callbacks=callbacks,
        workers=workers,
        run_path=run_path,
        auto_record=set_auto_record,
        library=library,
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(Starlette(routes=routes(administration)), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    save_effective(
        Config(data_dir=str(data_dir), admin=Admin(listen=f"127.0.0.1:{port}")), run_path / "effective.json"
    )
    write_report(
        run_path,
        ServerReport(
            http_host="127.0.0.1", http_port=port, webrtc_addrs=[], rtmp_host="127.0.0.1", rtmp_port=1
        ),
    )
    yield Bench(data_dir, db, clock, access, poster, workers, capfd, library)
    server.should_exit = True
    await serving
    listener.close()
