"""Transport streams: equal bytes for equal units, counters that run on, and a check that sees damage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomtape.media import ts
from roomtape.media.adts import AacConfig
from tests.support.signals import aac_beeps, h264_flashes


def units(seconds: float = 2, *, start_ticks: int = 0) -> list[ts.TsUnit]:
    sound = aac_beeps(seconds)
    config = AacConfig.parse(sound.config)
    found = [
        ts.TsUnit(
            ts.VIDEO_PID,
            ts.to_clock(f.pts, 90_000) + start_ticks,
            ts.to_clock(f.dts, 90_000) + start_ticks,
            f.key,
            ts.delimited(f.data),
        )
        for f in h264_flashes(seconds)
    ]
    for f in sound.frames:
        at = ts.to_clock(f.pts, 48_000) + start_ticks
        found.append(ts.TsUnit(ts.AUDIO_PID, at, at, True, config.header(len(f.data)) + f.data))
    return sorted(found, key=lambda unit: (unit.dts, unit.pid))


def test_equal_units_give_equal_bytes() -> None:
    assert ts.mux(units(), {}) == ts.mux(units(), {})


def test_the_time_line_begins_ten_seconds_in() -> None:
    content = ts.inspect(ts.mux(units(), {})[0], {})
    assert content[ts.VIDEO_PID].first_pts == 900_000
    assert content[ts.AUDIO_PID].first_pts == 900_000


def test_times_beyond_33_bits_wrap() -> None:
    """A recording of 26.5 hours passes the wrap."""
    late = units(start_ticks=ts.WRAP - ts.ORIGIN - 45_000)
    data, _ = ts.mux(late, {})
    ts.check(data, late, {})
    ts.check_by_demuxing(data, late)


def test_a_picture_of_half_a_megabyte_is_read_back_whole_and_at_its_time() -> None:
    """FFmpeg by itself cuts it after 200 KiB, and the check would refuse the piece for ever."""
    padded = [
        unit._replace(data=unit.data + b"\x00\x00\x01\x0c" + b"\xff" * 500_000) if unit.pid == ts.VIDEO_PID and unit.key else unit
        for unit in units()
    ]  # filler data (Rec. H.264, 7.3.2.7)
    data, _ = ts.mux(padded, {})
    ts.check(data, padded, {})
    ts.check_by_demuxing(data, padded)
    assert 500_000 < ts.longest_pes(data) < 510_000


def test_counters_run_on_from_piece_to_piece() -> None:
    whole = units(3)
    counters: dict[int, int] = {}
    for part in (whole[:100], whole[100:130], whole[130:]):
        data, after = ts.mux(part, counters)
        ts.check(data, part, counters)
        ts.check_by_demuxing(data, part)
        if counters:
            with pytest.raises(ts.TsBroken, match="continuity"):
                ts.check(data, part, {})
        counters = after
    assert {0, ts.VIDEO_PID, ts.AUDIO_PID} <= counters.keys()


def test_a_piece_of_one_kind_keeps_the_other_kinds_counter() -> None:
    only_sound = [unit for unit in units() if unit.pid == ts.AUDIO_PID]
    _, after = ts.mux(only_sound, {ts.VIDEO_PID: 9, ts.AUDIO_PID: 15})
    assert after[ts.VIDEO_PID] == 9


DATA, _ = ts.mux(units(), {})
HOWS = ["drop", "double", "swap", "sync", "error", "cut"]


@settings(max_examples=60)
@given(
    st.integers(0, len(DATA) // 188 - 1), st.sampled_from(["drop", "double", "swap", "sync", "error", "cut"])
)
def test_r_disk_3_damage_to_any_packet_is_seen(place: int, how: str) -> None:
    rows = [bytearray(DATA[at : at + 188]) for at in range(0, len(DATA), 188)]
    pid = (rows[place][1] & 31) << 8 | rows[place][2]
    if how == "sync":
        rows[place][0] = 0x48
    elif how == "error":
        rows[place][1] |= 0x80
    elif how == "cut":
        del rows[place][150:]
    elif pid not in (ts.VIDEO_PID, ts.AUDIO_PID):
        return  # a table more or less is no damage to the recording
    elif how == "drop":
        del rows[place]
    elif how == "double":
        rows.insert(place, rows[place])
    else:
        others = [n for n, row in enumerate(rows) if n != place and (row[1] & 31) << 8 | row[2] == pid]
        other = others[place % len(others)]
        if (rows[other][3] ^ rows[place][3]) & 15 == 0:
            return  # 16 packets apart: only the bytes differ, which the file's hash tells
        rows[place], rows[other] = rows[other], rows[place]
    with pytest.raises(ts.TsBroken):
        ts.check(b"".join(rows), units(), {})


def test_what_was_not_meant_is_seen() -> None:
    meant = units()
    with pytest.raises(ts.TsBroken, match="PIDs"):
        ts.check(DATA, [unit for unit in meant if unit.pid == ts.VIDEO_PID], {})
    with pytest.raises(ts.TsBroken):
        ts.check(DATA, meant[:-1], {})
    moved = [unit._replace(pts=unit.pts + 1) for unit in meant]
    with pytest.raises(ts.TsBroken, match="begins at"):
        ts.check(DATA, moved, {})
    with pytest.raises(ts.TsBroken, match="picture times"):
        ts.check_by_demuxing(DATA, moved)


def test_a_delimiter_is_put_where_none_is() -> None:
    assert ts.delimited(b"\0\0\0\1\x65x") == b"\0\0\0\1\x09\xf0\0\0\0\1\x65x"
    for unit in (b"\0\0\0\1\x09\xf0\0\0\1\x65x", b"\0\0\1\x09\x10\0\0\1\x65"):
        assert ts.delimited(unit) == unit


sizes = st.sampled_from([1, 2, 150, 158, 159, 160, 161, 162, 170, 183, 184, 185, 366, 5000])


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 9000), st.integers(0, 6000), st.booleans(), sizes),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([0, ts.WRAP - ts.ORIGIN - 20_000]),
)
def test_ffmpeg_reads_what_was_muxed(rows: list[tuple[bool, int, int, bool, int]], start: int) -> None:
    """Pictures and sound of any sizes around the edges of a packet, at any distances, of one kind or both."""
    meant, dts = [], ts.ORIGIN + start
    config = AacConfig(2, 48_000, 2)
    for number, (sound, step, ahead, key, size) in enumerate(rows):
        dts += step
        data = (b"%d " % number * size)[:size]
        if sound:
            meant.append(ts.TsUnit(ts.AUDIO_PID, dts, dts, True, config.header(size) + data))
        else:
            picture = ts.delimited(b"\0\0\0\1\x65" + data)
            meant.append(ts.TsUnit(ts.VIDEO_PID, dts + ahead, dts, key, picture))
    data, _ = ts.mux(meant, {})
    ts.check(data, meant, {})
    ts.check_by_demuxing(data, meant)


def test_only_picture_and_sound_can_be_muxed() -> None:
    with pytest.raises(ValueError, match="neither picture nor sound"):
        ts.mux([ts.TsUnit(0x102, 0, 0, True, b"x")], {})
