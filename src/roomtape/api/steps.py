"""The checks of a request, one function each, in the order `gateway.STEPS` gives them.

A step reads what the steps before it have set on the `Call`, sets its own part, and raises ApiError to
end the request. Source: API docs > Making API Request; where those are silent, ADR 0025.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from roomtape.access import policies
from roomtape.access.errors import AccountBlocked, UnknownApp
from roomtape.access.policies import Decision
from roomtape.access.service import ApiKey, App
from roomtape.api import messages, signing
from roomtape.api.call import Call
from roomtape.api.decode import Rules, decode, decode_plain, plant
from roomtape.api.dispatch import ACTIONS, PLANNED, RETIRED, Action, Planned
from roomtape.api.errors import (
    ApiError,
    ForeignApp,
    OutOfRange,
    malformed_code,
    missing_code,
    of_error,
    range_code,
    unreadable_code,
)
from roomtape.api.forms import (
    COMMON_NAMES,
    FORM,
    JSON,
    MULTIPART,
    TOO_MANY,
    TooManyValues,
    media_type,
    not_utf8,
    parse_form,
    parse_json,
    parse_multipart,
)
from roomtape.api.limits import Buckets
from roomtape.api.messages import Text
from roomtape.api.replay import replay_key
from roomtape.api.services import Services
from roomtape.clock import within
from roomtape.config import Config
from roomtape.contract.regions import REGIONS
from roomtape.contract.shapes import Request
from roomtape.errors import DomainError, NotBuilt
from roomtape.secret import Secret
from roomtape.serving import counted_as
from roomtape.state import replay
from roomtape.state.replay import Replay, Twins

VERSION = "2019-07-22"
SERVICE = "trtc"
WINDOW_S = 300
KIB = 1024
QUERY_LIMIT = 32 * KIB
FORM_LIMIT = 1024 * KIB
BODY_LIMIT = 10 * 1024 * KIB
FAILURES_PER_S = 100  # failed signatures of one address before its failures are slowed
REFUSALS_LOGGED_PER_S = 5  # lines about requests that were refused unread; of the rest only the number

_SECRET_ID = re.compile(r"[0-9A-Za-z_-]{4,64}")
_SIGNED_INTEGER = re.compile(r"-[0-9]{1,19}")
_NOBODYS_KEY = Secret("0" * 32)  # as long as a key; signs nothing that is ever accepted

log = structlog.get_logger("roomtape.api")


@dataclass(slots=True)
class Chain:
    """What the steps share: services, settings and the buckets."""

    services: Services
    config: Config
    buckets: Buckets = field(init=False)
    hosts: signing.HostTexts = field(init=False)
    twins: Twins = field(default_factory=Twins)
    working: set[asyncio.Task[None]] = field(default_factory=set)  # mutating actions under way

    def __post_init__(self) -> None:
        self.buckets = Buckets(self.services.clock)
        self.hosts = signing.HostTexts(self.config.api.signing_host_aliases)

    def now_s(self) -> int:
        return self.services.clock.now_ms() // 1000


def body_limit(method: str, content_type: str) -> int:
    """How many bytes of body a request may have."""
    if method != "POST":
        return QUERY_LIMIT
    return FORM_LIMIT if media_type(content_type) == FORM else BODY_LIMIT


def method(chain: Chain, call: Call) -> None:
    """1: GET or POST."""
    if call.method not in ("GET", "POST"):
        raise ApiError("UnsupportedProtocol", Text("The method must be GET or POST.", "仅支持 GET 和 POST。"))


def size(chain: Chain, call: Call) -> None:
    """2: the body (read up to its limit before the chain) and the request target."""
    target = len(call.path) + 1 + len(call.query)
    if call.too_large or (call.method == "GET" and target > QUERY_LIMIT):
        raise ApiError(
            "RequestSizeLimitExceeded",
            Text(
                "The request is too large: a GET may have 32 KB, a form 1 MB, other bodies 10 MB.",
                "请求包过大：GET 32 KB，表单 1 MB，其他 10 MB。",
            ),
        )


def address_throttle(chain: Chain, call: Call) -> None:
    """3: calls per second of one address, whoever it is."""
    if not chain.buckets.take(("address", counted_as(call.address)), chain.config.limits.per_address):
        raise _too_many("RequestLimitExceeded.IPLimitExceeded")


def credentials(chain: Chain, call: Call) -> None:
    """4: find out how the request is signed, and take its common parameters from there."""
    header = call.headers.get("authorization")
    call.content = media_type(call.headers.get("content-type", ""))
    if call.method == "GET" or call.content == FORM:
        call.pairs = parse_form(call.query if call.method == "GET" else call.body)
        call.form = dict(call.pairs)
    if header is not None:
        _take_headers(call)
    elif call.form.get("Signature"):
        _take_parameters(call)
    else:
        raise _missing("Authorization")
    if not (call.action_name and call.version and call.timestamp_text):
        raise _first_missing(call, "X-TC-" if header is not None else "")
    if header is not None:
        try:
            call.authorization = signing.parse_authorization(header)
        except signing.BadAuthorization as error:
            raise ApiError(
                "AuthFailure.InvalidAuthorization",
                Text(f"The Authorization header is not valid: {error}.", "Authorization 头格式错误。"),
            ) from None
        call.secret_id, call.signature = call.authorization.secret_id, call.authorization.signature


def _first_missing(call: Call, prefix: str) -> ApiError:
    given = (("Action", call.action_name), ("Version", call.version), ("Timestamp", call.timestamp_text))
    return _missing(prefix + next(name for name, value in given if not value))


def _take_headers(call: Call) -> None:
    find = call.headers.get
    call.action_name = find("x-tc-action", "")
    call.version = find("x-tc-version", "")
    call.timestamp_text = find("x-tc-timestamp", "")
    call.region = find("x-tc-region", "")
    call.token = find("x-tc-token", "")
    call.client = find("x-tc-requestclient", "")
    if find("x-tc-language") == "zh-CN":
        call.language = "zh-CN"


def _take_parameters(call: Call) -> None:
    form = call.form
    call.action_name = form.get("Action", "")
    call.version = form.get("Version", "")
    call.timestamp_text = form.get("Timestamp", "")
    call.region = form.get("Region", "")
    call.token = form.get("Token", "")
    call.client = form.get("RequestClient", "")
    call.language = "zh-CN" if form.get("Language") == "zh-CN" else "en-US"
    call.secret_id, call.signature = form.get("SecretId", ""), form["Signature"]
    for name in ("SecretId", "Nonce"):
        if not form.get(name):
            raise _missing(name)
    if not re.fullmatch(r"[0-9]{1,20}", form["Nonce"]):
        raise ApiError("InvalidParameter", messages.wrong_type("Nonce", "uint64"))


def version_and_action(chain: Chain, call: Call) -> None:
    """5: the version, then the action's name."""
    if call.version != VERSION:
        raise ApiError(
            "NoSuchVersion", Text(f"The version must be {VERSION}.", f"接口版本必须是 {VERSION}。")
        )
    if call.action_name in RETIRED:
        raise ApiError(
            "ActionOffline",
            Text("This action was withdrawn; its successor has another name.", "该接口已下线。"),
        )
    action = ACTIONS.get(call.action_name) or PLANNED.get(call.action_name)
    if action is None:
        raise ApiError("InvalidAction", Text("There is no such action.", "接口不存在。"))
    call.action = action


