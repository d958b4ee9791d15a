//! One target per parser: valid samples, and what must hold for any input.

use std::sync::Arc;

use roomtape_core::fuzzing;
use roomtape_http::{plain, Plain};
use roomtape_io::tap::wire;
use roomtape_media::aac::{adts_header, AdtsHeader, AudioConfig};
use roomtape_media::h264::{
    annexb_to_avcc, annexb_units, avcc_to_annexb, avcc_units, AvcConfig, ParameterSets, Sps,
    MAX_SIDE,
};
use roomtape_media::{opus, ts, vp8};
use roomtape_rtmp::amf;
use roomtape_rtmp::session::{Event, Rules, Session};

/// A parser under test.
pub struct Target {
    pub name: &'static str,
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Panics when something that must hold does not.
    pub run: fn(&[u8]),
}

/// All of them; each has a program of its name.
pub const ALL: &[Target] = &[
    Target {
        name: "sps",
        samples: parameter_sets,
        run: sps,
    },
    Target {
        name: "avcc",
        samples: access_units,
        run: avcc,
    },
    Target {
        name: "aac",
        samples: audio_configs,
        run: aac,
    },
    Target {
        name: "vp8",
        samples: vp8_frames,
        run: vp8_frame,
    },
    Target {
        name: "opus",
        samples: opus_packets,
        run: opus_packet,
    },
    Target {
        name: "amf",
        samples: amf_commands,
        run: amf_command,
    },
    Target {
        name: "rtmp",
        samples: rtmp_connections,
        run: rtmp_connection,
    },
    Target {
        name: "tap",
        samples: tap_messages,
        run: tap_stream,
    },
    Target {
        name: "stun",
        samples: stun_datagrams,
        run: fuzzing::stun,
    },
    Target {
        name: "sdp",
        samples: sdp_offers,
        run: sdp,
    },
    Target {
        name: "depack",
        samples: rtp_payloads,
        run: depack,
    },
    Target {
        name: "ts",
        samples: transport_streams,
        run: transport_stream,
    },
    Target {
        name: "http",
        samples: http_requests,
        run: http_request,
    },
];

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap_or(0);
    (0..text.len()).step_by(2).map(digit).collect()
}

// ---- H.264 -------------------------------------------------------------------------------------

/// Of x264 by FFmpeg 5.1: Baseline, Main, High with B-frames, interlaced, 4:4:4, with HRD; a PPS.
fn parameter_sets() -> Vec<Vec<u8>> {
    let sets = [
        "6742c00cda05067e7c0440000003004000000c83c50aa8",
        "674d401eda0280bfe5c044000003000400000300c83c58ba80",
        "6764001facd9405005bb011000000300100000030320f1831960",
        "6764001eace80b424d808800000300080000030190f8a155",
        "67f4000d919b282a33c7c5e022000003000200000300641e28532c",
        "6764001eacd940a02ff9701100000300010000030032602001e840007a12930c01e2c5b2c0",
        "68ef0fc8",
    ];
    sets.iter().map(|s| unhex(s)).collect()
}

fn sps(data: &[u8]) {
    if let Ok(sps) = Sps::parse(data) {
        assert!(sps.width <= MAX_SIDE && sps.height <= MAX_SIDE);
        assert!(sps.width > 0 && sps.height > 0);
        assert!(sps.reorder_depth().unwrap_or(0) <= 16);
    }
}

fn access_units() -> Vec<Vec<u8>> {
    let sets = parameter_sets();
    let mut annexb = Vec::new();
    for unit in [
        &sets[1][..],
        &sets[6],
        &[0x65, 0x88, 0x84, 0, 0, 3, 1],
        &[0x41, 0x9a],
    ] {
        annexb.extend_from_slice(&[0, 0, 0, 1]);
        annexb.extend_from_slice(unit);
    }
    let avcc = annexb_to_avcc(&annexb);
    let mut record = vec![1, 0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, sets[1].len() as u8];
    record.extend_from_slice(&sets[1]);
    record.extend_from_slice(&[1, 0, 4]);
    record.extend_from_slice(&sets[6]);
    vec![annexb, avcc, record]
}

fn avcc(data: &[u8]) {
    for length_size in [1, 2, 4] {
        if let Ok(units) = avcc_units(data, length_size) {
            let total: usize = units.iter().map(|u| u.len() + length_size).sum();
            assert!(total <= data.len());
            let annexb = avcc_to_annexb(data, length_size).unwrap_or_default();
            assert!(annexb.len() <= data.len() * 5);
        }
    }
    let units: Vec<_> = annexb_units(data).collect();
    assert!(units.iter().all(|u| !u.is_empty()));
    // Writing and reading again changes nothing any more.
    let once = annexb_to_avcc(data);
    let back = avcc_units(&once, 4).unwrap_or_default();
    assert_eq!(back, units);
    if let Ok(config) = AvcConfig::parse(data) {
        assert!(config.sps.len() <= 31 && config.pps.len() <= 255);
    }
    let mut sets = ParameterSets::default();
    for _ in 0..2 {
        if let Ok(whole) = sets.complete(units.iter().copied()) {
            assert!(whole.data.len() <= data.len() * 5 + (31 + 255) * 4100);
        }
    }
}

