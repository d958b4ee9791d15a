"""The API's description holds: what Schemathesis makes of it, signed, always gets a documented answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.definitions import OPENAPI_31

from roomtape.api.dispatch import ACTIONS
from roomtape.api.openapi import NoSuchAction, described, document
from tests.integration.api.test_official_sdk import served
from tests.support.api import Stand

__all__ = ["served"]
NAMES = list(described())
EXAMPLES = 25
ENOUGH = 1e9  # calls per second


class Signed(requests.auth.AuthBase):
    """Signs what is about to be sent; X-TC-Action and Content-Type stay as they were made."""

    def __init__(self, api: Stand, action: str, region: str) -> None:
        self._sign = lambda body, **given: api.headers(action, body, region=region, **given)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        host = str(request.url).split("/")[2]
        kind = request.headers.get("Content-Type", "application/json")
        request.headers.update(self._sign(raw, host=host, content_type=kind))
        return request


@pytest.mark.parametrize("action", [None, *NAMES])
def test_it_is_openapi_3_1(action: str | None) -> None:
    made = document(action)
    jsonschema_rs.validator_for(OPENAPI_31).validate(made)
    for schema in made["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    references = {part.split('"')[0] for part in json.dumps(made).split('"#/components/schemas/')[1:]}
    assert references == made["components"]["schemas"].keys() & references
    used = references | {"unused"}
    assert made["components"]["schemas"].keys() <= used, "every schema is used"


def test_there_is_no_document_of_an_unknown_action() -> None:
    with pytest.raises(NoSuchAction):
        document("MakeCoffee")


async def test_the_whole_document_is_one_operation_of_all_actions(served: tuple[Stand, str]) -> None:
    made = document()
    operation = made["paths"]["/"]["post"]
    (action,) = (p for p in operation["parameters"] if p["name"] == "X-TC-Action")
    assert action["schema"]["enum"] == NAMES == list(made["x-roomtape-actions"])
    assert NAMES[: len(ACTIONS)] == sorted(ACTIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["legal", "illegal"])
@pytest.mark.parametrize("action", NAMES)
async def test_every_answer_is_a_documented_one(served: tuple[Stand, str], action: str, mode: GenerationMode) -> None:
    """HTTP 200, the envelope, a listed code, never an internal error."""
    api, endpoint = served
    open_wide(api)
    seen: list[str] = []
    await asyncio.to_thread(attack, api, endpoint, action, mode, seen.append)
    assert seen
    assert not [code for code in seen if code.startswith("InternalError")]
    assert not [code for code in seen if code.startswith("AuthFailure.Signature")], "the requests were signed"
    if mode is GenerationMode.POSITIVE:
        told = {"UnknownParameter", "MissingParameter.SdkAppId", "MissingParameter.RoomId", "MissingParameter.TaskId"}
        assert told.isdisjoint(seen), "what the schema allows has every member"


def attack(api: Stand, endpoint: str, action: str, mode: GenerationMode, note: Callable[[str], None]) -> None:
    made = document(action)
    schema = schemathesis.openapi.from_dict(made)
    region = (made["x-roomtape-actions"][action]["regions"] or ["ap-singapore"])[0]
    signed = Signed(api, action, region)
    check = jsonschema_rs.validator_for({**made, "$ref": f"#/components/schemas/{action}Answer"})

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=schema["/"]["POST"].as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        case.headers = {}  # what is varied is the body; the headers are the signer's
        if mode is GenerationMode.POSITIVE and "SdkAppId" in case.body:
            case.body["SdkAppId"] = api.app.sdk_app_id
        answer = case.call(base_url=f"http://{endpoint}", auth=signed)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == ["application/json"]
        told = json.loads(answer.content)
        check.validate(told)
        assert told["Response"]["RequestId"] == answer.headers["x-tc-requestid"][0]
        note(told["Response"].get("Error", {}).get("Code", "OK"))

    each()


def open_wide(api: Stand) -> None:
    """No throttle: the requests come as fast as they can."""
    limits = api.config.limits
    limits.per_account = limits.per_address = int(ENOUGH)
    limits.per_action = dict.fromkeys(NAMES, int(ENOUGH))


def test_the_command_prints_it() -> None:
    done = subprocess.run([sys.executable, "-m", "roomtape", "openapi"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(document()))


class Stale(Signed):
    """Signs with the headers the case has, whatever they are: only the signature itself is right."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        made = {name: value for name, value in request.headers.items() if name.lower().startswith("x-tc-")}
        super().__call__(request)
        request.headers.update(made)
        return request


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["legal", "illegal"])
@pytest.mark.parametrize("sign", [True, False], ids=["signed", "unsigned"])
async def test_common_parameters_of_any_kind_get_a_documented_answer(
    served: tuple[Stand, str], mode: GenerationMode, sign: bool
) -> None:
    """The whole document, all actions at once, headers as they are generated."""
    api, endpoint = served
    open_wide(api)
    seen: list[str] = []
    await asyncio.to_thread(attack_headers, api, endpoint, mode, sign, seen.append)
    assert seen
    assert not [code for code in seen if code.startswith("InternalError")]
    if not sign:
        assert set(seen) <= {"MissingParameter", "AuthFailure.InvalidAuthorization"}, set(seen)


def attack_headers(
    api: Stand, endpoint: str, mode: GenerationMode, sign: bool, note: Callable[[str], None]
) -> None:
    made = document()
    schema = schemathesis.openapi.from_dict(made)
    answers = made["paths"]["/"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    check = jsonschema_rs.validator_for({**made, **answers})

    @settings(
        max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=schema["/"]["POST"].as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        if not sign:
            case.headers.pop("Authorization", None)
        auth = Stale(api, "DismissRoom", "ap-singapore") if sign else None
        answer = case.call(base_url=f"http://{endpoint}", auth=auth)
        assert answer.status_code == 200
        told = json.loads(answer.content)
        check.validate(told)
        note(told["Response"].get("Error", {}).get("Code", "OK"))

    each()
