//! The stop signal: SIGINT and SIGTERM as a value that loops can ask.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the user asked to stop. Cheap to clone; every clone sees the same
/// request, and a request is never taken back.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requested: watch::Sender<bool>,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// A stop that only [`Stop::request`] sets, for tests and for a part of a
    /// verb that is ended by another part.
    pub fn manual() -> Stop {
        Stop(Arc::new(Inner {
            requested: watch::Sender::new(false),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        }))
    }

    /// A stop set by the first SIGINT or SIGTERM. The second one ends the
    /// process at once with exit code 130.
    ///
    /// # Errors
    /// When the handlers or their thread cannot be installed.
    pub fn install() -> anyhow::Result<Stop> {
        let stop = Stop::manual();
        let setter = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                        if setter.requested() {
                            std::process::exit(130);
                        }
                        setter.request();
                    }
                });
            })
            .context("cannot start the thread that waits for signals")?;
        Ok(stop)
    }

    /// Asks everything that holds a clone to stop.
    pub fn request(&self) {
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.requested.send_replace(true);
        self.0.changed.notify_all();
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        *self.0.requested.borrow()
    }

    /// Blocks this thread until a stop is requested or `limit` has passed;
    /// true when it was requested.
    pub fn wait_for(&self, limit: Duration) -> bool {
        let held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .0
            .changed
            .wait_timeout_while(held, limit, |()| !self.requested())
            .unwrap_or_else(PoisonError::into_inner);
        self.requested()
    }

    /// Completes when a stop is requested.
    pub async fn wait(&self) {
        let mut receiver = self.0.requested.subscribe();
        // The sender lives as long as self, so this cannot fail.
        let _ = receiver.wait_for(|requested| *requested).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wakes_a_blocked_thread_and_is_seen_by_every_clone() {
        let stop = Stop::manual();
        let waiting = stop.clone();
        let thread = std::thread::spawn(move || waiting.wait_for(Duration::from_secs(60)));
        stop.request();
        assert!(thread.join().unwrap());
        assert!(stop.clone().requested());
    }

    #[test]
    fn waiting_ends_at_its_limit_without_a_request() {
        assert!(!Stop::manual().wait_for(Duration::from_millis(1)));
    }
}
