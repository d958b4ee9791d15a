"""docs/coverage.md and tables of docs/reliability.md: what was promised, and which test carries it.

A test says what it proves at the beginning of its name (`test_f1_r_task_1_...`), in upper or lower case. What
no test says has its reason here.
"""

# ruff: noqa: E501  (lines of the pages, as they are written there)

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
SHOWN = 4  # tests named per row

NOT_BUILT_MIX = "not built: mixing"
NOT_BUILT_RELAY = "not built: relay"
NOT_BUILT_INGEST = "not built: pulled streams"
ONE_NODE = "not built: several nodes"
BENCH = "a measurement, not a test: docs/bench.md"

PROMISES: Mapping[str, str] = {
    "R-SYNC-1": "Sound and picture start together, whenever the sender's reports come",
    "R-SYNC-2": "Forwarded sender reports keep the sender's clock",
    "R-SYNC-3": "Time comes from media clocks, never from a count of frames",
    "R-GAP-1": "What is missing is filled or stays a hole by rule, and files last as long as the call",
    "R-GAP-2": "Sound that is late by more than half a second counts as missing",
    "R-GAP-3": "Filling for a user who is gone is bounded by MaxIdleTime",
    "R-KEY-1": "Key frames are asked for at once, and twice a second until one comes",
    "R-KEY-2": "No picture in a file depends on one before it that is not there",
    "R-RES-1": "A change of size stays one playlist and one MP4",
    "R-RES-2": "Of a simulcast one layer is taken, the largest; none is switched to",
    "R-TS-1": "Jumps of a sender's time are anchored anew, output times always rise",
    "R-TS-2": "No packet makes a file longer than MaxIdleTime",
    "R-LOST-1": "What is acknowledged is in the journal",
    "R-LOST-2": "After a start the node's tasks go on or are finished, under the same TaskId",
    "R-LOST-3": "The log keeps what no worker has acknowledged",
    "R-LOST-4": "A worker has a limit of memory, and its replacement loses nothing",
    "R-LOST-5": "Input that kills its worker again and again is left out and counted",
    "R-UP-1": "A local piece goes only when the store has proven the same bytes",
    "R-UP-2": "Uploads survive restarts and are tried until `upload.max_age_s`",
    "R-UP-3": "Checksum headers by endpoint; a probe of one byte at the start",
    "R-UP-4": "Forty-five uploads ended at once finish",
    "R-TASK-1": "A running task has a live owner, and gets another within seconds",
    "R-TASK-2": "Every state of a task has a deadline",
    "R-TASK-3": "A stop is legal in every state and may be repeated",
    "R-TASK-4": "The status of a callback is what Describe answers",
    "R-REC-1": "Who comes back goes on in the same task and playlist",
    "R-REC-2": "Recorders never appear to clients",
    "R-CAP-1": "Single streams pass through without coding",
    "R-CAP-2": "Too much is refused at once, with the reason",
    "R-CAP-3": "Overload costs pictures before sound, and no running task",
    "R-DRAIN-1": "SIGTERM ends all within 10 s and loses nothing that was read; a second one at once",
    "R-DISK-1": "A disk that fills refuses what is new, then lets the youngest wait, and ends nothing",
    "R-DISK-2": "When there is room again all goes on, and earlier pieces are readable",
    "R-DISK-3": "Each closed piece is read back",
    "R-CB-1": "An event is in the transaction of the state it tells",
    "R-CB-2": "Order per URL and task or room; what is refused for ten minutes goes aside",
    "R-CB-3": "A receiver's trouble is its own; the published minute, then a day",
    "R-CB-4": "Nothing is dropped for the length of a queue",
    "R-REL-1": "A relay that stalls is connected again, one dead address touches no other",
    "R-REL-2": "Each change of a relay's state is told",
    "R-NAT-1": "One port for UDP and for ICE over TCP",
    "R-NAT-2": "The addresses offered are those configured",
    "R-NAT-3": "`doctor` looks at candidates and names the remedy",
    "R-SFU-1": "A panic ends one peer; the death of the server keeps ports, rooms and tasks",
    "G-1": "Sound against picture within -40 and +60 ms, median 20 ms, also under loss",
    "G-2": "Drift of 100 ppm stays within 20 ms",
    "G-3": "From Create to the first frame in the journal within 1 s",
    "G-4": "kill -9 of a worker costs nothing, of the server or of everything, also by a power cut, at most 1 s",
    "G-5": "The loss of a node costs what was not uploaded",
    "G-6": "A worker is back within 2 s, the server within 5 s",
    "G-7": "Another node records within 10 s",
    "G-8": "No running task without a live owner for 15 s",
    "G-9": "Describe and Create answer in tens of milliseconds at 200 requests a second",
    "G-10": "First callback within 1 s; none lost or out of order whatever the receiver does",
    "G-11": "500 viewers on one core",
    "G-12": "400 single-stream recordings on 16 cores",
    "G-13": "70 mixes of 640x480 on 16 cores",
    "G-14": "300 mixes of sound on 16 cores",
    "G-15": "1080p mix of nine for two CPU-seconds a second",
    "G-16": "Memory does not grow with recordings",
    "G-17": "Pictures stored under loss: 99.9, 99.5, 98, 90 % at 1, 5, 10, 20 %",
    "G-18": "After an outage of the store the backlog goes at twice real time",
    "G-19": "Ten thousand bad signatures: none accepted, others served",
    "G-20": "Quick start in five minutes",
    "G-21": "Ten minutes of fuzzing per parser without a crash",
    "G-22": "Ten thousand seeds of the simulation",
    "F-1": "kill -9 of a worker, anywhere",
    "F-2": "kill -9 of the server",
    "F-3": "SIGTERM, twice SIGTERM, out of memory",
    "F-4": "A worker that stands still and comes back",
    "F-5": "Disk full, read-only, EIO, failed fsync",
    "F-6": "S3: 500, 503, 5 s latency, 2 h down, reset, expired key, wrong region, clock skew",
    "F-7": "S3 says 200 and keeps other bytes",
    "F-8": "Receivers that are down, slow, redirecting, endless, dripping, badly certified, gone from DNS",
    "F-9": "Steps of the wall clock",
    "F-10": "Loss, bursts, reordering, doubling, jitter",
    "F-11": "Malformed STUN, DTLS, RTP, RTCP, SDP",
    "F-12": "Malformed RTMP",
    "F-13": "Malformed H.264, VP8, Opus",
    "F-14": "No key frame for a long time",
    "F-15": "Bad signatures, hosts, times, bodies",
    "F-16": "The same signed request again and again",
    "F-17": "Hostile JSON",
    "F-18": "Too many calls, too many tasks",
    "F-19": "Slow and silent connections",
    "F-20": "PostgreSQL away, failing over, locked",
    "F-21": "SQLite busy; its log and the journal cut anywhere",
    "F-22": "The bus away or losing messages",
    "F-23": "Partitions between nodes",
    "F-24": "All links clogged and healed in any order",
    "F-25": "Rolling upgrade",
    "F-26": "Many joins, many reconnects, doubled ids",
    "F-27": "The origin of a cascaded room dies",
    "F-28": "Relay addresses that stall or refuse",
    "F-29": "Hostile pulled sources",
    "F-30": "Size, codec and layer change every few seconds",
    "F-31": "Pictures of a layout missing, huge, slow",
    "F-32": "Upgrades of dependencies",
}

