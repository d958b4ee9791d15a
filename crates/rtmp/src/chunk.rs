//! The chunk stream, reading side (RTMP 1.0, 5.3). Messages of several chunk streams may be
//! interleaved; everything a stranger can make us keep is bounded.

use std::collections::BTreeMap;

/// Chunk sizes a peer may choose.
pub const CHUNK_SIZES: std::ops::RangeInclusive<usize> = 128..=65_536;
/// Chunk streams at the same time; clients use about five.
const MAX_STREAMS: usize = 32;
/// The value that says "see the extended timestamp".
const EXTENDED: u32 = 0xff_ffff;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    pub kind: u8,
    pub stream: u32,
    pub data: Vec<u8>,
}

/// Why a connection cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A chunk refers to a header that never came.
    NoHeader(u32),
    TooManyStreams,
    ChunkSize(u32),
    MessageSize(usize),
    /// Unfinished messages hold more than allowed.
    Held(usize),
    /// A header in the middle of a message says something else.
    Broken,
}

impl std::fmt::Display for ChunkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChunkError::NoHeader(id) => write!(f, "chunk stream {id} starts without a header"),
            ChunkError::TooManyStreams => write!(f, "more than {MAX_STREAMS} chunk streams"),
            ChunkError::ChunkSize(n) => write!(f, "chunk size {n}, allowed are 128 to 65536"),
            ChunkError::MessageSize(n) => write!(f, "a message of {n} bytes"),
            ChunkError::Held(n) => write!(f, "{n} bytes of unfinished messages"),
            ChunkError::Broken => write!(f, "a new message within an unfinished one"),
        }
    }
}

#[derive(Debug, Default)]
struct Stream {
    timestamp: u32,
    delta: u32,
    length: usize,
    kind: u8,
    message_stream: u32,
    /// The extended timestamp of the last header that had one.
    extended: Option<u32>,
    partial: Vec<u8>,
    within: bool,
}

/// What a parsed basic and message header says; nothing is changed before all of it is there.
struct Header {
    id: u32,
    format: u8,
    length: usize,
    used: usize,
    time: u32,
    extended: Option<u32>,
    kind: u8,
    message_stream: u32,
}

/// Turns bytes into messages.
#[derive(Debug)]
pub struct ChunkReader {
    streams: BTreeMap<u32, Stream>,
    chunk_size: usize,
    buffer: Vec<u8>,
    used: usize,
    held: usize,
    max_message: usize,
    max_held: usize,
}

