"""Accounts, keys and policies that a file declares, on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from roomtape.access import declared
from roomtape.access.declared import BadDeclaration, Declared
from roomtape.access.errors import BadUserSig
from roomtape.access.policies import Decision
from roomtape.access.service import Access, AddressRules
from roomtape.access.usersig import issue
from roomtape.clock import ManualClock
from roomtape.state.database import Database
from roomtape.state.schema import accounts, api_keys, app_keys, applications, policies
from roomtape.state.sealing import Sealer

ROOT, USER, APP = 100_000_000_100, 100_000_000_101, 1_400_000_100
DOCUMENT = json.dumps({
    "version": "2.0",
    "statement": [{"effect": "allow", "action": "name/trtc:Delete*", "resource": f"qcs::trtc::uin/:sdkappid/{APP}"}],
})  # fmt: skip
TEXT = f"""
[[account]]
uin = {ROOT}
name = "school"
app_id = 1251
[[account.app]]
sdk_app_id = {APP}
name = "class"
keys = ["new-key", "old-key"]
[[account.key]]
secret_id = "AKIDroot"
secret_key = "root+secret/="
[[account.user]]
uin = {USER}
name = "ci"
presets = ["QcloudTRTCReadonlyAccess"]
[[account.user.key]]
secret_id = "AKIDuser"
secret_key = "users-secret"
apps = [{APP}]
allow = ["10.0.0.0/8"]
[[account.user.policy]]
name = "may-stop"
document = '''{DOCUMENT}'''
"""


class Files:
    """A file of accounts, and taking it over."""

    def __init__(self, db: Database, clock: ManualClock, path: Path) -> None:
        self.db, self.clock, self.path, self.sealer = db, clock, path, Sealer([bytes(range(32))])
        self.access = Access(db, self.sealer, clock)

    def write(self, text: str, mode: int = 0o600) -> Path:
        self.path.write_text(text)
        self.path.chmod(mode)
        return self.path

    async def take(self, text: str) -> None:
        await declared.take_over(self.db, self.sealer, self.clock, declared.read(self.write(text)))

    async def rows(self) -> list[Any]:
        async with self.db.read() as conn:
            tables = (accounts, applications, api_keys, app_keys, policies)
            return [[tuple(row) for row in await conn.execute(sa.select(table))] for table in tables]


@pytest.fixture
def files(db: Database, clock: ManualClock, tmp_path: Path) -> Files:
    return Files(db, clock, tmp_path / "accounts.toml")


async def test_everything_is_what_the_file_says(files: Files) -> None:
    await files.take(TEXT)
    access, now_s = files.access, files.clock.now_ms() // 1000
    assert [(a.uin, a.owner_uin, a.name, a.app_id, a.blocked) for a in await access.accounts()] == [
        (ROOT, None, "school", 1251, False), (USER, ROOT, "ci", 0, False),
    ]  # fmt: skip
    root, user = await access.key("AKIDroot"), await access.key("AKIDuser")
    assert root is not None
    assert user is not None
    assert (root.secret_key.reveal(), root.account.uin, root.sdk_app_ids) == ("root+secret/=", ROOT, None)
    assert (user.secret_key.reveal(), user.account.root_uin) == ("users-secret", ROOT)
    assert (user.sdk_app_ids, user.addresses) == (frozenset({APP}), AddressRules(("10.0.0.0/8",)))
    app = await access.app(APP)
    assert app is not None
    assert (app.uin, app.name) == (ROOT, "class")
    assert (await access.issue_user_sig(APP, "amy", 60)).reveal() == issue("new-key", APP, "amy", time_s=now_s, expire_s=60)
    for key in ("new-key", "old-key"):
        await access.verify_user(APP, "amy", issue(key, APP, "amy", time_s=now_s, expire_s=60))
    assert await access.would_allow(USER, "DeleteCloudRecording", APP) is Decision.ALLOW
    assert await access.would_allow(USER, "CreateCloudRecording", APP) is Decision.DENY


async def test_taken_over_again_nothing_changes(files: Files) -> None:
    await files.take(TEXT)
    before = await files.rows()
    await files.take(TEXT)
    assert await files.rows() == before


async def test_what_is_left_out_is_refused_or_taken_off_and_comes_back(files: Files) -> None:
    access, now_s = files.access, files.clock.now_ms() // 1000
    await files.take(TEXT)
    by_hand = await access.create_key(USER, "by hand")
    passing = await access.create_key(USER, lifetime_s=60)
    other = await access.create_account("other", uin=5)
    elsewhere = await access.create_key(other.uin)
    less = TEXT.replace('presets = ["QcloudTRTCReadonlyAccess"]', "blocked = true")
    less = less.replace('keys = ["new-key", "old-key"]', 'keys = ["newest", "new-key"]')
    less = less.replace('secret_id = "AKIDuser"', 'secret_id = "AKIDnext"').replace("users-secret", "next-secret")
    less = less.replace("root+secret/=", "rotated")
    await files.take(less)

    async def refused() -> dict[str, bool]:
        keys = await access.keys()
        return {key.secret_id: key.disabled or key.account.blocked for key in keys}

    assert await refused() == {
        "AKIDroot": False, "AKIDuser": True, "AKIDnext": True, by_hand.secret_id: True, passing.secret_id: True,
        elsewhere.secret_id: False,
    }  # fmt: skip
    root = await access.key("AKIDroot")
    assert root is not None
    assert root.secret_key.reveal() == "rotated"
    assert list(await access.attached_policies(USER)) == ["may-stop"]
    await access.verify_user(APP, "amy", issue("newest", APP, "amy", time_s=now_s, expire_s=60))
    with pytest.raises(BadUserSig):
        await access.verify_user(APP, "amy", issue("old-key", APP, "amy", time_s=now_s, expire_s=60))

    await files.take(TEXT)
    assert await refused() == {
        "AKIDroot": False, "AKIDuser": False, "AKIDnext": True, by_hand.secret_id: True, passing.secret_id: False,
        elsewhere.secret_id: False,
    }  # fmt: skip
    assert set(await access.attached_policies(USER)) == {"QcloudTRTCReadonlyAccess", "may-stop"}
    await access.verify_user(APP, "amy", issue("old-key", APP, "amy", time_s=now_s, expire_s=60))
    await files.take("")
    assert (await refused())["AKIDroot"] is False, "an account that is not named is left alone"


async def test_a_file_that_clashes_with_what_is_there_changes_nothing(files: Files) -> None:
    access = files.access
    other = await access.create_account("other")
    await access.create_app("theirs", uin=other.uin, sdk_app_id=7)
    key = await access.create_key(other.uin, secret_id="AKIDtheirs")
    sub = await access.create_account("sub", owner_uin=other.uin)
    passing = await access.create_key(other.uin, lifetime_s=60)
    before = await files.rows()
    clashes = {
        f"uin {sub.uin} is there already": TEXT.replace(str(ROOT), str(sub.uin)),
        f"uin {other.uin} is there already, as a root": TEXT.replace(str(USER), str(other.uin)),
        "application 7 is there already": TEXT.replace(f"sdk_app_id = {APP}", "sdk_app_id = 7"),
        f"key {key.secret_id} is there already": TEXT.replace("AKIDuser", key.secret_id),
        f"key {passing.secret_id} is there already": f"[[account]]\nuin = {other.uin}\n[[account.key]]\n"
        f'secret_id = "{passing.secret_id}"\nsecret_key = "k"',
    }
    for says, text in clashes.items():
        with pytest.raises(BadDeclaration, match=says):
            await files.take(text)
        assert await files.rows() == before


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("[[account]]", "[[acount]]", "acount"),
        ('name = "school"', 'nam = "school"', r"nam.* at `\$\.account\[0\]"),
        (f"uin = {USER}", f"uin = {ROOT}", f"uin {ROOT} is there twice"),
        ("AKIDuser", "AKIDroot", "secret_id AKIDroot is there twice"),
        ("AKIDuser", "a b", "secret_id"),
        ("users-secret", "users secret", "secret_key"),
        ("10.0.0.0/8", "10.0.0.1/8", "key AKIDuser: 10.0.0.1/8 is no address"),
        ("QcloudTRTCReadonlyAccess", "Readonly", "no preset Readonly; there are QcloudTRTCFullAccess"),
        ('"version": "2.0"', '"version": "1"', 'policy may-stop: version must be "2.0"'),
        ('name = "may-stop"', 'name = "QcloudTRTCReadonlyAccess"', "QcloudTRTCReadonlyAccess is there twice"),
        ('keys = ["new-key", "old-key"]', "keys = []", "length >= 1"),
        (f"uin = {USER}", "uin = 0", ">= 1"),
        ("[[account.user]]", "[[account.user", "line"),
    ],
)
async def test_a_mistake_is_named_without_a_secret(files: Files, was: str, becomes: str, says: str) -> None:
    assert was in TEXT
    with pytest.raises(BadDeclaration, match=says) as refused:
        declared.read(files.write(TEXT.replace(was, becomes)))
    told = str(refused.value)
    assert str(files.path) in told
    assert not [secret for secret in ("root+secret/=", "users-secret", "users secret", "new-key") if secret in told]


@pytest.mark.parametrize("mode", [0o640, 0o604])
async def test_a_file_that_others_may_read_is_refused(files: Files, mode: int) -> None:
    with pytest.raises(BadDeclaration, match="chmod 600"):
        declared.read(files.write(TEXT, mode))
    with pytest.raises(BadDeclaration, match="No such file"):
        declared.read(files.path.with_name("absent.toml"))


def test_nothing_that_is_declared_shows_a_secret(files: Files) -> None:
    shown = repr(declared.read(files.write(TEXT)))
    assert not [secret for secret in ("root+secret/=", "users-secret", "new-key", "old-key") if secret in shown]
    assert "AKIDuser" in shown
    assert isinstance(declared.read(files.write("")), Declared)
