//! Letters on their way to a topic again, so that each gets there once.
//!
//! Kafka's commit decides; the ledger only remembers what is to be found out:
//!
//! 1. A run notes where the topic ends and makes itself the topic's owner
//!    ([`begin`]). Then it initialises its transactional producer, which ends
//!    every earlier run's transaction, one way or the other.
//! 2. Letters that an earlier run left as `redriving` are looked for in the
//!    topic, from where that run began. Found, they are `redriven`; else they
//!    are `open` again ([`settle`]).
//! 3. Letters are taken ([`take`]: `redriving`), published and committed in
//!    Kafka, and marked ([`finish`]: `redriven`).
//!
//! Only the owner takes letters or opens them again. Whoever took some did so
//! before the next owner's producer was initialised, so it is fenced by then
//! and what the topic holds of it is final.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::ledger::Ledger;
use super::letters::{State, refused, state};
use crate::engine::checkpoint::TopicId;

/// Whose letters: the ledger's own, or those of a topic that others write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Rows of `dead_letter`.
    Own,
    /// Rows of `foreign_letter`.
    Foreign,
}

impl Source {
    fn table(self) -> &'static str {
        match self {
            Source::Own => "dead_letter",
            Source::Foreign => "foreign_letter",
        }
    }

    /// A short word for it, part of the mark that published letters carry.
    pub fn tag(self) -> &'static str {
        match self {
            Source::Own => "own",
            Source::Foreign => "foreign",
        }
    }
}

/// A run of redrive on one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// The Kafka cluster's own id; empty when it has none.
    pub cluster: String,
    /// The topic it publishes to.
    pub topic: String,
    /// The topic's id, for brokers that give topics ids.
    pub topic_id: Option<TopicId>,
    /// What it publishes is at or after these offsets, by partition.
    pub from: Vec<i64>,
}

/// What tells this ledger's letters from those of any other.
///
/// # Errors
/// Whatever the server says.
pub async fn identity(client: &Client, ledger: &Ledger) -> anyhow::Result<String> {
    let sql = format!("select id::text from {} limit 1", ledger.table("ledger_identity"));
    let row = client.query_typed_one(&sql, &[]).await;
    Ok(row.map_err(|error| refused(&error, ledger))?.get(0))
}

/// Begins a run: from here on it is the topic's owner, and no earlier one is.
///
/// # Errors
/// Whatever the server says.
pub async fn begin(
    client: &Client,
    ledger: &Ledger,
    cluster: &str,
    topic: &str,
    topic_id: Option<TopicId>,
    from: &[i64],
) -> anyhow::Result<Run> {
    let sql = format!(
        "with run as (insert into {} (cluster, topic, from_offsets, topic_id)
             values ($1, $2, $3, $4) returning id)
         insert into {} (cluster, topic, redrive_id) select $1, $2, id from run
         on conflict (cluster, topic) do update set redrive_id = excluded.redrive_id
         returning redrive_id",
        ledger.table("redrive"),
        ledger.table("redrive_owner")
    );
    let id_text = topic_id.as_ref().map(|id| id.0.as_str());
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&cluster, Type::TEXT),
        (&topic, Type::TEXT),
        (&from, Type::INT8_ARRAY),
        (&id_text, Type::TEXT),
    ];
    let row = client.query_typed_one(&sql, &parameters).await;
    let id = row.map_err(|error| refused(&error, ledger))?.get(0);
    Ok(Run { id, cluster: cluster.into(), topic: topic.into(), topic_id, from: from.to_vec() })
}

/// Runs that left letters of this source behind on the topic of `run`, each with
/// their numbers.
///
/// # Errors
/// Whatever the server says.
pub async fn unsettled(
    client: &Client,
    ledger: &Ledger,
    source: Source,
    run: &Run,
) -> anyhow::Result<Vec<(Run, Vec<i64>)>> {
    let sql = format!(
        "select r.id, r.from_offsets, array_agg(l.id order by l.id), r.topic_id
         from {} l join {} r on r.id = l.redrive_id
         where l.state = 'redriving' and r.cluster = $1 and r.topic = $2 and r.id <> $3
         group by r.id, r.from_offsets, r.topic_id order by r.id",
        ledger.table(source.table()),
        ledger.table("redrive")
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&run.cluster, Type::TEXT), (&run.topic, Type::TEXT), (&run.id, Type::INT8)];
    let rows = client.query_typed(&sql, &parameters).await;
    let left = |row: &Row| {
        let topic_id = row.get::<_, Option<String>>(3).map(TopicId);
        (Run { id: row.get(0), from: row.get(1), topic_id, ..run.clone() }, row.get(2))
    };
    Ok(rows.map_err(|error| refused(&error, ledger))?.iter().map(left).collect())
}

/// Opens letters again that an earlier run took and did not publish; how many.
/// `owner` must own the topic still, else none is opened.
///
/// # Errors
/// Whatever the server says.
pub async fn settle(
    client: &Client,
    ledger: &Ledger,
    source: Source,
    owner: &Run,
    earlier: &Run,
    ids: &[i64],
) -> anyhow::Result<u64> {
    let sql = format!(
        "with mine as ({}) update {} set state = 'open', state_at = now(), redrive_id = null
         from mine where id = any($4) and state = 'redriving' and redrive_id = $5",
        owner_sql(ledger),
        ledger.table(source.table())
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&owner.cluster, Type::TEXT),
        (&owner.topic, Type::TEXT),
        (&owner.id, Type::INT8),
        (&ids, Type::INT8_ARRAY),
        (&earlier.id, Type::INT8),
    ];
    let touched = client.execute_typed(&sql, &parameters).await;
    touched.map_err(|error| refused(&error, ledger))
}

