//! The server side of one RTMP connection, sans-IO: bytes and times in, bytes and events out.
//!
//! The handshake and the writing of chunks are `rml_rtmp`'s. Reading is our own, because there a
//! stranger speaks: `rml_rtmp` 0.8 keeps one unfinished message for all chunk streams, takes any
//! chunk size and any message size, and its command parser can be made to panic and to recurse
//! without end.

use std::collections::VecDeque;

use rml_rtmp::chunk_io::ChunkSerializer;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;

use crate::amf::{self, Value};
use crate::chunk::{ChunkReader, Message};
use crate::tags::{Media, Tags};

/// From the publish command to the server's word.
pub const DECISION_NS: i64 = 5_000_000_000;
/// From a refusal to the end: FFmpeg reads why only with its next frame, and with a deep lookahead
/// that comes seconds after the header.
pub const FAREWELL_NS: i64 = 8_000_000_000;
/// From a broken rule to the end.
const BROKEN_NS: i64 = 1_000_000_000;

/// Before a publisher is accepted its commands are small.
const EARLY_MESSAGE: usize = 64 << 10;
const EARLY_HELD: usize = 256 << 10;
/// Media sent before the server's word is dropped, up to this much.
const EARLY_MEDIA: usize = 1 << 20;
/// A key frame of a big picture at a high bit rate fits four times.
const MEDIA_MESSAGE: usize = 8 << 20;
const MEDIA_HELD: usize = 12 << 20;
/// An application name or stream key longer than this is no name.
const MAX_NAME: usize = 4096;
/// Streams one connection may create.
const MAX_STREAMS: u32 = 8;
/// What we announce and what we send in.
const OUT_CHUNK: u32 = 4096;
const WINDOW: u32 = 2_500_000;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client wants to publish: answer with `accept` or `refuse` within [`DECISION_NS`].
    Publish { app: String, key: String },
    /// Of an accepted publisher.
    Media(Media),
    /// The publisher says it is done, or broke the rules; nothing follows.
    Closed { reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshake,
    /// Commands up to `publish`.
    Commands,
    /// The server decides.
    Asked {
        since_ns: i64,
        stream: u32,
    },
    Publishing {
        stream: u32,
    },
    /// Nothing is read any longer; output may still leave.
    Closing {
        until_ns: i64,
    },
}

/// What holds for every connection.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub allow_bframes: bool,
    /// From the connection to the publish command.
    pub publish_within_ns: i64,
}

/// One connection.
pub struct Session {
    rules: Rules,
    state: State,
    /// It is not to publish; why.
    unwelcome: Option<String>,
    started_ns: i64,
    handshake: Handshake,
    reader: ChunkReader,
    writer: ChunkSerializer,
    out: Vec<u8>,
    events: VecDeque<Event>,
    tags: Tags,
    app: String,
    streams: u32,
    early: usize,
    received: u64,
    acknowledged: u64,
    window: u64,
}

impl Session {
    /// `now`: monotonic nanoseconds, here and everywhere below.
    pub fn new(now: i64, rules: Rules) -> Self {
        Self {
            rules,
            unwelcome: None,
            state: State::Handshake,
            started_ns: now,
            handshake: Handshake::new(PeerType::Server),
            reader: ChunkReader::new(EARLY_MESSAGE, EARLY_HELD),
            writer: ChunkSerializer::new(),
            out: Vec::new(),
            events: VecDeque::new(),
            tags: Tags::new(rules.allow_bframes),
            app: String::new(),
            streams: 0,
            early: 0,
            received: 0,
            acknowledged: 0,
            window: u64::from(WINDOW),
        }
    }

