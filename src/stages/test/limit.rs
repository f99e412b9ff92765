//! A limit of time for work that only a stop breaks off.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::stop::Stop;

/// How often the user's stop is looked for.
const SLICE: Duration = Duration::from_millis(50);

/// Does work with a stop of its own, which is requested when the user's is, or
/// when the limit has passed. Its result, and whether it came to the latter.
pub fn within<T>(limit: Duration, users: &Stop, work: impl FnOnce(&Stop) -> T) -> (T, bool) {
    let own = Stop::manual();
    let (working, done) = mpsc::channel();
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(limit, users, &own, done));
        let result = work(&own);
        drop(working);
        (result, watching.join().unwrap_or(false))
    })
}

/// Requests the work's stop when it is time; whether because of the limit.
fn watch(limit: Duration, users: &Stop, own: &Stop, done: Receiver<()>) -> bool {
    let since = Instant::now();
    while done.recv_timeout(SLICE) == Err(RecvTimeoutError::Timeout) {
        let is_late = since.elapsed() >= limit;
        if is_late || users.requested() {
            own.request();
            return !users.requested();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn work_that_takes_too_long_is_stopped_and_told_from_one_that_the_user_stopped() {
        let waits = |stop: &Stop| stop.wait_for(LONG);
        let users = Stop::manual();
        assert_eq!(within(Duration::ZERO, &users, waits), (true, true));
        users.request();
        assert_eq!(within(LONG, &users, waits), (true, false));
    }

    #[test]
    fn work_that_ends_in_time_is_not_stopped() {
        assert_eq!(within(LONG, &Stop::manual(), Stop::requested), (false, false));
    }
}
