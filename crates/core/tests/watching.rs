//! From a publisher to viewers.

mod common;

use std::time::{Duration, SystemTime};

use common::{World, MS, ROOM};
use roomtape_core::{Command, PeerKind, Seat};
use roomtape_media::{flags, Codec, Frame, Kind, TrackId, TrackInfo};
use str0m::rtp::RtpPacket;

fn is_key(payload: &[u8]) -> bool {
    payload[0] & 0x1f == 24 // the parameter sets before an IDR
}

#[test]
fn a_viewer_that_comes_late_begins_with_the_cached_key_frame_and_misses_nothing() {
    let mut w = World::new(1);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 2, 300);
    let viewer = w.play();
    let asked = w.now;
    w.until(|w| !w.clients[viewer].pictures().is_empty());
    assert!(
        w.now - asked < 500 * MS,
        "a picture after {:?}",
        w.now - asked
    );
    w.stream(amy, 1, 300);
    w.run(100 * MS);
    let pictures = w.clients[viewer].pictures();
    assert!(is_key(&pictures[0].payload));
    assert_eq!(
        pictures.len(),
        90 * 3 + 1,
        "all packets since the key frame"
    );
    let seqs: Vec<u64> = pictures.iter().map(|p| *p.seq_no).collect();
    assert!(seqs.windows(2).all(|s| s[1] == s[0] + 1));
    assert!(seqs[0] < 65_536);
    let times: Vec<u64> = pictures.iter().map(|p| p.time.numer()).collect();
    assert!(times.windows(2).all(|t| t[0] <= t[1]));
    let asked_for = w.clients[amy].keyframe_requests.len();
    assert_eq!(asked_for, 0, "the cache made a request needless");
    assert!(w.clients[viewer].sounds().len() > 40);
}

#[test]
fn a_viewer_follows_its_publisher_through_a_change_of_the_session() {
    let mut w = World::new(2);
    let first = w.publish("amy");
    w.connect(first);
    w.stream(first, 1, 30);
    let viewer = w.play();
    w.connect(viewer);
    w.stream(first, 1, 30);
    let before = w.clients[viewer].pictures().len();
    let second = w.publish("amy");
    w.connect(second);
    w.stream(second, 1, 30);
    w.run(100 * MS);
    let pictures = w.clients[viewer].pictures();
    assert!(pictures.len() > before + 80);
    assert!(
        is_key(&pictures[before].payload),
        "the new session begins with its key frame"
    );
    let seqs: Vec<u64> = pictures.iter().map(|p| *p.seq_no).collect();
    assert!(seqs.windows(2).all(|s| s[1] == s[0] + 1));
    let times: Vec<u64> = pictures.iter().map(|p| p.time.numer()).collect();
    assert!(times.windows(2).all(|t| t[0] <= t[1]), "time runs on");
}

#[test]
fn nobody_to_watch_is_said_and_the_first_publisher_is_chosen_otherwise() {
    let mut w = World::new(3);
    let play = |user: Option<&str>, aux| PeerKind::Play {
        user: user.map(Into::into),
        aux,
    };
    let refused = w.join("viewer", Seat::Play, play(None, false)).unwrap_err();
    assert_eq!(refused.0, "nobody");
    let amy = w.publish("amy");
    w.connect(amy);
    let bob = w.publish("bob");
    w.connect(bob);
    w.stream(bob, 1, 30);
    w.stream(amy, 1, 30);
    let refused = w
        .join("viewer", Seat::Play, play(Some("eve"), false))
        .unwrap_err();
    assert_eq!(refused.0, "nobody");
    let viewer = w.play();
    w.connect(viewer);
    let chosen = w
        .join("other", Seat::Play, play(Some("bob"), false))
        .unwrap();
    w.connect(chosen);
    for client in [viewer, chosen] {
        w.clients[client].received.clear();
    }
    w.stream(bob, 1, 30);
    assert!(w.clients[viewer].pictures().is_empty(), "amy entered first");
    assert!(!w.clients[chosen].pictures().is_empty());
}

#[test]
fn a_viewers_request_for_a_key_frame_reaches_the_publisher() {
    let mut w = World::new(4);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 1, 300);
    let viewer = w.play();
    w.connect(viewer);
    let mid = w.clients[viewer].video.unwrap();
    let mut api = w.clients[viewer].rtc.direct_api();
    let stream = api.stream_rx_by_mid(mid, None).unwrap();
    stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
    w.stream(amy, 1, 300);
    assert!(!w.clients[amy].keyframe_requests.is_empty());
}

