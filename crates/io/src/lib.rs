//! Sockets, threads and clocks: the only Rust in here that touches the operating system.

pub mod clock;
pub mod engine;
pub mod event;
pub mod lane;
pub mod lives;
pub mod mailbox;
pub mod net;
pub mod outbuf;
pub mod poll;
pub mod rtmp;
pub mod tap;
pub mod tcp;
mod thread;