def time_window(chain: Chain, call: Call) -> None:
    """6: the request's time may be 300 s away, either way."""
    text = call.timestamp_text
    if not (text.isascii() and text.isdigit() and len(text) < 20) and not _SIGNED_INTEGER.fullmatch(text):
        raise ApiError("InvalidParameter", messages.wrong_type("Timestamp", "int64"))
    call.timestamp_s = int(text)
    if not -WINDOW_S <= chain.now_s() - call.timestamp_s <= WINDOW_S:
        raise ApiError(
            "AuthFailure.SignatureExpire",
            Text(
                f"The timestamp is more than {WINDOW_S} s away from this server's time.",
                f"请求时间与服务器时间相差超过 {WINDOW_S} 秒。",
            ),
        )


def secret_id(chain: Chain, call: Call) -> Awaitable[None] | None:
    """7: the form of the SecretId, and that such a key is active."""
    held = chain.services.access.held_key(call.secret_id)
    if held is None:
        return _load_key(chain, call)
    _take_key(chain, call, held[1])
    return None


async def _load_key(chain: Chain, call: Call) -> None:
    trimmed = call.secret_id.strip()
    if not _SECRET_ID.fullmatch(trimmed):
        raise ApiError(
            "AuthFailure.InvalidSecretId", Text("The SecretId is not an API key id.", "SecretId 格式错误。")
        )
    _take_key(chain, call, await chain.services.access.key(trimmed) if trimmed == call.secret_id else None)


