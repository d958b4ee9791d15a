"""Reading parameters never fails but with a code, and a legal request comes back as it was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import roomtape.api.gateway  # noqa: F401  (its actions are registered)
from roomtape.api.decode import Rules, _plain, decode, decode_plain, plant
from roomtape.api.dispatch import ACTIONS, PLANNED, Action, Planned
from roomtape.api.errors import ApiError
from roomtape.api.forms import COMMON_NAMES
from roomtape.contract.members import members
from roomtape.contract.quality import QualityData, TimeValue
from roomtape.contract.recording import CreateCloudRecordingRequest, DescribeCloudRecordingRequest
from roomtape.contract.relay import StartPublishCdnStreamRequest
from roomtape.contract.shapes import Part

RULES = Rules(missing=lambda _: "MissingParameter", malformed=lambda _: "InvalidParameter")
LENIENT = Rules(RULES.missing, RULES.malformed, reject_unknown=False)
SHAPES = [CreateCloudRecordingRequest, StartPublishCdnStreamRequest]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["RecordParams", "SdkAppId", "0", "x"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=10,
)


def legal(shape: type[Part]) -> st.SearchStrategy[dict[str, Any]]:
    """Requests of a shape with every required member and any choice of the others."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "uint64": st.integers(1, 2**53 - 1),
        "int64": st.integers(-(2**53), 2**53),
        "string": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        "boolean": st.booleans(),
        "float": st.floats(-1e9, 1e9),
    }
    required, optional = {}, {}
    for member in members(shape):
        one = kinds[member.kind] if member.shape is None else legal(member.shape)
        value = st.lists(one, min_size=1, max_size=2) if member.is_list else one
        (required if member.required else optional)[member.name] = value
    return st.fixed_dictionaries(required, optional=optional)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@given(data=st.data())
def test_what_is_written_is_what_is_read(shape: type[Part], data: st.DataObject) -> None:
    written = data.draw(legal(shape))
    assert msgspec.to_builtins(decode(written, shape, RULES)) == written


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@given(raw=st.dictionaries(st.sampled_from(["RecordParams", "RoomId", "SdkAppId"]) | st.text(), anything))
def test_no_json_object_breaks_the_reader(shape: type[Part], raw: dict[str, Any]) -> None:
    for rules in (RULES, LENIENT):
        with pytest.raises(ApiError):
            decode(raw, shape, rules)


@given(st.lists(st.tuples(st.text("AB.01", max_size=6), st.text(max_size=3)), max_size=6))
def test_no_list_of_names_breaks_the_planter(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ApiError):  # nothing else, and never a request
        decode(plant(pairs), CreateCloudRecordingRequest, RULES)


def plain_bodies() -> st.SearchStrategy[bytes]:
    """JSON of requests of a few members, right and wrong in all the ways a body can be."""
    names = st.sampled_from(
        ["SdkAppId", "TaskId", "RecorderKey", "Region", "taskid", "Task\\u0049d", "", "SdkAppid", "Action"]
    )
    numbers = st.sampled_from(
        [
            "0",
            "-0",
            "1",
            "-1",
            "1.0",
            "1e0",
            "1E2",
            str(2**63),
            str(2**64 - 1),
            str(2**64),
            "9" * 40,
            "1_0",
            "01",
        ]
    )
    texts = st.sampled_from(
        ['""', '"x"', '"a b"', '"\\u0000"', '"\\ud800"', '"\\n"', '"é"', '"1"', '"\x00"', '"\x7f"', "'x'"]
    )
    others = st.sampled_from(
        ["null", "true", "false", "[]", "{}", '["x"]', '{"TaskId":"x"}', "NaN", "Infinity"]
    )
    member = st.builds(lambda name, value: f'"{name}":{value}', names, numbers | texts | others)
    right = st.just('"SdkAppId": 1400000001, "TaskId": "x"')
    blank = st.sampled_from(["", " ", "\n", "\ufeff", "\0"])

    def put(before: str, parts: list[str], after: str, tail: str) -> bytes:
        return f"{before}{{{','.join(parts)}}}{after}{tail}".encode()

    return st.builds(
        put,
        blank,
        st.lists(member | right, max_size=4),
        blank,
        st.sampled_from(["", "x", "}", "{}"]),
    ) | st.binary(max_size=20)


