//! When a paced record is handed over to the producer.
//!
//! While a batch is not acknowledged, librdkafka's idempotent producer sends no
//! other one for its partition, and where records are ready by then it looks at
//! them without a pause until it may: a whole core, seen where answers take longer
//! than the linger. So while the cluster is slow, records are handed over for as
//! long as the linger only, and what is due later waits here until everything is
//! answered for, within reason. In the long run the pace is the same.

use std::time::{Duration, Instant};

/// So long a batch is filled at least, however short the linger is.
const FILL_MIN: Duration = Duration::from_millis(20);

/// So long a slow cluster is waited for. A partition without a leader, which may
/// never answer, is not to hold up those that have one.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// Whether records may be handed over.
#[derive(Debug)]
pub struct Handover {
    /// How long a batch is filled.
    fill: Duration,
    is_slow: bool,
    /// When nothing was on its way last.
    since: Instant,
    /// How many records had been handed over at some moment, of which the cluster
    /// should have answered for all a while later.
    mark: (Instant, u64),
}

impl Handover {
    /// For a producer that waits so long for its batches to fill.
    pub fn new(linger: Duration, now: Instant) -> Handover {
        Handover { fill: linger.max(FILL_MIN), is_slow: false, since: now, mark: (now, 0) }
    }

    /// Whether the next record may be handed over, when so many were, and the cluster
    /// has answered for so many of them.
    pub fn is_open(&mut self, handed_over: u64, settled: u64, now: Instant) -> bool {
        if settled >= handed_over {
            // Filled, under way, and back.
            self.is_slow &= now.duration_since(self.since) >= 3 * self.fill;
            self.since = now;
            self.mark = (now, handed_over);
            return true;
        }
        if now.duration_since(self.mark.0) >= 2 * self.fill {
            self.is_slow |= settled < self.mark.1;
            self.mark = (now, handed_over);
        }
        let age = now.duration_since(self.since);
        !self.is_slow || age < self.fill || age >= HOLD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(50);

    /// Hands over a record a millisecond for so many milliseconds to a cluster that
    /// answers for a record after `answer_ms`. How many were handed over, and how
    /// many of those came when a batch had been under way for a linger.
    fn simulated(answer_ms: u64, total_ms: u64) -> (u64, u64) {
        let start = Instant::now();
        let mut handover = Handover::new(LINGER, start);
        let (mut sent_ms, mut settled, mut late) = (Vec::<u64>::new(), 0, 0);
        for at in 0..total_ms {
            settled +=
                sent_ms[settled..].iter().take_while(|sent| **sent + answer_ms <= at).count();
            while (sent_ms.len() as u64) <= at {
                let now = start + Duration::from_millis(at);
                if !handover.is_open(sent_ms.len() as u64, settled as u64, now) {
                    break;
                }
                let oldest = sent_ms.get(settled).copied().unwrap_or(at);
                late += u64::from(at - oldest > 2 * LINGER.as_millis() as u64);
                sent_ms.push(at);
            }
        }
        (sent_ms.len() as u64, late)
    }

    #[test]
    fn a_cluster_that_answers_soon_is_never_waited_for() {
        assert_eq!(simulated(55, 10_000), (10_000, 0));
    }

    #[test]
    fn a_slow_one_gets_a_batch_at_a_time_and_all_records_in_the_long_run() {
        let (handed_over, late) = simulated(600, 10_000);
        assert!(handed_over > 10_000 - 2 * 650, "{handed_over}");
        // Until it is known that it is slow.
        assert!(late < 200, "{late}");
    }

    #[test]
    fn one_that_was_slow_for_a_while_is_not_waited_for_afterwards() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut handover = Handover::new(LINGER, start);
        assert!(handover.is_open(0, 0, start));
        assert!(handover.is_open(10, 0, at(100)), "not known yet");
        assert!(!handover.is_open(20, 0, at(200)));
        assert!(!handover.is_open(20, 19, at(700)), "one is still on its way");
        assert!(handover.is_open(20, 20, at(710)));
        assert!(!handover.is_open(30, 29, at(770)), "still taken for slow");
        assert!(handover.is_open(30, 30, at(800)), "answered in time");
        assert!(handover.is_open(40, 39, at(860)));
    }

    #[test]
    fn a_partition_that_never_answers_does_not_hold_up_others_for_ever() {
        let start = Instant::now();
        let mut handover = Handover::new(LINGER, start);
        handover.is_slow = true;
        assert!(!handover.is_open(5, 4, start + HOLD_MAX - LINGER));
        assert!(handover.is_open(5, 4, start + HOLD_MAX));
        assert!(handover.is_open(500, 499, start + 3 * HOLD_MAX));
    }

    #[test]
    fn without_a_linger_records_do_not_go_one_by_one() {
        let start = Instant::now();
        let mut handover = Handover::new(Duration::ZERO, start);
        handover.is_slow = true;
        assert!(handover.is_open(5, 0, start + Duration::from_millis(19)));
        assert!(!handover.is_open(6, 0, start + Duration::from_millis(20)));
    }
}