def _take_key(chain: Chain, call: Call, key: ApiKey | None) -> None:
    if key is None or key.disabled:
        # As much work as for a key that exists: how long it takes does not tell whether one does.
        _signature_fits(chain, call, _NOBODYS_KEY if key is None else key.secret_key)
        raise ApiError(
            "AuthFailure.SecretIdNotFound",
            Text("There is no active key with this SecretId.", "SecretId 不存在或已禁用。"),
        )
    call.key = key


def signature(chain: Chain, call: Call) -> None:
    """8: the scope, and the signature itself."""
    if chain.config.api.strict_service and call.authorization and call.authorization.service != SERVICE:
        raise ApiError(
            "NoSuchProduct",
            Text(f"The service in the credential must be {SERVICE}.", f"产品名必须是 {SERVICE}。"),
        )
    if not _signature_fits(chain, call, call.key.secret_key):
        raise ApiError(
            "AuthFailure.SignatureFailure",
            Text("The signature does not fit the request.", "签名验证失败。"),
        )


def _signature_fits(chain: Chain, call: Call, key: Secret) -> bool:
    api = chain.config.api
    secret = key.reveal()
    if chain.hosts.aliases is not api.signing_host_aliases:  # the configuration was reloaded
        chain.hosts = signing.HostTexts(api.signing_host_aliases)
    forwarded = call.headers.get("x-forwarded-host") if call.trusted else None
    hosts = chain.hosts.of(call.headers.get("host", ""), forwarded)
    if call.authorization is None:
        return signing.verify_v1(call.method, call.path, call.form, secret, hosts)
    unsigned = call.headers.get("x-tc-content-sha256") == signing.UNSIGNED_PAYLOAD
    if unsigned and not api.allow_unsigned_payload:
        return False
    try:
        if call.authorization.date != signing.utc_date(call.timestamp_s):
            return False
        request = signing.Tc3Request(
            call.method, call.path, call.query, call.headers, call.body, call.timestamp_text
        )
        return signing.verify_tc3(request, call.authorization, secret, hosts)
    except (ValueError, signing.SignedHeaderAbsent):
        return False


def token(chain: Chain, call: Call) -> None:
    """9: temporary keys come with their token, permanent ones without."""
    key = call.key
    if key.token is None:
        fits = call.token == ""
    else:
        unexpired = key.expires_ms is None or chain.services.clock.now_ms() < key.expires_ms
        fits = Secret(call.token) == key.token and unexpired
    if not fits:
        raise ApiError(
            "AuthFailure.TokenFailure",
            Text("The token is missing, wrong or expired.", "临时凭证 Token 缺失、错误或已过期。"),
        )


def address_policy(chain: Chain, call: Call) -> None:
    """10: the networks the key may be used from."""
    rules = call.key.addresses
    if rules.deny and rules.denies(call.address):
        raise ApiError("IpInBlacklist", Text("The caller's address is blocked.", "IP 在黑名单中。"))
    if rules.allow and not rules.allows(call.address):
        raise ApiError("IpNotInWhitelist", Text("The caller's address is not allowed.", "IP 不在白名单中。"))


def region(chain: Chain, call: Call) -> None:
    """11: the action's published regions; actions without a list ignore what is sent."""
    accepted = REGIONS.get(call.action_name)
    if accepted is None:
        return
    if not call.region:
        raise _missing("Region" if call.authorization is None else "X-TC-Region")
    api = chain.config.api
    if api.region_mode == "any" or call.region in accepted or call.region in api.extra_regions:
        return
    raise ApiError("UnsupportedRegion", messages.one_of("Region", ", ".join(accepted)))


def policy(chain: Chain, call: Call) -> Awaitable[None] | None:
    """12: what the account's policies say of the action whatever the application.

    Statements that name applications are judged at 15, when the application is known.
    """
    account = call.key.account
    if account.blocked:
        raise _answer(call, AccountBlocked("The account is blocked."))
    if account.owner_uin is None:
        return None  # a root account may do everything with what is its own
    return _policy_of_sub_user(chain, call)


async def _policy_of_sub_user(chain: Chain, call: Call) -> None:
    account = call.key.account
    attached = await chain.services.access.policies(account.uin)
    if policies.decide_early(attached, _caller(chain, call), call.action_name) is Decision.DENY:
        raise _denied(chain, call, None)


