"""Reading parameters never fails but with a code, and a legal request comes back as it was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.api.decode import Rules, decode, plant
from roomtape.api.errors import ApiError
from roomtape.contract.members import members
from roomtape.contract.quality import QualityData, TimeValue
from roomtape.contract.recording import CreateCloudRecordingRequest
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
