//! From RTP payloads to whole frames, and what a payload tells about itself.

pub mod h264;
pub mod opus;
pub mod vp8;

use std::sync::Arc;

/// A frame put together from packets that came in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Extended RTP time.
    pub rtp: i64,
    pub key: bool,
    /// Something is missing before this frame.
    pub gap: bool,
    pub data: Arc<[u8]>,
}

/// What the first bytes of a payload tell, before anything is put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// The packet belongs to a key frame.
    pub key: bool,
    /// Pixels, where this packet tells them.
    pub size: Option<(u32, u32)>,
    /// The picture is larger than this server forwards.
    pub too_large: bool,
}
