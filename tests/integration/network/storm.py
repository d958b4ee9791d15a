"""One room in which everybody's network or clock is wrong, recorded once; what is left of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.network.scenes import LONG_S, SCENES, SEED, Recorded, Scene, enc
from tests.support.bots import BotPublisher, Link
from tests.support.numbered_media import pictures, sounds
from tests.support.receiver import CallbackReceiver
from tests.support.stack import Stack, start_stack

ROOM = "storm"
LINGER_MS = 1000  # what was lost at the very end can still be asked for


@contextmanager
def brewed(work: Path, names: Collection[str] = SCENES) -> Iterator[dict[str, Recorded]]:
    """Publish these scenes (all of them) at once into one recorded room; what became of each."""
    media = Media(work)
    callbacks = CallbackReceiver()
    publishers: dict[str, BotPublisher] = {}
    links: dict[str, Link] = {}
    try:
        with start_stack(work / "data") as stack:
            stack.set_callbacks(callbacks.url)
            for n, (user, scene) in enumerate(SCENES.items()):
                if user in names and scene.link is not None:
                    links[user] = Link(stack.dev["webrtc_addr"], seed=SEED + n, **scene.link)
            task = stack.create_recording(ROOM, OutputFormat=1, AvMerge=1)
            callbacks.wait(301, task_id=task)
            for user in names:
                publishers[user] = publish(stack, user, SCENES[user], links.get(user), media)
            sent = {user: publisher.finish() for user, publisher in publishers.items()}
            counts = {user: link.end() for user, link in links.items()}
            stack.delete(task)
            callbacks.wait(310, task_id=task, timeout_s=60)
            files = sorted(stack.bucket(task).iterdir())
            yield {user: recorded(user, sent[user], counts.get(user), files) for user in names}
    finally:
        callbacks.close()
        for publisher in publishers.values():
            publisher.kill()
        for link in links.values():
            link.kill()


def recorded(user: str, sent: dict[str, object], link: dict[str, object] | None, files: list[Path]) -> Recorded:
    mine = [path for path in files if f"_s_{enc(user)}__" in path.name]
    of = {suffix: [path for path in mine if path.suffix == suffix] for suffix in (".mp4", ".m3u8")}
    return Recorded(user, sent, link, of[".mp4"], of[".m3u8"])


class Media:
    """The files the clients send, made when first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.sounds = sounds(directory / "beeps.opus20", LONG_S + 7)

    def pictures(self, size: tuple[int, int]) -> Path:
        path = self._directory / f"{size[0]}x{size[1]}.h264"
        return path if path.exists() else pictures(path, LONG_S + 7, size=size)


def publish(
    stack: Stack, user: str, scene: Scene, link: Link | None, media: Media, *, seconds: float = LONG_S
) -> BotPublisher:
    via: dict[str, object] = {} if link is None else {"via": link.address}
    return BotPublisher(
        stack.whip_url(ROOM, user),
        token=stack.usersig(user),
        seconds=seconds,
        pictures=[media.pictures(size) for size in scene.sizes],
        sounds=media.sounds,
        linger_ms=LINGER_MS,
        **via,
        **scene.wrong,
    )
