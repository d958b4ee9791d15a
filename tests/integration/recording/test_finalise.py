"""MP4 and AAC files: measured, not believed. Flashes and beeps say where every second of the call went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from roomtape.control.messages import FileReady, Finalise
from roomtape.recording import finalise as finalise_module
from roomtape.recording.finalise import FinaliseFailed, finalise, sections
from roomtape.recording.journal import Packet, StreamHead
from tests.support.measure import Measured, measure
from tests.support.signals import aac_beeps, between, h264_flashes
from tests.support.taping import AUDIO, SECOND, WALL_MS, Tape, audio_packets, output_key, video_packets

FRAME_S = 1 / 30
BEEP_S = 0.002  # a beep is found to a millisecond, and a file's time 0 is that of a picture, not of a sample
SOUND_FRAME_S = 1024 / 48_000
LIP_SYNC_S = 0.005


def files(tape: Tape, kind: str = "mp4", **changes: object) -> list[tuple[FileReady, Measured]]:
    job = tape.job(kind, **changes)
    return [(ready, measure(Path(job.out_dir) / ready.name)) for ready in finalise(job)]


def seconds(*spans: tuple[float, float]) -> list[float]:
    return [float(s) for begin, end in spans for s in range(int(begin), int(end))]


Spans = list[tuple[float, float]]


def tape_two_outputs(directory: Path, video: Spans, sound: Spans) -> Tape:
    """AvMerge 0: each span of a medium is a piece of its own output; a later span begins after a hole."""
    signal = aac_beeps(max(end for _, end in video + sound))
    tape = Tape(directory, types=("video", "audio"), sound=signal)
    packets = []
    for begin, end in video:
        packets += video_packets(h264_flashes(end - begin, start_s=begin))
    for begin, end in sound:
        packets += audio_packets(between(signal.frames, begin, end, 48_000))
    tape.write(packets)
    earlier = list(between(signal.frames, 0, sound[0][0], 48_000))
    if earlier:
        tape.priming = earlier[-1].data
    for kind, spans in (("video", video), ("audio", sound)):
        for number, (begin, end) in enumerate(spans):
            tape.piece(
                kind,
                number,
                int(begin * SECOND),
                int(end * SECOND),
                discontinuity=number > 0,
                hole_follows=True,
            )
    return tape


def test_sound_and_picture_recorded_apart_come_together(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 6)], [(0, 6)])
    ((ready, seen),) = files(tape)
    assert (ready.index, ready.track_type, ready.name) == (
        0,
        "audio_video",
        "1600001234_Y2xhc3NfNw..__UserId_s_YW15__UserId_e_main.mp4",
    )
    assert seen.warnings == []
    assert len(seen.pictures) == 180
    assert seen.flashes_s == pytest.approx(seconds((0, 6)), abs=FRAME_S / 2)
    assert seen.beeps_s == pytest.approx(seconds((0, 6)), abs=BEEP_S)
    assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S
    assert (ready.start_ms, ready.end_ms) == (WALL_MS, WALL_MS + 6000)


@pytest.mark.parametrize("bframes", [0, 2])
def test_merged_pieces_become_one_file_of_the_same_length(tmp_path: Path, bframes: int) -> None:
    sound = aac_beeps(6)
    tape = Tape(tmp_path, sound=sound)
    tape.write(video_packets(h264_flashes(6, bframes=bframes)) + audio_packets(sound.frames))
    for k, (begin, end) in enumerate([(-SECOND, 2 * SECOND), (2 * SECOND, 4 * SECOND), (4 * SECOND, None)]):
        tape.piece("audiovideo", k, begin, end)
    ((_, seen),) = files(tape)
    assert seen.warnings == []
    assert len(seen.pictures) == 180
    assert seen.flashes_s == pytest.approx(seconds((0, 6)), abs=FRAME_S / 2)
    assert seen.beeps_s == pytest.approx(seconds((0, 6)), abs=BEEP_S)
    assert seen.duration_s == pytest.approx(6, abs=SOUND_FRAME_S)


def test_pictures_of_half_a_megabyte_are_in_the_file_whole(tmp_path: Path) -> None:
    """A key picture of a shared screen is that large; FFmpeg by itself would give it in three, two without a time."""
    filler = b"\x00\x00\x01\x0c" + b"\xff" * 500_000 + b"\x80"  # Rec. H.264, 7.3.2.7
    frames = [f._replace(data=f.data + filler) if f.key else f for f in h264_flashes(4)]
    tape = Tape(tmp_path, types=("video",))
    tape.write(video_packets(frames))
    tape.piece("video", 0, 0, 2 * SECOND)
    tape.piece("video", 1, 2 * SECOND, None)
    ((_, seen),) = files(tape)
    assert seen.warnings == []
    assert len(seen.pictures) == 120
    assert seen.flashes_s == pytest.approx(seconds((0, 4)), abs=FRAME_S / 2)


def test_the_priming_packet_keeps_the_first_beep_whole(tmp_path: Path) -> None:
    """Without it the first frame fades in over 21 ms, and nothing else may move."""
    tape = tape_two_outputs(tmp_path, [(0, 2)], [(0, 2)])
    ((_, with_priming),) = files(tape)
    bare = [msgspec.structs.replace(piece, priming=b"") for piece in tape.job().pieces]
    ((_, without),) = files(tape, pieces=bare)
    assert with_priming.beeps_s[0] == pytest.approx(0, abs=BEEP_S)
    assert without.beeps_s[0] > 0.005
    assert without.beeps_s[1] == pytest.approx(with_priming.beeps_s[1], abs=BEEP_S)


def test_sound_that_goes_away_is_silence_while_the_picture_goes_on(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 8)], [(0, 2.5), (5.5, 8)])
    ((_, seen),) = files(tape)
    assert seen.warnings == []
    assert seen.flashes_s == pytest.approx(seconds((0, 8)), abs=FRAME_S / 2)
    assert seen.beeps_s == pytest.approx(seconds((0, 3), (6, 8)), abs=BEEP_S)
    # Players that close gaps in sound would drift: what is left open is less than half a frame.
    assert all(abs(gap) <= SOUND_FRAME_S / 2 + 0.001 for _, gap in seen.audio_gaps_s)


def test_a_picture_that_goes_away_lasts_or_is_black(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 2.5), (5.5, 8)], [(0, 8)])
    ((_, held),) = files(tape)
    ((_, black),) = files(tape, fill_type=1)
    for seen in (held, black):
        assert seen.warnings == []
        assert seen.beeps_s == pytest.approx(seconds((0, 8)), abs=BEEP_S)
        assert seen.flashes_s == pytest.approx(seconds((0, 3), (6, 8)), abs=FRAME_S / 2)
    in_hole = [p for p in held.pictures if 2.5 < p.time_s < 5.49]
    assert in_hole == []
    in_hole = [p for p in black.pictures if 2.49 < p.time_s < 5.49]
    assert [p.time_s for p in in_hole] == pytest.approx([2.5, 3.5, 4.5], abs=FRAME_S)
    assert all(p.luma < 20 and p.key for p in in_hole)


def test_both_gone_for_less_than_the_idle_limit_is_filled(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 2.5), (6.5, 9)], [(0, 2.5), (6.5, 9)])
    ((ready, seen),) = files(tape, max_idle_ms=5000)
    assert seen.warnings == []
    assert seen.flashes_s == pytest.approx(seconds((0, 3), (7, 9)), abs=FRAME_S / 2)
    assert seen.beeps_s == pytest.approx(seconds((0, 3), (7, 9)), abs=BEEP_S)
    assert ready.end_ms == pytest.approx(WALL_MS + 9000, abs=1000 * SOUND_FRAME_S)


def test_both_gone_for_longer_is_the_next_file(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 2.5), (6.5, 9)], [(0, 2.5), (6.5, 9)])
    found = files(tape, max_idle_ms=3000)
    assert [(ready.index, ready.name[-6:]) for ready, _ in found] == [(1, "_1.mp4"), (2, "_2.mp4")]
    for (ready, seen), begin, whole in zip(found, (0, 6.5), ((0, 3), (7, 9)), strict=True):
        assert seen.warnings == []
        assert ready.start_ms == pytest.approx(WALL_MS + begin * 1000, abs=1000 * SOUND_FRAME_S)
        shift = (ready.start_ms - WALL_MS) / 1000
        assert [flash + shift for flash in seen.flashes_s] == pytest.approx(seconds(whole), abs=FRAME_S / 2)
        assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S


@pytest.mark.parametrize(("begin_video", "begin_sound"), [(0, 2.5), (2, 0)])
def test_a_medium_that_comes_later_is_placed_in_time(
    tmp_path: Path, begin_video: float, begin_sound: float
) -> None:
    tape = tape_two_outputs(tmp_path, [(begin_video, 6)], [(begin_sound, 6)])
    ((_, seen),) = files(tape)
    assert seen.warnings == []
    first = -(-begin_sound // 1)
    assert seen.flashes_s == pytest.approx(seconds((begin_video, 6)), abs=FRAME_S / 2)
    assert seen.beeps_s == pytest.approx(seconds((first, 6)), abs=BEEP_S)


def test_files_are_split_at_key_pictures_and_nothing_is_lost(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 8)], [(0, 8)])
    found = files(tape, max_file_ms=2500)
    assert [ready.index for ready, _ in found] == [1, 2, 3]
    pictures = 0
    for (_, seen), begin in zip(found, (0, 3, 6), strict=True):
        assert seen.warnings == []
        assert seen.pictures[0].key
        pictures += len(seen.pictures)
        assert seen.flashes_s == pytest.approx(
            [s - begin for s in seconds((begin, min(begin + 3, 8)))], abs=FRAME_S
        )
        assert max(map(abs, seen.av_offsets_s)) < LIP_SYNC_S  # the frame before the split primes the decoder
    assert pictures == 240


def test_a_file_is_split_before_it_grows_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 8)], [(0, 8)])
    ((whole, _),) = files(tape)
    monkeypatch.setattr(finalise_module, "MAX_FILE_BYTES", whole.size // 3)
    found = files(tape, max_file_ms=0)
    assert len(found) > 1
    second_bytes = whole.size / 8
    assert all(ready.size < whole.size / 3 + 2 * second_bytes for ready, _ in found)
    assert sum(len(seen.pictures) for _, seen in found) == 240
    assert all(seen.pictures[0].key and seen.warnings == [] for _, seen in found)


def test_sound_alone_is_split_at_any_frame(tmp_path: Path) -> None:
    sound = aac_beeps(5)
    tape = Tape(tmp_path, types=("audio",), sound=sound)
    tape.write(audio_packets(sound.frames))
    tape.piece("audio", 0, 0, None)
    found = files(tape, max_file_ms=2000)
    assert [ready.track_type for ready, _ in found] == ["audio"] * 3
    assert sum(seen.duration_s for _, seen in found) == pytest.approx(
        len(sound.frames) * SOUND_FRAME_S, abs=0.002
    )
    assert all(seen.warnings == [] for _, seen in found)


def test_an_aac_file_keeps_real_time_over_holes(tmp_path: Path) -> None:
    spans = [(0, 1.5), (2.5, 3.5), (4.5, 5.5), (6.5, 9)]
    tape = tape_two_outputs(tmp_path, [(0, 9)], spans)
    ((ready, seen),) = files(tape, "aac")
    assert (ready.track_type, ready.name[-4:]) == ("audio", ".aac")
    assert seen.warnings == []
    assert seen.video_s is None
    # Whole frames only, to the nearest, and not summing up over holes.
    expected = seconds((0, 2), (3, 4), (5, 6), (7, 9))
    assert seen.beeps_s == pytest.approx(expected, abs=SOUND_FRAME_S / 2 + BEEP_S)


@pytest.mark.parametrize("how", ["inband", "split"])
def test_a_change_of_picture_size(tmp_path: Path, how: str) -> None:
    sound = aac_beeps(6)
    tape = Tape(tmp_path, types=("video", "audio"), sound=sound)
    runs = [((160, 96), 0), ((320, 192), 2), ((160, 96), 4)]
    for (width, height), begin in runs:
        tape.write(video_packets(h264_flashes(2, width=width, height=height, start_s=begin)))
    tape.write(audio_packets(sound.frames))
    for number, (_, begin) in enumerate(runs):
        tape.piece("video", number, begin * SECOND, (begin + 2) * SECOND, discontinuity=number > 0)
    tape.piece("audio", 0, 0, None)
    found = files(tape, mp4_on_resize=how)
    assert all(seen.warnings == [] for _, seen in found)
    assert [size for _, seen in found for size in seen.sizes] == [size for size, _ in runs]
    assert sum(len(seen.pictures) for _, seen in found) == 180
    assert len(found) == (1 if how == "inband" else 3)
    if how == "inband":
        header = (Path(tape.job().out_dir) / found[0][0].name).read_bytes()
        at = header.index(b"tkhd") + 4 + 76
        assert [int.from_bytes(header[at + n : at + n + 4], "big") >> 16 for n in (0, 4)] == [320, 192]


def test_a_changed_sound_configuration_begins_a_new_file(tmp_path: Path) -> None:
    first, second = aac_beeps(2), aac_beeps(2, sample_rate=44_100, channels=1, start_s=2)
    tape = Tape(tmp_path, types=("audio",), sound=first)
    tape.write(audio_packets(first.frames))
    head = StreamHead(
        id=9,
        user="amy",
        media="main",
        kind="audio",
        codec="aac",
        time_base_den=44_100,
        sample_rate=44_100,
        channels=1,
        extradata=second.config,
    )
    output = next(iter(tape.journal.outputs.values()))
    tape.journal.declare([head], [msgspec.structs.replace(output, streams=[*output.streams, 9])])
    tape.journal.append([Packet(9, 1, f.pts, f.dts, f.duration, f.data) for f in second.frames], {})
    tape.piece("audio", 0, 0, 2 * SECOND)
    tape.piece("audio", 1, 2 * SECOND, None, discontinuity=True)
    for kind in ("mp4", "aac"):
        found = files(tape, kind)
        assert [(seen.sample_rate, seen.channels) for _, seen in found] == [(48_000, 2), (44_100, 1)]
        assert all(seen.warnings == [] for _, seen in found)


def test_a_changed_sound_configuration_costs_no_picture(tmp_path: Path) -> None:
    """The change comes in the middle of a group of pictures; the new file has the group before its time 0."""
    first, second = aac_beeps(2.5), aac_beeps(2.5, channels=1, start_s=2.5)
    tape = Tape(tmp_path, types=("video", "audio"), sound=first)
    tape.write(video_packets(h264_flashes(5, gop_s=2)) + audio_packets(first.frames))
    output = tape.journal.outputs[output_key("audio")]
    head = msgspec.structs.replace(tape.journal.streams[AUDIO], id=9, channels=1, extradata=second.config)
    tape.journal.declare([head], [msgspec.structs.replace(output, streams=[AUDIO, 9])])
    tape.journal.append(audio_packets(second.frames, stream=9), {})
    tape.piece("video", 0, 0, None)
    tape.piece("audio", 0, 0, second.frames[0].pts * SECOND // 48_000)
    tape.piece("audio", 1, second.frames[0].pts * SECOND // 48_000, None, discontinuity=True)
    (_, before), (ready, after) = files(tape)
    begin = (ready.start_ms - WALL_MS) / 1000
    assert before.warnings == []
    assert after.warnings == []
    assert after.pictures[0].time_s == pytest.approx(0, abs=FRAME_S)
    assert len(before.pictures) + len(after.pictures) == pytest.approx(150, abs=1)
    assert before.flashes_s == pytest.approx(seconds((0, 3)), abs=FRAME_S / 2)
    assert [f + begin for f in after.flashes_s] == pytest.approx(seconds((3, 5)), abs=FRAME_S / 2)
    assert max(map(abs, after.av_offsets_s)) < LIP_SYNC_S


def test_a_picture_that_lasts_goes_on_in_the_next_file(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 1.05), (80.5, 82)], [(0, 82)])
    found = files(tape, max_file_ms=2000)
    (_, first), (ready, held), (_, last) = found
    assert [seen.warnings for _, seen in found] == [[], [], []]
    assert 70_000 < ready.start_ms - WALL_MS < 80_000
    assert first.flashes_s == pytest.approx([0, 1], abs=FRAME_S)
    assert held.pictures[0].time_s == pytest.approx(0, abs=FRAME_S)
    assert held.pictures[0].luma > 200  # the last one of the first span: in the flash of second 1
    assert last.flashes_s == pytest.approx([0.5], abs=FRAME_S)


def test_a_recording_that_passes_the_wrap_of_the_transport_clock(tmp_path: Path) -> None:
    """2^33 / 90000 s, less the 10 s the time line begins with, is 26.5 hours after the task's start."""
    at_s = (1 << 33) / 90_000 - 10 - 1
    start_s = int(at_s)
    sound = aac_beeps(4, start_s=start_s)
    tape = Tape(tmp_path, types=("video", "audio"), sound=sound)
    tape.write(video_packets(h264_flashes(4, start_s=start_s)) + audio_packets(sound.frames))
    for kind in ("video", "audio"):
        tape.piece(kind, 0, start_s * SECOND, (start_s + 2) * SECOND)
        tape.piece(kind, 1, (start_s + 2) * SECOND, None)
    ((ready, seen),) = files(tape)
    assert seen.warnings == []
    assert seen.flashes_s == pytest.approx(seconds((0, 4)), abs=FRAME_S / 2)
    assert seen.beeps_s == pytest.approx(seconds((0, 4)), abs=BEEP_S)
    assert ready.start_ms == WALL_MS + start_s * 1000


