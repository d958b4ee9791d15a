//! Injected H.264 frames to RTP payloads (RFC 6184, non-interleaved mode).

use std::sync::Arc;

use roomtape_media::h264::{annexb_units, nal, nal_type};

/// Payload bytes of a packet: fits a 1200 byte datagram with RTP, extensions and SRTP around it.
const PAYLOAD_BYTES: usize = 1150;

/// The payloads of one access unit; the last one carries the marker.
pub fn payloads(unit: &[u8]) -> Vec<Arc<[u8]>> {
    payloads_within(unit, PAYLOAD_BYTES)
}

/// The same, none longer than `most` bytes (at least 3).
pub fn payloads_within(unit: &[u8], most: usize) -> Vec<Arc<[u8]>> {
    let mut out: Vec<Arc<[u8]>> = Vec::new();
    for nal in annexb_units(unit) {
        if nal_type(nal) == nal::AUD {
            continue;
        }
        if nal.len() <= most {
            out.push(nal.into());
            continue;
        }
        let body = &nal[1..];
        let parts = body.chunks(most - 2);
        let last = parts.len() - 1;
        for (i, part) in parts.enumerate() {
            let mut flags = nal[0] & 0x1f;
            if i == 0 {
                flags |= 0x80;
            }
            if i == last {
                flags |= 0x40;
            }
            let mut payload = Vec::with_capacity(part.len() + 2);
            payload.push((nal[0] & 0xe0) | 28);
            payload.push(flags);
            payload.extend_from_slice(part);
            out.push(payload.into());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depack::h264::H264Depack;

    #[test]
    fn what_is_packed_is_unpacked_to_the_same_bytes() {
        let mut unit = vec![
            0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x61,
        ];
        unit.extend_from_slice(&[0, 0, 3, 0, 1, 0, 0, 3, 0, 0x3c, 0x0f, 0x16, 0x2e, 0x48]);
        unit.extend_from_slice(&[0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb, 0, 0, 0, 1, 0x65, 0x88]);
        unit.extend((0..5000u32).map(|i| (i % 251 + 1) as u8));
        let packed = payloads(&unit);
        assert!(packed.iter().all(|p| p.len() <= PAYLOAD_BYTES));
        let mut depack = H264Depack::default();
        let mut out = Vec::new();
        for (i, p) in packed.iter().enumerate() {
            depack.push(7, i + 1 == packed.len(), false, p, &mut out);
        }
        assert_eq!(&*out[0].data, &unit[..]);
        assert!(out[0].key);
    }
}
