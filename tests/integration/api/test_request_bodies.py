"""Step 14: a request read from JSON, a form, a query or multipart parts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from roomtape.api import forms
from roomtape.api.decode import MAX_LEVELS
from tests.support.api import DELETE, FORM, HOST, Stand, create, foreign_app, task


@pytest.mark.parametrize("body", [b"[]", b"{", b"null", b'"x"', b"{} {}", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_invalid(api: Stand, body: bytes) -> None:
    assert (await api.call(DELETE, body)).code == "InvalidParameter"
    assert (await api.call("DescribeRoomInfo", body)).code == "InvalidParameter.BodyParamsError"
    assert (await api.call("StartStreamIngest", body)).code == "InvalidParameter.BodyParamsError"


async def test_broken_utf8_is_invalid(api: Stand) -> None:
    assert (await api.call(DELETE, b'{"TaskId":"\xff"}')).code == "InvalidParameter"
    body = b"TaskId=%FF&Signature=x"
    answer = await api.send("POST", {"host": HOST, "content-type": FORM}, body)
    assert answer.code == "InvalidParameter"


async def test_an_empty_body_is_an_empty_object(api: Stand) -> None:
    assert (await api.call(DELETE, b"")).code == "MissingParameter.SdkAppId"


async def test_an_unknown_name_comes_before_a_wrong_type_before_a_missing_member(api: Stand) -> None:
    wrong = {"TaskId": 5, "TaskID": "x"}
    answer = await api.call(DELETE, wrong)
    assert (answer.code, "TaskID" in answer.message) == ("UnknownParameter", True)
    assert (await api.call(DELETE, {"TaskId": 5})).code == "InvalidParameter"
    assert (await api.call(DELETE, {})).code == "MissingParameter.SdkAppId"
    api.config.api.reject_unknown = False
    assert (await api.call(DELETE, task(api) | {"TaskID": "x"})).code == "ResourceNotFound"


async def test_an_unknown_name_deep_inside_is_named_with_its_path(api: Stand) -> None:
    answer = await create(
        api, MixLayoutParams={"MixLayoutMode": 4, "MixLayoutList": [{"Top": 0, "Lefty": 1}]}
    )
    assert answer.code == "UnknownParameter"
    assert "MixLayoutParams.MixLayoutList.0.Lefty" in answer.message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, "InvalidParameter.SdkAppId"),
        ("1400000001", "InvalidParameter.SdkAppId"),
        (1.5, "InvalidParameter.SdkAppId"),
        (-1, "InvalidParameter.SdkAppId"),
        (2**64, "InvalidParameter.SdkAppId"),
        (2**64 - 1, "InvalidParameter.SdkAppId"),
        ([], "InvalidParameter.SdkAppId"),
        ("", "InvalidParameter.SdkAppId"),
        (0, "MissingParameter.SdkAppId"),
        (None, "MissingParameter.SdkAppId"),
    ],
)
async def test_an_integer_is_a_json_number_in_range(api: Stand, value: Any, code: str) -> None:
    assert (await api.call(DELETE, {"SdkAppId": value, "TaskId": "x"})).code == code


async def test_a_number_is_no_string_and_a_duplicate_name_counts_last(api: Stand) -> None:
    assert (await api.call(DELETE, task(api) | {"TaskId": 5})).code == "InvalidParameter"
    body = f'{{"SdkAppId":1,"TaskId":"x","SdkAppId":{api.app.sdk_app_id}}}'.encode()
    assert (await api.call(DELETE, body)).code == "ResourceNotFound"


async def test_a_body_of_another_type_is_invalid(api: Stand) -> None:
    assert (await api.call(DELETE, task(api), content_type="text/plain")).code == "InvalidParameter"


async def test_parameters_of_the_content_type_are_ignored(api: Stand) -> None:
    answer = await api.call(DELETE, task(api), content_type="Application/JSON; Charset=UTF-8")
    assert answer.code == "ResourceNotFound"


def flat(value: Any, name: str = "") -> dict[str, str]:
    """As the SDKs flatten: empty lists and objects vanish, Python writes True."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in items for k, v in flat(item, f"{name}.{key}".lstrip(".")).items()}
    return {name: str(value)}


@pytest.mark.parametrize("way", ["get", "form", "v1-get"])
async def test_flattened_parameters_build_the_same_request(api: Stand, way: str) -> None:
    users = [f"user{i}" for i in range(12)]
    request = await api.create_request(
        RecordParams={
            "RecordMode": 1,
            "SubscribeStreamUserIds": {"SubscribeAudioUserIds": users, "SubscribeVideoUserIds": []},
        },
        MixLayoutParams={"MixLayoutMode": 3, "PureAudioDisableLayout": True},
    )
    if way == "get":
        answer = await api.get("CreateCloudRecording", flat(request))
    elif way == "form":
        answer = await api.form("CreateCloudRecording", flat(request))
    else:
        query = urlencode(api.v1("CreateCloudRecording", flat(request), "GET")).encode()
        answer = await api.send("GET", {"host": HOST}, query=query)
    assert answer.code == "OK"
    assert api.recording.specs[0].lists.audio_allow == tuple(users)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"RecordParams": "x"}, "InvalidParameter"),
        ({"RecordParams": "x", "RecordParams.RecordMode": "1"}, "InvalidParameter"),
        ({"RecordParams.RecordMode": "1", "RecordParams": "x"}, "InvalidParameter"),
        ({"RecordParams.RecordMode": "one"}, "InvalidParameter"),
        ({"RecordParams.RecordMode": "1.0"}, "InvalidParameter"),
        ({"RecordParams.SubscribeStreamUserIds.SubscribeAudioUserIds.a": "x"}, "InvalidParameter"),
        ({"RecordParams.SubscribeStreamUserIds.SubscribeAudioUserIds": "x"}, "InvalidParameter"),
        ({"MixLayoutParams.PureAudioDisableLayout": "yes"}, "InvalidParameter"),
        ({"RecordParams.RecordMod": "1"}, "UnknownParameter"),
    ],
)
async def test_flattened_parameters_that_do_not_fit_the_shape(
    api: Stand, parameters: dict[str, str], code: str
) -> None:
    assert (await api.form("CreateCloudRecording", parameters)).code == code


