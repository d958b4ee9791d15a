"""Verbs of the command that ask a running server, against both kinds of database."""

from __future__ import annotations

import asyncio
import io

import pytest

from roomtape.access.errors import BadUserSig
from roomtape.access.usersig import verify
from roomtape.cli import place
from roomtape.cli.client import request
from roomtape.cli.receiver import is_signed
from roomtape.state import facts, schema
from tests.integration.cli.conftest import TOKEN, Bench
from tests.support.callbacks import APP, KEY, dispatching, make_app, room_event


async def test_an_application_is_made_shown_and_changed(bench: Bench) -> None:
    made = await bench.json("app", "create", "--name", "school")
    app = made["sdk_app_id"]
    assert len(made["app_secret_key"]) == 64
    listed = await bench.json("app", "list")
    assert [row["sdk_app_id"] for row in listed] == [app]
    assert "app_secret_key" not in listed[0]
    changed = await bench.json(
        "app", "set", str(app), "--callback-key", "abcDEF123", "--room-url", "https://example.test/r",
        "--record-url", "https://example.test/c", "--permission-control",
    )  # fmt: skip
    assert changed["callback_urls"] == {"room": "https://example.test/r", "record": "https://example.test/c"}
    assert changed["callback_key_set"] is True
    assert changed["permission_control"] is True
    held = await bench.access.app(app)
    assert held is not None
    assert held.callback_key is not None
    assert held.callback_key.reveal() == "abcDEF123"
    emptied = await bench.json("app", "set", str(app), "--room-url", "")
    assert emptied["callback_urls"] == {"record": "https://example.test/c"}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--callback-key", "not-alnum"), "letters and digits only"),
        (("--callback-key", "a" * 33), "at most 32"),
        (("--room-url", "ftp://x"), "must begin with http:// or https://"),
    ],
)
async def test_a_wrong_setting_of_an_application_is_refused(
    bench: Bench, option: tuple[str, str], says: str
) -> None:
    made = await bench.json("app", "create")
    code, out, err = await bench.command("app", "set", str(made["sdk_app_id"]), *option)
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


async def test_what_is_not_there_is_named(bench: Bench) -> None:
    for line, says in (
        (("app", "show", "5"), "there is no application 5"),
        (("record", "show", "nothing"), "there is no recording nothing"),
        (("room", "show", "attic", "--sdk-app-id", "5"), "there was no room attic in application 5"),
        (("key", "disable", "AKIDx"), "There is no key AKIDx"),
    ):
        code, _, err = await bench.command(*line)
        assert code == 1
        assert says in err


async def test_a_key_shows_its_secret_once_and_can_be_disabled(bench: Bench) -> None:
    made = await bench.json("key", "create", "--name", "ci")
    code, out, _ = await bench.command("key", "list")
    assert code == 0
    assert made["secret_key"] not in out
    await bench.json("key", "disable", made["secret_id"])
    key = await bench.access.key(made["secret_id"])
    assert key is not None
    assert key.disabled
    await bench.json("key", "disable", made["secret_id"], "--undo")
    key = await bench.access.key(made["secret_id"])
    assert key is not None
    assert not key.disabled


async def test_a_key_gets_a_successor_like_it(bench: Bench) -> None:
    old = await bench.json("key", "create", "--name", "ci", "--app", "7", "--allow", "10.0.0.0/8")
    new = await bench.json("key", "rotate", old["secret_id"])
    assert (new["former"], new["name"], new["uin"]) == (old["secret_id"], "ci", old["uin"])
    assert {new["secret_id"], new["secret_key"]}.isdisjoint({old["secret_id"], old["secret_key"]})
    rows = {row["secret_id"]: row for row in await bench.json("key", "list")}
    for row in (rows[old["secret_id"]], rows[new["secret_id"]]):
        assert (row["sdk_app_ids"], row["allow"], row["disabled"]) == ([7], ["10.0.0.0/8"], False)
    held = await bench.access.key(new["secret_id"])
    assert held is not None
    assert held.secret_key.reveal() == new["secret_key"]
    passing = await bench.json("key", "create", "--lifetime", "60")
    for secret_id, says in ((passing["secret_id"], "is temporary"), ("AKIDx", "There is no key AKIDx")):
        code, out, err = await bench.command("key", "rotate", secret_id)
        assert (code, out, says in err, err.count("\n")) == (1, "", True, 1)


async def test_without_a_key_it_is_the_master_key_that_is_rotated(bench: Bench) -> None:
    code, _, err = await bench.command("key", "rotate")
    assert (code, "keeps no master key" in err) == (1, True)  # this server has none


@pytest.mark.parametrize("secret_key", ["k" * 32, "with+/=signs"])
async def test_a_key_of_elsewhere_is_taken_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, secret_key: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(secret_key + "\n"))
    made = await bench.json("key", "import", "my-own_id", "--name", "moved", "--app", "7")
    assert made == {"secret_id": "my-own_id", "uin": made["uin"], "name": "moved"}
    key = await bench.access.key("my-own_id")
    assert key is not None
    assert (key.secret_key.reveal(), key.sdk_app_ids, key.token) == (secret_key, frozenset({7}), None)


@pytest.mark.parametrize(
    ("secret_id", "secret_key"), [("a b", "k"), ("abc", "k"), ("x" * 65, "k"), ("good", ""), ("good", "a b")]
)
async def test_a_key_that_no_client_can_have_is_not_taken_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, secret_id: str, secret_key: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(secret_key + "\n"))
    code, out, err = await bench.command("key", "import", secret_id)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert await bench.json("key", "list") == []


