"""Rooms in which everybody's network or clock is wrong, recorded once; what is left of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.network.scenes import LONG_S, SCENES, SEED, Recorded, Scene, enc
from tests.support.bots import BotPublisher, Link
from tests.support.numbered_media import pictures, pictures_vp8, sounds
from tests.support.publisher import FPS
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack

ROOM = "storm"
MOST_USERS = 25  # of one recording task
ANSWER = 5  # pictures from a request to the key picture at most
LINGER_MS = 1000  # what was lost at the very end can still be asked for


@contextmanager
def brewed(work: Path, names: Collection[str] = SCENES) -> Iterator[dict[str, Recorded]]:
    """Publish these scenes (all of them) at once into recorded rooms; what became of each."""
    media = Media(work)
    for user in names:
        media.make(SCENES[user])  # now: a task that waits longer than its idle time for its first user ends
    callbacks = CallbackReceiver()
    publishers: dict[str, BotPublisher] = {}
    links: dict[str, Link] = {}
    try:
        with start_stack(work / "data") as stack:
            stack.set_callbacks(callbacks.url)
            for n, (user, scene) in enumerate(SCENES.items()):
                if user in names and scene.link is not None:
                    links[user] = Link(stack.dev["webrtc_addr"], seed=SEED + n, **scene.link)
            rooms = {user: f"{ROOM}{n // MOST_USERS}" for n, user in enumerate(names)}
            tasks = {room: stack.create_recording(room, OutputFormat=1, AvMerge=1) for room in set(rooms.values())}
            for task in tasks.values():
                callbacks.wait(301, task_id=task)
            for user in names:
                publishers[user] = publish(stack, user, SCENES[user], links.get(user), media, room=rooms[user])
            sent = {user: publisher.finish() for user, publisher in publishers.items()}
            counts = {user: link.end() for user, link in links.items()}
            for task in tasks.values():
                stack.delete(task)
            for task in tasks.values():
                callbacks.wait(310, task_id=task, timeout_s=60)
            files = {room: sorted(stack.bucket(task).iterdir()) for room, task in tasks.items()}
            notes = {room: told(stack, task) for room, task in tasks.items()}
            yield {
                user: recorded(user, sent[user], counts.get(user), files[room], notes[room])
                for user, room in rooms.items()
            }
    finally:
        callbacks.close()
        for publisher in publishers.values():
            publisher.kill()
        for link in links.values():
            link.kill()


@contextmanager
def alone(work: Path, scene: Scene, *, seconds: float) -> Iterator[Recorded]:
    """One publisher for as long as that, its media over and over; what became of it."""
    media = Media(work)
    media.make(scene)
    callbacks = CallbackReceiver()
    publisher = None
    try:
        with start_stack(work / "data") as stack:
            stack.set_callbacks(callbacks.url)
            task = stack.create_recording(ROOM, OutputFormat=1, AvMerge=1)
            callbacks.wait(301, task_id=task)
            publisher = publish(stack, "amy", scene, None, media, seconds=seconds)
            sent = publisher.finish(timeout_s=seconds + 120)
            stack.delete(task)
            callbacks.wait(310, task_id=task, timeout_s=60)
            yield recorded("amy", sent, None, sorted(stack.bucket(task).iterdir()), told(stack, task))
    finally:
        callbacks.close()
        if publisher is not None:
            publisher.kill()


def told(stack: Stack, task: str) -> Counter[str]:
    """How often the task's notes of each kind were made."""
    counts: Counter[str] = Counter()
    for note in json.loads(stack.cli("record", "show", task, "--json"))["notes"]:
        counts[note["kind"]] += note["count"]
    return counts


def recorded(
    user: str,
    sent: dict[str, object],
    link: dict[str, object] | None,
    files: list[Path],
    notes: Counter[str],
) -> Recorded:
    mine = [path for path in files if f"_s_{enc(user)}__" in path.name]
    of = {suffix: [path for path in mine if path.suffix == suffix] for suffix in (".mp4", ".m3u8")}
    return Recorded(user, sent, link, of[".mp4"], of[".m3u8"], notes)


class Media:
    """The files the clients send, made when first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def make(self, scene: Scene) -> None:
        """All that the scene's client will send."""
        for size in scene.sizes:
            self.series(scene, size)
        self.answers(scene)
        self.sounds(scene.sound_bps)

    def series(self, scene: Scene, size: tuple[int, int]) -> Path:
        return self.pictures(scene, size, None if scene.endless else 0)

    def pictures(self, scene: Scene, size: tuple[int, int], key_at: int | None) -> Path:
        path = self._directory / f"{size[0]}x{size[1]}-{scene.bps}-{key_at}.{scene.codec}"
        make = pictures_vp8 if scene.codec == "vp8" else pictures
        return path if path.exists() else make(path, LONG_S + 7, size=size, bps=scene.bps, key_at=key_at)

    def sounds(self, bps: int) -> Path:
        path = self._directory / f"beeps-{bps}.opus20"
        return path if path.exists() else sounds(path, LONG_S + 7, bps=bps)

    def answers(self, scene: Scene) -> list[Path]:
        """The pictures again, so that there is a key picture of each of these numbers."""
        if not scene.answers:
            return []
        return [self.pictures(scene, scene.sizes[0], key_at) for key_at in range(0, FPS, ANSWER)]


def publish(
    stack: Stack,
    user: str,
    scene: Scene,
    link: Link | None,
    media: Media,
    *,
    seconds: float = LONG_S,
    room: str = ROOM,
) -> BotPublisher:
    via: dict[str, object] = {} if link is None else {"via": link.address}
    return BotPublisher(
        stack.whip_url(room, user),
        token=stack.usersig(user),
        seconds=seconds,
        pictures=[media.series(scene, size) for size in scene.sizes],
        answers=media.answers(scene),
        sounds=media.sounds(scene.sound_bps),
        linger_ms=LINGER_MS,
        **via,
        **scene.wrong,
    )
