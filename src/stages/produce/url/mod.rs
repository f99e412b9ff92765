//! Events from a service on the web: fetched once, or once every interval, however
//! often the service is away in between.

mod answer;

use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::edges::http::fetch::{Fetcher, Trouble};
use crate::events::Kind;
use crate::stop::Stop;

/// The first wait before a failed fetch is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait, unless the service asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What comes of fetching.
#[derive(Debug)]
pub enum Fetched {
    /// The payload of an event, not yet parsed.
    Event(Vec<u8>),
    /// Something to tell the user.
    Note(String),
}

/// Fetches events and gives them to `emit`, until that answers false or the user
/// asks to stop; without an interval only once.
///
/// # Errors
/// What no wait will cure, as [`Fetcher::fetch`].
pub fn run(
    fetcher: &Fetcher,
    kind: Kind,
    interval: Option<Duration>,
    stop: &Stop,
    emit: &mut dyn FnMut(Fetched) -> bool,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut due = Instant::now();
    loop {
        let fetch = || {
            runtime.block_on(async {
                tokio::select! {
                    () = stop.wait() => None,
                    body = fetcher.fetch() => Some(body),
                }
            })
        };
        let Some(events) = persist(fetch, kind, FIRST_WAIT, stop, emit)? else { return Ok(()) };
        if events.is_empty() && !emit(Fetched::Note("the answer has no events".into())) {
            return Ok(());
        }
        for event in events {
            if !emit(Fetched::Event(event)) {
                return Ok(());
            }
        }
        let Some(interval) = interval else { return Ok(()) };
        due = next_due(due, interval, Instant::now());
        if stop.wait_for(due.saturating_duration_since(Instant::now())) {
            return Ok(());
        }
    }
}

/// Fetches until there is an answer; none when the user asked to stop.
fn persist(
    mut fetch: impl FnMut() -> Option<Result<Vec<u8>, Trouble>>,
    kind: Kind,
    mut wait: Duration,
    stop: &Stop,
    emit: &mut dyn FnMut(Fetched) -> bool,
) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let mut told = None;
    loop {
        let Some(answer) = fetch() else { return Ok(None) };
        let taken = answer.and_then(|body| answer::payloads(kind, &body).map_err(Trouble::passing));
        let (why, at_least) = match taken {
            Ok(events) => {
                if told.is_some() && !emit(Fetched::Note("--source is back".into())) {
                    return Ok(None);
                }
                return Ok(Some(events));
            }
            Err(Trouble::Stop(error)) => return Err(error),
            Err(Trouble::Wait { why, at_least }) => (why, at_least),
        };
        let pause = pause(wait, at_least, rand::rng().random());
        if told.as_ref() != Some(&why) {
            let note = format!("waiting for --source: {why}; trying again in {pause:.1?}");
            if !emit(Fetched::Note(note)) {
                return Ok(None);
            }
            told = Some(why);
        }
        if stop.wait_for(pause) {
            return Ok(None);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// How long to wait: between half of `wait` and all of it, by `share` (0 to 1),
/// so that many who were turned away together do not come back together; never
/// less than that or than the service asks for, and up to a tenth more.
fn pause(wait: Duration, at_least: Option<Duration>, share: f64) -> Duration {
    match at_least {
        Some(asked) => asked.max(wait / 2).mul_f64(1.0 + share / 10.0),
        None => wait.mul_f64(0.5 + share / 2.0),
    }
}

/// When to fetch next: an interval after the last time it was due. Times that
/// went by while the service was away are left out.
fn next_due(due: Instant, interval: Duration, now: Instant) -> Instant {
    let missed = now.saturating_duration_since(due).as_nanos() / interval.as_nanos().max(1);
    let intervals = u32::try_from(missed + 1).unwrap_or(u32::MAX);
    interval.checked_mul(intervals).map_or(now + interval, |time| due + time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn body(text: &str) -> Option<Result<Vec<u8>, Trouble>> {
        Some(Ok(text.as_bytes().to_vec()))
    }

    #[test]
    fn what_will_pass_is_told_once_and_tried_again() {
        let mut answers = [
            body("[1"),
            Some(Err(Trouble::Wait { why: "busy".into(), at_least: None })),
            body("[7]"),
        ]
        .into_iter();
        let mut notes = Vec::new();
        let stop = Stop::manual();
        let mut emit = |fetched: Fetched| {
            notes.push(format!("{fetched:?}"));
            true
        };
        let events =
            persist(|| answers.next().unwrap(), Kind::User, SHORT, &stop, &mut emit).unwrap();
        assert_eq!(events.unwrap(), [b"7"]);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[1].contains("busy") && notes[2].contains("back"), "{notes:?}");
    }

    #[test]
    fn a_refusal_ends_it_and_so_does_a_stop() {
        let stop = Stop::manual();
        let refused = || Some(Err(Trouble::Stop(anyhow::anyhow!("404"))));
        assert!(persist(refused, Kind::User, SHORT, &stop, &mut |_| true).is_err());
        stop.request();
        let busy = || Some(Err(Trouble::passing("busy")));
        assert!(persist(busy, Kind::User, SHORT, &stop, &mut |_| true).unwrap().is_none());
        assert!(persist(|| None, Kind::User, SHORT, &stop, &mut |_| true).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shorter_than_asked_nor_much_longer(
            wait in 1u64..60, asked in proptest::option::of(0u64..3600), share in 0.0..1.0,
        ) {
            let wait = Duration::from_secs(wait);
            let asked = asked.map(Duration::from_secs);
            let pause = pause(wait, asked, share);
            prop_assert!(pause >= asked.unwrap_or_default().max(wait / 2));
            let most = asked.map_or(wait, |asked| asked.max(wait / 2).mul_f64(1.1));
            prop_assert!(pause <= most + Duration::from_micros(1));
        }

        #[test]
        fn a_fetch_is_due_a_whole_number_of_intervals_later_and_not_in_the_past(
            interval_ms in 1u64..100_000, late_ms in 0u64..1_000_000,
        ) {
            let (start, interval) = (Instant::now(), Duration::from_millis(interval_ms));
            let now = start + Duration::from_millis(late_ms);
            let due = next_due(start, interval, now);
            prop_assert!(due > now && due <= now + interval);
            prop_assert_eq!((due - start).as_nanos() % interval.as_nanos(), 0);
        }
    }
}