    /// Takes in what the peer sent.
    pub fn input(&mut self, now: i64, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        let mut rest = Vec::new();
        let mut bytes = bytes;
        if self.state == State::Handshake {
            match self.shake(bytes) {
                Ok(Some(left)) => {
                    self.state = State::Commands;
                    rest = left;
                    bytes = &rest;
                }
                Ok(None) => return,
                Err(why) => return self.fail(now, &why),
            }
        }
        if matches!(self.state, State::Closing { .. }) {
            return;
        }
        self.reader.push(bytes);
        drop(rest);
        loop {
            match self.reader.next_message() {
                Ok(Some(message)) => {
                    if let Err(why) = self.message(now, message) {
                        return self.fail(now, &why);
                    }
                    if matches!(self.state, State::Closing { .. }) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => return self.fail(now, &error.to_string()),
            }
        }
        if self.received - self.acknowledged >= self.window {
            self.acknowledged = self.received;
            let total = self.received as u32;
            self.send(3, 0, total.to_be_bytes().to_vec());
        }
    }

    /// Bytes for the peer since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The server says yes to `Event::Publish`.
    pub fn accept(&mut self) {
        let State::Asked { stream, .. } = self.state else {
            return;
        };
        self.state = State::Publishing { stream };
        self.reader.set_limits(MEDIA_MESSAGE, MEDIA_HELD);
        self.user_control(0, stream);
        self.status(stream, "status", "NetStream.Publish.Start", "Publishing");
    }

    /// The client will be told `words` as soon as it says what it wants, and then be closed.
    pub fn turn_away(&mut self, words: String) {
        self.unwelcome = Some(words);
    }

    /// The server says no, before or while publishing: the client is told why, then it ends.
    pub fn refuse(&mut self, now: i64, description: &str) {
        let stream = match self.state {
            State::Asked { stream, .. } | State::Publishing { stream } => stream,
            State::Closing { .. } => return,
            State::Handshake | State::Commands => return self.fail(now, description),
        };
        self.status(stream, "error", "NetStream.Publish.BadName", description);
        self.end(now, description);
    }

    /// The server ends a publisher that did nothing wrong.
    pub fn close(&mut self, now: i64) {
        if let State::Publishing { stream } = self.state {
            self.status(
                stream,
                "status",
                "NetStream.Unpublish.Success",
                "Closed by the server",
            );
        }
        self.end(now, "ordered");
    }

    /// When `tick` must be called at the latest; `None` while nothing is waited for.
    pub fn deadline(&self) -> Option<i64> {
        match self.state {
            State::Handshake | State::Commands => {
                Some(self.started_ns + self.rules.publish_within_ns)
            }
            State::Asked { since_ns, .. } => Some(since_ns + DECISION_NS),
            State::Publishing { .. } => None,
            State::Closing { until_ns } => Some(until_ns),
        }
    }

    /// Obeys the deadline.
    pub fn tick(&mut self, now: i64) {
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        match self.state {
            State::Handshake | State::Commands => {
                let within_s = self.rules.publish_within_ns as f64 / 1e9;
                self.fail(now, &format!("no publish within {within_s} s"));
            }
            State::Asked { .. } => self.refuse(now, "The server did not decide in time"),
            State::Publishing { .. } | State::Closing { .. } => {}
        }
    }

    /// The connection is to be closed as soon as the output is written; at `Some` at the latest.
    pub fn closing(&self) -> Option<i64> {
        match self.state {
            State::Closing { until_ns } => Some(until_ns),
            _ => None,
        }
    }

    pub fn is_publishing(&self) -> bool {
        matches!(self.state, State::Publishing { .. })
    }

    /// Bytes of the peer that are kept.
    pub fn held(&self) -> usize {
        self.reader.held()
    }

    fn shake(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        match self.handshake.process_bytes(bytes) {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => {
                self.out.extend(response_bytes);
                Ok(None)
            }
            Ok(HandshakeProcessResult::Completed {
                response_bytes,
                remaining_bytes,
            }) => {
                self.out.extend(response_bytes);
                Ok(Some(remaining_bytes))
            }
            Err(error) => Err(format!("handshake: {error}")),
        }
    }

    fn message(&mut self, now: i64, message: Message) -> Result<(), String> {
        match message.kind {
            5 => {
                if let Some(size) = message.data.first_chunk::<4>() {
                    // A peer that asks for an acknowledgement of every byte gets one per 64 KiB.
                    self.window = u64::from(u32::from_be_bytes(*size)).max(64 << 10);
                }
                Ok(())
            }
            4 => {
                // Ping request: the same time back.
                if let (Some([0, 6]), Some(time)) =
                    (message.data.first_chunk::<2>(), message.data.get(2..6))
                {
                    let mut pong = vec![0, 7];
                    pong.extend_from_slice(time);
                    self.send(4, 0, pong);
                }
                Ok(())
            }
            20 => self.command(now, message.stream, &message.data),
            // AMF3 commands are AMF0 behind one zero byte.
            17 => self.command(
                now,
                message.stream,
                message.data.strip_prefix(&[0]).unwrap_or(&message.data),
            ),
            8 | 9 => self.media(now, &message),
            _ => Ok(()),
        }
    }

    fn media(&mut self, now: i64, message: &Message) -> Result<(), String> {
        if !self.is_publishing() {
            self.early += message.data.len();
            if self.early > EARLY_MEDIA {
                return Err("more than 1 MiB of media before the publish was accepted".into());
            }
            return Ok(());
        }
        let now_ms = now / 1_000_000;
        let found = if message.kind == 9 {
            self.tags.video(now_ms, message.timestamp, &message.data)
        } else {
            self.tags.audio(now_ms, message.timestamp, &message.data)
        };
        for media in found {
            if let Media::Refuse(words) = &media {
                self.refuse(now, words);
                return Ok(());
            }
            self.events.push_back(Event::Media(media));
        }
        Ok(())
    }

    fn command(&mut self, now: i64, stream: u32, data: &[u8]) -> Result<(), String> {
        let values = amf::decode(data).map_err(|e| format!("command: {e:?}"))?;
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or_default();
        match name {
            "connect" => self.connect(now, transaction, values.get(2)),
            "createStream" => {
                if self.app.is_empty() {
                    return Err("createStream before connect".into());
                }
                if self.streams >= MAX_STREAMS {
                    return Err("too many streams".into());
                }
                self.streams += 1;
                let id = f64::from(self.streams);
                self.reply("_result", transaction, vec![Value::Null, Value::Number(id)]);
                Ok(())
            }
            "publish" => self.publish(now, stream, values.get(3)),
            "play" | "play2" => {
                self.status(
                    stream,
                    "error",
                    "NetStream.Play.Failed",
                    "Playing over RTMP is not offered here",
                );
                self.end(now, "play is not offered");
                Ok(())
            }
            "deleteStream" | "closeStream" | "FCUnpublish" => {
                if matches!(self.state, State::Asked { .. } | State::Publishing { .. }) {
                    self.end(now, "closed");
                }
                Ok(())
            }
            // releaseStream, FCPublish, _checkbw, getStreamLength: clients do not wait for an answer.
            _ => Ok(()),
        }
    }

    fn connect(
        &mut self,
        now: i64,
        transaction: f64,
        object: Option<&Value>,
    ) -> Result<(), String> {
        let app = object
            .and_then(|o| o.get("app"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        if let Some(words) = self.unwelcome.take() {
            self.reject(now, transaction, &words);
            return Ok(());
        }
        if app.is_empty() || app.len() > MAX_NAME || !self.app.is_empty() {
            let words = "The application's name is missing: rtmp://<host>/push/<RoomId>?...";
            self.reject(now, transaction, words);
            return Ok(());
        }
        self.app = app.to_owned();
        self.send(5, 0, WINDOW.to_be_bytes().to_vec());
        let mut bandwidth = WINDOW.to_be_bytes().to_vec();
        bandwidth.push(2);
        self.send(6, 0, bandwidth);
        self.user_control(0, 0);
        match self
            .writer
            .set_max_chunk_size(OUT_CHUNK, RtmpTimestamp::new(0))
        {
            Ok(packet) => self.out.extend(packet.bytes),
            Err(error) => return Err(format!("{error}")),
        }
        let server = Value::Object(vec![
            ("fmsVer".into(), Value::String("FMS/3,0,1,123".into())),
            ("capabilities".into(), Value::Number(31.0)),
        ]);
        let mut success = info(
            "status",
            "NetConnection.Connect.Success",
            "Connection succeeded.",
        );
        if let Value::Object(members) = &mut success {
            members.push(("objectEncoding".into(), Value::Number(0.0)));
        }
        self.reply("_result", transaction, vec![server, success]);
        Ok(())
    }

    fn reject(&mut self, now: i64, transaction: f64, words: &str) {
        let why = info("error", "NetConnection.Connect.Rejected", words);
        self.reply("_error", transaction, vec![Value::Null, why]);
        self.end(now, "connect refused");
    }

    fn publish(&mut self, now: i64, stream: u32, key: Option<&Value>) -> Result<(), String> {
        let key = key.and_then(Value::as_str).unwrap_or_default();
        if self.state != State::Commands {
            return Err("a second publish".into());
        }
        if self.app.is_empty() || stream == 0 || stream > self.streams {
            return Err("publish before connect and createStream".into());
        }
        if key.len() > MAX_NAME {
            self.status(
                stream,
                "error",
                "NetStream.Publish.BadName",
                "The stream key is too long",
            );
            self.end(now, "stream key too long");
            return Ok(());
        }
        self.state = State::Asked {
            since_ns: now,
            stream,
        };
        self.events.push_back(Event::Publish {
            app: self.app.clone(),
            key: key.to_owned(),
        });
        Ok(())
    }

    fn fail(&mut self, now: i64, why: &str) {
        self.end_by(now + BROKEN_NS, &format!("protocol: {why}"));
    }

    fn end(&mut self, now: i64, reason: &str) {
        self.end_by(now + FAREWELL_NS, reason);
    }

    fn end_by(&mut self, until_ns: i64, reason: &str) {
        if matches!(self.state, State::Closing { .. }) {
            return;
        }
        self.state = State::Closing { until_ns };
        self.reader = ChunkReader::new(0, 0);
        self.events.push_back(Event::Closed {
            reason: reason.to_owned(),
        });
    }

    fn user_control(&mut self, event: u16, stream: u32) {
        let mut body = event.to_be_bytes().to_vec();
        body.extend_from_slice(&stream.to_be_bytes());
        self.send(4, 0, body);
    }

    fn status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        let values = [
            Value::String("onStatus".into()),
            Value::Number(0.0),
            Value::Null,
            info(level, code, description),
        ];
        self.send(20, stream, amf::encode(&values));
    }

    fn reply(&mut self, name: &str, transaction: f64, rest: Vec<Value>) {
        let mut values = vec![Value::String(name.into()), Value::Number(transaction)];
        values.extend(rest);
        self.send(20, 0, amf::encode(&values));
    }

    fn send(&mut self, kind: u8, stream: u32, data: Vec<u8>) {
        let message = MessagePayload {
            timestamp: RtmpTimestamp::new(0),
            type_id: kind,
            message_stream_id: stream,
            data: data.into(),
        };
        // Whole headers always: no state that could go wrong, and replies are few. Writing to
        // memory fails only for messages above 16 MB, and ours are small.
        if let Ok(packet) = self.writer.serialize(&message, true, false) {
            self.out.extend(packet.bytes);
        }
    }
}

fn info(level: &str, code: &str, description: &str) -> Value {
    let text = |t: &str| Value::String(t.to_owned());
    Value::Object(vec![
        ("level".into(), text(level)),
        ("code".into(), text(code)),
        ("description".into(), text(description)),
    ])
}
