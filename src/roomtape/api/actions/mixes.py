"""How a mix is to look and sound: ranges and defaults of MixTranscodeParams and MixLayoutParams.

What comes out is a plain dict in our units (pixels, bit/s, Hz, seconds), nothing in it optional.
Source: API docs > Data Types > MixTranscodeParams, MixLayoutParams and their members, read 2026-11.
"""

from __future__ import annotations

from typing import Any

from roomtape.api.actions.limits import at_most, choice, colour, image_url, refuse, within
from roomtape.api.errors import ApiError
from roomtape.api.messages import Text, missing
from roomtape.contract.recording import (
    AudioParams,
    MixLayout,
    MixLayoutParams,
    MixTranscodeParams,
    VideoParams,
    WaterMark,
)

MAX_SIDE = 1920
MAX_PIXELS = 1920 * 1080
MAX_WINDOWS = 25
NINE_GRID = 3
CUSTOM = 4
CROP = 1
HZ = {1: 48_000, 2: 44_100, 3: 16_000}
FONTS = ("Tencent", "SourceHanSans")

Mix = dict[str, Any]
Canvas = tuple[int, int]


def mix(transcode: MixTranscodeParams | None, layout: MixLayoutParams | None) -> Mix:
    """A whole mix with its defaults. Raises ApiError."""
    transcode = transcode or MixTranscodeParams()
    video = picture(transcode.video_params)
    return {
        "video": video,
        "audio": sound(transcode.audio_params),
        "layout": arrangement(layout, (video["width"], video["height"])),
    }


