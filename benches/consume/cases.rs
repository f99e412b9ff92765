//! The rows of the bench, and how one is measured.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::data::{Constraint, Data, Orders, prepare};
use crate::database::Bench;
use crate::first_row;
use crate::measure;
use crate::report::{Bar, Row, Side, print_row};
use crate::settings::Settings;

/// How many times the records of a run the table of the row `filled` holds
/// beforehand.
const FILLED_TIMES: u64 = 5;
/// The round trip that the row `distance` adds.
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// One comparison.
struct Case {
    group: &'static str,
    name: &'static str,
    orders: Orders,
    id_type: &'static str,
    /// Flags of `consume` beside its defaults.
    flags: &'static [&'static str],
    bar: Option<Bar>,
    /// Whether the table already holds rows.
    filled: bool,
    /// Whether a delaying proxy stands before the database.
    distant: bool,
}

const ORDERED: Orders = Orders { id_style: "v7", inject: None, constraint: None };
const RANDOM: Orders = Orders { id_style: "v4", inject: None, constraint: None };
const CHECKED: Orders = demanding(false, false);
const REFUSED_BY_CHECK: Orders = demanding(false, true);
const REFERRING: Orders = demanding(true, false);
const REFUSED_BY_KEY: Orders = demanding(true, true);

const fn demanding(is_foreign_key: bool, refuses: bool) -> Orders {
    Orders { constraint: Some(Constraint { is_foreign_key, refuses }), ..ORDERED }
}

/// What most rows are: time-ordered text ids, default settings.
const PLAIN: Case = Case {
    group: "base",
    name: "",
    orders: ORDERED,
    id_type: "text",
    flags: &[],
    bar: None,
    filled: false,
    distant: false,
};

const CASES: [Case; 19] = [
    Case {
        name: "time-ordered ids",
        bar: Some(Bar { at_least: 1.1, aim: 1.25, megabytes_max: 200.0 }),
        ..PLAIN
    },
    Case {
        name: "random ids",
        orders: RANDOM,
        bar: Some(Bar { at_least: 1.5, aim: 1.9, megabytes_max: 200.0 }),
        ..PLAIN
    },
    Case { group: "uuid", name: "uuid column, time-ordered", id_type: "uuid", ..PLAIN },
    Case { group: "uuid", name: "uuid column, random", id_type: "uuid", orders: RANDOM, ..PLAIN },
    Case { group: "writers", name: "1 writer", flags: &["--writers", "1"], ..PLAIN },
    Case { group: "writers", name: "2 writers", flags: &["--writers", "2"], ..PLAIN },
    Case { group: "batches", name: "batches of 500", flags: &["--batch-rows", "500"], ..PLAIN },
    Case { group: "batches", name: "batches of 5,000", flags: &["--batch-rows", "5000"], ..PLAIN },
    Case {
        group: "batches",
        name: "batches of 20,000",
        flags: &["--batch-rows", "20000"],
        ..PLAIN
    },
    Case {
        group: "batches",
        name: "batches of 50,000",
        flags: &["--batch-rows", "50000"],
        ..PLAIN
    },
    Case { group: "filled", name: "table already 5 x as large", filled: true, ..PLAIN },
    Case {
        group: "duplicates",
        name: "1 % duplicates",
        orders: Orders { inject: Some("dup=1%"), ..ORDERED },
        ..PLAIN
    },
    Case {
        group: "rejects",
        name: "1 % rejects",
        orders: Orders { inject: Some("malformed=1%"), ..ORDERED },
        ..PLAIN
    },
    Case { group: "refused", name: "check, all fit", orders: CHECKED, ..PLAIN },
    Case { group: "refused", name: "check, 1 % refused", orders: REFUSED_BY_CHECK, ..PLAIN },
    Case { group: "refused", name: "foreign key, all fit", orders: REFERRING, ..PLAIN },
    Case { group: "refused", name: "foreign key, 1 % refused", orders: REFUSED_BY_KEY, ..PLAIN },
    Case {
        group: "distance",
        name: "5 ms away, 1 writer",
        flags: &["--writers", "1"],
        distant: true,
        ..PLAIN
    },
    Case {
        group: "distance",
        name: "5 ms away, 2 writers",
        flags: &["--writers", "2"],
        distant: true,
        ..PLAIN
    },
];

/// The names by which rows can be chosen.
pub fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = CASES.iter().map(|case| case.group).collect();
    groups.dedup();
    groups.push(first_row::GROUP);
    groups
}