def _caller(chain: Chain, call: Call) -> policies.Caller:
    account = call.key.account
    return policies.Caller(
        uin=account.uin,
        owner_uin=account.root_uin,
        app_id=account.app_id,
        address=call.address,
        now_s=chain.services.clock.now_ms() / 1000,
        region=call.region,
    )


def _denied(chain: Chain, call: Call, sdk_app_id: int | None) -> ApiError:
    told = policies.denial(call.action_name, _caller(chain, call), sdk_app_id)
    return ApiError("AuthFailure.UnauthorizedOperation", Text(told, told))


def throttle(chain: Chain, call: Call) -> None:
    """13: calls per second of the account and action, then of the account.

    In this order, so that a burst of one action, refused by its own bucket, leaves the account's alone.
    """
    limits = chain.config.limits
    root = call.key.account.root_uin
    take = chain.buckets.take
    rate: float = limits.per_action.get(call.action_name, call.action.rate)
    if not take(("action", root, call.action_name), rate):
        raise _too_many("RequestLimitExceeded")
    if not take(("account", root), limits.per_account):
        raise _too_many("RequestLimitExceeded.UinLimitExceeded")


def parameters(chain: Chain, call: Call) -> None:
    """14: the body, its names, types and required members, then ranges and cross-member rules."""
    action = call.action
    if action.request is None:
        _raw_parameters(call)
        return
    if call.content == JSON and call.method == "POST":
        call.request = decode_plain(call.body, action.request)
    if call.request is None:
        call.request = _decode(chain, call, action.name, action.request)
    try:
        if action.check is not None:
            action.check(call.request)
        if action.dated is not None:
            action.dated(call.request, chain.now_s())
    except OutOfRange as error:
        raise ApiError(range_code(action.name), error.text) from None


def _decode(chain: Chain, call: Call, name: str, shape: type[Request]) -> Request:
    raw = _published_names(name, _raw_parameters(call))
    rules = Rules(
        missing=lambda field: missing_code(name, field, _given(raw)),
        malformed=lambda field: malformed_code(name, field),
        reject_unknown=chain.config.api.reject_unknown,
    )
    return decode(raw, shape, rules)


