"""A call of an hour (`make soak`): sound stays with its picture, without loss and with it, to the last minute.

Four people in one recorded room: a WebRTC client on a good network, one behind a link that loses 5 % each way, one whose
crystal is 100 ppm fast, and FFmpeg by RTMP. ROOMTAPE_SOAK_S makes the call another length.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.network.scenes import LONG_S, SEED, Scene, enc, lossy
from tests.integration.network.storm import Media, publish
from tests.support.bots import Link
from tests.support.measure import Measured, measure, nearest
from tests.support.publisher import FPS
from tests.support.publishers import publish_rtmp, recordings
from tests.support.receiver import CallbackReceiver
from tests.support.record import keep
from tests.support.stack import REPO, start_stack

pytestmark = pytest.mark.soak

CALL_S = float(os.environ.get("ROOMTAPE_SOAK_S", "3600"))
ROOM = "hour"
LOSS = 5  # percent
LOOP = (LONG_S + 7) * FPS  # pictures after which a bot begins again
CALM = Scene("nothing", bps=300_000)
LOSSY = lossy(LOSS, bps=300_000)
SKEW = 100e-6
SKEWED = Scene("crystal", wrong={"skew_ppm": SKEW * 1e6}, bps=300_000)
BOTS = {"calm": CALM, "lossy": LOSSY, "skewed": SKEWED}
EARLY_MS, LATE_MS, MEDIAN_MS = 40, 60, 20  # G-1
DRIFT_MS = 20  # G-2
MISSING = {"calm": 0.0, "lossy": 0.005, "skewed": 0.0, "rtmp": 0.0}  # G-17: of the pictures sent
TENTH_S = CALL_S / 6  # ten minutes of an hour
FEW_S = 3.0  # what may be missing of the marks where nothing is lost: those at the ends


def counted(seen: Measured, loop: int | None) -> list[int]:
    """The pictures' numbers since the beginning of the call. What loops is told apart by its time."""
    numbers = [picture.number for picture in seen.pictures]
    if loop is None:
        return numbers
    origin_s, first = seen.pictures[0].time_s, numbers[0]
    places = [(picture.time_s - origin_s) * FPS + first for picture in seen.pictures]
    return [n + loop * round((place - n) / loop) for n, place in zip(numbers, places, strict=True)]


def figures(path: Path, sent_pictures: int, loop: int | None, skew: float) -> dict[str, Any]:
    """What a file of the call holds, fully decoded. A sender whose clock is fast sends more pictures a second."""
    seen = measure(path)
    numbers = counted(seen, loop)
    shifts_ms = [1000 * (p.time_s - n / FPS / (1 + skew)) for p, n in zip(seen.pictures, numbers, strict=True)]
    # A lost packet within a beep makes two of it: of each flash the beep that is nearest.
    marks = [(flash, nearest(seen.beeps_s, flash)) for flash in seen.flashes_s]
    offsets = [(flash, 1000 * (beep - flash)) for flash, beep in marks if beep is not None]
    rising = sorted(ms for _, ms in offsets)
    first = [ms for at, ms in offsets if at < TENTH_S]
    last = [ms for at, ms in offsets if at >= offsets[-1][0] - TENTH_S]
    return {
        "sent": sent_pictures,
        "missing": sent_pictures - len(set(numbers)),
        "out_of_place": sum(b <= a for a, b in pairwise(numbers)),
        "marks": len(offsets),
        "offset_ms": {
            "p1": percentile(rising, 0.01),
            "median": round(statistics.median(rising), 1),
            "p99": percentile(rising, 0.99),
        },
        "drift_ms": round(statistics.median(last) - statistics.median(first), 1),
        "stretch_ms": round(statistics.median(shifts_ms[-LOOP:]) - statistics.median(shifts_ms[:LOOP]), 1),
        "length_s": round(seen.duration_s, 2),
        "sound_gaps": len(seen.audio_gaps_s),
        "complaints": seen.warnings[:3],
    }


def percentile(rising: list[float], share: float) -> float:
    """The least value that so many do not exceed."""
    return round(rising[max(0, math.ceil(share * len(rising)) - 1)], 1)


def test_g1_g2_for_an_hour_sound_stays_with_its_picture(request: pytest.FixtureRequest) -> None:
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "roomtape-bots"], cwd=REPO, check=True)
    with ExitStack() as open_now:
        work = Path(open_now.enter_context(tempfile.TemporaryDirectory(prefix="rt-")))
        media = Media(work)
        for scene in BOTS.values():
            media.make(scene)
        stack = open_now.enter_context(start_stack(work / "data"))
        callbacks = CallbackReceiver()
        open_now.callback(callbacks.close)
        stack.set_callbacks(callbacks.url)
        task = stack.create_recording(ROOM, OutputFormat=1, AvMerge=1)
        callbacks.wait(301, task_id=task)
        link = Link(stack.dev["webrtc_addr"], seed=SEED, **(LOSSY.link or {}))
        open_now.callback(link.kill)
        bots = {}
        for user, scene in BOTS.items():
            through = link if scene.link else None
            bots[user] = publish(stack, user, scene, through, media, seconds=CALL_S, room=ROOM)
            open_now.callback(bots[user].kill)
            bots[user].wait_up()
        rtmp = publish_rtmp(stack, ROOM, "rtmp", seconds=CALL_S)
        open_now.callback(rtmp.process.kill)
        sent = {user: bot.finish(timeout_s=CALL_S + 120)["sent_pictures"] for user, bot in bots.items()}
        sent["rtmp"] = rtmp.finish()["pictures"]
        lost = link.end()["up"]
        stack.delete(task)
        callbacks.wait(310, task_id=task, timeout_s=60 + CALL_S / 20)
        began = time.monotonic()
        films = {}
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            for suffix in (".mp4", ".m3u8"):
                for user in sent:
                    (file,) = [p for p in recordings(stack, task, suffix) if f"_s_{enc(user)}__" in p.name]
                    loop, skew = LOOP if user in BOTS else None, SKEW if user == "skewed" else 0.0
                    films[user, suffix] = pool.submit(figures, file, sent[user], loop, skew)
        found = {f"{user}{suffix}": film.result() for (user, suffix), film in films.items()}
        print(json.dumps(found, indent=1), f"decoded in {time.monotonic() - began:.0f} s", flush=True)
    lost_percent = round(100 * lost["lost"] / lost["offered"], 2)
    keep("long_call", request.node.nodeid, seed=SEED, call_s=CALL_S, lost_percent=lost_percent, files=found)
    assert lost_percent == pytest.approx(LOSS, abs=1)
    for name, seen in found.items():
        user = name.split(".")[0]
        offset = seen["offset_ms"]
        assert abs(offset["median"]) <= MEDIAN_MS, name
        assert -EARLY_MS <= offset["p1"] <= offset["p99"] <= LATE_MS, name
        assert abs(seen["drift_ms"]) <= DRIFT_MS, name
        assert abs(seen["stretch_ms"]) <= DRIFT_MS, name
        assert seen["marks"] >= (0.98 if user == "lossy" else 1.0) * CALL_S - FEW_S, name
        assert seen["missing"] <= MISSING[user] * seen["sent"], name
        assert seen["sent"] / FPS == pytest.approx(CALL_S, abs=1.0), name
        assert seen["length_s"] == pytest.approx(CALL_S, abs=1.0), name
        assert (seen["out_of_place"], seen["sound_gaps"], seen["complaints"]) == (0, 0, []), name