def picture(params: VideoParams | None) -> Mix:
    """The encoded picture; odd sides are rounded down to even, as 4:2:0 needs."""
    if params is None:
        return {"width": 360, "height": 640, "fps": 15, "bit_rate_bps": 550_000, "gop_s": 10}
    at = "MixTranscodeParams.VideoParams"
    width = within(f"{at}.Width", params.width, 1, MAX_SIDE, 0, "pixels")
    height = within(f"{at}.Height", params.height, 1, MAX_SIDE, 0, "pixels")
    fps = within(f"{at}.Fps", params.fps, 1, 60, 0)
    bit_rate = within(f"{at}.BitRate", params.bit_rate, 64_000, 8_192_000, 0, "bit/s")
    gop = within(f"{at}.Gop", params.gop, 1, 86_400, 0, "s")
    if width * height > MAX_PIXELS:
        raise refuse(
            Text(f"{at}: Width times Height may be at most {MAX_PIXELS}.", f"{at} 的宽高乘积超过上限。")
        )
    return {
        "width": max(width // 2 * 2, 2),
        "height": max(height // 2 * 2, 2),
        "fps": fps,
        "bit_rate_bps": bit_rate,
        "gop_s": gop,
    }


def sound(params: AudioParams | None) -> Mix:
    if params is None:
        return {"sample_rate_hz": 48_000, "channels": 2, "bit_rate_bps": 64_000}
    at = "MixTranscodeParams.AudioParams"
    return {
        "sample_rate_hz": HZ[within(f"{at}.SampleRate", params.sample_rate, 1, 3, 0)],
        "channels": within(f"{at}.Channel", params.channel, 1, 2, 0),
        "bit_rate_bps": within(f"{at}.BitRate", params.bit_rate, 32_000, 128_000, 0, "bit/s"),
    }


def arrangement(params: MixLayoutParams | None, canvas: Canvas | None) -> Mix:
    """Where windows stand and what lies around them.

    `canvas` is the size the windows must stay in; None when it is not known here.
    """
    params = params or MixLayoutParams(mix_layout_mode=NINE_GRID)
    at = "MixLayoutParams"
    at_most(f"{at}.MixLayoutList", params.mix_layout_list, MAX_WINDOWS)
    at_most(f"{at}.WaterMarkList", params.water_mark_list, MAX_WINDOWS)
    mode = within(f"{at}.MixLayoutMode", params.mix_layout_mode, 1, 4, NINE_GRID)
    made: Mix = {
        "mode": mode,
        "background_colour": colour(f"{at}.BackGroundColor", params.back_ground_color, "#000000"),
        "big_user": params.max_resolution_user_id or "",
        "big_media": _media(f"{at}.MediaId", params.media_id),
        "background_url": image_url(f"{at}.BackgroundImageUrl", params.background_image_url),
        "background_render": _render(f"{at}.BackgroundImageRenderMode", params.background_image_render_mode),
        "placeholders": within(f"{at}.PlaceHolderMode", params.place_holder_mode, 0, 1, 0) == 1,
        "placeholder_url": image_url(f"{at}.DefaultSubBackgroundImage", params.default_sub_background_image),
        "render": _render(f"{at}.RenderMode", params.render_mode),
        "big_right": within(f"{at}.MaxResolutionUserAlign", params.max_resolution_user_align, 0, 1, 0) == 1,
        "audio_only_windows": not params.pure_audio_disable_layout,
    }
    windows = params.mix_layout_list or []
    marks = params.water_mark_list or []
    made["windows"] = [_window(f"{at}.MixLayoutList.{i}", item) for i, item in enumerate(windows)]
    made["water_marks"] = [_water_mark(f"{at}.WaterMarkList.{i}", item) for i, item in enumerate(marks)]
    if canvas is not None:
        for i, window in enumerate(made["windows"] if mode == CUSTOM else []):
            _inside(f"{at}.MixLayoutList.{i}", window, canvas)
        for i, mark in enumerate(made["water_marks"]):
            if mark["kind"] != "time":
                _inside(f"{at}.WaterMarkList.{i}", mark, canvas)
    return made


def check_marks(params: MixLayoutParams | None) -> None:
    """Raise ApiError when a watermark lacks the member its type needs."""
    for i, mark in enumerate((params.water_mark_list if params else None) or []):
        names = ("WaterMarkImage", "WaterMarkChar", "WaterMarkTimestamp")
        held = (mark.water_mark_image, mark.water_mark_char, mark.water_mark_timestamp)
        kind = mark.water_mark_type or 0
        if kind < len(names) and held[kind] is None:
            where = f"MixLayoutParams.WaterMarkList.{i}.{names[kind]}"
            raise ApiError("MissingParameter", missing(where))


def _window(at: str, item: MixLayout) -> Mix:
    return {
        **_box(at, item.left, item.top, item.width, item.height, MAX_SIDE),
        "user": item.user_id or "",
        "transparency": within(f"{at}.Alpha", item.alpha, 0, 255, 0),  # 0 is opaque
        "render": _render(f"{at}.RenderMode", item.render_mode),
        "media": _media(f"{at}.MediaId", item.media_id),
        "layer": within(f"{at}.ImageLayer", item.image_layer, 0, 2**31 - 1, 0),
        "placeholder_url": image_url(f"{at}.SubBackgroundImage", item.sub_background_image),
    }


def _water_mark(at: str, item: WaterMark) -> Mix:
    kind = within(f"{at}.WaterMarkType", item.water_mark_type, 0, 2, 0)
    if kind == 0 and (image := item.water_mark_image) is not None:
        at = f"{at}.WaterMarkImage"
        return {
            "kind": "image",
            "url": image_url(f"{at}.WaterMarkUrl", image.water_mark_url),
            **_box(at, image.left, image.top, image.width, image.height, 2560),
        }
    if kind == 1 and (text := item.water_mark_char) is not None:
        at = f"{at}.WaterMarkChar"
        background = text.back_ground_color
        return {
            "kind": "text",
            "text": text.chars,
            "size_px": within(f"{at}.FontSize", text.font_size, 1, 512, 14, "pixels"),
            "colour": colour(f"{at}.FontColor", text.font_color, "#ffffff"),
            "background": colour(f"{at}.BackGroundColor", background, ""),  # "" is transparent
            "font": choice(f"{at}.Font", text.font, FONTS, FONTS[0]),
            **_box(at, text.left, text.top, text.width, text.height, 2560),
        }
    stamp = item.water_mark_timestamp
    assert stamp is not None  # check_marks has seen to it
    at = f"{at}.WaterMarkTimestamp"
    return {
        "kind": "time",
        "position": within(f"{at}.Pos", stamp.pos, 0, 6, 0),
        "utc_offset_h": within(f"{at}.TimeZone", stamp.time_zone, 0, 14, 8, "hours"),
        "font": choice(f"{at}.Font", stamp.font, FONTS, FONTS[0]),
    }


def _box(at: str, left: int, top: int, width: int, height: int, side: int) -> Mix:
    return {
        "left": within(f"{at}.Left", left, 0, side, 0, "pixels"),
        "top": within(f"{at}.Top", top, 0, side, 0, "pixels"),
        "width": within(f"{at}.Width", width, 0, side, 0, "pixels"),
        "height": within(f"{at}.Height", height, 0, side, 0, "pixels"),
    }


def _inside(at: str, box: Mix, canvas: Canvas) -> None:
    if box["left"] + box["width"] > canvas[0] or box["top"] + box["height"] > canvas[1]:
        raise refuse(
            Text(
                f"{at} leaves the canvas of {canvas[0]} x {canvas[1]}.",
                f"{at} 超出画布 {canvas[0]} x {canvas[1]}。",
            )
        )


def _media(name: str, value: int | None) -> str:
    return "aux" if within(name, value, 0, 1, 0) else "main"


def _render(name: str, value: int | None) -> int:
    """0 stretch, 1 crop, 2 fit, 3 smart."""
    return within(name, value, 0, 3, CROP)
