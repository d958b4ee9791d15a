//! VP8 (RFC 7741).
//!
//! Past a hole, frames wait for the next key frame: what they refer to is missing. Picture numbers tell
//! when no frame was lost, and layers of time when it was one that this frame does not refer to.

use super::{Assembled, Astray, Glance};
use crate::limits;

/// The payload descriptor, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
struct Descriptor {
    /// First packet of a frame: S bit set and partition 0.
    start: bool,
    bytes: usize,
    /// PictureID, and how many there are.
    id: Option<(u16, u16)>,
    /// TL0PICIDX: counts the frames of the lowest layer of time.
    base: Option<u8>,
    /// TID, and Y: it refers to the lowest layer only.
    layer: Option<(u8, bool)>,
}

fn descriptor(payload: &[u8]) -> Option<Descriptor> {
    let first = *payload.first()?;
    let mut d = Descriptor {
        start: first & 0x10 != 0 && first & 0x07 == 0,
        bytes: 1,
        ..Descriptor::default()
    };
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        d.bytes = 2;
        let mut next = || {
            d.bytes += 1;
            payload.get(d.bytes - 1).copied()
        };
        if extension & 0x80 != 0 {
            let id = next()?;
            d.id = Some(match id & 0x80 {
                0 => (u16::from(id), 1 << 7),
                _ => (u16::from(id & 0x7f) << 8 | u16::from(next()?), 1 << 15),
            });
        }
        if extension & 0x40 != 0 {
            d.base = Some(next()?);
        }
        if extension & 0x30 != 0 {
            let layer = next()?;
            d.layer = (extension & 0x20 != 0).then_some((layer >> 6, layer & 0x20 != 0));
        }
    }
    (payload.len() > d.bytes).then_some(d)
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
    rtp: Option<i64>,
    data: Vec<u8>,
    /// Of the frame's first packet.
    head: Descriptor,
    damaged: bool,
    gap: bool,
    refuse: bool,
    last_id: Option<(u16, u16)>,
    /// TL0PICIDX of the last frame of the lowest layer that was let pass.
    base: Option<u8>,
    /// The highest layer of time without a hole.
    top: u8,
    astray: Astray,
}

/// No layer is above this.
const ALL_LAYERS: u8 = 3;

impl Vp8Depack {
    /// True if frames were refused since the last call, and a key frame is wanted for it.
    pub fn take_refused(&mut self) -> bool {
        self.astray.take_refused()
    }

    /// Whether all that a whole frame refers to was let pass; `None`: it is of a layer with a hole, and
    /// the others go on.
    fn follows(&mut self, key: bool) -> Option<bool> {
        let Descriptor {
            id, base, layer, ..
        } = self.head;
        let last = std::mem::replace(&mut self.last_id, id);
        let next = last.map(|(id, count)| ((id + 1) % count, count));
        let hole = self.gap && (id.is_none() || id != next);
        if key {
            self.top = ALL_LAYERS;
        } else if hole {
            let before = self.base.filter(|_| base.is_some());
            match layer {
                Some((0, _)) if before.is_some() && base == before.map(|b| b.wrapping_add(1)) => {
                    self.top = 0;
                }
                Some((1.., _)) if before.is_some() && base == before => self.top = 0,
                _ => return Some(false),
            }
        }
        let (layer, only_base) = layer.unwrap_or_default();
        if layer > self.top && only_base {
            self.top = layer;
        }
        (layer <= self.top).then_some(true)
    }

    /// Takes the next packet in order; `marker` ends a frame. At most one frame comes out.
    pub fn push(&mut self, rtp: i64, marker: bool, gap: bool, payload: &[u8]) -> Option<Assembled> {
        if gap {
            self.damaged |= !self.data.is_empty();
            self.gap = true;
        }
        let d = descriptor(payload)?;
        if d.start || Some(rtp) != self.rtp {
            if !self.data.is_empty() {
                self.gap = true; // its end never came
            }
            self.data.clear();
            self.rtp = Some(rtp);
            self.head = d;
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
            self.astray.is_damaged(false);
            return None;
        }
        let key = data[0] & 1 == 0;
        let passes = match self.follows(key) {
            Some(follows) => self.astray.lets_pass(key, follows),
            None => false,
        };
        if !passes {
            self.gap = true;
            return None;
        }
        if self.head.layer.is_none_or(|(layer, _)| layer == 0) {
            self.base = self.head.base;
        }
        Some(Assembled {
            rtp,
            key,
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
    fn r_gap_a_frame_with_a_hole_and_all_that_refer_to_it_are_dropped() {
        let mut d = Vp8Depack::default();
        assert_eq!(
            d.push(0, true, false, &[0x10, 1, 9]),
            None,
            "no key frame yet"
        );
        assert!(d.take_refused());
        assert!(d.push(3000, true, false, &key(640, 360)).unwrap().key);
        assert_eq!(d.push(6000, false, false, &[0x10, 1, 2]), None);
        assert_eq!(d.push(6000, true, true, &[0x00, 3, 4]), None);
        assert_eq!(d.push(9000, true, false, &[0x10, 1, 9]), None);
        assert!(d.take_refused() && !d.take_refused());
        let next = d.push(12_000, true, false, &key(640, 360)).unwrap();
        assert!(next.gap && next.key && !d.take_refused());
        let after = d.push(15_000, true, false, &[0x10, 1, 9]).unwrap();
        assert!(!after.gap);
        assert_eq!(&*after.data, &[1, 9]);
    }

    #[test]
    fn r_gap_past_a_hole_without_a_frame_the_next_frame_comes() {
        let mut d = Vp8Depack::default();
        d.push(0, true, false, &key(640, 360)); // PictureID 258
        let numbered = |low| [0x90, 0x80, 0x81, low, 1, 9];
        assert!(d.push(3000, true, true, &numbered(3)).unwrap().gap);
        assert_eq!(d.push(9000, true, true, &numbered(5)), None);
        assert_eq!(d.push(12_000, true, false, &numbered(6)), None);
    }

    #[test]
    fn r_gap_layers_of_time_below_the_lost_frame_go_on() {
        let mut d = Vp8Depack::default();
        let layered = |low: u8, base: u8, layer: u8, y: u8| {
            vec![0x90, 0xe0, 0x81, low, base, layer << 6 | y << 5, 1, 9]
        };
        let mut first = layered(1, 10, 0, 0)[..6].to_vec();
        first.extend_from_slice(&key(64, 64)[4..]);
        assert!(d.push(0, true, false, &first).unwrap().key);
        assert!(d.push(1, true, false, &layered(2, 10, 2, 1)).is_some());
        // 3, of layer 1, is lost: the lowest layer goes on, and what refers to it only.
        assert_eq!(d.push(3, true, true, &layered(4, 10, 2, 0)), None);
        assert!(d.push(4, true, false, &layered(5, 11, 0, 0)).unwrap().gap);
        assert_eq!(d.push(5, true, false, &layered(6, 11, 2, 0)), None);
        assert!(d.push(6, true, false, &layered(7, 11, 1, 1)).is_some());
        assert_eq!(d.push(7, true, false, &layered(8, 11, 2, 0)), None);
        assert!(d.push(8, true, false, &layered(9, 12, 0, 0)).is_some());
        assert!(!d.take_refused());
        // 10 to 12 are lost, 12 of the lowest layer: nothing goes on.
        assert_eq!(d.push(12, true, true, &layered(13, 14, 0, 0)), None);
        assert!(d.take_refused());
    }
}
