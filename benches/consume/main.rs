//! The sink against `psql \copy` of the same rows in the same order into the
//! same table:
//!
//! ```text
//! cargo bench --bench consume                    every row
//! cargo bench --bench consume -- base first-row  only these
//! ```
//!
//! Both sides go over TLS with one process each, one after the other in every
//! round, each from an empty table after a CHECKPOINT. The sink reads the topic
//! from its beginning with a new group and default settings, and is measured
//! from its start to its exit. ORDERCTL_BENCH_RECORDS and ORDERCTL_BENCH_ROUNDS
//! change the size.

mod cases;
mod data;
mod database;
mod first_row;
mod order;
mod psql;

#[path = "../support/measure.rs"]
mod measure;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/report.rs"]
mod report;
#[path = "../support/settings.rs"]
mod settings;
#[path = "../support/stack.rs"]
mod stack;

use database::Bench;
use settings::Settings;
use stack::BenchStack;

fn main() -> anyhow::Result<()> {
    let settings = Settings::read(&cases::groups())?;
    let bench = Bench::new(BenchStack::up()?)?;
    report::print_header("psql/s", "two psql/s");
    let all_quiet = cases::run(&bench, &settings)?;
    if settings.wants(first_row::GROUP) {
        first_row::run(&bench, &settings)?;
    }
    report::print_footer(all_quiet);
    Ok(())
}
