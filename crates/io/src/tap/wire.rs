//! The tap protocol as bytes: u32 LE length of what follows, u8 type, body. Pure.

use roomtape_media::log::{Delivery, OutFrame, TrackEvent, TrackView};
use roomtape_media::{StopCause, TrackId};
use serde::{Deserialize, Serialize};

use crate::outbuf::OutBuffer;

/// A reader's message is small; one longer than this is a mistake or an attack.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Types of messages to the core.
mod kind_in {
    pub const OPEN: u8 = 1;
    pub const READ: u8 = 2;
    pub const ACK: u8 = 3;
    pub const UNREAD: u8 = 4;
    pub const CLOSE: u8 = 5;
    pub const KEYFRAME: u8 = 6;
    pub const FLUSH: u8 = 7;
}

/// Types of messages from the core.
mod kind_out {
    pub const HELLO: u8 = 1;
    pub const OPENED: u8 = 2;
    pub const TRACK: u8 = 3;
    pub const BATCH: u8 = 4;
    pub const GAP: u8 = 5;
    pub const ERROR: u8 = 6;
}

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Durable,
    Live,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Open {
    pub reader: u32,
    pub name: String,
    pub room: String,
    pub mode: Mode,
    pub flush_ms: u32,
    #[serde(default = "default_credit")]
    pub credit: u32,
}

fn default_credit() -> u32 {
    16 << 20
}

/// A message to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    Open(Open),
    Read {
        reader: u32,
        track: TrackId,
        from_seq: i64,
        preroll_ms: u32,
    },
    Ack {
        reader: u32,
        acks: Vec<(TrackId, u64)>,
    },
    Unread {
        reader: u32,
        track: TrackId,
    },
    Close {
        reader: u32,
    },
    Keyframe {
        reader: u32,
        track: TrackId,
    },
    Flush {
        reader: u32,
    },
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The stream cannot be read on.
    Length(usize),
    /// This message makes no sense; the next may.
    Unknown(u8),
    Body(String),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WireError::Length(n) => {
                write!(f, "a message of {n} bytes (1 to {MAX_MESSAGE} allowed)")
            }
            WireError::Unknown(kind) => write!(f, "unknown message type {kind}"),
            WireError::Body(why) => write!(f, "bad message body: {why}"),
        }
    }
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Cutter {
    buffer: Vec<u8>,
    used: usize,
}

impl Cutter {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message as (type, body).
    ///
    /// # Errors
    /// `WireError::Length`: nothing behind it can be understood either.
    pub fn next_message(&mut self) -> Result<Option<(u8, &[u8])>, WireError> {
        let rest = &self.buffer[self.used..];
        let Some(head) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length == 0 || length > MAX_MESSAGE {
            return Err(WireError::Length(length));
        }
        if rest.len() < 4 + length {
            return Ok(None);
        }
        let start = self.used + 4;
        self.used = start + length;
        Ok(Some((
            self.buffer[start],
            &self.buffer[start + 1..self.used],
        )))
    }
}

/// Understands one message.
///
/// # Errors
/// `Unknown` or `Body`; the stream can be read on.
pub fn parse(kind: u8, body: &[u8]) -> Result<Inbound, WireError> {
    #[derive(Deserialize)]
    struct Read {
        reader: u32,
        track: u64,
        #[serde(default = "oldest")]
        from_seq: i64,
        #[serde(default)]
        preroll_ms: u32,
    }
    fn oldest() -> i64 {
        -1
    }
    #[derive(Deserialize)]
    struct Ack {
        reader: u32,
        acks: Vec<(u64, u64)>,
    }
    #[derive(Deserialize)]
    struct OnTrack {
        reader: u32,
        track: u64,
    }
    #[derive(Deserialize)]
    struct OnReader {
        reader: u32,
    }
    fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
        serde_json::from_slice(body).map_err(|e| WireError::Body(e.to_string()))
    }
    Ok(match kind {
        kind_in::OPEN => Inbound::Open(json(body)?),
        kind_in::READ => {
            let m: Read = json(body)?;
            Inbound::Read {
                reader: m.reader,
                track: TrackId(m.track),
                from_seq: m.from_seq,
                preroll_ms: m.preroll_ms,
            }
        }
        kind_in::ACK => {
            let m: Ack = json(body)?;
            Inbound::Ack {
                reader: m.reader,
                acks: m.acks.into_iter().map(|(t, s)| (TrackId(t), s)).collect(),
            }
        }
        kind_in::UNREAD => {
            let m: OnTrack = json(body)?;
            Inbound::Unread {
                reader: m.reader,
                track: TrackId(m.track),
            }
        }
        kind_in::CLOSE => Inbound::Close {
            reader: json::<OnReader>(body)?.reader,
        },
        kind_in::KEYFRAME => {
            let m: OnTrack = json(body)?;
            Inbound::Keyframe {
                reader: m.reader,
                track: TrackId(m.track),
            }
        }
        kind_in::FLUSH => Inbound::Flush {
            reader: json::<OnReader>(body)?.reader,
        },
        other => return Err(WireError::Unknown(other)),
    })
}

