//! MPEG transport streams of one piece: muxed into memory, and read packet by packet to prove a file.
//!
//! Picture is on [`VIDEO_PID`], sound on [`AUDIO_PID`], whichever of them is there; the first of them
//! carries the clock. Times are 1/90000 s, not wrapped.
//!
//! Source: ISO/IEC 13818-1, 2.4.3 (packets, adaptation field, PES) and 2.4.4 (PAT, PMT).

use std::collections::BTreeMap;
use std::fmt;

pub const PACKET_BYTES: usize = 188;
pub const VIDEO_PID: u16 = 0x100;
pub const AUDIO_PID: u16 = 0x101;
const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const H264: u8 = 0x1b;
const ADTS_AAC: u8 = 0x0f;
const TABLES_EVERY: i64 = 2 * 90_000;
/// Frames of sound share a PES packet up to so many bytes and so much time: one each would be a third
/// more packets.
const SOUND_BYTES: usize = 2930;
const SOUND_TICKS: i64 = 31_500;
/// A step between two frames of sound that differs by more (1 ms) begins a new PES packet, so that it is
/// told: within one only the first frame has a time.
const SOUND_SEAM: i64 = 90;
const PAYLOAD_BYTES: usize = PACKET_BYTES - 4;
const PES_HEAD_BYTES: usize = 14;

/// The continuity counter of the last packet with payload, per PID.
pub type Counters = BTreeMap<u16, u8>;

/// An access unit, which is `head` and `data`. Picture: Annex B beginning with an access unit delimiter.
/// Sound: one ADTS frame.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    pub pid: u16,
    pub pts: i64,
    pub dts: i64,
    pub key: bool,
    pub head: Head,
    pub data: &'a [u8],
}

impl Unit<'_> {
    fn bytes(&self) -> usize {
        usize::from(self.head.size) + self.data.len()
    }
}

/// What goes before the bytes of an access unit: nothing, a delimiter, or the header of a frame of sound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    bytes: [u8; 7],
    size: u8,
}

impl Head {
    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }
}

/// What one PID of a transport stream carries; `first_pts` is wrapped to 33 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub pes: u64,
    pub es_bytes: u64,
    pub first_pts: i64,
}

/// In which way bytes are no transport stream of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    NotWholePackets(usize),
    NoSync(usize),
    ErrorFlag(usize),
    Continuity { pid: u16, packet: usize },
    NoPes { pid: u16 },
    NoPts { pid: u16 },
    UnknownPid(u16),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::NotWholePackets(bytes) => write!(f, "{bytes} bytes are not whole packets"),
            Broken::NoSync(packet) => write!(f, "no sync byte in packet {packet}"),
            Broken::ErrorFlag(packet) => write!(f, "packet {packet} has its error flag set"),
            Broken::Continuity { pid, packet } => {
                write!(f, "continuity of PID {pid:#x} breaks at packet {packet}")
            }
            Broken::NoPes { pid } => write!(f, "PID {pid:#x} does not begin with a PES packet"),
            Broken::NoPts { pid } => write!(f, "PID {pid:#x} begins without a pts"),
            Broken::UnknownPid(pid) => write!(f, "PID {pid:#x} is neither picture nor sound"),
        }
    }
}

impl std::error::Error for Broken {}

