"""What members mean, in one line each, with their range: for people, forms and the description of the API.

A key is `Shape.Member`; `module:Member` where it means the same in all shapes of a module; or the member
alone where it does in rooms and recording. The ranges are those the actions check (`api/actions`); a test
holds one against the other.
Source: each action's page and > Data Types, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping

from roomtape.contract.meaning import (
    COLOUR,
    IMAGE,
    MARK_SIDE,
    NUMBER_ROOM,
    PATH_PART,
    RENDER,
    SIDE,
    STREAM,
    STRING_ROOM,
    USER,
    Meaning,
)
from roomtape.contract.meanings_media import MEDIA, TASK
from roomtape.contract.meanings_reports import REPORTS
from roomtape.contract.shapes import Part

PICTURE = "https://example.com/picture.png"

MEANINGS: Mapping[str, Meaning] = {
    "SdkAppId": Meaning("The application.", example=1400000001),
    "TaskId": Meaning("The task, as its start answered it.", example=TASK),
    "RequestId": Meaning("Number of this request, also in the server's log."),
    # --- rooms ---
    "RoomId": Meaning("The room.", example="demo"),
    "StrRoomId": Meaning("The string room, 1 to 64 characters.", example="demo", pattern=STRING_ROOM),
    "RemoveUserRequest.RoomId": Meaning("The integer room.", 1, NUMBER_ROOM, example=1234),
    "DismissRoomRequest.RoomId": Meaning("The integer room.", 1, NUMBER_ROOM, example=1234),
    "SetUserBlockedRequest.RoomId": Meaning("The integer room.", 1, NUMBER_ROOM, example=1234),
    "RemoveUserByStrRoomIdRequest.RoomId": Meaning(
        "The string room, 1 to 64 characters.", example="demo", pattern=STRING_ROOM
    ),
    "DismissRoomByStrRoomIdRequest.RoomId": Meaning(
        "The string room, 1 to 64 characters.", example="demo", pattern=STRING_ROOM
    ),
    "UserIds": Meaning(
        "Whom to put out; who is not there is skipped.", most=10, example=["alice"], pattern=USER
    ),
    "UserId": Meaning("The user, 1 to 64 characters.", example="alice"),
    "IsMute": Meaning(
        "What the user may no longer send.", 0, 3,
        choices={0: "nothing is blocked", 1: "sound and picture", 2: "sound", 3: "picture"}, example=1,
    ),
    "SetUserBlockedRequest.UserId": Meaning("The user, 1 to 64 characters.", example="alice", pattern=USER),
    "SetUserBlockedByStrRoomIdRequest.UserId": Meaning(
        "The user, 1 to 64 characters.", example="alice", pattern=USER
    ),
    # --- recording ---
    "CreateCloudRecordingRequest.RoomId": Meaning(
        "The room to record, always a JSON string; it need not exist yet.", example="demo"
    ),
    "CreateCloudRecordingRequest.UserId": Meaning(
        "The recorder's own user; nobody else in the room may have it.", example="recorder", pattern=USER
    ),
    "CreateCloudRecordingRequest.UserSig": Meaning(
        "Signature of that user; it must outlive the task. `roomtape usersig issue` makes one.", secret=True
    ),
    "RoomIdType": Meaning(
        "Which kind of room; relay codes it the other way round.", 0, 1, 1,
        {0: "string room", 1: "integer room"}, example=0, usual=True,
    ),
    "RecordParams": Meaning("What to record."),
    "StorageParams": Meaning("Where the files go: exactly one of its members."),
    "ResourceExpiredHour": Meaning(
        "Hours during which the task can be described, modified and stopped; it goes on after them.",
        low=6, high=720, default=72,
    ),
    "PrivateMapKey": Meaning("Room ticket, needed where permission control is on.", secret=True),
    "RecordParams.RecordMode": Meaning(
        "Files of each user, or of the room.", 1, 2,
        choices={1: "single-stream: files of each user", 2: "mixed: one file of the room"}, example=1,
    ),
    "MaxIdleTime": Meaning("Seconds without any anchor after which the task ends.", 5, 86_400, 30),
    "RecordParams.StreamType": Meaning(
        "Which media.", 0, 2, 0, {0: "sound and picture", 1: "sound", 2: "picture"}
    ),
    "SubscribeStreamUserIds": Meaning("Whom to record; everyone when absent."),
    "OutputFormat": Meaning(
        "Files to make, in object storage.", 0, 4, 0,
        {0: "hls", 1: "hls and mp4", 2: "hls and aac", 3: "mp4", 4: "aac"}, example=1, usual=True,
    ),
    "AvMerge": Meaning(
        "Sound and picture of a user, single-stream only.", 0, 1, 0,
        {0: "separate files", 1: "one file"}, example=1, usual=True,
    ),
    "MaxMediaFileDuration": Meaning("Minutes after which an mp4 or aac file is split.", 1, 1440, 1440),
    "RecordParams.MediaId": Meaning(
        "Which streams.", 0, 2, 0, {0: "main and auxiliary", 1: "main", 2: "auxiliary"}
    ),
    "FillType": Meaning(
        "The picture while a user sends none.", 0, 1, 0, {0: "the last one", 1: "black"}
    ),
    "SubscribeAbility": Meaning(
        "Whether streams that a mixing robot put into the room are recorded too.",
        0, 1, 0, {0: "no", 1: "yes"},
    ),
    "SubscribeAudioUserIds": Meaning(
        "Only the sound of these; an entry that ends in `.*$` is a prefix.",
        most=32, example=["alice", "b.*$"],
    ),
    "UnSubscribeAudioUserIds": Meaning("Everyone's sound but that of these.", most=32),
    "SubscribeVideoUserIds": Meaning("Only the picture of these.", most=32),
    "UnSubscribeVideoUserIds": Meaning("Everyone's picture but that of these.", most=32),
    "CloudStorage": Meaning(
        "An object store, or a directory of the server declared as a bucket.", usual=True
    ),
    "CloudVod": Meaning("The media library of the server."),
    "TencentVod": Meaning("How the library keeps the file."),
    "CloudStorage.Vendor": Meaning("Whose store.", 0, 1, choices={0: "COS", 1: "S3"}, example=1),
    "CloudStorage.Region": Meaning("The store's region.", example="us-east-1"),
    "Bucket": Meaning("The bucket; in `roomtape dev`, `recordings` is a directory.", example="recordings"),
    "AccessKey": Meaning("The store's access key.", example="AK"),
    "SecretKey": Meaning("The store's secret key, kept sealed.", example="SK", secret=True),
    "FileNamePrefix": Meaning(
        "Parts of the path before the task, of A-Z a-z 0-9 _ and -.", example=["room"], pattern=PATH_PART
    ),
    "EndpointUrl": Meaning("An S3-compatible store, as host or URL.", example="s3.example.com"),
    "Procedure": Meaning("Name of a task flow after the upload."),
    "TencentVod.ExpireTime": Meaning("Seconds the library keeps the file; 0 is for ever.", default=0),
    "StorageRegion": Meaning("The library's region."),
    "ClassId": Meaning("The library's category.", default=0),
    "SubAppId": Meaning("The library's sub-application."),
    "SessionContext": Meaning("Returned when the task flow ends."),
    "SourceContext": Meaning("Returned in the upload's callback."),
    "TencentVod.MediaType": Meaning(
        "Files to make; not coded as OutputFormat.", 0, 4, 0,
        {0: "mp4", 1: "hls", 2: "aac", 3: "hls and mp4", 4: "hls and aac"},
    ),
    "UserDefineRecordId": Meaning(
        "Your own prefix of the file name, at most 64 of A-Z a-z 0-9 _ and -.",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
    ),
    "MixTranscodeParams": Meaning("Picture and sound of a mix; ignored in single-stream mode."),
    "MixLayoutParams": Meaning("Layout of a mix; ignored in single-stream mode."),
    "VideoParams": Meaning("The picture; when given, all of its members are required."),
    "AudioParams": Meaning("The sound; when given, all of its members are required."),
    "VideoParams.Width": Meaning("Pixels; Width times Height at most 1920 x 1080.", 1, SIDE, example=1280),
    "VideoParams.Height": Meaning("Pixels.", 1, SIDE, example=720),
    "VideoParams.Fps": Meaning("Pictures a second.", 1, 60, example=15),
    "VideoParams.BitRate": Meaning("bit/s.", 64_000, 8_192_000, example=1_500_000),
    "VideoParams.Gop": Meaning("Seconds between key frames.", 1, 86_400, example=2),
    "AudioParams.SampleRate": Meaning(
        "A code.", 1, 3, choices={1: "48000 Hz", 2: "44100 Hz", 3: "16000 Hz"}, example=1
    ),
    "AudioParams.Channel": Meaning("Channels.", 1, 2, choices={1: "mono", 2: "stereo"}, example=2),
    "AudioParams.BitRate": Meaning("bit/s.", 32_000, 128_000, example=64_000),
    "MixLayoutMode": Meaning(
        "How the windows stand.", 1, 4,
        choices={1: "floating", 2: "screen sharing", 3: "nine-grid", 4: "custom"}, example=3,
    ),
    "MixLayoutList": Meaning("The windows of the custom layout.", most=25),
    "BackGroundColor": Meaning("Colour behind, `#RRGGBB` or `0xRRGGBB`.", example="#000000", pattern=COLOUR),
    "MaxResolutionUserId": Meaning("Who has the big window, in modes 1 and 2."),
    "MixLayoutParams.MediaId": Meaning("Which stream of that user.", 0, 1, 0, STREAM),
    "MixLayout.MediaId": Meaning("Which stream of the user.", 0, 1, 0, STREAM),
    "BackgroundImageUrl": Meaning(
        "Picture behind: jpg, jpeg or png, at most 5 MB.", pattern=IMAGE, example=PICTURE
    ),
    "BackgroundImageRenderMode": Meaning("How that picture is fitted.", 0, 3, 1, RENDER),
    "RenderMode": Meaning("How pictures are fitted into their windows.", 0, 3, 1, RENDER),
    "PlaceHolderMode": Meaning(
        "Whether a window whose user sends nothing shows a picture.", 0, 1, 0, {0: "no", 1: "yes"}
    ),
    "DefaultSubBackgroundImage": Meaning("That picture.", pattern=IMAGE, example=PICTURE),
    "SubBackgroundImage": Meaning("That picture in this window.", pattern=IMAGE, example=PICTURE),
    "WaterMarkList": Meaning("Watermarks, above all windows.", most=25),
    "MaxResolutionUserAlign": Meaning("Where the big window of mode 2 is.", 0, 1, 0, {0: "left", 1: "right"}),
    "PureAudioDisableLayout": Meaning("Whether users without a picture take no window.", default=False),
    "MixLayout.Top": Meaning("Pixels from the top of the canvas.", 0, SIDE, example=0),
    "MixLayout.Left": Meaning("Pixels from its left side.", 0, SIDE, example=0),
    "MixLayout.Width": Meaning("Pixels.", 0, SIDE, example=640),
    "MixLayout.Height": Meaning("Pixels.", 0, SIDE, example=360),
    "MixLayout.UserId": Meaning("Whose window; absent: of the next anchor to enter.", example="alice"),
    "Alpha": Meaning("0 is opaque, 255 transparent.", 0, 255, 0),
    "ImageLayer": Meaning("0 is backmost; greater is nearer.", 0, 2**31 - 1, 0),
    "WaterMarkType": Meaning("Which of the members holds it.", 0, 2, 0, {0: "image", 1: "text", 2: "time"}),
    "WaterMarkImage": Meaning("An image."),
    "WaterMarkChar": Meaning("A text."),
    "WaterMarkTimestamp": Meaning("The time."),
    "WaterMarkUrl": Meaning(
        "The image: jpg, jpeg or png, at most 5 MB.", pattern=IMAGE, example=PICTURE
    ),
    **{
        f"{shape}.{side}": Meaning("Pixels of the canvas.", 0, MARK_SIDE, example=64)
        for shape in ("WaterMarkImage", "WaterMarkChar")
        for side in ("Top", "Left", "Width", "Height")
    },
    "Chars": Meaning("The text.", example="recorded"),
    "FontSize": Meaning("Pixels.", 1, 512, 14),
    "FontColor": Meaning("Colour of the text, white when absent.", example="#ffffff", pattern=COLOUR),
    "WaterMarkChar.BackGroundColor": Meaning(
        "Colour behind the text, transparent when absent.", pattern=COLOUR
    ),
    "Font": Meaning("Domestic edition.", words=("Tencent", "SourceHanSans"), default="Tencent"),
    "Pos": Meaning(
        "Where.", 0, 6, example=0,
        choices={
            0: "top left", 1: "top right", 2: "bottom left", 3: "bottom right",
            4: "top centre", 5: "bottom centre", 6: "centre",
        },
    ),
    "TimeZone": Meaning("Hours from UTC.", 0, 14, 8),
    "RecorderKey": Meaning("Names a relay recording; there are none here."),
    "ModifyCloudRecordingRequest.SubscribeStreamUserIds": Meaning(
        "The new lists; what is left out goes back to everyone."
    ),
    "ModifyCloudRecordingRequest.MixLayoutParams": Meaning("The new layout of a mixed task."),
    # --- answers of recording ---
    "CreateCloudRecordingResponse.TaskId": Meaning("The task: what the other three actions name."),
    "DescribeCloudRecordingResponse.TaskId": Meaning("The task."),
    "ModifyCloudRecordingResponse.TaskId": Meaning("The task."),
    "DeleteCloudRecordingResponse.TaskId": Meaning("The task."),
    "Status": Meaning("`Idle`: waiting for media. `InProgress`: recording. `Exited`: over."),
    "StorageFileList": Meaning("The index files of the recording so far."),
    "StorageFile.UserId": Meaning("Whose recording it is; empty in a mix."),
    "StorageFile.FileName": Meaning("Its name in the bucket, with its path."),
    "StorageFile.TrackType": Meaning("`audio`, `video` or `audio_video`."),
    "StorageFile.BeginTimeStamp": Meaning("Unix ms of its first frame."),
    # --- what is not built yet ---
    **MEDIA,
    **REPORTS,
}  # fmt: skip


EVERYWHERE = frozenset({"SdkAppId", "TaskId", "RoomId", "UserId"})
_WRITTEN = ("roomtape.contract.recording", "roomtape.contract.rooms")  # others code some names differently


def meaning(shape: type[Part], member: str) -> Meaning | None:
    """The meaning of a member of a shape (by its name), or None where nobody wrote one yet."""
    module = shape.__module__.rpartition(".")[2]
    told = MEANINGS.get(f"{shape.__name__}.{member}") or MEANINGS.get(f"{module}:{member}")
    if told is None and (member in EVERYWHERE or shape.__module__ in _WRITTEN):
        told = MEANINGS.get(member)
    return told
