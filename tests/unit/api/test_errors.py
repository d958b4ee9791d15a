"""Every domain error of every action has a code, and every code is on the action's page or explained."""

from __future__ import annotations

import pytest

import roomtape.api.gateway  # noqa: F401  (registers the actions)
from roomtape.access.errors import UnknownApp
from roomtape.api.dispatch import ACTIONS, PLANNED
from roomtape.api.errors import (
    COMMON_CODES,
    FAULT_CODES,
    OFF_LIST,
    WIRE_CODES,
    Family,
    ForeignApp,
    malformed_code,
    missing_code,
    of_error,
    of_fault,
    unreadable_code,
)
from roomtape.api.messages import BY_CODE_ZH
from roomtape.contract.codes import COMMON, LISTED
from roomtape.errors import DomainError, NotBuilt, Unavailable

KNOWN = COMMON | {code for codes in LISTED.values() for code in codes} | {"InvalidParameter.SdkAppid"}


@pytest.mark.parametrize("name", ACTIONS)
def test_every_declared_error_has_a_code_the_page_lists(name: str) -> None:
    action = ACTIONS[name]
    assert action.raises
    for error in action.raises:
        code = WIRE_CODES.get((action.family, error)) or COMMON_CODES.get(error)
        assert code, f"{error.__name__} has no code in {action.family}"
        assert code in LISTED[name] | COMMON or (name, code) in OFF_LIST, f"{name} does not list {code}"


@pytest.mark.parametrize("name", sorted(LISTED))
def test_what_ownership_answers_is_on_the_page_or_explained(name: str) -> None:
    family = (ACTIONS.get(name) or PLANNED[name]).family
    for error in (UnknownApp(1), ForeignApp(1), NotBuilt("x"), Unavailable("x")):
        answer = of_error(family, error)
        assert answer is not None
        assert answer.code in LISTED[name] | COMMON or (name, answer.code) in OFF_LIST
    fault = of_fault(family, RuntimeError()).code
    assert fault in LISTED[name] | COMMON or (name, fault) in OFF_LIST


def test_every_family_answers_an_unknown_application() -> None:
    for family in Family:
        assert of_error(family, UnknownApp(1)) is not None


def test_no_code_is_invented() -> None:
    used = {*WIRE_CODES.values(), *COMMON_CODES.values(), *FAULT_CODES.values()}
    assert used | {code for _, code in OFF_LIST} <= KNOWN


def test_every_domain_error_is_told_in_chinese_too() -> None:
    untold = set(WIRE_CODES.values()) - BY_CODE_ZH.keys()
    assert untold == set(), "of_domain would answer in English"


def test_every_exception_to_a_page_is_used_and_has_its_reason() -> None:
    for (name, code), reason in OFF_LIST.items():
        assert code not in LISTED[name] | COMMON
        assert len(reason.split()) > 3


def test_an_error_without_a_row_is_nobodys_answer() -> None:
    class Novel(DomainError):
        """Not mapped."""

    assert of_error(Family.RECORDING, Novel("x")) is None


def test_a_subclass_is_told_like_its_base() -> None:
    answer = of_error(Family.RECORDING, ForeignApp(5))
    assert answer is not None
    assert (answer.code, "5" in answer.text.en) == ("InvalidParameter.SdkAppId", True)


@pytest.mark.parametrize(
    ("action", "name", "code"),
    [
        ("CreateCloudRecording", "Bucket", "MissingParameter.Bucket"),
        ("CreateCloudRecording", "Width", "MissingParameter"),
        ("DescribeScaleInfo", "StartTime", "MissingParameter.StartTs"),
        ("DescribeScaleInfo", "EndTime", "MissingParameter.EndTs"),
        ("DescribeUserEvent", "SdkAppId", "MissingParameter.CommIdOrSdkAppId"),
        ("SetUserBlockedByStrRoomId", "StrRoomId", "MissingParameter.RoomId"),
        ("SetUserBlocked", "UserId", "MissingParameter"),
        ("StopStreamIngest", "TaskId", "InvalidParameter.BodyParamsError"),
        ("StartPublishCdnStream", "RoomId", "MissingParameter"),
    ],
)
def test_an_absent_member_has_the_sub_code_its_page_lists(action: str, name: str, code: str) -> None:
    assert missing_code(action, name) == code


def test_a_malformed_member_and_body_have_the_sub_code_their_page_lists() -> None:
    assert malformed_code("RemoveUser", "UserIds") == "InvalidParameter.UserIds"
    assert malformed_code("ModifyCloudRecording", "SdkAppId") == "InvalidParameter"
    assert unreadable_code("DescribeScaleInfo") == "InvalidParameter.BodyParamsError"
    assert unreadable_code("RemoveUser") == "InvalidParameter"


def test_every_domain_error_says_in_a_sentence_what_it_is_and_whose_fault() -> None:
    def below(kind: type[DomainError]) -> list[type[DomainError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))]

    for kind in below(DomainError):
        if kind.__module__.startswith("roomtape."):
            assert (kind.__doc__ or "").strip().split("\n")[0].endswith((".", ",", ";"))
            assert kind.fault in ("caller", "destination", "ours")