/// Mux units, ordered by dts. Equal units and counters give equal bytes.
///
/// The continuity counters run on from `counters`, which holds those at the end afterwards: a player that
/// reads pieces one after the other otherwise takes the last picture of each for damaged. A PID that is not
/// in it starts at 0, and the first packet of picture and of sound then says so by its discontinuity
/// indicator.
pub fn mux<'u>(units: &'u [Unit<'u>], counters: &mut Counters) -> Result<Vec<u8>, Broken> {
    if let Some(odd) = units
        .iter()
        .find(|u| u.pid != VIDEO_PID && u.pid != AUDIO_PID)
    {
        return Err(Broken::UnknownPid(odd.pid));
    }
    let picture = units.iter().any(|unit| unit.pid == VIDEO_PID);
    let sound = units.iter().any(|unit| unit.pid == AUDIO_PID);
    let bytes: usize = units.iter().map(Unit::bytes).sum();
    let mut muxer = Muxer {
        out: Vec::with_capacity(bytes + bytes / 24 + units.len() * 120 + 4 * PACKET_BYTES),
        fresh: [VIDEO_PID, AUDIO_PID]
            .into_iter()
            .filter(|pid| !counters.contains_key(pid))
            .collect(),
        counters,
        clock_pid: if picture { VIDEO_PID } else { AUDIO_PID },
        tables: tables(picture, sound),
        tables_at: None,
    };
    let mut group = Sounds::default();
    for unit in units {
        if group.ends_before(unit) {
            muxer.sound(&mut group);
        }
        if unit.pid == AUDIO_PID {
            group.add(unit);
        } else {
            muxer.picture(unit);
        }
    }
    muxer.sound(&mut group);
    Ok(muxer.out)
}

/// Frames of sound that go into one PES packet.
#[derive(Default)]
struct Sounds<'a> {
    parts: Vec<&'a [u8]>,
    bytes: usize,
    pts: i64,
    dts: i64,
    last_pts: i64,
    step: Option<i64>,
}

impl<'a> Sounds<'a> {
    fn ends_before(&self, unit: &Unit<'_>) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        let sound = unit.pid == AUDIO_PID;
        let seam = |step: i64| (unit.pts - self.last_pts - step).abs() > SOUND_SEAM;
        unit.dts - self.dts >= SOUND_TICKS
            || sound && self.bytes + unit.bytes() > SOUND_BYTES
            || sound && self.step.is_some_and(seam)
    }

    fn add(&mut self, unit: &'a Unit<'a>) {
        if self.parts.is_empty() {
            (self.pts, self.dts, self.step) = (unit.pts, unit.dts, None);
        } else {
            self.step.get_or_insert(unit.pts - self.last_pts);
        }
        self.last_pts = unit.pts;
        self.bytes += unit.bytes();
        self.parts.push(unit.head.get());
        self.parts.push(unit.data);
    }
}

struct Muxer<'c> {
    out: Vec<u8>,
    counters: &'c mut Counters,
    fresh: Vec<u16>,
    clock_pid: u16,
    tables: [(u16, Vec<u8>); 2],
    tables_at: Option<i64>,
}

