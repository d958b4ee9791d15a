//! Threads the process cannot do without.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread::{Builder, JoinHandle};

use crate::mailbox::Post;

/// A thread that takes letters and ends by one of them; dropped, it is ended and waited for.
#[derive(Debug)]
pub struct Thread<M> {
    post: Post<M>,
    /// The letter that ends it, and what to wait for then. None: it was ended.
    running: Option<(M, JoinHandle<()>)>,
}

impl<M> Thread<M> {
    /// Starts the thread `roomtape-<name>` that reads what is sent by `post`, and ends by `last`.
    ///
    /// # Errors
    /// The process has no thread left.
    pub fn start(
        name: &str,
        post: Post<M>,
        last: M,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let running = Some((last, spawn_or_abort(name, run)?));
        Ok(Self { post, running })
    }

    /// Asks the thread to end and waits for it.
    pub fn stop(&mut self) {
        if let Some((last, thread)) = self.running.take() {
            self.post.send(last);
            let _ = thread.join(); // a panic of the thread has ended the process already
        }
    }
}

impl<M> Drop for Thread<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A panic in the thread ends the process, to be started again: one that takes no media any longer
/// and looks alive is worse.
fn spawn_or_abort(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let name = format!("roomtape-{name}");
    Builder::new().name(name.clone()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            eprintln!("roomtape: thread {name} failed; ending the process");
            std::process::abort();
        }
    })
}
