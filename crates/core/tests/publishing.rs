//! From a publisher to the tap: nothing is lost, late readers included.

mod common;

use std::time::Duration;

use common::{has_gap, is_key, World, MS, ROOM, START_NS};
use roomtape_core::{Command, Event, PeerKind, Seat};
use roomtape_media::{Codec, Kind, StopCause, TapDemand, TapInput};

#[test]
fn every_frame_from_the_first_on_reaches_a_tap_that_comes_late() {
    let mut w = World::new(1);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 1, 1000);
    w.demand(true);
    w.stream(amy, 2, 1000);
    w.run(300 * MS);
    let started = w.started();
    let (video, audio) = (
        started.iter().find(|t| t.kind == Kind::Video).unwrap(),
        started.iter().find(|t| t.kind == Kind::Audio).unwrap(),
    );
    assert_eq!((video.codec, audio.codec), (Codec::H264, Codec::Opus));
    let pictures = w.frames_of(video.id);
    assert_eq!(pictures.len(), 90);
    assert!(is_key(pictures[0]) && pictures[1..].iter().all(|f| !is_key(f)));
    assert!(pictures.iter().all(|f| !has_gap(f)));
    assert_eq!(w.frames_of(audio.id).len(), 150);
}

#[test]
fn a_publisher_that_sends_its_first_seconds_at_once_loses_none_of_them() {
    // FFmpeg holds pictures back until there is sound beside them: three seconds of them then come together.
    let mut w = World::new(1);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    for number in 0..90 {
        w.picture(amy, number == 0, 8);
    }
    w.stream(amy, 2, 1000);
    w.run(300 * MS);
    let video = w.track(Kind::Video);
    let pictures = w.frames_of(video);
    assert_eq!(pictures.len(), 90 + 60);
    assert!(pictures.iter().all(|f| !has_gap(f)));
}

#[test]
fn sound_and_picture_captured_together_are_stamped_together() {
    let mut w = World::new(2);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.stream(amy, 4, 30);
    let started = w.started();
    let of = |kind| started.iter().find(|t| t.kind == kind).unwrap().id;
    let (video, audio) = (w.frames_of(of(Kind::Video)), w.frames_of(of(Kind::Audio)));
    // Picture 3 n and sound 5 n were written at the same instant.
    for n in 20..30 {
        let apart = video[3 * n].capture_ns - audio[5 * n].capture_ns;
        assert!(apart.abs() < 2_000_000, "{apart} ns apart at {n}");
    }
    let late = video[60].arrival_ns - video[60].capture_ns;
    assert!(
        (0..5_000_000).contains(&late),
        "stamped {late} ns before the arrival"
    );
    assert!(video[0].capture_ns > START_NS);
}

#[test]
fn r_ts_1_after_a_jump_of_rtp_time_a_late_first_packet_moves_nothing() {
    let mut w = World::new(14);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.stream(amy, 4, 30);
    w.clients[amy].time_offset = [8 * 3600 * 48_000, (8u64 * 3600 * 90_000) as u32];
    // The sound goes on in time, the first pictures leave their sender 150 ms late.
    for tick in 0..45 {
        if tick % 6 == 0 {
            w.sound(amy);
        }
        w.run(Duration::from_micros(3333));
    }
    for _ in 0..5 {
        w.picture(amy, false, 3);
    }
    w.keep_on(amy, 45..300);
    w.run(200 * MS);
    let started = w.started();
    let of = |kind| started.iter().find(|t| t.kind == kind).unwrap().id;
    let (video, audio) = (w.frames_of(of(Kind::Video)), w.frames_of(of(Kind::Audio)));
    assert_eq!((video.len(), audio.len()), (150, 250));
    // Picture 3 n and sound 5 n were captured at the same instant; the jump is at n = 40.
    for n in 20..50 {
        let apart = video[3 * n].capture_ns - audio[5 * n].capture_ns;
        assert!(apart.abs() < 5_000_000, "{apart} ns apart at {n}");
    }
}

#[test]
fn the_watermark_never_passes_a_frame_that_is_still_to_come() {
    let mut w = World::new(3);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.loss_in = 5;
    let mut mark = i64::MIN;
    for second in 0..30 {
        w.stream(amy, 1, 30);
        assert!(w.frames.drain(..).all(|f| f.capture_ns >= mark));
        for tap in w.taps.drain(..) {
            if let TapInput::Watermark { t_ns, .. } = tap {
                assert!(t_ns > mark);
                mark = t_ns;
            }
        }
        // The first two seconds may have to wait for the first sender reports.
        let lag = w.now_ns() - mark;
        assert!(
            second < 3 || lag < 1_000_000_000,
            "the watermark hangs by {lag} ns"
        );
    }
}