impl Muxer<'_> {
    fn picture(&mut self, unit: &Unit<'_>) {
        let mut head = Vec::with_capacity(19);
        pes_head(&mut head, 0xe0, unit.pts, Some(unit.dts), 0);
        self.pes(
            VIDEO_PID,
            unit.dts,
            unit.key,
            &[&head, unit.head.get(), unit.data],
        );
    }

    fn sound(&mut self, group: &mut Sounds<'_>) {
        if group.parts.is_empty() {
            return;
        }
        let mut head = Vec::with_capacity(PES_HEAD_BYTES);
        pes_head(&mut head, 0xc0, group.pts, None, group.bytes);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(group.parts.len() + 1);
        parts.push(&head);
        parts.extend_from_slice(&group.parts);
        group.parts.clear();
        group.bytes = 0;
        self.pes(AUDIO_PID, group.dts, true, &parts);
    }

    /// Packets of one PES packet, which is `parts` one after the other.
    fn pes(&mut self, pid: u16, dts: i64, random_access: bool, parts: &[&[u8]]) {
        self.tell_tables(dts);
        let discontinuity = self.fresh.contains(&pid);
        self.fresh.retain(|fresh| *fresh != pid);
        let mut field = [0u8; 8];
        let mut field_bytes = 0;
        if pid == self.clock_pid {
            field[1] = 0x10;
            field[2..8].copy_from_slice(&clock(dts));
            field_bytes = 8;
        }
        if random_access || discontinuity {
            field[1] |= u8::from(discontinuity) << 7 | u8::from(random_access) << 6;
            field_bytes = field_bytes.max(2);
        }
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        let mut rest = parts.iter().copied();
        let mut part: &[u8] = &[];
        let mut start = 0x40;
        while left > 0 {
            let size = left.min(PAYLOAD_BYTES - field_bytes);
            let adaptation = PAYLOAD_BYTES - size;
            self.head(pid, start, adaptation > 0);
            if adaptation > 0 {
                field[0] = (adaptation - 1) as u8;
                self.out
                    .extend_from_slice(&field[..field_bytes.max(2).min(adaptation)]);
                let stuffed = self.out.len() + adaptation - field_bytes.max(2).min(adaptation);
                self.out.resize(stuffed, 0xff);
            }
            let mut missing = size;
            while missing > 0 {
                while part.is_empty() {
                    part = rest.next().unwrap_or(&[0]);
                }
                let taken = missing.min(part.len());
                self.out.extend_from_slice(&part[..taken]);
                part = &part[taken..];
                missing -= taken;
            }
            left -= size;
            (field, field_bytes, start) = ([0; 8], 0, 0);
        }
    }

    fn tell_tables(&mut self, dts: i64) {
        if self.tables_at.is_some_and(|at| dts - at < TABLES_EVERY) {
            return;
        }
        self.tables_at = Some(dts);
        for at in 0..self.tables.len() {
            self.head(self.tables[at].0, 0x40, false);
            self.out.extend_from_slice(&self.tables[at].1);
        }
    }

    fn head(&mut self, pid: u16, start: u8, adaptation: bool) {
        let counter = self
            .counters
            .entry(pid)
            .and_modify(|last| *last = (*last + 1) & 15)
            .or_insert(0);
        let control = if adaptation { 0x30 } else { 0x10 };
        self.out.extend_from_slice(&[
            0x47,
            start | (pid >> 8) as u8,
            pid as u8,
            control | *counter,
        ]);
    }
}

/// The header of a PES packet; `payload` 0: of unbounded length, as pictures are.
fn pes_head(head: &mut Vec<u8>, stream_id: u8, pts: i64, dts: Option<i64>, payload: usize) {
    let dts = dts.filter(|dts| *dts != pts);
    let times = if dts.is_some() { 10 } else { 5 };
    let length = if payload == 0 { 0 } else { payload + 3 + times };
    let (flags, mark) = if dts.is_some() {
        (0xc0, 0x30)
    } else {
        (0x80, 0x20)
    };
    head.extend_from_slice(&[
        0,
        0,
        1,
        stream_id,
        (length >> 8) as u8,
        length as u8,
        0x80,
        flags,
        times as u8,
    ]);
    head.extend_from_slice(&time(mark, pts));
    if let Some(dts) = dts {
        head.extend_from_slice(&time(0x10, dts));
    }
}

fn time(mark: u8, ticks: i64) -> [u8; 5] {
    let t = ticks & 0x1_ffff_ffff;
    [
        mark | (t >> 29) as u8 & 0x0e | 1,
        (t >> 22) as u8,
        (t >> 14) as u8 | 1,
        (t >> 7) as u8,
        (t << 1) as u8 | 1,
    ]
}

fn clock(ticks: i64) -> [u8; 6] {
    let t = ticks & 0x1_ffff_ffff;
    [
        (t >> 25) as u8,
        (t >> 17) as u8,
        (t >> 9) as u8,
        (t >> 1) as u8,
        (t << 7) as u8 | 0x7e,
        0,
    ]
}

/// PAT and PMT as payloads of one packet each.
fn tables(picture: bool, sound: bool) -> [(u16, Vec<u8>); 2] {
    let clock_pid = if picture { VIDEO_PID } else { AUDIO_PID };
    let mut program = vec![0xe0 | (clock_pid >> 8) as u8, clock_pid as u8, 0xf0, 0];
    for (there, kind, pid) in [(picture, H264, VIDEO_PID), (sound, ADTS_AAC, AUDIO_PID)] {
        if there {
            program.extend_from_slice(&[kind, 0xe0 | (pid >> 8) as u8, pid as u8, 0xf0, 0]);
        }
    }
    let programs = [0, 1, 0xe0 | (PMT_PID >> 8) as u8, PMT_PID as u8];
    [
        (PAT_PID, section(0, &programs)),
        (PMT_PID, section(2, &program)),
    ]
}

fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() + 9;
    let mut out = vec![
        0,
        table_id,
        0xb0 | (length >> 8) as u8,
        length as u8,
        0,
        1,
        0xc1,
        0,
        0,
    ];
    out.extend_from_slice(body);
    let crc = crc32(&out[1..]);
    out.extend_from_slice(&crc.to_be_bytes());
    out.resize(PAYLOAD_BYTES, 0xff);
    out
}

/// CRC-32/MPEG-2.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

/// A stream of a journal, as far as a piece must know it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub time_base_den: i64,
    /// Sound: the ADTS header of a frame without bytes, as a number of 56 bits. None: a picture.
    pub adts: Option<u64>,
}

/// One batch of a journal: the rows of its table and the payloads they speak of, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub table: &'a [u8],
    pub payloads: &'a [u8],
}

/// What became of the packets of a piece. Times are task times in ns.
#[derive(Clone, Debug, Default)]
pub struct Piece<'a> {
    pub data: Vec<u8>,
    /// Packets in the window, those left out included.
    pub packets: usize,
    /// What picture and sound carry, counted as it went in.
    pub meant: BTreeMap<u16, Content>,
    /// Where the last packet ends.
    pub end_ns: i128,
    /// The first key picture, and the stream of the first sound.
    pub key: Option<&'a [u8]>,
    pub sound: Option<u32>,
}

const ROW_BYTES: usize = 33;
const KEY: u8 = 1;
const NS: i128 = 1_000_000_000;
const CLOCK: i128 = 90_000;
/// The transport stream's time at task time 0: room for the negative dts of B-frames.
const ORIGIN: i128 = 900_000;
const MOST_SOUND: usize = (1 << 13) - 1 - 7;
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];

struct Row<'a> {
    dts_ns: i128,
    stream: u32,
    flags: u8,
    pts: i64,
    dts: i64,
    data: &'a [u8],
}

/// The piece of the packets of `streams` with `from_ns <= dts < to_ns`, ordered by (dts, stream).
///
/// Times that do not rise within a PID (two streams of one kind that overlap) are moved up by one tick. What
/// is no picture, and sound that is empty or of a size ADTS cannot say, is left out. None: a table and its
/// payloads do not belong together.
pub fn piece<'a>(
    batches: &[Batch<'a>],
    streams: &BTreeMap<u32, Stream>,
    from_ns: i128,
    to_ns: i128,
    counters: &mut Counters,
) -> Option<Piece<'a>> {
    let mut piece = Piece {
        end_ns: i128::MIN,
        ..Piece::default()
    };
    let mut rows: Vec<Row<'a>> = Vec::new();
    for batch in batches {
        let mut payloads = batch.payloads;
        for row in batch.table.chunks(ROW_BYTES) {
            let u32_at =
                |at: usize| Some(u32::from_le_bytes(row.get(at..at + 4)?.try_into().ok()?));
            let i64_at =
                |at: usize| Some(i64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?));
            let (stream, flags, size) = (u32_at(0)?, *row.get(4)?, u32_at(5)? as usize);
            let (pts, dts, duration) = (i64_at(9)?, i64_at(17)?, i64_at(25)?);
            let data = payloads.get(..size)?;
            payloads = &payloads[size..];
            let Some(known) = streams.get(&stream) else {
                continue;
            };
            let ns = |ticks: i128| (ticks * NS).div_euclid(i128::from(known.time_base_den.max(1)));
            let dts_ns = ns(i128::from(dts));
            if from_ns <= dts_ns && dts_ns < to_ns {
                let end = ns(i128::from(pts.max(dts)) + i128::from(duration));
                piece.end_ns = piece.end_ns.max(end);
                rows.push(Row {
                    dts_ns,
                    stream,
                    flags,
                    pts,
                    dts,
                    data,
                });
            }
        }
    }
    rows.sort_by_key(|row| (row.dts_ns, row.stream, row.dts));
    piece.packets = rows.len();
    let mut units: Vec<Unit<'a>> = Vec::with_capacity(rows.len());
    let mut last: BTreeMap<u16, i64> = BTreeMap::new();
    for row in &rows {
        let Some(stream) = streams.get(&row.stream) else {
            continue;
        };
        let key = row.flags & KEY != 0;
        let (pid, head) = if let Some(adts) = stream.adts {
            piece.sound.get_or_insert(row.stream);
            if row.data.is_empty() || row.data.len() > MOST_SOUND {
                continue;
            }
            (AUDIO_PID, adts_head(adts, row.data.len()))
        } else {
            if key && piece.key.is_none() {
                piece.key = Some(row.data);
            }
            if !has_picture(row.data) {
                continue;
            }
            (VIDEO_PID, delimiter(row.data))
        };
        let den = i128::from(stream.time_base_den.max(1));
        let clock = |ticks: i64| ((i128::from(ticks) * CLOCK).div_euclid(den) + ORIGIN) as i64;
        let dts = last
            .get(&pid)
            .map_or(clock(row.dts), |last| clock(row.dts).max(last + 1));
        last.insert(pid, dts);
        let unit = Unit {
            pid,
            pts: clock(row.pts).max(dts),
            dts,
            key: key || pid == AUDIO_PID,
            head,
            data: row.data,
        };
        let first_pts = unit.pts & 0x1_ffff_ffff;
        let meant = piece.meant.entry(pid).or_insert(Content {
            first_pts,
            ..Content::default()
        });
        meant.pes += 1;
        meant.es_bytes += unit.bytes() as u64;
        units.push(unit);
    }
    piece.data = mux(&units, counters).ok()?;
    Some(piece)
}

