"""The admin interface: JSON under /admin/api for the command line, over the same services as the API.

Every request carries the token of `run/admin.token`: who can read the data directory may administer.
A browser page of somebody else cannot have it, so a listener on loopback is safe from it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roomtape.access import service
from roomtape.access.service import FIRST_UIN, Access, AddressRules, ApiKey, App
from roomtape.access.tickets import Right
from roomtape.callbacks.service import CallbackService
from roomtape.console import reading
from roomtape.errors import DomainError
from roomtape.library.service import Library
from roomtape.state.database import Database
from roomtape.state.sealing import SealError
from roomtape.tasks.workers import Workers

PREFIX = "/admin/api"


class AutoRecording(Protocol):
    """Checks and sets how every new room of an application is recorded."""

    async def __call__(self, sdk_app_id: int, members: dict[str, Any] | None) -> None:
        """None: no longer. Raises ValueError or DomainError saying what is wrong."""
        ...


@dataclass(slots=True)
class Administration:
    """What the admin interface works with, wired by the composition root."""

    db: Database
    access: Access
    callbacks: CallbackService
    workers: Workers
    run_path: Path
    rotate_master_key: Callable[[], Awaitable[int]] | None = None
    hint: Callable[[str], str] = lambda _: ""  # why a recording may wait for ever, by task ID
    auto_record: AutoRecording | None = None
    library: Library | None = None


class Refused(Exception):
    """The request cannot be carried out; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class NewApp(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str = ""
    sdk_app_id: int | None = None
    key: str | None = None
    uin: int | None = None


class AppChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Members left out stay as they are; an empty URL or key removes it."""

    callback_key: str | None = None
    urls: dict[str, str] = {}
    permission_control: bool | None = None
    recording: bool | None = None
    disabled: bool | None = None
    auto_record: dict[str, Any] | bool | None = None  # RecordParams and StorageParams; false: no longer


class NewKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str = ""
    uin: int | None = None
    sdk_app_ids: list[int] | None = None
    allow: list[str] = []  # networks; none: every address
    deny: list[str] = []
    lifetime_s: Annotated[int, msgspec.Meta(ge=1)] | None = None  # of a temporary key, which has a token


class ImportedKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key that was made elsewhere, so that callers need no new one."""

    secret_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_-]{4,64}$")]
    secret_key: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}$")]
    name: str = ""
    uin: int | None = None
    sdk_app_ids: list[int] | None = None


class NewAppKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(min_length=1)] | None = None  # None: a new one


class KeyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays as it is; `allow` and `deny` are given together."""

    disabled: bool | None = None
    allow: list[str] | None = None
    deny: list[str] | None = None


class NewUser(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A root account, or a sub-user: without an owner, of the first account."""

    name: str = ""
    root: bool = False
    uin: int | None = None
    owner_uin: int | None = None


class AccountChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    blocked: bool


