//! What a hostile or broken client can do: end its own session.

mod common;

use common::{Random, World, MS, ROOM};
use roomtape_core::{Command, Event, PeerKind, Seat};

#[test]
fn f11_garbage_from_strangers_and_in_a_peers_name_harms_nobody() {
    let mut w = World::new(1);
    let (amy, bob) = (w.publish("amy"), w.publish("bob"));
    w.connect(amy);
    w.connect(bob);
    let amys = w.clients[amy].address;
    let mut random = Random::new(99);
    for round in 0..5000 {
        let length = random.below(300) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        if let Some(first) = bytes.first_mut() {
            // As STUN, DTLS, RTP, RTCP, and anything.
            *first = [0, 1, 22, 20, 0x80, 0x90, *first][random.below(7) as usize];
        }
        let from = if round % 2 == 0 {
            amys
        } else {
            "10.9.9.9:9".parse().unwrap()
        };
        w.inject(from, &bytes);
    }
    w.stream(amy, 1, 30);
    w.stream(bob, 1, 30);
    assert_eq!(w.started().len(), 4, "both publish");
}

/// A binding request for this peer, with a password nobody gave (RFC 8489 14.5: 20 bytes of HMAC).
fn forged_request(answer: &str) -> Vec<u8> {
    let ufrag = answer.split("a=ice-ufrag:").nth(1).unwrap();
    let name = format!("{}:them", ufrag.split_whitespace().next().unwrap());
    let mut attributes = vec![0, 6];
    attributes.extend_from_slice(&(name.len() as u16).to_be_bytes());
    attributes.extend_from_slice(name.as_bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    attributes.extend_from_slice(&[0, 8, 0, 20]);
    attributes.extend_from_slice(&[7; 20]);
    let mut request = vec![0, 1];
    request.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    request.extend_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    request.extend_from_slice(&[9; 12]);
    request.extend_from_slice(&attributes);
    request
}

#[test]
fn a_peer_that_is_gone_is_not_kept_alive_by_what_others_send_in_its_name() {
    let mut w = World::new(4);
    let amy = w.publish("amy");
    w.connect(amy);
    w.stream(amy, 1, 30);
    let (address, answer) = (w.clients[amy].address, w.clients[amy].answer.clone());
    let mut rtp = vec![0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
    rtp.extend_from_slice(&[5; 100]);
    let mut rtcp = vec![0x80, 200, 0, 6];
    rtcp.extend_from_slice(&[5; 60]);
    let forged = [
        forged_request(&answer),
        rtp,
        rtcp,
        vec![22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 1, 1],
        vec![0xff; 40],
    ];
    let lost = |w: &World| w.events.iter().any(|e| matches!(e, Event::PeerLost(_)));
    w.run(2000 * MS);
    assert!(!lost(&w), "it proves itself, though it sends no media");
    w.clients[amy].unplugged = true;
    for _ in 0..70 {
        forged.iter().for_each(|bytes| w.inject(address, bytes));
        w.run(100 * MS);
    }
    assert!(lost(&w));
    w.clients[amy].unplugged = false;
    w.stream(amy, 3, 30);
    let up = |e: &&Event| matches!(e, Event::PeerUp(_));
    assert_eq!(w.events.iter().filter(up).count(), 2, "it came back");
}

#[test]
fn f11_a_replayed_and_broken_handshake_ends_at_most_its_own_peer() {
    let mut w = World::new(2);
    let bob = w.publish("bob");
    w.connect(bob);
    let amy = w.publish("amy");
    let amys = w.clients[amy].address;
    let mut random = Random::new(7);
    for _ in 0..200 {
        w.run(MS);
        let mut hello = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60];
        hello.extend((0..60).map(|_| random.below(256) as u8));
        w.inject(amys, &hello);
    }
    w.stream(bob, 1, 30);
    assert_eq!(w.started().len(), 2, "bob publishes");
}

#[test]
fn r_sfu_1_a_panic_inside_one_peer_ends_that_peer_only() {
    let mut w = World::new(3);
    let (amy, bob) = (w.publish("amy"), w.publish("bob"));
    w.connect(amy);
    w.connect(bob);
    w.stream(amy, 1, 30);
    let peer = w.clients[amy].peer.unwrap();
    w.command(Command::Sabotage(peer));
    w.stream(amy, 1, 30);
    w.stream(bob, 1, 30);
    let closed: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| match e {
            Event::PeerClosed(who, reason) => Some((who.user.to_string(), reason.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [("amy".to_owned(), "internal".to_owned())]);
    assert_eq!(w.started().iter().filter(|t| &*t.user == "bob").count(), 2);
}

#[test]
fn f11_offers_made_of_noise_are_refused_in_words() {
    let mut w = World::new(4);
    let amy = w.publish("amy");
    let good = w.clients[amy].answer.clone();
    let mut random = Random::new(5);
    for ticket in 1000..1400 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=random.below(12) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(3) {
                0 => bytes[at] = random.below(128) as u8,
                1 => drop(bytes.drain(at..(at + 40).min(bytes.len()))),
                _ => bytes.insert(at, b'9'),
            }
        }
        w.command(Command::Offer {
            ticket,
            room: ROOM.into(),
            user: format!("noise{ticket}").as_str().into(),
            seat: Seat::Main,
            kind: PeerKind::Publish,
            sdp: String::from_utf8_lossy(&bytes).replace("recvonly", "sendonly"),
            entered_ns: 0,
        });
        let answered = w.events.iter().any(|e| {
            matches!(e, Event::Answer { ticket: t, .. } | Event::Refused { ticket: t, .. } if *t == ticket)
        });
        assert!(answered, "offer {ticket} had no answer");
    }
    w.connect(amy);
}

/// An SPS of Baseline profile for a picture of that many macroblocks each way.
fn sps(wide: u32, high: u32) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut ue = |value: u32| {
        let length = 32 - (value + 1).leading_zeros();
        bits.extend(std::iter::repeat_n(0u8, length as usize - 1));
        bits.extend((0..length).rev().map(|i| ((value + 1) >> i & 1) as u8));
    };
    // id, frame number bits, order count type 2, reference frames; one bit: no gaps.
    [0, 0, 2, 1].into_iter().for_each(&mut ue);
    bits.push(0);
    let mut ue = |value: u32| {
        let length = 32 - (value + 1).leading_zeros();
        bits.extend(std::iter::repeat_n(0u8, length as usize - 1));
        bits.extend((0..length).rev().map(|i| ((value + 1) >> i & 1) as u8));
    };
    ue(wide - 1);
    ue(high - 1);
    bits.extend([1, 1, 0, 0, 1]); // frames only, direct 8x8, no cropping, no VUI, stop bit
    let mut nal = vec![0x67, 66, 0xc0, 62];
    for byte in bits.chunks(8) {
        let value = byte.iter().fold(0u8, |v, b| v << 1 | b);
        nal.push(value << (8 - byte.len()));
    }
    nal
}

#[test]
fn f13_a_picture_of_sixteen_thousand_pixels_reaches_neither_tap_nor_viewer() {
    for (side, fits) in [(40, true), (1024, false)] {
        let mut w = World::new(5);
        let amy = w.publish("amy");
        w.connect(amy);
        w.demand(true);
        let viewer = w.play();
        w.connect(viewer);
        w.picture_with(amy, &sps(side, side));
        w.run(3000 * MS); // longer than frames wait for a sender report
        assert_eq!(w.frames.len() == 1, fits, "{side} macroblocks");
        let seen: usize = w.clients[viewer]
            .pictures()
            .iter()
            .filter(|p| p.header.marker)
            .count();
        assert_eq!(seen == 1, fits);
        let sized = w
            .events
            .iter()
            .any(|e| matches!(e, Event::TrackSize { .. }));
        assert_eq!(sized, fits);
    }
}
