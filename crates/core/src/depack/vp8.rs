//! VP8 (RFC 7741).

use super::{Assembled, Glance};
use crate::limits;

/// The payload descriptor, as far as it matters here.
struct Descriptor {
    /// First packet of a frame: S bit set and partition 0.
    start: bool,
    bytes: usize,
}

fn descriptor(payload: &[u8]) -> Option<Descriptor> {
    let first = *payload.first()?;
    let mut bytes = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        bytes = 2;
        if extension & 0x80 != 0 {
            bytes += if payload.get(bytes)? & 0x80 != 0 {
                2
            } else {
                1
            };
        }
        if extension & 0x40 != 0 {
            bytes += 1;
        }
        if extension & 0x30 != 0 {
            bytes += 1;
        }
    }
    (payload.len() > bytes).then_some(Descriptor {
        start: first & 0x10 != 0 && first & 0x07 == 0,
        bytes,
    })
}

/// Whether a key frame begins here, and its size. Source: RFC 6386 section 9.1.
pub fn glance(payload: &[u8]) -> Glance {
    let Some(d) = descriptor(payload) else {
        return Glance::default();
    };
    let body = &payload[d.bytes..];
    if !d.start || body[0] & 1 != 0 {
        return Glance::default();
    }
    let size = match body.get(3..10) {
        Some([0x9d, 0x01, 0x2a, w0, w1, h0, h1]) => Some((
            u32::from(u16::from_le_bytes([*w0, *w1]) & 0x3fff),
            u32::from(u16::from_le_bytes([*h0, *h1]) & 0x3fff),
        )),
        _ => None,
    };
    Glance {
        key: size.is_some(),
        size,
        too_large: size.is_some_and(|(w, h)| !limits::picture_fits(w, h)),
    }
}

/// Puts VP8 frames together.
#[derive(Debug, Default)]
pub struct Vp8Depack {
    rtp: i64,
    data: Vec<u8>,
    damaged: bool,
    gap: bool,
    refuse: bool,
}

impl Vp8Depack {
    /// Takes the next packet in order; `marker` ends a frame. At most one frame comes out.
    pub fn push(&mut self, rtp: i64, marker: bool, gap: bool, payload: &[u8]) -> Option<Assembled> {
        if gap {
            self.damaged |= !self.data.is_empty();
            self.gap = true;
        }
        let d = descriptor(payload)?;
        if d.start || rtp != self.rtp {
            if !self.data.is_empty() {
                self.gap = true; // its end never came
            }
            self.data.clear();
            self.rtp = rtp;
            self.damaged = !d.start;
        }
        let seen = glance(payload);
        if seen.key {
            self.refuse = seen.too_large;
        }
        if self.data.len() + payload.len() > limits::FRAME_BYTES {
            self.damaged = true;
        } else {
            self.data.extend_from_slice(&payload[d.bytes..]);
        }
        if !marker {
            return None;
        }
        let data = std::mem::take(&mut self.data);
        if self.damaged || self.refuse || data.is_empty() {
            self.gap = true;
            self.damaged = false;
            return None;
        }
        Some(Assembled {
            rtp,
            key: data[0] & 1 == 0,
            gap: std::mem::take(&mut self.gap),
            data: data.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(w: u16, h: u16) -> Vec<u8> {
        let mut p = vec![0x90, 0x80, 0x81, 0x02, 0x10, 0, 0, 0x9d, 0x01, 0x2a];
        p.extend_from_slice(&w.to_le_bytes());
        p.extend_from_slice(&h.to_le_bytes());
        p
    }

    #[test]
    fn a_key_frame_tells_its_size() {
        let g = glance(&key(640, 360));
        assert_eq!((g.key, g.size), (true, Some((640, 360))));
        assert!(glance(&key(16383, 16383)).too_large);
        assert_eq!(glance(&[0x10, 0x01, 0, 0]), Glance::default());
    }

    #[test]
    fn a_frame_with_a_hole_is_dropped_and_the_next_says_so() {
        let mut d = Vp8Depack::default();
        assert!(d.push(0, true, false, &key(640, 360)).unwrap().key);
        assert_eq!(d.push(3000, false, false, &[0x10, 1, 2]), None);
        assert_eq!(d.push(3000, true, true, &[0x00, 3, 4]), None);
        let next = d.push(6000, true, false, &[0x10, 1, 9]).unwrap();
        assert!(next.gap && !next.key);
        assert_eq!(&*next.data, &[1, 9]);
    }
}
