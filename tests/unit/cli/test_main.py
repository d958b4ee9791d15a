"""The command line itself: exit codes, where output goes, errors of one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from roomtape.access import usersig
from roomtape.cli.main import run
from roomtape.cli.place import read_json
from roomtape.cli.say import Failure, show


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    verbs = (
        "dev",
        "serve",
        "demo",
        "app",
        "key",
        "usersig",
        "room",
        "record",
        "callback",
        "node",
        "doctor",
        "config",
    )
    assert [verb for verb in verbs if f"  {verb} " not in out] == []


@pytest.mark.parametrize("group", ["", "app", "key", "usersig", "policy", "room", "user", "record", "library", "callback", "config"])
def test_no_verb_is_told_by_half(group: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of verbs shows the first sentence of each, or the first words of one that is too long."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*group.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage")] == []


@pytest.mark.parametrize("line", [[], ["key"]])
def test_without_a_verb_the_verbs_are_listed(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 2
    assert capsys.readouterr().err.startswith("Usage: roomtape")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.split()[0] == "roomtape"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["serve"], "Missing option '--config'"),
        (["usersig", "issue"], "Missing argument 'USERID'"),
        (["demo", "--seconds", "1"], "Invalid value for '--seconds'"),
        (["record", "list", "--status", "running"], "'in_progress'"),
        (["callback", "list", "--state", "failed"], "'dead'"),
        (["callback", "test", "--kind", "rooms"], "'room'"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(
    line: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROOMTAPE_CONFIG_FILE", raising=False)
    assert run(line) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("roomtape: ")
    assert says in streams.err
    assert streams.err.count("\n") == 1


@pytest.mark.parametrize(
    "line", [["node"], ["app", "list"], ["record", "list"], ["key", "create"], ["room", "show", "demo"]]
)
def test_without_a_server_a_verb_ends_with_1_and_says_what_to_do(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*line, "--data-dir", str(tmp_path)]) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert "--data-dir" in streams.err


def test_a_wrong_configuration_stops_serve_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.toml").write_text("[server]\nhttp_prot = 1\n")
    assert run(["serve", "--config", str(tmp_path / "r.toml")]) == 1
    assert "server.http_prot: no such key; the nearest is server.http_port" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["r.toml"]


def test_a_usersig_made_without_a_server_is_a_good_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["usersig", "issue", "amy", "--key", "k1", "--sdk-app-id", "1400000001", "--expire-s", "60"]) == 0
    )
    ticket = capsys.readouterr().out.strip()
    content = usersig.verify(ticket, ["k1"], 1400000001, "amy", now_s=int(time.time()))
    assert content.expire_s == 60


@pytest.mark.parametrize(("user", "key", "code"), [("amy", "k1", 0), ("eve", "k1", 1), ("amy", "k2", 1)])
def test_check_tells_a_good_usersig_from_others(
    user: str, key: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = usersig.issue("k1", 1400000001, "amy", time_s=int(time.time()), expire_s=60)
    arguments = ["usersig", "check", user, ticket, "--key", key, "--sdk-app-id", "1400000001"]
    assert run([*arguments, "--json", "--data-dir", str(tmp_path)]) == code
    streams = capsys.readouterr()
    if code == 0:
        assert json.loads(streams.out)["user"] == "amy"
    else:
        assert "another" in streams.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{bad", "{bad: Expecting property name"),
        ("[]", "[]: not a JSON object"),
        ("@nothing.json", "nothing.json: No such file or directory; name a readable file after the @"),
    ],
)
def test_json_that_is_none_is_told_in_words(given: str, says: str) -> None:
    with pytest.raises(Failure) as refused:
        read_json(given)
    assert str(refused.value).startswith(says)


def test_a_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show({"on": True, "off": False, "none": [], "urls": {"room": "http://a/"}, "rss_bytes": 3 << 20}, False)
    show({}, False)
    streams = capsys.readouterr()
    values = {line.split()[0]: " ".join(line.split()[1:]) for line in streams.out.splitlines() if line.strip()}
    assert values | {"on": "yes", "off": "no", "none": "-", "urls": "room: http://a/", "rss_bytes": "3.0 MiB"} == values
    assert streams.err == "done\n"


@pytest.mark.parametrize("named", [True, False])
def test_a_right_configuration_says_which_it_was(
    named: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROOMTAPE_CONFIG_FILE", raising=False)
    file = tmp_path / "r.toml"
    file.write_text("[server]\nhttp_port = 81\n")
    assert run(["config", "check", "--json", *([str(file)] if named else [])]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["server"]["http_port"] == (81 if named else 8080)
    assert (str(file) if named else "the defaults") in streams.err


def test_settings_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"key", "env", "type", "default", "meaning"} == set(rows[0])
    assert "webrtc.lanes" in {row["key"] for row in rows}
