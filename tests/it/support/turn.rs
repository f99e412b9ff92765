//! Turns: of the tests that use the machine to the full, only some run at a time,
//! so that on two cores none of them takes the time that another one allows.

use std::collections::HashMap;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// How much runs at once, in the measure of [`Load`].
const ROOM: usize = 6;

/// What the tests that have a turn are to the machine, by their threads.
static TAKEN: LazyLock<Mutex<HashMap<ThreadId, usize>>> = LazyLock::new(Mutex::default);
static GIVEN_BACK: Condvar = Condvar::new();

/// What a test is to the machine.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// It waits for other processes most of the time.
    Light = 1,
    /// It starts a broker, or stores and publishes all the while.
    Heavy = 2,
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    test: ThreadId,
    load: Load,
}

impl Turn {
    /// Waits for room; a test that has a turn already takes another at once, so that
    /// no two wait for each other. It may wait as long as the others run: to begin
    /// all the same would slow down just those that are late already.
    pub fn take(load: Load) -> Turn {
        let test = thread::current().id();
        let is_full = |taken: &mut HashMap<ThreadId, usize>| {
            !taken.contains_key(&test) && taken.values().sum::<usize>() + load as usize > ROOM
        };
        let taken = GIVEN_BACK.wait_while(lock(), is_full);
        *taken.unwrap_or_else(PoisonError::into_inner).entry(test).or_default() += load as usize;
        Turn { test, load }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = lock();
        let left = taken.get_mut(&self.test).expect("it was taken");
        *left -= self.load as usize;
        if *left == 0 {
            taken.remove(&self.test);
        }
        GIVEN_BACK.notify_all();
    }
}

fn lock() -> MutexGuard<'static, HashMap<ThreadId, usize>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}
