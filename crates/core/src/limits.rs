//! What this server takes from a client at most.

/// Bytes of one frame: 20 times a large IDR.
pub const FRAME_BYTES: usize = 8 << 20;
/// Pixels along one side.
const SIDE: u32 = 8192;
/// Macroblocks of a picture: level 5.2 of H.264 (4096 x 2304), table A-1.
const MACROBLOCKS: u64 = 36_864;
/// Bytes a GOP cache may hold; past it the cache is empty until the next key frame.
pub const GOP_BYTES: usize = 8 << 20;
/// Age of a group of pictures at which a new key frame is asked for. A browser makes none by
/// itself, and the cache of an endless group would be neither small nor a quick start.
pub const GOP_AGE: std::time::Duration = std::time::Duration::from_secs(10);
/// Packets a viewer is sent at once to begin with; what is lost of them can still be sent again.
pub const REPLAY_PACKETS: usize = 2000;
/// Sound kept for whoever taps a track after it began.
pub const SOUND_KEPT: std::time::Duration = std::time::Duration::from_secs(10);

/// A picture of this size may be forwarded and decoded.
pub fn picture_fits(width: u32, height: u32) -> bool {
    let blocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    width > 0 && height > 0 && width <= SIDE && height <= SIDE && blocks <= MACROBLOCKS
}