fn adts_head(fixed: u64, payload: usize) -> Head {
    let header = fixed | (payload as u64 + 7) << 13;
    let mut bytes = [0; 7];
    bytes.copy_from_slice(&header.to_be_bytes()[1..]);
    Head { bytes, size: 7 }
}

/// The delimiter an access unit lacks.
fn delimiter(data: &[u8]) -> Head {
    let at = if data.starts_with(&[0, 0, 0, 1]) {
        4
    } else {
        3
    };
    let begun = data.starts_with(&[0, 0, 0, 1]) || data.starts_with(&[0, 0, 1]);
    if begun && data.len() > at + 1 && data[at] & 0x9f == 9 {
        return Head::default();
    }
    let mut bytes = [0; 7];
    bytes[..6].copy_from_slice(&DELIMITER);
    Head { bytes, size: 6 }
}

/// Whether an access unit holds a slice at all.
fn has_picture(data: &[u8]) -> bool {
    data.windows(5)
        .any(|w| w[..3] == [0, 0, 1] && matches!(w[3] & 31, 1 | 2 | 5))
}

/// Read every packet: sync, no error flag, continuity from `counters` on; count what picture and sound carry.
pub fn inspect(data: &[u8], counters: &Counters) -> Result<BTreeMap<u16, Content>, Broken> {
    if data.is_empty() || !data.len().is_multiple_of(PACKET_BYTES) {
        return Err(Broken::NotWholePackets(data.len()));
    }
    let mut last = counters.clone();
    let mut content: BTreeMap<u16, Content> = BTreeMap::new();
    for (number, packet) in data.chunks_exact(PACKET_BYTES).enumerate() {
        if packet[0] != 0x47 {
            return Err(Broken::NoSync(number));
        }
        if packet[1] & 0x80 != 0 {
            return Err(Broken::ErrorFlag(number));
        }
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        if packet[3] & 0x10 == 0 {
            continue;
        }
        let counter = packet[3] & 15;
        let expected = last.get(&pid).map_or(0, |last| (last + 1) & 15);
        if counter != expected {
            return Err(Broken::Continuity {
                pid,
                packet: number,
            });
        }
        last.insert(pid, counter);
        if pid == VIDEO_PID || pid == AUDIO_PID {
            let adaptation = if packet[3] & 0x20 != 0 {
                usize::from(packet[4]) + 1
            } else {
                0
            };
            let payload = packet.get(4 + adaptation..).ok_or(Broken::NoPes { pid })?;
            count(pid, packet[1] & 0x40 != 0, payload, &mut content)?;
        }
    }
    Ok(content)
}

