"""Which actions there are: those built, by decorator, and those published but not built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from roomtape.api.errors import Family
from roomtape.api.services import Services
from roomtape.contract import ingest, quality, relay, usage
from roomtape.contract.regions import DEFAULT_RATE, RATES
from roomtape.contract.shapes import Request, Response
from roomtape.errors import DomainError

DEADLINE_S = 10.0

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Response)
Handler = Callable[[Q, Services], Awaitable[R]]


@dataclass(frozen=True, slots=True)
class Action:
    """An action that is built. `raises` are the domain errors its services may give."""

    name: str
    family: Family
    request: type[Request]
    response: type[Response]
    handler: Callable[[Any, Services], Awaitable[Response]]
    check: Callable[[Any], object] | None  # ranges and cross-field rules of the request; raises ApiError
    rate: float  # calls per second of an account
    mutating: bool  # a repeat of the same signed request is answered from the first
    remembers: bool  # its service stores the answer in its own transaction; else it is stored right after
    deadline_s: float
    raises: tuple[type[DomainError], ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """An action that is published and known, but not built: valid requests get UnsupportedOperation."""

    name: str
    family: Family
    request: type[Request] | None  # None: not even its parameters are known here
    reason: str

    @property
    def rate(self) -> float:
        return RATES.get(self.name, DEFAULT_RATE)


ACTIONS: dict[str, Action] = {}


def action(
    name: str,
    family: Family,
    *,
    rate: float = DEFAULT_RATE,
    mutating: bool = False,
    remembers: bool = True,
    deadline_s: float = DEADLINE_S,
    check: Callable[[Any], object] | None = None,
    raises: tuple[type[DomainError], ...] = (),
) -> Callable[[Handler[Q, R]], Handler[Q, R]]:
    """Register a handler under a published name; its shapes are read from its annotations."""

    def register(handler: Handler[Q, R]) -> Handler[Q, R]:
        hints = get_type_hints(handler)
        ACTIONS[name] = Action(
            name=name,
            family=family,
            request=hints["req"],
            response=hints["return"],
            handler=handler,
            check=check,
            rate=rate,
            mutating=mutating,
            remembers=remembers,
            deadline_s=deadline_s,
            raises=raises,
        )
        return handler

    return register


_QUALITY = "facts are stored from the first day; the queries are not built yet"
_USAGE = "minutes are stored from the first day; the queries are not built yet"
_RELAY = "mixing and relay are not built yet"
_INGEST = "pulled streams are not built yet"

_SHAPED = (
    Planned("DescribeRoomInfo", Family.MONITORING, quality.DescribeRoomInfoRequest, _QUALITY),
    Planned("DescribeUserEvent", Family.MONITORING, quality.DescribeUserEventRequest, _QUALITY),
    Planned("DescribeCallDetailInfo", Family.MONITORING, quality.DescribeCallDetailInfoRequest, _QUALITY),
    Planned("DescribeUserInfo", Family.MONITORING, quality.DescribeUserInfoRequest, _QUALITY),
    Planned("DescribeScaleInfo", Family.MONITORING, quality.DescribeScaleInfoRequest, _QUALITY),
    Planned("DescribeTrtcUsage", Family.USAGE, usage.DescribeTrtcUsageRequest, _USAGE),
    Planned("DescribeRecordingUsage", Family.USAGE, usage.DescribeRecordingUsageRequest, _USAGE),
    Planned("DescribeMixTranscodingUsage", Family.USAGE, usage.DescribeMixTranscodingUsageRequest, _USAGE),
    Planned("DescribeRelayUsage", Family.USAGE, usage.DescribeRelayUsageRequest, _USAGE),
    Planned("DescribeTrtcRoomUsage", Family.ROOM_USAGE, usage.DescribeTrtcRoomUsageRequest, _USAGE),
    Planned("StartPublishCdnStream", Family.RELAY_START, relay.StartPublishCdnStreamRequest, _RELAY),
    Planned("UpdatePublishCdnStream", Family.RELAY, relay.UpdatePublishCdnStreamRequest, _RELAY),
    Planned("StopPublishCdnStream", Family.RELAY, relay.StopPublishCdnStreamRequest, _RELAY),
    Planned("StartStreamIngest", Family.INGEST, ingest.StartStreamIngestRequest, _INGEST),
    Planned("StopStreamIngest", Family.INGEST, ingest.StopStreamIngestRequest, _INGEST),
    Planned("DescribeStreamIngest", Family.INGEST_QUERY, ingest.DescribeStreamIngestRequest, _INGEST),
    Planned("UpdateStreamIngest", Family.INGEST_QUERY, ingest.UpdateStreamIngestRequest, _INGEST),
)

# In the published category list or in an official SDK, outside what this server set out to do.
_NAMED = (
    *("DescribeUnusualEvent",),
    *("DescribeTRTCRealTimeScaleData", "DescribeTRTCRealTimeQualityData"),
    *("DescribeTRTCMarketScaleData", "DescribeTRTCMarketQualityData"),
    *("StartWebRecord", "DescribeWebRecord", "StopWebRecord"),
    *("StartAIConversation", "DescribeAIConversation", "StopAIConversation"),
    *("ControlAIConversation", "UpdateAIConversation"),
    *("StartAITranscription", "DescribeAITranscription", "StopAITranscription"),
    *("CreateCloudSliceTask", "DeleteCloudSliceTask", "DescribeCloudSliceTask", "ModifyCloudSliceTask"),
    *("CreateCloudModeration", "DeleteCloudModeration"),
    *("DescribeCloudModeration", "ModifyCloudModeration"),
    *("CreateCloudTranscription", "DescribeCloudTranscription", "DeleteCloudTranscription"),
    *("TextToSpeech", "TextToSpeechSSE", "VoiceClone", "QueryAIMessageList"),
    *("StartMCUMixTranscode", "StartMCUMixTranscodeByStrRoomId"),
    *("StopMCUMixTranscode", "StopMCUMixTranscodeByStrRoomId"),
)

PLANNED: dict[str, Planned] = {
    **{planned.name: planned for planned in _SHAPED},
    **{name: Planned(name, Family.OTHER, None, "outside the scope of this server") for name in _NAMED},
}

# Former names of the monitoring actions.
RETIRED = frozenset(
    {
        *("DescribeRoomInformation", "DescribeDetailEvent", "DescribeCallDetail"),
        *("DescribeUserInformation", "DescribeHistoryScale", "DescribeAbnormalEvent"),
    }
)
