//! Sockets, threads and clocks: the only Rust in here that touches the operating system.

pub mod event;
pub mod mailbox;
