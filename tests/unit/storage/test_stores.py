"""The local bucket: what it takes is there, whole, and proven."""

from __future__ import annotations

import hashlib
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from roomtape.storage.spool import Spool
from roomtape.storage.stores import LocalBucket, LocalBuckets, LocalStore, StoreError
from roomtape.storage.uploads import wait_after_s


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.ts"
    path.write_bytes(b"media" * 1000)
    return path


async def put(store: LocalStore, source: Path, key: str = "a/b/c.ts") -> None:
    content = source.read_bytes()
    await store.put(
        key,
        source,
        size=len(content),
        md5=hashlib.md5(content).hexdigest(),
        content_type="video/mp2t",
    )


async def test_an_object_lies_under_its_key_and_nothing_else_does(tmp_path: Path, source: Path) -> None:
    store = LocalStore(tmp_path / "bucket")
    await put(store, source)
    assert [p.relative_to(tmp_path / "bucket") for p in (tmp_path / "bucket").rglob("*") if p.is_file()] == [
        Path("a/b/c.ts")
    ]
    assert (tmp_path / "bucket/a/b/c.ts").read_bytes() == source.read_bytes()
    assert source.exists()
    assert await store.exists("a/b/c.ts")
    await store.delete("a/b/c.ts")
    await store.delete("a/b/c.ts")
    assert not await store.exists("a/b/c.ts")


async def test_on_one_file_system_nothing_is_copied(tmp_path: Path, source: Path) -> None:
    store = LocalStore(tmp_path / "bucket")
    await put(store, source)
    await put(store, source)
    (stored,) = [p for p in (tmp_path / "bucket").rglob("*") if p.is_file()]
    assert stored.samefile(source)
    content = source.read_bytes()
    source.unlink()
    assert stored.read_bytes() == content, "the object stays when the spool gives up its name"


async def test_between_file_systems_the_bytes_are_copied(tmp_path: Path, source: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert Path(elsewhere).stat().st_dev != source.stat().st_dev
        await put(LocalStore(Path(elsewhere)), source)
        (stored,) = [p for p in Path(elsewhere).rglob("*") if p.is_file()]
        assert stored.read_bytes() == source.read_bytes()


async def test_an_object_of_other_bytes_than_asked_for_is_not_proven(tmp_path: Path, source: Path) -> None:
    store = LocalStore(tmp_path / "bucket")
    with pytest.raises(StoreError, match="not the one") as refused:
        await store.put("x.ts", source, size=5000, md5="0" * 32, content_type="video/mp2t")
    assert refused.value.code == "BadDigest"


async def test_a_newer_object_replaces_the_older(tmp_path: Path, source: Path) -> None:
    store = LocalStore(tmp_path / "bucket")
    await put(store, source)
    source.write_bytes(b"newer")
    await put(store, source)
    assert (tmp_path / "bucket/a/b/c.ts").read_bytes() == b"newer"


async def test_a_full_bucket_refuses_and_takes_again_when_there_is_room(tmp_path: Path, source: Path) -> None:
    store = LocalStore(tmp_path / "bucket", max_bytes=12_000)
    await put(store, source, "1.ts")
    await put(store, source, "2.ts")
    await put(store, source, "2.ts")  # in place of itself: no growth
    with pytest.raises(StoreError) as refused:
        await put(store, source, "3.ts")
    assert (refused.value.code, refused.value.tell_at_once) == ("QuotaExceeded", False)
    assert not (tmp_path / "bucket" / "3.ts").exists()
    await store.delete("1.ts")
    await put(store, source, "3.ts")


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../../x", "a/./x/.."])
async def test_a_key_stays_inside_its_bucket(tmp_path: Path, source: Path, key: str) -> None:
    with pytest.raises(StoreError, match="relative path"):
        await put(LocalStore(tmp_path / "bucket"), source, key)


async def test_a_missing_file_is_told_at_once_and_without_paths(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "bucket")
    with pytest.raises(StoreError) as refused:
        await store.put("x", tmp_path / "nothing", size=1, md5="", content_type="")
    assert refused.value.tell_at_once
    assert str(tmp_path) not in str(refused.value)


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A directory that may be read and not written; root becomes nobody for the time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source.ts").write_bytes(b"media" * 1000)
        (folder / "bucket").mkdir()
        for path in (folder, folder / "bucket"):
            path.chmod(0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            yield folder
        finally:
            os.seteuid(was)
            folder.chmod(0o755)


async def test_a_bucket_that_may_not_be_written_is_told_at_once(powerless: Path) -> None:
    with pytest.raises(StoreError) as refused:
        await put(LocalStore(powerless / "bucket"), powerless / "source.ts")
    assert (refused.value.code, refused.value.tell_at_once) == ("AccessDenied", True)


def test_a_bucket_for_some_applications_is_none_for_others(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    buckets = LocalBuckets({"all": LocalBucket(store), "one": LocalBucket(store, frozenset({7}))})
    assert buckets.find("all", 8) is store
    assert buckets.find("one", 7) is store
    assert buckets.find("one", 8) is None
    assert buckets.find("none", 7) is None


def test_retries_come_at_once_then_ever_later_up_to_five_minutes() -> None:
    assert [wait_after_s(tries) for tries in range(1, 12)] == [0, 3, 6, 12, 24, 48, 96, 192, 300, 300, 300]
    assert wait_after_s(5000) == 300


def test_the_spool_of_a_task(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    base = spool.make("t1")
    assert sorted(path.name for path in base.iterdir()) == ["files", "index", "pieces"]
    spool.write_index("t1", "a.m3u8", "one")
    path = spool.write_index("t1", "a.m3u8", "two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["a.m3u8"]
    assert spool.tasks() == ["t1"]
    spool.drop_task("t1")
    spool.drop_task("t1")
    assert spool.tasks() == []


def test_disk_levels_take_the_smaller_limit(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    levels = spool.levels(warn=(100.0, 1e9), refuse=(100.0, 0.0), pause=(0.0, 1e9))
    assert levels.free_bytes > 0
    assert (levels.warn, levels.refuse, levels.pause) == (True, False, False)
