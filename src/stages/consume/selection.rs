//! Which table, ledger, group and topic are meant: the flags that `consume` has
//! in common with the verbs that look at what it did, and their defaults.

use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::config::args::{parse_group, parse_topic_name};
use crate::edges::kafka::client;
use crate::edges::kafka::consumer::{Consumer, OWN_PROPERTIES};
use crate::edges::postgres::claimer::refuse_shared_group;
use crate::edges::postgres::ledger::{self, Ledger, Owner};
use crate::edges::postgres::target::{self, Found, Target};
use crate::edges::postgres::{Client, Identifier, setup};
use crate::error::Usage;
use crate::events::Kind;
use crate::stop::Stop;

/// How long a silent broker is asked.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait for one answer, so that a stop is noticed.
const KAFKA_SLICE: Duration = Duration::from_secs(4);
/// How long a partition is given to find its leader before it is asked about again.
const PAUSE: Duration = Duration::from_millis(500);

/// The flags, none where the user gave none. What a verb does with table, topic
/// and group is for its own help to say.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Table to look at [default: orders, movie_ticket or users, by the kind]
    #[arg(long, visible_alias = "table-name", value_name = "TABLE")]
    pub table: Option<Identifier>,

    /// Schema of the table [default: the search path]
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Option<Identifier>,

    /// Kind of the events [default: what db-setup recorded for the table]
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,

    /// Topic to read [default: product_orders, movie_app or users_info, by the kind]
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    pub topic_name: Option<String>,

    /// Consumer group [default: orderctl-TABLE]
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub group: Option<String>,
}

/// What is meant, with every default filled in.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Group and topic.
    pub owner: Owner,
    /// The table.
    pub target: Target,
    /// Where it was found.
    pub found: Found,
    /// The ledger that serves it.
    pub ledger: Ledger,
}

impl Selection {
    /// The consumer group, `orderctl-TABLE` unless named.
    ///
    /// # Errors
    /// Never, as long as the kinds' default tables have legal names.
    pub fn group(&self) -> anyhow::Result<String> {
        let table = self.table()?;
        Ok(self.group.clone().unwrap_or_else(|| format!("orderctl-{table}")))
    }

    /// Looks table, ledger and kind up. `worker` is what the ledger will call
    /// us.
    ///
    /// # Errors
    /// When one of them is missing or does not fit the others, with the cure.
    pub async fn resolve(&self, client: &Client, worker: String) -> anyhow::Result<Plan> {
        let table = self.table()?;
        let found = target::find(client, self.schema.as_ref(), &table)
            .await?
            .ok_or_else(|| self.no_such_table(&table))?;
        let ledger = ledger::locate(client, &found.schema).await?.ok_or_else(|| {
            let command = self.setup_command(&table);
            anyhow!("there is no ledger in this database yet: run `{command}`")
        })?;
        setup::refuse_outdated(client, &ledger).await?;
        let recorded = ledger.kind_of(client, &found).await?;
        let kind = match self.kind.or(recorded) {
            Some(kind) => kind,
            None => target::guess_kind(client, &found).await?.ok_or_else(|| {
                anyhow!("what table {table} holds is not recorded: name it with --kind")
            })?,
        };
        let target = target::shape(client, &found, kind).await?;
        let topic = self.topic_name.clone().unwrap_or_else(|| kind.default_topic().to_owned());
        let owner = Owner { group: self.group()?, topic, worker };
        refuse_shared_group(client, &ledger, &owner, &found).await?;
        Ok(Plan { owner, target, found, ledger })
    }

    /// The table, that of the kind unless named.
    ///
    /// # Errors
    /// Never, as long as the kinds' default tables have legal names.
    pub fn table(&self) -> anyhow::Result<Identifier> {
        match &self.table {
            Some(table) => Ok(table.clone()),
            None => {
                self.kind.unwrap_or_default().default_table().parse().map_err(anyhow::Error::msg)
            }
        }
    }

    fn no_such_table(&self, table: &Identifier) -> anyhow::Error {
        let schema = self.schema.as_ref();
        let place =
            schema.map_or("on the search path".into(), |schema| format!("in schema {schema}"));
        let command = self.setup_command(table);
        anyhow!("there is no table {table} {place}: create it with `{command}`")
    }