KNOWN: list[Action | Planned] = [*ACTIONS.values(), *PLANNED.values()]
PLAIN = sorted(
    {known.request for known in KNOWN if known.request is not None and _plain(known.request) is not None},
    key=lambda shape: shape.__name__,
)


def long_way(body: bytes, shape: type[Part], rules: Rules) -> Part | None:
    """What the reference makes of a body; None when it refuses it."""
    try:
        raw = msgspec.json.decode(body)
        if not isinstance(raw, dict):
            return None
        for name in COMMON_NAMES & raw.keys():
            del raw[name]
        return decode(raw, shape, rules)
    except (ApiError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@given(body=plain_bodies(), rules=st.sampled_from([RULES, LENIENT]))
@example(b'{"SdkAppId": 1400000001, "TaskId": "x", "RecorderKey": null}', RULES)
@example(b'{"SdkAppId": 1, "SdkAppId": 2, "TaskId": "x", "TaskId": "y"}', RULES)
@settings(max_examples=500, deadline=None)
def test_what_is_read_the_short_way_is_what_the_long_way_reads(body: bytes, rules: Rules) -> None:
    short = decode_plain(body, DescribeCloudRecordingRequest)
    if short is not None:
        assert long_way(body, DescribeCloudRecordingRequest, rules) == short


@pytest.mark.parametrize("shape", PLAIN, ids=lambda shape: shape.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_every_shape_is_read_the_same_either_way(shape: type[Part], data: st.DataObject) -> None:
    """Also with a member that has the value of another, is absent, or nothing."""
    written = data.draw(legal(shape))
    for name in data.draw(st.sets(st.sampled_from(sorted(written)), max_size=2)) if written else ():
        written[name] = data.draw(st.sampled_from([None, "", 0, -1, 2**64, True, 0.5, "x", [], {}]))
    body = msgspec.json.encode(written)
    short = decode_plain(body, shape)
    if short is not None:
        assert long_way(body, shape, RULES) == short


def test_the_usual_request_is_read_the_short_way() -> None:
    body = b'{"SdkAppId": 1400000001, "TaskId": "-x+y=="}'
    assert decode_plain(body, DescribeCloudRecordingRequest) == DescribeCloudRecordingRequest(
        sdk_app_id=1400000001, task_id="-x+y=="
    )
    assert decode_plain(b"{}", CreateCloudRecordingRequest) is None, "it has parts: the long way"


def test_no_published_member_has_the_name_of_a_common_parameter() -> None:
    """Those are taken out of a body before it is read; the short way reads it whole."""
    for known in KNOWN:
        if known.request is not None:
            assert not COMMON_NAMES & {member.name for member in members(known.request)}


def test_a_float_is_any_finite_number() -> None:
    def read(value: Any) -> TimeValue:
        return decode({"Time": 1, "Value": value}, TimeValue, RULES)

    assert read(3).value == 3.0
    assert read(-0.5).value == -0.5
    for wrong in (True, "3", float("inf"), float("-inf"), 10**400):
        with pytest.raises(ApiError):
            read(wrong)
    assert decode(plant([("Time", "1"), ("Value", "-1.5e3")]), TimeValue, RULES).value == -1500.0
    for text in ("nan", "1.", "0x1", " 1", "1e9999", "١"):
        with pytest.raises(ApiError):
            decode(plant([("Time", "1"), ("Value", text)]), TimeValue, RULES)


def test_a_text_with_a_nul_is_refused_before_it_reaches_a_database() -> None:
    with pytest.raises(ApiError) as refused:
        decode({"Content": [{"Time": 1, "Value": 1}], "UserId": "a\0b"}, QualityData, RULES)
    assert refused.value.code == "InvalidParameter"


def test_an_element_of_a_list_may_not_be_null() -> None:
    for content in ([None], [[]], [5], {}, "x"):
        with pytest.raises(ApiError) as refused:
            decode({"Content": content}, QualityData, RULES)
        assert refused.value.code == "InvalidParameter"