WITHOUT: Mapping[str, str] = {
    "R-CAP-3": NOT_BUILT_MIX,
    "R-REL-1": NOT_BUILT_RELAY,
    "R-REL-2": NOT_BUILT_RELAY,
    "G-5": ONE_NODE,
    "G-7": ONE_NODE,
    "G-8": ONE_NODE + "; on one node the lock's holder is the owner",
    "G-9": BENCH,
    "G-11": BENCH,
    "G-12": BENCH,
    "G-13": NOT_BUILT_MIX,
    "G-14": NOT_BUILT_MIX,
    "G-15": NOT_BUILT_MIX,
    "G-21": "`make fuzz`",
    "G-22": "no simulation of the whole control plane",
    "F-22": ONE_NODE,
    "F-23": ONE_NODE,
    "F-24": ONE_NODE,
    "F-25": ONE_NODE,
    "F-27": ONE_NODE,
    "F-28": NOT_BUILT_RELAY,
    "F-29": NOT_BUILT_INGEST,
    "F-31": NOT_BUILT_MIX,
    "F-32": "the whole of the tests is the gate",
}

_PYTHON = re.compile(r"^test_\w+")
_RUST = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)")
_ID = re.compile(r"(?:^|_)(?:r_([a-z]+)_(\d+)|([fg])_?(\d+))(?=_|$)")


