"""The five actions of usage statistics: what a request may ask for. The queries are not built."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Protocol

from roomtape.api import messages
from roomtape.api.dispatch import planned
from roomtape.api.errors import ApiError, Family
from roomtape.api.messages import Text
from roomtape.contract.usage import (
    DescribeMixTranscodingUsageRequest,
    DescribeRecordingUsageRequest,
    DescribeRelayUsageRequest,
    DescribeTrtcRoomUsageRequest,
    DescribeTrtcUsageRequest,
)

MAX_DAYS = 31
MIX_TYPES = ("single", "multi")

_NOT_BUILT = "minutes are stored from the first day; the queries are not built yet"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?")
_MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}")


class _Span(Protocol):
    start_time: str
    end_time: str


def days(req: _Span) -> tuple[date, date]:
    """The first and the last day asked for; both count.

    Written the wrong way round they are swapped: the published samples are. Raises ApiError.
    """
    first, last = sorted(_moment(_DAY, n, t).date() for n, t in _ends(req))
    if (last - first).days >= MAX_DAYS:
        raise _too_long(f"StartTime to EndTime may be at most {MAX_DAYS} days.", f"最长 {MAX_DAYS} 天。")
    return first, last


def recorded_days(req: DescribeRecordingUsageRequest) -> tuple[date, date]:
    if req.mix_type not in MIX_TYPES:
        raise ApiError("InvalidParameter", messages.one_of("MixType", ", ".join(MIX_TYPES)))
    return days(req)


def minutes(req: DescribeTrtcRoomUsageRequest) -> tuple[datetime, datetime]:
    """The span asked for, without a zone: it is that of the reports. Raises ApiError."""
    start, end = (_moment(_MINUTE, n, t) for n, t in _ends(req))
    if end <= start:
        raise ApiError(
            "InvalidParameter", Text("EndTime must lie after StartTime.", "EndTime 必须晚于 StartTime。")
        )
    if end - start > timedelta(hours=24):
        raise _too_long("StartTime and EndTime may lie at most 24 h apart.", "最长 24 小时。")
    return start, end


def _ends(req: _Span) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("StartTime", req.start_time), ("EndTime", req.end_time)


def _moment(form: re.Pattern[str], name: str, text: str) -> datetime:
    if form.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    wanted = "YYYY-MM-DD" if form is _DAY else "YYYY-MM-DD HH:MM"
    raise ApiError("InvalidParameter", Text(f"{name} must be {wanted}.", f"{name} 格式必须是 {wanted}。"))


def _too_long(english: str, chinese: str) -> ApiError:
    return ApiError("InvalidParameter.QueryScaleOversize", Text(english, chinese))


planned("DescribeTrtcUsage", Family.USAGE, DescribeTrtcUsageRequest, _NOT_BUILT, check=days)
planned(
    "DescribeRecordingUsage", Family.USAGE, DescribeRecordingUsageRequest, _NOT_BUILT, check=recorded_days
)
planned(
    "DescribeMixTranscodingUsage", Family.USAGE, DescribeMixTranscodingUsageRequest, _NOT_BUILT, check=days
)
planned("DescribeRelayUsage", Family.USAGE, DescribeRelayUsageRequest, _NOT_BUILT, check=days)
planned("DescribeTrtcRoomUsage", Family.ROOM_USAGE, DescribeTrtcRoomUsageRequest, _NOT_BUILT, check=minutes)