fn count(
    pid: u16,
    start: bool,
    payload: &[u8],
    content: &mut BTreeMap<u16, Content>,
) -> Result<(), Broken> {
    if !start {
        let known = content.get_mut(&pid).ok_or(Broken::NoPes { pid })?;
        known.es_bytes += payload.len() as u64;
        return Ok(());
    }
    if payload.len() < PES_HEAD_BYTES || payload[..3] != [0, 0, 1] {
        return Err(Broken::NoPes { pid });
    }
    let es = payload
        .get(9 + usize::from(payload[8])..)
        .ok_or(Broken::NoPes { pid })?;
    let known = match content.entry(pid) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(new) => {
            if payload[7] & 0x80 == 0 {
                return Err(Broken::NoPts { pid });
            }
            let b: [i64; 5] = std::array::from_fn(|at| i64::from(payload[9 + at]));
            let first_pts =
                (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1;
            new.insert(Content {
                first_pts,
                ..Content::default()
            })
        }
    };
    known.pes += 1;
    known.es_bytes += es.len() as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(pid: u16, dts: i64, data: &[u8]) -> Unit<'_> {
        Unit {
            pid,
            pts: dts,
            dts,
            key: true,
            head: Head::default(),
            data,
        }
    }

    #[test]
    fn every_size_of_a_picture_fills_its_packets() {
        let data: Vec<u8> = (0..1000).map(|n| n as u8).collect();
        for size in 1..data.len() {
            let mut counters = Counters::new();
            let out = mux(&[unit(VIDEO_PID, 900_000, &data[..size])], &mut counters).unwrap();
            let content = inspect(&out, &Counters::new()).unwrap();
            let one = Content {
                pes: 1,
                es_bytes: size as u64,
                first_pts: 900_000,
            };
            assert_eq!(content[&VIDEO_PID], one, "{size} bytes");
        }
    }

    #[test]
    fn counters_run_on_and_a_fresh_one_says_so() {
        let data = [7u8; 5000];
        let mut counters = Counters::new();
        let units = [unit(VIDEO_PID, 0, &data), unit(AUDIO_PID, 10, &data[..100])];
        let first = mux(&units, &mut counters).unwrap();
        let between = counters.clone();
        let second = mux(&units, &mut counters).unwrap();
        inspect(&[first.clone(), second.clone()].concat(), &Counters::new()).unwrap();
        inspect(&second, &between).unwrap();
        assert!(matches!(
            inspect(&second, &Counters::new()),
            Err(Broken::Continuity { .. })
        ));
        let fresh = |out: &[u8]| {
            let of = |p: &&[u8]| p[1] & 1 == 1 && p[3] & 0x20 != 0 && p[4] > 0 && p[5] & 0x80 != 0;
            out.chunks(PACKET_BYTES).filter(of).count()
        };
        assert_eq!((fresh(&first), fresh(&second)), (2, 0));
    }

    #[test]
    fn a_seam_in_the_sound_begins_a_pes_packet() {
        let data = [1u8; 50];
        let pes = |times: &[i64]| {
            let units: Vec<_> = times.iter().map(|at| unit(AUDIO_PID, *at, &data)).collect();
            let out = mux(&units, &mut Counters::new()).unwrap();
            inspect(&out, &Counters::new()).unwrap()[&AUDIO_PID].pes
        };
        assert_eq!(pes(&[0, 1920, 3840, 5760]), 1);
        assert_eq!(pes(&[0, 1920, 3842, 5760]), 1);
        assert_eq!(pes(&[0, 1920, 9600, 11_520]), 2);
    }

    #[test]
    fn the_checksum_is_the_one_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
