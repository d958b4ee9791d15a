//! Media words, bitstream parsers and the frame log. No socket, clock or thread in here:
//! bytes and times are arguments.
#![forbid(unsafe_code)]

pub mod aac;
pub mod bits;
pub mod h264;
pub mod log;
pub mod opus;
pub mod ts;
pub mod types;
pub mod vp8;

pub use types::{
    flags, Codec, Frame, Kind, Source, StopCause, TapDemand, TapInput, TrackId, TrackInfo,
};