// ---- sound -------------------------------------------------------------------------------------

fn audio_configs() -> Vec<Vec<u8>> {
    let config = [
        "1190",
        "1208",
        "119056e500",
        "2b118800",
        "131056e598",
        "eb098800",
    ];
    let mut samples: Vec<_> = config.iter().map(|s| unhex(s)).collect();
    let lc = AudioConfig::parse(&samples[0]).ok();
    samples.extend(lc.and_then(|c| adts_header(&c, 371)).map(|h| h.to_vec()));
    samples
}

fn aac(data: &[u8]) {
    if let Ok(config) = AudioConfig::parse(data) {
        assert!((1..=8).contains(&config.channels) && config.sample_rate > 0);
        if let Some(header) = adts_header(&config, data.len()) {
            let back = AdtsHeader::parse(&header).expect("our own header");
            assert_eq!(
                (back.frame_len, back.channels),
                (data.len() + 7, config.channels)
            );
        }
    }
    if let Ok(header) = AdtsHeader::parse(data) {
        assert!(header.frame_len >= header.header_len);
    }
}

fn opus_packets() -> Vec<Vec<u8>> {
    vec![
        vec![0xfc, 0xff, 0xfe],
        vec![0x78, 1, 2, 3],
        vec![0xff, 3, 0, 0, 0],
        vec![0x0b, 0x41, 9],
    ]
}

fn opus_packet(data: &[u8]) {
    if let Some(toc) = opus::parse(data) {
        assert!((120..=opus::MAX_SAMPLES).contains(&toc.samples) && (1..=48).contains(&toc.frames));
    }
}

// ---- VP8 ---------------------------------------------------------------------------------------

fn vp8_frames() -> Vec<Vec<u8>> {
    vec![unhex("1002009d012a800268410000"), unhex("110200aabbcc")]
}

fn vp8_frame(data: &[u8]) {
    if let Some(header) = vp8::parse(data) {
        assert_eq!(header.key, header.size.is_some());
        assert!(header
            .size
            .is_none_or(|(w, h)| w <= MAX_SIDE && h <= MAX_SIDE));
    }
}

// ---- RTMP --------------------------------------------------------------------------------------

fn text(s: &str) -> amf::Value {
    amf::Value::String(s.into())
}

fn commands() -> Vec<Vec<u8>> {
    use amf::Value::{Boolean, Null, Number, Object};
    let application = Object(vec![
        ("app".into(), text("push")),
        ("tcUrl".into(), text("rtmp://host/push")),
        ("fpad".into(), Boolean(false)),
    ]);
    let calls = [
        vec![text("connect"), Number(1.0), application],
        vec![text("createStream"), Number(2.0), Null],
        vec![
            text("publish"),
            Number(3.0),
            Null,
            text("room?userid=u&usersig=s"),
            text("live"),
        ],
        vec![text("deleteStream"), Number(4.0), Null, Number(1.0)],
    ];
    calls.iter().map(|c| amf::encode(c)).collect()
}

fn amf_commands() -> Vec<Vec<u8>> {
    let mut samples = commands();
    samples.push(unhex(
        "080000000100056475726174 00000000000000000000000009"
            .replace(' ', "")
            .as_str(),
    ));
    samples.push(unhex("0a0000000205060b0000000000000000000000"));
    samples
}

fn amf_command(data: &[u8]) {
    if let Ok(values) = amf::decode(data) {
        // What was understood can be written and understood again.
        let again = amf::decode(&amf::encode(&values)).expect("our own bytes");
        assert_eq!(again.len(), values.len());
    }
}

/// A message as chunks of 128 bytes on one chunk stream.
fn message(kind: u8, stream: u32, time: u32, data: &[u8]) -> Vec<u8> {
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
    bytes
}