def tests() -> Iterator[tuple[str, str]]:
    """(file, name) of every test in Python and Rust."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _PYTHON.match(node.name):
                yield str(path.relative_to(ROOT)), node.name
    for path in sorted((ROOT / "crates").glob("*/tests/**/*.rs")):
        for name in _RUST.findall(path.read_text()):
            yield str(path.relative_to(ROOT)), name


def ids_in(name: str) -> list[str]:
    """The ids at the beginning of a test's name, as they are written: `R-UP-1`, `F-5`."""
    rest = name.lower().removeprefix("test_")
    found = []
    while match := _ID.match(rest):
        group, number, kind, count = match.groups()
        found.append(f"R-{group.upper()}-{number}" if group else f"{kind.upper()}-{count}")
        rest = rest[match.end() :].removeprefix("_")
    return found


def carriers() -> dict[str, list[tuple[str, str]]]:
    """By id, the tests that carry it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path, name in tests():
        for each in ids_in(name):
            found.setdefault(each, []).append((path, name))
    return found


def coverage_page() -> str:
    carried = carriers()
    lines = [
        "<!-- made by `make docs`, do not edit -->",
        "",
        "# What is promised, and which tests carry it",
        "",
        "R: a requirement, G: a goal in numbers, F: a fault that is injected. A test carries an id by its name,",
        "`test_f1_...` or `test_r_up_1_...`; what none carries has its reason. Numbers are in",
        "[reliability.md](reliability.md) and [bench.md](bench.md).",
        "",
        f"{len(carried.keys() & PROMISES.keys())} of {len(PROMISES)} are carried by tests.",
        "",
        "| Id | Promise or fault | Tests |",
        "|---|---|---|",
    ]
    for each, text in PROMISES.items():
        found = carried.get(each, [])
        named = [
            f"`{path.removeprefix('tests/')}` {name.removeprefix('test_')}" for path, name in found[:SHOWN]
        ]
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        lines.append(f"| {each} | {text} | {'<br>'.join(named + more) or 'none: ' + WITHOUT.get(each, '')} |")
    return "\n".join(lines) + "\n"


# --- tables of results ----------------------------------------------------------------------------


def result(name: str) -> dict[str, Any] | None:
    """What a long run has left, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _origin(found: dict[str, Any]) -> str:
    seed = f", seed {found['seed']}" if "seed" in found else ""
    return f"{found['machine']}, {found['date']}{seed}. By `{found['test']}`."