async def test_gaps_between_indices_close_up(api: Stand) -> None:
    request = flat(await api.create_request())
    at = "RecordParams.SubscribeStreamUserIds.SubscribeAudioUserIds"
    await api.form("CreateCloudRecording", request | {f"{at}.10": "c", f"{at}.2": "b", f"{at}.0": "a"})
    assert api.recording.specs[0].lists.audio_allow == ("a", "b", "c")


async def test_an_action_that_is_not_known_to_take_multipart_takes_it_anyway(api: Stand) -> None:
    request = await api.create_request()
    parts = []
    for name, value in request.items():
        kind = "Content-Type: application/json\r\n" if isinstance(value, dict) else ""
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        parts.append(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n{kind}\r\n{text}\r\n')
    body = ("".join(parts) + "--b--\r\n").encode()
    multipart = "multipart/form-data; boundary=b"
    assert (await api.call("CreateCloudRecording", body, content_type=multipart)).code == "OK"
    for broken in (body[:-8], body.replace(b"--b", b"--c"), b"", b"garbage"):
        answer = await api.call("CreateCloudRecording", broken, content_type=multipart)
        assert answer.code == "InvalidRequest"


async def test_of_equal_names_the_last_counts_wherever_they_are(api: Stand) -> None:
    own, foreign = api.app.sdk_app_id, await foreign_app(api)
    body = '{"TaskId": 1, "TaskId": "x", "SdkAppId": %d, "SdkAppId": %d}'
    assert (await api.call(DELETE, (body % (foreign, own)).encode())).code == "ResourceNotFound"
    assert (await api.call(DELETE, (body % (own, foreign)).encode())).code == "InvalidParameter.SdkAppId"
    deep = json.dumps(await api.create_request()).replace('"Vendor": 1', '"Vendor": 7, "Vendor": 1')
    assert (await api.call("CreateCloudRecording", deep.encode())).code == "OK"
    turned = deep.replace('"Vendor": 7, "Vendor": 1', '"Vendor": 1, "Vendor": 7')
    assert (await api.call("CreateCloudRecording", turned.encode())).code == "InvalidParameter.OutOfRange"

    pairs = api.v1(DELETE, {"SdkAppId": str(own), "TaskId": "x"})
    form = f"SdkAppId={foreign}&{urlencode(pairs)}".encode()
    answer = await api.send("POST", {"host": HOST, "content-type": FORM}, form)
    assert answer.code == "ResourceNotFound", "signed and judged by the last"
    query = f"SdkAppId={foreign}&SdkAppId={own}&TaskId=x".encode()
    headers = api.headers(DELETE, b"", method="GET", query=query, content_type=FORM)
    assert (await api.send("GET", headers, query=query)).code == "ResourceNotFound"


def many_lists(count: int) -> bytes:
    """A JSON text over 64 KB, with that many brackets."""
    return b'{"TaskId": "%b", "x": [%b]}' % (b" " * 70_000, b",".join([b"[]"] * (count - 2)))


AT_THE_BOUNDS = {
    "pairs": (FORM, b"&".join([b"TaskId=x"] * forms.MAX_PAIRS), b"&".join([b"TaskId=x"] * (forms.MAX_PAIRS + 1))),
    "escapes": (FORM, b"TaskId=" + b"%41" * forms.MAX_ESCAPES, b"TaskId=" + b"%41" * (forms.MAX_ESCAPES + 1)),
    "levels": (FORM, b"TaskId=x&" + b".".join([b"x"] * MAX_LEVELS) + b"=1", b".".join([b"x"] * (MAX_LEVELS + 1)) + b"=1"),
    "brackets": ("application/json", many_lists(forms.MAX_BRACKETS), many_lists(forms.MAX_BRACKETS + 1)),
    "commas": (
        "application/json",
        b'{"TaskId": "%b"}' % (b"," * forms.MAX_COMMAS), b'{"TaskId": "%b"}' % (b"," * (forms.MAX_COMMAS + 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_THE_BOUNDS)
async def test_what_is_within_the_bounds_of_any_request_is_judged_by_its_names(api: Stand, name: str) -> None:
    content_type, within, beyond = AT_THE_BOUNDS[name]
    told = await api.call(DELETE, within, content_type=content_type)
    assert told.code in ("MissingParameter.SdkAppId", "UnknownParameter")
    told = await api.call(DELETE, beyond, content_type=content_type)
    assert told.code == "InvalidParameter"
    assert "too many" in told.message


@pytest.mark.parametrize(
    ("count", "size", "code"),
    [(forms.MAX_PARTS, 1, "MissingParameter.SdkAppId"), (1, forms.MAX_PART, "MissingParameter.SdkAppId"),
     (forms.MAX_PARTS + 1, 1, "InvalidParameter"), (1, forms.MAX_PART + 1, "InvalidParameter")],
)  # fmt: skip
async def test_parts_have_a_number_and_a_size(api: Stand, count: int, size: int, code: str) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="TaskId"\r\n\r\n' + b"x" * size + b"\r\n"
    answer = await api.call(DELETE, part * count + b"--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert answer.code == code
