"""Handles on roomtape-bots and roomtape-link: clients and networks that misbehave from a seed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.stack import REPO

BOTS = REPO / "target" / "release" / "roomtape-bots"
LINK = REPO / "target" / "release" / "roomtape-link"


class Link:
    """A bad network in front of `server` ("host:port"); `address` is where clients send to."""

    def __init__(self, server: str, *, seed: int, **options: object) -> None:
        command = [str(LINK), server, "--seed", str(seed), *flags(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(f"{command} did not start")

    def end(self) -> dict[str, Any]:
        """What became of the datagrams: {"seed", "up": {"offered", "lost", ...}, "down": {...}}."""
        out, _ = self.process.communicate(timeout=20)
        counts: dict[str, Any] = json.loads(out.splitlines()[-1])
        return counts

    def kill(self) -> None:
        """End it now if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class BotPublisher:
    """One process of roomtape-bots that publishes. `finish()` waits for its end."""

    def __init__(
        self, url: str, *, token: str, seconds: float, pictures: list[Path], sounds: Path | None, **options: object
    ) -> None:
        command = [str(BOTS), "publish", url, "--token", token, "--seconds", str(seconds)]
        command += [part for path in pictures for part in ("--pictures", str(path))]
        command += ["--sounds", str(sounds)] if sounds else []
        self.process = subprocess.Popen(
            [*command, *flags(options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_up(self) -> None:
        """Return when it is connected. Raises RuntimeError when it is not within 30 s."""
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "up":
            _, said = self.process.communicate(timeout=20)
            raise RuntimeError(said)

    def finish(self, timeout_s: float = 120) -> dict[str, Any]:
        """What it sent. Raises RuntimeError when it failed."""
        out, said = self.process.communicate(timeout=timeout_s)
        if self.process.returncode != 0:
            raise RuntimeError(said)
        sent: dict[str, Any] = json.loads(out.splitlines()[-1])
        return sent

    def kill(self) -> None:
        """End it now, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.communicate()


def flags(options: dict[str, object]) -> list[str]:
    """{"delay_ms": 40, "cut": ["2:1"], "vanish": True} as command line options."""
    out: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            out.append(flag)
            continue
        for one in value if isinstance(value, list) else [value]:
            out += [flag, str(one)]
    return out