impl ChunkReader {
    /// `max_message` bounds one message, `max_held` all unfinished ones together.
    pub fn new(max_message: usize, max_held: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            chunk_size: *CHUNK_SIZES.start(),
            buffer: Vec::new(),
            used: 0,
            held: 0,
            max_message,
            max_held,
        }
    }

    /// New bounds, for messages that begin from now on.
    pub fn set_limits(&mut self, max_message: usize, max_held: usize) {
        self.max_message = max_message;
        self.max_held = max_held;
    }

    /// Bytes kept: unread ones and unfinished messages.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.used + self.held
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. `SetChunkSize` and `Abort` are obeyed on the way, not returned.
    ///
    /// # Errors
    /// See [`ChunkError`]; the connection must be closed.
    pub fn next_message(&mut self) -> Result<Option<Message>, ChunkError> {
        while let Some(message) = self.next_chunk()? {
            let Some(message) = message else { continue };
            match (message.kind, message.data.first_chunk::<4>()) {
                (1, Some(size)) => {
                    let size = u32::from_be_bytes(*size);
                    if !CHUNK_SIZES.contains(&(size as usize)) {
                        return Err(ChunkError::ChunkSize(size));
                    }
                    self.chunk_size = size as usize;
                }
                (2, Some(id)) => {
                    if let Some(stream) = self.streams.get_mut(&u32::from_be_bytes(*id)) {
                        self.held -= stream.partial.len();
                        stream.partial = Vec::new();
                        stream.within = false;
                    }
                }
                (1 | 2, None) => return Err(ChunkError::Broken),
                _ => return Ok(Some(message)),
            }
        }
        Ok(None)
    }

    /// Takes one whole chunk: `None` when there is none, `Some(None)` when its message goes on.
    fn next_chunk(&mut self) -> Result<Option<Option<Message>>, ChunkError> {
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        let within = self.streams.get(&header.id).is_some_and(|s| s.within);
        let have = self.streams.get(&header.id).map_or(0, |s| s.partial.len());
        if within && header.format != 3 && header.length != self.streams[&header.id].length {
            return Err(ChunkError::Broken);
        }
        let have = if within { have } else { 0 };
        if header.length > self.max_message {
            return Err(ChunkError::MessageSize(header.length));
        }
        let take = (header.length - have).min(self.chunk_size);
        let start = self.used + header.used;
        if self.buffer.len() < start + take {
            return Ok(None);
        }
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&header.id) {
            return Err(ChunkError::TooManyStreams);
        }
        let stream = self.streams.entry(header.id).or_default();
        if !within {
            match header.format {
                0 => {
                    stream.timestamp = header.time;
                    stream.delta = 0;
                }
                3 => stream.timestamp = stream.timestamp.wrapping_add(stream.delta),
                _ => {
                    stream.delta = header.time;
                    stream.timestamp = stream.timestamp.wrapping_add(header.time);
                }
            }
            stream.length = header.length;
            stream.kind = header.kind;
            stream.message_stream = header.message_stream;
            stream.within = true;
        }
        stream.extended = header.extended;
        stream
            .partial
            .extend_from_slice(&self.buffer[start..start + take]);
        self.held += take;
        self.used = start + take;
        if stream.partial.len() < stream.length {
            if self.held > self.max_held {
                return Err(ChunkError::Held(self.held));
            }
            return Ok(Some(None));
        }
        self.held -= stream.partial.len();
        stream.within = false;
        Ok(Some(Some(Message {
            timestamp: stream.timestamp,
            kind: stream.kind,
            stream: stream.message_stream,
            data: std::mem::take(&mut stream.partial),
        })))
    }

    /// Reads the header at the front without consuming it.
    fn header(&self) -> Result<Option<Header>, ChunkError> {
        let rest = &self.buffer[self.used..];
        let Some(first) = rest.first() else {
            return Ok(None);
        };
        let format = first >> 6;
        let (id, mut used) = match (first & 0x3f, rest.get(1), rest.get(2)) {
            (0, Some(a), _) => (u32::from(*a) + 64, 2),
            (1, Some(a), Some(b)) => (u32::from(*a) + u32::from(*b) * 256 + 64, 3),
            (0 | 1, ..) => return Ok(None),
            (id, ..) => (u32::from(id), 1),
        };
        let known = self.streams.get(&id);
        if format != 0 && known.is_none() {
            return Err(ChunkError::NoHeader(id));
        }
        let size = [11, 7, 3, 0][usize::from(format)];
        let Some(fields) = rest.get(used..used + size) else {
            return Ok(None);
        };
        used += size;
        let u24 = |at: usize| u32::from_be_bytes([0, fields[at], fields[at + 1], fields[at + 2]]);
        let mut header = Header {
            id,
            format,
            length: known.map_or(0, |s| s.length),
            used,
            time: 0,
            extended: known.and_then(|s| s.extended),
            kind: known.map_or(0, |s| s.kind),
            message_stream: known.map_or(0, |s| s.message_stream),
        };
        if format <= 2 {
            header.time = u24(0);
            header.extended = None;
        }
        if format <= 1 {
            header.length = u24(3) as usize;
            header.kind = fields[6];
        }
        if format == 0 {
            header.message_stream =
                u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]);
        }
        if header.time == EXTENDED && format <= 2 {
            let Some(extended) = rest[used..].first_chunk::<4>() else {
                return Ok(None);
            };
            header.time = u32::from_be_bytes(*extended);
            header.extended = Some(header.time);
            header.used += 4;
        } else if let (3, Some(expected)) = (format, header.extended) {
            // Most senders repeat the extended timestamp in every chunk, some never do.
            match rest[used..].first_chunk::<4>() {
                Some(four) if u32::from_be_bytes(*four) == expected => header.used += 4,
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(Some(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> ChunkReader {
        ChunkReader::new(1 << 20, 2 << 20)
    }

    fn full(id: u8, time: u32, kind: u8, length: usize) -> Vec<u8> {
        let mut h = vec![id];
        h.extend_from_slice(&time.min(EXTENDED).to_be_bytes()[1..]);
        h.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        h.push(kind);
        h.extend_from_slice(&1u32.to_le_bytes());
        if time >= EXTENDED {
            h.extend_from_slice(&time.to_be_bytes());
        }
        h
    }

    fn all(reader: &mut ChunkReader) -> Vec<Message> {
        std::iter::from_fn(|| reader.next_message().unwrap()).collect()
    }

    #[test]
    fn interleaved_messages_come_out_whole() {
        let (video, audio) = (vec![1u8; 200], vec![2u8; 50]);
        let mut bytes = full(6, 40, 9, 200);
        bytes.extend_from_slice(&video[..128]);
        bytes.extend(full(4, 41, 8, 50));
        bytes.extend_from_slice(&audio);
        bytes.push(0xc6);
        bytes.extend_from_slice(&video[128..]);
        for size in 1..bytes.len() {
            let mut r = reader();
            let mut got = Vec::new();
            for part in bytes.chunks(size) {
                r.push(part);
                got.extend(all(&mut r));
            }
            let shape: Vec<_> = got
                .iter()
                .map(|m| (m.kind, m.timestamp, m.data.clone()))
                .collect();
            assert_eq!(shape, vec![(8, 41, audio.clone()), (9, 40, video.clone())]);
            assert_eq!(r.held(), 0);
        }
    }

    #[test]
    fn deltas_add_up_and_wrap() {
        let mut bytes = full(4, 0xffff_fff0, 8, 1);
        bytes.push(1);
        bytes.extend_from_slice(&[0x44, 0, 0, 0x17, 0, 0, 1, 8, 2]); // type 1, 23 ms
        bytes.extend_from_slice(&[0x84, 0, 0, 0x18, 3]); // type 2, 24 ms
        bytes.extend_from_slice(&[0xc4, 4]); // type 3, again 24 ms
        let mut r = reader();
        r.push(&bytes);
        let times: Vec<_> = all(&mut r).iter().map(|m| m.timestamp).collect();
        assert_eq!(times, vec![0xffff_fff0, 7, 31, 55]);
    }

    #[test]
    fn extended_timestamps_repeated_or_not() {
        for repeated in [true, false] {
            let mut bytes = full(4, 0x0100_0000, 9, 200);
            bytes.extend_from_slice(&[7; 128]);
            bytes.push(0xc4);
            if repeated {
                bytes.extend_from_slice(&0x0100_0000u32.to_be_bytes());
            }
            bytes.extend_from_slice(&[7; 72]);
            let mut r = reader();
            r.push(&bytes);
            let got = all(&mut r);
            assert_eq!(
                (got[0].timestamp, &got[0].data),
                (0x0100_0000, &vec![7; 200])
            );
        }
    }

    #[test]
    fn a_new_chunk_size_holds_at_once() {
        let mut bytes = full(2, 0, 1, 4);
        bytes.extend_from_slice(&4096u32.to_be_bytes());
        bytes.extend(full(4, 0, 9, 1000));
        bytes.extend_from_slice(&[9; 1000]);
        let mut r = reader();
        r.push(&bytes);
        assert_eq!(all(&mut r)[0].data.len(), 1000);
        for bad in [0u32, 1, 127, 65_537, 1 << 31] {
            let mut bytes = full(2, 0, 1, 4);
            bytes.extend_from_slice(&bad.to_be_bytes());
            let mut r = reader();
            r.push(&bytes);
            assert_eq!(r.next_message(), Err(ChunkError::ChunkSize(bad)));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut r = ChunkReader::new(1000, 1500);
        r.push(&full(4, 0, 9, 1001));
        assert_eq!(r.next_message(), Err(ChunkError::MessageSize(1001)));
        let mut r = ChunkReader::new(1000, 1500);
        let mut result = Ok(None);
        for id in 3..30 {
            r.push(&full(id, 0, 9, 1000));
            r.push(&[0; 128]);
            result = r.next_message();
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(ChunkError::Held(1536)));
        let mut r = reader();
        for id in 3..60 {
            r.push(&full(id, 0, 9, 1));
            r.push(&[0]);
            result = r.next_message();
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(ChunkError::TooManyStreams));
        let mut r = reader();
        r.push(&[0xc5]);
        assert_eq!(r.next_message(), Err(ChunkError::NoHeader(5)));
    }

    #[test]
    fn an_aborted_message_is_dropped() {
        let mut bytes = full(4, 0, 9, 300);
        bytes.extend_from_slice(&[1; 128]);
        bytes.extend(full(2, 0, 2, 4));
        bytes.extend_from_slice(&4u32.to_be_bytes());
        bytes.extend(full(4, 5, 9, 3));
        bytes.extend_from_slice(&[2; 3]);
        let mut r = reader();
        r.push(&bytes);
        let got = all(&mut r);
        assert_eq!((got.len(), &got[0].data), (1, &vec![2; 3]));
        assert_eq!(r.held(), 0);
    }

    #[test]
    fn an_empty_message_is_a_message() {
        let mut r = reader();
        r.push(&full(4, 0, 9, 0));
        assert_eq!(r.next_message().unwrap().unwrap().data, Vec::<u8>::new());
    }
}
