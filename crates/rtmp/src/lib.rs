//! RTMP in: bytes of a publisher become events and frames. No socket, clock or thread in here.
#![forbid(unsafe_code)]

pub mod amf;
mod capture;
pub mod chunk;
mod gop;
pub mod publisher;
pub mod session;
pub mod tags;
