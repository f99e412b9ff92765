//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt as _;

/// Waits that double from 100 ms to 5 s, each with up to a fifth more by chance,
/// so that many workers do not come back at the same moment.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 5_000;

impl Backoff {
    /// Waits once; the next wait is longer.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }

    /// How long to wait now; the next wait is longer.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = FIRST_MS << self.tries.min(10);
        self.tries += 1;
        let wait_ms = doubled.min(LONGEST_MS);
        Duration::from_millis(wait_ms + rand::rng().random_range(0..=wait_ms / 5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..20).map(|_| backoff.next_wait().as_millis()).collect();
        assert!((100..=120).contains(&waits[0]), "{waits:?}");
        assert!((200..=240).contains(&waits[1]), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 6_000), "{waits:?}");
    }
}
