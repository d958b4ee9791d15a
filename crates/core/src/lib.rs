//! The media core: peers, rooms, tracks and forwarding on str0m in RTP mode.
//!
//! Sans-IO like str0m itself: time and bytes are arguments. A [`Lane`] is told of datagrams,
//! commands and the passing of time, and says what is to be sent, what happened and which frames
//! the tap gets. There is no socket, clock or thread in here, so tests run faster than time.
#![forbid(unsafe_code)]

mod assemble;
mod clock;
mod depack;
mod dtls;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod gop;
mod hold;
mod keyframe;
mod lane;
mod limits;
mod pack;
mod peer;
mod prelude;
mod rebase;
mod reorder;
mod reports;
mod rtp;
mod sdp;
mod stun;
mod track;

pub use clock::ClockBase;
pub use dtls::crypto_provider;
pub use lane::{Command, Event, Lane, LaneConfig, NumberTrack, Output, PeerKind, Transmit};
pub use limits::picture_fits;
pub use pack::{payloads as h264_payloads, payloads_within as h264_payloads_within};
pub use peer::Seat;
pub use str0m::net::Protocol;
pub use track::TrackStats;

/// A peer's number, unique within one boot of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// Bits of a peer's number that count within its lane; the lane's number is above them.
const PEER_BITS: u32 = 40;

impl PeerId {
    /// The lane that has this peer.
    pub fn lane(self) -> u16 {
        (self.0 >> PEER_BITS) as u16
    }
}
