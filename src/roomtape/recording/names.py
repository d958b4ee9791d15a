"""File names of recordings, as customers' scripts take them apart.

Source: API docs > On-cloud Recording > file naming rules (647/45169, 647/76497), read 2026-11; what object
storage really receives has double underscores around the user markers, VOD names have single ones.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime


def enc(text: str) -> str:
    """Base64 of the UTF-8 bytes with `/` as `-` and `=` as `.`; `+` stays."""
    return base64.b64encode(text.encode()).decode().replace("/", "-").replace("=", ".")


def room_in_names(room_type: str, room_id: str) -> str:
    """How a room is written in names: an integer room ("i") as it is, a string room ("s") encoded."""
    return room_id if room_type == "i" else enc(room_id)


def utc17(wall_ms: int) -> str:
    """Unix milliseconds as YYYYMMDDhhmmssSSS, UTC."""
    seconds, millis = divmod(wall_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y%m%d%H%M%S}{millis:03d}"


def track_base(sdk_app_id: int, room: str, user: str, media: str, *, vod: bool = False) -> str:
    """What the names of one user's medium ("main" or "aux") have in common; user "" means the mix.

    `room` as `room_in_names` gives it.
    """
    if not user:
        return f"{sdk_app_id}_{room}"
    if vod:
        return f"{room}_UserId_s_{enc(user)}_UserId_e_{media}"
    return f"{sdk_app_id}_{room}__UserId_s_{enc(user)}__UserId_e_{media}"


def defined_base(record_id: str, base: str) -> str:
    """A VOD name with the caller's UserDefineRecordId, if there is one, before it."""
    return f"{record_id}__UserDefine_u_{base}" if record_id else base


def moved_prefix(moves: int) -> str:
    """What stands before a name after the task moved to another node `moves` times."""
    return f"ha{moves}_" if moves else ""


def playlist_name(
    sdk_app_id: int,
    room: str,
    user: str,
    media: str,
    track_type: str,
    *,
    prefix: str = "",
    part: int = 1,
    vod: bool = False,
) -> str:
    """Name of an M3U8; `track_type` audio, video or audiovideo; `part` counts playlists of 14 days each."""
    base = track_base(sdk_app_id, room, user, media, vod=vod)
    kind = f"_{track_type}" if user else ""
    return f"{prefix}{base}{kind}{'' if part == 1 else f'_{part}'}.m3u8"


def piece_name(
    sdk_app_id: int,
    room: str,
    user: str,
    media: str,
    track_type: str,
    start_ms: int,
    *,
    prefix: str = "",
    vod: bool = False,
) -> str:
    """Name of a TS that begins at Unix ms `start_ms`."""
    base = track_base(sdk_app_id, room, user, media, vod=vod)
    kind = f"_{track_type}" if user else ""
    return f"{prefix}{base}{kind}_{utc17(start_ms)}.ts"


def file_name(base: str, kind: str, index: int | None) -> str:
    """Name of an MP4 or AAC ("mp4", "aac"): `index` from 1 if the file was split, None if not."""
    return f"{base}.{kind}" if index is None else f"{base}_{index}.{kind}"


def object_key(prefixes: tuple[str, ...], task_id: str, name: str) -> str:
    """Where a file stands in the customer's bucket."""
    return "/".join((*prefixes, task_id, name))