/// What follows the handshake: a publisher's first second, whole and in parts.
fn rtmp_connections() -> Vec<Vec<u8>> {
    let calls = commands();
    let mut tag = vec![0x17, 0, 0, 0, 0];
    tag.extend_from_slice(&access_units()[2]);
    let opening: Vec<u8> = [
        message(1, 0, 0, &4096u32.to_be_bytes()),
        message(5, 0, 0, &[0, 0, 1, 0]),
    ]
    .concat();
    let start = [
        message(20, 0, 0, &calls[0]),
        message(20, 0, 0, &calls[1]),
        message(20, 1, 0, &calls[2]),
    ]
    .concat();
    let media = [
        message(9, 1, 0, &tag),
        message(8, 1, 0, &[0xaf, 0, 0x11, 0x90]),
        message(
            9,
            1,
            0,
            &unhex(
                "17010000000000000265880000000241 9a"
                    .replace(' ', "")
                    .as_str(),
            ),
        ),
        message(8, 1, 23, &[0xaf, 1, 1, 2, 3]),
        message(9, 1, 40, b"\x91avc1\0\0\0\0\0\0\x02\x41\x9a"),
    ]
    .concat();
    let end = message(20, 0, 0, &calls[3]);
    vec![
        [&start[..], &media, &end].concat(),
        [&start[..], &media].concat(),
        start,
        [&opening[..], &message(4, 0, 0, &[0, 6, 1, 2, 3, 4])].concat(),
    ]
}

fn rtmp_connection(data: &[u8]) {
    let mut session = Session::new(
        0,
        Rules {
            allow_bframes: data.first().is_some_and(|b| b & 0x20 != 0),
            publish_within_ns: 10_000_000_000,
        },
    );
    let mut hello = vec![3];
    hello.extend_from_slice(&[0; 1536]);
    session.input(0, &hello);
    let answer = session.take_output();
    session.input(0, &answer[1..1537]);
    // Parts of many sizes: every cut of a header happens.
    let (mut at, mut size, mut closed) = (0, 1, false);
    while at < data.len() {
        let end = (at + size).min(data.len());
        session.input(at as i64 * 1_000_000, &data[at..end]);
        at = end;
        size = size % 997 + 1;
        let bound = if session.is_publishing() {
            13 << 20
        } else {
            1 << 20
        };
        assert!(session.held() <= bound, "{} bytes held", session.held());
        while let Some(event) = session.poll_event() {
            assert!(!closed, "something after the end");
            match event {
                Event::Publish { .. } => session.accept(),
                Event::Closed { .. } => closed = true,
                Event::Media(_) => {}
            }
        }
        assert!(session.take_output().len() <= 64 << 10);
    }
    session.tick(20_000_000_000);
    assert!(
        session.is_publishing() || session.closing().is_some(),
        "a stalled one ends"
    );
}

// ---- the tap's socket --------------------------------------------------------------------------