#[test]
fn f10_pictures_survive_five_percent_of_loss_by_retransmission() {
    let mut w = World::new(4);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.loss_in = 5;
    w.stream(amy, 10, 300);
    w.loss_in = 0;
    w.run(500 * MS);
    let video = w
        .started()
        .into_iter()
        .find(|t| t.kind == Kind::Video)
        .unwrap();
    let got = w.frames_of(video.id).len();
    assert!(got >= 297, "{got} of 300 pictures");
}

#[test]
fn f10_g17_large_pictures_over_a_slow_way_are_repaired_too() {
    // More packets pass in a round trip than str0m keeps a hole open for.
    for (packets, loss, least) in [
        (14, 1, 0.999),
        (14, 5, 0.995),
        (34, 1, 0.999),
        (34, 5, 0.995),
    ] {
        let mut w = World::new(40 + loss);
        w.delay = 40 * MS;
        let amy = w.publish("amy");
        w.connect(amy);
        w.demand(true);
        w.loss_in = loss;
        let pictures = 900;
        for number in 0..pictures {
            w.picture(amy, number == 0, packets);
            w.run(Duration::from_micros(33_333));
        }
        w.loss_in = 0;
        w.run(1000 * MS);
        let got = w.frames_of(w.track(Kind::Video)).len();
        let share = got as f64 / f64::from(pictures);
        assert!(
            share >= least,
            "{got} of {pictures} pictures of {packets} packets, {loss} % lost"
        );
    }
}

#[test]
fn r_key_1_a_key_frame_is_asked_for_at_once_and_twice_a_second_until_it_comes() {
    let mut w = World::new(5);
    let amy = w.publish("amy");
    w.connect(amy);
    w.picture(amy, true, 1);
    w.run(100 * MS);
    let track = w.started()[0].id;
    let asked = w.now;
    for _ in 0..20 {
        w.command(Command::Demand(TapDemand::Keyframe { track })); // an impatient reader
        w.run(100 * MS);
    }
    let requests: Vec<Duration> = w.clients[amy]
        .keyframe_requests
        .iter()
        .map(|at| *at - asked)
        .collect();
    assert!(requests[0] <= 100 * MS, "{requests:?}");
    assert!((4..=5).contains(&requests.len()), "{requests:?}");
    w.picture(amy, true, 1);
    w.run(3000 * MS);
    assert!(w.clients[amy].keyframe_requests.len() <= requests.len() + 1);
}

#[test]
fn f14_r_key_1_a_key_frame_withheld_for_half_a_minute_is_asked_for_until_it_comes() {
    let mut w = World::new(11);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.clients[amy].since_key = 1; // it goes on where others heard the beginning
    let begun = w.now;
    w.keep_on(amy, 0..30 * 300);
    let asked = &w.clients[amy].keyframe_requests;
    assert!(
        asked[0] - begun <= 100 * MS + 50 * MS,
        "the first packets wait for 50 ms"
    );
    let pauses = asked.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses
        .clone()
        .all(|pause| pause >= 490 * MS && pause <= 600 * MS));
    assert!(
        *asked.last().unwrap() >= w.now - 600 * MS,
        "it is still asked for"
    );
    let (video, audio) = (w.started()[0].id, w.started()[1].id);
    assert!(w.frames_of(video).is_empty());
    assert!(w.frames_of(audio).len() >= 30 * 50 - 5);
    w.stream(amy, 1, 1000); // since_key goes on: still no key frame
    w.picture(amy, true, 2);
    w.picture(amy, false, 2);
    w.run(100 * MS);
    let pictures = w.frames_of(video);
    assert_eq!(pictures.len(), 2);
    assert!(is_key(pictures[0]));
    let before = w.clients[amy].keyframe_requests.len();
    w.run(Duration::from_secs(3));
    assert_eq!(w.clients[amy].keyframe_requests.len(), before);
}

#[test]
fn r_gap_pictures_that_refer_to_a_lost_one_are_not_stored_and_a_key_frame_is_asked_for_at_once() {
    let mut w = World::new(12);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.stream(amy, 2, 1000);
    let asked = w.clients[amy].keyframe_requests.len();
    w.clients[amy].loses_next = true;
    w.picture(amy, false, 1);
    let lost = w.now;
    w.run(33 * MS);
    w.stream(amy, 2, 1000);
    let video = w.track(Kind::Video);
    let got = w.frames_of(video).len();
    assert_eq!(got, 60, "those after it would decode to something else");
    let requests = &w.clients[amy].keyframe_requests[asked..];
    // Before the packet is given up: what is stored begins again as soon as can be.
    assert!(requests[0] - lost < 450 * MS, "{:?}", requests[0] - lost);
    w.picture(amy, true, 3);
    w.picture(amy, false, 3);
    w.run(100 * MS);
    let pictures = w.frames_of(video);
    assert_eq!(pictures.len(), 62);
    assert!(is_key(pictures[60]) && has_gap(pictures[60]) && !has_gap(pictures[61]));
}

