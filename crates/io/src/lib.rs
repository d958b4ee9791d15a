//! Sockets, threads and clocks: the only Rust in here that touches the operating system.

pub mod clock;
pub mod event;
pub mod mailbox;
pub mod outbuf;
pub mod poll;
pub mod tap;
