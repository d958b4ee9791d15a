"""What the members of call quality and usage mean: see `meanings`."""

from __future__ import annotations

from collections.abc import Mapping

from roomtape.contract.meaning import USER, Meaning

CALL = "1400000001_70012_1741078800"
CALL_ID = r"^[0-9]{1,20}_[0-9]{1,20}_[0-9]{1,20}$"
START, END = 1741078800, 1741082400
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?$"
MINUTE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}$"
METRICS = (
    *("all", "appCpu", "sysCpu", "aBit", "aBlock", "bigvBit", "bigvCapFps", "bigvEncFps", "bigvDecFps"),
    *("bigvBlock", "aLoss", "bigvLoss", "bigvWidth", "bigvHeight"),
    *("aCapEnergy", "aPlayEnergy", "rtt", "bigvRecFps"),
)

REPORTS: Mapping[str, Meaning] = {
    # --- call quality ---
    "quality:CommId": Meaning(
        "The call: its application, a number of its room and when it began. DescribeRoomInfo tells it.",
        example=CALL,
        pattern=CALL_ID,
    ),
    "quality:StartTime": Meaning("Unix seconds, at most 14 days back.", low=1, example=START),
    "quality:EndTime": Meaning("Unix seconds, after StartTime.", low=1, example=END),
    "DescribeRoomInfoRequest.EndTime": Meaning(
        "Unix seconds, at most 24 h after StartTime.", low=1, example=END
    ),
    "DescribeUserInfoRequest.EndTime": Meaning(
        "Unix seconds, at most 4 h after StartTime.", low=1, example=END
    ),
    "DescribeCallDetailInfoRequest.EndTime": Meaning(
        "Unix seconds, at most 4 h after StartTime, with DataType 1 h.", low=1, example=END
    ),
    "DescribeUserEventRequest.EndTime": Meaning(
        "Unix seconds; one after the call's end means that end.", low=1, example=END
    ),
    "DescribeRoomInfoRequest.RoomId": Meaning("One room, by its whole name; a string for integer rooms too."),
    "quality:PageNumber": Meaning("The page, from 0; without PageSize it is not looked at.", default=0),
    "DescribeRoomInfoRequest.PageSize": Meaning("Rooms of a page; without PageNumber it is 10.", 1, 100, 10),
    "quality:PageSize": Meaning(
        "Users of a page, with DataType at most 6; without PageNumber it is 6.", 1, 100, 6
    ),
    "quality:UserIds": Meaning(
        "Which users, with DataType at most 6; the first 6 when absent.", most=100, pattern=USER
    ),
    "DescribeUserEventRequest.UserId": Meaning("Whose events.", example="alice", pattern=USER),
    "DescribeUserEventRequest.RoomId": Meaning("The call's room, by name.", example="70012"),
    "DescribeCallDetailInfoRequest.DataType": Meaning(
        "Which metrics; users alone when absent.", words=METRICS, example=["bigvBit"], usual=True
    ),
    # --- answers of call quality ---
    "DescribeRoomInfoResponse.Total": Meaning("Rooms on this page: one that is not full is the last."),
    "quality:RoomList": Meaning("Calls, the latest first."),
    "RoomState.RoomString": Meaning("The room's name; of an integer room its digits."),
    "RoomState.CreateTime": Meaning("Unix seconds."),
    "RoomState.DestroyTime": Meaning("Unix seconds; of a call that goes on, the time of the question."),
    "RoomState.IsFinished": Meaning("Whether it is over."),
    "RoomState.UserId": Meaning("Who entered first."),
    "DescribeUserEventResponse.Data": Meaning(
        "Events, grouped by whose they are; empty when there are none."
    ),
    "EventList.Content": Meaning("The events, in order."),
    "EventList.PeerId": Meaning("Whose stream they are about."),
    "EventMessage.Type": Meaning(
        "What they are about: 0 no picture, 2 the main picture, 3 the small one, 7 the substream."
    ),
    "EventMessage.Time": Meaning("Unix ms."),
    "EventMessage.EventId": Meaning("What happened, by its published number."),
    "EventMessage.ParamOne": Meaning("By the event; -1 when it has none."),
    "EventMessage.ParamTwo": Meaning("By the event; -1 when it has none."),
    "quality:Total": Meaning("How many there are in all."),
    "quality:UserList": Meaning("Stays of users: who entered twice has two."),
    "UserInformation.RoomStr": Meaning("The room's name."),
    "UserInformation.UserId": Meaning("The user."),
    "UserInformation.JoinTs": Meaning("Unix seconds."),
    "UserInformation.LeaveTs": Meaning("Unix seconds; of who is still there, the time of the question."),
    "UserInformation.DeviceType": Meaning("What he used."),
    "UserInformation.SdkVersion": Meaning("Its version; empty when it is not known."),
    "UserInformation.ClientIp": Meaning("His address."),
    "UserInformation.Finished": Meaning("Whether he has left."),
    "DescribeCallDetailInfoResponse.Data": Meaning(
        "Metrics of the users of this page; absent without DataType."
    ),
    "QualityData.Content": Meaning("Samples, one in 2 s."),
    "QualityData.UserId": Meaning("Who measured."),
    "QualityData.PeerId": Meaning("Whose stream was received; empty for what was sent or is local."),
    "QualityData.DataType": Meaning("The metric."),
    "TimeValue.Time": Meaning("Unix seconds."),
    "TimeValue.Value": Meaning(
        "The value, in the metric's unit: bit/s, ms, per cent, pixels or pictures a second."
    ),
    "DescribeScaleInfoResponse.ScaleList": Meaning("Days, the latest first; never the present one."),
    "ScaleInfomation.Time": Meaning("Unix seconds of the day's begin."),
    "ScaleInfomation.UserNumber": Meaning("Different users."),
    "ScaleInfomation.UserCount": Meaning("Entries."),
    "ScaleInfomation.RoomNumbers": Meaning("Calls."),
    # --- usage ---
    "usage:SdkAppId": Meaning(
        "One application; all of the account together when absent.", example=1400000001, usual=True
    ),
    "usage:StartTime": Meaning(
        "The first day, `YYYY-MM-DD`; a time behind it is ignored.", example="2025-03-04", pattern=DAY
    ),
    "usage:EndTime": Meaning(
        "The last day, counted too: at most 31 in all. One day is told in 5 minutes, more by days.",
        example="2025-03-04",
        pattern=DAY,
    ),
    "usage:MixType": Meaning(
        "Recordings of single streams, or mixed ones.", words=("single", "multi"), example="single"
    ),
    "DescribeTrtcRoomUsageRequest.SdkAppid": Meaning(
        "The application; written with a small d, as in no other action. `SdkAppId` is taken, too.",
        example=1400000001,
    ),
    "DescribeTrtcRoomUsageRequest.StartTime": Meaning(
        "`YYYY-MM-DD HH:MM`.", example="2025-03-04 09:00", pattern=MINUTE
    ),
    "DescribeTrtcRoomUsageRequest.EndTime": Meaning(
        "`YYYY-MM-DD HH:MM`, at most 24 h after StartTime.", example="2025-03-04 12:30", pattern=MINUTE
    ),
    "usage:UsageKey": Meaning("What the numbers of a row are, in this order."),
    "usage:UsageList": Meaning("Rows in order of time, without gaps."),
    "TrtcUsage.TimeKey": Meaning("Begin of the row's time, `YYYY-MM-DD HH:MM:SS`."),
    "TrtcUsage.UsageValue": Meaning("One number for each of UsageKey; minutes, of relay Mbit/s."),
    "TrtcUsage.TimeStampKey": Meaning("Unix seconds of TimeKey; domestic edition, not sent."),
    "DescribeTrtcRoomUsageResponse.Data": Meaning(
        "A table as CSV, a row per room: `RoomId,Audio,SD,hd,FullHD,2K,4K`, in seconds."
    ),
}
