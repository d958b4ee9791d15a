"""What the members of mixing, relay and pulled streams mean: see `meanings`."""

from __future__ import annotations

from collections.abc import Mapping

from roomtape.contract.meaning import COLOUR, USER, Meaning

RELAY_ROOM = {0: "integer room", 1: "string room"}
INGEST_ROOM = {0: "string room", 1: "integer room"}
FIT = {0: "crop", 1: "fit on the background", 2: "fit on black"}
FIRST_OF_WINDOW = {0: "crop", 1: "fit on the background", 2: "fit on black", 3: "stretch", 4: "custom"}
NO_YES = {0: "no", 1: "yes"}
MOVES = {0: "stays", 1: "another place every second", 2: "moves along the edges"}
TASK = "rL0mXw3Kt8QnYc5ZpB2VfHdUe9sJaGo1DiTv6WzKx4MgNjEhCyRuOqFbIlA-7S9P"
SEI_TYPE = "Payload type of the SEI, 100 to 254 but not 244"

MEDIA: Mapping[str, Meaning] = {
    # --- relay: the task ---
    "StartPublishCdnStreamRequest.RoomId": Meaning("The task's room.", example="demo"),
    "StartPublishCdnStreamRequest.RoomIdType": Meaning(
        "Which kind of room; recording and pulled streams code it the other way round.",
        0,
        1,
        choices=RELAY_ROOM,
        example=1,
    ),
    "relay:AgentParams": Meaning("The robot that fetches the streams."),
    "AgentParams.UserId": Meaning(
        "The robot's own user; nobody else in the room may have it.", example="mixer", pattern=USER
    ),
    "AgentParams.UserSig": Meaning("Signature of that user; needed at the start.", secret=True, usual=True),
    "AgentParams.MaxIdleTime": Meaning(
        "Seconds without any user of the mix in the room after which the task ends.", 5, 86_400, 30
    ),
    "relay:WithTranscoding": Meaning(
        "What becomes of the streams.", 0, 1, choices={0: "one is passed on", 1: "they are mixed"}, example=1
    ),
    "relay:AudioParams": Meaning("The sound; in an update only its two lists count.", usual=True),
    "relay:VideoParams": Meaning("The picture; without it the task has sound only, for ever.", usual=True),
    "relay:SingleSubscribeParams": Meaning("Whose stream is passed on; needed with WithTranscoding 0."),
    "relay:PublishCdnParams": Meaning(
        "RTMP URLs to push to; an update gives the whole new list.", most=10, usual=True
    ),
    "relay:FeedBackRoomParams": Meaning(
        "Rooms to publish into; this or PublishCdnParams is needed.", most=10
    ),
    "relay:SeiParams": Meaning("SEI in the picture."),
    "StartPublishCdnStreamRequest.RecordParams": Meaning("Recording of what is relayed."),
    "UpdatePublishCdnStreamRequest.SequenceNumber": Meaning(
        "Rises with every update of a task; one that is overtaken is refused.", example=1
    ),
    "StopPublishCdnStreamRequest.RecordKey": Meaning(
        "Also end the recording of this key at once, of A-Z a-z 0-9 _ and -.",
        pattern=r"^[A-Za-z0-9_-]{1,128}$",
    ),
    # --- relay: sound ---
    "relay:AudioEncode": Meaning("How the sound is coded.", usual=True),
    "relay:SubscribeAudioList": Meaning("Whom to hear; absent or empty: everybody of the room."),
    "relay:UnSubscribeAudioList": Meaning("Whom not to hear."),
    "AudioEncode.SampleRate": Meaning(
        "Hz.", words=(48_000, 44_100, 32_000, 24_000, 16_000, 8_000), example=48_000
    ),
    "AudioEncode.Channel": Meaning("Channels.", 1, 2, choices={1: "mono", 2: "stereo"}, example=2),
    "AudioEncode.BitRate": Meaning("kbit/s.", 8, 500, example=64),
    "AudioEncode.Codec": Meaning(
        "2 needs stereo; 1 and 2 do not take 8000 Hz.", 0, 2, 0, {0: "AAC-LC", 1: "HE-AAC", 2: "HE-AACv2"}
    ),
    "McuUserInfoParams.UserInfo": Meaning("Who."),
    "McuUserInfoParams.SoundLevel": Meaning("Per cent of the loudness.", 0, 100, 100),
    "MixUserInfo.UserId": Meaning("The user.", example="alice", pattern=USER),
    "MixUserInfo.RoomId": Meaning(
        "His room, where it is not the task's; the custom layout alone takes that.", example="demo"
    ),
    "MixUserInfo.RoomIdType": Meaning(
        "Which kind of room; the task's when absent.", 0, 1, choices=RELAY_ROOM
    ),
    # --- relay: picture ---
    "relay:VideoEncode": Meaning("How the picture is coded; needed with WithTranscoding 1.", usual=True),
    "VideoEncode.Width": Meaning("Pixels; 0 only where a stream is passed on.", 1, 1920, example=1280),
    "VideoEncode.Height": Meaning("Pixels; 0 only where a stream is passed on.", 1, 1920, example=720),
    "VideoEncode.Fps": Meaning("Pictures a second.", 1, 60, example=15),
    "VideoEncode.BitRate": Meaning("kbit/s.", 1, 10_000, example=1500),
    "VideoEncode.Gop": Meaning("Seconds between key frames.", 1, 5, example=2),
    "relay:LayoutParams": Meaning(
        "How the windows stand; one that is given is the whole new layout.", usual=True
    ),
    "McuLayoutParams.MixLayoutMode": Meaning(
        "Custom when MixLayoutList is there and this is not, else floating.",
        1,
        4,
        choices={1: "floating", 2: "screen sharing", 3: "nine-grid", 4: "custom"},
        example=3,
        usual=True,
    ),
    "McuLayoutParams.PureAudioHoldPlaceMode": Meaning(
        "Whether users without a picture take a window, in the modes 1 to 3.", 0, 1, 0, NO_YES
    ),
    "McuLayoutParams.MixLayoutList": Meaning("The windows of the custom layout.", most=16),
    "McuLayoutParams.MaxVideoUser": Meaning("Who has the big window of the modes 1 and 2."),
    "McuLayoutParams.RenderMode": Meaning("How pictures are fitted into their windows.", 0, 2, 0, FIT),
    "relay:EnableStreamSEI": Meaning(
        "Whether SEI of the users goes through; domestic edition.", 0, 1, 1, NO_YES
    ),
    "relay:UserMediaStream": Meaning("Whose stream, and which."),
    "UserMediaStream.UserInfo": Meaning("The user."),
    "UserMediaStream.StreamType": Meaning("Which of his streams.", 0, 1, 0, {0: "camera", 1: "screen"}),
    "McuLayout.UserMediaStream": Meaning("Whose window; absent: of the next user to enter."),
    "McuLayout.ImageWidth": Meaning("Pixels; with LocationX inside the canvas.", 0, 1920, 0),
    "McuLayout.ImageHeight": Meaning("Pixels; with LocationY inside the canvas.", 0, 1920, 0),
    "McuLayout.LocationX": Meaning("Pixels from the left side of the canvas.", 0, 1920, 0),
    "McuLayout.LocationY": Meaning("Pixels from the top of the canvas.", 0, 1920, 0),
    "McuLayout.ZOrder": Meaning("Greater is nearer.", default=0),
    "McuLayout.RenderMode": Meaning("How the picture is fitted in.", 0, 2, 0, FIT),
    "McuLayout.BackGroundColor": Meaning("Colour behind, shown as BackGroundColorMode says.", pattern=COLOUR),
    "McuLayout.BackgroundImageUrl": Meaning("Picture while the user sends none: at most 5 MB."),
    "McuLayout.CustomCrop": Meaning("What is cut out of the user's picture first."),
    "McuLayout.BackgroundRenderMode": Meaning("How that picture is fitted in.", 0, 4, 3, FIRST_OF_WINDOW),
    "McuLayout.TransparentUrl": Meaning("PNG whose transparency masks the window, with RenderMode 0."),
    "McuLayout.BackgroundCustomRender": Meaning("Its size; needed with BackgroundRenderMode 4."),
    "McuLayout.BackGroundColorMode": Meaning(
        "When the colour is shown: 1 and 3 behind the picture of who sends none, 2 and 3 behind a user's.",
        0,
        3,
        0,
    ),
    **{
        f"McuCustomCrop.Location{axis}": Meaning(
            f"Parts of 10000; with {side} at most 10000.", 0, 9_999, example=0
        )
        for axis, side in (("X", "Width"), ("Y", "Height"))
    },
    **{
        f"McuCustomCrop.{side}": Meaning(
            "Of the picture, counted as its Location is.", 1, 10_000, example=1000
        )
        for side in ("Width", "Height")
    },
    "McuBackgroundCustomRender.Width": Meaning("Pixels, at most the window's.", example=64),
    "McuBackgroundCustomRender.Height": Meaning("Pixels, at most the window's.", example=64),
    "McuBackgroundCustomRender.Radius": Meaning(
        "Pixels of the corners, at most half the shorter side.", default=0
    ),
    "McuVideoParams.BackGroundColor": Meaning("Colour behind all, `0xRRGGBB` or `#RRGGBB`.", pattern=COLOUR),
    "McuVideoParams.BackgroundImageUrl": Meaning("Picture behind all: at most 5 MB; goes before the colour."),
    "McuVideoParams.WaterMarkList": Meaning("Watermarks, above all windows; an empty list removes them."),
    "McuVideoParams.BackgroundRenderMode": Meaning(
        "How the picture behind is fitted.", 0, 2, 2, {0: "crop", 1: "fit on black", 2: "stretch"}
    ),
    "McuWaterMarkParams.WaterMarkType": Meaning(
        "Which of the members holds it.", 0, 1, 0, {0: "image", 1: "text"}
    ),
    "McuWaterMarkParams.WaterMarkImage": Meaning("An image."),
    "McuWaterMarkParams.WaterMarkText": Meaning("A text."),
    "McuWaterMarkImage.WaterMarkUrl": Meaning(
        "The image: at most 5 MB.", example="https://example.com/mark.png"
    ),
    "McuWaterMarkText.Text": Meaning("The text.", example="live"),
    "McuWaterMarkText.FontSize": Meaning("Pixels.", example=24),
    "McuWaterMarkText.FontColor": Meaning("Colour of the text, white when absent.", pattern=COLOUR),
    "McuWaterMarkText.BackGroundColor": Meaning("Colour behind it, transparent when absent.", pattern=COLOUR),
    "McuWaterMarkText.Font": Meaning("The font.", words=("Tencent", "SourceHanSans"), default="Tencent"),
    **{
        f"{shape}.{member}": told
        for shape in ("McuWaterMarkImage", "McuWaterMarkText")
        for member, told in (
            ("WaterMarkWidth", Meaning("Pixels.", example=64)),
            ("WaterMarkHeight", Meaning("Pixels.", example=64)),
            ("LocationX", Meaning("Pixels from the left side of the canvas.", example=0)),
            ("LocationY", Meaning("Pixels from the top of the canvas.", example=0)),
            ("ZOrder", Meaning("Greater is nearer.", default=0)),
            ("DynamicPosType", Meaning("Whether it moves.", 0, 2, 0, MOVES)),
        )
    },
    # --- relay: targets, SEI, recording ---
    "McuPublishCdnParam.PublishCdnUrl": Meaning(
        "`rtmp` or `rtmps`.", example="rtmp://push.example.com/live/demo"
    ),
    "McuPublishCdnParam.IsTencentCdn": Meaning("Of a bill; without effect here.", 0, 1, 1, NO_YES),
    "McuFeedBackRoomParams.RoomId": Meaning("The room to publish into.", example="stage"),
    "McuFeedBackRoomParams.RoomIdType": Meaning("Which kind of room.", 0, 1, choices=RELAY_ROOM, example=1),
    "McuFeedBackRoomParams.UserId": Meaning(
        "As whom; nobody else there may be that.", example="mix", pattern=USER
    ),
    "McuFeedBackRoomParams.UserSig": Meaning("Signature of that user.", secret=True),
    "McuSeiParams.LayoutVolume": Meaning(
        "SEI of ours: where everybody stands and how loud; `{}` switches it on."
    ),
    "McuSeiParams.PassThrough": Meaning("SEI of yours."),
    "McuLayoutVolume.AppData": Meaning("Text of yours in it, shorter than 4096 bytes."),
    "McuLayoutVolume.PayloadType": Meaning(f"{SEI_TYPE}.", 100, 254, 100),
    "McuPassThrough.PayloadContent": Meaning("What is sent.", example="quiz-7"),
    "McuPassThrough.PayloadType": Meaning(f"{SEI_TYPE}, or 5.", example=100),
    "McuPassThrough.PayloadUuid": Meaning(
        "32 hexadecimal digits; needed with PayloadType 5, else ignored.", pattern=r"^[0-9A-Fa-f]{32}$"
    ),
    "relay:Interval": Meaning("Milliseconds between two.", default=1000),
    "relay:FollowIdr": Meaning("Whether every key frame has it.", 0, 1, 0, NO_YES),
    "McuRecordParams.UniRecord": Meaning(
        "Whether and how it is recorded.",
        0,
        3,
        0,
        {0: "no", 1: "no", 2: "by the template of the console", 3: "by the members beside this"},
    ),
    "McuRecordParams.RecordKey": Meaning(
        "Tasks of one key go into one recording, of A-Z a-z 0-9 _ and -.", pattern=r"^[A-Za-z0-9_-]{1,128}$"
    ),
    "McuRecordParams.RecordWaitTime": Meaning(
        "Seconds for which it stays open after the relay's end.", 5, 86_400, 30
    ),
    "McuRecordParams.RecordFormat": Meaning(
        "Files to make; mp4 and aac exclude each other.", words=("hls", "mp4", "aac"), default="mp4"
    ),
    "McuRecordParams.MaxMediaFileDuration": Meaning("Minutes after which a file is split.", 1, 1440, 1440),
    "McuRecordParams.StreamType": Meaning(
        "Which media.", 0, 2, 0, {0: "sound and picture", 1: "sound", 2: "picture"}
    ),
    "McuRecordParams.UserDefineRecordPrefix": Meaning(
        "Your own prefix of the file name in the media library, of A-Z a-z 0-9 _ and -.",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
    ),
    "McuRecordParams.McuStorageParams": Meaning(
        "Where the files go: exactly one of its members; needed with UniRecord 3."
    ),
    "McuStorageParams.CloudStorage": Meaning("An object store."),
    "McuStorageParams.McuCloudVod": Meaning("The media library."),
    "McuCloudVod.McuTencentVod": Meaning("How the library keeps the file."),
    "McuTencentVod.Procedure": Meaning("Name of a task flow after the upload."),
    "McuTencentVod.ExpireTime": Meaning("Seconds the library keeps the file; 0 is for ever.", default=0),
    "McuTencentVod.StorageRegion": Meaning("The library's region."),
    "McuTencentVod.ClassId": Meaning("The library's category.", default=0),
    "McuTencentVod.SubAppId": Meaning("The library's sub-application."),
    "McuTencentVod.SessionContext": Meaning("Returned when the task flow ends."),
    "McuTencentVod.SourceContext": Meaning("Returned in the upload's callback."),
    # --- pulled streams ---
    "StartStreamIngestRequest.RoomId": Meaning(
        "The room to publish into, always a JSON string.", example="demo"
    ),
    "StartStreamIngestRequest.RoomIdType": Meaning(
        "Which kind of room; relay codes it the other way round.", 0, 1, choices=INGEST_ROOM, example=0
    ),
    "StartStreamIngestRequest.UserId": Meaning(
        "As whom; nobody else there may be that.", example="film", pattern=USER
    ),
    "StartStreamIngestRequest.UserSig": Meaning("Signature of that user.", secret=True),
    "StartStreamIngestRequest.StreamUrl": Meaning(
        "The source: `http`, `https` or `rtmp`; needed unless SourceUrl has it.",
        example="https://media.example.com/film.mp4",
        usual=True,
    ),
    "StartStreamIngestRequest.PrivateMapKey": Meaning(
        "Room ticket, needed where permission control is on.", secret=True
    ),
    "StartStreamIngestRequest.VideoEncodeParams": Meaning("Judged and ignored: published as without effect."),
    "StartStreamIngestRequest.AudioEncodeParams": Meaning("Judged and ignored: published as without effect."),
    "StartStreamIngestRequest.SourceUrl": Meaning("One source, where StreamUrl is absent; the older name."),
    "StartStreamIngestRequest.SeekSecond": Meaning("Seconds into a file at which it begins.", 0, 2**63 - 1),
    "StartStreamIngestRequest.AutoPush": Meaning("Whether automatic relay pushes it on.", default=False),
    "StartStreamIngestRequest.RepeatNum": Meaning(
        "How often a file is played: 1 to 1000, or -1 for ever.", -1, 1000, 1
    ),
    "StartStreamIngestRequest.MaxDuration": Meaning("Minutes in all, with RepeatNum -1.", 1, 10_080),
    "ingest:Volume": Meaning("Per cent of the loudness.", 0, 200, 100),
    "ingest:EnableProgress": Meaning(
        "Whether the room is told how far it is; domestic edition.", default=False
    ),
    "ingest:Tempo": Meaning(
        "Speed; domestic edition.", words=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), default=1.0
    ),
    "StartStreamIngestRequest.IdleTimeout": Meaning(
        "Seconds without data after which it ends; domestic edition.", 0, 600
    ),
    "VideoEncodeParams.Width": Meaning("Pixels.", 0, 1920),
    "VideoEncodeParams.Height": Meaning("Pixels.", 0, 1080),
    "VideoEncodeParams.Fps": Meaning("Pictures a second.", 1, 60),
    "VideoEncodeParams.BitRate": Meaning("kbit/s.", 1, 10_000),
    "VideoEncodeParams.Gop": Meaning("Seconds between key frames.", 1, 2),
    "AudioEncodeParams.SampleRate": Meaning("Hz.", words=(48_000, 44_100)),
    "AudioEncodeParams.Channel": Meaning("Channels.", 1, 2),
    "AudioEncodeParams.BitRate": Meaning("kbit/s.", 8, 500),
    "AudioEncodeParams.Volume": Meaning("Per cent of the loudness; domestic edition.", 0, 300),
    "ingest:TaskId": Meaning(
        "The task, as its start answered it.", example=TASK, pattern="^[A-Za-z0-9-]{64}$"
    ),
    "UpdateStreamIngestRequest.StreamUrl": Meaning(
        "Another source: `http`, `https` or `rtmp`.", example="https://media.example.com/film.mp4"
    ),
    "UpdateStreamIngestRequest.IsPause": Meaning(
        "Whether it pauses; a pause of 12 h ends the task.", default=False
    ),
    # --- answers ---
    "StartPublishCdnStreamResponse.TaskId": Meaning("The task: what update and stop name."),
    "UpdatePublishCdnStreamResponse.TaskId": Meaning("The task."),
    "StopPublishCdnStreamResponse.TaskId": Meaning("The task."),
    "StartStreamIngestResponse.TaskId": Meaning("The task: what the other three actions name."),
    "DescribeStreamIngestResponse.Status": Meaning(
        "`InProgress`, or `NotExist` for a task that is over or never was."
    ),
    "UpdateStreamIngestResponse.Status": Meaning("`InProgress`."),
}