def deaths() -> list[str]:
    """The section of killed processes, of the last soak run."""
    lines = ["## Deaths", ""]
    found = result("kills")
    if found is None:
        return [*lines, "No run is recorded: `make soak`."]
    kills, lost, back = found["kills"], found["lost_s"], found["back_s"]
    total = sum(kills.values())
    lines += [
        f"{total} deaths in {found['recordings']} recordings of three publishers each (WebRTC and RTMP, every picture",
        f"numbered), {found['sessions']} sessions, {found['stored_s']} s of picture read back from the files. With a power",
        "cut, everything is killed and all bytes and names that no fsync had covered are taken away.",
        "",
        _origin(found),
        "",
        "| What dies | How often | Lost of a session, s: median | most (goal) | Back after, s: median | 95 % (goal) | most |",
        "|---|---|---|---|---|---|---|",
        f"| a worker | {kills.get('worker', 0)} | {found['lost_worker_s']:g} in all | 0 (0) | {_back(back, 'worker', 2)} |",
    ]
    for cause, what, goal in (
        ("server", "the server", "1"),
        ("everything", "everything", "1"),
        ("power", "everything, by a power cut", "1"),
    ):
        mine = lost.get(cause, {})
        lines.append(
            f"| {what} | {kills.get(cause, 0)} | {mine.get('median', '-')} | {mine.get('max', '-')} ({goal}) "
            f"| {_back(back, cause, 5)} |"
        )
    lines += [
        "",
        "Lost: from the last picture stored to the instant of the kill, sending and network included.",
    ]
    if alone := result("restarts"):
        parts = [
            f"{what} after {its['median']} s in the median and {its['p95']} s in 95 of 100 (goal {goal})"
            for what, goal in (("worker", 2), ("server", 5))
            for its in [alone["back_s"][what]]
        ]
        lines += [
            "",
            f"One death at a time, {alone['back_s']['worker']['count']} of either: back is the {', the '.join(parts)};",
            f"a dead worker's task is in other hands after {alone['back_s']['task']['median']} s in the median. {_origin(alone)}",
        ]
    if found["faults"]:
        lines += ["", "What was not as promised:", "", *(f"- {fault}" for fault in found["faults"])]
    else:
        lines += [
            "",
            "No hole, no picture twice, no piece in a playlist twice, no final event missing or doubled.",
        ]
    return lines


def _back(back: dict[str, Any], cause: str, goal_s: float) -> str:
    its = back.get(cause, {})
    return f"{its.get('median', '-')} | {its.get('p95', '-')} ({goal_s:g}) | {its.get('max', '-')}"


def stores() -> list[str]:
    lines = ["## Stores", ""]
    if found := result("backlog"):
        lines += [
            f"An S3 server that answers 503 for {found['outage_s']:g} s while {found['users']} users are recorded: "
            f"{found['backlog_media_s']:g} s of media wait; all is proven {found['drain_s']:g} s after it is back, which "
            f"is {found['times_real_time']:g} times real time (goal 2). {_origin(found)}",
            "",
        ]
    if found := result("upload_deaths"):
        lines += [
            f"{found['deaths']} deaths of the server, one at each of these points of an upload to a real S3 server: "
            f"{', '.join(found['points'])}. Objects afterwards: {found['objects']}, each proven by its MD5; parts left "
            f"behind: {found['unfinished']}; final events: 1. {_origin(found)}",
            "",
        ]
    return lines


WHO: Mapping[str, str] = {
    "calm": "WebRTC, nothing lost",
    "lossy": "WebRTC, lossy, 80 ms",
    "skewed": "WebRTC, crystal 100 ppm fast",
    "rtmp": "RTMP (FFmpeg)",
}


