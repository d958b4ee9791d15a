"""Playback links and the end of files, over HTTP, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urljoin, urlsplit

import pytest

from roomtape.clock import ManualClock
from roomtape.control.messages import PieceCommitted
from roomtape.library.service import LONGEST_LINK_S, Library, NoSuchFile
from roomtape.library.store import LibraryStore
from roomtape.recording.spec import VodSpec
from roomtape.state.database import Database
from roomtape.state.sealing import Sealer
from tests.integration.library.conftest import EXPIRE_S, FILM, Shelf


def segments(playlist: bytes) -> list[str]:
    return [line for line in playlist.decode().splitlines() if line and not line.startswith("#")]


async def test_a_film_and_its_parts(shelf: Shelf) -> None:
    link = shelf.told["mp4"]["video_url"]
    status, headers, content = await shelf.get(link)
    assert (status, content) == (200, FILM)
    assert (headers["content-type"], headers["accept-ranges"]) == ("video/mp4", "bytes")
    assert headers["access-control-allow-origin"] == "*"
    status, headers, content = await shelf.get(link, Range="bytes=-10")
    assert (status, content) == (206, FILM[-10:])
    assert headers["content-range"] == f"bytes {len(FILM) - 10}-{len(FILM) - 1}/{len(FILM)}"
    status, _, _ = await shelf.get(link, Range=f"bytes={len(FILM)}-")
    assert status == 416
    async with shelf.http.head(shelf.url(link)) as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(FILM)))
    async with shelf.http.options(shelf.url(link), headers={"Origin": "https://school.example"}) as answer:
        assert answer.status == 204
        assert "Range" in answer.headers["access-control-allow-headers"]


async def test_a_playlists_segments_are_links_of_the_same_end(shelf: Shelf) -> None:
    link = shelf.told["m3u8"]["video_url"]
    status, headers, content = await shelf.get(link)
    assert (status, headers["content-type"]) == (200, "application/vnd.apple.mpegurl")
    assert len(segments(content)) == 2
    for number, reference in enumerate(segments(content)):
        assert parse_qs(urlsplit(reference).query)["exp"] == parse_qs(urlsplit(link).query)["exp"]
        status, headers, body = await shelf.get(urljoin(link, reference))
        assert (status, headers["content-type"]) == (200, "video/mp2t")
        assert body.startswith(f"amy_main_audio_{number:04d}.ts".encode())


async def test_nothing_opens_without_the_right_signature(shelf: Shelf) -> None:
    link = shelf.told["mp4"]["video_url"]
    parts = urlsplit(link)
    query = dict(parse_qsl(parts.query))
    altered = [
        {},
        {"exp": query["exp"]},
        {"exp": query["exp"], "sign": ""},
        {"exp": query["exp"], "sign": query["sign"][:-1]},
        {"exp": query["exp"], "sign": "ü" * 43},
        {"exp": str(int(query["exp"]) + 1), "sign": query["sign"]},
        {"exp": f"+{query['exp']}", "sign": query["sign"]},
        {"exp": "9" * 400, "sign": query["sign"]},
    ]
    for wrong in altered:
        assert (await shelf.get(parts._replace(query=urlencode(wrong)).geturl()))[0] == 403, wrong
    other = link.replace(shelf.told["mp4"]["file_id"], shelf.told["m3u8"]["file_id"])
    assert (await shelf.get(other))[0] == 403
    for name in ("..%2F..%2Fmaster.key", "%2e%2e", "x" * 2000):
        path = f"/media/{shelf.told['mp4']['file_id']}/{name}"
        assert (await shelf.get(f"https://x{path}?{parts.query}"))[0] in (403, 404)


async def test_what_is_signed_but_not_there_is_404(shelf: Shelf) -> None:
    links = shelf.server.library.links
    end_s = shelf.server.clock.now_ms() // 1000 + 60
    mp4, hls = shelf.told["mp4"], shelf.told["m3u8"]
    for path in (
        links.path("1000000000000000001", "a.mp4", end_s),
        links.path(hls["file_id"], "none.ts", end_s),
        links.path(mp4["file_id"], hls["cache_file"], end_s),
        links.path(hls["file_id"], "..", end_s),
    ):
        assert (await shelf.get(f"https://x{path}"))[0] in (403, 404)
    assert (await shelf.get(f"https://x{links.path(hls['file_id'], 'none.ts', end_s)}"))[0] == 404


async def test_a_link_ends_and_a_fresh_one_opens(shelf: Shelf, clock: ManualClock) -> None:
    made = await shelf.server.library.link(shelf.told["mp4"]["file_id"], 60)
    for passed_s in (0, 59):
        await clock.advance(passed_s)
        status, headers, _ = await shelf.get(made.url)
        assert status == 200
        kept = int(headers["cache-control"].rpartition("max-age=")[2])
        assert kept <= 60 - passed_s, "no browser keeps it for longer than the link opens it"
    await clock.advance(1)
    assert (await shelf.get(made.url))[0] == 403
    again = await shelf.server.library.link(shelf.told["mp4"]["file_id"], 60)
    assert (await shelf.get(again.url))[0] == 200


async def test_a_link_never_outlives_its_file(shelf: Shelf, clock: ManualClock) -> None:
    end_s = int(parse_qs(urlsplit(shelf.told["mp4"]["video_url"]).query)["exp"][0])
    assert end_s == clock.now_ms() // 1000 + EXPIRE_S  # links live two hours here, this file one


async def test_an_expired_file_is_refused_at_once_and_deleted(shelf: Shelf, clock: ManualClock) -> None:
    folder = next((shelf.server.root / "library").iterdir())
    assert len(list(folder.iterdir())) == 4
    await clock.advance(EXPIRE_S)
    for vod in shelf.told.values():
        assert (await shelf.get(vod["video_url"]))[0] == 403
        with pytest.raises(NoSuchFile):
            await shelf.server.library.link(vod["file_id"])
        await shelf.until_state(vod["file_id"], "removed")
    assert not folder.exists()


async def test_an_operator_removes_one_file_and_not_the_others(shelf: Shelf) -> None:
    mp4, hls = shelf.told["mp4"], shelf.told["m3u8"]
    await shelf.server.library.remove(hls["file_id"])
    await shelf.until_state(hls["file_id"], "removed")
    assert (await shelf.get(hls["video_url"]))[0] == 404
    assert (await shelf.get(mp4["video_url"]))[0] == 200
    folder = next((shelf.server.root / "library").iterdir())
    assert [path.name for path in folder.iterdir()] == [mp4["cache_file"]]
    with pytest.raises(NoSuchFile):
        await shelf.server.library.remove(hls["file_id"])


async def test_every_process_of_an_installation_signs_alike(
    shelf: Shelf, db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    sealer = Sealer.load(tmp_path / "master.key", {})
    other = Library(
        db, clock, sealer, LibraryStore(tmp_path / "x"), public_url="https://b.example/", link_s=0
    )
    await other.open()
    assert other.links.key == shelf.server.library.links.key
    made = await other.link(shelf.told["mp4"]["file_id"])
    assert made.url.startswith("https://b.example/media/")
    assert (await shelf.get(made.url))[0] == 200


async def test_a_file_without_an_end_may_have_a_link_without_one(
    shelf: Shelf, db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    server = shelf.server
    worker = shelf.worker
    task_id = await server.recording.create(server.spec(storage=VodSpec(media_type=1), room_id="other"))
    assign = await worker.take()
    worker.piece(assign, 0)
    await worker.told(PieceCommitted)
    await server.recording.stop(server.sdk_app_id, task_id)
    worker.stopped(assign)
    told = (await server.event(311, task_id=task_id)).fact["payload"]["vod"]
    made = await server.library.link(told["file_id"], 0)
    assert int(parse_qs(urlsplit(made.url).query)["exp"][0]) == clock.now_ms() // 1000 + LONGEST_LINK_S
    await clock.advance(5 * 366 * 86_400)
    assert (await shelf.get(made.url))[0] == 200
