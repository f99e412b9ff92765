//! A histogram with fixed bounds.

/// How often values came within each bound. Plain numbers: whoever owns it
/// guards it.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds, ascending, each inclusive.
    bounds: &'static [f64],
    /// Values within each bound and above the one before; the last is for values
    /// above all bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// With no value yet, and bounds that ascend.
    pub fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds a value so many times; one below 0, as clocks that disagree make it,
    /// counts as 0.
    pub fn observe(&mut self, value: f64, times: u64) {
        let value = value.max(0.0);
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += times;
        self.sum += value * times as f64;
    }

    /// Each bound with the number of values within it; infinity at the end.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.counts).scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The number of all values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: &[f64] = &[0.1, 1.0, 10.0];

    #[test]
    fn a_value_counts_within_the_first_bound_that_is_not_below_it() {
        let mut histogram = Histogram::new(BOUNDS);
        for (value, times) in [(-3.0, 1), (0.1, 2), (0.2, 1), (10.0, 1), (11.0, 4)] {
            histogram.observe(value, times);
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [3, 4, 5, 9]);
        assert!((histogram.sum() - 54.4).abs() < 1e-9);
        assert_eq!(histogram.count(), 9);
    }

    proptest! {
        #[test]
        fn each_bound_has_what_is_not_above_it(values in prop::collection::vec(0.0..20.0, 0..50)) {
            let mut histogram = Histogram::new(BOUNDS);
            values.iter().for_each(|value| histogram.observe(*value, 1));
            for (bound, count) in histogram.cumulative() {
                let within = values.iter().filter(|value| **value <= bound).count();
                prop_assert_eq!(count, within as u64);
            }
        }
    }
}