def long_call() -> list[str]:
    lines = ["## An hour", ""]
    found = result("long_call")
    if found is None:
        return [
            *lines,
            "No run is recorded: `python -m pytest tests/acceptance/test_long_call.py -m soak`.",
            "",
        ]
    lines += [
        f"One call of {found['call_s']:g} s, flashes and beeps at each whole second, 320x180, 30 pictures a second, recorded",
        f"to MP4 and HLS; behind the lossy link {found['lost_percent']:g} % of the packets are lost. Every file is fully decoded and no",
        "decoder complains. The offset is of sound against picture (goal: median within 20 ms, 1st and 99th percentile",
        "within -40 and +60 ms), the drift is the median offset of the last sixth less that of the first, the stretch how",
        "much later than by their numbers and the sender's clock the last pictures come.",
        "",
        _origin(found),
        "",
        "| Who | File | Offset, ms: 1 % | median | 99 % | Marks | Drift, ms | Stretch, ms | Pictures missing | of | Length, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, seen in found["files"].items():
        who, kind = name.split(".")
        offset = seen["offset_ms"]
        lines.append(
            f"| {WHO[who]} | {'MP4' if kind == 'mp4' else 'HLS'} | {offset['p1']} | {offset['median']} | {offset['p99']} "
            f"| {seen['marks']} | {seen['drift_ms']} | {seen['stretch_ms']} | {seen['missing']} | {seen['sent']} | {seen['length_s']} |"
        )
    return [*lines, ""]


def networks() -> list[str]:
    lines = ["## Networks and clocks", ""]
    found = result("network")
    if found is None:
        return [*lines, "No run is recorded: `python -m bench.network`.", ""]
    lines += [
        "Publishers of 13 s, all at once, each with a network or a clock of its own that is wrong (how: below). Stored: pictures",
        "in the file by pictures sent; right: those that show the number they were sent with.",
        "",
        _origin(found),
        "",
        "| Scene | What is wrong | Seed | Lost, % | Stored, % (goal) | Right, % | Sound after picture, ms: least | median | most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for scene, seen in found["scenes"].items():
        lost = "-" if seen["lost_percent"] is None else seen["lost_percent"]
        goal = "" if seen["goal_percent"] is None else f" ({seen['goal_percent']:g})"
        around = " | ".join(map(str, seen["offset_ms"]))
        lines.append(
            f"| {scene} | {seen['what']} | {seen['seed']} | {lost} | {seen['stored_percent']}{goal} | {seen['right_percent']} | {around} |"
        )
    return [*lines, ""]


GROUPS: Mapping[str, tuple[str, ...]] = {
    "An hour": ("G-1", "G-2"),
    "Networks and clocks": ("F-10", "F-14", "F-26", "F-30", "G-17", "R-SYNC-1", "R-SYNC-3", "R-GAP-1", "R-GAP-2", "R-KEY-1",
                            "R-KEY-2", "R-RES-1", "R-TS-1", "R-TS-2", "R-REC-1"),
    "Deaths": ("F-1", "F-2", "F-3", "F-4", "R-LOST-1", "R-LOST-2", "R-LOST-3", "R-LOST-4", "R-LOST-5", "R-TASK-1",
               "R-TASK-2", "R-TASK-3", "R-DRAIN-1", "R-SFU-1", "F-21"),
    "Disks": ("F-5", "R-DISK-1", "R-DISK-2", "R-DISK-3"),
    "Stores": ("F-6", "F-7", "R-UP-1", "R-UP-2", "R-UP-3", "R-UP-4", "G-18"),
    "Callbacks": ("F-8", "F-20", "R-CB-1", "R-CB-2", "R-CB-3", "R-CB-4", "G-10"),
}  # fmt: skip


def sections() -> str:
    """One section per group: what was measured, then what was survived and by which test."""
    carried = carriers()
    measured = {
        "Deaths": deaths(),
        "Stores": stores(),
        "An hour": long_call(),
        "Networks and clocks": networks(),
    }
    lines: list[str] = []
    for group, ids in GROUPS.items():
        lines += measured.get(group, [f"## {group}", ""])
        lines += ["", "| Survived | By |", "|---|---|"] if lines[-1] else ["| Survived | By |", "|---|---|"]
        for each in ids:
            for path, name in carried.get(each, []):
                text = name.removeprefix("test_")
                for _ in ids_in(name):
                    text = re.sub(r"^(r_[a-z]+_\d+|[fgFG]_?\d+)_", "", text)
                lines.append(f"| {each}: {text.replace('_', ' ')} | `{path}` |")
        lines.append("")
    return "\n".join(lines)
