//! Known faults planted among generated events, so that what must come of them
//! can be told beforehand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::source::{Mark, Record};
use crate::events::fake::{Draw, Generator, faults};

/// A repeated event follows the first within so many events.
const REPEAT_DISTANCE_MAX: u32 = 5000;
/// A late event is at most so many days late.
const LATE_DAYS_MAX: u32 = 30;
/// Keeps the draws of faults apart from those of values.
const SEED_OF_FAULTS: u64 = 0x6661_756c_7473_2e2e;

/// Which share of the events has which fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injection {
    /// Sent a second time, later in the run.
    pub duplicates: Share,
    /// Broken so that it is certainly rejected; never sent twice.
    pub malformed: Share,
    /// With a moment some days earlier; valid.
    pub late: Share,
}

/// A share of all events, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share(u32);

impl Injection {
    /// Reads `dup=1%,malformed=0.5%,late=2%`, each at most once.
    ///
    /// # Errors
    /// When it is something else; the text says how to write it.
    pub fn parse(text: &str) -> Result<Injection, String> {
        const FORM: &str = "write for example dup=1%,malformed=0.5%,late=2%";
        let mut injection = Injection::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, share) = part.split_once('=').ok_or(FORM)?;
            let share = Share::parse(share).ok_or(FORM)?;
            match name {
                "dup" => injection.duplicates = share,
                "malformed" => injection.malformed = share,
                "late" => injection.late = share,
                _ => return Err(format!("there is no fault {name:?}; {FORM}")),
            }
            if seen.contains(&name) {
                return Err(format!("{name} is there twice; {FORM}"));
            }
            seen.push(name);
        }
        Ok(injection)
    }

    /// What happens to event `index`: a pure function of seed and index.
    fn fate(&self, seed: u64, index: u64) -> Fate {
        let mut draw = Draw::new(seed ^ SEED_OF_FAULTS, index);
        let [malformed, repeated, late] = [self.malformed, self.duplicates, self.late]
            .map(|share| draw.below(1_000_000) < share.0);
        if malformed {
            return Fate::Malformed { choice: draw.next() };
        }
        let distance = 1 + u64::from(draw.below(REPEAT_DISTANCE_MAX));
        let days = 1 + draw.below(LATE_DAYS_MAX);
        Fate::Valid {
            repeat_after: repeated.then_some(distance),
            days_late: if late { days } else { 0 },
        }
    }
}

impl Share {
    fn parse(text: &str) -> Option<Share> {
        let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then(|| Share((percent * 10_000.0).round() as u32))
    }

    /// Whether no event is meant.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Valid { repeat_after: Option<u64>, days_late: u32 },
    Malformed { choice: u64 },
}

/// Generated events with their faults, in the order they are sent.
pub struct Faulty {
    generator: Generator,
    injection: Injection,
    next_index: u64,
    num: u64,
    /// When a repetition is due (as an index) and of which event. Never holds
    /// more than [`REPEAT_DISTANCE_MAX`].
    repeats: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Faulty {
    /// The first `num` events of a generator, with faults.
    pub fn new(generator: Generator, injection: Injection, num: u64) -> Faulty {
        Faulty { generator, injection, next_index: 0, num, repeats: BinaryHeap::new() }
    }

    /// Puts the next event into the record; none at the end.
    pub fn next(&mut self, record: &mut Record) -> Option<Mark> {
        let next_index = self.next_index;
        let at_end = next_index == self.num;
        if let Some(Reverse((due, index))) = self.repeats.peek().copied()
            && (due <= next_index || at_end)
        {
            self.repeats.pop();
            if let Fate::Valid { days_late, .. } = self.fate(index) {
                self.write(index, days_late, record);
            }
            return Some(Mark::Duplicate);
        }
        if at_end {
            return None;
        }
        self.next_index += 1;
        Some(self.first(next_index, record))
    }

    fn first(&mut self, index: u64, record: &mut Record) -> Mark {
        match self.fate(index) {
            Fate::Malformed { choice } => {
                self.write(index, 0, record);
                faults::malform(self.generator.kind(), choice, &mut record.payload);
                Mark::Malformed
            }
            Fate::Valid { repeat_after, days_late } => {
                if let Some(distance) = repeat_after {
                    self.repeats.push(Reverse((index + distance, index)));
                }
                self.write(index, days_late, record);
                if days_late > 0 { Mark::Late } else { Mark::Plain }
            }
        }
    }

    fn fate(&self, index: u64) -> Fate {
        self.injection.fate(self.generator.seed(), index)
    }

    fn write(&self, index: u64, days_late: u32, record: &mut Record) {
        record.has_key = true;
        self.generator.write_late(index, days_late, &mut record.key, &mut record.payload);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::events::Kind;
    use crate::events::fake::IdStyle;

    fn run(injection: &str, num: u64) -> Vec<(Mark, Record)> {
        let generator = Generator::new(Kind::Order, 7, 1_735_689_600_000_000, IdStyle::V7);
        let mut faulty = Faulty::new(generator, Injection::parse(injection).unwrap(), num);
        let mut all = Vec::new();
        let mut record = Record::default();
        while let Some(mark) = faulty.next(&mut record) {
            all.push((mark, record.clone()));
        }
        all
    }

    #[test]
    fn without_faults_every_event_is_plain() {
        let all = run("dup=0%", 1000);
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|(mark, _)| *mark == Mark::Plain));
    }

    #[test]
    fn each_fault_has_about_its_share_and_does_what_it_says() {
        let all = run("dup=2%, malformed=1%, late=5%", 20_000);
        let count = |wanted| all.iter().filter(|(mark, _)| *mark == wanted).count();
        assert!((300..500).contains(&count(Mark::Duplicate)), "{}", count(Mark::Duplicate));
        assert!((150..250).contains(&count(Mark::Malformed)), "{}", count(Mark::Malformed));
        assert!((900..1100).contains(&count(Mark::Late)), "{}", count(Mark::Late));
        assert_eq!(all.len() - count(Mark::Duplicate), 20_000);
        let mut seen: HashMap<&[u8], &[u8]> = HashMap::new();
        for (mark, record) in &all {
            let valid = Kind::Order.parse(&record.payload);
            assert_eq!(valid.is_err(), *mark == Mark::Malformed);
            let earlier = seen.insert(&record.key, &record.payload);
            match mark {
                Mark::Duplicate => assert_eq!(earlier, Some(&record.payload[..])),
                _ => assert_eq!(earlier, None),
            }
        }
    }

    #[test]
    fn every_event_can_have_a_fault() {
        let twice = run("dup=100%", 500);
        assert_eq!(twice.len(), 1000);
        let broken = run("malformed=100%,dup=100%", 500);
        assert_eq!(broken.len(), 500, "a malformed event is never sent twice");
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(Share::parse("0.5%"), Some(Share(5000)));
        for wrong in ["1", "%", "-1%", "101%", "x%", "", "NaN%"] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
        for wrong in ["", "dup", "dup=1", "dup=1%,dup=2%", "typo=1%", "dup=1%,"] {
            assert!(Injection::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = Injection::parse(&text);
        }
    }
}
