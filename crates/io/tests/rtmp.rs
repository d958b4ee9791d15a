//! The RTMP thread over real sockets: FFmpeg as publisher, and peers that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roomtape_io::clock::now_ns;
use roomtape_io::event::CoreEvent;
use roomtape_io::lives::Lives;
use roomtape_io::mailbox::Mailbox;
use roomtape_io::poll::PollSet;
use roomtape_io::rtmp::{start, Inject, RtmpConfig, RtmpHandle, RtmpMsg};
use roomtape_io::tap::TapMsg;
use roomtape_media::aac::AudioConfig;
use roomtape_media::h264::{annexb_units, nal_type};
use roomtape_media::{flags, Frame, Kind, StopCause, TapDemand, TapInput, TrackInfo};

const ROOM: &str = "1400000001/s/room";
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    rtmp: RtmpHandle,
    events: Mailbox<CoreEvent>,
    waiting: Vec<CoreEvent>,
    tap: Mailbox<TapMsg>,
    injected: Receiver<(String, Inject)>,
}

fn bench(lost_after_ms: u64) -> Bench {
    bench_with(lost_after_ms, 256, 10_000)
}

fn bench_with(lost_after_ms: u64, connections_per_address: usize, publish_within_ms: u64) -> Bench {
    let (tap_post, tap) = Mailbox::new().unwrap();
    let (events_post, events) = Mailbox::new().unwrap();
    let (tx, injected) = channel();
    let tx = Mutex::new(tx);
    let config = RtmpConfig {
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        connections_per_address,
        publish_within: Duration::from_millis(publish_within_ms),
        allow_bframes: false,
        lost_after: Duration::from_millis(lost_after_ms),
        next_track: Arc::new(AtomicU64::new(1)),
        lives: Arc::new(Lives::default()),
    };
    let inject = Box::new(move |what: Vec<(Arc<str>, Inject)>| {
        let tx = tx.lock().unwrap();
        for (room, what) in what {
            let _ = tx.send((room.to_string(), what));
        }
    });
    Bench {
        rtmp: start(
            config,
            Mailbox::new().unwrap(),
            tap_post,
            events_post,
            inject,
        )
        .unwrap(),
        events,
        waiting: Vec::new(),
        tap,
        injected,
    }
}

impl Bench {
    fn addr(&self) -> SocketAddr {
        self.rtmp.addr
    }