#[test]
fn a_key_frame_that_lost_its_first_packet_before_anything_came_is_asked_for_again_at_once() {
    let mut w = World::new(13);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.clients[amy].loses_next = true;
    w.picture(amy, true, 3);
    w.run(33 * MS);
    w.stream(amy, 1, 1000);
    let requests = &w.clients[amy].keyframe_requests;
    assert!(!requests.is_empty() && requests[0] - w.begin < Duration::from_secs(1));
    let video = w.track(Kind::Video);
    assert!(w.frames_of(video).is_empty());
}

#[test]
fn a_silent_publisher_stops_after_five_seconds_and_comes_back_as_a_new_life() {
    let mut w = World::new(6);
    let amy = w.publish("amy");
    w.connect(amy);
    w.demand(true);
    w.stream(amy, 1, 30);
    w.clients[amy].unplugged = true;
    let cut = w.now;
    w.until(|w| w.events.iter().any(|e| matches!(e, Event::PeerLost(_))));
    let after = w.now - cut;
    assert!((4900 * MS..5300 * MS).contains(&after), "{after:?}");
    let stops = w.events.iter().filter(|e| {
        matches!(
            e,
            Event::TrackStop {
                cause: StopCause::Lost,
                ..
            }
        )
    });
    assert_eq!(stops.count(), 2);
    w.clients[amy].unplugged = false;
    w.stream(amy, 3, 30);
    let ups = w
        .events
        .iter()
        .filter(|e| matches!(e, Event::PeerUp(_)))
        .count();
    assert_eq!(ups, 2);
    assert_eq!(w.started().len(), 4, "both tracks live again");
    let closed = w.events.iter().any(|e| matches!(e, Event::PeerClosed(..)));
    assert!(!closed);
}

#[test]
fn a_second_session_of_the_same_seat_ends_the_first() {
    let mut w = World::new(7);
    let first = w.publish("amy");
    w.connect(first);
    w.stream(first, 1, 30);
    let aux = w.join("amy", Seat::Aux, PeerKind::Publish).unwrap();
    w.connect(aux);
    let second = w.publish("amy");
    w.connect(second);
    let closed: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| match e {
            Event::PeerClosed(who, reason) => Some((who.peer, reason.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [(w.clients[first].peer.unwrap(), "replaced")]);
    let replaced = |e: &&Event| {
        matches!(
            e,
            Event::TrackStop {
                cause: StopCause::Replaced,
                ..
            }
        )
    };
    assert_eq!(w.events.iter().filter(replaced).count(), 2);
    assert!(w.clients[first].closed, "it was told goodbye");
    w.picture(aux, true, 1);
    w.run(100 * MS);
    assert_eq!(w.started().last().unwrap().kind, Kind::Aux);
}

#[test]
fn a_blocked_picture_stops_and_returns_as_a_new_life_while_the_sound_goes_on() {
    let mut w = World::new(8);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 1, 30);
    let block = |video| Command::Block {
        room: ROOM.into(),
        user: "amy".into(),
        audio: false,
        video,
    };
    w.command(block(true));
    w.stream(amy, 1, 30);
    let stopped: Vec<Kind> = w
        .events
        .iter()
        .filter_map(|e| match e {
            Event::TrackStop {
                info,
                cause: StopCause::Blocked,
                ..
            } => Some(info.kind),
            _ => None,
        })
        .collect();
    assert_eq!(stopped, [Kind::Video]);
    assert_eq!(w.started().len(), 2);
    w.command(block(false));
    w.stream(amy, 1, 30);
    assert_eq!(w.started().len(), 3);
}

#[test]
fn a_dismissed_room_is_left_by_all() {
    let mut w = World::new(9);
    let (amy, bob) = (w.publish("amy"), w.publish("bob"));
    w.connect(amy);
    w.connect(bob);
    w.stream(amy, 1, 30);
    w.command(Command::Dismiss(ROOM.into()));
    w.run(100 * MS);
    assert!(w.clients[amy].closed && w.clients[bob].closed);
    assert_eq!(w.lane.population(), (0, 0));
    assert!(w
        .taps
        .iter()
        .any(|t| matches!(t, TapInput::RoomClosed { .. })));
}

#[test]
fn a_client_that_never_connects_is_forgotten_after_thirty_seconds() {
    let mut w = World::new(10);
    let amy = w.publish("amy");
    w.clients[amy].unplugged = true;
    w.run(Duration::from_secs(29));
    assert_eq!(w.lane.population().0, 1);
    w.run(Duration::from_secs(2));
    assert_eq!(w.lane.population().0, 0);
}
