//! H.264 (RFC 6184, single NAL unit and non-interleaved mode) to Annex B access units.
//!
//! Every key frame leaves with its SPS and PPS in front, taken from the last ones seen if the
//! access unit brings none. Access unit delimiters and filler are dropped, SEI is kept.
//!
//! Past a hole, pictures wait for the next key frame: what they refer to is missing, and no decoder
//! can show them. `frame_num` tells when nothing was lost that others refer to.

use super::{Assembled, Astray, Glance};
use crate::limits;
use roomtape_media::h264::{frame_num, Sps};

const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_AUD: u8 = 9;
const NAL_END_OF_SEQUENCE: u8 = 10;
const NAL_FILLER: u8 = 12;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// RTP ticks in which no encoder makes more than one picture.
const SHORTEST: i64 = 90_000 / 120;

/// Calls `each` with every whole NAL unit of a payload, and with the head of a fragmented one.
fn each_nal(payload: &[u8], mut each: impl FnMut(Piece<'_>)) -> Option<()> {
    let head = *payload.first()?;
    match head & 0x1f {
        1..=23 => each(Piece::Whole(payload)),
        STAP_A => {
            let mut rest = &payload[1..];
            while let [a, b, tail @ ..] = rest {
                let size = usize::from(u16::from_be_bytes([*a, *b]));
                let nal = tail.get(..size).filter(|n| !n.is_empty())?;
                each(Piece::Whole(nal));
                rest = &tail[size..];
            }
        }
        FU_A => {
            let fu = *payload.get(1)?;
            each(Piece::Part {
                header: (head & 0xe0) | (fu & 0x1f),
                start: fu & 0x80 != 0,
                body: &payload[2..],
            });
        }
        _ => return None,
    }
    Some(())
}

enum Piece<'a> {
    Whole(&'a [u8]),
    Part {
        header: u8,
        start: bool,
        body: &'a [u8],
    },
}

/// Whether a payload belongs to a key frame, and the size its SPS tells.
pub fn glance(payload: &[u8]) -> Glance {
    let mut seen = Glance::default();
    let _ = each_nal(payload, |piece| match piece {
        Piece::Whole(nal) => match nal[0] & 0x1f {
            NAL_SPS => {
                seen.key = true;
                match Sps::parse(nal) {
                    Ok(sps) => {
                        seen.size = Some((sps.width, sps.height));
                        seen.too_large = !limits::picture_fits(sps.width, sps.height);
                    }
                    Err(_) => seen.too_large = true, // what is not understood is not let through
                }
            }
            NAL_IDR => seen.key = true,
            _ => {}
        },
        Piece::Part { header, .. } => seen.key |= header & 0x1f == NAL_IDR,
    });
    seen
}

/// True for a slice whose first macroblock is the picture's first: `first_mb_in_slice` is ue(0).
fn begins_picture(header: u8, body: &[u8]) -> bool {
    matches!(header & 0x1f, 1 | NAL_IDR) && body.first().is_some_and(|b| b & 0x80 != 0)
}

/// Puts access units together from packets that come in order.
#[derive(Debug, Default)]
pub struct H264Depack {
    rtp: i64,
    unit: Vec<u8>,
    open: bool,
    key: bool,
    has_sps: bool,
    has_pps: bool,
    in_fragment: bool,
    damaged: bool,
    gap: bool,
    sps: Vec<u8>,
    pps: Vec<Vec<u8>>,
    refuse: bool,
    /// A packet has come.
    begun: bool,
    /// The unit's first packet came past a hole.
    behind_hole: bool,
    /// The last key frame brought its own parameter sets.
    sets_come: bool,
    /// Bits of `frame_num`.
    num_bits: Option<u8>,
    /// Of the unit's first slice: others refer to it, and its `frame_num`.
    slice: Option<(bool, Option<u32>)>,
    /// `frame_num` of the last picture that others refer to.
    last_num: Option<u32>,
    /// RTP time of the last unit that was let pass.
    last_rtp: i64,
    astray: Astray,
}

impl H264Depack {
    /// Takes the next packet in order; `marker` ends an access unit, and so does another RTP time.
    pub fn push(
        &mut self,
        rtp: i64,
        marker: bool,
        gap: bool,
        payload: &[u8],
        out: &mut Vec<Assembled>,
    ) {
        if self.open && rtp != self.rtp {
            // The marker was lost, or never set: only without a hole is the unit known to be whole.
            self.damaged |= gap;
            out.extend(self.finish());
        }
        if !self.open {
            self.open = true;
            self.rtp = rtp;
            self.damaged = false;
            self.behind_hole = gap;
            let first = !std::mem::replace(&mut self.begun, true);
            if (gap || first) && !starts_unit(payload) {
                self.damaged = true;
            }
            self.gap |= gap;
        } else if gap {
            self.damaged = true;
        }
        self.take(payload);
        if marker {
            out.extend(self.finish());
        }
    }

    /// True if pictures were refused since the last call, and a key frame is wanted for it.
    pub fn take_refused(&mut self) -> bool {
        self.astray.take_refused()
    }

    fn take(&mut self, payload: &[u8]) {
        if self.unit.len() + payload.len() > limits::FRAME_BYTES {
            self.damaged = true;
            return;
        }
        let parsed = each_nal(payload, |piece| match piece {
            Piece::Whole(nal) => self.whole(nal),
            Piece::Part {
                header,
                start,
                body,
            } => self.part(header, start, body),
        });
        if parsed.is_none() {
            self.damaged = true;
        }
    }

    fn whole(&mut self, nal: &[u8]) {
        self.in_fragment = false;
        match nal[0] & 0x1f {
            NAL_AUD | NAL_FILLER | NAL_END_OF_SEQUENCE => return,
            NAL_SPS => {
                self.has_sps = true;
                if self.sps != nal {
                    self.sps = nal.to_vec();
                    self.pps.clear();
                    let sps = Sps::parse(nal).ok();
                    self.num_bits = sps.as_ref().and_then(|s| s.frame_num_bits);
                    self.refuse = !sps.is_some_and(|s| limits::picture_fits(s.width, s.height));
                }
            }
            NAL_PPS => {
                self.has_pps = true;
                self.keep_pps(nal);
            }
            NAL_IDR => self.key = true,
            _ => {}
        }
        self.note_slice(nal[0], &nal[1..]);
        self.unit.extend_from_slice(&START_CODE);
        self.unit.extend_from_slice(nal);
    }

    /// Remembers what the unit's first slice says of itself.
    fn note_slice(&mut self, header: u8, body: &[u8]) {
        if self.slice.is_none() && matches!(header & 0x1f, 1 | NAL_IDR) {
            let number = self.num_bits.and_then(|bits| frame_num(body, bits));
            self.slice = Some((header & 0x60 != 0, number));
        }
    }

    /// Whether a unit past a hole refers to nothing that is lost.
    fn follows(&self, number: Option<u32>) -> bool {
        let (Some(number), Some(last), Some(bits)) = (number, self.last_num, self.num_bits) else {
            return false;
        };
        // Numbers come again, but so many pictures are not lost in so short a time.
        self.rtp - self.last_rtp < SHORTEST << bits && number == (last + 1) % (1 << bits)
    }

    fn part(&mut self, header: u8, start: bool, body: &[u8]) {
        self.key |= header & 0x1f == NAL_IDR;
        if start {
            self.note_slice(header, body);
            self.unit.extend_from_slice(&START_CODE);
            self.unit.push(header);
            self.in_fragment = true;
        } else if !self.in_fragment {
            self.damaged = true; // a fragment without its beginning
        }
        self.unit.extend_from_slice(body);
    }

    /// Keeps one PPS per identifier; the identifier is the first ue(v) after the header.
    fn keep_pps(&mut self, nal: &[u8]) {
        const MOST: usize = 16;
        match self.pps.iter().position(|p| ue(&p[1..]) == ue(&nal[1..])) {
            Some(known) => self.pps[known] = nal.to_vec(),
            None if self.pps.len() < MOST => self.pps.push(nal.to_vec()),
            None => {}
        }
    }

    fn finish(&mut self) -> Option<Assembled> {
        let mut unit = std::mem::take(&mut self.unit);
        let key = std::mem::take(&mut self.key);
        let (has_sps, has_pps) = (
            std::mem::take(&mut self.has_sps),
            std::mem::take(&mut self.has_pps),
        );
        let (is_reference, number) = std::mem::take(&mut self.slice).unwrap_or_default();
        self.open = false;
        self.in_fragment = false;
        let sets = has_sps && has_pps;
        // Those it should have brought may say that the picture has another size.
        let bereft = self.behind_hole && self.sets_come && !sets;
        let headless = key && (bereft || self.sps.is_empty() || (self.pps.is_empty() && !has_pps));
        if unit.is_empty() && !self.damaged {
            return None; // a delimiter, or filler
        }
        if self.damaged || self.refuse || headless {
            self.gap = true;
            self.astray.is_damaged(key);
            return None;
        }
        let follows = !self.gap || self.follows(number);
        if !self.astray.lets_pass(key, follows) {
            self.gap = true;
            return None;
        }
        self.last_rtp = self.rtp;
        if is_reference {
            self.last_num = number;
        }
        if key {
            self.sets_come = sets;
        }
        if key && !sets {
            let mut whole = Vec::with_capacity(unit.len() + self.sps.len() + 64);
            let sets = (!has_sps).then_some(&self.sps).into_iter();
            for set in sets.chain(self.pps.iter().filter(|_| !has_pps)) {
                whole.extend_from_slice(&START_CODE);
                whole.extend_from_slice(set);
            }
            whole.append(&mut unit);
            unit = whole;
        }
        Some(Assembled {
            rtp: self.rtp,
            key,
            gap: std::mem::take(&mut self.gap),
            data: unit.into(),
        })
    }
}

/// True if a payload can only be the first of its access unit.
fn starts_unit(payload: &[u8]) -> bool {
    let mut first = None;
    let _ = each_nal(payload, |piece| {
        let starts = match piece {
            Piece::Whole(nal) => {
                matches!(nal[0] & 0x1f, NAL_SEI..=NAL_AUD) || begins_picture(nal[0], &nal[1..])
            }
            Piece::Part {
                header,
                start,
                body,
            } => start && begins_picture(header, body),
        };
        first.get_or_insert(starts);
    });
    first.unwrap_or(false)
}

/// Reads one ue(v) (H.264 section 9.1) from the start of `bytes`.
fn ue(bytes: &[u8]) -> Option<u32> {
    let bit = |i: usize| bytes.get(i / 8).map(|b| b >> (7 - i % 8) & 1);
    let mut zeros = 0;
    while bit(zeros)? == 0 {
        zeros += 1;
        if zeros > 31 {
            return None;
        }
    }
    let mut value = 0u32;
    for i in 0..=zeros {
        value = value << 1 | u32::from(bit(zeros + i)?);
    }
    Some(value - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 640x360, Constrained Baseline, made by libx264.
    pub const SPS: [u8; 24] = [
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x61, 0x00, 0x00, 0x03, 0x00, 0x01,
        0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
    ];
    const PPS: [u8; 4] = [0x68, 0xcb, 0x83, 0xcb];

    fn push(d: &mut H264Depack, rtp: i64, marker: bool, gap: bool, p: &[u8]) -> Vec<Assembled> {
        let mut out = Vec::new();
        d.push(rtp, marker, gap, p, &mut out);
        out
    }

    fn sets() -> Vec<u8> {
        let mut stap = vec![0x78, 0, SPS.len() as u8];
        stap.extend_from_slice(&SPS);
        stap.extend_from_slice(&[0, PPS.len() as u8]);
        stap.extend_from_slice(&PPS);
        stap
    }

    #[test]
    fn parameter_sets_lead_every_key_frame() {
        let mut d = H264Depack::default();
        assert!(push(&mut d, 0, false, false, &sets()).is_empty());
        assert_eq!(d.num_bits, Some(4));
        let first = push(&mut d, 0, true, false, &[0x65, 0x88, 1]);
        assert!(first[0].key && !first[0].gap);
        let second = push(&mut d, 3000, true, false, &[0x65, 0x88, 2]);
        let mut expected = Vec::new();
        for nal in [&SPS[..], &PPS[..], &[0x65, 0x88, 2]] {
            expected.extend_from_slice(&START_CODE);
            expected.extend_from_slice(nal);
        }
        assert_eq!(&*second[0].data, &expected[..]);
    }

    #[test]
    fn a_fragmented_unit_is_joined() {
        let mut d = H264Depack::default();
        push(&mut d, 0, false, false, &sets());
        push(&mut d, 0, false, false, &[0x7c, 0x85, 0x88, 1]);
        push(&mut d, 0, false, false, &[0x7c, 0x05, 2]);
        let out = push(&mut d, 0, true, false, &[0x7c, 0x45, 3]);
        assert!(out[0].data.ends_with(&[0, 0, 0, 1, 0x65, 0x88, 1, 2, 3]));
    }

    const IDR: u8 = 0x65;
    const REFERENCE: u8 = 0x41;
    const NOT_REFERRED_TO: u8 = 0x01;

    /// A picture of one slice: `frame_num` has four bits under `SPS`.
    fn slice(header: u8, number: u16) -> Vec<u8> {
        // ue(0), ue(5), ue(0): 1 00110 1, then the number.
        let bits = (0b100_1101 << 4) | (number % 16);
        let [a, b] = (bits << 5).to_be_bytes();
        vec![header, a, b, 0x55]
    }

    /// One that has given its key frame.
    fn begun() -> H264Depack {
        let mut d = H264Depack::default();
        push(&mut d, 0, false, false, &sets());
        assert_eq!(push(&mut d, 0, true, false, &slice(IDR, 0)).len(), 1);
        d
    }

    #[test]
    fn r_gap_past_a_hole_only_pictures_come_whose_references_are_there() {
        let mut d = begun();
        assert_eq!(
            push(&mut d, 3000, true, false, &slice(REFERENCE, 1)).len(),
            1
        );
        // One is lost that nobody refers to.
        let next = push(&mut d, 9000, true, true, &slice(REFERENCE, 2));
        assert!(next[0].gap && !d.take_refused());
        let aside = push(&mut d, 12_000, true, false, &slice(NOT_REFERRED_TO, 3));
        assert_eq!(aside.len(), 1);
        assert_eq!(
            push(&mut d, 15_000, true, false, &slice(REFERENCE, 3)).len(),
            1
        );
        // One is lost that all to come refer to.
        assert!(push(&mut d, 21_000, true, true, &slice(REFERENCE, 5)).is_empty());
        assert!(d.take_refused() && !d.take_refused());
        assert!(push(&mut d, 24_000, true, false, &slice(REFERENCE, 6)).is_empty());
        assert!(d.take_refused(), "it is still wanted");
        push(&mut d, 27_000, false, false, &sets());
        let key = push(&mut d, 27_000, true, false, &slice(IDR, 0));
        assert!(key[0].key && key[0].gap && !d.take_refused());
        assert!(!push(&mut d, 30_000, true, false, &slice(REFERENCE, 1))[0].gap);
        // All sixteen numbers may have been lost meanwhile.
        assert!(push(&mut d, 90_000, true, true, &slice(REFERENCE, 2)).is_empty());
    }

    #[test]
    fn r_gap_a_hole_in_a_picture_drops_it_and_what_refers_to_it() {
        let mut d = begun();
        push(&mut d, 3000, false, false, &[0x7c, 0x81, 0x9a, 1]);
        assert!(push(&mut d, 3000, true, true, &[0x7c, 0x41, 3]).is_empty());
        assert!(push(&mut d, 6000, true, false, &slice(REFERENCE, 2)).is_empty());
        assert!(d.take_refused());
    }

    #[test]
    fn r_gap_a_key_frame_with_a_hole_does_not_end_the_wait_nor_let_its_successors_pass() {
        let mut d = begun();
        push(&mut d, 3000, false, false, &sets());
        push(&mut d, 3000, false, false, &[0x7c, 0x85, 0x88, 1]);
        assert!(push(&mut d, 3000, true, true, &[0x7c, 0x45, 3]).is_empty());
        assert!(d.take_refused());
        // Its number follows that of the key frame before.
        assert!(push(&mut d, 6000, true, false, &slice(REFERENCE, 1)).is_empty());
        assert!(d.take_refused());
    }

    #[test]
    fn r_res_1_a_key_frame_whose_parameter_sets_are_lost_may_have_another_size() {
        let mut d = begun();
        push(&mut d, 3000, false, false, &sets());
        assert_eq!(push(&mut d, 3000, true, false, &slice(IDR, 0)).len(), 1);
        assert!(push(&mut d, 6000, true, true, &slice(IDR, 0)).is_empty());
    }

    #[test]
    fn a_track_that_begins_in_the_middle_of_a_picture_waits_for_a_whole_key_frame() {
        for first in [
            &[0x7cu8, 0x05, 2][..],
            &[0x65, 0x08, 4],
            &slice(REFERENCE, 7),
        ] {
            let mut d = H264Depack::default();
            assert!(push(&mut d, 0, true, false, first).is_empty());
            assert!(d.take_refused());
        }
        let mut d = H264Depack::default();
        push(&mut d, 0, false, false, &[0x65, 0x08, 4]);
        push(&mut d, 0, false, false, &sets());
        assert!(push(&mut d, 0, true, false, &slice(IDR, 0)).is_empty());
    }

    #[test]
    fn a_unit_between_two_holes_is_whole_if_it_begins_with_its_first_slice() {
        let mut d = H264Depack::default();
        push(&mut d, 0, false, false, &sets());
        push(&mut d, 0, true, false, &slice(IDR, 0));
        let out = push(&mut d, 6000, true, true, &slice(REFERENCE, 1));
        assert!(out[0].gap);
        assert!(push(&mut d, 9000, true, true, &[0x41, 0x1a]).is_empty());
    }

    #[test]
    fn no_key_frame_without_parameter_sets() {
        let mut d = H264Depack::default();
        assert!(push(&mut d, 0, true, false, &[0x65, 0x88, 1]).is_empty());
    }

    #[test]
    fn garbage_never_panics() {
        let mut d = H264Depack::default();
        let mut seed = 7u32;
        for i in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..i % 23 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push((seed >> 24) as u8);
            }
            let _ = glance(&bytes);
            push(&mut d, i / 3, seed & 1 == 0, seed & 2 == 0, &bytes);
        }
    }
}
