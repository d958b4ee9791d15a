//! Clients that make load, send badly timed media, and a bad network to send it through.

pub mod bot;
pub mod http;
pub mod link;
pub mod media;
pub mod mischief;
