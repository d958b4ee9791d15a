"""Accounts, keys and policies that a file declares, beside those that the command makes.

The file says everything of the accounts it names: what it leaves out is refused from then on (keys) or taken
off (policies). Accounts it does not name are not touched, nor are applications it leaves out. It is read as a
whole before anything is changed, and taken over in one transaction.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from roomtape.access import policies as cam
from roomtape.access.service import CHANGED
from roomtape.clock import Clock
from roomtape.errors import DomainError
from roomtape.state.database import Database, announce
from roomtape.state.schema import accounts, api_keys, app_keys, applications, policies
from roomtape.state.sealing import Sealer

Number = Annotated[int, Meta(ge=1, le=2**53 - 1)]
SecretId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_-]{4,64}$")]
Printable = Annotated[str, Meta(pattern=r"^[!-~]{1,128}$")]


class BadDeclaration(DomainError):
    """The accounts file cannot be taken over; the text says where and why, and holds no secret."""


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of what the file has tables for."""


class DeclaredKey(_Table):
    """A key that signs API calls; `apps` and `allow` empty: every application, everywhere."""

    secret_id: SecretId
    secret_key: Printable
    name: str = ""
    apps: list[Number] = []
    allow: list[str] = []
    deny: list[str] = []

    def __repr__(self) -> str:
        return f"DeclaredKey({self.secret_id})"


class DeclaredApp(_Table):
    """An application; `keys` are all that UserSigs may be signed with, the first is the one to issue with."""

    sdk_app_id: Number
    keys: Annotated[list[Printable], Meta(min_length=1)]
    name: str = ""

    def __repr__(self) -> str:
        return f"DeclaredApp({self.sdk_app_id})"


class DeclaredPolicy(_Table):
    """A policy document, as JSON text."""

    name: Annotated[str, Meta(min_length=1)]
    document: str


class DeclaredUser(_Table):
    """A sub-user; `presets` are attached by their names."""

    uin: Number
    name: str = ""
    blocked: bool = False
    presets: list[str] = []
    key: list[DeclaredKey] = []
    policy: list[DeclaredPolicy] = []


class DeclaredAccount(_Table):
    """A root account; `app_id` is what `${app_id}` of its policies stands for."""

    uin: Number
    name: str = ""
    app_id: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    blocked: bool = False
    app: list[DeclaredApp] = []
    key: list[DeclaredKey] = []
    user: list[DeclaredUser] = []


class Declared(_Table):
    account: list[DeclaredAccount] = []

    def holders(self) -> Iterator[tuple[DeclaredAccount | DeclaredUser, int | None]]:
        """Every account and sub-user, with the root account of the latter."""
        for account in self.account:
            yield account, None
            for user in account.user:
                yield user, account.uin


