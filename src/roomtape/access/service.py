"""Accounts, applications and their keys: who may call, and who may enter.

Rows live in the database, their secrets sealed. Look-ups on the way of a request go through a cache that
is at most `FRESH_S` old, so that a change made by another process (the command line) is seen within a
second; changes made here are seen at once.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import json
import secrets as random_source
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from roomtape.access import policies as cam
from roomtape.access import tickets, usersig
from roomtape.access.errors import (
    AlreadyThere,
    BadUserSig,
    TemporaryKey,
    TicketRefused,
    UnknownAccount,
    UnknownApp,
    UnknownKey,
)
from roomtape.access.policies import BadPolicy, Decision, Policy
from roomtape.access.tickets import ALL_RIGHTS, Right, RoomType
from roomtape.clock import Clock
from roomtape.secret import Secret
from roomtape.state.database import Database, Transaction, announce
from roomtape.state.schema import accounts, api_keys, app_keys, applications, policies
from roomtape.state.sealing import Sealer

FRESH_S = 1
FRESH_NS = FRESH_S * 1_000_000_000
AHEAD_NS = FRESH_NS // 2  # older than this and asked for: read again
CHANGED = "access"  # the topic announced by every change

CALLBACK_KINDS = (*("room", "media", "record", "relay", "ingest", "web_record", "slice", "moderation", "ai"),)
FIRST_SDK_APP_ID = 1_400_000_001
FIRST_UIN = 100_000_000_001
ID_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Account:
    """A root account (`owner_uin` None), or a sub-user of one."""

    uin: int
    owner_uin: int | None
    app_id: int
    name: str
    blocked: bool

    @property
    def root_uin(self) -> int:
        return self.uin if self.owner_uin is None else self.owner_uin


@dataclass(frozen=True, slots=True)
class AutoRecord:
    """How every new room of an application is recorded; only the recordings know what the parts mean."""

    spec: Mapping[str, Any]  # no secret in it
    secrets: Secret
    since_ms: int  # rooms made from then on


@dataclass(frozen=True, slots=True)
class App:
    """An application with its switches and where its callbacks go."""

    sdk_app_id: int
    uin: int  # the root account that owns it
    name: str
    permission_control: bool  # every user needs a PrivateMapKey
    recording_enabled: bool
    callback_urls: Mapping[str, str]  # by kind, only those that are set
    callback_key: Secret | None
    settings: Mapping[str, Any]
    blocked: bool  # the application or its account was switched off
    auto_record: AutoRecord | None = None


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Networks (CIDR) a key may be used from; an empty allow list means anywhere."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def denies(self, address: str) -> bool:
        return _in_any(address, self.deny)

    def allows(self, address: str) -> bool:
        return not self.allow or _in_any(address, self.allow)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A pair that signs management requests."""

    secret_id: str
    secret_key: Secret
    account: Account
    name: str
    sdk_app_ids: frozenset[int] | None  # None: every application of the account
    addresses: AddressRules
    token: Secret | None  # set: a temporary key
    expires_ms: int | None
    disabled: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment its secret is shown."""

    secret_id: str
    secret_key: Secret
    token: Secret | None = None


K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Cache(Generic[K, V]):
    """Values by key, each at most FRESH_S old. Bounded, because unknown ids are remembered too.

    A value that is still asked for is read again ahead of its time, so that no request waits for it, and
    once for all who ask.
    """

    clock: Clock
    load: Callable[[K], Awaitable[V]]
    size: int = 4096
    _held: dict[K, tuple[int, V]] = field(default_factory=dict)
    _loading: dict[K, asyncio.Task[V]] = field(default_factory=dict)
    _changes: int = 0

    def peek(self, key: K) -> tuple[int, V] | None:
        """What is held and fresh, as (since when, value); None: it must be waited for."""
        held = self._held.get(key)
        if held is None:
            return None
        age = self.clock.monotonic_ns() - held[0]
        if age >= FRESH_NS:
            return None
        if age >= AHEAD_NS and key not in self._loading:
            self._begin(key)
        return held

    async def get(self, key: K) -> V:
        """The value, loaded when it is not held. Raises what loading raises."""
        held = self.peek(key)
        if held is not None:
            return held[1]
        # Not cancelled with one who waits for it: others may.
        return await asyncio.shield(self._loading.get(key) or self._begin(key))

    def forget(self) -> None:
        """Nothing that was read, or is being read, is right for those who ask from now on."""
        self._held.clear()
        self._loading.clear()
        self._changes += 1

    def _begin(self, key: K) -> asyncio.Task[V]:
        task = asyncio.get_running_loop().create_task(self._read(key))
        self._loading[key] = task
        task.add_done_callback(functools.partial(self._read_ended, key))
        return task

    async def _read(self, key: K) -> V:
        since, changes = self.clock.monotonic_ns(), self._changes
        value = await self.load(key)
        if changes == self._changes:  # else somebody wrote meanwhile: right for who asked, not for later ones
            if len(self._held) >= self.size:
                self._held.clear()
            self._held[key] = (since, value)
        return value

    def _read_ended(self, key: K, task: asyncio.Task[V]) -> None:
        if self._loading.get(key) is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()  # who waits gets it; who reads ahead asks again when the value is old


class Access:
    """The one reader and writer of the access tables."""

    def __init__(self, db: Database, sealer: Sealer, clock: Clock) -> None:
        self._db = db
        self._sealer = sealer
        self._clock = clock
        self._apps: _Cache[int, App | None] = _Cache(clock, self._load_app)
        self._keys: _Cache[str, ApiKey | None] = _Cache(clock, self._load_key)
        self._app_keys: _Cache[int, tuple[Secret, ...]] = _Cache(clock, self._load_app_keys)
        self._policies: _Cache[int, tuple[Policy, ...]] = _Cache(clock, self._load_policies)
        db.on_commit(CHANGED, self._forget)

    # --- look-ups on the way of a request ---------------------------------------------------------

    async def app(self, sdk_app_id: int) -> App | None:
        """The application, or None when there is none (or it was deleted)."""
        return await self._apps.get(sdk_app_id)

    async def key(self, secret_id: str) -> ApiKey | None:
        """The API key, disabled ones too; None when there is none."""
        return await self._keys.get(secret_id)

    def held_app(self, sdk_app_id: int) -> tuple[int, App | None] | None:
        """What `app` would answer without waiting, second of a pair; None when it would have to load."""
        return self._apps.peek(sdk_app_id)

    def held_key(self, secret_id: str) -> tuple[int, ApiKey | None] | None:
        """What `key` would answer without waiting, second of a pair; None when it would have to load."""
        return self._keys.peek(secret_id)

    async def policies(self, uin: int) -> tuple[Policy, ...]:
        """What is attached to an account, read."""
        return await self._policies.get(uin)

    async def verify_user(self, sdk_app_id: int, user: str, sig: Secret | str) -> None:
        """Check a UserSig against the application's keys. Raises BadUserSig."""
        keys = await self._signing_keys(sdk_app_id)
        if keys is None:
            raise BadUserSig(usersig.UNKNOWN_APP, "there is no such application")
        usersig.verify(_text(sig), keys, sdk_app_id, user, now_s=self._clock.now_ms() // 1000)

    async def verify_ticket(
        self,
        sdk_app_id: int,
        user: str,
        room_type: RoomType,
        room: str,
        ticket: Secret | str | None,
        needs: Right = Right.ENTER,
    ) -> Right:
        """The user's rights in the room: all of them while the application's switch is off.

        Raises:
            UnknownApp, TicketRefused: absent, not valid for this user and room, or lacking `needs`.
        """
        app = await self.app(sdk_app_id)
        if app is None:
            raise UnknownApp(sdk_app_id)
        if not app.permission_control:
            return ALL_RIGHTS
        if ticket is None or not _text(ticket):
            raise TicketRefused(tickets.BAD_TICKET, "the application requires one")
        keys = await self._signing_keys(sdk_app_id) or ()
        rights = tickets.verify(
            _text(ticket), keys, sdk_app_id, user, room_type, room, now_s=self._clock.now_ms() // 1000
        )
        tickets.require(rights, needs)
        return rights

    # --- accounts ---------------------------------------------------------------------------------

    async def create_account(
        self, name: str = "", *, uin: int | None = None, owner_uin: int | None = None, app_id: int = 0
    ) -> Account:
        """Make a root account, or a sub-user of `owner_uin`.

        Raises:
            AlreadyThere: the uin is taken.
            UnknownAccount: there is no root account `owner_uin`.
        """
        async with self._db.write() as conn:
            if owner_uin is not None:
                owner = await _account(conn, owner_uin)
                if owner is None or owner.owner_uin is not None:
                    raise UnknownAccount(f"There is no root account {owner_uin}.")
            uin = uin or await _next(conn, accounts.c.uin, FIRST_UIN)
            await _insert(
                conn,
                accounts.insert().values(
                    uin=uin, owner_uin=owner_uin, app_id=app_id, name=name, created_ms=self._clock.now_ms()
                ),
                f"Account {uin} is there already.",
            )
            announce(conn, CHANGED)
        return Account(uin, owner_uin, app_id, name, False)

    async def accounts(self) -> list[Account]:
        async with self._db.read() as conn:
            rows = await conn.execute(sa.select(accounts).order_by(accounts.c.uin))
            return [_to_account(row) for row in rows]

    async def block_account(self, uin: int, blocked: bool = True) -> None:
        """Refuse (or accept again) everything of an account. Raises UnknownAccount."""
        async with self._db.write() as conn:
            await _update(
                conn,
                accounts.update()
                .where(accounts.c.uin == uin)
                .values(disabled_ms=self._clock.now_ms() if blocked else None),
                UnknownAccount(f"There is no account {uin}."),
            )

    async def attach_policy(
        self, uin: int, name: str, document: str | Mapping[str, Any] | None = None
    ) -> None:
        """Attach a policy to an account under a name, replacing one of that name; without a document, the
        preset of that name.

        Raises:
            BadPolicy: the document does not read, or there is no such preset.
            UnknownAccount
        """
        if document is None:
            document = cam.PRESETS.get(name)
            if document is None:
                raise BadPolicy(f"There is no preset policy {name}; there are {', '.join(cam.PRESETS)}.")
        cam.read(document)
        stored = json.loads(document) if isinstance(document, str) else document
        async with self._db.write() as conn:
            if await _account(conn, uin) is None:
                raise UnknownAccount(f"There is no account {uin}.")
            await conn.execute(policies.delete().where(policies.c.uin == uin, policies.c.name == name))
            await conn.execute(
                policies.insert().values(uin=uin, name=name, document=stored, created_ms=self._clock.now_ms())
            )
            announce(conn, CHANGED)

    async def detach_policy(self, uin: int, name: str) -> None:
        """Take a policy off an account. Raises BadPolicy when it has none of that name."""
        async with self._db.write() as conn:
            await _update(
                conn,
                policies.delete().where(policies.c.uin == uin, policies.c.name == name),
                BadPolicy(f"Account {uin} has no policy {name}."),
            )

    async def attached_policies(self, uin: int) -> dict[str, Any]:
        """Documents by name, oldest first."""
        async with self._db.read() as conn:
            rows = await conn.execute(
                sa.select(policies.c.name, policies.c.document)
                .where(policies.c.uin == uin)
                .order_by(policies.c.id)
            )
            return {row.name: row.document for row in rows}

    async def would_allow(
        self, uin: int, action: str, sdk_app_id: int | None = None, address: str = ""
    ) -> Decision:
        """What the account's policies say of a call made now. Raises UnknownAccount."""
        account = next((a for a in await self.accounts() if a.uin == uin), None)
        if account is None:
            raise UnknownAccount(f"There is no account {uin}.")
        caller = cam.Caller(
            uin=uin,
            owner_uin=account.root_uin,
            app_id=account.app_id,
            address=address,
            now_s=self._clock.now_ms() / 1000,
        )
        return cam.decide(await self.policies(uin), caller, action, sdk_app_id)

    # --- applications -----------------------------------------------------------------------------

    async def create_app(
        self, name: str = "", *, uin: int, sdk_app_id: int | None = None, key: str | None = None
    ) -> tuple[App, Secret]:
        """Make an application and the key that signs its UserSigs (64 hex digits unless given).

        Raises:
            AlreadyThere: the SdkAppId is taken.
            UnknownAccount: there is no root account `uin`.
        """
        secret = Secret(key or random_source.token_hex(32))
        async with self._db.write() as conn:
            owner = await _account(conn, uin)
            if owner is None or owner.owner_uin is not None:
                raise UnknownAccount(f"There is no root account {uin}.")
            number = sdk_app_id or await _next(conn, applications.c.sdk_app_id, FIRST_SDK_APP_ID)
            now = self._clock.now_ms()
            await _insert(
                conn,
                applications.insert().values(
                    sdk_app_id=number, uin=uin, name=name, created_ms=now, updated_ms=now
                ),
                f"Application {number} is there already.",
            )
            await self._insert_app_key(conn, number, secret)
            announce(conn, CHANGED)
        app = await self.app(number)
        assert app is not None  # just committed
        return app, secret

    async def apps(self, uin: int | None = None) -> list[App]:
        """All applications, or those of one root account."""
        query = _apps_query().order_by(applications.c.sdk_app_id)
        if uin is not None:
            query = query.where(applications.c.uin == uin)
        async with self._db.read() as conn:
            return [self._to_app(row) for row in await conn.execute(query)]

    async def set_permission_control(self, sdk_app_id: int, on: bool) -> None:
        """Turn the PrivateMapKey switch. Raises UnknownApp."""
        await self._change_app(sdk_app_id, permission_control=on)

    async def set_recording(self, sdk_app_id: int, on: bool) -> None:
        """Permit or forbid recordings of an application. Raises UnknownApp."""
        app = await self._require_app(sdk_app_id)
        await self._change_app(sdk_app_id, settings={**app.settings, "recording": on})

    async def set_auto_record(self, sdk_app_id: int, spec: Mapping[str, Any] | None, secrets: bytes) -> None:
        """Have every room made from now on recorded, or (None) no further one. Raises UnknownApp."""
        sealed = None if spec is None else self._sealer.seal(secrets, f"auto_record/{sdk_app_id}")
        await self._change_app(
            sdk_app_id,
            auto_record=None if spec is None else dict(spec),
            auto_record_sealed=sealed,
            auto_record_since_ms=None if spec is None else self._clock.now_ms(),
        )

    async def set_callbacks(
        self, sdk_app_id: int, urls: Mapping[str, str], key: Secret | str | None = None
    ) -> None:
        """Set callback addresses by kind ("" removes one) and, when given, the key that signs them.

        Raises:
            UnknownApp
            ValueError: no such kind of callback.
        """
        if unknown := urls.keys() - set(CALLBACK_KINDS):
            raise ValueError(f"no such kind of callback: {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {f"{kind}_url": url for kind, url in urls.items()}
        if key is not None:
            sealed = self._sealer.seal(_text(key), f"callback_key/{sdk_app_id}") if _text(key) else None
            values["callback_key_sealed"] = sealed
        await self._change_app(sdk_app_id, **values)

    async def disable_app(self, sdk_app_id: int, disabled: bool = True) -> None:
        """Switch an application off or on again. Raises UnknownApp."""
        await self._change_app(sdk_app_id, disabled_ms=self._clock.now_ms() if disabled else None)

    async def add_app_key(self, sdk_app_id: int, key: str | None = None) -> Secret:
        """Add a key for UserSigs beside the present ones: the first half of a rotation. Raises UnknownApp."""
        await self._require_app(sdk_app_id)
        secret = Secret(key or random_source.token_hex(32))
        async with self._db.write() as conn:
            await self._insert_app_key(conn, sdk_app_id, secret)
            announce(conn, CHANGED)
        return secret

    async def retire_old_app_keys(self, sdk_app_id: int) -> int:
        """Stop accepting all UserSig keys but the newest; how many were retired. Raises UnknownApp."""
        await self._require_app(sdk_app_id)
        async with self._db.write() as conn:
            newest = sa.select(sa.func.max(app_keys.c.id)).where(app_keys.c.sdk_app_id == sdk_app_id)
            done = await conn.execute(
                app_keys.update()
                .where(
                    app_keys.c.sdk_app_id == sdk_app_id,
                    app_keys.c.retired_ms.is_(None),
                    app_keys.c.id != newest.scalar_subquery(),
                )
                .values(retired_ms=self._clock.now_ms())
            )
            announce(conn, CHANGED)
            return done.rowcount

    async def issue_user_sig(
        self, sdk_app_id: int, user: str, expire_s: int = usersig.DEFAULT_EXPIRE_S
    ) -> Secret:
        """A UserSig under the newest key. Raises UnknownApp."""
        key = await self._newest_key(sdk_app_id)
        now_s = self._clock.now_ms() // 1000
        return Secret(usersig.issue(key, sdk_app_id, user, time_s=now_s, expire_s=expire_s))

    async def issue_ticket(
        self,
        sdk_app_id: int,
        user: str,
        room_type: RoomType,
        room: str,
        expire_s: int,
        rights: Right = ALL_RIGHTS,
    ) -> Secret:
        """A PrivateMapKey under the newest key. Raises UnknownApp."""
        key = await self._newest_key(sdk_app_id)
        now_s = self._clock.now_ms() // 1000
        return Secret(
            tickets.issue(
                key, sdk_app_id, user, room_type, room, time_s=now_s, expire_s=expire_s, rights=rights
            )
        )

    # --- API keys ---------------------------------------------------------------------------------

    async def create_key(
        self,
        uin: int,
        name: str = "",
        *,
        sdk_app_ids: Sequence[int] | None = None,
        addresses: AddressRules | None = None,
        lifetime_s: int | None = None,
        secret_id: str | None = None,
        secret_key: str | None = None,
    ) -> NewKey:
        """Make a key for an account; with `lifetime_s` a temporary one, with a token.

        Raises:
            AlreadyThere: the SecretId is taken.
            UnknownAccount
        """
        secret_id = secret_id or "AKID" + _random_text(32)
        new = NewKey(
            secret_id,
            Secret(secret_key or _random_text(32)),
            None if lifetime_s is None else Secret(_random_text(64)),
        )
        now = self._clock.now_ms()
        async with self._db.write() as conn:
            if await _account(conn, uin) is None:
                raise UnknownAccount(f"There is no account {uin}.")
            rules = addresses or AddressRules()
            await _insert(
                conn,
                api_keys.insert().values(
                    secret_id=secret_id,
                    uin=uin,
                    name=name,
                    secret_key_sealed=self._sealer.seal(new.secret_key, f"secret_key/{secret_id}"),
                    sdk_app_ids=None if sdk_app_ids is None else list(sdk_app_ids),
                    address_rules=(
                        {"allow": list(rules.allow), "deny": list(rules.deny)} if addresses else None
                    ),
                    created_ms=now,
                    expires_ms=None if lifetime_s is None else now + lifetime_s * 1000,
                    token_sealed=(
                        None if new.token is None else self._sealer.seal(new.token, f"token/{secret_id}")
                    ),
                ),
                f"Key {secret_id} is there already.",
            )
            announce(conn, CHANGED)
        return new

    async def keys(self, uin: int | None = None) -> list[ApiKey]:
        """All API keys, oldest first, or those of one account."""
        query = _keys_query().order_by(api_keys.c.created_ms, api_keys.c.secret_id)
        if uin is not None:
            query = query.where(api_keys.c.uin == uin)
        async with self._db.read() as conn:
            return [self._to_key(row) for row in await conn.execute(query)]

    async def disable_key(self, secret_id: str, disabled: bool = True) -> None:
        """Refuse (or accept again) a key. Raises UnknownKey."""
        async with self._db.write() as conn:
            await _update(
                conn,
                api_keys.update()
                .where(api_keys.c.secret_id == secret_id)
                .values(disabled_ms=self._clock.now_ms() if disabled else None),
                UnknownKey(f"There is no key {secret_id}."),
            )

    async def set_addresses(self, secret_id: str, rules: AddressRules) -> None:
        """Take a key from these networks only, from now on. Raises UnknownKey."""
        async with self._db.write() as conn:
            await _update(
                conn,
                api_keys.update()
                .where(api_keys.c.secret_id == secret_id)
                .values(address_rules={"allow": list(rules.allow), "deny": list(rules.deny)}),
                UnknownKey(f"There is no key {secret_id}."),
            )

    async def rotate_key(self, secret_id: str) -> NewKey:
        """Make a second key with the same account, applications and addresses.

        The old one stays valid until `disable_key`, so that callers can change over.

        Raises:
            UnknownKey
            TemporaryKey: it ends by itself, and is followed by one made anew.
        """
        old = await self._load_key(secret_id)
        if old is None:
            raise UnknownKey(f"There is no key {secret_id}.")
        if old.token is not None:
            raise TemporaryKey(f"Key {secret_id} is temporary; make another one.")
        return await self.create_key(
            old.account.uin,
            old.name,
            sdk_app_ids=None if old.sdk_app_ids is None else sorted(old.sdk_app_ids),
            addresses=old.addresses,
        )

    # --- rows -------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._apps.forget()
        self._keys.forget()
        self._app_keys.forget()
        self._policies.forget()

    async def _load_app(self, sdk_app_id: int) -> App | None:
        if not 0 < sdk_app_id < 2**63:
            return None
        async with self._db.read() as conn:
            row = (
                await conn.execute(_apps_query().where(applications.c.sdk_app_id == sdk_app_id))
            ).one_or_none()
        return None if row is None else self._to_app(row)

    async def _load_key(self, secret_id: str) -> ApiKey | None:
        async with self._db.read() as conn:
            row = (await conn.execute(_keys_query().where(api_keys.c.secret_id == secret_id))).one_or_none()
        return None if row is None else self._to_key(row)

    async def _load_policies(self, uin: int) -> tuple[Policy, ...]:
        return tuple(cam.read(document) for document in (await self.attached_policies(uin)).values())

    async def _load_app_keys(self, sdk_app_id: int) -> tuple[Secret, ...]:
        async with self._db.read() as conn:
            rows = await conn.execute(
                sa.select(app_keys.c.key_sealed)
                .where(app_keys.c.sdk_app_id == sdk_app_id, app_keys.c.retired_ms.is_(None))
                .order_by(app_keys.c.id.desc())
            )
            sealed = [row.key_sealed for row in rows]
        return tuple(self._sealer.open(value, f"app_key/{sdk_app_id}") for value in sealed)

    async def _signing_keys(self, sdk_app_id: int) -> list[str] | None:
        """The texts of an application's keys, newest first; None when there is no application."""
        if await self.app(sdk_app_id) is None:
            return None
        keys = await self._app_keys.get(sdk_app_id)
        return [key.reveal() for key in keys]

    async def _newest_key(self, sdk_app_id: int) -> str:
        keys = await self._signing_keys(sdk_app_id)
        if not keys:
            raise UnknownApp(sdk_app_id)
        return keys[0]

    async def _require_app(self, sdk_app_id: int) -> App:
        app = await self._load_app(sdk_app_id)
        if app is None:
            raise UnknownApp(sdk_app_id)
        return app

    async def _change_app(self, sdk_app_id: int, **values: Any) -> None:
        async with self._db.write() as conn:
            await _update(
                conn,
                applications.update()
                .where(applications.c.sdk_app_id == sdk_app_id)
                .values(updated_ms=self._clock.now_ms(), **values),
                UnknownApp(sdk_app_id),
            )

    async def _insert_app_key(self, conn: Transaction, sdk_app_id: int, key: Secret) -> None:
        await conn.execute(
            app_keys.insert().values(
                sdk_app_id=sdk_app_id,
                key_sealed=self._sealer.seal(key, f"app_key/{sdk_app_id}"),
                created_ms=self._clock.now_ms(),
            )
        )

    def _to_app(self, row: sa.Row[Any]) -> App:
        settings = row.settings or {}
        urls = {kind: getattr(row, f"{kind}_url") for kind in CALLBACK_KINDS}
        sealed = row.callback_key_sealed
        return App(
            sdk_app_id=row.sdk_app_id,
            uin=row.uin,
            name=row.name,
            permission_control=row.permission_control,
            recording_enabled=settings.get("recording", True),
            callback_urls={kind: url for kind, url in urls.items() if url},
            callback_key=(
                None if sealed is None else self._sealer.open(sealed, f"callback_key/{row.sdk_app_id}")
            ),
            settings=settings,
            blocked=row.disabled_ms is not None or row.account_disabled_ms is not None,
            auto_record=self._to_auto_record(row),
        )

    def _to_auto_record(self, row: sa.Row[Any]) -> AutoRecord | None:
        if row.auto_record is None or row.auto_record_sealed is None:
            return None
        secrets = self._sealer.open(row.auto_record_sealed, f"auto_record/{row.sdk_app_id}")
        return AutoRecord(row.auto_record, secrets, row.auto_record_since_ms or 0)

    def _to_key(self, row: sa.Row[Any]) -> ApiKey:
        rules = row.address_rules or {}
        return ApiKey(
            secret_id=row.secret_id,
            secret_key=self._sealer.open(row.secret_key_sealed, f"secret_key/{row.secret_id}"),
            account=Account(
                uin=row.uin,
                owner_uin=row.owner_uin,
                app_id=row.app_id,
                name=row.account_name,
                blocked=row.account_disabled_ms is not None or row.owner_disabled_ms is not None,
            ),
            name=row.name,
            sdk_app_ids=None if row.sdk_app_ids is None else frozenset(row.sdk_app_ids),
            addresses=AddressRules(tuple(rules.get("allow", ())), tuple(rules.get("deny", ()))),
            token=(
                None
                if row.token_sealed is None
                else self._sealer.open(row.token_sealed, f"token/{row.secret_id}")
            ),
            expires_ms=row.expires_ms,
            disabled=row.disabled_ms is not None,
            created_ms=row.created_ms,
        )


def _apps_query() -> sa.Select[Any]:
    return sa.select(applications, accounts.c.disabled_ms.label("account_disabled_ms")).join(
        accounts, accounts.c.uin == applications.c.uin
    )


def _keys_query() -> sa.Select[Any]:
    owner = accounts.alias("owner")
    return (
        sa.select(
            api_keys,
            accounts.c.owner_uin,
            accounts.c.app_id,
            accounts.c.name.label("account_name"),
            accounts.c.disabled_ms.label("account_disabled_ms"),
            owner.c.disabled_ms.label("owner_disabled_ms"),
        )
        .join(accounts, accounts.c.uin == api_keys.c.uin)
        .outerjoin(owner, owner.c.uin == accounts.c.owner_uin)
    )


def _to_account(row: sa.Row[Any]) -> Account:
    return Account(row.uin, row.owner_uin, row.app_id, row.name, row.disabled_ms is not None)


async def _account(conn: Transaction, uin: int) -> Account | None:
    row = (await conn.execute(sa.select(accounts).where(accounts.c.uin == uin))).one_or_none()
    return None if row is None else _to_account(row)


async def _next(conn: Transaction, column: sa.Column[int], first: int) -> int:
    """The number after the greatest one at or above `first`."""
    highest = await conn.scalar(sa.select(sa.func.max(column)).where(column >= first))
    return first if highest is None else highest + 1


async def _insert(conn: Transaction, statement: sa.Insert, taken: str) -> None:
    try:
        await conn.execute(statement)
    except IntegrityError:
        raise AlreadyThere(taken) from None


async def _update(conn: Transaction, statement: sa.Update | sa.Delete, absent: Exception) -> None:
    """Change or delete one row and announce it. Raises `absent` when there is no such row."""
    if (await conn.execute(statement)).rowcount == 0:
        raise absent
    announce(conn, CHANGED)


def _in_any(address: str, networks: Sequence[str]) -> bool:
    if not networks:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)


def _random_text(length: int) -> str:
    return "".join(random_source.choice(ID_ALPHABET) for _ in range(length))


def _text(value: Secret | str) -> str:
    return value.reveal() if isinstance(value, Secret) else value
