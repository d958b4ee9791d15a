"""The API described in OpenAPI 3.1, made from the published shapes and the registry of actions.

All actions share `POST /`, told apart by the header `X-TC-Action`; OpenAPI has one operation per path and
method. So the whole document describes that one operation: the header as an enumeration, the body as any
of the actions' request schemas, the answer as any of their answers. What belongs together is listed under
`x-roomtape-actions` and, exactly, by the document of a single action (`/openapi.json?action=NAME`): the
header is then a constant, and body, answer and codes are that action's alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

import roomtape.api.actions as actions_package
from roomtape.api.dispatch import ACTIONS, PLANNED, RETIRED, Action, Planned
from roomtape.api.errors import OFF_LIST, WIRE_CODES
from roomtape.api.steps import SERVICE, VERSION
from roomtape.contract import examples
from roomtape.contract.codes import COMMON, LISTED
from roomtape.contract.explanations import explain
from roomtape.contract.meaning import Meaning
from roomtape.contract.meanings import meaning
from roomtape.contract.members import Member, members
from roomtape.contract.regions import REGIONS
from roomtape.contract.shapes import Part, Response
from roomtape.version import version

Schema = dict[str, Any]

MAX_INT = {"uint64": (0, 2**64 - 1), "int64": (-(2**63), 2**63 - 1)}
MAX_SAFE = 2**53 - 1  # of an integer in an answer
ABOUT = """\
TencentCloud API 3.0 of the service `{service}`, version `{version}`. Every action is `POST /` with the
action's name in `X-TC-Action` and its parameters as a JSON object. Every answer is HTTP 200 with
`application/json`; an error is in `Response.Error`.

