"""The five actions of call quality monitoring: what a request may ask for. The queries are not built."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from roomtape.api import messages
from roomtape.api.actions.limits import is_user_id
from roomtape.api.dispatch import planned
from roomtape.api.errors import ApiError, Family, malformed_code
from roomtape.api.messages import Text
from roomtape.contract import quality
from roomtape.contract.quality import (
    DescribeCallDetailInfoRequest,
    DescribeRoomInfoRequest,
    DescribeScaleInfoRequest,
    DescribeUserEventRequest,
    DescribeUserInfoRequest,
)

HOUR_S = 3600
KEPT_S = 14 * 24 * HOUR_S
MAX_PAGE = 100
MAX_USERS = 100
MAX_WITH_METRICS = 6  # users and rows, where DataType asks for their metrics
METRICS = frozenset(
    {
        *("appCpu", "sysCpu", "aBit", "aBlock", "bigvBit", "bigvCapFps", "bigvEncFps", "bigvDecFps"),
        *("bigvBlock", "aLoss", "bigvLoss", "bigvWidth", "bigvHeight"),
        # Taken by name, and not among `all`.
        *("aCapEnergy", "aPlayEnergy", "rtt", "bigvRecFps", "all"),
    }
)

_NOT_BUILT = "facts are stored from the first day; the queries are not built yet"
_CALL = re.compile(r"([0-9]{1,20})_[0-9]{1,20}_[0-9]{1,20}")


class _Span(Protocol):
    start_time: int
    end_time: int


class _Paged(Protocol):
    page_number: int | None
    page_size: int | None


class _OfCall(Protocol):
    comm_id: str
    sdk_app_id: int


def check_rooms(req: DescribeRoomInfoRequest) -> None:
    _span("DescribeRoomInfo", req, 24 * HOUR_S)
    _page("DescribeRoomInfo", req, MAX_PAGE)


def check_events(req: DescribeUserEventRequest) -> None:
    _call("DescribeUserEvent", req)
    _span("DescribeUserEvent", req, None)
    _user("DescribeUserEvent", "UserId", req.user_id)


def check_details(req: DescribeCallDetailInfoRequest) -> None:
    name, metrics = "DescribeCallDetailInfo", bool(req.data_type)
    _call(name, req)
    for i, metric in enumerate(req.data_type or ()):
        if metric not in METRICS:
            known = ", ".join(sorted(METRICS))
            raise ApiError("InvalidParameter", messages.one_of(f"DataType.{i}", known))
    users = req.user_ids or []
    if metrics and len(users) > MAX_WITH_METRICS:
        raise ApiError(
            "InvalidParameter.UserIdsMorethanSix",
            messages.at_most(
                "UserIds", MAX_WITH_METRICS, "users with DataType", "个用户（指定 DataType 时）"
            ),
        )
    _users(name, users)
    _span(name, req, HOUR_S if metrics else 4 * HOUR_S)
    _page(name, req, MAX_WITH_METRICS if metrics else MAX_PAGE)


def check_users(req: DescribeUserInfoRequest) -> None:
    _call("DescribeUserInfo", req)
    _users("DescribeUserInfo", req.user_ids or [])
    _span("DescribeUserInfo", req, 4 * HOUR_S)
    _page("DescribeUserInfo", req, MAX_PAGE)


def check_scale(req: DescribeScaleInfoRequest) -> None:
    _span("DescribeScaleInfo", req, None)


def check_age(req: _Span, now_s: int) -> None:
    """Facts are answered for 14 days."""
    if req.start_time < now_s - KEPT_S:
        raise ApiError(
            "InvalidParameter.StartTsOversize",
            Text("StartTime may lie at most 14 days back.", "StartTime 只能查询最近 14 天。"),
        )


def _span(action: str, req: _Span, longest_s: int | None) -> None:
    if req.start_time == 0:
        raise ApiError(
            malformed_code(action, "StartTime"),
            Text("StartTime must be a positive number of Unix seconds.", "StartTime 必须是正整数秒。"),
        )
    if req.end_time <= req.start_time:
        raise ApiError(
            malformed_code(action, "EndTime"),
            Text("EndTime must lie after StartTime; both are Unix seconds.", "EndTime 必须晚于 StartTime。"),
        )
    if longest_s is not None and req.end_time - req.start_time > longest_s:
        hours = longest_s // HOUR_S
        raise ApiError(
            "InvalidParameter.QueryScaleOversize",
            Text(
                f"StartTime and EndTime may lie at most {hours} h apart here.",
                f"查询时间跨度最长 {hours} 小时。",
            ),
        )


def _page(action: str, req: _Paged, most: int) -> None:
    size = req.page_size
    if size is None:
        return
    if size > MAX_PAGE:
        raise ApiError("InvalidParameter.PageSizeOversize", messages.between("PageSize", 1, MAX_PAGE))
    if not 1 <= size <= most:
        raise ApiError(malformed_code(action, "PageSize"), messages.between("PageSize", 1, most))


def _call(action: str, req: _OfCall) -> None:
    """The CommId has its form, and is of the application that is asked about."""
    found = _CALL.fullmatch(req.comm_id)
    if found is None:
        raise ApiError(
            malformed_code(action, "CommId"),
            Text(
                "CommId must be the application, a room number and a time: 1400000001_70012_1741078800.",
                "CommId 格式错误。",
            ),
        )
    if int(found[1]) != req.sdk_app_id:
        raise ApiError(
            "InvalidParameter.SdkAppid",
            Text("CommId is of another application than SdkAppId.", "CommId 与 SdkAppId 不符。"),
        )


def _users(action: str, users: list[str]) -> None:
    if len(users) > MAX_USERS:
        raise ApiError("InvalidParameter", messages.at_most("UserIds", MAX_USERS, "users", "个用户"))
    for i, user in enumerate(users):
        _user(action, f"UserIds.{i}", user)


def _user(action: str, where: str, user: str) -> None:
    if not is_user_id(user):
        raise ApiError(
            malformed_code(action, "UserId"),
            Text(
                f"{where} must be 1 to 64 characters of A-Z a-z 0-9 _ - . @ # : + =.",
                f"{where} 必须是 1 到 64 个合法字符。",
            ),
        )


def _plan(name: str, family: Family, check: Callable[..., None]) -> None:
    planned(name, family, getattr(quality, f"{name}Request"), _NOT_BUILT, check=check, dated=check_age)


for _name, _check in (
    ("DescribeRoomInfo", check_rooms),
    ("DescribeCallDetailInfo", check_details),
    ("DescribeUserInfo", check_users),
    ("DescribeScaleInfo", check_scale),
):
    _plan(_name, Family.MONITORING, _check)
_plan("DescribeUserEvent", Family.USER_EVENTS, check_events)