/// Measures and prints the rows asked for; true when the machine was quiet.
///
/// # Errors
/// When a side fails or stores other rows than it should.
pub fn run(bench: &Bench, settings: &Settings) -> anyhow::Result<bool> {
    let mut prepared: Vec<(Orders, &str, Data)> = Vec::new();
    let mut all_quiet = true;
    for case in CASES.iter().filter(|case| settings.wants(case.group)) {
        let known = |(orders, id_type, _): &&(Orders, &str, Data)| {
            *orders == case.orders && *id_type == case.id_type
        };
        if prepared.iter().find(known).is_none() {
            let data = prepare(bench, case.orders, case.id_type, settings.records)?;
            prepared.push((case.orders, case.id_type, data));
        }
        if let Some((_, _, data)) = prepared.iter().find(known) {
            all_quiet &= measure_case(bench, settings, case, data)?;
        }
    }
    Ok(all_quiet)
}

fn measure_case(
    bench: &Bench,
    settings: &Settings,
    case: &Case,
    data: &Data,
) -> anyhow::Result<bool> {
    let proxy = if case.distant { Some(bench.at_distance(ROUND_TRIP)?) } else { None };
    let mut ours = Side::new(data.rows);
    let mut psql = Side::new(data.rows);
    let mut two_psql = Side::new(data.rows);
    if case.filled {
        fill_source(bench, data, settings.records)?;
    }
    for round in 0..settings.rounds {
        let group = format!("{}-{}-{round}", data.table, case.name.replace([' ', ',', '%'], "-"));
        let mut consume = bench.consume(&data.topic, &data.table, &group, case.flags);
        if let Some(proxy) = &proxy {
            consume.env("ORDERCTL_POSTGRES_URI", &proxy.uri);
        }
        let port = proxy.as_ref().map(|proxy| proxy.port);
        let copy = |path| {
            let (table, path) = (&data.table, Path::display(path));
            bench.psql.over_tls(port, &format!("\\copy {table} from '{path}' with (format binary)"))
        };
        let one = vec![copy(&data.whole)];
        let two = data.halves.iter().map(|half| copy(half)).collect();
        measure_side(bench, case, data, &mut ours, vec![consume], data.exit_code)?;
        measure_side(bench, case, data, &mut psql, one, 0)?;
        if case.group == "base" {
            measure_side(bench, case, data, &mut two_psql, two, 0)?;
        }
    }
    Ok(print_row(&Row {
        name: case.name.to_owned(),
        bar: case.bar,
        reference_rate: psql.rate(),
        ours,
        reference: psql,
        beside: (!two_psql.runs.is_empty()).then(|| two_psql.rate()),
    }))
}

/// One run of one side into the emptied table; fails unless exactly the rows
/// expected are there afterwards.
fn measure_side(
    bench: &Bench,
    case: &Case,
    data: &Data,
    side: &mut Side,
    commands: Vec<Command>,
    exit_code: i32,
) -> anyhow::Result<()> {
    bench.stack.go_on()?;
    let table = &data.table;
    bench.psql.run(&format!("truncate {table}"))?;
    if case.filled {
        bench.psql.run(&format!("insert into {table} select * from bench_filling"))?;
    }
    bench.psql.run("checkpoint")?;
    let before: u64 = bench.psql.run(&format!("select count(*) from {table}"))?.parse()?;
    let (run, _) = measure::run(bench.stack.services, commands, exit_code)?;
    let after: u64 = bench.psql.run(&format!("select count(*) from {table}"))?.parse()?;
    anyhow::ensure!(
        after - before == data.rows,
        "{}: {} rows were stored, not {}",
        case.name,
        after - before,
        data.rows
    );
    side.runs.push(run);
    Ok(())
}

/// Rows older than those of the topic, as a table holds them that has been in
/// use for a while.
fn fill_source(bench: &Bench, data: &Data, records: u64) -> anyhow::Result<()> {
    let table = &data.table;
    bench.psql.run("drop table if exists bench_filling")?;
    bench.psql.run(&format!("create unlogged table bench_filling (like {table})"))?;
    let rest = bench.psql.run(&format!(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute \
         where attrelid = '{table}'::regclass and attnum > 1 and not attisdropped"
    ))?;
    bench.psql.run(&format!(
        "insert into bench_filling select uuidv7(interval '-30 years')::text, {rest} \
         from (select * from {table} limit {records}) o, generate_series(1, {FILLED_TIMES})"
    ))?;
    Ok(())
}
