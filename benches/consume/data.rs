//! What the rows of the bench move: a topic of orders, and the same rows as
//! binary files for psql, in the order in which a consumer sees the topic.

use std::path::{Path, PathBuf};

use crate::database::Bench;
use crate::order;

/// Partitions of every topic.
const PARTITIONS: i32 = 6;

/// The orders of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    /// `v7` for ids that grow with time, `v4` for random ones.
    pub id_style: &'static str,
    /// Faults planted, as `produce --inject` takes them.
    pub inject: Option<&'static str>,
    /// What the table demands of them.
    pub constraint: Option<Constraint>,
}

/// A constraint on the city of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constraint {
    /// A foreign key, else a check.
    pub is_foreign_key: bool,
    /// Whether about one order in a hundred breaks it, else none does.
    pub refuses: bool,
}

/// A topic, a table for it, and the rows of both as files.
#[derive(Debug)]
pub struct Data {
    /// The topic.
    pub topic: String,
    /// The table that it goes to.
    pub table: String,
    /// Rows that the table holds in the end.
    pub rows: u64,
    /// All rows in one file.
    pub whole: PathBuf,
    /// The same in two.
    pub halves: [PathBuf; 2],
    /// Exit code of a sink that has done its work.
    pub exit_code: i32,
}

/// Produces the orders, creates the table, and writes the files.
///
/// # Errors
/// When a verb or psql fails.
pub fn prepare(bench: &Bench, orders: Orders, id_type: &str, records: u64) -> anyhow::Result<Data> {
    let faults = orders.inject.map_or("clean", |inject| inject.split('=').next().unwrap_or(inject));
    let topic = format!("bench-{}-{faults}", orders.id_style);
    let demand = orders.constraint.map_or("", Constraint::suffix);
    let table = format!("bench_{}_{faults}_{id_type}{demand}", orders.id_style);
    eprintln!("preparing {topic} with {id_type} ids");
    if !bench.stack.files.path().join(&topic).exists() {
        produce(bench, orders, &topic, records)?;
        order::write_keys(
            bench.stack.kafka()?,
            &topic,
            PARTITIONS,
            &bench.stack.files.path().join(&topic),
        )?;
    }
    let verb = ["db-setup", "--kind", "order", "--table-name", &table, "--id-type", id_type];
    bench.stack.run(bench.stack.orderctl(&verb), 0)?;
    let exit_code = if faults == "malformed" { 3 } else { 0 };
    let mut data = Data {
        whole: bench.stack.files.path().join(format!("{table}.copy")),
        halves: [1, 2].map(|half| bench.stack.files.path().join(format!("{table}.copy.{half}"))),
        topic,
        table,
        rows: 0,
        exit_code,
    };
    let group = format!("{}-prepare", data.table);
    bench.stack.run(bench.consume(&data.topic, &data.table, &group, &[]), exit_code)?;
    if let Some(constraint) = orders.constraint {
        add_constraint(bench, &data.table, constraint)?;
        if constraint.refuses {
            data.exit_code = 3;
        }
    }
    write_files(bench, &mut data)?;
    Ok(data)
}

impl Constraint {
    /// The end of the name of a table that has it.
    fn suffix(self) -> &'static str {
        match (self.is_foreign_key, self.refuses) {
            (false, false) => "_check",
            (false, true) => "_check_refusing",
            (true, false) => "_foreign",
            (true, true) => "_foreign_refusing",
        }
    }
}

/// Adds the constraint to the filled table. The city it refuses is the one
/// whose share of the orders is closest to one in a hundred; its rows go.
fn add_constraint(bench: &Bench, table: &str, constraint: Constraint) -> anyhow::Result<()> {
    let closest = format!(
        "select quote_literal(city) from {table} group by city \
         order by abs(count(*) * 100 - (select count(*) from {table})) limit 1"
    );
    let refused = if constraint.refuses { bench.psql.run(&closest)? } else { "''".to_owned() };
    bench.psql.run(&format!("delete from {table} where city = {refused}"))?;
    if constraint.is_foreign_key {
        let cities = format!("{table}_cities");
        bench.psql.run(&format!("create table {cities} (city text primary key)"))?;
        // Who may not read the table that a key refers to pays more for refused rows.
        bench.psql.run(&format!("grant select on {cities} to public"))?;
        bench.psql.run(&format!("insert into {cities} select distinct city from {table}"))?;
        let demand = format!("foreign key (city) references {cities}");
        bench.psql.run(&format!("alter table {table} add {demand}"))?;
    } else {
        bench.psql.run(&format!("alter table {table} add check (city <> {refused})"))?;
    }
    Ok(())
}

fn produce(bench: &Bench, orders: Orders, topic: &str, records: u64) -> anyhow::Result<()> {
    let (records, partitions) = (records.to_string(), PARTITIONS.to_string());
    let mut verb = vec!["produce", "--num", &records, "--seed", "7", "--topic-name", topic];
    verb.extend(["--create-topic", "--partitions", &partitions, "--id-style", orders.id_style]);
    verb.extend(orders.inject.iter().flat_map(|inject| ["--inject", inject]));
    bench.stack.run(bench.stack.orderctl(&verb), 0)
}

/// The stored rows as binary files. They go by the order of the topic and not
/// of the table, because the sink may store a batch in an order of its own.
fn write_files(bench: &Bench, data: &mut Data) -> anyhow::Result<()> {
    let keys = bench.stack.files.path().join(&data.topic);
    bench.psql.run("drop table if exists bench_seen")?;
    bench.psql.run(
        "create unlogged table bench_seen (place bigint generated always as identity, id text)",
    )?;
    bench.psql.run(&format!("\\copy bench_seen (id) from '{}'", keys.display()))?;
    let table = &data.table;
    bench.psql.run("drop table if exists bench_sorted")?;
    bench.psql.run(&format!(
        "create unlogged table bench_sorted as \
         select t.*, row_number() over (order by s.place) as bench_place from {table} t \
         join (select id, min(place) as place from bench_seen group by id) s \
         on s.id = t.order_id::text"
    ))?;
    data.rows = bench.psql.run("select count(*) from bench_sorted")?.parse()?;
    let half = data.rows / 2;
    copy_out(bench, table, "true", &data.whole)?;
    copy_out(bench, table, &format!("bench_place <= {half}"), &data.halves[0])?;
    copy_out(bench, table, &format!("bench_place > {half}"), &data.halves[1])?;
    bench.psql.run("drop table bench_seen, bench_sorted")?;
    Ok(())
}

fn copy_out(bench: &Bench, table: &str, filter: &str, path: &Path) -> anyhow::Result<()> {
    let columns = bench.psql.run(&format!(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute \
         where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped"
    ))?;
    bench.psql.run(&format!(
        "\\copy (select {columns} from bench_sorted where {filter} order by bench_place) \
         to '{}' with (format binary)",
        path.display()
    ))?;
    Ok(())
}
