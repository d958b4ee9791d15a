"""Headless Chromium with a fake camera and microphone, driven through Playwright over the system's browser.

The page scripts below are plain WHIP and WHEP clients, the way a web application would write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

CLIENT = """
window.negotiate = async (pc, url, token) => {
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(url, {method: 'POST', body: pc.localDescription.sdp,
    headers: {'Content-Type': 'application/sdp', 'Authorization': 'Bearer ' + token}});
  const text = await answer.text();
  if (answer.status !== 201) throw new Error('HTTP ' + answer.status + ': ' + text);
  await pc.setRemoteDescription({type: 'answer', sdp: text});
  return {location: answer.headers.get('Location'), answer: text};
};
window.connected = (pc) => new Promise((resolve, reject) => {
  const check = () => {
    if (pc.connectionState === 'connected') resolve(true);
    if (pc.connectionState === 'failed') reject(new Error('connection failed'));
  };
  pc.addEventListener('connectionstatechange', check); check();
});
window.whip = async ({url, token, codec, video, audio, width}) => {
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
  const done = await window.negotiate(pc, url, token);
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
