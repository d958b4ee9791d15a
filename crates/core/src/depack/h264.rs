//! H.264 (RFC 6184, single NAL unit and non-interleaved mode) to Annex B access units.
//!
//! Every key frame leaves with its SPS and PPS in front, taken from the last ones seen if the
//! access unit brings none. Access unit delimiters and filler are dropped, SEI is kept.

use super::{Assembled, Glance};
use crate::limits;
use roomtape_media::h264::Sps;

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
            if gap && !starts_unit(payload) {
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
                    self.refuse =
                        !Sps::parse(nal).is_ok_and(|s| limits::picture_fits(s.width, s.height));
                }
            }
            NAL_PPS => {
                self.has_pps = true;
                self.keep_pps(nal);
            }
            NAL_IDR => self.key = true,
            _ => {}
        }
        self.unit.extend_from_slice(&START_CODE);
        self.unit.extend_from_slice(nal);
    }

    fn part(&mut self, header: u8, start: bool, body: &[u8]) {
        if start {
            self.key |= header & 0x1f == NAL_IDR;
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
        self.open = false;
        self.in_fragment = false;
        let headless = key && (self.sps.is_empty() || (self.pps.is_empty() && !has_pps));
        if self.damaged || self.refuse || headless || unit.is_empty() {
            self.gap = true;
            return None;
        }
        if key && !(has_sps && has_pps) {
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

    #[test]
    fn a_hole_drops_the_unit_and_marks_the_next() {
        let mut d = H264Depack::default();
        push(&mut d, 0, false, false, &sets());
        push(&mut d, 0, true, false, &[0x65, 0x88]);
        push(&mut d, 3000, false, false, &[0x7c, 0x81, 0x9a, 1]);
        assert!(push(&mut d, 3000, true, true, &[0x7c, 0x41, 3]).is_empty());
        let out = push(&mut d, 6000, true, false, &[0x41, 0x9a]);
        assert!(out[0].gap);
    }

    #[test]
    fn a_unit_between_two_holes_is_whole_if_it_begins_with_its_first_slice() {
        let mut d = H264Depack::default();
        push(&mut d, 0, false, false, &sets());
        push(&mut d, 0, true, false, &[0x65, 0x88]);
        let out = push(&mut d, 6000, true, true, &[0x41, 0x9a]);
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
