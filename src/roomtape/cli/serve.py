"""`roomtape serve`: production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roomtape.cli.config import checked
from roomtape.cli.say import note
from roomtape.config import load
from roomtape.process import ServerReport
from roomtape.supervisor import Supervisor, http_url_of


def serve(
    config: Annotated[Path, typer.Option("--config", envvar="ROOMTAPE_CONFIG_FILE", help="The TOML file.")],
) -> int:
    """Serve by a configuration file. A wrong one is refused before anything starts."""
    settings = checked(load(config))
    if settings.server.tls_cert:
        for file in (settings.server.tls_cert, settings.server.tls_key):
            Path(file).read_bytes()

    def ready(report: ServerReport) -> None:
        note(f"roomtape serves on {http_url_of(report)}, media on {', '.join(report.webrtc_addrs)}")

    return Supervisor(settings, on_ready=ready, reload=lambda: checked(load(config))).run()
