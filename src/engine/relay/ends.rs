//! What "until the end" means: all that is there when partitions are assigned,
//! also behind a transaction that is still open then.
//!
//! A reader of committed records is told the end where the first open transaction
//! begins. So the end is taken from one that reads all; a partition whose stable
//! end is before that counts as read only once it has caught up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::recovery::KAFKA_TIMEOUT;
use super::{Loop, Partition};
use crate::edges::kafka::overview::Overview;

/// How often partitions are looked at whose end is not stable.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Loop<'_> {
    /// Where partitions end for who reads all, and whether who reads committed
    /// records only may read to there.
    pub(super) fn ask_ends(&self, numbers: &[i32]) -> anyhow::Result<Vec<(i64, bool)>> {
        let parts = &self.parts;
        let overview = Overview::new(&parts.settings, &parts.console, &parts.stop)?;
        let topic = parts.consumer.topic();
        let places: Vec<_> = numbers.iter().map(|number| (topic.to_owned(), *number)).collect();
        let ends = overview.ends(&places)?;
        // After them: what was open then and is stable now is found.
        let stable = parts.consumer.ask_ends(numbers, KAFKA_TIMEOUT)?;
        let known = |(place, stable): (&(String, i32), i64)| {
            let (_, end) = ends.get(place).context("a partition has no leader at the moment")?;
            Ok((*end, stable >= *end))
        };
        places.iter().zip(stable).map(known).collect()
    }

    /// Looks whether ends have become stable that were not. What is told of the end
    /// of such a partition from then on counts, so that it is read again from where
    /// it goes on.
    pub(super) fn look_for_stable_ends(&mut self) -> anyhow::Result<()> {
        let is_open = |one: &Partition| !one.is_stable && one.next_offset < one.end;
        let open: Vec<i32> = self
            .partitions
            .iter()
            .filter(|(_, one)| is_open(one))
            .map(|(number, _)| *number)
            .collect();
        if open.is_empty() || !self.ahead.is_empty() || self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked_at = Instant::now();
        let stable = match self.parts.consumer.ask_ends(&open, KAFKA_TIMEOUT) {
            Ok(stable) => open.into_iter().zip(stable).collect::<BTreeMap<i32, i64>>(),
            Err(error) => {
                self.note_waiting(&format!("{error:#}"));
                return Ok(());
            }
        };
        let mut is_any = false;
        for (number, stable) in stable {
            if let Some(partition) = self.partitions.get_mut(&number)
                && stable >= partition.end
            {
                (partition.is_stable, is_any) = (true, true);
            }
        }
        if is_any { self.read_again() } else { Ok(()) }
    }
}
