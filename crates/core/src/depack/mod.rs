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

/// Whether pictures are lost that those to come refer to. They are missed until the next key frame, as
/// before the first one.
#[derive(Debug)]
pub struct Astray {
    lost: bool,
    refused: bool,
}

impl Default for Astray {
    fn default() -> Self {
        Self {
            lost: true,
            refused: false,
        }
    }
}

impl Astray {
    /// True if a picture can be shown; `follows`: all that it refers to was let pass.
    pub fn lets_pass(&mut self, key: bool, follows: bool) -> bool {
        self.lost = !key && (self.lost || !follows);
        self.refused = self.lost;
        !self.lost
    }

    /// A picture came that is not whole. Only of a key frame it is sure that others refer to it.
    pub fn is_damaged(&mut self, key: bool) {
        self.lost |= key;
        self.refused = self.lost;
    }

    /// True if pictures were refused since the last call, and no key frame came after them.
    pub fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }
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
