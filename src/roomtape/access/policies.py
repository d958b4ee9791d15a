"""Access policies of sub-users, in the grammar of CAM, so that existing documents can be pasted.

A root account may do everything with its own applications; a sub-user only what attached policies allow,
and never what one of them denies. A document is read completely when it is attached: whatever could make
it mean something else than it says (an unknown operator, key or form of resource) is refused then, so
that no `deny` is silently without effect.
Source: Access Management > Manageable Resources and Actions, Preset and Custom Policies; CAM > Syntax
structure, Evaluation logic, Conditions, read 2026-11.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal

from roomtape.errors import DomainError

SERVICE = "trtc"
VERSION = "2.0"

# Actions that cannot be granted on single applications: only a statement on "*" speaks of them.
STAR_ONLY = frozenset(
    {
        *("DescribeTrtcUsage", "DescribeRecordingUsage", "DescribeMixTranscodingUsage"),
        *("DescribeRelayUsage", "DescribeTrtcRoomUsage"),
        *("DescribeRecordStatistic", "DescribeTrtcInteractiveTime", "DescribeTrtcMcuTranscodeTime"),
        *("CreateCloudSliceTask", "DeleteCloudSliceTask", "DescribeCloudSliceTask", "ModifyCloudSliceTask"),
        *("CreateCloudModeration", "DeleteCloudModeration"),
        *("DescribeCloudModeration", "ModifyCloudModeration"),
    }
)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "QcloudTRTCFullAccess": {
        "version": VERSION,
        "statement": [{"effect": "allow", "action": ["trtc:*"], "resource": "*"}],
    },
    "QcloudTRTCReadonlyAccess": {
        "version": VERSION,
        "statement": [
            {
                "effect": "allow",
                "action": ["trtc:Describe*", "trtc:Get*", "trtc:List*", "trtc:HardDescribe*", "trtc:Verify*"],
                "resource": "*",
            }
        ],
    },
}


class BadPolicy(DomainError):
    """A policy document is not one; the text says where and why."""


class Decision(Enum):
    """What policies say. UNDECIDED: it depends on the application, which is not known yet."""

    ALLOW = "allow"
    DENY = "deny"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, from where and when: what variables and conditions may speak of."""

    uin: int
    owner_uin: int  # the root account; equal to `uin` for a root account
    app_id: int
    address: str
    now_s: float  # Unix time
    region: str = ""
    request_tags: tuple[str, ...] = ()
    resource_tags: tuple[str, ...] = ()

    @property
    def is_root(self) -> bool:
        return self.uin == self.owner_uin

    def fill(self, text: str) -> str:
        """Put the variables' values into a text of a policy."""
        if "${" not in text:
            return text
        values = {"uin": self.uin, "owner_uin": self.owner_uin, "app_id": self.app_id}
        return re.sub(r"\$\{(uin|owner_uin|app_id)\}", lambda match: str(values[match[1]]), text)

    def values(self, key: str) -> tuple[str, ...]:
        """The request's values of a condition key; none when it has no such key."""
        if key == "qcs:current_time":
            return (datetime.fromtimestamp(self.now_s, UTC).isoformat(),)
        if key == "qcs:ip":
            return (self.address,) if self.address else ()
        return self.request_tags if key == "qcs:request_tag" else self.resource_tags


@dataclass(frozen=True, slots=True)
class _Resource:
    """One resource of a statement. `everything` is the bare `*`."""

    everything: bool = False
    service: str = ""
    region: str = ""
    account: str = ""  # "", "*" or "uin/<number, nothing, * or variable>"
    last: str = ""

    def matches(self, caller: Caller, sdk_app_id: int | None) -> bool:
        """Whether it names the application; None: a request that names none."""
        if self.everything:
            return True
        if self.service not in ("", "*", SERVICE):
            return False
        if self.region not in ("", "*", caller.region):
            return False
        uin = caller.fill(self.account).removeprefix("uin/")
        if uin not in ("", "*", str(caller.owner_uin)):
            return False
        last = caller.fill(self.last)
        if last == "*":
            return True
        keyword, slash, name = last.partition("/")
        if not slash or keyword.lower() != "sdkappid":
            return False
        wanted = "" if sdk_app_id is None else str(sdk_app_id)
        return _suffix_match(name, wanted)


@dataclass(frozen=True, slots=True)
class _Condition:
    """One key of one operator."""

    key: str
    compare: Callable[[str, str], bool]  # of the request's value and the policy's
    wanted: tuple[str, ...]
    negated: bool
    if_exist: bool
    for_all: bool
    null: bool = False

    def holds(self, caller: Caller) -> bool:
        given = caller.values(self.key)
        if self.null:
            return (not given) == (self.wanted[0] == "true")
        if not given:
            return self.if_exist
        each = [self._one(value, caller) for value in given]
        return all(each) if self.for_all else any(each)

    def _one(self, value: str, caller: Caller) -> bool:
        return any(self.compare(value, caller.fill(wanted)) for wanted in self.wanted) != self.negated