/// When the newest packet was taken by the sender's clock, as the reports a viewer gets say: seconds.
fn taken_s(packets: &[RtpPacket], rate: f64) -> f64 {
    let newest = packets.last().unwrap();
    let info = packets.iter().rev().find_map(|p| p.last_sender_info);
    let info = info.expect("a sender report came");
    let since = (newest.time.numer() as u32).wrapping_sub(info.rtp_time.numer() as u32) as i32;
    let wall = info.ntp_time.duration_since(SystemTime::UNIX_EPOCH);
    wall.unwrap().as_secs_f64() + f64::from(since) / rate
}

/// The number a packet of sound, or of a picture in parts, carries.
fn number(packet: &RtpPacket) -> u64 {
    let at = if packet.payload.len() == 8 { 0 } else { 5 };
    u64::from_be_bytes(packet.payload[at..at + 8].try_into().unwrap())
}

/// An encoder that takes its time is no matter of the viewer's: the reports say when a picture was taken.
#[test]
fn r_sync_2_reports_that_a_viewer_gets_keep_sound_and_picture_where_the_sender_had_them() {
    for age in [Duration::ZERO, 120 * MS, 300 * MS] {
        let mut w = World::new(7);
        let amy = w.publish("amy");
        w.clients[amy].picture_age = age;
        w.connect(amy);
        w.stream(amy, 12, 60);
        let viewer = w.play();
        w.connect(viewer);
        w.stream(amy, 12, 60);
        w.run(100 * MS);
        let client = &w.clients[viewer];
        let (pictures, sounds) = (client.pictures(), client.sounds());
        let picture_s =
            taken_s(pictures, 90_000.0) - number(pictures.last().unwrap()) as f64 / 30.0;
        let sound_s = taken_s(sounds, 48_000.0) - number(sounds.last().unwrap()) as f64 / 50.0;
        let off_s = sound_s - picture_s - age.as_secs_f64();
        assert!(off_s.abs() < 0.010, "{age:?}: off by {off_s:.3} s");
    }
}

/// Packets that come sooner than ever were taken, by what is known, after they came.
#[test]
fn r_sync_2_reports_go_on_when_the_way_becomes_shorter() {
    let mut w = World::new(9);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true); // from the first frame read on, what is known is corrected slowly
    w.delay = 400 * MS;
    w.stream(amy, 6, 60);
    let viewer = w.play();
    w.stream(amy, 6, 60);
    w.delay = 10 * MS;
    w.stream(amy, 14, 60);
    let client = &w.clients[viewer];
    for (mid, rate) in [(client.video, 90_000.0), (client.audio, 48_000.0)] {
        let reports = client.reports.iter().filter(|(m, _)| Some(*m) == mid);
        let zero_s = |r: &str0m::rtp::rtcp::SenderInfo| {
            let wall = r.ntp_time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            wall.as_secs_f64() - r.rtp_time.numer() as f64 / rate
        };
        let zeroes: Vec<f64> = reports.map(|(_, r)| zero_s(r)).collect();
        assert!(zeroes.len() >= 2);
        assert!(
            zeroes.iter().all(|z| (z - zeroes[0]).abs() < 0.5),
            "{zeroes:?}"
        );
    }
}

const INJECTED: TrackId = TrackId(900);

/// Another thread begins to publish pictures.
fn inject_start(w: &mut World) {
    w.command(Command::InjectStart(TrackInfo {
        id: INJECTED,
        room: ROOM.into(),
        user: "amy".into(),
        kind: Kind::Video,
        codec: Codec::H264,
        time_base_den: 1000,
        sample_rate: 0,
        channels: 0,
        extradata: Vec::new(),
        entered_ns: 1,
        started_ns: 1,
        life: 1,
        derived_from: None,
    }));
}

/// Its picture `n` of `size` bytes and the 40 ms it lasts.
fn inject(w: &mut World, n: u32, key: bool, size: usize) {
    let mut unit = Vec::new();
    if key {
        for set in [&common::SPS[..], &common::PPS[..]] {
            unit.extend_from_slice(&[0, 0, 0, 1]);
            unit.extend_from_slice(set);
        }
    }
    unit.extend_from_slice(&[0, 0, 0, 1, if key { 0x65 } else { 0x41 }, 0x88]);
    unit.extend((0..size).map(|i| (i % 250 + 1) as u8));
    let pts = i64::from(n) * 40;
    w.command(Command::InjectFrame(Frame {
        track: INJECTED,
        flags: if key { flags::KEY } else { 0 },
        pts,
        dts: pts,
        capture_ns: 0,
        arrival_ns: 0,
        data: unit.into(),
    }));
    w.run(40 * MS);
}

