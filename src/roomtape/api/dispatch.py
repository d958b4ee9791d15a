"""Which actions there are: those built, by decorator, and those published but not built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from roomtape.api.errors import Family
from roomtape.api.services import Services
from roomtape.contract.regions import DEFAULT_RATE, RATES
from roomtape.contract.shapes import Request, Response
from roomtape.errors import DomainError

DEADLINE_S = 10.0

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Response)
Handler = Callable[[Q, Services], Awaitable[R]]
Check = Callable[[Any], object]  # ranges and cross-member rules of a request; raises ApiError
DatedCheck = Callable[[Any, int], object]  # those that depend on the present, in Unix seconds


@dataclass(frozen=True, slots=True)
class Action:
    """An action that is built. `raises` are the domain errors its services may give."""

    name: str
    family: Family
    request: type[Request]
    response: type[Response]
    handler: Callable[[Any, Services], Awaitable[Response]]
    held: Callable[[Any, Services], Response | None] | None  # the answer if it is in memory: asked first
    check: Check | None
    dated: DatedCheck | None
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
    check: Check | None = None
    dated: DatedCheck | None = None

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
    held: Callable[[Any, Services], Response | None] | None = None,
    check: Check | None = None,
    dated: DatedCheck | None = None,
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
            held=held,
            check=check,
            dated=dated,
            rate=rate,
            mutating=mutating,
            remembers=remembers,
            deadline_s=deadline_s,
            raises=raises,
        )
        return handler

    return register


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
    # In the mainland's SDK alone.
    *("CreatePicture", "DeletePicture", "DescribePicture", "ModifyPicture"),
    *("CreateAudioModerationSync", "CreateLiveStreamModeration"),
    *("DeleteLiveStreamModeration", "DescribeLiveStreamModeration"),
    *("CreateRecognizeVocabV3", "DeleteRecognizeVocabV3", "UpdateRecognizeVocabV3", "SetVocabStateV3"),
    *("GetRecognizeVocabV3", "GetRecognizeVocabListV3", "DownloadRecognizeVocabV3"),
    *("RegisterVoicePrint", "DeleteVoicePrint", "DescribeVoicePrint", "UpdateVoicePrint"),
    *("AsyncTextToSpeech", "DescribeAsyncTextToSpeech", "DescribeRecordStatistic"),
    *("DescribeTRTCAIRecognitionUsage", "DescribeTRTCDedicatedCloudAccUsage"),
    *("DescribeTRTCSegmentModerationUsage", "DescribeTRTCMarketScaleMetricData"),
    *("DescribeTrtcMcuTranscodeTime", "DescribeTrtcInteractiveTime"),
)

PLANNED: dict[str, Planned] = {
    name: Planned(name, Family.OTHER, None, "outside the scope of this server") for name in _NAMED
}


def planned(
    name: str,
    family: Family,
    request: type[Request],
    reason: str,
    *,
    check: Check | None = None,
    dated: DatedCheck | None = None,
) -> None:
    """Register an action that is not built: its requests are read and judged all the same."""
    PLANNED[name] = Planned(name, family, request, reason, check, dated)


# Former names of the monitoring actions.
RETIRED = frozenset(
    {
        *("DescribeRoomInformation", "DescribeDetailEvent", "DescribeCallDetail"),
        *("DescribeUserInformation", "DescribeHistoryScale", "DescribeAbnormalEvent"),
    }
)