def test_made_again_the_files_are_the_same(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 6)], [(0, 6)])
    first = [ready for ready, _ in files(tape, max_file_ms=2500)]
    again = [ready for ready, _ in files(tape, max_file_ms=2500)]
    assert again == first


def test_a_maker_killed_in_its_middle_starts_anew(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 6)], [(0, 6)])
    job = tape.job(max_file_ms=2500)
    (tmp_path / "job").write_bytes(msgspec.msgpack.encode(job))
    script = (
        "import sys, msgspec; from pathlib import Path; from roomtape.control.messages import Finalise;"
        "from roomtape.recording.finalise import finalise;"
        "list(finalise(msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=Finalise)))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ROOMTAPE_FAULT": "mid-finalise:2",
        "ROOMTAPE_FAULT_DIR": str(tmp_path),
    }

    def run() -> int:
        command = [sys.executable, "-c", script, str(tmp_path / "job")]
        return subprocess.run(command, env=environment, check=False).returncode

    assert run() == -9
    assert run() == 0
    names = sorted(path.name for path in Path(job.out_dir).iterdir())
    assert names == [f"{job.base_name}_{n}.mp4" for n in (1, 2)]
    assert all(measure(Path(job.out_dir) / name).warnings == [] for name in names)


def test_a_damaged_piece_is_an_error_and_not_a_shorter_file(tmp_path: Path) -> None:
    tape = tape_two_outputs(tmp_path, [(0, 2)], [(0, 2)])
    path = Path(tape.job().pieces[0].path)
    path.write_bytes(path.read_bytes()[: 188 * 40])
    with pytest.raises(FinaliseFailed, match="other bytes"):
        list(finalise(tape.job()))


def test_no_pieces_are_no_files(tmp_path: Path) -> None:
    job = Finalise(
        task_id="t",
        epoch=1,
        job="j",
        user="u",
        media="main",
        kind="mp4",
        out_dir=str(tmp_path),
        base_name="x",
        pieces=[],
        max_file_ms=1,
        max_idle_ms=1,
    )
    assert list(finalise(job)) == []
    assert sections([], 1) == []
