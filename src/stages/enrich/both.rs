//! Both steps in one process: each as if it ran in a process of its own, in the
//! same group and with the same results.
//!
//! One loop that publishes to both topics at once would read each user once only.
//! But then a second step that later runs alone could not know which users of the
//! topic between have their tags already, and would publish them again.

use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::cli::Context;
use crate::stages::relay::{self, Summary};
use crate::stop::Stop;

/// How long it may take until one step hears of the other's end.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a step until the end that its arguments name, or a stop.
pub type RunStep<'r> =
    &'r (dyn Fn(&relay::Args, &Context) -> anyhow::Result<Summary> + Send + Sync);

/// Runs both until the end that `args` name; the second one works off what the
/// first one published before it ends. None for a second step that never began.
///
/// # Errors
/// As the steps; when one fails the other one is stopped.
pub fn run(
    first: RunStep<'_>,
    second: RunStep<'_>,
    args: &relay::Args,
    context: &Context,
) -> anyhow::Result<(Summary, Option<Summary>)> {
    if args.until_end {
        return one_after_the_other(first, second, args, context);
    }
    let contexts = [part(context), part(context)];
    let (before, after) = side_by_side([first, second], &contexts, args, &context.stop)?;
    if context.stop.requested() {
        return Ok((before, Some(Summary { interrupted: true, ..after })));
    }
    // The first one had nothing more to do: what is left for the second is known.
    let [done, unfinished] = contexts;
    done.metrics.rest();
    let last = Context { stop: context.stop.clone(), ..unfinished };
    let rest = second(&until_end(args), &last)?;
    Ok((before, Some(sum(after, rest))))
}

/// A step's own stop, figures and readiness.
fn part(context: &Context) -> Context {
    Context { stop: Stop::manual(), metrics: context.metrics.part(), ..context.clone() }
}

fn one_after_the_other(
    first: RunStep<'_>,
    second: RunStep<'_>,
    args: &relay::Args,
    context: &Context,
) -> anyhow::Result<(Summary, Option<Summary>)> {
    let of_step = || Context { stop: context.stop.clone(), ..part(context) };
    let own = of_step();
    let before = first(args, &own)?;
    own.metrics.rest();
    let after = if before.interrupted { None } else { Some(second(args, &of_step())?) };
    Ok((before, after))
}

/// Until the first one ends, either fails, or `stop`.
fn side_by_side(
    [first, second]: [RunStep<'_>; 2],
    contexts: &[Context; 2],
    args: &relay::Args,
    stop: &Stop,
) -> anyhow::Result<(Summary, Summary)> {
    let endless = relay::Args { idle_exit: None, ..args.clone() };
    thread::scope(|scope| {
        let first = scope.spawn(|| first(args, &contexts[0]));
        let second = scope.spawn(|| second(&endless, &contexts[1]));
        while !first.is_finished() && !second.is_finished() {
            if stop.wait_for(LOOK) {
                break;
            }
        }
        contexts.iter().for_each(|context| context.stop.request());
        let (first, second) = (join(first), join(second));
        Ok((first?, second?))
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn until_end(args: &relay::Args) -> relay::Args {
    relay::Args { until_end: true, idle_exit: None, ..args.clone() }
}

/// Two runs of one step as one.
fn sum(one: Summary, other: Summary) -> Summary {
    Summary {
        read: one.read + other.read,
        published: one.published + other.published,
        rejected: one.rejected + other.rejected,
        commits: one.commits + other.commits,
        aborts: one.aborts + other.aborts,
        seconds: one.seconds + other.seconds,
        ..other
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use anyhow::bail;
    use clap::Parser;

    use super::*;
    use crate::config::Connections;
    use crate::console::{Console, OutputFormat};
    use crate::log::Log;

    /// The longest that anything here may take.
    const LIMIT: Duration = Duration::from_secs(60);

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: relay::Args,
    }

    fn args(line: &str) -> relay::Args {
        Line::parse_from(std::iter::once("enrich").chain(line.split_whitespace())).args
    }

    fn context() -> Context {
        Context {
            connections: Connections::default(),
            console: Console {
                output: OutputFormat::Table,
                quiet: true,
                verbosity: 0,
                log: Log::PLAIN,
            },
            stop: Stop::manual(),
            metrics: Default::default(),
            is_watched: false,
        }
    }

    fn summary(read: u64, interrupted: bool) -> Summary {
        Summary { read, published: read, commits: 1, interrupted, ..Summary::default() }
    }

    /// Reads one record, then waits until it is stopped.
    fn endless(_: &relay::Args, context: &Context) -> anyhow::Result<Summary> {
        assert!(context.stop.wait_for(LIMIT));
        Ok(summary(1, true))
    }

    #[test]
    fn what_the_first_step_published_last_is_still_for_the_second() {
        let calls = Mutex::new(Vec::new());
        let first = |args: &relay::Args, _: &Context| {
            assert!(args.idle_exit.is_some());
            Ok(summary(5, false))
        };
        let second = |args: &relay::Args, context: &Context| {
            calls.lock().unwrap().push((args.until_end, args.idle_exit));
            if args.until_end { Ok(summary(4, false)) } else { endless(args, context) }
        };
        let (before, after) = run(&first, &second, &args("--idle-exit 1s"), &context()).unwrap();
        let after = after.unwrap();
        assert_eq!((before.read, after.read, after.commits), (5, 5, 2));
        assert!(!before.interrupted && !after.interrupted);
        assert_eq!(calls.into_inner().unwrap(), [(false, None), (true, None)]);
    }

    #[test]
    fn until_the_end_the_second_step_begins_after_the_first() {
        let (said, heard) = mpsc::channel();
        let step = |name: &'static str| {
            let said = Mutex::new(said.clone());
            move |_: &relay::Args, _: &Context| {
                said.lock().unwrap().send(name).unwrap();
                Ok(summary(1, false))
            }
        };
        run(&step("first"), &step("second"), &args("--until-end"), &context()).unwrap();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["first", "second"]);
        let stopped = |_: &relay::Args, _: &Context| Ok(summary(1, true));
        let (_, after) = run(&stopped, &step("second"), &args("--until-end"), &context()).unwrap();
        assert!(after.is_none());
    }

    #[test]
    fn a_step_that_fails_stops_the_other() {
        let fails = |_: &relay::Args, _: &Context| bail!("broken");
        for (first, second) in
            [(&fails as RunStep<'_>, &endless as RunStep<'_>), (&endless, &fails)]
        {
            let failed = run(first, second, &args(""), &context());
            assert_eq!(failed.unwrap_err().to_string(), "broken");
        }
    }

    #[test]
    fn a_stop_ends_both() {
        let context = context();
        context.stop.request();
        let (before, after) = run(&endless, &endless, &args(""), &context).unwrap();
        assert!(before.interrupted && after.unwrap().interrupted);
    }
}
