//! The tap socket as a worker meets it: real socket, real thread.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use roomtape_io::clock::now_ns;
use roomtape_io::tap::{start, TapConfig, TapHandle, TapMsg};
use roomtape_media::{
    flags, Codec, Frame, Kind, StopCause, TapDemand, TapInput, TrackId, TrackInfo,
};
use serde_json::{json, Value};

const ROOM: &str = "1400000001/s/room";
/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    tap: TapHandle,
    demands: Receiver<TapDemand>,
    path: PathBuf,
    _dir: Dir,
}

/// A directory of its own, removed in the end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(name: &str) -> Bench {
    let dir = std::env::temp_dir().join(format!("tap-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("tap.sock");
    let (tx, demands) = channel();
    let tx = Mutex::new(tx);
    let config = TapConfig {
        path: path.clone(),
        boot_id: "boot-1".into(),
        log_max_track_bytes: 64 << 20,
        log_max_bytes: 256 << 20,
    };
    let demand = Box::new(move |d| {
        let _ = tx.lock().unwrap().send(d);
    });
    let tap = start(config, demand).unwrap();
    Bench {
        tap,
        demands,
        path,
        _dir: Dir(dir),
    }
}

impl Bench {
    fn media(&self, input: TapInput) {
        assert!(self.tap.post.send(TapMsg::Media(input)));
    }

    fn start(&self, id: u64, kind: Kind) {
        self.media(TapInput::Start(TrackInfo {
            id: TrackId(id),
            room: ROOM.into(),
            user: "anchor".into(),
            kind,
            codec: Codec::Aac,
            time_base_den: 1000,
            sample_rate: 48_000,
            channels: 2,
            extradata: vec![0x11, 0x90],
            entered_ns: 7,
            started_ns: 8,
            life: 1,
            derived_from: None,
        }));
    }

    fn frame(&self, id: u64, pts: i64, data: Vec<u8>) {
        let now = now_ns();
        self.media(TapInput::Frame(Frame {
            track: TrackId(id),
            flags: flags::KEY,
            pts,
            dts: pts,
            capture_ns: now,
            arrival_ns: now,
            data: data.into(),
        }));
    }

    fn demanded(&self, on: bool) {
        match self.demands.recv_timeout(PATIENCE).unwrap() {
            TapDemand::Room { room, on: told } => assert_eq!((&*room, told), (ROOM, on)),
            other => panic!("{other:?}"),
        }
    }

    fn client(&self) -> Client {
        let socket = UnixStream::connect(&self.path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { socket };
        let (kind, hello) = client.message();
        let hello: Value = serde_json::from_slice(&hello).unwrap();
        assert_eq!((kind, &hello["boot_id"]), (1, &json!("boot-1")));
        assert!((now_ns() - hello["now_ns"].as_i64().unwrap()).abs() < 5_000_000_000);
        client
    }
}

struct Client {
    socket: UnixStream,
}

#[derive(Debug, PartialEq)]
struct Got {
    track: u64,
    seq: u64,
    flags: u32,
    pts: i64,
    data: Vec<u8>,
}

impl Client {
    fn send(&mut self, kind: u8, body: &Value) {
        let body = body.to_string();
        let mut bytes = (body.len() as u32 + 1).to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(body.as_bytes());
        self.socket.write_all(&bytes).unwrap();
    }

    fn message(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0u8; 4];
        self.socket.read_exact(&mut head).unwrap();
        let mut body = vec![0u8; u32::from_le_bytes(head) as usize];
        self.socket.read_exact(&mut body).unwrap();
        let rest = body.split_off(1);
        (body[0], rest)
    }

    fn json(&mut self, kind: u8) -> Value {
        let (got, body) = self.message();
        assert_eq!(got, kind, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn open(&mut self, name: &str, flush_ms: u32) -> Value {
        let body = json!({"reader": 1, "name": name, "room": ROOM, "mode": "durable",
                          "flush_ms": flush_ms, "credit": 1 << 20});
        self.send(1, &body);
        self.json(2)
    }

    fn read(&mut self, track: u64, from: i64) {
        self.send(
            2,
            &json!({"reader": 1, "track": track, "from_seq": from, "preroll_ms": 220}),
        );
    }

    /// The frames of the next batch and its watermark; exactly as many bytes as announced.
    fn batch(&mut self) -> (Vec<Got>, i64) {
        let (kind, body) = self.message();
        assert_eq!(kind, 4, "{}", String::from_utf8_lossy(&body));
        let u32_at = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
        let i64_at = |at: usize| i64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        let (reader, count) = (u32_at(0), u32_at(4) as usize);
        assert_eq!(reader, 1);
        let mut at = 16 + 48 * count;
        let mut frames = Vec::new();
        for n in 0..count {
            let entry = 16 + 48 * n;
            let size = u32_at(entry + 44) as usize;
            frames.push(Got {
                track: i64_at(entry) as u64,
                seq: i64_at(entry + 8) as u64,
                flags: u32_at(entry + 16),
                pts: i64_at(entry + 20),
                data: body[at..at + size].to_vec(),
            });
            at += size;
        }
        assert_eq!(at, body.len());
        (frames, i64_at(8))
    }

    /// Batches until `count` frames have come.
    fn frames(&mut self, count: usize) -> Vec<Got> {
        let mut got = Vec::new();
        while got.len() < count {
            got.extend(self.batch().0);
        }
        got
    }
}

#[test]
fn a_reader_gets_what_a_source_posts() {
    let b = bench("basic");
    assert_eq!(
        std::fs::metadata(&b.path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    b.start(5, Kind::Audio);
    let mut c = b.client();
    let opened = c.open("task", 1000);
    let track = &opened["tracks"][0];
    assert_eq!(
        (
            &track["track"],
            &track["user"],
            &track["kind"],
            &track["codec"],
            &track["extradata"]
        ),
        (
            &json!(5),
            &json!("anchor"),
            &json!("audio"),
            &json!("aac"),
            &json!("EZA=")
        )
    );
    assert_eq!(
        (&track["live"], &track["derived_from"]),
        (&json!(true), &Value::Null)
    );
    b.demanded(true);
    c.read(5, -1);
    b.frame(5, 0, vec![1; 10]);
    let (first, _) = c.batch();
    assert_eq!(
        first,
        vec![Got {
            track: 5,
            seq: 0,
            flags: 1,
            pts: 0,
            data: vec![1; 10]
        }],
        "the first batch comes at once"
    );
    b.frame(5, 23, vec![2; 100_000]);
    b.frame(5, 46, vec![3; 3]);
    c.send(7, &json!({"reader": 1}));
    let got = c.frames(2);
    assert_eq!(got[0].data, vec![2; 100_000]);
    assert_eq!((got[1].seq, got[1].data.len()), (2, 3));
    // The thread tells its counts at the end of a turn, which may come after the frames are here.
    let deadline = Instant::now() + Duration::from_secs(5);
    while b.tap.stats().frames_in < 3 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(b.tap.stats().frames_in, 3);
}

#[test]
fn watermarks_come_without_frames() {
    let b = bench("watermark");
    let mut c = b.client();
    c.open("task", 20);
    let (none, first) = c.batch();
    assert!(none.is_empty());
    let (_, second) = c.batch();
    assert!(second > first && now_ns() - second < 5_000_000_000);
}

#[test]
fn tracks_are_told_as_they_come_and_go() {
    let b = bench("tracks");
    let mut c = b.client();
    c.open("task", 60_000);
    b.demanded(true);
    b.start(9, Kind::Video);
    let told = c.json(3);
    assert_eq!(
        (&told["event"], &told["track"]["kind"]),
        (&json!("start"), &json!("video"))
    );
    c.read(9, -1);
    match b.demands.recv_timeout(PATIENCE).unwrap() {
        TapDemand::Keyframe { track } => assert_eq!(track, TrackId(9)),
        other => panic!("{other:?}"),
    }
    b.media(TapInput::Size {
        track: TrackId(9),
        width: 640,
        height: 360,
        at_ns: 5,
    });
    let told = c.json(3);
    assert_eq!(
        (&told["event"], &told["track"]["width"]),
        (&json!("size"), &json!(640))
    );
    b.frame(9, 0, vec![1]);
    b.media(TapInput::Stop {
        track: TrackId(9),
        at_ns: 77,
        cause: StopCause::Lost,
    });
    assert_eq!(c.frames(1).len(), 1);
    let told = loop {
        let (kind, body) = c.message();
        if kind == 3 {
            break serde_json::from_slice::<Value>(&body).unwrap();
        }
    };
    assert_eq!(
        (
            &told["event"],
            &told["cause"],
            &told["at_ns"],
            &told["track"]["live"],
            &told["track"]["cause"]
        ),
        (
            &json!("read_out"),
            &json!("lost"),
            &json!(77),
            &json!(false),
            &json!("lost")
        )
    );
}

#[test]
fn a_durable_reader_goes_on_over_a_new_connection() {
    let b = bench("durable");
    b.start(5, Kind::Audio);
    let mut c = b.client();
    c.open("task", 1000);
    b.demanded(true);
    c.read(5, -1);
    (0..10).for_each(|n| b.frame(5, n, vec![n as u8]));
    assert_eq!(c.frames(10).len(), 10);
    c.send(3, &json!({"reader": 1, "acks": [[5, 4]]}));
    drop(c);
    (10..12).for_each(|n| b.frame(5, n, vec![n as u8]));
    let mut c = b.client();
    c.open("task", 1000);
    c.read(5, 4);
    let got = c.frames(12);
    for f in &got {
        assert_eq!(f.flags & flags::PREROLL != 0, f.seq < 4, "{f:?}");
        assert_eq!(f.data, vec![f.seq as u8]);
    }
    assert_eq!(got.last().unwrap().seq, 11);
    c.send(5, &json!({"reader": 1}));
    b.demanded(false);
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up() {
    let b = bench("slow");
    b.start(5, Kind::Video);
    let mut slow = b.client();
    let body = json!({"reader": 1, "name": "slow", "room": ROOM, "mode": "live",
                      "flush_ms": 10, "credit": 1 << 20});
    slow.send(1, &body);
    slow.json(2);
    b.demanded(true);
    slow.read(5, -1);
    let mut c = b.client();
    c.open("task", 10);
    c.read(5, -1);
    let mut next = 0;
    for round in 0..40 {
        (0..8).for_each(|n| b.frame(5, round * 8 + n, vec![0; 128 << 10]));
        // The good reader takes and acknowledges all of it while the other sleeps.
        let got = c.frames(8);
        for f in &got {
            assert_eq!(f.seq, next);
            next += 1;
        }
        c.send(3, &json!({"reader": 1, "acks": [[5, next]]}));
    }
    // 40 MiB went by; the sleeper wakes up, is served in order and is told what it missed.
    let (mut expected, mut gap) = (0, 0);
    while expected < 320 {
        let (kind, body) = slow.message();
        match kind {
            4 => {
                let count = u32::from_le_bytes(body[4..8].try_into().unwrap()) as usize;
                for n in 0..count {
                    let at = 16 + 48 * n + 8;
                    let seq = u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
                    assert_eq!(seq, expected);
                    expected += 1;
                }
            }
            5 => {
                let told: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(told["from"], json!(expected));
                expected = told["to"].as_u64().unwrap();
                gap += 1;
            }
            other => panic!("message {other}"),
        }
    }
    assert!(gap > 0, "its buffer is bounded");
}

#[test]
fn nonsense_is_answered_and_the_tap_lives_on() {
    let b = bench("nonsense");
    let mut c = b.client();
    c.send(99, &json!({}));
    assert!(c.json(6)["message"].as_str().unwrap().contains("99"));
    c.send(2, &json!({"reader": 1, "track": 5}));
    assert_eq!(c.json(6)["message"], json!("no such reader"));
    c.open("task", 60_000);
    c.read(12345, -1);
    assert_eq!(c.json(6)["reader"], json!(1));
    c.send(
        1,
        &json!({"reader": 1, "name": "x", "room": ROOM, "mode": "live", "flush_ms": 10}),
    );
    assert_eq!(c.json(6)["message"], json!("this reader is open already"));
    c.socket.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(c.json(6)["message"]
        .as_str()
        .unwrap()
        .contains("4294967295"));
    let mut end = [0u8; 1];
    assert_eq!(
        c.socket.read(&mut end).unwrap(),
        0,
        "the connection is closed"
    );
    b.client().open("task", 1000);
}

#[test]
fn a_second_reader_of_a_name_takes_over() {
    let b = bench("takeover");
    let mut old = b.client();
    old.open("task", 60_000);
    let mut new = b.client();
    new.open("task", 60_000);
    assert!(old.json(6)["message"]
        .as_str()
        .unwrap()
        .contains("taken over"));
}

#[test]
fn stopping_removes_the_socket() {
    let mut b = bench("stop");
    let mut c = b.client();
    b.tap.stop();
    let mut end = [0u8; 1];
    assert_eq!(c.socket.read(&mut end).unwrap(), 0);
    assert!(!b.path.exists());
    assert!(!b.tap.post.send(TapMsg::Stop));
}
