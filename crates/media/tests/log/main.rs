//! The frame log: what readers get, what is kept for them, and what they are told they missed.

mod bench;
mod ends;
mod limits;
mod model;
mod reading;
mod watermarks;