def _published_names(action: str, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """DescribeTrtcRoomUsage alone writes SdkAppid: the name of all others is taken there, too."""
    if action != "DescribeTrtcRoomUsage" or "SdkAppId" not in raw or "SdkAppid" in raw:
        return raw
    return {"SdkAppid" if name == "SdkAppId" else name: value for name, value in raw.items()}


def _given(raw: Mapping[str, Any]) -> set[str]:
    """The names that have a value; an application number of 0 is none."""
    return {name for name, value in raw.items() if value not in (None, "", [], 0, "0")}


def _raw_parameters(call: Call) -> Mapping[str, Any]:
    """The action's own parameters, still untyped; of equal names the last (ADR 0080). Raises ApiError."""
    content = call.content
    if call.method == "GET" or content == FORM:
        pairs = [(name, value) for name, value in call.pairs if name not in COMMON_NAMES]
        try:
            return plant(pairs)
        except ApiError as error:
            if call.method == "GET":
                raise ApiError(unreadable_code(call.action_name, query=True), error.text) from None
            raise
    if content == MULTIPART:
        raw = parse_multipart(call.headers["content-type"], call.body)
    elif content == JSON:
        raw = _json(call)
    else:
        raise ApiError(
            unreadable_code(call.action_name),
            messages.one_of("Content-Type", f"{JSON}, {FORM}, {MULTIPART}"),
        )
    for name in COMMON_NAMES & raw.keys():
        del raw[name]
    return raw


def _json(call: Call) -> dict[str, Any]:
    if not call.body.strip():
        return {}
    unreadable = ApiError(
        unreadable_code(call.action_name),
        Text("The body must be a JSON object.", "请求体必须是 JSON 对象。"),
    )
    try:
        raw = parse_json(call.body)
    except TooManyValues:
        raise ApiError(unreadable_code(call.action_name), TOO_MANY) from None
    except UnicodeDecodeError:
        raise not_utf8() from None
    except (msgspec.DecodeError, RecursionError):
        raise unreadable from None
    if not isinstance(raw, dict):
        raise unreadable
    return raw


def ownership(chain: Chain, call: Call) -> Awaitable[None] | None:
    """15: policies that name applications, then: the application exists and is the caller's."""
    request = call.request
    sdk_app_id = getattr(request, "sdk_app_id", None) or getattr(request, "sdk_appid", None)
    if call.key.account.owner_uin is not None:
        return _ownership_of_sub_user(chain, call, sdk_app_id)
    if sdk_app_id is None:
        return None  # an action about the whole account
    held = chain.services.access.held_app(sdk_app_id)
    if held is None:
        return _load_app(chain, call, sdk_app_id)
    _take_app(call, sdk_app_id, held[1])
    return None


async def _ownership_of_sub_user(chain: Chain, call: Call, sdk_app_id: int | None) -> None:
    attached = await chain.services.access.policies(call.key.account.uin)
    decision = policies.decide(attached, _caller(chain, call), call.action_name, sdk_app_id)
    if decision is not Decision.ALLOW:
        raise _denied(chain, call, sdk_app_id)
    if sdk_app_id is not None:
        await _load_app(chain, call, sdk_app_id)


async def _load_app(chain: Chain, call: Call, sdk_app_id: int) -> None:
    _take_app(call, sdk_app_id, await chain.services.access.app(sdk_app_id))


def _take_app(call: Call, sdk_app_id: int, app: App | None) -> None:
    if app is None or app.blocked:
        raise _answer(call, UnknownApp(sdk_app_id))
    key = call.key
    foreign = app.uin != key.account.root_uin
    if foreign or (key.sdk_app_ids is not None and sdk_app_id not in key.sdk_app_ids):
        raise _answer(call, ForeignApp(sdk_app_id))
    call.app = app


def behaviour(chain: Chain, call: Call) -> Awaitable[None] | None:
    """16: what the action does; a repeated mutating request gets the stored answer of the first."""
    action = call.action
    if isinstance(action, Planned):
        raise _answer(call, NotBuilt(f"{action.name}: {action.reason}."))
    if action.mutating:
        return _act(chain, call, action)
    if action.held is not None:
        try:
            call.response = action.held(call.request, chain.services)
        except DomainError as error:
            raise _answer(call, error) from error
        if call.response is not None:
            return None
    return within(chain.services.clock, action.deadline_s, _run(chain, call, action))


async def _act(chain: Chain, call: Call, action: Action) -> None:
    clock = chain.services.clock
    # Not cancelled when its time is over: it may be at its commit. A repeat waits for it or gets its answer.
    work = asyncio.create_task(_once(chain, call, action))
    chain.working.add(work)
    work.add_done_callback(chain.working.discard)
    try:
        await within(clock, action.deadline_s, asyncio.shield(work))
    except TimeoutError:
        work.add_done_callback(_note_late)
        raise


async def _once(chain: Chain, call: Call, action: Action) -> None:
    """Act, unless the same request has succeeded before; twins go one after the other."""
    key = replay_key(call)
    async with chain.twins.turn(key):
        stored = await replay.recall(chain.services.db, key)
        if stored is not None:
            call.response = action.response(**stored)
            call.replayed = True
            return
        sdk_app_id = 0 if call.app is None else call.app.sdk_app_id
        now_ms = chain.services.clock.now_ms()
        mark = replay.current.set(Replay(key, action.name, now_ms, sdk_app_id))
        try:
            await _run(chain, call, action)
            if not action.remembers:
                async with chain.services.db.write() as conn:
                    await conn.run_sync(replay.remember)
        finally:
            replay.current.reset(mark)


async def _run(chain: Chain, call: Call, action: Action) -> None:
    try:
        call.response = await action.handler(call.request, chain.services)
    except DomainError as error:
        raise _answer(call, error) from error


def _note_late(work: asyncio.Task[None]) -> None:
    """Say how an action ended whose caller was told that it took too long."""
    if work.cancelled():
        return
    error = work.exception()
    log.warning("action_ended_late", error="" if error is None else type(error).__name__)


def _answer(call: Call, error: DomainError) -> ApiError:
    """The wire form of a domain error. Raises the error itself when its family has no row for it."""
    answer = of_error(call.action.family, error)
    if answer is None:
        raise error
    return answer


def _missing(name: str) -> ApiError:
    return ApiError("MissingParameter", messages.missing(name))


def _too_many(code: str) -> ApiError:
    return ApiError(code, Text("Too many requests; try again later.", "请求过于频繁，请稍后重试。"))
