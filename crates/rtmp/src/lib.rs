//! RTMP in: bytes of a publisher become events and frames. No socket, clock or thread in here.
#![forbid(unsafe_code)]

pub mod amf;
pub mod chunk;
pub mod publisher;
pub mod session;
pub mod tags;