fn tap_messages() -> Vec<Vec<u8>> {
    let bodies: [(u8, &str); 7] = [
        (
            1,
            r#"{"reader":1,"name":"task","room":"1/s/r","mode":"durable","flush_ms":1000,"credit":1048576}"#,
        ),
        (
            2,
            r#"{"reader":1,"track":5,"from_seq":-1,"preroll_ms":220}"#,
        ),
        (3, r#"{"reader":1,"acks":[[5,9],[6,18446744073709551615]]}"#),
        (4, r#"{"reader":1,"track":5}"#),
        (5, r#"{"reader":1}"#),
        (6, r#"{"reader":1,"track":5}"#),
        (7, r#"{"reader":4294967295}"#),
    ];
    let one = |(kind, body): &(u8, &str)| {
        let mut bytes = (body.len() as u32 + 1).to_le_bytes().to_vec();
        bytes.push(*kind);
        bytes.extend_from_slice(body.as_bytes());
        bytes
    };
    let mut samples: Vec<_> = bodies.iter().map(one).collect();
    samples.push(samples.concat());
    samples
}

fn tap_stream(data: &[u8]) {
    let mut cutter = wire::Cutter::default();
    for part in data.chunks(61) {
        cutter.push(part);
        loop {
            match cutter.next_message() {
                Ok(Some((kind, body))) => {
                    let _ = wire::parse(kind, body);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

// ---- WebRTC ------------------------------------------------------------------------------------

fn stun_datagrams() -> Vec<Vec<u8>> {
    // A binding request with SOFTWARE and USERNAME, and a success response.
    let mut request = unhex("000100182112a442000102030405060708090a0b");
    request.extend_from_slice(&unhex("80220003616263000006000b"));
    request.extend_from_slice(b"ours:theirs\0");
    let response = unhex("010100002112a442000102030405060708090a0b");
    vec![request, response]
}

fn sdp_offers() -> Vec<Vec<u8>> {
    let video = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=setup:actpass\r\n\
        a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=ssrc:1 cname:x\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 H264/90000\r\na=rtpmap:98 rtx/90000\r\na=fmtp:98 apt=97\r\n\
        a=fmtp:97 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rtcp-fb:97 nack pli\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rid:l send\r\n\
        a=simulcast:send l\r\na=ssrc-group:FID 2 3\r\na=ssrc:2 cname:x\r\n";
    let fragment = "a=ice-ufrag:efgh\r\na=ice-pwd:0123456789abcdef01234567\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
    vec![video.into(), fragment.into()]
}

fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    fuzzing::offer(&text);
    fuzzing::fragment(&text);
}

/// Packets behind each other: u16 length, one byte of (time step, marker, gap), payload.
fn rtp_payloads() -> Vec<Vec<u8>> {
    let packet = |bits: u8, payload: &[u8]| {
        let mut bytes = (payload.len() as u16).to_be_bytes().to_vec();
        bytes.push(bits);
        bytes.extend_from_slice(payload);
        bytes
    };
    let sets = parameter_sets();
    let mut bundle = vec![0x78]; // STAP-A
    for unit in [&sets[1], &sets[6]] {
        bundle.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        bundle.extend_from_slice(unit);
    }
    let h264 = [
        packet(0, &bundle),
        packet(0, &[0x7c, 0x85, 0x88, 0x84, 1]), // FU-A: start, middle, end of an IDR
        packet(0, &[0x7c, 0x05, 2, 3]),
        packet(2, &[0x7c, 0x45, 4]),
        packet(3, &[0x41, 0x9a, 1]),
        packet(1, &sets[0]),
        packet(2, &[0x65, 0x88]),
    ]
    .concat();
    let vp8 = [
        packet(0, &unhex("90e08001001c1002009d012a80026841")),
        packet(2, &unhex("80e0800100aabb")),
        packet(3, &unhex("10110200aabbcc")),
    ]
    .concat();
    vec![h264, vp8]
}

fn depack(data: &[u8]) {
    let mut packets: Vec<(i64, bool, bool, Arc<[u8]>)> = Vec::new();
    let (mut rest, mut rtp) = (data, 0i64);
    while let [high, low, bits, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        rtp += i64::from(bits & 1) * 3000 - i64::from(bits >> 7) * 9000;
        packets.push((rtp, bits & 2 != 0, bits & 4 != 0, tail[..length].into()));
        rest = &tail[length..];
    }
    fuzzing::depack(&packets);
}

// ---- transport streams -------------------------------------------------------------------------

fn transport_streams() -> Vec<Vec<u8>> {
    let picture = [&[0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x65][..], &[0x5a; 400]].concat();
    let sound = [
        &[0xff, 0xf1, 0x4c, 0x80, 0x0d, 0x7f, 0xfc][..],
        &[0x21; 100],
    ]
    .concat();
    let unit = |pid, dts, data| ts::Unit {
        pid,
        pts: dts,
        dts,
        key: dts == 0,
        head: ts::Head::default(),
        data,
    };
    let both: Vec<_> = (0..4)
        .flat_map(|n| {
            [
                unit(ts::VIDEO_PID, n * 3000, &picture[..]),
                unit(ts::AUDIO_PID, n * 3000 + 10, &sound[..]),
            ]
        })
        .collect();
    let alone = [unit(ts::AUDIO_PID, 0, &sound[..])];
    [&both[..], &alone[..]]
        .into_iter()
        .filter_map(|units| ts::mux(units, &mut ts::Counters::new()).ok())
        .collect()
}

fn transport_stream(data: &[u8]) {
    if let Ok(content) = ts::inspect(data, &ts::Counters::new()) {
        let bytes: u64 = content.values().map(|of| of.es_bytes).sum();
        assert!(bytes <= data.len() as u64);
        assert!(content.len() <= 2);
    }
}

// ---- requests ----------------------------------------------------------------------------------

fn http_requests() -> Vec<Vec<u8>> {
    [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1 HTTP/1.1\r\nContent-Length:0\r\nConnection: close\r\nX-TC-Token: \r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What is read is all of it: written again and read again it is the same.
fn http_request(data: &[u8]) {
    let request = match plain(data) {
        Some(Plain::Whole(request)) => request,
        Some(Plain::Begun { length, .. }) => return assert!(length > data.len()),
        None => return,
    };
    let mut again = [b"POST ", request.target, b" HTTP/1.1\r\n"].concat();
    for (name, value) in &request.headers {
        assert!(!name.is_empty() && !value.contains(&b'\n'));
        again.extend([name, &b": "[..], value, b"\r\n"].concat());
    }
    again.extend([b"\r\n", request.body].concat());
    let Some(Plain::Whole(same)) = plain(&again) else {
        panic!("{again:?}");
    };
    assert_eq!(same.headers, request.headers);
    assert_eq!(
        (same.target, same.body, same.keep_alive),
        (request.target, request.body, request.keep_alive)
    );
}
