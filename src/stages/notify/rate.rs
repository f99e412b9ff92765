//! A token bucket: how soon the next mail may go.

use std::time::{Duration, Instant};

/// How many mails may go at once after a pause, in time: as much as one second
/// brings, and always one.
const BURST: Duration = Duration::from_secs(1);

/// Mails at most at a steady rate. It is kept as the moment at which the bucket
/// would be full again, which is all there is to know (the "generic cell rate
/// algorithm", ITU-T I.371).
#[derive(Debug)]
pub struct Bucket {
    period: Duration,
    full_at: Instant,
}

impl Bucket {
    /// One mail a period, with a full bucket.
    pub fn new(period: Duration, now: Instant) -> Bucket {
        Bucket { period, full_at: now }
    }

    /// Takes a token; how long to wait until it is there.
    pub fn take(&mut self, now: Instant) -> Duration {
        let from = self.full_at.max(now);
        self.full_at = from + self.period;
        // One token is there in any case.
        let depth = BURST.max(self.period) - self.period;
        from.saturating_duration_since(now).saturating_sub(depth)
    }
}

/// Reads a rate: `100/s`, `30/m`, or `50` for a second; the time between two.
///
/// # Errors
/// When it is something else; the text says how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.rsplit_once('/') {
        Some((number, "s")) => (number, 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some((number, "h")) => (number, 3600.0),
        Some(_) => return Err("write how many in which time, as in 100/s, 30/m or 500/h".into()),
        None => (text, 1.0),
    };
    let rate = number.parse::<f64>().ok().filter(|rate| *rate > 0.0 && rate.is_finite());
    rate.and_then(|rate| Duration::try_from_secs_f64(unit_s / rate).ok())
        .filter(|period| !period.is_zero())
        .ok_or_else(|| "write how many, greater than 0, as in 100/s, 30/m or 500/h".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_with_their_unit() {
        assert_eq!(parse("100/s"), Ok(Duration::from_millis(10)));
        assert_eq!(parse("50"), Ok(Duration::from_millis(20)));
        assert_eq!(parse("30/m"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("0.5/s"), Ok(Duration::from_secs(2)));
        for wrong in ["0", "-1/s", "a/s", "1/d", "", "/s", "NaN", "1e300/s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_the_rate_and_a_burst(
            period_ms in 1u64..3_000,
            gaps_ms in prop::collection::vec(0u64..2_000, 1..200),
        ) {
            let period = Duration::from_millis(period_ms);
            let mut now = Instant::now();
            let mut bucket = Bucket::new(period, now);
            let mut gone = Vec::new();
            for gap_ms in gaps_ms {
                now += Duration::from_millis(gap_ms);
                now += bucket.take(now);
                gone.push(now);
            }
            let burst = (BURST.as_millis() as u64 / period_ms).max(1);
            for (first, start) in gone.iter().enumerate() {
                for (last, end) in gone.iter().enumerate().skip(first) {
                    let window_ms = end.duration_since(*start).as_millis() as u64;
                    let allowed = window_ms / period_ms + burst + 1;
                    prop_assert!((last - first + 1) as u64 <= allowed);
                }
            }
        }

        #[test]
        fn who_asks_slower_than_the_rate_never_waits(
            period_ms in 1u64..3_000,
            slack_ms in prop::collection::vec(0u64..500, 1..50),
        ) {
            let period = Duration::from_millis(period_ms);
            let mut now = Instant::now();
            let mut bucket = Bucket::new(period, now);
            for slack in slack_ms {
                prop_assert_eq!(bucket.take(now), Duration::ZERO);
                now += period + Duration::from_millis(slack);
            }
        }
    }
}
