//! The tests themselves, on the ways that the other verbs take. Each says what it
//! did, or fails with what is wrong and what to do first.

use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;

use super::Names;
use super::entry::Entry;
use super::messages::{self, Ticket};
use crate::cli::Context;
use crate::console::plural;
use crate::edges::postgres::claimer::OnDataLoss;
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::create::IdType;
use crate::edges::postgres::setup::{self, Wanted};
use crate::edges::postgres::target::{self, Target};
use crate::edges::postgres::{Client, OnDuplicate, runtime, trial};
use crate::events::Kind;
use crate::stages::consume::selection::Selection;
use crate::stages::{consume, verify};

/// How many tickets one run publishes.
const TICKETS: u64 = 10;
/// How many records of one fault are looked at by name.
const SHOWN: u32 = 3;
/// Who wants the seat that is sold already.
const SECOND_HOLDER: &str = "Somebody Else";

/// What the tests share.
pub struct Trial<'n> {
    /// Topic, table and group.
    pub names: &'n Names,
    /// As the verb's, only that it says nothing itself.
    pub context: Context,
    /// Ids published by this run that are not known to be stored.
    published: Vec<String>,
}

impl<'n> Trial<'n> {
    /// Tests on these names; nothing is contacted yet.
    pub fn new(names: &'n Names, context: &Context) -> Trial<'n> {
        let mut context = context.clone();
        context.console.quiet = context.console.verbosity == 0;
        Trial { names, context, published: Vec::new() }
    }

    /// Runs one test; what it did.
    ///
    /// # Errors
    /// Why it failed, and what to do about it.
    pub fn run(&mut self, test: Entry) -> anyhow::Result<String> {
        match test {
            Entry::Publish => self.publish(),
            Entry::CreateTable => self.create_table(),
            Entry::TableExists => self.table_exists(),
            Entry::Consume => self.consume(),
            Entry::Stored => self.stored(),
            Entry::Valid => self.valid(),
            Entry::Duplicate => self.duplicate(),
            Entry::All | Entry::Exit => bail!("entry {} is no test", test.number()),
        }
    }

    fn publish(&mut self) -> anyhow::Result<String> {
        let tickets = messages::tickets(TICKETS);
        let created = self.send(&tickets)?;
        self.published.extend(tickets.into_iter().map(|ticket| ticket.id));
        Ok(format!(
            "published {TICKETS} movie tickets to {}{created}, all acknowledged",
            self.names.topic
        ))
    }

    /// Publishes to the topic; a few words when it had to be created.
    fn send(&self, tickets: &[Ticket]) -> anyhow::Result<&'static str> {
        let kafka = self.context.kafka()?;
        let is_new = messages::ensure_topic(&kafka, self.names, &self.context)?;
        messages::publish(&kafka, self.names, tickets, &self.context)?;
        Ok(if is_new { ", which was created" } else { "" })
    }

    fn create_table(&self) -> anyhow::Result<String> {
        let settings = self.context.postgres()?;
        let wanted = Wanted {
            schema: self.names.schema.clone(),
            table: self.names.table.clone(),
            kind: Kind::MovieTicket,
            id_type: IdType::default(),
            with_seating: false,
        };
        let ready = self.until_stop(&runtime()?, setup::set_up(&settings, &wanted))?;
        let table = format!("{}.{}", ready.target.schema, ready.target.table);
        let ledger = &ready.ledger.schema;
        Ok(match ready.table_created {
            true => format!("created table {table}; its ledger is in schema {ledger}"),
            false => format!("table {table} is there already; its ledger is in schema {ledger}"),
        })
    }

    fn table_exists(&self) -> anyhow::Result<String> {
        let (_, _, target) = self.table()?;
        let columns: Vec<String> =
            target.columns.iter().map(|column| column.name.to_string()).collect();
        Ok(format!(
            "found table {}.{} with columns {}",
            target.schema,
            target.table,
            columns.join(", ")
        ))
    }

    fn consume(&mut self) -> anyhow::Result<String> {
        let (before, target) = self.count_rows()?;
        self.find_topic()?;
        let done = self.store()?;
        let (after, _) = self.count_rows()?;
        let consume::Summary { read, stored, duplicates, rejected, .. } = done;
        let topic = &self.names.topic;
        if read == 0 {
            bail!("nothing new was in {topic}: run 1 first, which publishes");
        }
        let counts = format!(
            "read {} from {topic}: {stored} stored, {duplicates} duplicates, {rejected} rejected",
            plural(read, "message")
        );
        if rejected > 0 {
            bail!("{counts}; `orderctl dlq list --table {}` says why", self.names.table);
        }
        if stored == 0 {
            bail!("{counts}; run 1 first, which publishes new ones");
        }
        if after < before + stored {
            bail!("{counts}; but the table went from {before} to {after} rows");
        }
        self.find_published(&target)?;
        Ok(format!("{counts}; {} now has {}", self.names.table, plural(after, "row")))
    }

    fn selection(&self) -> Selection {
        let Names { topic, table, group, schema } = self.names;
        Selection {
            table: Some(table.clone()),
            schema: schema.clone(),
            kind: Some(Kind::MovieTicket),
            topic_name: Some(topic.clone()),
            group: Some(group.clone()),
        }
    }

