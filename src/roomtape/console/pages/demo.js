// WHIP and WHEP as any web application would speak them: one POST with the offer, one DELETE to leave.
const $ = (id) => document.getElementById(id);
const WIDTH = 640, HEIGHT = 360, FPS = 30;
const sessions = {};

async function ticket(user) {
  const answer = await fetch(`ticket?user=${encodeURIComponent(user)}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// A session: its connection, and how to end it.
async function open(kind, user, query, prepare) {
  const { sdk_app_id, user_sig } = await ticket(user);
  const pc = new RTCPeerConnection();
  prepare(pc);
  await pc.setLocalDescription(await pc.createOffer());
  await gathered(pc);
  const members = new URLSearchParams({ SessionID: user, ...query });
  const url = `/v2/${kind}/${sdk_app_id}/${encodeURIComponent($("room").value)}?${members}`;
  const answer = await fetch(url, {
    method: "POST",
    body: pc.localDescription.sdp,
    headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${user_sig}` },
  });
  const text = await answer.text();
  if (answer.status !== 201) {
    pc.close();
    throw new Error(`HTTP ${answer.status}: ${text}`);
  }
  await pc.setRemoteDescription({ type: "answer", sdp: text });
  const location = new URL(answer.headers.get("Location"), window.location.href);
  const end = async () => { // the DELETE first: a closed connection has no session left to end
    await fetch(location, { method: "DELETE", headers: { Authorization: `Bearer ${user_sig}` }, keepalive: true });
    pc.close();
  };
  return { pc, end };
}

function gathered(pc) {
  if (pc.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve());
    setTimeout(resolve, 1000); // host candidates are there at once; nobody waits for the rest
  });
}

// A picture that turns white, and a beep, at each whole second: what is recorded can be measured.
function testPicture() {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  const g = canvas.getContext("2d");
  const audio = new AudioContext();
  const out = audio.createMediaStreamDestination();
  const begin = audio.currentTime;
  let beeped = -1;
  const draw = () => {
    const now = audio.currentTime - begin, second = Math.floor(now);
    if (second + 1 > beeped) {
      beeped = second + 1;
      const tone = new OscillatorNode(audio, { frequency: 1000 });
      const gain = new GainNode(audio, { gain: 0.3 });
      tone.connect(gain).connect(out);
      tone.start(begin + beeped);
      tone.stop(begin + beeped + 0.1);
    }
    g.fillStyle = now % 1 < 0.1 ? "#fff" : `hsl(${(now * 20) % 360} 40% 30%)`;
    g.fillRect(0, 0, WIDTH, HEIGHT);
    g.fillStyle = now % 1 < 0.1 ? "#000" : "#fff";
    g.font = "bold 96px system-ui";
    g.textAlign = "center";
    g.fillText(now.toFixed(2), WIDTH / 2, HEIGHT / 2 + 32);
  };
  const timer = setInterval(draw, 1000 / FPS);
  const stream = new MediaStream([...canvas.captureStream(FPS).getTracks(), ...out.stream.getTracks()]);
  return { stream, stop: () => { clearInterval(timer); audio.close(); } };
}

async function source() {
  const kind = $("source").value;
  if (kind === "picture") return testPicture();
  const stream = kind === "screen"
    ? await navigator.mediaDevices.getDisplayMedia({ video: true, audio: true })
    : await navigator.mediaDevices.getUserMedia({ video: { width: 1280, frameRate: FPS }, audio: true });
  return { stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
}

async function publish() {
  const { stream, stop } = await source();
  try {
    const session = await open("pub", $("user").value, {}, (pc) => {
      for (const track of stream.getTracks()) {
        const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
        if (track.kind === "video" && $("codec").value) prefer(transceiver, $("codec").value);
      }
    });
    $("mine").srcObject = stream;
    return { ...session, end: async () => { stop(); $("mine").srcObject = null; await session.end(); } };
  } catch (error) {
    stop();
    throw error;
  }
}

function prefer(transceiver, codec) {
  const all = RTCRtpSender.getCapabilities("video").codecs;
  const wanted = (c) => [`video/${codec}`, "video/rtx"].some((type) => c.mimeType.toLowerCase() === type.toLowerCase());
  transceiver.setCodecPreferences(all.filter(wanted));
}

async function watch() {
  const whom = $("whom").value.trim();
  const media = new MediaStream();
  const viewer = `viewer_${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  const session = await open("sub", viewer, whom ? { user: whom } : {}, (pc) => {
    pc.addEventListener("track", (event) => media.addTrack(event.track));
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
  });
  $("theirs").srcObject = media;
  return { ...session, end: async () => { $("theirs").srcObject = null; await session.end(); } };
}

function say(name, text, bad = false) {
  const line = $(`${name}-state`);
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

async function numbers(pc) {
  const rows = [];
  for (const s of (await pc.getStats()).values()) {
    if (s.type === "outbound-rtp") rows.push(`${s.kind}: ${s.packetsSent} packets sent, ${s.framesEncoded ?? "-"} frames`);
    if (s.type === "inbound-rtp") {
      rows.push(`${s.kind}: ${s.packetsReceived} packets, ${s.packetsLost} lost, ${s.framesDecoded ?? "-"} frames`);
    }
  }
  return rows.join("\n");
}

// One button pair per direction: what starts it, what ends it.
function wire(name, start, startButton, endButton) {
  $(startButton).addEventListener("click", async () => {
    $(startButton).disabled = true;
    say(name, "connecting");
    try {
      const session = (sessions[name] = await start());
      $(endButton).disabled = false;
      session.timer = setInterval(async () => {
        if (session.pc.connectionState !== "closed") {
          say(name, `${session.pc.connectionState}\n${await numbers(session.pc)}`);
        }
      }, 1000);
    } catch (error) {
      $(startButton).disabled = false;
      say(name, error.message, true);
    }
  });
  $(endButton).addEventListener("click", async () => {
    const session = sessions[name];
    clearInterval(session.timer);
    $(endButton).disabled = true;
    $(startButton).disabled = false;
    delete sessions[name];
    await session.end();
    say(name, "not connected");
  });
}

wire("publish", publish, "publish", "leave");
wire("watch", watch, "watch", "stop");
$("form").addEventListener("submit", (event) => event.preventDefault());
$("room").addEventListener("input", () => { $("room-again").textContent = $("room").value; });
addEventListener("pagehide", () => Object.values(sessions).forEach((session) => session.end()));