    /// The command that makes a table where it is missing, and its ledger.
    pub fn setup_command(&self, table: &Identifier) -> String {
        let mut command = format!("orderctl db-setup --table-name {table}");
        if let Some(schema) = &self.schema {
            command.push_str(&format!(" --schema {schema}"));
        }
        match self.kind {
            Some(kind) if kind != Kind::default() => format!("{command} --kind {}", kind.name()),
            _ => command,
        }
    }
}

/// Makes sure that the consumer's topic is there; how many partitions it has.
///
/// # Errors
/// What keeps us from it, with the cure.
pub fn find_topic(
    kafka: &KafkaSettings,
    consumer: &Consumer,
    topic: &str,
    context: &Context,
) -> anyhow::Result<usize> {
    let partitions = match consumer.partition_count(KAFKA_SLICE) {
        Ok(partitions) => partitions,
        // The probe finds out what is wrong with the connection and says it.
        Err(_) => {
            client::probe(kafka, &context.console, &context.stop, KAFKA_TIMEOUT)?;
            ask_kafka(&context.stop, |limit| consumer.partition_count(limit))?
        }
    };
    partitions.ok_or_else(|| {
        anyhow!(
            "there is no topic {topic}: publish to it with `orderctl produce --topic-name {topic} \
             --create-topic`, or name another with --topic-name"
        )
    })
}

/// Asks a broker again while it is silent, for 20 s in all. The question is given
/// how long it may wait for each answer.
///
/// # Errors
/// Those of the question; a stop is one too, the caller asks `stop` which it was.
pub fn ask_kafka<T>(
    stop: &Stop,
    question: impl Fn(Duration) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let since = Instant::now();
    loop {
        let asked = Instant::now();
        let error = match question(KAFKA_SLICE) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // What else comes before the wait is over is a refusal, which stays one.
        let is_passing = client::is_passing(&error);
        let is_refusal = asked.elapsed() < KAFKA_SLICE && !is_passing;
        if is_refusal || stop.requested() || since.elapsed() >= KAFKA_TIMEOUT {
            return Err(error);
        }
        if is_passing && stop.wait_for(PAUSE) {
            return Err(error);
        }
    }
}

/// Refuses properties that would change how positions are kept or partitions
/// are handed over.
///
/// # Errors
/// A [`Usage`] error that names the property.
pub fn refuse_own_properties(kafka: &KafkaSettings) -> anyhow::Result<()> {
    for (name, value) in &kafka.properties {
        let fault = match name.as_str() {
            "group.id" => "name the consumer group with --group, not with group.id".to_owned(),
            "group.protocol" if value.expose() != "classic" => {
                "group.protocol can only be classic here: leave it out".to_owned()
            }
            "partition.assignment.strategy" if value.expose().contains("cooperative") => {
                "partition.assignment.strategy can be range or roundrobin, not cooperative-sticky"
                    .to_owned()
            }
            own if OWN_PROPERTIES.iter().any(|(name, _)| *name == own) => {
                format!(
                    "property {own} is not free, as positions are kept in another way: leave it out"
                )
            }
            _ => continue,
        };
        return Err(Usage(fault).into());
    }
    Ok(())
}

/// Refuses other values of these properties than the ones that hold here anyway.
///
/// # Errors
/// A [`Usage`] error that names the property.
pub fn refuse_other_values(kafka: &KafkaSettings, held: &[(&str, &str)]) -> anyhow::Result<()> {
    for (name, value) in &kafka.properties {
        // Two ways to say the same of acks.
        let value = if value.expose() == "-1" { "all" } else { value.expose() };
        let is_other = |own: &&(&str, &str)| own.0 == name && own.1 != value;
        if let Some((name, own)) = held.iter().find(is_other) {
            return Err(Usage(format!("{name} can only be {own} here: leave it out")).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_makes_a_table_names_what_was_named() {
        let table = "orders".parse().unwrap();
        let mut named = Selection::default();
        assert_eq!(named.setup_command(&table), "orderctl db-setup --table-name orders");
        named.schema = Some("sales".parse().unwrap());
        named.kind = Some(Kind::User);
        let command = "orderctl db-setup --table-name orders --schema sales --kind user";
        assert_eq!(named.setup_command(&table), command);
    }
}