Requests are signed with TC3-HMAC-SHA256. GET, forms and the older HmacSHA1 and HmacSHA256 signatures are
accepted too and not described here."""


class NoSuchAction(Exception):
    """There is no action of that name whose parameters are known."""


for _module in pkgutil.iter_modules(actions_package.__path__):
    importlib.import_module(f"{actions_package.__name__}.{_module.name}")


def described() -> dict[str, Action | Planned]:
    """The actions whose parameters are known, by name: first those that are built."""
    planned = {name: row for name, row in PLANNED.items() if row.request is not None}
    return {**dict(sorted(ACTIONS.items())), **dict(sorted(planned.items()))}


def document(action: str | None = None) -> Schema:
    """The OpenAPI document of all actions, or of one. Raises NoSuchAction."""
    known = described()
    if action is not None and action not in known:
        raise NoSuchAction(action)
    named = list(known) if action is None else [action]
    schemas = _components([known[name] for name in named])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "roomtape" if action is None else f"roomtape: {action}",
            "version": version(),
            "summary": "Rooms and recordings, in the TencentCloud API 3.0 of TRTC.",
            "description": ABOUT.format(service=SERVICE, version=VERSION),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"tc3": []}],
        "paths": {"/": {"post": _operation([known[name] for name in named], action)}},
        "components": {"schemas": schemas, "securitySchemes": {"tc3": _security()}},
        "x-roomtape-actions": {name: _row(known[name]) for name in named},
        "x-roomtape-codes": {
            code: explain(code) for code in sorted({c for name in named for c in codes(name)})
        },
        "x-roomtape-retired": sorted(RETIRED),
    }


def routes() -> list[Route]:
    """`/openapi.json`, of all actions or of `?action=NAME`."""
    made: dict[str | None, bytes] = {}

    async def endpoint(request: Request) -> HttpResponse:
        action = request.query_params.get("action")
        try:
            if action not in made:
                made[action] = msgspec.json.encode(document(action))
        except NoSuchAction:
            return HttpResponse("there is no such action", 404)
        return HttpResponse(made[action], media_type="application/json")

    return [Route("/openapi.json", endpoint)]


# --- the operation ----------------------------------------------------------------------------------


def _operation(actions: list[Action | Planned], single: str | None) -> Schema:
    names = [action.name for action in actions]
    requests = [_ref(f"{name}Request") for name in names]
    answers = [_ref(f"{name}Answer") for name in names]
    return {
        "operationId": single or "call",
        "summary": _summary(actions[0]) if single else "Call an action",
        "parameters": list(_headers(names, single)),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": requests[0] if single else {"anyOf": requests}}},
        },
        "responses": {
            "200": {
                "description": "The answer, of a success or of an error.",
                "headers": {
                    "X-TC-RequestId": {
                        "description": "The RequestId of the answer.",
                        "required": True,
                        "schema": {"type": "string", "format": "uuid"},
                    }
                },
                "content": {"application/json": {"schema": answers[0] if single else {"anyOf": answers}}},
            }
        },
    }


def _headers(names: list[str], single: str | None) -> Iterator[Schema]:
    def header(name: str, text: str, schema: Schema, *, required: bool = True) -> Schema:
        return {"name": name, "in": "header", "required": required, "description": text, "schema": schema}

    yield header(
        "X-TC-Action", "The action.", {"const": single} if single else {"type": "string", "enum": names}
    )
    yield header("X-TC-Version", "The version of the API.", {"const": VERSION})
    yield header("X-TC-Timestamp", "Unix seconds, at most 300 away from the server's.", {"type": "integer"})
    regions = sorted({region for name in names for region in REGIONS.get(name, ())})
    if regions:
        wanted = single is not None or all(name in REGIONS for name in names)
        text = "A region that the action's page lists; it has no effect here."
        yield header("X-TC-Region", text, {"type": "string", "enum": regions}, required=wanted)
    language = {"type": "string", "enum": ["en-US", "zh-CN"], "default": "en-US"}
    yield header("X-TC-Language", "Language of an error's message.", language, required=False)
    yield header("X-TC-Token", "Token of a temporary key.", {"type": "string"}, required=False)


def _security() -> Schema:
    return {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": (
            "TC3-HMAC-SHA256 Credential=SecretId/YYYY-MM-DD/trtc/tc3_request, "
            "SignedHeaders=content-type;host, Signature=(64 hex digits): see docs/api/signature-v3.md."
        ),
    }


def _row(action: Action | Planned) -> Schema:
    """What a client wants to know of an action beside its schemas."""
    assert action.request is not None
    row: Schema = {
        "built": isinstance(action, Action),
        "group": group(action),
        "summary": _summary(action),
        "request": _ref(f"{action.name}Request"),
        "answer": _ref(f"{action.name}Answer"),
        "regions": list(REGIONS.get(action.name, ())),
        "calls_per_second": action.rate,
        "example": {"request": examples.request(action.request), "answer": examples.ANSWERS[action.name]},
    }
    if isinstance(action, Planned):
        row["reason"] = action.reason
    return row


def group(action: Action | Planned) -> str:
    """The heading of the published table of contents an action stands under."""
    assert action.request is not None
    module = action.request.__module__.rpartition(".")[2]
    return GROUPS[module]


GROUPS = {
    "rooms": "Rooms",
    "recording": "Recording",
    "relay": "Mixing and relay",
    "ingest": "Pulled streams",
    "quality": "Call quality",
    "usage": "Usage",
}


def _summary(action: Action | Planned) -> str:
    if isinstance(action, Planned):
        return f"Not built: {action.reason}."
    return (action.handler.__doc__ or "").strip().splitlines()[0]


# --- schemas ----------------------------------------------------------------------------------------


def _components(actions: Iterable[Action | Planned]) -> Schema:
    """Every schema the actions need, by name."""
    schemas: Schema = {}
    for action in actions:
        assert action.request is not None
        _add(schemas, action.request, in_answer=False)
        response = response_of(action)
        fields: Schema = {}
        if response is not None:
            _add(schemas, response, in_answer=True)
            fields = schemas.pop(response.__name__)
        schemas[f"{action.name}Answer"] = _answer(action.name, fields)
    return dict(sorted(schemas.items()))


def response_of(action: Action | Planned) -> type[Response] | None:
    """The published response; also of an action that is not built yet."""
    if isinstance(action, Action):
        return action.response
    assert action.request is not None
    module = importlib.import_module(action.request.__module__)
    response: type[Response] = getattr(module, f"{action.name}Response")
    return response


def codes(action: str) -> list[str]:
    """Every code the action may answer."""
    more = {code for name, code in OFF_LIST if name == action}
    own = ACTIONS.get(action) or PLANNED.get(action)
    mapped = (
        set() if own is None else {code for (family, _), code in WIRE_CODES.items() if family is own.family}
    )
    return sorted(COMMON | LISTED.get(action, frozenset()) | more | mapped)


def _answer(name: str, success: Schema) -> Schema:
    """The envelope: the members of a success, or an error; with the RequestId in both."""
    request_id = {"type": "string", "format": "uuid", "description": "Number of this request."}
    good = {
        "title": "Success",
        "type": "object",
        "properties": {**success.get("properties", {}), "RequestId": request_id},
        "required": [*success.get("required", ()), "RequestId"],
        "not": {"required": ["Error"]},
    }
    error = {
        "type": "object",
        "properties": {
            "Code": {"type": "string", "enum": codes(name)},
            "Message": {"type": "string", "description": "For people; programs rely on Code."},
        },
        "required": ["Code", "Message"],
    }
    bad = {
        "title": "Error",
        "type": "object",
        "properties": {"Error": error, "RequestId": request_id},
        "required": ["Error", "RequestId"],
    }
    return {
        "type": "object",
        "properties": {"Response": {"oneOf": [good, bad]}},
        "required": ["Response"],
        "additionalProperties": False,
    }


def _add(schemas: Schema, shape: type[Part], *, in_answer: bool) -> None:
    """Put the schema of a shape and of all it holds among the others."""
    name = shape.__name__
    if name in schemas:
        return
    schemas[name] = {}  # holds its place: shapes do not hold themselves, but may be held twice
    properties: Schema = {}
    for member in members(shape):
        if member.shape is not None:
            _add(schemas, member.shape, in_answer=in_answer)
        properties[member.name] = _property(shape, member, in_answer)
    schema: Schema = {"type": "object", "properties": properties}
    required = [member.name for member in members(shape) if member.required]
    if required:
        schema["required"] = required
    if not in_answer:
        schema["additionalProperties"] = (
            False  # an unknown name is refused, unless the server was told not to
        )
    schemas[name] = schema


def _property(shape: type[Part], member: Member, in_answer: bool) -> Schema:
    told = meaning(shape, member.name) or Meaning("")
    one: Schema = {} if member.shape is None else _ref(member.shape.__name__)
    if member.shape is None:
        one = _KINDS[member.kind]()
        if member.kind in MAX_INT:
            low, high = MAX_INT[member.kind]
            one["minimum"] = low if told.low is None else told.low
            one["maximum"] = min(high, MAX_SAFE) if in_answer else high if told.high is None else told.high
        if told.words is not None:
            one["enum"] = list(told.words)
        if told.pattern is not None:
            one["pattern"] = told.pattern
        if told.secret:
            one["format"] = "password"
    schema = one
    if member.is_list:
        schema = {"type": "array", "items": one}
        if told.most is not None:
            schema["maxItems"] = told.most
    if member.required and not in_answer:
        _present(schema, member)
    text = told.text
    if told.choices:
        text += " " + ", ".join(f"{value}: {stands}" for value, stands in told.choices.items()) + "."
        schema["x-choices"] = {str(value): stands for value, stands in told.choices.items()}
    if text:
        schema["description"] = text.strip()
    if told.default is not None:
        schema["default"] = told.default
    if told.example is not None and not in_answer:
        schema["examples"] = [told.example]
    if told.usual and not in_answer:
        schema["x-usual"] = True
    return schema


def _present(schema: Schema, member: Member) -> None:
    """An empty text, an empty list and an application number of 0 count as absent."""
    if member.is_list:
        schema["minItems"] = 1
    elif member.kind == "string" and "pattern" not in schema:
        schema["minLength"] = 1
    elif member.name in ("SdkAppId", "SdkAppid"):
        schema["minimum"] = 1


_KINDS: Mapping[str, Callable[[], Schema]] = {
    "uint64": lambda: {"type": "integer", "format": "uint64"},
    "int64": lambda: {"type": "integer", "format": "int64"},
    "string": lambda: {"type": "string"},
    "boolean": lambda: {"type": "boolean"},
    "float": lambda: {"type": "number"},
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