    /// Stores what waits in the topic.
    fn store(&self) -> anyhow::Result<consume::Summary> {
        let args = consume::Args {
            selection: self.selection(),
            on_duplicate: OnDuplicate::Skip,
            // What is left of an earlier run may be of a topic that is gone.
            on_data_loss: OnDataLoss::Earliest,
            until_end: true,
            max_messages: None,
            idle_exit: None,
            writers: 1,
            batch_rows: 20_000,
        };
        let done = consume::consume(&args, &self.context)?;
        if done.interrupted {
            bail!("stopped while messages were being stored");
        }
        Ok(done)
    }

    /// Makes sure that what this run published is in the table.
    fn find_published(&mut self, target: &Target) -> anyhow::Result<()> {
        let wanted = self.published.len() as u64;
        let (runtime, client) = self.database()?;
        let counting = async { Ok(trial::stored(&client, target, &self.published).await?) };
        let found = self.until_stop(&runtime, counting)?;
        if found < wanted {
            bail!("{} of the {wanted} tickets of this run are not in the table", wanted - found);
        }
        self.published.clear();
        Ok(())
    }

    fn stored(&self) -> anyhow::Result<String> {
        let (rows, _) = self.count_rows()?;
        let Names { topic, table, .. } = self.names;
        if rows == 0 {
            bail!("table {table} is empty: run 1 and 4 first, which publish and store");
        }
        self.find_topic()?;
        let args = verify::Args { selection: self.selection(), manifest: None, show: SHOWN };
        let report = verify::verify(&args, &self.context)?.context("stopped meanwhile")?;
        let totals = report.totals;
        if totals.behind > 0 {
            bail!("{} of {topic} not stored yet: run 4 first", plural(totals.behind, "message"));
        }
        // Rows without a message may be left of an earlier run.
        if totals.missing + totals.duplicated > 0 {
            let named: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            bail!(
                "{} missing, {} duplicated: {}",
                totals.missing,
                totals.duplicated,
                named.join("; ")
            );
        }
        Ok(format!(
            "{table} has {}; of {} in {topic}, {} stored, {} duplicates, {} rejected, none is missing",
            plural(report.rows.rows, "row"),
            plural(totals.read, "message"),
            totals.stored,
            totals.duplicates,
            totals.rejected
        ))
    }

    fn valid(&self) -> anyhow::Result<String> {
        self.find_topic()?;
        let kafka = self.context.kafka()?;
        let found = messages::contents(&kafka, self.names, &self.context)?;
        let topic = &self.names.topic;
        if found.messages == 0 {
            bail!("there are no messages in {topic}: run 1 first, which publishes");
        }
        if found.invalid > 0 {
            bail!(
                "{} of {} in {topic} are no valid tickets: {}",
                found.invalid,
                plural(found.messages, "message"),
                found.examples.join("; ")
            );
        }
        Ok(format!("read {} in {topic}; all are valid tickets", plural(found.messages, "message")))
    }

    fn duplicate(&self) -> anyhow::Result<String> {
        let (runtime, client, target) = self.table()?;
        let name = target.columns.iter().find(|column| column.name.as_str() == "name");
        let name = name.context("the table has no column name to tell two tickets apart by")?;
        let first = messages::tickets(1).swap_remove(0);
        let second = messages::resold(&first, SECOND_HOLDER)?;
        let holder = messages::name_on(&first)?;
        let id = first.id.clone();
        self.send(&[first, second])?;
        let done = self.store()?;
        let asking = async { Ok(trial::texts(&client, &target, &name.name, &id).await?) };
        let holders = self.until_stop(&runtime, asking)?;
        let table = &self.names.table;
        match holders.as_slice() {
            [one] if *one == holder && done.duplicates > 0 => Ok(format!(
                "published ticket {id} twice; the first is stored, the second was refused"
            )),
            [] => bail!("published ticket {id} twice, and {table} has neither"),
            [_] => bail!("ticket {id} is stored, but not as the first one was published"),
            more => bail!(
                "ticket {id} has {} rows: {table} needs a unique index on {}",
                more.len(),
                target.key().name
            ),
        }
    }

    fn find_topic(&self) -> anyhow::Result<()> {
        let kafka = self.context.kafka()?;
        if messages::has_topic(&kafka, self.names, &self.context)? {
            return Ok(());
        }
        bail!("there is no topic {}: run 1 first, which creates it", self.names.topic)
    }

    fn count_rows(&self) -> anyhow::Result<(u64, Target)> {
        let (runtime, client, target) = self.table()?;
        let rows = self.until_stop(&runtime, async { Ok(trial::rows(&client, &target).await?) })?;
        Ok((rows, target))
    }

    /// The table, as one that takes tickets.
    fn table(&self) -> anyhow::Result<(Runtime, Client, Target)> {
        let (runtime, client) = self.database()?;
        let Names { table, schema, .. } = self.names;
        let target = self.until_stop(&runtime, async {
            let found = target::find(&client, schema.as_ref(), table).await?;
            let found = found.with_context(|| {
                format!("there is no table {table}: run 2 first, which creates it")
            })?;
            target::shape(&client, &found, Kind::MovieTicket).await
        })?;
        Ok((runtime, client, target))
    }

    fn database(&self) -> anyhow::Result<(Runtime, Client)> {
        let settings = self.context.postgres()?;
        let runtime = runtime()?;
        let connecting = async { Ok(connect(&settings, "orderctl test").await?) };
        let client = self.until_stop(&runtime, connecting)?;
        Ok((runtime, client))
    }

    fn until_stop<T>(
        &self,
        runtime: &Runtime,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        runtime.block_on(async {
            tokio::select! {
                done = work => done,
                () = self.context.stop.wait() => bail!("stopped while the database was asked"),
            }
        })
    }
}
