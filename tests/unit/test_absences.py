"""What must not be in the project, and where: each absence that the architecture rests on, looked for."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "roomtape"


def rust(crate: str) -> dict[str, str]:
    """The crate's sources without comments and without their test modules."""
    found = {}
    for path in sorted((ROOT / "crates" / crate / "src").rglob("*.rs")):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        found[str(path.relative_to(ROOT))] = text.split("#[cfg(test)]", 1)[0]
    return found


def python(*parts: str) -> dict[str, str]:
    paths = [
        p
        for part in parts
        for p in ([SOURCE / part] if part.endswith(".py") else (SOURCE / part).rglob("*.py"))
    ]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(paths)}


def imports(text: str) -> set[str]:
    """Every module a text imports, with its attributes: `a.b` and `a.b.c` for `from a.b import c`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def tracked() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            yield path


@pytest.mark.parametrize("crate", ["core", "rtmp", "media"])
def test_no_clock_socket_or_thread_in_the_crates_without_io(crate: str) -> None:
    forbidden = re.compile(
        r"Instant::now|SystemTime::now|std::net::(Tcp|Udp)|UdpSocket|TcpStream|TcpListener|std::thread|"
        r"thread::(spawn|sleep)|\blibc::|std::fs|std::env|\bunsafe\b(?!_code)"
    )
    sources = rust(crate)
    assert sources, f"crates/{crate} has no source"
    found = {name: match.group() for name, text in sources.items() if (match := forbidden.search(text))}
    assert found == {}


@pytest.mark.parametrize("crate", ["core", "rtmp", "media"])
def test_the_crates_without_io_forbid_unsafe_code(crate: str) -> None:
    assert "#![forbid(unsafe_code)]" in (ROOT / "crates" / crate / "src" / "lib.rs").read_text()


ELEMENTS = (
    *("media/clocks.py", "media/sound.py", "media/picture.py", "media/ts.py", "media/adts.py"),
    *("media/h264.py", "media/mp4.py", "recording/subscription.py", "recording/names.py"),
    *("rooms/names.py", "tasks/ids.py"),
)


def test_no_clock_socket_thread_file_or_log_in_elements_and_rules() -> None:
    forbidden = {
        "time",
        "datetime.datetime.now",
        "socket",
        "threading",
        "asyncio",
        "logging",
        "structlog",
        "subprocess",
    }
    found = {
        name: imports(text) & forbidden
        for name, text in python(*ELEMENTS).items()
        if imports(text) & forbidden
    }
    assert found == {}


def test_no_sql_and_no_media_in_handlers() -> None:
    forbidden = re.compile(r"^(sqlalchemy|av|numpy|roomtape\.state\.schema|roomtape\.media)(\.|$)")
    handlers = python("api", "console/admin.py")
    found = {n: sorted(filter(forbidden.match, imports(t))) for n, t in handlers.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_no_wire_names_in_the_domains() -> None:
    """PascalCase members of the wire live in contract/; domains speak snake case."""
    wire = re.compile(
        r"(?<!NewType\()[\"'](SdkAppId|RoomId|UserId|TaskId|EventGroupId|EventType|CallbackTs|RecordParams)[\"']"
    )
    domains = python("recording", "rooms", "tasks", "storage", "access", "events", "state", "media", "worker")
    found = {name: match.group() for name, text in domains.items() if (match := wire.search(text))}
    assert found == {}


def test_the_core_is_imported_for_media_transport_streams_signatures_and_requests_alone() -> None:
    importers = [name for name, text in python("").items() if "roomtape._core" in imports(text)]
    assert sorted(importers) == [
        "src/roomtape/api/signing.py",
        "src/roomtape/media/core.py",
        "src/roomtape/media/ts.py",
        "src/roomtape/serving.py",
    ]


def test_a_worker_opens_no_database_and_no_network() -> None:
    forbidden = re.compile(r"^(sqlalchemy|aiosqlite|psycopg|aiohttp|http|urllib|obstore|ssl)(\.|$)")
    found = {n: sorted(filter(forbidden.match, imports(t))) for n, t in python("worker").items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_http_clients_are_only_where_tenants_or_operators_are_spoken_to() -> None:
    clients = re.compile(r"^(aiohttp|http\.client|urllib\.request|requests|httpx)(\.|$)")
    allowed = ("fetching/", "callbacks/", "cli/")
    found = [
        name
        for name, text in python("").items()
        if any(map(clients.match, imports(text)))
        and not name.removeprefix("src/roomtape/").startswith(allowed)
    ]
    assert found == []


def test_no_test_sleeps_to_wait() -> None:
    """Publishers that send at real-time pace and pollers with a deadline are in tests/support."""
    nap = re.compile(r"(?<![\w.])(time|asyncio)\.sleep\((?!0\))")
    tests = [p for p in (ROOT / "tests").rglob("test_*.py") if p != Path(__file__)]
    found = [str(path.relative_to(ROOT)) for path in tests if nap.search(path.read_text())]
    assert found == []


def test_nothing_of_this_machine_or_of_a_registry_is_in_the_project() -> None:
    split = (
        *("/wo rk/", "/ro ot/", "pypi .org", "files.python hosted", "static.crates .io", "index.crates .io"),
        *("proxy.gol ang", "registry.np mjs", "repo1.ma ven"),
    )
    places = [place.replace(" ", "") for place in split]
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {place}" for place in places if place in text]
    assert found == []
