"""Where a fault meets its wire code: the only module that knows both.

The same fault has different codes in different actions, so a code belongs to (family, fault), a family
being the actions whose pages list the same codes. `OFF_LIST` holds every code we answer that is neither
common nor on the action's own page, each with its reason.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum, auto

from roomtape.access.errors import AccountBlocked, BadUserSig, TicketRefused, UnknownApp
from roomtape.api.messages import Text, of_domain
from roomtape.contract.codes import LISTED
from roomtape.errors import DomainError, NotBuilt, Unavailable
from roomtape.recording.errors import (
    FeatureOff,
    NoCapacity,
    OptionNotSupported,
    TaskExited,
    TaskNotFound,
    TooManyTasks,
)
from roomtape.rooms.errors import RoomNotFound, UserNotInRoom
from roomtape.state.database import DatabaseUnavailable


class Family(Enum):
    """Actions whose pages list the same codes."""

    ROOMS = auto()
    BLOCKING = auto()
    MONITORING = auto()
    USER_EVENTS = auto()
    USAGE = auto()
    ROOM_USAGE = auto()
    RECORDING = auto()
    RECORDING_MODIFY = auto()
    RELAY_START = auto()
    RELAY = auto()
    INGEST = auto()
    INGEST_QUERY = auto()
    OTHER = auto()  # known by name only


class ApiError(Exception):
    """A request ends here with this code and text."""

    def __init__(self, code: str, text: Text) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


class OutOfRange(ApiError):
    """A value is outside its range or does not fit another; see `range_code` for what the action calls it."""


class ForeignApp(UnknownApp):
    """The application belongs to another account."""


WIRE_CODES: Mapping[tuple[Family, type[DomainError]], str] = {
    (Family.RECORDING, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.RECORDING, AccountBlocked): "AuthFailure",
    (Family.RECORDING, BadUserSig): "InvalidParameter.UserSig",
    (Family.RECORDING, TicketRefused): "FailedOperation",
    (Family.RECORDING, FeatureOff): "FailedOperation.CRUnsupportMethod",
    (Family.RECORDING, TooManyTasks): "FailedOperation.RestrictedConcurrency",
    (Family.RECORDING, NoCapacity): "FailedOperation.RestrictedConcurrency",
    (Family.RECORDING, TaskNotFound): "ResourceNotFound",
    (Family.RECORDING, OptionNotSupported): "UnsupportedOperation",
    (Family.RECORDING_MODIFY, UnknownApp): "ResourceNotFound",
    (Family.RECORDING_MODIFY, AccountBlocked): "AuthFailure",
    (Family.RECORDING_MODIFY, TaskNotFound): "ResourceNotFound",
    (Family.RECORDING_MODIFY, TaskExited): "FailedOperation",
    (Family.RECORDING_MODIFY, OptionNotSupported): "UnsupportedOperation",
    (Family.ROOMS, RoomNotFound): "FailedOperation.RoomNotExist",
    (Family.BLOCKING, RoomNotFound): "FailedOperation.RoomNotExist",
    (Family.BLOCKING, UserNotInRoom): "FailedOperation.UserNotExist",
    (Family.ROOMS, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.ROOMS, ForeignApp): "UnauthorizedOperation.SdkAppId",
    (Family.BLOCKING, UnknownApp): "FailedOperation.SdkAppIdNotExist",
    (Family.BLOCKING, ForeignApp): "UnauthorizedOperation.SdkAppId",
    (Family.MONITORING, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.MONITORING, ForeignApp): "InvalidParameter.SdkAppid",
    (Family.USER_EVENTS, UnknownApp): "InvalidParameter.SdkAppid",
    (Family.USAGE, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.ROOM_USAGE, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.RELAY_START, AccountBlocked): "AuthFailure",
    (Family.RELAY_START, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.RELAY, AccountBlocked): "AuthFailure",
    (Family.RELAY, UnknownApp): "InvalidParameter",
    (Family.INGEST, UnknownApp): "InvalidParameter.SdkAppId",
    (Family.INGEST_QUERY, UnknownApp): "InvalidParameter",
    (Family.OTHER, UnknownApp): "InvalidParameter",
}

# The same in every family that says nothing else.
COMMON_CODES: Mapping[type[DomainError], str] = {
    NotBuilt: "UnsupportedOperation",
    Unavailable: "ServiceUnavailable",
    AccountBlocked: "AuthFailure.UnauthorizedOperation",
}

# What an unexpected exception is called. Clients that fail over between regions take exactly
# `InternalError` as the death of a node, so a family with a code of its own uses that.
FAULT_CODES: Mapping[Family, str] = {
    Family.RECORDING: "InternalError.CRInternalError",
    Family.RECORDING_MODIFY: "InternalError.CRInternalError",
    Family.INGEST: "InternalError.InternalError",
}

OFF_LIST: Mapping[tuple[str, str], str] = {
    ("CreateCloudRecording", "InvalidParameter.UserSig"): (
        "the service defines it for a robot's UserSig, and the page tells clients to correct the request "
        "on any InvalidParameter.*; no listed code says that the signature is wrong"
    ),
    ("DescribeRoomInfo", "InvalidParameter.SdkAppid"): "the service's list has it for these actions",
    ("DescribeUserEvent", "InvalidParameter.SdkAppid"): "the service's list has it for these actions",
    ("DescribeCallDetailInfo", "InvalidParameter.SdkAppid"): "the service's list has it for these actions",
    ("DescribeUserInfo", "InvalidParameter.SdkAppid"): "the service's list has it for these actions",
    ("DescribeScaleInfo", "InvalidParameter.SdkAppid"): "the service's list has it for these actions",
    ("DescribeTrtcRoomUsage", "InvalidParameter.SdkAppId"): "as in the other usage actions",
    ("DescribeTrtcRoomUsage", "MissingParameter.SdkAppId"): "as in every action that requires it",
    ("DescribeTrtcRoomUsage", "InvalidParameter.QueryScaleOversize"): "as in the other usage actions",
    ("StopStreamIngest", "InternalError.InternalError"): "the sibling's code for a fault worth a retry",
    ("UpdateStreamIngest", "InternalError.InternalError"): "the sibling's code for a fault worth a retry",
}

# Fields whose sub-code is not their name.
_SUBCODES = {"StartTime": "StartTs", "EndTime": "EndTs", "StrRoomId": "RoomId"}


# Actions that name a call by its CommId, which begins with the application.
_OF_CALLS = frozenset({"DescribeUserEvent", "DescribeCallDetailInfo", "DescribeUserInfo"})


def missing_code(action: str, name: str, given: Container[str] = ()) -> str:
    """The code for an absent field: the action's own sub-code if its page lists one.

    `given` are the names at the top of the request.
    """
    if (action, name) == ("DescribeUserEvent", "SdkAppId"):
        return "MissingParameter.CommIdOrSdkAppId"
    if action in _OF_CALLS and name == "CommId" and "SdkAppId" not in given:
        return "MissingParameter.CommIdOrSdkAppId"
    if name == "SdkAppid":
        return "MissingParameter.SdkAppId"
    code = _listed(action, "MissingParameter", _SUBCODES.get(name, name))
    return _of_body(action) if code == "MissingParameter" and _of_body(action) else code


def malformed_code(action: str, name: str) -> str:
    """The code for a value of the wrong type: the action's own sub-code if its page lists one."""
    if (action, name) == ("DescribeUserEvent", "SdkAppId"):
        return "InvalidParameter.SdkAppid"
    if name == "SdkAppid":
        return "InvalidParameter.SdkAppId"
    code = _listed(action, "InvalidParameter", _SUBCODES.get(name, name))
    return _of_body(action) if code == "InvalidParameter" and _of_body(action) else code


