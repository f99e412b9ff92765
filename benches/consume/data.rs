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
    let table = format!("bench_{}_{faults}_{id_type}", orders.id_style);
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
    write_files(bench, &mut data)?;
    Ok(data)
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