/// The server ends a session.
fn leave(w: &mut World, client: usize) {
    let peer = w.clients[client].peer.unwrap();
    w.command(Command::RemovePeer(peer));
    w.run(40 * MS);
}

/// RTP times of the whole pictures a viewer has.
fn whole(w: &World, viewer: usize) -> Vec<u64> {
    let pictures = w.clients[viewer].pictures();
    let last = pictures.iter().filter(|p| p.header.marker);
    last.map(|p| p.time.numer()).collect()
}

#[test]
fn an_injected_stream_is_packed_for_viewers_and_replayed_to_late_ones() {
    let mut w = World::new(5);
    inject_start(&mut w);
    (0..10).for_each(|n| inject(&mut w, n, n == 0, 3000));
    let first = w.play();
    w.connect(first);
    (10..20).for_each(|n| inject(&mut w, n, false, 3000));
    let times = whole(&w, first);
    assert_eq!(times.len(), 20);
    assert_eq!(times[19] - times[18], 3600, "40 ms");
    let second = w.play();
    w.connect(second);
    assert_eq!(whole(&w, second).len(), 20, "packed for the first already");
    w.command(Command::InjectStop(INJECTED));
    assert_eq!(w.lane.population().1, 0);
}

#[test]
fn an_injected_stream_goes_on_in_the_cache_while_nobody_watches() {
    let mut w = World::new(8);
    inject_start(&mut w);
    (0..3).for_each(|n| inject(&mut w, n, n == 0, 3000));
    let first = w.play();
    w.connect(first);
    (3..6).for_each(|n| inject(&mut w, n, false, 3000));
    leave(&mut w, first);
    (6..9).for_each(|n| inject(&mut w, n, false, 3000));
    let second = w.play();
    w.connect(second);
    assert_eq!(
        whole(&w, second).len(),
        9,
        "before, with and after the first"
    );
    leave(&mut w, second);
    (9..12).for_each(|n| inject(&mut w, n, n == 10, 3000));
    let third = w.play();
    w.connect(third);
    assert_eq!(whole(&w, third).len(), 2, "from the new key frame on");
    assert!(w.clients[third].pictures()[0].payload[0] & 0x1f == 7);
}

#[test]
fn an_endless_injected_group_of_pictures_is_not_kept() {
    let mut w = World::new(9);
    inject_start(&mut w);
    (0..9).for_each(|n| inject(&mut w, n, n == 0, 1 << 20));
    let viewer = w.play();
    w.connect(viewer);
    inject(&mut w, 9, false, 100);
    assert!(w.clients[viewer].pictures().is_empty());
    inject(&mut w, 10, true, 100);
    assert_eq!(whole(&w, viewer).len(), 1);
}

#[test]
fn a_viewer_that_falls_silent_is_sent_nothing_until_it_is_heard_again() {
    let mut w = World::new(6);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 1, 30);
    let viewer = w.play();
    w.connect(viewer);
    w.clients[viewer].unplugged = true;
    w.stream(amy, 16, 30);
    let lost = |e: &roomtape_core::Event| matches!(e, roomtape_core::Event::PeerLost(_));
    assert!(w.events.iter().any(lost));
    w.clients[viewer].unplugged = false;
    w.stream(amy, 4, 30);
    let before = w.clients[viewer].pictures().len();
    w.stream(amy, 1, 30);
    assert!(w.clients[viewer].pictures().len() > before + 80);
}

#[test]
fn an_endless_group_of_pictures_is_renewed_and_never_replayed_in_full() {
    let mut w = World::new(7);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 9, 1_000_000);
    assert!(w.clients[amy].keyframe_requests.is_empty());
    w.stream(amy, 3, 1_000_000);
    assert!(
        !w.clients[amy].keyframe_requests.is_empty(),
        "renewed after ten seconds"
    );
    w.stream(amy, 20, 1_000_000); // this publisher does not obey; 960 pictures, 2 881 packets
    let viewer = w.play();
    w.connect(viewer);
    assert!(
        w.clients[viewer].pictures().is_empty(),
        "too much to be sent at once"
    );
    w.picture(amy, true, 3);
    w.run(100 * MS);
    let pictures = w.clients[viewer].pictures();
    assert!(is_key(&pictures[0].payload));
}
