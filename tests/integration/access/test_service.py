"""Accounts, applications and keys on both databases."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import sqlalchemy as sa

from roomtape.access.errors import (
    AlreadyThere,
    BadUserSig,
    TicketRefused,
    UnknownAccount,
    UnknownApp,
    UnknownKey,
)
from roomtape.access.policies import BadPolicy
from roomtape.access.service import AHEAD_NS, FRESH_S, Access, AddressRules, App
from roomtape.access.tickets import ALL_RIGHTS, Right
from roomtape.clock import ManualClock
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.schema import api_keys, app_keys, applications
from roomtape.state.sealing import Sealer

MASTER = bytes(range(32))


@pytest.fixture
def access(db: Database, clock: ManualClock) -> Access:
    return Access(db, Sealer([MASTER]), clock)


async def app_of(access: Access) -> int:
    account = await access.create_account("a")
    app, _ = await access.create_app("app", uin=account.uin)
    return app.sdk_app_id


async def known(access: Access, number: int) -> App:
    app = await access.app(number)
    assert app is not None
    return app


async def test_an_application_is_found_with_its_defaults(access: Access) -> None:
    account = await access.create_account("a")
    app, key = await access.create_app("app", uin=account.uin)
    assert app == await access.app(app.sdk_app_id)
    assert re.fullmatch(r"[0-9a-f]{64}", key.reveal())
    assert (app.uin, app.name, app.permission_control, app.recording_enabled, app.blocked) == (
        *(account.uin, "app", False, True, False),
    )
    assert (dict(app.callback_urls), app.callback_key) == ({}, None)


@pytest.mark.parametrize("number", [0, -1, 77, 2**63, 2**64 - 1])
async def test_an_unknown_application_is_none(access: Access, number: int) -> None:
    assert await access.app(number) is None


async def test_numbers_go_on_and_may_be_chosen_once(access: Access) -> None:
    first, second = await access.create_account(), await access.create_account()
    assert second.uin == first.uin + 1
    app, _ = await access.create_app(uin=first.uin, sdk_app_id=1234)
    assert app.sdk_app_id == 1234
    one, _ = await access.create_app(uin=first.uin)
    two, _ = await access.create_app(uin=second.uin)
    assert two.sdk_app_id == one.sdk_app_id + 1
    with pytest.raises(AlreadyThere):
        await access.create_app(uin=first.uin, sdk_app_id=1234)
    with pytest.raises(AlreadyThere):
        await access.create_account(uin=first.uin)
    assert [app.sdk_app_id for app in await access.apps(second.uin)] == [two.sdk_app_id]
    assert len(await access.apps()) == 3


async def test_only_a_root_account_owns_applications_and_sub_users(access: Access) -> None:
    root = await access.create_account()
    sub = await access.create_account("sub", owner_uin=root.uin)
    assert (sub.root_uin, root.root_uin) == (root.uin, root.uin)
    for uin in (sub.uin, 5):
        with pytest.raises(UnknownAccount):
            await access.create_app(uin=uin)
        with pytest.raises(UnknownAccount):
            await access.create_account(owner_uin=uin)
    with pytest.raises(UnknownAccount):
        await access.create_key(5)
    with pytest.raises(UnknownAccount):
        await access.block_account(5)
    assert [account.uin for account in await access.accounts()] == [root.uin, sub.uin]


async def test_a_key_comes_back_as_it_was_made(access: Access, clock: ManualClock) -> None:
    account = await access.create_account()
    rules = AddressRules(("10.0.0.0/8",), ("10.9.0.0/16",))
    new = await access.create_key(account.uin, "ci", sdk_app_ids=[3, 1], addresses=rules, lifetime_s=60)
    assert re.fullmatch(r"AKID[0-9A-Za-z]{32}", new.secret_id)
    assert re.fullmatch(r"[0-9A-Za-z]{32}", new.secret_key.reveal())
    key = await access.key(new.secret_id)
    assert key is not None
    assert (key.secret_key, key.token, key.account.uin, key.name) == (
        *(new.secret_key, new.token, account.uin, "ci"),
    )
    assert (key.sdk_app_ids, key.addresses, key.disabled) == (frozenset({1, 3}), rules, False)
    assert key.expires_ms == clock.now_ms() + 60_000
    assert await access.key("AKIDnobody") is None


async def test_an_imported_key_keeps_its_texts(access: Access) -> None:
    account = await access.create_account()
    await access.create_key(account.uin, secret_id="my-own_id", secret_key="mine")
    key = await access.key("my-own_id")
    assert key is not None
    assert key.secret_key.reveal() == "mine"
    with pytest.raises(AlreadyThere):
        await access.create_key(account.uin, secret_id="my-own_id")


async def test_rotation_makes_a_second_key_like_the_first(access: Access) -> None:
    account = await access.create_account()
    rules = AddressRules(deny=("10.0.0.0/8",))
    old = await access.create_key(account.uin, "ci", sdk_app_ids=[1], addresses=rules)
    new = await access.rotate_key(old.secret_id)
    key = await access.key(new.secret_id)
    assert key is not None
    assert (key.name, key.sdk_app_ids, key.addresses) == ("ci", frozenset({1}), rules)
    assert new.secret_key != old.secret_key
    await access.disable_key(old.secret_id)
    assert [
        (k.secret_id, k.disabled) for k in sorted(await access.keys(account.uin), key=lambda k: k.disabled)
    ] == [
        (new.secret_id, False),
        (old.secret_id, True),
    ]
    for verb in (access.rotate_key, access.disable_key):
        with pytest.raises(UnknownKey):
            await verb("AKIDnobody")


async def test_a_change_elsewhere_is_seen_within_a_second(
    access: Access, db: Database, clock: ManualClock
) -> None:
    """Another process writes: here, a second connection to the same database."""
    account = await access.create_account()
    app, _ = await access.create_app(uin=account.uin)
    new = await access.create_key(account.uin)
    assert (await access.app(app.sdk_app_id)) == app
    assert (key := await access.key(new.secret_id)) is not None
    assert not key.disabled
    elsewhere = await Database.open(db.url.render_as_string(hide_password=False), clock)
    other = Access(elsewhere, Sealer([MASTER]), clock)
    await other.set_permission_control(app.sdk_app_id, True)
    await other.disable_key(new.secret_id)
    await elsewhere.close()
    await clock.advance(1)
    assert (seen := await access.app(app.sdk_app_id)) is not None
    assert seen.permission_control
    assert (key := await access.key(new.secret_id)) is not None
    assert key.disabled


class Reads:
    """Counts the reads of a database."""

    def __init__(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read = db.read

        def counted() -> Any:
            self.count += 1
            return read()

        monkeypatch.setattr(db, "read", counted)


async def test_many_who_ask_at_once_are_one_read(
    access: Access, db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await app_of(access)
    await clock.advance(FRESH_S)
    reads = Reads(db, monkeypatch)
    apps = await asyncio.gather(*(access.app(number) for _ in range(20)))
    assert all(app == apps[0] for app in apps)
    assert apps[0] is not None
    assert reads.count == 1


async def test_what_is_asked_for_all_the_time_is_read_again_before_it_is_old(
    access: Access, db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody waits for it, and a change made elsewhere is seen within a second all the same."""
    account = await access.create_account()
    new = await access.create_key(account.uin)
    await access.key(new.secret_id)
    elsewhere = await Database.open(db.url.render_as_string(hide_password=False), clock)
    other = Access(elsewhere, Sealer([MASTER]), clock)
    await other.disable_key(new.secret_id)
    await elsewhere.close()
    reads = Reads(db, monkeypatch)
    await clock.advance(AHEAD_NS / 1e9 - 0.01)
    assert access.held_key(new.secret_id) is not None
    assert reads.count == 0, "fresh"
    await clock.advance(0.02)
    for _ in range(3):
        held = access.held_key(new.secret_id)
        assert held is not None
        assert held[1] is not None
        assert not held[1].disabled
    async with asyncio.timeout(30):
        while not ((held := access.held_key(new.secret_id)) and held[1] and held[1].disabled):
            await asyncio.sleep(0)
    assert reads.count == 1, "once for all"
    await clock.advance(FRESH_S)
    assert access.held_key(new.secret_id) is None, "nobody asked: it is old, and must be waited for"


