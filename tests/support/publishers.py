"""Handles on publisher processes (publisher.py): start, wait until media flows, end, cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.stack import REPO, Stack


class Publisher:
    """One running publisher process. `finish()` waits for it and returns what it sent."""

    def __init__(
        self, kind: str, url: str, *, token: str = "", seconds: float, extra: tuple[str, ...] = ()
    ) -> None:
        command = [sys.executable, "-m", "tests.support.publisher", kind, url, "--seconds", str(seconds)]
        command += ["--token", token] if token else []
        self.process = subprocess.Popen(
            [*command, *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": f"{REPO / 'src'}:{REPO}"},
        )

    def wait_up(self) -> None:
        """Return when the connection is made. Raises RuntimeError when it was refused."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line != "up":
            self.process.wait(10)
            raise RuntimeError(f"publisher refused: {line}")

    def finish(self, timeout_s: float = 120) -> dict[str, Any]:
        out, _ = self.process.communicate(timeout=timeout_s)
        lines = [line for line in out.splitlines() if line.startswith("{")]
        sent: dict[str, Any] = json.loads(lines[-1])
        return sent

    def end(self) -> dict[str, Any]:
        """Stop sending at the next frame and leave as a client does."""
        self.process.terminate()
        return self.finish(20)

    def cut(self) -> None:
        """Vanish without a word."""
        self.process.kill()
        self.process.communicate()


def publish_whip(
    stack: Stack, room: str, user: str, *, seconds: float, extra: tuple[str, ...] = ()
) -> Publisher:
    url = stack.whip_url(room, user)
    return Publisher("whip", url, token=stack.usersig(user), seconds=seconds, extra=extra)


def publish_rtmp(
    stack: Stack, room: str, user: str, *, seconds: float, extra: tuple[str, ...] = ()
) -> Publisher:
    return Publisher("rtmp", stack.rtmp_url(room, user), seconds=seconds, extra=extra)


def recordings(stack: Stack, task_id: str, suffix: str) -> list[Path]:
    """The task's stored files with that suffix, by name."""
    return sorted(stack.bucket(task_id).glob(f"*{suffix}"))
