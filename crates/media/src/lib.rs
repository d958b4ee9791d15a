//! Media words, bitstream parsers and the frame log. No socket, clock or thread in here:
//! bytes and times are arguments.
#![forbid(unsafe_code)]

pub mod log;
pub mod types;

pub use types::{
    flags, Codec, Frame, Kind, Source, StopCause, TapDemand, TapInput, TrackId, TrackInfo,
};