async def test_the_key_for_usersigs_is_changed_in_two_steps(bench: Bench) -> None:
    made = await bench.json("app", "create")
    app = made["sdk_app_id"]
    early = await bench.json("usersig", "issue", "amy", "--sdk-app-id", str(app))
    added = await bench.json("app", "add-key", str(app))
    assert added["sdk_app_id"] == app
    assert added["app_secret_key"] != made["app_secret_key"]
    late = await bench.json("usersig", "issue", "amy", "--sdk-app-id", str(app))
    verify(late["user_sig"], [added["app_secret_key"]], app, "amy", now_s=bench.clock.now_ms() // 1000)
    for sig in (early, late):
        await bench.access.verify_user(app, "amy", sig["user_sig"])
    assert await bench.json("app", "retire-keys", str(app)) == {"sdk_app_id": app, "retired": 1}
    await bench.access.verify_user(app, "amy", late["user_sig"])
    with pytest.raises(BadUserSig):
        await bench.access.verify_user(app, "amy", early["user_sig"])
    assert (await bench.json("app", "add-key", str(app), "--key", "mine"))["app_secret_key"] == "mine"
    for verb in ("add-key", "retire-keys"):
        code, _, err = await bench.command("app", verb, "5")
        assert (code, "no application 5" in err) == (1, True)


async def test_a_usersig_of_the_command_opens_the_door(bench: Bench) -> None:
    app = (await bench.json("app", "create"))["sdk_app_id"]
    code, out, _ = await bench.command("usersig", "issue", "amy", "--sdk-app-id", str(app))
    assert code == 0
    await bench.access.verify_user(app, "amy", out.strip())
    with pytest.raises(BadUserSig):
        await bench.access.verify_user(app, "eve", out.strip())
    both = await bench.json("usersig", "issue", "amy", "--sdk-app-id", str(app), "--room", "attic")
    await bench.access.set_permission_control(app, True)
    await bench.access.verify_ticket(app, "amy", "s", "attic", both["private_map_key"])


async def test_rooms_are_listed_with_who_is_in_them(bench: Bench) -> None:
    async with bench.db.write() as conn:
        life = await conn.run_sync(
            facts.open_room, sdk_app_id=7, room_type="s", room_id="attic", scene=1, creator="amy", at_ms=1000
        )
    listed = await bench.json("room", "list")
    assert [(row["room_id"], row["users"]) for row in listed] == [("attic", 0)]
    shown = await bench.json("room", "show", "attic", "--sdk-app-id", "7")
    assert shown["comm_id"] == life.comm_id
    assert shown["users"] == []


async def test_a_recording_is_shown_without_what_is_secret(bench: Bench) -> None:
    async with bench.db.write() as conn:
        await conn.execute(
            schema.tasks.insert().values(
                task_id="T1", sdk_app_id=7, kind="recording", room_type="s", room_id="attic", created_ms=5,
                robot_user_id="rec", spec={"output_format": 1}, secrets_sealed=b"sealed",
            )
        )  # fmt: skip
    assert [row["task_id"] for row in await bench.json("record", "list")] == ["T1"]
    assert await bench.json("record", "list", "--status", "exited") == []
    shown = await bench.json("record", "show", "T1")
    assert shown["spec"] == {"output_format": 1}
    assert "secrets_sealed" not in shown
    code, out, _ = await bench.command("record", "show", "T1")
    assert code == 0
    assert "attic" in out


async def test_a_callback_is_tried_listed_and_sent_again(bench: Bench) -> None:
    await make_app(bench.db)
    tried = await bench.json("callback", "test", "--kind", "room", "--sdk-app-id", str(APP))
    assert tried["status"] == 200
    assert is_signed(bench.poster.posts[0].body, bench.poster.posts[0].headers["Sign"], KEY.reveal())
    await room_event(bench.db, "amy")
    async with dispatching(bench.db, bench.clock, bench.poster) as dispatcher:
        await dispatcher.drained()
    listed = await bench.json("callback", "list", "--state", "delivered")
    assert [(row["type"], row["tries"]) for row in listed] == [(101, 1)]
    attempts = await bench.json("callback", "show", str(listed[0]["id"]))
    assert [(row["number"], row["status"]) for row in attempts] == [(1, 200)]
    again = await bench.json("callback", "replay", str(listed[0]["id"]))
    assert again["id"] > listed[0]["id"]
    assert (await bench.json("callback", "replay", "--dead-of", str(APP)))["replayed"] == 0
    code, _, err = await bench.command("callback", "replay")
    assert code == 1
    assert "name a delivery" in err


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another"}, {"Authorization": TOKEN}])
async def test_nobody_administers_without_the_token(bench: Bench, headers: dict[str, str]) -> None:
    url = place.admin_url(bench.data_dir)
    for method, path in (("GET", "/apps"), ("POST", "/keys"), ("POST", "/usersig"), ("GET", "/workers")):
        status, body = await asyncio.to_thread(request, method, url, f"/admin/api{path}", headers, b"{}")
        assert status == 401
        assert b"token" in body
    assert await bench.access.keys() == []


async def test_a_user_who_may_not_read_the_token_is_told(bench: Bench) -> None:
    (bench.data_dir / "run" / "admin.token").unlink()
    code, _, err = await bench.command("app", "list")
    assert code == 1
    assert "admin.token" in err