#[derive(Serialize)]
struct TrackJson<'a> {
    track: u64,
    user: &'a str,
    kind: &'static str,
    codec: &'static str,
    time_base_den: u32,
    sample_rate: u32,
    channels: u8,
    extradata: String,
    entered_ns: i64,
    started_ns: i64,
    life: u32,
    derived_from: Option<u64>,
    width: u32,
    height: u32,
    next_seq: u64,
    oldest_seq: u64,
    live: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    cause: &'static str,
}

impl<'a> TrackJson<'a> {
    fn of(view: &'a TrackView) -> Self {
        let info = &*view.info;
        Self {
            track: info.id.0,
            user: &info.user,
            kind: info.kind.as_str(),
            codec: info.codec.as_str(),
            time_base_den: info.time_base_den,
            sample_rate: info.sample_rate,
            channels: info.channels,
            extradata: base64(&info.extradata),
            entered_ns: info.entered_ns,
            started_ns: info.started_ns,
            life: info.life,
            derived_from: info.derived_from.map(|id| id.0),
            width: view.width,
            height: view.height,
            next_seq: view.next_seq,
            oldest_seq: view.oldest_seq,
            live: view.live,
            cause: view.cause.map_or("", StopCause::as_str),
        }
    }
}

/// Writes messages from the core into a connection's buffer.
pub fn hello(out: &mut OutBuffer, boot_id: &str, now_ns: i64) {
    json(
        out,
        kind_out::HELLO,
        &serde_json::json!({"boot_id": boot_id, "now_ns": now_ns}),
    );
}

pub fn opened(out: &mut OutBuffer, reader: u32, room: &str, tracks: &[TrackView]) {
    #[derive(Serialize)]
    struct Opened<'a> {
        reader: u32,
        room: &'a str,
        tracks: Vec<TrackJson<'a>>,
    }
    let tracks = tracks.iter().map(TrackJson::of).collect();
    json(
        out,
        kind_out::OPENED,
        &Opened {
            reader,
            room,
            tracks,
        },
    );
}

/// A track asked for that the log has not, or not any more.
pub fn no_track(out: &mut OutBuffer, reader: u32, track: TrackId) {
    let message = format!("no such track: {}", track.0);
    json(
        out,
        kind_out::ERROR,
        &serde_json::json!({"reader": reader, "message": message, "track": track.0}),
    );
}

pub fn error(out: &mut OutBuffer, reader: u32, message: &str) {
    json(
        out,
        kind_out::ERROR,
        &serde_json::json!({"reader": reader, "message": message}),
    );
}

/// Whatever the log has for a reader.
pub fn delivery(out: &mut OutBuffer, reader: u32, delivery: &Delivery) {
    match delivery {
        Delivery::Track {
            event,
            track,
            at_ns,
            cause,
        } => {
            track_event(out, reader, *event, track, *at_ns, *cause);
        }
        Delivery::Batch {
            frames,
            watermark_ns,
        } => batch(out, reader, frames, *watermark_ns),
        Delivery::Gap {
            track,
            from,
            to,
            reason,
        } => json(
            out,
            kind_out::GAP,
            &serde_json::json!({"reader": reader, "track": track.0, "from": from, "to": to, "reason": reason}),
        ),
    }
}

fn track_event(
    out: &mut OutBuffer,
    reader: u32,
    event: TrackEvent,
    track: &TrackView,
    at_ns: i64,
    cause: Option<StopCause>,
) {
    #[derive(Serialize)]
    struct Track<'a> {
        reader: u32,
        event: &'static str,
        track: TrackJson<'a>,
        at_ns: i64,
        cause: &'static str,
    }
    let message = Track {
        reader,
        event: event.as_str(),
        track: TrackJson::of(track),
        at_ns,
        cause: cause.map_or("", StopCause::as_str),
    };
    json(out, kind_out::TRACK, &message);
}

