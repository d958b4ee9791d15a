//! Doors to the parsers of this crate for `crates/fuzz`; not for anybody else.

use std::sync::Arc;

use crate::depack::h264::{self, H264Depack};
use crate::depack::vp8::{self, Vp8Depack};
use crate::sdp::{fragment_of_answer, Fragment, Offer, Role};
use crate::stun;

/// Any datagram.
pub fn stun(datagram: &[u8]) {
    let _ = stun::is_binding_success(datagram);
    let _ = stun::local_ufrag(datagram);
}

/// An offer of a publisher and of a viewer, and what is made of it.
pub fn offer(sdp: &str) {
    for role in [Role::Publish, Role::Play] {
        if let Ok(offer) = Offer::parse(sdp, role) {
            let text = offer.to_sdp();
            let _ = fragment_of_answer(&text);
            let _ = offer.codec_config();
            let _ = offer
                .with_credentials("abcd", "0123456789abcdef01234567")
                .credentials();
        }
    }
}

/// A PATCH body.
pub fn fragment(text: &str) {
    let _ = Fragment::parse(text);
}

/// RTP payloads in order: (RTP time, marker, gap, payload).
pub fn depack(packets: &[(i64, bool, bool, Arc<[u8]>)]) {
    let (mut h264, mut vp8) = (H264Depack::default(), Vp8Depack::default());
    let mut out = Vec::new();
    for (rtp, marker, gap, payload) in packets {
        let _ = h264::glance(payload);
        let _ = vp8::glance(payload);
        h264.push(*rtp, *marker, *gap, payload, &mut out);
        out.extend(vp8.push(*rtp, *marker, *gap, payload));
    }
}