@dataclass(frozen=True, slots=True)
class Statement:
    """One rule of a policy."""

    effect: Literal["allow", "deny"]
    actions: tuple[str, ...]  # patterns without the name/ prefix: "*" or "service:Name*"
    resources: tuple[_Resource, ...]
    conditions: tuple[_Condition, ...] = ()

    def speaks_of(self, action: str, caller: Caller) -> bool:
        """Whether it is about this action, asked like this; on which resource is another question."""
        named = any(pattern == "*" or _action_match(pattern, action) for pattern in self.actions)
        return named and all(condition.holds(caller) for condition in self.conditions)

    @property
    def on_everything(self) -> bool:
        return any(resource.everything for resource in self.resources)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document that was read without error."""

    statements: tuple[Statement, ...] = field(default_factory=tuple)


# --- evaluation -----------------------------------------------------------------------------------


def decide_early(policies: Sequence[Policy], caller: Caller, action: str) -> Decision:
    """What can be said before the application is known: deny, allow, or that it depends on it."""
    if caller.is_root:
        return Decision.ALLOW
    speaking = _speaking(policies, caller, action)
    if any(statement.effect == "deny" and statement.on_everything for statement in speaking):
        return Decision.DENY
    if action in STAR_ONLY:
        granted = any(s.effect == "allow" and s.on_everything for s in speaking)
        return Decision.ALLOW if granted else Decision.DENY
    if not any(statement.effect == "allow" for statement in speaking):
        return Decision.DENY
    return Decision.UNDECIDED


def decide(policies: Sequence[Policy], caller: Caller, action: str, sdk_app_id: int | None) -> Decision:
    """Allow or deny the action on one application (None: the request names none)."""
    early = decide_early(policies, caller, action)
    if early is not Decision.UNDECIDED:
        return early
    effects = {
        statement.effect
        for statement in _speaking(policies, caller, action)
        if any(resource.matches(caller, sdk_app_id) for resource in statement.resources)
    }
    return Decision.ALLOW if effects == {"allow"} else Decision.DENY


def denial(action: str, caller: Caller, sdk_app_id: int | None) -> str:
    """What a denied caller is told, in the shape known from the cloud."""
    name = "" if sdk_app_id is None else str(sdk_app_id)
    return (
        f"you are not authorized to perform operation ({SERVICE}:{action})\n"
        f"resource (qcs::{SERVICE}::uin/{caller.owner_uin}:sdkappid/{name}) has no permission"
    )


def _speaking(policies: Sequence[Policy], caller: Caller, action: str) -> list[Statement]:
    return [s for policy in policies for s in policy.statements if s.speaks_of(action, caller)]


def _action_match(pattern: str, action: str) -> bool:
    service, _, name = pattern.partition(":")
    return service in (SERVICE, "*") and _suffix_match(name, action)


def _suffix_match(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


# --- reading --------------------------------------------------------------------------------------


def read(document: str | Mapping[str, Any]) -> Policy:
    """Read a policy document. Raises BadPolicy."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            raise BadPolicy("The policy is not JSON.") from None
    root = _object(document, "the policy")
    if "principal" in root:
        raise BadPolicy("principal is not for policies of users.")
    _only(root, "the policy", required=("version", "statement"))
    if root["version"] != VERSION:
        raise BadPolicy(f'version must be "{VERSION}".')
    statements = root["statement"]
    if not isinstance(statements, list) or not statements:
        raise BadPolicy("statement must be a list with at least one element.")
    return Policy(tuple(_statement(item, f"statement.{i}") for i, item in enumerate(statements)))


def _statement(item: Any, at: str) -> Statement:
    sub = _object(item, at)
    _only(sub, at, required=("effect", "action", "resource"), optional=("condition",))
    effect = sub["effect"]
    if effect not in ("allow", "deny"):
        raise BadPolicy(f'{at}.effect must be "allow" or "deny".')
    return Statement(
        effect=effect,
        actions=tuple(_action(text, f"{at}.action") for text in _texts(sub["action"], f"{at}.action")),
        resources=tuple(
            _resource(text, f"{at}.resource") for text in _texts(sub["resource"], f"{at}.resource")
        ),
        conditions=_conditions(sub.get("condition", {}), f"{at}.condition"),
    )


def _action(text: str, at: str) -> str:
    pattern = text.removeprefix("name/")
    if pattern != "*" and not re.fullmatch(r"(\*|[a-z][a-z0-9_-]*):(\*|[A-Za-z][A-Za-z0-9_]*\*?)", pattern):
        raise BadPolicy(f'{at}: "{text}" must be like name/{SERVICE}:Action, {SERVICE}:Describe* or *.')
    return pattern


def _resource(text: str, at: str) -> _Resource:
    if text == "*":
        return _Resource(everything=True)
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "qcs":
        raise BadPolicy(f'{at}: "{text}" must be * or qcs::{SERVICE}::uin/<uin>:sdkappid/<SdkAppId>.')
    _, project, service, region, account, last = parts
    if project:
        raise BadPolicy(f'{at}: the second part of "{text}" must be empty.')
    resource = _Resource(service=service, region=region, account=account, last=last)
    if service not in ("", "*", SERVICE):
        return resource  # another service's: not ours to judge, and never a match
    if not re.fullmatch(r"|\*|uin/([0-9]*|\*|\$\{(uin|owner_uin)\})", account):
        raise BadPolicy(f'{at}: the account of "{text}" must be uin/<uin> or empty.')
    if not re.fullmatch(r"\*|(?i:sdkappid)/([0-9]+\*?|\*|\$\{\w+\})", last):
        raise BadPolicy(f'{at}: "{text}" must end in sdkappid/<SdkAppId>, sdkappid/* or *.')
    return resource


