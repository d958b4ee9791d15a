"""Headless Chromium with a fake camera and microphone, driven through Playwright over the system's browser.

The page scripts below are plain WHIP and WHEP clients, the way a web application would write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]

FILES = "--allow-file-access-from-files"

PLAY = """
async ([url, rate]) => new Promise((resolve) => {
  const video = document.createElement('video');
  video.muted = true;
  video.onerror = () => resolve({error: video.error.message});
  video.onloadeddata = () => { video.playbackRate = rate; video.play(); };
  video.onended = () => resolve({
    error: null, duration: video.duration, width: video.videoWidth,
    pictures: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount});
  video.src = url;
  document.body.append(video);
})
"""

CLIENT = """
window.negotiate = async (pc, url, token, amend = (sdp) => sdp) => {
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(url, {method: 'POST', body: pc.localDescription.sdp,
    headers: {'Content-Type': 'application/sdp', 'Authorization': 'Bearer ' + token}});
  const text = await answer.text();
  if (answer.status !== 201) throw new Error('HTTP ' + answer.status + ': ' + text);
  await pc.setRemoteDescription({type: 'answer', sdp: amend(text)});
  return {location: answer.headers.get('Location'), answer: text};
};
window.connected = (pc) => new Promise((resolve, reject) => {
  const check = () => {
    if (pc.connectionState === 'connected') resolve(true);
    if (pc.connectionState === 'failed') reject(new Error('connection failed'));
  };
  pc.addEventListener('connectionstatechange', check); check();
});
// DTX is what the other side wishes (RFC 7587), so the answer is made to wish it.
const withDtx = (sdp) => sdp.replace(/(useinbandfec=1)/, '$1;usedtx=1');
window.whip = async ({url, token, codec, video, audio, width, dtx}) => {
  const pc = window.pub = new RTCPeerConnection();
  const media = await navigator.mediaDevices.getUserMedia(
    {video: video ? {width: width || 640, frameRate: 30} : false, audio});
  for (const track of media.getTracks()) {
    const transceiver = pc.addTransceiver(track, {direction: 'sendonly', streams: [media]});
    if (track.kind === 'video' && codec) {
      const all = RTCRtpSender.getCapabilities('video').codecs;
      transceiver.setCodecPreferences(all.filter(c => c.mimeType.toLowerCase() === 'video/' + codec
        || c.mimeType.toLowerCase() === 'video/rtx'));
    }
  }
  const done = await window.negotiate(pc, url, token, dtx ? withDtx : undefined);
  await window.connected(pc);
  return done;
};
window.whep = async ({url, token, video, audio}) => {
  const pc = window.sub = new RTCPeerConnection();
  const element = document.createElement('video');
  element.autoplay = true; element.muted = true; document.body.append(element);
  element.srcObject = new MediaStream();
  pc.ontrack = (e) => element.srcObject.addTrack(e.track);
  if (video !== false) pc.addTransceiver('video', {direction: 'recvonly'});
  if (audio !== false) pc.addTransceiver('audio', {direction: 'recvonly'});
  const asked = performance.now();
  const first = new Promise(resolve => {
    element.requestVideoFrameCallback ? element.requestVideoFrameCallback(() => resolve(performance.now()))
      : element.onplaying = () => resolve(performance.now());
  });
  const done = await window.negotiate(pc, url, token);
  await window.connected(pc);
  const connectedAt = performance.now();
  window.firstPicture = first.then(t => ({sinceAsked: t - asked, sinceConnected: t - connectedAt}));
  return done;
};
window.inbound = async () => {
  const out = {};
  for (const s of (await window.sub.getStats()).values())
    if (s.type === 'inbound-rtp') out[s.kind] = {frames: s.framesDecoded || 0, dropped: s.framesDropped || 0,
      packets: s.packetsReceived, lost: s.packetsLost, width: s.frameWidth, bytes: s.bytesReceived};
  return out;
};
window.outbound = async () => {
  const out = {};
  for (const s of (await window.pub.getStats()).values())
    if (s.type === 'outbound-rtp') out[s.kind] = {frames: s.framesEncoded || 0, packets: s.packetsSent, pli: s.pliCount || 0,
      width: s.frameWidth};
  return out;
};
"""


@contextmanager
def chromium(*extra_flags: str) -> Iterator[Any]:
    """A running browser (Playwright `Browser`). Each page gets its own fake devices."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*FLAGS, *extra_flags], headless=True
        )
        try:
            yield browser
        finally:
            browser.close()


def client_page(browser: Any, origin: str) -> Any:
    """A page on `origin` (a loopback http URL counts as secure) with the client functions loaded."""
    page = browser.new_context().new_page()
    page.goto(origin + "/livez")
    page.add_script_tag(content=CLIENT)
    return page


def file_page(browser: Any, directory: Path) -> Any:
    """A page that may play files of this machine; the browser is to have the flag `FILES`."""
    empty = directory / "empty.html"
    empty.write_text("<html><body></body></html>")
    page = browser.new_page()
    page.goto(empty.as_uri())
    return page


def played_file(page: Any, file: Path, *, rate: float = 2) -> dict[str, Any]:
    """What the browser says after it played a file to its end: error, duration, width, pictures, sound."""
    seen: dict[str, Any] = page.evaluate(PLAY, [file.as_uri(), rate])
    return seen