    /// Waits for an event that `want` takes; others are passed over.
    fn event<T>(&mut self, want: impl Fn(&CoreEvent) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            while !self.waiting.is_empty() {
                if let Some(found) = want(&self.waiting.remove(0)) {
                    return found;
                }
            }
            assert!(Instant::now() < until, "the event did not come");
            let mut polls = PollSet::default();
            polls.add(self.events.as_raw_fd(), false);
            polls
                .wait(now_ns(), Some(now_ns() + 1_000_000_000))
                .unwrap();
            self.waiting.extend(self.events.drain());
        }
    }

    fn publish(&mut self) -> (u64, String, String) {
        self.event(|e| match e {
            CoreEvent::RtmpPublish { conn, app, key, .. } => {
                Some((*conn, app.clone(), key.clone()))
            }
            _ => None,
        })
    }

    fn closed(&mut self) -> String {
        self.event(|e| match e {
            CoreEvent::RtmpClosed {
                room, user, reason, ..
            } => {
                assert_eq!((&**room, &**user), (ROOM, "anchor"));
                Some(reason.clone())
            }
            _ => None,
        })
    }

    fn accept(&self, conn: u64) {
        let (room, user) = (ROOM.into(), "anchor".into());
        self.rtmp.post.send(RtmpMsg::Accept {
            conn,
            room,
            user,
            entered_ns: 7,
        });
    }

    fn demand(&self, on: bool) {
        let demand = TapDemand::Room {
            room: ROOM.into(),
            on,
        };
        self.rtmp.post.send(RtmpMsg::Demand(demand));
    }

    fn tapped(&self) -> Vec<TapInput> {
        let letters = self.tap.drain().into_iter();
        letters
            .map(|m| match m {
                TapMsg::Media(input) => input,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

/// FFmpeg that publishes two seconds of picture and sound in real time.
fn ffmpeg(addr: SocketAddr, video: &[&str]) -> Child {
    let url = format!("rtmp://{addr}/push/room?sdkappid=1&userid=anchor&usersig=x-_*");
    Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i"])
        .arg("testsrc=size=320x180:rate=25")
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=48000",
            "-t",
            "2",
        ])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            "25",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(video)
        .args(["-c:a", "aac", "-b:a", "64k", "-f", "flv", &url])
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed")
}

fn split(inputs: &[TapInput]) -> (Vec<TrackInfo>, Vec<Frame>, Vec<StopCause>) {
    let (mut infos, mut frames, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for input in inputs {
        match input {
            TapInput::Start(info) => infos.push(info.clone()),
            TapInput::Frame(frame) => frames.push(frame.clone()),
            TapInput::Stop { cause, .. } => stops.push(*cause),
            _ => {}
        }
    }
    (infos, frames, stops)
}

#[test]
fn ffmpeg_publishes_and_no_frame_is_lost() {
    let mut b = bench(5_000);
    b.demand(true);
    let mut child = ffmpeg(b.addr(), &["-bf", "0", "-profile:v", "high"]);
    let (conn, app, key) = b.publish();
    assert_eq!(
        (&app[..], &key[..]),
        ("push", "room?sdkappid=1&userid=anchor&usersig=x-_*")
    );
    b.accept(conn);
    assert_eq!(b.closed(), "closed");
    assert!(child.wait().unwrap().success());
    let inputs = b.tapped();
    let (infos, frames, stops) = split(&inputs);
    let of = |kind: Kind| {
        infos
            .iter()
            .find(|i| i.kind == kind)
            .expect("a track of each kind")
    };
    let (video, audio) = (of(Kind::Video), of(Kind::Audio));
    assert_eq!((infos.len(), &stops[..]), (2, &[StopCause::Closed; 2][..]));
    assert_eq!(
        (
            video.life,
            video.entered_ns,
            audio.sample_rate,
            audio.channels
        ),
        (1, 7, 48_000, 1)
    );
    assert!(AudioConfig::parse(&audio.extradata).unwrap().is_lc());
    let pictures: Vec<_> = frames.iter().filter(|f| f.track == video.id).collect();
    let keys: Vec<_> = pictures.iter().map(|f| f.flags & flags::KEY != 0).collect();
    let expected: Vec<_> = (0..50).map(|n| n % 25 == 0).collect();
    assert_eq!(keys, expected, "fifty pictures, each 25th a key frame");
    for f in &pictures {
        let types: Vec<_> = annexb_units(&f.data).map(nal_type).collect();
        assert_eq!(
            types.contains(&7) && types.contains(&8),
            f.flags & flags::KEY != 0
        );
    }
    let sounds: Vec<_> = frames.iter().filter(|f| f.track == audio.id).collect();
    // 96000 samples are 93.75 frames; the coder adds one or two.
    assert!((94..=96).contains(&sounds.len()), "{} sounds", sounds.len());
    for pair in pictures.windows(2).chain(sounds.windows(2)) {
        assert!(pair[1].dts > pair[0].dts && pair[1].capture_ns > pair[0].capture_ns);
    }
    // Sound and picture of the same time were captured at the same time.
    let offset = |f: &Frame| f.capture_ns - f.pts * 1_000_000;
    let apart = offset(pictures[40]) - offset(sounds[75]);
    assert!(apart.abs() < 20_000_000, "{apart} ns apart");
    assert!(inputs
        .iter()
        .any(|i| matches!(i, TapInput::Watermark { .. })));
    assert!(matches!(
        inputs
            .iter()
            .rev()
            .find(|i| matches!(i, TapInput::Watermark { .. })),
        Some(TapInput::Watermark { t_ns: i64::MAX, .. })
    ));
    let injected: Vec<_> = b
        .injected
        .try_iter()
        .map(|(room, what)| (room == ROOM, what))
        .collect();
    let frames = injected
        .iter()
        .filter(|(_, w)| matches!(w, Inject::Frame(_)))
        .count();
    assert_eq!(frames, 50);
}

#[test]
fn a_reader_that_comes_late_gets_the_gop_from_its_key_frame() {
    let mut b = bench(5_000);
    let mut child = ffmpeg(b.addr(), &["-bf", "0"]);
    let (conn, ..) = b.publish();
    b.accept(conn);
    // The picture's injected frames tell how far it is; ten are well within the first GOP.
    let mut seen = 0;
    while seen < 10 {
        let (_, what) = b.injected.recv_timeout(PATIENCE).unwrap();
        seen += usize::from(matches!(what, Inject::Frame(_)));
    }
    b.demand(true);
    b.closed();
    child.wait().unwrap();
    let (infos, frames, _) = split(&b.tapped());
    let video = infos.iter().find(|i| i.kind == Kind::Video).unwrap();
    let pictures: Vec<_> = frames.iter().filter(|f| f.track == video.id).collect();
    assert_eq!(pictures.len(), 50, "from the first key frame on");
    assert!(pictures[0].flags & flags::KEY != 0);
}

#[test]
fn b_frames_are_refused_within_a_second_and_ffmpeg_says_why() {
    let mut b = bench(5_000);
    let mut child = ffmpeg(b.addr(), &["-preset", "veryfast", "-bf", "2"]);
    let (conn, ..) = b.publish();
    b.accept(conn);
    let accepted = Instant::now();
    assert_eq!(b.closed(), "B-frames: set bf=0");
    assert!(accepted.elapsed() < Duration::from_secs(1));
    assert!(!child.wait().unwrap().success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains("B-frames: set bf=0"), "{said}");
}

#[test]
fn a_refused_publisher_is_told() {
    let mut b = bench(5_000);
    let mut child = ffmpeg(b.addr(), &["-bf", "0"]);
    let (conn, ..) = b.publish();
    let description = "UserSig expired".to_owned();
    b.rtmp.post.send(RtmpMsg::Refuse { conn, description });
    assert!(!child.wait().unwrap().success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains("UserSig expired"), "{said}");
}

#[test]
fn a_silent_publisher_loses_its_tracks_and_keeps_its_connection() {
    let mut b = bench(300);
    let mut child = ffmpeg(b.addr(), &["-bf", "0", "-t", "30"]); // a key frame is left to begin anew with
    let (conn, ..) = b.publish();
    b.accept(conn);
    b.event(|e| {
        matches!(
            e,
            CoreEvent::TrackStart {
                kind: Kind::Video,
                ..
            }
        )
        .then_some(())
    });
    let pid = child.id() as libc::pid_t;
    // SAFETY: our own child, not yet waited for.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    let lost = b.event(|e| match e {
        CoreEvent::TrackStop {
            kind: Kind::Video,
            cause,
            ..
        } => Some(*cause),
        _ => None,
    });
    assert_eq!(lost, StopCause::Lost);
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    b.event(|e| {
        matches!(
            e,
            CoreEvent::TrackStart {
                kind: Kind::Video,
                ..
            }
        )
        .then_some(())
    });
    let room = ROOM.into();
    b.rtmp.post.send(RtmpMsg::Dismiss { room });
    let cause = b.event(|e| match e {
        CoreEvent::TrackStop {
            kind: Kind::Video,
            cause,
            ..
        } => Some(*cause),
        _ => None,
    });
    assert_eq!(cause, StopCause::Dismissed);
    assert_eq!(b.closed(), "ordered");
    child.wait().unwrap();
}