KEYS = ("qcs:current_time", "qcs:ip", "qcs:resource_tag", "qcs:request_tag")


def _conditions(given: Any, at: str) -> tuple[_Condition, ...]:
    """Operators and keys are all joined by "and"; the values of one key by "or"."""
    conditions = []
    for operator, keys in _object(given, at).items():
        where = f"{at}.{operator}"
        for key, values in _object(keys, where).items():
            if key not in KEYS:
                raise BadPolicy(f"{where}: {key} is not one of {', '.join(KEYS)}.")
            conditions.append(_condition(operator, key, _values(values, f"{where}.{key}"), where))
    return tuple(conditions)


def _condition(operator: str, key: str, wanted: tuple[str, ...], at: str) -> _Condition:
    name = operator
    for_all = name.startswith("for_all_value:")
    name = name.removeprefix("for_all_value:").removeprefix("for_any_value:")
    if_exist = name.endswith("_if_exist")
    name = name.removesuffix("_if_exist")
    if name == "null_equal":
        if wanted not in (("true",), ("false",)):
            raise BadPolicy(f"{at}.{key} must be true or false.")
        return _Condition(key, str.__eq__, wanted, False, False, False, null=True)
    if name not in _OPERATORS:
        raise BadPolicy(f"{at} is not a known operator.")
    convert, compare, negated = _OPERATORS[name]
    for value in wanted:
        try:
            if "${" not in value:
                convert(value)
        except ValueError:
            raise BadPolicy(f'{at}.{key}: "{value}" does not fit the operator.') from None

    def compared(given: str, value: str) -> bool:
        try:
            return bool(compare(convert(given), convert(value)))
        except ValueError:
            return False

    return _Condition(key, compared, wanted, negated, if_exist, for_all)


def _date(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text == "true"


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _inside(given: Any, network: Any) -> bool:
    return given.version == network.version and bool(given.subnet_of(network))


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _equal(given: Any, wanted: Any) -> bool:
    return bool(given == wanted)


def _less(given: Any, wanted: Any) -> bool:
    return bool(given < wanted)


def _greater(given: Any, wanted: Any) -> bool:
    return bool(given > wanted)


def _at_most(given: Any, wanted: Any) -> bool:
    return bool(given <= wanted)


def _at_least(given: Any, wanted: Any) -> bool:
    return bool(given >= wanted)


def _like(given: str, pattern: str) -> bool:
    """`*` and `?` are wildcards, nothing else is."""
    return fnmatch.fnmatchcase(given, pattern.replace("[", "[[]"))


_Row = tuple[Callable[[str], Any], Callable[[Any, Any], bool], bool]


def _ordered(name: str, convert: Callable[[str], Any]) -> dict[str, _Row]:
    return {
        f"{name}_equal": (convert, _equal, False),
        f"{name}_not_equal": (convert, _equal, True),
        f"{name}_less_than": (convert, _less, False),
        f"{name}_less_than_equal": (convert, _at_most, False),
        f"{name}_greater_than": (convert, _greater, False),
        f"{name}_greater_than_equal": (convert, _at_least, False),
    }


# Operator: how values are read, how the request's compares with the policy's, and whether none may match.
_OPERATORS: dict[str, _Row] = {
    "string_equal": (str, _equal, False),
    "string_not_equal": (str, _equal, True),
    "string_equal_ignore_case": (str.lower, _equal, False),
    "string_not_equal_ignore_case": (str.lower, _equal, True),
    "string_like": (str, _like, False),
    "string_not_like": (str, _like, True),
    **_ordered("numeric", float),
    **_ordered("date", _date),
    "bool_equal": (_boolean, _equal, False),
    "ip_equal": (_network, _inside, False),
    "ip_not_equal": (_network, _inside, True),
    "binary_equal": (_binary, _equal, False),
}


def _object(value: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadPolicy(f"{at} must be an object.")
    return value


def _only(given: Mapping[str, Any], at: str, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Keywords are lower case, and no other is known."""
    for name in required:
        if name not in given:
            raise BadPolicy(f"{at} needs {name}.")
    if unknown := given.keys() - set(required) - set(optional):
        raise BadPolicy(f"{at} has the unknown element {sorted(unknown)[0]}.")


def _texts(value: Any, at: str) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) and item for item in items):
        raise BadPolicy(f"{at} must be a string or a list of strings.")
    return items


def _values(value: Any, at: str) -> tuple[str, ...]:
    """Values of a condition as text; JSON numbers and booleans are taken, too."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str | int | float) for item in items):
        raise BadPolicy(f"{at} must be a value or a list of values.")
    return tuple(json.dumps(item) if not isinstance(item, str) else item for item in items)