class NewPolicy(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Without a document, the preset of that name."""

    name: str
    document: dict[str, Any] | None = None


class PolicyName(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str


class Attempt(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A call as it might come: would it be allowed?"""

    action: str
    sdk_app_id: int | None = None
    address: str = ""


class NewTicket(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    sdk_app_id: int
    user: str
    expire_s: int = 86_400
    room: str | None = None
    room_type: str = "s"
    rights: int = 255


class Replay(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: int | None = None
    dead_of: int | None = None


class NewLink(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    valid_s: float | None = None


class Test(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    sdk_app_id: int
    kind: str = "room"


Handler = Callable[[Administration, Request], Awaitable[Any]]


def routes(administration: Administration) -> list[Route]:
    """The interface's routes, for the composition root to mount."""

    def route(path: str, method: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _answer(administration, handler, request)

        return Route(PREFIX + path, endpoint, methods=[method])

    return [
        route("/apps", "GET", list_apps),
        route("/apps", "POST", create_app),
        route("/apps/{sdk_app_id:int}", "GET", show_app),
        route("/apps/{sdk_app_id:int}", "PATCH", change_app),
        route("/apps/{sdk_app_id:int}/keys", "POST", add_app_key),
        route("/apps/{sdk_app_id:int}/keys/retire", "POST", retire_app_keys),
        route("/keys", "GET", list_keys),
        route("/keys", "POST", create_key),
        route("/keys/import", "POST", import_key),
        route("/keys/{secret_id}", "PATCH", change_key),
        route("/keys/{secret_id}/rotate", "POST", rotate_key),
        route("/master-key", "POST", rotate_master_key),
        route("/accounts", "GET", list_accounts),
        route("/accounts", "POST", create_user),
        route("/accounts/{uin:int}", "PATCH", change_account),
        route("/accounts/{uin:int}/policies", "GET", list_policies),
        route("/accounts/{uin:int}/policies", "POST", attach_policy),
        route("/accounts/{uin:int}/policies/detach", "POST", detach_policy),
        route("/accounts/{uin:int}/policies/test", "POST", try_policies),
        route("/usersig", "POST", issue_ticket),
        route("/rooms", "GET", list_rooms),
        route("/rooms/{sdk_app_id:int}/{room_type}/{room_id}", "GET", show_room),
        route("/recordings", "GET", list_recordings),
        route("/recordings/{task_id}", "GET", show_recording),
        route("/callbacks", "GET", list_callbacks),
        route("/callbacks/{delivery:int}", "GET", list_attempts),
        route("/callbacks/replay", "POST", replay_callback),
        route("/callbacks/test", "POST", test_callback),
        route("/library", "GET", list_library),
        route("/library/{file_id}/link", "POST", link_file),
        route("/library/{file_id}/remove", "POST", remove_file),
        route("/workers", "GET", list_workers),
    ]


async def _answer(administration: Administration, handler: Handler, request: Request) -> Response:
    try:
        _admit(administration, request)
        return _json(await handler(administration, request))
    except Refused as refused:
        return _json({"error": str(refused)}, refused.status)
    except msgspec.ValidationError as error:
        return _json({"error": str(error)}, 400)
    except msgspec.DecodeError:
        return _json({"error": "the body is not JSON"}, 400)
    except (DomainError, ValueError) as error:
        return _json({"error": str(error)}, 409)


def _admit(administration: Administration, request: Request) -> None:
    token = (administration.run_path / "admin.token").read_text().strip()
    given = request.headers.get("authorization", "")
    if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Refused("the admin token is missing or wrong; it is in run/admin.token", 401)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


# --- applications and keys ------------------------------------------------------------------------


async def list_apps(admin: Administration, request: Request) -> Any:
    return [_app(app) for app in await admin.access.apps()]


async def create_app(admin: Administration, request: Request) -> Any:
    wanted = msgspec.json.decode(await request.body(), type=NewApp)
    app, key = await admin.access.create_app(
        wanted.name,
        uin=wanted.uin or await _first_account(admin),
        sdk_app_id=wanted.sdk_app_id,
        key=wanted.key,
    )
    return {**_app(app), "app_secret_key": key.reveal()}


async def show_app(admin: Administration, request: Request) -> Any:
    sdk_app_id = request.path_params["sdk_app_id"]
    app = await admin.access.app(sdk_app_id)
    if app is None:
        raise Refused(f"there is no application {sdk_app_id}", 404)
    return _app(app)


async def change_app(admin: Administration, request: Request) -> Any:
    sdk_app_id = request.path_params["sdk_app_id"]
    change = msgspec.json.decode(await request.body(), type=AppChange)
    access = admin.access
    for kind, url in change.urls.items():
        if url and not url.startswith(("http://", "https://")):
            raise Refused(f"{kind}-url: {url!r} must begin with http:// or https://")
    if change.callback_key and not (change.callback_key.isascii() and change.callback_key.isalnum()):
        raise Refused("the callback key takes letters and digits only")
    if change.callback_key and len(change.callback_key) > 32:
        raise Refused("the callback key takes at most 32 characters")
    if change.urls or change.callback_key is not None:
        await access.set_callbacks(sdk_app_id, change.urls, change.callback_key)
    if change.permission_control is not None:
        await access.set_permission_control(sdk_app_id, change.permission_control)
    if change.recording is not None:
        await access.set_recording(sdk_app_id, change.recording)
    if change.auto_record is not None:
        await _set_auto_record(admin, sdk_app_id, change.auto_record)
    if change.disabled is not None:
        await access.disable_app(sdk_app_id, change.disabled)
    return await show_app(admin, request)


async def _set_auto_record(admin: Administration, sdk_app_id: int, wanted: dict[str, Any] | bool) -> None:
    if wanted is True:
        raise Refused("auto_record takes RecordParams and StorageParams, or false")
    if admin.auto_record is None:
        raise Refused("this server has no recordings", 503)
    await admin.auto_record(sdk_app_id, wanted or None)


async def add_app_key(admin: Administration, request: Request) -> Any:
    sdk_app_id = request.path_params["sdk_app_id"]
    wanted = msgspec.json.decode(await request.body(), type=NewAppKey)
    key = await admin.access.add_app_key(sdk_app_id, wanted.key)
    return {"sdk_app_id": sdk_app_id, "app_secret_key": key.reveal()}


async def retire_app_keys(admin: Administration, request: Request) -> Any:
    sdk_app_id = request.path_params["sdk_app_id"]
    return {"sdk_app_id": sdk_app_id, "retired": await admin.access.retire_old_app_keys(sdk_app_id)}


async def list_keys(admin: Administration, request: Request) -> Any:
    return [_key(key) for key in await admin.access.keys()]


async def create_key(admin: Administration, request: Request) -> Any:
    wanted = msgspec.json.decode(await request.body(), type=NewKey)
    uin = wanted.uin or await _first_account(admin)
    rules = _address_rules(wanted.allow, wanted.deny)
    key = await admin.access.create_key(
        uin,
        wanted.name,
        sdk_app_ids=wanted.sdk_app_ids,
        addresses=rules if rules.allow or rules.deny else None,
        lifetime_s=wanted.lifetime_s,
    )
    return _made(key, uin, wanted.name)


async def import_key(admin: Administration, request: Request) -> Any:
    wanted = msgspec.json.decode(await request.body(), type=ImportedKey)
    uin = wanted.uin or await _first_account(admin)
    await admin.access.create_key(
        uin,
        wanted.name,
        sdk_app_ids=wanted.sdk_app_ids,
        secret_id=wanted.secret_id,
        secret_key=wanted.secret_key,
    )
    return {"secret_id": wanted.secret_id, "uin": uin, "name": wanted.name}


async def rotate_key(admin: Administration, request: Request) -> Any:
    former = request.path_params["secret_id"]
    key = await admin.access.rotate_key(former)
    made = await admin.access.key(key.secret_id)
    assert made is not None  # just committed
    return {**_made(key, made.account.uin, made.name), "former": former}


def _made(key: service.NewKey, uin: int, name: str) -> dict[str, Any]:
    made = {"secret_id": key.secret_id, "secret_key": key.secret_key.reveal(), "uin": uin, "name": name}
    return made if key.token is None else {**made, "token": key.token.reveal()}


async def change_key(admin: Administration, request: Request) -> Any:
    secret_id = request.path_params["secret_id"]
    change = msgspec.json.decode(await request.body(), type=KeyChange)
    if change.allow is not None or change.deny is not None:
        rules = _address_rules(change.allow or [], change.deny or [])
        await admin.access.set_addresses(secret_id, rules)
    if change.disabled is not None:
        await admin.access.disable_key(secret_id, change.disabled)
    key = next((key for key in await admin.access.keys() if key.secret_id == secret_id), None)
    if key is None:
        raise Refused(f"There is no key {secret_id}.", 404)
    return _key(key)


def _address_rules(allow: list[str], deny: list[str]) -> AddressRules:
    """Raises Refused for what is no address or network."""
    for text in (*allow, *deny):
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise Refused(f"{text} is no address or network; write for example 10.0.0.0/8") from None
    return AddressRules(tuple(allow), tuple(deny))


async def rotate_master_key(admin: Administration, request: Request) -> Any:
    if admin.rotate_master_key is None:
        raise Refused("this server keeps no master key", 503)
    try:
        return {"sealed_anew": await admin.rotate_master_key()}
    except SealError as error:
        raise Refused(str(error)) from None


async def list_accounts(admin: Administration, request: Request) -> Any:
    return [
        {
            "uin": account.uin,
            "owner_uin": account.owner_uin,
            "name": account.name,
            "blocked": account.blocked,
            "policies": list(await admin.access.attached_policies(account.uin)),
        }
        for account in await admin.access.accounts()
    ]


async def create_user(admin: Administration, request: Request) -> Any:
    wanted = msgspec.json.decode(await request.body(), type=NewUser)
    first = await _first_account(admin)  # made before any other, so that it stays the first
    owner_uin = None if wanted.root else wanted.owner_uin or first
    user = await admin.access.create_account(wanted.name, uin=wanted.uin, owner_uin=owner_uin)
    return {"uin": user.uin, "owner_uin": owner_uin, "name": user.name}


async def change_account(admin: Administration, request: Request) -> Any:
    uin = request.path_params["uin"]
    change = msgspec.json.decode(await request.body(), type=AccountChange)
    await admin.access.block_account(uin, change.blocked)
    return {"uin": uin, "blocked": change.blocked}


async def list_policies(admin: Administration, request: Request) -> Any:
    attached = await admin.access.attached_policies(request.path_params["uin"])
    return [{"name": name, "document": document} for name, document in attached.items()]


async def attach_policy(admin: Administration, request: Request) -> Any:
    uin = request.path_params["uin"]
    wanted = msgspec.json.decode(await request.body(), type=NewPolicy)
    await admin.access.attach_policy(uin, wanted.name, wanted.document)
    return {"uin": uin, "policies": list(await admin.access.attached_policies(uin))}


async def detach_policy(admin: Administration, request: Request) -> Any:
    uin = request.path_params["uin"]
    wanted = msgspec.json.decode(await request.body(), type=PolicyName)
    await admin.access.detach_policy(uin, wanted.name)
    return {"uin": uin, "policies": list(await admin.access.attached_policies(uin))}


async def try_policies(admin: Administration, request: Request) -> Any:
    """Whether the account's policies would let a call pass; the owner of the application is not asked."""
    uin = request.path_params["uin"]
    attempt = msgspec.json.decode(await request.body(), type=Attempt)
    decision = await admin.access.would_allow(uin, attempt.action, attempt.sdk_app_id, attempt.address)
    return {
        "uin": uin,
        "action": attempt.action,
        "sdk_app_id": attempt.sdk_app_id,
        "decision": decision.value,
    }


async def issue_ticket(admin: Administration, request: Request) -> Any:
    """A UserSig, and with a room also a PrivateMapKey for it."""
    wanted = msgspec.json.decode(await request.body(), type=NewTicket)
    sig = await admin.access.issue_user_sig(wanted.sdk_app_id, wanted.user, wanted.expire_s)
    answer = {"sdk_app_id": wanted.sdk_app_id, "user": wanted.user, "user_sig": sig.reveal()}
    if wanted.room is not None:
        if wanted.room_type not in ("s", "i"):
            raise Refused("room_type is s (string) or i (integer)")
        ticket = await admin.access.issue_ticket(
            wanted.sdk_app_id,
            wanted.user,
            "s" if wanted.room_type == "s" else "i",
            wanted.room,
            wanted.expire_s,
            Right(wanted.rights),
        )
        answer["private_map_key"] = ticket.reveal()
    return answer


async def _first_account(admin: Administration) -> int:
    """The account new things belong to when none is named: the first one, made if there is none."""
    there = [account.uin for account in await admin.access.accounts() if account.owner_uin is None]
    return there[0] if there else (await admin.access.create_account("operator", uin=FIRST_UIN)).uin


def _app(app: App) -> dict[str, Any]:
    return {
        "sdk_app_id": app.sdk_app_id,
        "uin": app.uin,
        "name": app.name,
        "permission_control": app.permission_control,
        "recording": app.recording_enabled,
        "disabled": app.blocked,
        "callback_urls": dict(app.callback_urls),
        "callback_key_set": app.callback_key is not None,
        "auto_record": None if app.auto_record is None else dict(app.auto_record.spec),
        "auto_record_since_ms": None if app.auto_record is None else app.auto_record.since_ms,
    }


def _key(key: ApiKey) -> dict[str, Any]:
    return {
        "secret_id": key.secret_id,
        "uin": key.account.uin,
        "name": key.name,
        "sdk_app_ids": sorted(key.sdk_app_ids) if key.sdk_app_ids is not None else None,
        "disabled": key.disabled,
        "created_ms": key.created_ms,
        "allow": list(key.addresses.allow),
        "deny": list(key.addresses.deny),
        "expires_ms": key.expires_ms,
    }


# --- what goes on ---------------------------------------------------------------------------------


def _number(request: Request, name: str) -> int | None:
    raw = request.query_params.get(name)
    if raw is None:
        return None
    if not raw.isdigit():
        raise Refused(f"{name}: {raw!r} is not a number")
    return int(raw)


async def list_rooms(admin: Administration, request: Request) -> Any:
    closed = request.query_params.get("closed") == "true"
    return await reading.rooms(admin.db, _number(request, "sdk_app_id"), closed=closed)


async def show_room(admin: Administration, request: Request) -> Any:
    path = request.path_params
    found = await reading.room(admin.db, path["sdk_app_id"], path["room_type"], path["room_id"])
    if found is None:
        raise Refused(f"there was no room {path['room_id']} in application {path['sdk_app_id']}", 404)
    return found


async def list_recordings(admin: Administration, request: Request) -> Any:
    return await reading.recordings(
        admin.db, _number(request, "sdk_app_id"), request.query_params.get("status")
    )


async def show_recording(admin: Administration, request: Request) -> Any:
    task_id = request.path_params["task_id"]
    found = await reading.recording(admin.db, task_id)
    if found is None:
        raise Refused(f"there is no recording {task_id}", 404)
    return {**found, "hint": admin.hint(task_id)}


async def list_callbacks(admin: Administration, request: Request) -> Any:
    query = request.query_params
    return await admin.callbacks.list(
        _number(request, "sdk_app_id"), state=query.get("state"), task_id=query.get("task_id")
    )


async def list_attempts(admin: Administration, request: Request) -> Any:
    return await admin.callbacks.attempts(request.path_params["delivery"])


async def replay_callback(admin: Administration, request: Request) -> Any:
    """One delivery again, or all dead letters of an application."""
    wanted = msgspec.json.decode(await request.body(), type=Replay)
    if wanted.id is not None:
        return {"id": await admin.callbacks.replay(wanted.id)}
    if wanted.dead_of is not None:
        return {"replayed": await admin.callbacks.replay_dead(wanted.dead_of)}
    raise Refused("name a delivery, or an application whose dead letters are sent again")


async def test_callback(admin: Administration, request: Request) -> Any:
    wanted = msgspec.json.decode(await request.body(), type=Test)
    return await admin.callbacks.test(wanted.sdk_app_id, wanted.kind)


async def list_library(admin: Administration, request: Request) -> Any:
    return await _library(admin).files(
        _number(request, "sdk_app_id"), request.query_params.get("task_id") or None
    )


async def link_file(admin: Administration, request: Request) -> Any:
    """A fresh link to a file, valid as long as asked for (default: as the links of callbacks)."""
    wanted = msgspec.json.decode(await request.body(), type=NewLink)
    made = await _library(admin).link(request.path_params["file_id"], wanted.valid_s)
    return {"file_id": made.file_id, "url": made.url}


async def remove_file(admin: Administration, request: Request) -> Any:
    file_id = request.path_params["file_id"]
    await _library(admin).remove(file_id)
    return {"file_id": file_id, "state": "removed"}


def _library(admin: Administration) -> Library:
    if admin.library is None:
        raise Refused("this server has no media library", 503)
    return admin.library


async def list_workers(admin: Administration, request: Request) -> Any:
    return [
        {
            "index": worker.index,
            "pid": worker.pid,
            "tasks": len(worker.tasks),
            "rss_bytes": worker.beat.rss_bytes,
        }
        for worker in admin.workers.live
    ]
