"""Policies: the published examples, the order of evaluation, every operator, and what does not read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomtape.access.policies import (
    PRESETS,
    BadPolicy,
    Caller,
    Decision,
    Policy,
    decide,
    decide_early,
    denial,
    read,
)

ROOT = 12345678
NOON = 1764072000.0  # 2025-11-25T12:00:00Z
SUB = Caller(uin=900, owner_uin=ROOT, app_id=7, address="10.1.2.3", now_s=NOON, region="ap-singapore")
APP1, APP2, APP3 = 1400000001, 1400000002, 1400000003


def policy(*statements: dict[str, Any]) -> Policy:
    return read({"version": "2.0", "statement": list(statements)})


def rule(effect: str = "allow", action: Any = "trtc:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"effect": effect, "action": action, "resource": resource} | more


def allows(given: Policy, action: str = "RemoveUser", app: int | None = APP1, caller: Caller = SUB) -> bool:
    return decide([given], caller, action, app) is Decision.ALLOW


# The example of the page Custom Policies: everything on two applications but RemoveUser on the first.
EXAMPLE = policy(
    rule(
        action=["name/trtc:*"],
        resource=[f"qcs::trtc::uin/{ROOT}:sdkappid/{APP1}", f"qcs::trtc::uin/{ROOT}:sdkappid/{APP2}"],
    ),
    rule("deny", ["name/trtc:RemoveUser"], [f"qcs::trtc::uin/{ROOT}:sdkappid/{APP1}"]),
)


@pytest.mark.parametrize(
    ("action", "app", "allowed"),
    [
        ("DismissRoom", APP1, True),
        ("RemoveUser", APP1, False),
        ("RemoveUserByStrRoomId", APP1, True),
        ("RemoveUser", APP2, True),
        ("RemoveUser", APP3, False),
        ("DescribeTrtcUsage", APP1, False),
        ("DismissRoom", None, False),
    ],
)
def test_the_published_example(action: str, app: int | None, allowed: bool) -> None:
    assert allows(EXAMPLE, action, app) is allowed


def test_a_root_account_needs_no_policy_and_a_sub_user_without_one_may_nothing() -> None:
    root = Caller(uin=ROOT, owner_uin=ROOT, app_id=7, address="", now_s=0)
    assert decide([], root, "RemoveUser", APP1) is Decision.ALLOW
    assert decide([], SUB, "RemoveUser", APP1) is Decision.DENY


def test_a_deny_wins_whatever_the_order_and_wherever_it_is_attached() -> None:
    allow, deny = policy(rule()), policy(rule("deny", "trtc:RemoveUser"))
    for attached in ([allow, deny], [deny, allow]):
        assert decide(attached, SUB, "RemoveUser", APP1) is Decision.DENY
        assert decide(attached, SUB, "DismissRoom", APP1) is Decision.ALLOW


def test_presets() -> None:
    full, readonly = (read(document) for document in PRESETS.values())
    for action in ("RemoveUser", "DescribeTrtcUsage", "CreateCloudRecording"):
        assert allows(full, action)
    assert allows(readonly, "DescribeCloudRecording")
    assert allows(readonly, "DescribeTrtcUsage", None)
    assert not allows(readonly, "DeleteCloudRecording")


def test_an_action_that_has_no_resource_is_granted_on_everything_only() -> None:
    one = policy(rule(resource=["qcs::trtc::uin/:sdkappid/*"]))
    assert not allows(one, "DescribeTrtcUsage")
    assert allows(one, "RemoveUser")
    assert allows(policy(rule()), "DescribeTrtcUsage")
    narrow = policy(rule(), rule("deny", resource=f"qcs::trtc::uin/:sdkappid/{APP1}"))
    assert allows(narrow, "DescribeTrtcUsage", APP1)  # the deny names a resource: it does not speak of it


@pytest.mark.parametrize(
    ("statements", "action", "early"),
    [
        ([rule()], "RemoveUser", Decision.UNDECIDED),
        ([rule(action="trtc:DismissRoom")], "RemoveUser", Decision.DENY),
        ([rule(), rule("deny", "trtc:Remove*")], "RemoveUser", Decision.DENY),
        ([rule("deny", resource=f"qcs::trtc::uin/:sdkappid/{APP1}")], "RemoveUser", Decision.DENY),
        (
            [rule(), rule("deny", resource=f"qcs::trtc::uin/:sdkappid/{APP1}")],
            "RemoveUser",
            Decision.UNDECIDED,
        ),
        ([rule()], "DescribeTrtcUsage", Decision.ALLOW),
        ([rule(resource="qcs::trtc::uin/:sdkappid/*")], "DescribeTrtcUsage", Decision.DENY),
    ],
)
def test_what_is_decided_before_the_application_is_known(
    statements: list[dict[str, Any]], action: str, early: Decision
) -> None:
    assert decide_early([policy(*statements)], SUB, action) is early


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        ("trtc:*", True),
        ("name/trtc:*", True),
        ("*:*", True),
        ("trtc:RemoveUser", True),
        ("trtc:Remove*", True),
        ("trtc:RemoveUserBy*", False),
        ("trtc:removeuser", False),
        ("cos:*", False),
        ("name/cos:GetObject", False),
    ],
)
def test_action_patterns(pattern: str, matches: bool) -> None:
    assert allows(policy(rule(action=["trtc:Nothing", pattern]))) is matches


@pytest.mark.parametrize(
    ("resource", "matches"),
    [
        ("*", True),
        (f"qcs::trtc::uin/{ROOT}:sdkappid/{APP1}", True),
        (f"qcs::trtc::uin/:sdkappid/{APP1}", True),
        (f"qcs::trtc:::sdkappid/{APP1}", True),
        (f"qcs::trtc::uin/*:SdkAppId/{APP1}", True),
        ("qcs::trtc::uin/${owner_uin}:sdkappid/*", True),
        ("qcs::trtc::*:sdkappid/14000*", True),
        ("qcs:::::*", True),
        ("qcs::*::uin/:*", True),
        (f"qcs::trtc:ap-singapore:uin/:sdkappid/{APP1}", True),
        (f"qcs::trtc:ap-beijing:uin/:sdkappid/{APP1}", False),
        (f"qcs::trtc::uin/1:sdkappid/{APP1}", False),
        ("qcs::trtc::uin/${uin}:sdkappid/*", False),  # the sub-user's own number owns nothing
        (f"qcs::trtc::uin/:sdkappid/{APP2}", False),
        ("qcs::trtc::uin/:sdkappid/15*", False),
        ("qcs::cos::uid/1:bucket/*", False),
    ],
)
def test_resource_patterns(resource: str, matches: bool) -> None:
    assert allows(policy(rule(resource=resource))) is matches


def holds(operator: str, key: str, value: Any, caller: Caller = SUB) -> bool:
    return allows(policy(rule(condition={operator: {key: value}})), caller=caller)


TAGGED = Caller(
    uin=900,
    owner_uin=ROOT,
    app_id=7,
    address="2001:db8::5",
    now_s=NOON,
    request_tags=("env&prod", "team&a"),
)


@pytest.mark.parametrize(
    ("operator", "key", "value", "expected"),
    [
        ("ip_equal", "qcs:ip", "10.1.0.0/16", True),
        ("ip_equal", "qcs:ip", ["192.0.2.1", "10.1.2.3"], True),
        ("ip_equal", "qcs:ip", "10.2.0.0/16", False),
        ("ip_equal", "qcs:ip", "2001:db8::/32", False),
        ("ip_not_equal", "qcs:ip", ["10.1.0.0/16", "192.0.2.1"], False),
        ("ip_not_equal", "qcs:ip", "192.0.2.1", True),
        ("date_less_than", "qcs:current_time", "2025-11-25T12:00:01Z", True),
        ("date_less_than", "qcs:current_time", "2025-11-25T12:00:00Z", False),
        ("date_less_than_equal", "qcs:current_time", "2025-11-25T12:00:00Z", True),
        ("date_greater_than", "qcs:current_time", "2025-11-25T14:00:00+08:00", True),
        ("date_greater_than_equal", "qcs:current_time", "2025-11-25T12:00:00Z", True),
        ("date_equal", "qcs:current_time", "2025-11-25T20:00:00+08:00", True),
        ("date_not_equal", "qcs:current_time", "2025-11-25T12:00:00Z", False),
        ("string_equal", "qcs:request_tag", "env&prod", False),
        ("string_equal_if_exist", "qcs:request_tag", "env&prod", True),
        ("string_not_equal", "qcs:request_tag", "env&prod", False),  # a missing key makes it false
        ("null_equal", "qcs:request_tag", True, True),
        ("null_equal", "qcs:request_tag", "false", False),
        ("null_equal", "qcs:ip", False, True),
    ],
)
def test_conditions(operator: str, key: str, value: Any, expected: bool) -> None:
    assert holds(operator, key, value) is expected


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("string_equal", "env&prod", True),
        ("for_any_value:string_equal", ["team&a", "x"], True),
        ("for_all_value:string_equal", "env&prod", False),
        ("for_all_value:string_equal", ["env&prod", "team&a"], True),
        ("for_all_value:string_not_equal", "env&test", True),
        ("for_all_value:string_not_equal", "env&prod", False),
        ("string_equal_ignore_case", "ENV&Prod", True),
        ("for_all_value:string_not_equal_ignore_case", "ENV&Prod", False),
        ("string_like", "env&*", True),
        ("string_like", "env&[p]rod", False),
        ("for_all_value:string_not_like", "x*", True),
        ("numeric_equal", 5, False),
        ("bool_equal", True, False),
        ("binary_equal", "AA==", False),
    ],
)
def test_conditions_on_several_values(operator: str, value: Any, expected: bool) -> None:
    assert holds(operator, "qcs:request_tag", value, TAGGED) is expected


@pytest.mark.parametrize(
    ("operator", "given", "value", "expected"),
    [
        ("numeric_equal", "5", 5.0, True),
        ("numeric_not_equal", "5", [5, 6], False),
        ("numeric_less_than", "5", [3, 6], True),
        ("numeric_less_than_equal", "5", 5, True),
        ("numeric_greater_than", "5", 5, False),
        ("numeric_greater_than_equal", "5", "5", True),
        ("bool_equal", "true", True, True),
        ("bool_equal", "true", False, False),
        ("binary_equal", "AAE=", "AAE=", True),
    ],
)
def test_typed_operators(operator: str, given: str, value: Any, expected: bool) -> None:
    caller = Caller(1, 2, 3, "", NOON, request_tags=(given,))
    assert holds(operator, "qcs:request_tag", value, caller) is expected


def test_keys_and_operators_are_joined_by_and() -> None:
    both = {"ip_equal": {"qcs:ip": "10.0.0.0/8"}, "date_less_than": {"qcs:current_time": "2026-01-01"}}
    assert allows(policy(rule(condition=both)))
    both["date_less_than"]["qcs:current_time"] = "2025-01-01"
    assert not allows(policy(rule(condition=both)))


def test_a_condition_bounds_a_deny_as_well() -> None:
    given = policy(rule(), rule("deny", condition={"ip_not_equal": {"qcs:ip": "10.0.0.0/8"}}))
    assert allows(given)
    assert not allows(given, caller=Caller(900, ROOT, 7, "192.0.2.1", NOON))


@pytest.mark.parametrize("variable", ["${uin}", "${owner_uin}", "${app_id}"])
def test_variables_in_conditions(variable: str) -> None:
    value = {"${uin}": "900", "${owner_uin}": str(ROOT), "${app_id}": "7"}[variable]
    caller = Caller(900, ROOT, 7, "", NOON, request_tags=(f"owner&{value}",))
    assert holds("string_equal", "qcs:request_tag", f"owner&{variable}", caller)


GOOD = {"version": "2.0", "statement": [rule()]}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        json.dumps({"version": "2.0"}),
        json.dumps({"statement": [rule()]}),
        json.dumps(GOOD | {"version": "1.0"}),
        json.dumps(GOOD | {"version": 2.0}),
        json.dumps(GOOD | {"principal": {"qcs": ["*"]}}),
        json.dumps(GOOD | {"Statement": []}),
        json.dumps(GOOD | {"statement": []}),
        json.dumps(GOOD | {"statement": rule()}),
        json.dumps(GOOD | {"statement": ["allow"]}),
        *(
            json.dumps(GOOD | {"statement": [statement]})
            for statement in (
                rule("Allow"),
                rule(action=[]),
                rule(action=5),
                rule(action=["trtc"]),
                rule(action="trtc:Re*User"),
                rule(action="permid/1"),
                rule(resource=[]),
                rule(resource=""),
                rule(resource=["sdkappid/1"]),
                rule(resource="qcs:id/5:trtc::uin/1:sdkappid/1"),
                rule(resource="qcs::trtc::uid/1:sdkappid/1"),
                rule(resource="qcs::trtc::uin/1:room/1"),
                rule(resource="qcs::trtc::uin/1:sdkappid/"),
                rule(Effect="allow"),
                {"effect": "allow", "action": "trtc:*"},
                rule(condition=[]),
                rule(condition={"string_equals": {"qcs:ip": "x"}}),
                rule(condition={"string_equal": {"qcs:vpc": "x"}}),
                rule(condition={"string_equal": {"QCS:ip": "x"}}),
                rule(condition={"string_equal": {"qcs:request_tag": []}}),
                rule(condition={"string_equal": {"qcs:request_tag": {}}}),
                rule(condition={"string_equal": "x"}),
                rule(condition={"ip_equal": {"qcs:ip": "10.0.0.0/33"}}),
                rule(condition={"date_less_than": {"qcs:current_time": "tomorrow"}}),
                rule(condition={"numeric_equal": {"qcs:request_tag": "five"}}),
                rule(condition={"null_equal": {"qcs:ip": "maybe"}}),
                rule(condition={"for_some_value:string_equal": {"qcs:ip": "x"}}),
            )
        ),
    ],
)
def test_a_document_that_could_be_misread_is_refused(document: str) -> None:
    with pytest.raises(BadPolicy):
        read(document)


def test_text_and_object_read_alike_in_any_element_order() -> None:
    swapped = {"statement": [dict(reversed(rule().items()))], "version": "2.0"}
    assert allows(read(json.dumps(swapped)))
    assert allows(read(swapped))


def test_the_denial_names_operation_and_resource() -> None:
    assert denial("RemoveUser", SUB, APP1) == (
        "you are not authorized to perform operation (trtc:RemoveUser)\n"
        f"resource (qcs::trtc::uin/{ROOT}:sdkappid/{APP1}) has no permission"
    )


statements = st.builds(
    rule,
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["trtc:*", "trtc:RemoveUser", "trtc:Describe*", "cos:*"]),
    st.sampled_from(["*", "qcs::trtc::uin/:sdkappid/*", f"qcs::trtc::uin/:sdkappid/{APP1}"]),
)


@given(
    given=st.lists(statements, min_size=1, max_size=5),
    action=st.sampled_from(["RemoveUser", "DescribeCloudRecording", "DescribeTrtcUsage"]),
    app=st.sampled_from([None, APP1, APP2]),
)
def test_the_early_word_never_contradicts_the_whole(
    given: list[dict[str, Any]], action: str, app: int | None
) -> None:
    attached = [policy(*given)]
    early, whole = decide_early(attached, SUB, action), decide(attached, SUB, action, app)
    assert early in (Decision.UNDECIDED, whole)
    assert whole is not Decision.UNDECIDED
    denied = [policy(*given, rule("deny"))]
    assert decide(denied, SUB, action, app) is Decision.DENY
