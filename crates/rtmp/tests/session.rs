//! One connection from the first byte to the last, against `rml_rtmp`'s client and against a
//! hand-made peer that can misbehave. No socket, no clock.

use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
};
use rml_rtmp::time::RtmpTimestamp;
use roomtape_rtmp::amf::{decode, encode, Value};
use roomtape_rtmp::chunk::{ChunkReader, Message};
use roomtape_rtmp::session::{Event, Rules, Session, DECISION_NS};
use roomtape_rtmp::tags::{Media, B_FRAMES};

const PUBLISH_WITHIN_NS: i64 = 10_000_000_000;

fn rules(allow_bframes: bool) -> Rules {
    Rules {
        allow_bframes,
        publish_within_ns: PUBLISH_WITHIN_NS,
    }
}

const S: i64 = 1_000_000_000;

fn text(s: &str) -> Value {
    Value::String(s.into())
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// FLV body of an H.264 configuration with this SPS (of x264).
fn video_config(sps: &str) -> Vec<u8> {
    let sps = hex(sps);
    let mut body = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    body.extend_from_slice(&(sps.len() as u16).to_be_bytes());
    body.extend_from_slice(&sps);
    body.extend_from_slice(&[1, 0, 4, 0x68, 0xef, 0x0f, 0xc8]);
    body
}

const NO_B: &str = "674d401eda0280bfe5c044000003000400000300c83c58ba80";
const WITH_B: &str = "6764001facd9405005bb011000000300100000030320f1831960";

fn key_frame() -> Vec<u8> {
    vec![0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88]
}

fn aac_config() -> Vec<u8> {
    vec![0xaf, 0, 0x11, 0x90]
}

/// A peer that speaks plain RTMP, byte by byte under the test's control.
struct Peer {
    session: Session,
    reader: ChunkReader,
    now: i64,
}

impl Peer {
    /// Shakes hands.
    fn new() -> Self {
        Self::with(false)
    }

    fn with(allow_bframes: bool) -> Self {
        let mut session = Session::new(0, rules(allow_bframes));
        let mut hello = vec![3];
        hello.extend_from_slice(&[0; 1536]);
        session.input(0, &hello);
        let answer = session.take_output();
        assert_eq!(answer.len(), 1 + 2 * 1536);
        session.input(0, &answer[1..1537]);
        Self {
            session,
            reader: ChunkReader::new(1 << 20, 1 << 20),
            now: 0,
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.session.input(self.now, bytes);
    }

    fn send(&mut self, kind: u8, stream: u32, time: u32, data: &[u8]) {
        let mut bytes = vec![3];
        bytes.extend_from_slice(&time.to_be_bytes()[1..]);
        bytes.extend_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        bytes.push(kind);
        bytes.extend_from_slice(&stream.to_le_bytes());
        for (n, part) in data.chunks(128).enumerate() {
            if n > 0 {
                bytes.push(0xc3);
            }
            bytes.extend_from_slice(part);
        }
        self.raw(&bytes);
    }

    fn command(&mut self, stream: u32, values: &[Value]) {
        self.send(20, stream, 0, &encode(values));
    }

    fn connect(&mut self, app: &str) {
        let object = Value::Object(vec![("app".into(), text(app))]);
        self.command(0, &[text("connect"), Value::Number(1.0), object]);
    }

    /// Up to the question whether it may publish.
    fn ask(&mut self, key: &str) {
        self.connect("push");
        self.command(
            0,
            &[
                text("releaseStream"),
                Value::Number(2.0),
                Value::Null,
                text(key),
            ],
        );
        self.command(0, &[text("createStream"), Value::Number(4.0), Value::Null]);
        let values = [
            text("publish"),
            Value::Number(5.0),
            Value::Null,
            text(key),
            text("live"),
        ];
        self.command(1, &values);
    }

    fn publishing() -> Self {
        let mut peer = Self::new();
        peer.ask("room");
        assert!(matches!(peer.events()[..], [Event::Publish { .. }]));
        peer.session.accept();
        peer
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn answers(&mut self) -> Vec<Message> {
        let bytes = self.session.take_output();
        self.reader.push(&bytes);
        std::iter::from_fn(|| self.reader.next_message().unwrap()).collect()
    }

    /// (command name, code, description) of the command answers.
    fn said(&mut self) -> Vec<(String, String, String)> {
        let commands = self.answers().into_iter().filter(|m| m.kind == 20);
        commands
            .map(|m| {
                let values = decode(&m.data).unwrap();
                let of = |name: &str| {
                    let found = values
                        .iter()
                        .find_map(|v| v.get(name))
                        .and_then(Value::as_str);
                    found.unwrap_or_default().to_owned()
                };
                (
                    values[0].as_str().unwrap().to_owned(),
                    of("code"),
                    of("description"),
                )
            })
            .collect()
    }

    fn closed(&mut self) -> String {
        match self.events().pop() {
            Some(Event::Closed { reason }) => reason,
            other => panic!("not closed: {other:?}"),
        }
    }
}

#[test]
fn an_ordinary_client_publishes() {
    let mut handshake = Handshake::new(PeerType::Client);
    let mut server = Session::new(0, rules(false));
    let mut events = Vec::new();
    server.input(0, &handshake.generate_outbound_p0_and_p1().unwrap());
    let rest = match handshake.process_bytes(&server.take_output()).unwrap() {
        HandshakeProcessResult::Completed {
            response_bytes,
            remaining_bytes,
        } => {
            server.input(0, &response_bytes);
            remaining_bytes
        }
        HandshakeProcessResult::InProgress { .. } => panic!("the handshake did not end"),
    };
    let (mut client, first) = ClientSession::new(ClientSessionConfig::new()).unwrap();
    let mut results = first;
    results.extend(client.handle_input(&rest).unwrap());
    results.push(client.request_connection("push".into()).unwrap());
    let mut sent = 0;
    while !results.is_empty() {
        let mut next = Vec::new();
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => server.input(S, &packet.bytes),
                ClientSessionResult::RaisedEvent(ClientSessionEvent::ConnectionRequestAccepted) => {
                    next.push(
                        client
                            .request_publishing(
                                "room?userid=u&usersig=s".into(),
                                PublishRequestType::Live,
                            )
                            .unwrap(),
                    )
                }
                ClientSessionResult::RaisedEvent(ClientSessionEvent::PublishRequestAccepted) => {
                    for (at, body) in [(0, video_config(NO_B)), (0, key_frame()), (40, key_frame())]
                    {
                        let at = RtmpTimestamp::new(at);
                        next.push(client.publish_video_data(body.into(), at, false).unwrap());
                    }
                    for body in [aac_config(), vec![0xaf, 1, 1, 2, 3]] {
                        let at = RtmpTimestamp::new(23);
                        next.push(client.publish_audio_data(body.into(), at, false).unwrap());
                    }
                    sent += 5;
                }
                _ => {}
            }
        }
        while let Some(event) = server.poll_event() {
            if let Event::Publish { app, key } = &event {
                assert_eq!((&app[..], &key[..]), ("push", "room?userid=u&usersig=s"));
                server.accept();
            }
            events.push(event);
        }
        next.extend(client.handle_input(&server.take_output()).unwrap());
        results = next;
    }
    assert_eq!(sent, 5);
    let media: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::Media(Media::Video(s)) => Some(("video", s.dts, s.key)),
            Event::Media(Media::Audio(s)) => Some(("audio", s.dts, s.key)),
            Event::Media(Media::Size { .. }) => Some(("size", 0, false)),
            Event::Media(Media::AudioConfig { .. }) => Some(("config", 0, false)),
            _ => None,
        })
        .collect();
    let expected = vec![
        ("size", 0, false),
        ("video", 0, true),
        ("video", 40, true),
        ("config", 0, false),
        ("audio", 23, true),
    ];
    assert_eq!(media, expected);
}

