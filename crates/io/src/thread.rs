//! Threads the process cannot do without.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread::{Builder, JoinHandle};

/// Starts the thread `roomtape-<name>`. A panic in it ends the process, to be started again: one
/// that takes no media any longer and looks alive is worse.
///
/// # Errors
/// The process has no thread left.
pub fn spawn_or_abort(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = format!("roomtape-{name}");
    Builder::new().name(name.clone()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            eprintln!("roomtape: thread {name} failed; ending the process");
            std::process::abort();
        }
    })
}
