"""`roomtape library` and `app set --auto-record`, against both kinds of database."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa

from roomtape.library.service import Media
from roomtape.state import schema
from tests.integration.cli.conftest import Bench

MEMBERS = {
    "RecordParams": {"RecordMode": 1, "MaxIdleTime": 60},
    "StorageParams": {
        "CloudStorage": {
            "Vendor": 0, "Region": "ap-guangzhou", "Bucket": "b", "AccessKey": "the-id", "SecretKey": "the-key",
        }
    },
}  # fmt: skip


async def stored(bench: Bench) -> tuple[int, str]:
    """A film in the library; its application and FileId."""
    app = (await bench.json("app", "create"))["sdk_app_id"]
    async with bench.db.write() as conn:
        await conn.execute(
            sa.insert(schema.tasks).values(
                task_id="task", sdk_app_id=app, kind="recording", room_type="s", room_id="class",
                robot_user_id="robot", spec={}, created_ms=1,
            )
        )  # fmt: skip
        film = Media(app, "task", "mp4", "film.mp4", "amy", "main", "audio_video", size=6)
        made = await conn.run_sync(bench.library.enter, film)
    folder = bench.library.store.root / "task"
    folder.mkdir(parents=True)
    (folder / "film.mp4").write_bytes(b"a film")
    return app, made.file_id


async def test_files_are_listed_linked_and_removed(bench: Bench) -> None:
    app, file_id = await stored(bench)
    assert await bench.json("library", "list", "--sdk-app-id", str(app + 1)) == []
    [row] = await bench.json("library", "list", "--sdk-app-id", str(app))
    assert (row["file_id"], row["name"], row["state"], row["size"]) == (file_id, "film.mp4", "stored", 6)
    now_s = bench.clock.now_ms() // 1000
    for options, valid_s in (((), 60), (("--valid-s", "5"), 5)):
        made = await bench.json("library", "link", file_id, *options)
        url = urlsplit(made["url"])
        assert (url.netloc, url.path) == ("rooms.example", f"/media/{file_id}/film.mp4")
        assert int(parse_qs(url.query)["exp"][0]) == now_s + valid_s
    await bench.json("library", "remove", file_id)
    for verb in ("link", "remove"):
        code, out, err = await bench.command("library", verb, file_id)
        assert (code, out) == (1, "")
        assert f"no file {file_id}" in err, verb


async def test_automatic_recording_is_switched_on_shown_without_keys_and_off(
    bench: Bench, tmp_path: Path
) -> None:
    app = str((await bench.json("app", "create"))["sdk_app_id"])
    file = tmp_path / "auto.json"
    file.write_text(json.dumps(MEMBERS))
    changed = await bench.json("app", "set", app, "--auto-record", str(file))
    assert changed["auto_record"]["max_idle_s"] == 60
    assert changed["auto_record"]["storage"]["bucket"] == "b"
    assert changed["auto_record_since_ms"] == bench.clock.now_ms()
    _, out, _ = await bench.command("app", "show", app, "--json")
    assert "the-key" not in out
    assert "the-id" not in out
    other = await bench.json("app", "set", app, "--permission-control")
    assert other["auto_record"] == changed["auto_record"]
    assert (await bench.json("app", "set", app, "--no-auto-record"))["auto_record"] is None


async def test_a_wrong_file_is_refused_in_one_line_and_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    app = str((await bench.json("app", "create"))["sdk_app_id"])
    file = tmp_path / "auto.json"
    for content, says in (
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "an object"),
        ("{}", "an object"),
        (json.dumps({**MEMBERS, "RecordParams": {"RecordMode": 1, "MaxIdleTime": 1}}), "OutOfRange"),
        (json.dumps({"RecordParams": {"RecordMode": 1}}), "MissingParameter.StorageParams"),
        (json.dumps({**MEMBERS, "UserId": "x"}), "no more"),
    ):
        if content is not None:
            file.write_text(content)
        code, out, err = await bench.command("app", "set", app, "--auto-record", str(file))
        assert (code, out) == (1, "")
        assert says in err
        assert err.count("\n") == 1
    assert (await bench.json("app", "show", app))["auto_record"] is None