#[test]
fn a_refused_publisher_reads_why_before_the_end() {
    let mut p = Peer::new();
    p.ask("room");
    p.said();
    p.session.refuse(p.now, "UserSig expired");
    let expected = (
        "onStatus".into(),
        "NetStream.Publish.BadName".into(),
        "UserSig expired".into(),
    );
    assert_eq!(p.said(), vec![expected]);
    assert_eq!(p.closed(), "UserSig expired");
    assert!(p.session.closing().is_some());
    p.raw(&[0xff; 4096]);
    assert!(
        p.events().is_empty() && p.session.held() == 0,
        "nothing is read any longer"
    );
}

#[test]
fn connecting_without_an_application_is_rejected() {
    let mut p = Peer::new();
    p.connect("");
    let said = p.said();
    assert_eq!(
        (&said[0].0[..], &said[0].1[..]),
        ("_error", "NetConnection.Connect.Rejected")
    );
    assert!(p.session.closing().is_some());
}

#[test]
fn b_frames_end_a_publisher_with_the_remedy() {
    let mut p = Peer::publishing();
    p.said();
    p.send(9, 1, 0, &video_config(WITH_B));
    let said = p.said();
    assert_eq!(
        (&said[0].1[..], &said[0].2[..]),
        ("NetStream.Publish.BadName", B_FRAMES)
    );
    assert_eq!(p.closed(), B_FRAMES);
    let mut p = Peer::with(true);
    p.ask("room");
    p.events();
    p.session.accept();
    p.send(9, 1, 0, &video_config(WITH_B));
    p.send(9, 1, 0, &key_frame());
    assert_eq!(p.events().len(), 2);
}

#[test]
fn leaving_is_seen() {
    for name in ["deleteStream", "FCUnpublish", "closeStream"] {
        let mut p = Peer::publishing();
        p.command(
            0,
            &[
                text(name),
                Value::Number(6.0),
                Value::Null,
                Value::Number(1.0),
            ],
        );
        assert_eq!(p.closed(), "closed");
    }
}