/// Bytes of one frame's entry in a batch's index.
const INDEX_ENTRY: usize = 48;

fn batch(out: &mut OutBuffer, reader: u32, frames: &[OutFrame], watermark_ns: i64) {
    let payload: usize = frames.iter().map(|f| f.data.len()).sum();
    let length = 1 + 16 + frames.len() * INDEX_ENTRY + payload;
    out.append(|to| {
        to.extend_from_slice(&(length as u32).to_le_bytes());
        to.push(kind_out::BATCH);
        to.extend_from_slice(&reader.to_le_bytes());
        to.extend_from_slice(&(frames.len() as u32).to_le_bytes());
        to.extend_from_slice(&watermark_ns.to_le_bytes());
        for f in frames {
            to.extend_from_slice(&f.track.0.to_le_bytes());
            to.extend_from_slice(&f.seq.to_le_bytes());
            to.extend_from_slice(&f.flags.to_le_bytes());
            to.extend_from_slice(&f.pts.to_le_bytes());
            to.extend_from_slice(&f.dts.to_le_bytes());
            to.extend_from_slice(&f.capture_ns.to_le_bytes());
            to.extend_from_slice(&(f.data.len() as u32).to_le_bytes());
        }
    });
    frames.iter().for_each(|f| out.share(&f.data));
}

fn json(out: &mut OutBuffer, kind: u8, message: &impl Serialize) {
    out.append(|to| {
        let start = to.len();
        to.extend_from_slice(&[0, 0, 0, 0, kind]);
        // Nothing in these messages can fail to be JSON: no maps with odd keys, no own code.
        serde_json::to_writer(&mut *to, message).expect("plain data is always JSON");
        let length = (to.len() - start - 4) as u32;
        to[start..start + 4].copy_from_slice(&length.to_le_bytes());
    });
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(LETTERS[(word >> (18 - 6 * place)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    #[test]
    fn messages_come_out_of_any_cut_of_the_stream() {
        let mut bytes = Vec::new();
        let bodies: [(u8, &[u8]); 3] = [
            (7, br#"{"reader":1}"#),
            (3, br#"{"reader":1,"acks":[[5,9],[6,0]]}"#),
            (
                2,
                br#"{"reader":1,"track":5,"from_seq":-1,"preroll_ms":220}"#,
            ),
        ];
        for (kind, body) in bodies {
            bytes.extend_from_slice(&(body.len() as u32 + 1).to_le_bytes());
            bytes.push(kind);
            bytes.extend_from_slice(body);
        }
        for size in 1..bytes.len() {
            let mut cutter = Cutter::default();
            let mut got = Vec::new();
            for part in bytes.chunks(size) {
                cutter.push(part);
                while let Some((kind, body)) = cutter.next_message().unwrap() {
                    got.push(parse(kind, body).unwrap());
                }
            }
            assert_eq!(
                got,
                vec![
                    Inbound::Flush { reader: 1 },
                    Inbound::Ack {
                        reader: 1,
                        acks: vec![(TrackId(5), 9), (TrackId(6), 0)]
                    },
                    Inbound::Read {
                        reader: 1,
                        track: TrackId(5),
                        from_seq: -1,
                        preroll_ms: 220
                    },
                ]
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for length in [0u32, MAX_MESSAGE as u32 + 1, u32::MAX] {
            let mut cutter = Cutter::default();
            cutter.push(&length.to_le_bytes());
            assert_eq!(
                cutter.next_message(),
                Err(WireError::Length(length as usize))
            );
        }
        assert_eq!(parse(99, b"{}"), Err(WireError::Unknown(99)));
        let bad: [(u8, &[u8]); 5] = [
            (1, b"{}"),
            (
                1,
                br#"{"reader":1,"name":"n","room":"r","mode":"odd","flush_ms":1}"#,
            ),
            (2, br#"{"reader":-1,"track":1}"#),
            (3, br#"{"reader":1,"acks":[[1]]}"#),
            (7, &[0xff, 0xfe]),
        ];
        for (kind, body) in bad {
            assert!(
                matches!(parse(kind, body), Err(WireError::Body(_))),
                "{kind} {body:?}"
            );
        }
    }
}
