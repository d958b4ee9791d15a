"""FFmpeg's WHIP muxer and Chromium publish through a link that loses packets (F-10, G-17, R-SYNC-1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.network.scenes import RTT_MS, SEED, enc
from tests.integration.network.storm import LINGER_MS
from tests.support.browser import chromium, client_page
from tests.support.linkproxy import LinkProxy
from tests.support.measure import Measured, measure
from tests.support.numbered import Pictures, pictures
from tests.support.publishers import Publisher
from tests.support.receiver import CallbackReceiver
from tests.support.stack import start_stack, until

SECONDS = 10
CALM_S = 3  # FFmpeg does not repeat its handshake
EARLY_S, LATE_S = 0.040, 0.060
FRAME_S = 1 / 30
LOSSES = {5: 0.995, 10: 0.98}  # percent: of the pictures stored (G-17)
TAIL = 3  # pictures; what is lost of the last ones nobody knows of

# The pictures of publisher.py, and its beeps, by the clock of the sound.
CAMERA = """async ({url, token}) => {
  const W = 320, H = 180, FPS = 30, CELLS = 20, CELL_H = 20, RATE = 48000;
  const audio = new AudioContext({sampleRate: RATE});
  const beep = audio.createBuffer(1, RATE, RATE), samples = beep.getChannelData(0);
  for (let i = 0; i < RATE / 10; i++) samples[i] = 0.36 * Math.sin(2 * Math.PI * 1000 * i / RATE);
  const source = audio.createBufferSource(), microphone = audio.createMediaStreamDestination();
  source.buffer = beep; source.loop = true; source.connect(microphone);
  const canvas = document.createElement('canvas'); canvas.width = W; canvas.height = H;
  const c = canvas.getContext('2d');
  const gray = (v) => c.fillStyle = `rgb(${v},${v},${v})`;
  const draw = (n) => {
    gray(50); c.fillRect(0, 0, W, H);
    if (n % FPS < 3) { gray(255); c.fillRect(0, 0, W, H - CELL_H); }
    else { gray(160); c.fillRect((n * 4) % (W - 20), 40, 20, 20); }
    for (let bit = 0; bit < CELLS; bit++) {
      gray(n >> bit & 1 ? 255 : 0); c.fillRect(bit * W / CELLS, H - CELL_H, W / CELLS, CELL_H);
    }
  };
  draw(0);
  const camera = canvas.captureStream(0).getVideoTracks()[0];
  const pc = window.pub = new RTCPeerConnection();
  const stream = new MediaStream([camera, microphone.stream.getAudioTracks()[0]]);
  for (const track of stream.getTracks()) pc.addTransceiver(track, {direction: 'sendonly', streams: [stream]});
  await window.negotiate(pc, url, token);
  await window.connected(pc);
  const start = audio.currentTime + 0.5;
  source.start(start);
  let last = -1;
  window.camera = setInterval(() => {
    const n = Math.floor((audio.currentTime - start) * FPS);
    if (n > last) { window.shown = last = n; draw(n); camera.requestFrame(); }
  }, 5);
}"""
STOP = """async () => {
  clearInterval(window.camera);
  const out = await window.outbound();
  await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
  return out.video;
}""".replace("LINGER_MS", str(LINGER_MS))


@dataclass
class Seen:
    """What became of one publisher."""

    sent: int  # pictures
    link: dict[str, Any]
    measured: Measured
    pictures: Pictures



def is_past(page: Any, number: float) -> bool:
    return bool(page.evaluate("window.shown || 0") >= number)


@contextmanager
def published(work: Path, seconds: float) -> Iterator[dict[str, Seen]]:
    """All of them at once, each through a link of its own."""
    with ExitStack() as open_now:
        callbacks = CallbackReceiver()
        open_now.callback(callbacks.close)
        stack = open_now.enter_context(start_stack(work / "data"))
        stack.set_callbacks(callbacks.url)
        browser = open_now.enter_context(chromium())
        proxies: dict[str, LinkProxy] = {}
        for n, loss in enumerate(LOSSES):
            for who in ("ffmpeg", "chromium"):
                calm = CALM_S if who == "ffmpeg" else 0
                proxy = LinkProxy(
                    stack.dev["http_url"], stack.dev["webrtc_addr"],
                    seed=SEED + n, loss=loss, delay_ms=RTT_MS / 2, calm_s=calm,
                )  # fmt: skip
                proxies[f"{who}{loss}"] = open_now.enter_context(proxy)
        task = stack.create_recording("outsiders", OutputFormat=1, AvMerge=1)
        callbacks.wait(301, task_id=task)
        pages: dict[str, Any] = {}
        publishers: dict[str, Publisher] = {}
        for user, proxy in proxies.items():
            url, token = proxy.url(stack.whip_url("outsiders", user)), stack.usersig(user)
            if user.startswith("chromium"):
                pages[user] = client_page(browser, proxy.origin)
                pages[user].evaluate(CAMERA, {"url": url, "token": token})
            else:
                publishers[user] = Publisher("whip", url, token=token, seconds=seconds)
                open_now.callback(publishers[user].process.kill)
        sent = {user: publisher.finish()["pictures"] for user, publisher in publishers.items()}
        for user, page in pages.items():
            until("its last second", partial(is_past, page, 30 * seconds))
            sent[user] = page.evaluate(STOP)["frames"]
        links = {user: proxy.link.end() for user, proxy in proxies.items()}
        stack.delete(task)
        callbacks.wait(310, task_id=task, timeout_s=60)
        files = {user: next(stack.bucket(task).glob(f"*_s_{enc(user)}__*.mp4")) for user in proxies}
        yield {u: Seen(sent[u], links[u], measure(file), pictures(file)) for u, file in files.items()}


@pytest.fixture(scope="module")
def seen(bots: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    with published(tmp_path_factory.mktemp("outsiders"), SECONDS) as result:
        yield result


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("who", ["ffmpeg", "chromium"])
def test_f10_g17_what_real_clients_send_through_loss_is_stored(seen: dict[str, Seen], who: str, loss: int) -> None:
    it = seen[f"{who}{loss}"]
    assert it.link["up"]["lost"] > 0.4 * loss / 100 * it.link["up"]["offered"]
    numbers, times = it.pictures.numbers, it.pictures.times_s
    assert numbers == sorted(set(numbers)), "a picture that lacks its reference shows another number"
    for number, at in zip(numbers, times, strict=True):
        assert at - times[0] == pytest.approx((number - numbers[0]) * FRAME_S, abs=0.1)
    # Two stretches between a hole and the key picture after it are not counted, as in test_lossy.py.
    missing = it.sent - len(numbers)
    worst = sorted(b - a - 1 for a, b in it.pictures.holes())[-2:]
    assert missing - sum(worst) <= (1 - LOSSES[loss]) * it.sent + TAIL


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("who", ["ffmpeg", "chromium"])
def test_r_sync_1_real_clients_sound_stays_with_its_picture_under_loss(seen: dict[str, Seen], who: str, loss: int) -> None:
    # Sound is not sent again: a beep that begins with a lost packet is late. Those that do not tell.
    offsets = sorted(seen[f"{who}{loss}"].measured.av_offsets_s)
    assert len(offsets) >= SECONDS - 4
    assert -EARLY_S <= offsets[len(offsets) // 4] <= LATE_S


@pytest.mark.soak
def test_g17_real_clients_for_a_minute(bots: None, tmp_path: Path) -> None:
    with published(tmp_path, 60) as minute:
        for user, it in minute.items():
            goal = LOSSES[int(user.removeprefix("ffmpeg").removeprefix("chromium"))]
            assert len(it.pictures.numbers) >= goal * it.sent - TAIL, user
            offsets = sorted(it.measured.av_offsets_s)
            assert -EARLY_S <= offsets[len(offsets) // 4] <= LATE_S, user