#[test]
fn the_server_ends_it() {
    let mut p = Peer::publishing();
    p.session.close(p.now);
    assert_eq!(p.closed(), "ordered");
    assert_eq!(p.said().last().unwrap().1, "NetStream.Unpublish.Success");
}

#[test]
fn f12_a_stalled_handshake_ends_in_ten_seconds() {
    let mut session = Session::new(0, rules(false));
    session.input(5 * S, &[3, 0, 0]);
    assert_eq!(session.deadline(), Some(PUBLISH_WITHIN_NS));
    session.tick(PUBLISH_WITHIN_NS - 1);
    assert!(session.closing().is_none());
    session.tick(PUBLISH_WITHIN_NS);
    assert!(session.closing().is_some());
    let mut p = Peer::new();
    p.connect("push");
    p.session.tick(PUBLISH_WITHIN_NS);
    assert_eq!(p.closed(), "protocol: no publish within 10 s");
}

#[test]
fn without_the_servers_word_it_ends_in_five_seconds() {
    let mut p = Peer::new();
    p.now = S;
    p.ask("room");
    assert_eq!(p.session.deadline(), Some(S + DECISION_NS));
    p.session.tick(S + DECISION_NS);
    assert_eq!(p.said().last().unwrap().1, "NetStream.Publish.BadName");
    p.session.accept();
    assert!(!p.session.is_publishing(), "too late");
}

#[test]
fn media_before_the_word_is_bounded_and_dropped() {
    let mut p = Peer::new();
    p.ask("room");
    p.events();
    for n in 0..40 {
        p.send(9, 1, n, &[0x27; 60_000]);
        assert!(p.session.held() <= 1 << 20);
        if n < 17 {
            assert!(p.events().is_empty(), "message {n}");
        }
    }
    assert!(p.closed().contains("1 MiB"));
}

#[test]
fn f12_hostile_bytes_end_the_connection() {
    let nested: Vec<u8> = [
        &[2, 0, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[3, 0, 1, b'a'].repeat(10_000),
    ]
    .concat();
    let early: [(&str, u8, Vec<u8>); 7] = [
        ("chunk size 0", 1, 0u32.to_be_bytes().to_vec()),
        ("chunk size 2^31", 1, (1u32 << 31).to_be_bytes().to_vec()),
        ("nesting", 20, nested),
        ("a command of one value", 20, encode(&[text("publish")])),
        ("no AMF", 20, vec![0xff; 10]),
        ("a string beyond the end", 20, vec![2, 0xff, 0xff, 1]),
        ("a message too long", 20, vec![0; 70_000]),
    ];
    for (what, kind, body) in early {
        let mut p = Peer::new();
        p.send(kind, 0, 0, &body);
        assert!(p.session.closing().is_some(), "{what}");
        assert!(p.closed().starts_with("protocol: "), "{what}");
    }
    let mut p = Peer::new();
    p.raw(&[0xc5, 1, 2, 3]);
    assert!(p.session.closing().is_some(), "a chunk without a header");
    let mut session = Session::new(0, rules(false));
    session.input(0, b"GET / HTTP/1.1\r\n\r\n");
    assert!(session.closing().is_some(), "HTTP");
    for sequence in [&["publish"][..], &["createStream"]] {
        let mut p = Peer::new();
        for name in sequence {
            p.command(
                0,
                &[text(name), Value::Number(1.0), Value::Null, text("room")],
            );
        }
        assert!(p.session.closing().is_some(), "{sequence:?} out of order");
    }
}

#[test]
fn empty_frames_and_unknown_messages_do_no_harm() {
    let mut p = Peer::publishing();
    for kind in [0u8, 3, 4, 5, 6, 8, 9, 11, 15, 16, 18, 19, 22, 99] {
        p.send(kind, 1, 0, &[]);
        if !matches!(kind, 8 | 9) {
            p.send(kind, 1, 0, &[0]);
        }
    }
    p.send(9, 1, 0, &[0x17, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(p.events(), vec![]);
    assert!(p.session.is_publishing());
}

#[test]
fn what_was_received_is_acknowledged_and_pings_are_answered() {
    let mut p = Peer::publishing();
    p.send(5, 0, 0, &1u32.to_be_bytes());
    p.answers();
    p.send(9, 1, 0, &vec![0x57; 70_000]);
    let acknowledged: Vec<_> = p.answers().into_iter().filter(|m| m.kind == 3).collect();
    assert_eq!(
        acknowledged.len(),
        1,
        "once per 64 KiB at most, whatever the peer asks for"
    );
    p.send(4, 0, 0, &[0, 6, 1, 2, 3, 4]);
    let pong = p.answers().pop().unwrap();
    assert_eq!((pong.kind, pong.data), (4, vec![0, 7, 1, 2, 3, 4]));
}