/// Takes letters that are open; the numbers of those that it took. None when the
/// run is not the topic's owner any more.
///
/// # Errors
/// Whatever the server says; none is taken then.
pub async fn take(
    client: &Client,
    ledger: &Ledger,
    source: Source,
    run: &Run,
    ids: &[i64],
) -> anyhow::Result<Vec<i64>> {
    let table = ledger.table(source.table());
    // Locked in the order of their numbers, so that no two can deadlock.
    let sql = format!(
        "with mine as ({}),
             letters as (select l.id from {table} l, mine where l.id = any($4)
                 and l.state = 'open' order by l.id for update of l)
         update {table} d set state = 'redriving', state_at = now(), redrive_id = $3
         from letters where d.id = letters.id returning d.id",
        owner_sql(ledger)
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&run.cluster, Type::TEXT),
        (&run.topic, Type::TEXT),
        (&run.id, Type::INT8),
        (&ids, Type::INT8_ARRAY),
    ];
    let rows = client.query_typed(&sql, &parameters).await;
    let mut taken: Vec<i64> =
        rows.map_err(|error| refused(&error, ledger))?.iter().map(|row| row.get(0)).collect();
    taken.sort_unstable();
    Ok(taken)
}

/// The row that says whose the topic is, when it is the run's; nobody else can
/// become the owner until the statement is done.
fn owner_sql(ledger: &Ledger) -> String {
    format!(
        "select from {} where cluster = $1 and topic = $2 and redrive_id = $3 for share",
        ledger.table("redrive_owner")
    )
}

/// How the letters that a run took are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// They are in the topic.
    Published,
    /// The transaction was aborted: they are not.
    Aborted,
}

/// Marks letters that a run took; how many. Those that a later run has found
/// out about already stay as they are.
///
/// # Errors
/// Whatever the server says; the next run finds out then.
pub async fn finish(
    client: &Client,
    ledger: &Ledger,
    source: Source,
    run: &Run,
    ids: &[i64],
    ending: Ending,
) -> anyhow::Result<u64> {
    let set = match ending {
        Ending::Published => "state = 'redriven'",
        Ending::Aborted => "state = 'open', redrive_id = null",
    };
    let sql = format!(
        "update {} set state_at = now(), {set}
         where id = any($1) and state = 'redriving' and redrive_id = $2",
        ledger.table(source.table())
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&ids, Type::INT8_ARRAY), (&run.id, Type::INT8)];
    let touched = client.execute_typed(&sql, &parameters).await;
    touched.map_err(|error| refused(&error, ledger))
}

/// A record of a dead-letter topic that others write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its time in milliseconds since 1970 UTC; -1 when it has none.
    pub time_ms: i64,
}

/// Makes records of a foreign topic known to the ledger.
///
/// # Errors
/// Whatever the server says.
pub async fn register(
    client: &Client,
    ledger: &Ledger,
    cluster: &str,
    topic: &str,
    places: &[Place],
) -> anyhow::Result<()> {
    let sql = format!(
        "insert into {} (cluster, topic, partition, \"offset\", record_time_ms)
         select $1, $2, p.* from unnest($3::int4[], $4::int8[], $5::int8[]) p order by 3, 4
         on conflict do nothing",
        ledger.table("foreign_letter")
    );
    let lists = Lists::of(places);
    let inserted = client.execute_typed(&sql, &lists.parameters(&cluster, &topic)).await;
    inserted.map(|_| ()).map_err(|error| refused(&error, ledger))
}

/// Number and state of records of a foreign topic, in the order of `places`;
/// none for those that are not known yet.
///
/// # Errors
/// Whatever the server says.
pub async fn look_up(
    client: &Client,
    ledger: &Ledger,
    cluster: &str,
    topic: &str,
    places: &[Place],
) -> anyhow::Result<Vec<Option<(i64, State)>>> {
    let sql = format!(
        "select l.id, l.state from unnest($3::int4[], $4::int8[], $5::int8[]) with ordinality
             as p (partition, \"offset\", record_time_ms, place)
         left join {} l on l.cluster = $1 and l.topic = $2 and l.partition = p.partition
             and l.\"offset\" = p.\"offset\" and l.record_time_ms = p.record_time_ms
         order by p.place",
        ledger.table("foreign_letter")
    );
    let lists = Lists::of(places);
    let rows = client.query_typed(&sql, &lists.parameters(&cluster, &topic)).await;
    let known = |row: &Row| match row.get::<_, Option<i64>>(0) {
        Some(id) => Ok(Some((id, state(row, 1)?))),
        None => Ok(None),
    };
    rows.map_err(|error| refused(&error, ledger))?.iter().map(known).collect()
}

/// Places as the server takes them: a list for each column.
struct Lists {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    times: Vec<i64>,
}

impl Lists {
    fn of(places: &[Place]) -> Lists {
        Lists {
            partitions: places.iter().map(|place| place.partition).collect(),
            offsets: places.iter().map(|place| place.offset).collect(),
            times: places.iter().map(|place| place.time_ms).collect(),
        }
    }

    fn parameters<'p>(
        &'p self,
        cluster: &'p &str,
        topic: &'p &str,
    ) -> [(&'p (dyn ToSql + Sync), Type); 5] {
        [
            (cluster, Type::TEXT),
            (topic, Type::TEXT),
            (&self.partitions, Type::INT4_ARRAY),
            (&self.offsets, Type::INT8_ARRAY),
            (&self.times, Type::INT8_ARRAY),
        ]
    }
}