/// FFmpeg's last words.
fn complaint(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_address_has_so_many_connections_and_is_told_so() {
    let mut b = bench_with(5_000, 2, 10_000);
    let mut first = ffmpeg(b.addr(), &["-bf", "0"]);
    let (conn, ..) = b.publish();
    b.accept(conn);
    let idle = TcpStream::connect(b.addr()).unwrap();
    let words = complaint(ffmpeg(b.addr(), &["-bf", "0"]));
    assert!(
        words.contains("Too many connections from this address: at most 2"),
        "{words}"
    );
    drop(idle);
    assert_eq!(b.closed(), "closed", "the one that publishes goes on");
    assert!(first.wait().unwrap().success());
    let mut again = ffmpeg(b.addr(), &["-bf", "0"]);
    let (conn, ..) = b.publish();
    b.accept(conn);
    assert_eq!(b.closed(), "closed", "there is room again");
    assert!(again.wait().unwrap().success());
}

#[test]
fn one_that_does_not_publish_in_time_is_closed() {
    let b = bench_with(5_000, 256, 300);
    let mut silent = TcpStream::connect(b.addr()).unwrap();
    let mut half = TcpStream::connect(b.addr()).unwrap();
    half.write_all(&[3; 1000]).unwrap(); // less than C0 and C1
    for line in [&mut silent, &mut half] {
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let end = line.read_to_end(&mut rest);
        assert!(end.is_ok(), "{end:?}: closed, not waited for in vain");
    }
}

#[test]
fn an_answer_for_one_that_left_says_so() {
    let mut b = bench(5_000);
    b.accept(4711);
    assert_eq!(b.closed(), "closed");
}

#[test]
fn nonsense_is_closed_and_others_go_on() {
    let mut b = bench(5_000);
    let mut lines: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(b.addr()).unwrap())
        .collect();
    for (n, line) in lines.iter_mut().enumerate() {
        let _ = line.write_all(&vec![n as u8; 100 << n.min(10)]);
    }
    let mut child = ffmpeg(b.addr(), &["-bf", "0"]);
    let (conn, ..) = b.publish();
    b.accept(conn);
    assert_eq!(b.closed(), "closed");
    assert!(child.wait().unwrap().success());
    for (n, line) in lines.iter_mut().enumerate().filter(|(n, _)| *n != 3) {
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // An end or a reset: both are a closed connection; a timeout is not.
        if let Err(e) = line.read_to_end(&mut rest) {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "line {n}");
        }
    }
}