def read(file: Path) -> Declared:
    """Read a file of accounts (TOML). Raises BadDeclaration."""
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadDeclaration(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadDeclaration(f"{file}: not UTF-8") from None
    if mode & 0o077:
        raise BadDeclaration(f"{file}: holds keys and may be read by others; chmod 600 {file}")
    try:
        declared = msgspec.convert(tomllib.loads(text), Declared)
        _check(declared)
    except tomllib.TOMLDecodeError as error:
        raise BadDeclaration(f"{file}: {error}") from None
    except (msgspec.ValidationError, BadDeclaration) as error:
        raise BadDeclaration(f"{file}: {error}") from None
    return declared


def _check(declared: Declared) -> None:
    """What the tables must say together. Raises BadDeclaration."""
    holders = [holder for holder, _ in declared.holders()]
    _once("uin", (holder.uin for holder in holders))
    _once("secret_id", (key.secret_id for holder in holders for key in holder.key))
    _once("sdk_app_id", (app.sdk_app_id for account in declared.account for app in account.app))
    for holder in holders:
        for key in holder.key:
            for network in (*key.allow, *key.deny):
                try:
                    ipaddress.ip_network(network)
                except ValueError:
                    raise BadDeclaration(f"key {key.secret_id}: {network} is no address or network") from None
        if isinstance(holder, DeclaredUser):
            _documents(holder)


def _once(what: str, values: Iterable[object]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise BadDeclaration(f"{what} {value} is there twice")


def _documents(user: DeclaredUser) -> dict[str, Mapping[str, Any]]:
    """A sub-user's policies by name. Raises BadDeclaration."""
    documents: dict[str, Mapping[str, Any]] = {}
    _once(f"user {user.uin}: policy", [*user.presets, *(policy.name for policy in user.policy)])
    for name in user.presets:
        if name not in cam.PRESETS:
            raise BadDeclaration(f"user {user.uin}: no preset {name}; there are {', '.join(cam.PRESETS)}")
        documents[name] = cam.PRESETS[name]
    for policy in user.policy:
        try:
            cam.read(policy.document)
        except cam.BadPolicy as error:
            raise BadDeclaration(f"user {user.uin}: policy {policy.name}: {error}") from None
        documents[policy.name] = json.loads(policy.document)
    return documents


async def take_over(db: Database, sealer: Sealer, clock: Clock, declared: Declared) -> None:
    """Make the tables say what the file says. Raises BadDeclaration, and then nothing is changed."""
    async with db.write() as conn:
        await conn.run_sync(_take_over, sealer, clock.now_ms(), declared)
        announce(conn, CHANGED)


def _take_over(conn: sa.Connection, sealer: Sealer, now_ms: int, declared: Declared) -> None:
    for holder, owner_uin in declared.holders():
        _account(conn, now_ms, holder, owner_uin)
        _keys(conn, sealer, now_ms, holder)
        if isinstance(holder, DeclaredUser):
            _policies(conn, now_ms, holder)
    for account in declared.account:
        for app in account.app:
            _app(conn, sealer, now_ms, account.uin, app)


def _account(
    conn: sa.Connection, now_ms: int, holder: DeclaredAccount | DeclaredUser, owner_uin: int | None
) -> None:
    there = conn.execute(sa.select(accounts).where(accounts.c.uin == holder.uin)).one_or_none()
    values = {
        "name": holder.name,
        "app_id": holder.app_id if isinstance(holder, DeclaredAccount) else 0,
        "disabled_ms": now_ms if holder.blocked else None,
    }
    if there is None:
        made = accounts.insert().values(uin=holder.uin, owner_uin=owner_uin, created_ms=now_ms, **values)
        conn.execute(made)
        return
    if there.owner_uin != owner_uin:
        is_there = "a root account" if there.owner_uin is None else f"a sub-user of {there.owner_uin}"
        raise BadDeclaration(f"uin {holder.uin} is there already, as {is_there}")
    if holder.blocked and there.disabled_ms is not None:
        values["disabled_ms"] = there.disabled_ms  # since when
    conn.execute(accounts.update().where(accounts.c.uin == holder.uin).values(**values))


def _keys(conn: sa.Connection, sealer: Sealer, now_ms: int, holder: DeclaredAccount | DeclaredUser) -> None:
    for key in holder.key:
        there = conn.execute(sa.select(api_keys).where(api_keys.c.secret_id == key.secret_id)).one_or_none()
        values: dict[str, Any] = {
            "name": key.name,
            "sdk_app_ids": key.apps or None,
            "address_rules": {"allow": key.allow, "deny": key.deny} if key.allow or key.deny else None,
            "disabled_ms": None,
        }
        context = f"secret_key/{key.secret_id}"
        if there is None:
            sealed = sealer.seal(key.secret_key, context)
            conn.execute(
                api_keys.insert().values(
                    secret_id=key.secret_id,
                    uin=holder.uin,
                    created_ms=now_ms,
                    secret_key_sealed=sealed,
                    **values,
                )
            )
            continue
        if there.uin != holder.uin or there.token_sealed is not None:
            raise BadDeclaration(f"key {key.secret_id} is there already, of another account or temporary")
        if sealer.open(there.secret_key_sealed, context).reveal() != key.secret_key:
            values["secret_key_sealed"] = sealer.seal(key.secret_key, context)
        conn.execute(api_keys.update().where(api_keys.c.secret_id == key.secret_id).values(**values))
    # Temporary keys end by themselves, and are made by no file.
    conn.execute(
        api_keys.update()
        .where(
            api_keys.c.uin == holder.uin,
            api_keys.c.secret_id.not_in([key.secret_id for key in holder.key]),
            api_keys.c.token_sealed.is_(None),
            api_keys.c.disabled_ms.is_(None),
        )
        .values(disabled_ms=now_ms)
    )


def _policies(conn: sa.Connection, now_ms: int, user: DeclaredUser) -> None:
    wanted = _documents(user)
    rows = conn.execute(sa.select(policies).where(policies.c.uin == user.uin)).all()
    there = {row.name: row.document for row in rows}
    for name in [name for name, document in there.items() if wanted.get(name) != document]:
        conn.execute(policies.delete().where(policies.c.uin == user.uin, policies.c.name == name))
    for name, document in wanted.items():
        if there.get(name) != document:
            made = policies.insert().values(uin=user.uin, name=name, document=document, created_ms=now_ms)
            conn.execute(made)


def _app(conn: sa.Connection, sealer: Sealer, now_ms: int, uin: int, app: DeclaredApp) -> None:
    number = app.sdk_app_id
    of_this = applications.c.sdk_app_id == number
    owner = conn.scalar(sa.select(applications.c.uin).where(of_this))
    if owner is None:
        made = applications.insert().values(sdk_app_id=number, uin=uin, created_ms=now_ms)
        conn.execute(made.values(name=app.name, updated_ms=now_ms))
    elif owner != uin:
        raise BadDeclaration(f"application {number} is there already, of account {owner}")
    else:
        conn.execute(applications.update().where(of_this).values(name=app.name, updated_ms=now_ms))
    active = sa.and_(app_keys.c.sdk_app_id == number, app_keys.c.retired_ms.is_(None))
    query = sa.select(app_keys.c.key_sealed).where(active).order_by(app_keys.c.id.desc())
    context = f"app_key/{number}"
    if [sealer.open(sealed, context).reveal() for sealed in conn.scalars(query)] == app.keys:
        return
    conn.execute(app_keys.update().where(active).values(retired_ms=now_ms))
    for key in reversed(app.keys):  # the newest is the one that is issued with
        sealed = sealer.seal(key, context)
        conn.execute(app_keys.insert().values(sdk_app_id=number, key_sealed=sealed, created_ms=now_ms))