def range_code(action: str) -> str:
    """The code for a value outside its range."""
    return _of_body(action) or _listed(action, "InvalidParameter", "OutOfRange")


def unreadable_code(action: str, *, query: bool = False) -> str:
    """The code for a body that is not a JSON object or a form, or for a query that makes no sense."""
    if query:
        return _listed(action, "InvalidParameter", "UrlParamsError")
    return _listed(action, "InvalidParameter", "BodyParamsError")


def _of_body(action: str) -> str:
    """Pages with a code for a bad body and no common one: it is said of absent and wrong members too."""
    return "InvalidParameter.BodyParamsError" if action in ("StartStreamIngest", "StopStreamIngest") else ""


def of_error(family: Family, error: DomainError) -> ApiError | None:
    """The answer to a domain error; None when the family has no row for it (that is our fault)."""
    for kind in type(error).__mro__:
        if not issubclass(kind, DomainError):
            continue
        code = WIRE_CODES.get((family, kind)) or COMMON_CODES.get(kind)
        if code is not None:
            return ApiError(code, of_domain(code, str(error)))
    return None


def of_fault(family: Family, error: Exception) -> ApiError:
    """The answer to what nobody expected."""
    if isinstance(error, DatabaseUnavailable):
        code = "ServiceUnavailable"
        return ApiError(code, of_domain(code, "The service is not available now; try again."))
    code = FAULT_CODES.get(family, "InternalError")
    if isinstance(error, TimeoutError):
        return ApiError(code, of_domain(code, "The service did not answer in time; try again."))
    return ApiError(code, of_domain(code, "The service failed; try again."))


def _listed(action: str, first: str, second: str) -> str:
    code = f"{first}.{second}"
    return code if code in LISTED.get(action, ()) else first
