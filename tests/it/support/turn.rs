//! Turns: of the tests that use the machine to the full, only some run at a time,
//! so that on two cores none of them takes the time that another one allows.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many have a turn.
const AT_ONCE: usize = 4;
/// A test that takes two turns could wait for one like itself for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub struct Turn(());

impl Turn {
    /// Waits for one.
    pub fn take() -> Turn {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &mut usize| *taken >= AT_ONCE;
        let waited = GIVEN_BACK.wait_timeout_while(taken, LONGEST_WAIT, is_full);
        *waited.unwrap_or_else(PoisonError::into_inner).0 += 1;
        Turn(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}