async def test_a_database_that_fails_ahead_of_time_fails_nobody(
    access: Access, db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await app_of(access)
    app = await known(access, number)

    def gone() -> Any:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(db, "read", gone)
        await clock.advance(AHEAD_NS / 1e9)
        assert access.held_app(number) is not None
        await asyncio.sleep(0)
        assert await access.app(number) == app
        await clock.advance(FRESH_S)
        with pytest.raises(DatabaseUnavailable):
            await access.app(number)
    assert await access.app(number) == app


async def test_one_who_gives_up_waiting_does_not_end_the_read_of_others(
    access: Access, clock: ManualClock
) -> None:
    number = await app_of(access)
    await clock.advance(FRESH_S)
    first = asyncio.create_task(access.app(number))
    second = asyncio.create_task(access.app(number))
    await asyncio.sleep(0)
    first.cancel()
    app = await second
    assert app is not None
    assert app.sdk_app_id == number
    assert first.cancelled()


async def test_a_change_here_is_seen_at_once(access: Access) -> None:
    number = await app_of(access)
    await access.app(number)
    await access.set_recording(number, False)
    app = await known(access, number)
    assert not app.recording_enabled
    await access.disable_app(number)
    app = await known(access, number)
    assert (app.blocked, app.recording_enabled) == (True, False)
    await access.disable_app(number, disabled=False)
    await access.block_account(app.uin)
    app = await known(access, number)
    assert app.blocked


async def test_callbacks_are_set_and_removed_by_kind(access: Access) -> None:
    number = await app_of(access)
    await access.set_callbacks(
        number, {"room": "https://a.test/", "record": "https://b.test/"}, "callback key"
    )
    await access.set_callbacks(number, {"room": ""})
    app = await known(access, number)
    assert dict(app.callback_urls) == {"record": "https://b.test/"}
    assert app.callback_key is not None
    assert app.callback_key.reveal() == "callback key"
    await access.set_callbacks(number, {}, "")
    app = await known(access, number)
    assert app.callback_key is None
    with pytest.raises(ValueError, match="no such kind"):
        await access.set_callbacks(number, {"rooms": "https://a.test/"})


async def test_verbs_on_an_unknown_application_say_so(access: Access) -> None:
    for verb in (
        access.set_permission_control(77, True),
        access.set_recording(77, True),
        access.set_callbacks(77, {}),
        access.disable_app(77),
        access.add_app_key(77),
        access.issue_user_sig(77, "u"),
    ):
        with pytest.raises(UnknownApp):
            await verb


async def test_no_secret_lies_in_the_database_in_clear(access: Access, db: Database) -> None:
    account = await access.create_account()
    app, user_key = await access.create_app(uin=account.uin)
    new = await access.create_key(account.uin, lifetime_s=5)
    await access.set_callbacks(app.sdk_app_id, {}, "callback-key-text")
    assert new.token is not None
    hidden = [user_key.reveal(), new.secret_key.reveal(), new.token.reveal(), "callback-key-text"]
    async with db.read() as conn:
        for table in (api_keys, app_keys, applications):
            for row in await conn.execute(sa.select(table)):
                for text in hidden:
                    assert text not in repr(tuple(row))
    shown = repr((await access.key(new.secret_id), await access.app(app.sdk_app_id), new))
    assert not [text for text in hidden if text in shown]


# --- entering a room --------------------------------------------------------------------------------


async def test_a_usersig_lets_its_user_in_until_it_expires(access: Access, clock: ManualClock) -> None:
    number = await app_of(access)
    sig = await access.issue_user_sig(number, "amy", 60)
    await access.verify_user(number, "amy", sig)
    await access.verify_user(number, "amy", sig.reveal())
    with pytest.raises(BadUserSig):
        await access.verify_user(number, "bob", sig)
    with pytest.raises(BadUserSig) as refused:
        await access.verify_user(77, "amy", sig)
    assert refused.value.native_code == -70020
    await clock.advance(61)
    with pytest.raises(BadUserSig) as refused:
        await access.verify_user(number, "amy", sig)
    assert refused.value.native_code == -70001


async def test_during_a_rotation_both_keys_let_in_afterwards_the_new_one(access: Access) -> None:
    number = await app_of(access)
    old = await access.issue_user_sig(number, "amy")
    await access.add_app_key(number)
    new = await access.issue_user_sig(number, "amy")
    for sig in (old, new):
        await access.verify_user(number, "amy", sig)
    assert await access.retire_old_app_keys(number) == 1
    await access.verify_user(number, "amy", new)
    with pytest.raises(BadUserSig) as refused:
        await access.verify_user(number, "amy", old)
    assert refused.value.native_code == -70009


async def test_tickets_are_ignored_until_the_switch_is_on(access: Access, clock: ManualClock) -> None:
    number = await app_of(access)
    assert await access.verify_ticket(number, "amy", "s", "r", "rubbish") == ALL_RIGHTS
    await access.set_permission_control(number, True)
    for ticket in (None, "", "rubbish"):
        with pytest.raises(TicketRefused) as refused:
            await access.verify_ticket(number, "amy", "s", "r", ticket)
        assert refused.value.code == -100006
    ticket = await access.issue_ticket(number, "amy", "s", "r", 60, Right.ENTER | Right.SEND_AUDIO)
    assert await access.verify_ticket(number, "amy", "s", "r", ticket) == Right.ENTER | Right.SEND_AUDIO
    with pytest.raises(TicketRefused) as refused:
        await access.verify_ticket(number, "amy", "s", "r", ticket, needs=Right.ENTER | Right.SEND_VIDEO)
    assert refused.value.code == -102013
    for user, kind, room in (("bob", "s", "r"), ("amy", "s", "q"), ("amy", "i", "7")):
        with pytest.raises(TicketRefused):
            await access.verify_ticket(number, user, kind, room, ticket)  # type: ignore[arg-type]
    await clock.advance(61)
    with pytest.raises(TicketRefused):
        await access.verify_ticket(number, "amy", "s", "r", ticket)
    with pytest.raises(UnknownApp):
        await access.verify_ticket(77, "amy", "s", "r", ticket)


async def test_policies_are_attached_by_name_and_read_before(access: Access) -> None:
    account = await access.create_account()
    await access.attach_policy(account.uin, "QcloudTRTCReadonlyAccess")
    document = {"version": "2.0", "statement": [{"effect": "deny", "action": "*", "resource": "*"}]}
    await access.attach_policy(account.uin, "mine", document)
    assert list(await access.attached_policies(account.uin)) == ["QcloudTRTCReadonlyAccess", "mine"]
    assert len(await access.policies(account.uin)) == 2
    document["statement"][0]["effect"] = "allow"  # type: ignore[index]
    await access.attach_policy(account.uin, "mine", document)
    assert (await access.attached_policies(account.uin))["mine"] == document
    await access.detach_policy(account.uin, "mine")
    assert len(await access.policies(account.uin)) == 1
    for attempt in (
        access.attach_policy(account.uin, "NoSuchPreset"),
        access.attach_policy(account.uin, "x", "{}"),
        access.detach_policy(account.uin, "mine"),
    ):
        with pytest.raises(BadPolicy):
            await attempt
    with pytest.raises(UnknownAccount):
        await access.attach_policy(5, "QcloudTRTCFullAccess")
