//! Opus (RFC 7587): a packet is a frame.

use super::Assembled;
use std::sync::Arc;

/// Passes packets on and remembers holes.
#[derive(Debug, Default)]
pub struct OpusDepack {
    gap: bool,
}

impl OpusDepack {
    /// `gap`: packets before this one were given up.
    pub fn push(&mut self, rtp: i64, gap: bool, payload: &Arc<[u8]>) -> Option<Assembled> {
        self.gap |= gap;
        if payload.is_empty() {
            return None;
        }
        Some(Assembled {
            rtp,
            key: true,
            gap: std::mem::take(&mut self.gap),
            data: payload.clone(),
        })
    }
}
