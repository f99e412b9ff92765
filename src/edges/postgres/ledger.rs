//! The ledger: which kind a table holds, where each partition goes on, and who
//! may write it.
//!
//! It has a schema of its own, `orderctl`. A role that may not create that
//! schema keeps the ledger beside its tables instead.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::identifier::{Identifier, literal};
use super::target::Found;
use crate::engine::checkpoint::{Advance, Claim, TopicId};
use crate::events::Kind;

/// The schema the ledger is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Never anything else than what [`locate`] or `db-setup` found.
    pub schema: Identifier,
}

/// The schema that the ledger has where the role may create it.
pub const DEFAULT_SCHEMA: &str = "orderctl";

/// Whose positions are meant: a consumer group's on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The worker's own name, for people who look at the ledger.
    pub worker: String,
}

/// Finds the ledger that serves a table: in its own schema, else beside the
/// table; none when db-setup has not run yet.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn locate(client: &Client, table_schema: &Identifier) -> Result<Option<Ledger>, Error> {
    let sql = "select n.nspname::text from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relname = 'ledger_position' and n.nspname in ($1, $2)
            and pg_catalog.has_schema_privilege(n.oid, 'usage')
        order by n.nspname = $1 desc limit 1";
    let row = client
        .query_typed_opt(
            sql,
            &[(&DEFAULT_SCHEMA, Type::TEXT), (&table_schema.as_str(), Type::TEXT)],
        )
        .await?;
    Ok(row.and_then(|row| row.get::<_, &str>(0).parse().ok()).map(|schema| Ledger { schema }))
}

impl Ledger {
    /// A table of the ledger as written in SQL.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema.quoted())
    }

    /// The version that migrations have brought it to.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn version(&self, client: &Client) -> Result<usize, Error> {
        let history = self.table("ledger_history");
        let sql = format!("select coalesce(max(version), 0) from {history}");
        let version: i32 = client.query_typed_one(&sql, &[]).await?.get(0);
        Ok(usize::try_from(version).unwrap_or(0))
    }

    /// Notes that a table holds events of a kind.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn record_table(
        &self,
        client: &Client,
        found: &Found,
        kind: Kind,
    ) -> Result<(), Error> {
        let sql = format!(
            "insert into {} (table_schema, table_name, kind) values ($1, $2, $3)
             on conflict (table_schema, table_name) do update set kind = excluded.kind
             where ledger_table.kind <> excluded.kind",
            self.table("ledger_table")
        );
        let parameters = texts([found.schema.as_str(), found.table.as_str(), kind.name()]);
        client.execute_typed(&sql, &borrowed(&parameters)).await.map(|_| ())
    }

    /// The kind noted for a table, if any.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn kind_of(&self, client: &Client, found: &Found) -> Result<Option<Kind>, Error> {
        let sql = format!(
            "select kind from {} where table_schema = $1 and table_name = $2",
            self.table("ledger_table")
        );
        let parameters = texts([found.schema.as_str(), found.table.as_str()]);
        let row = client.query_typed_opt(&sql, &borrowed(&parameters)).await?;
        Ok(row.and_then(|row| {
            let name: &str = row.get(0);
            Kind::ALL.into_iter().find(|kind| kind.name() == name)
        }))
    }

    /// The table that a group already stores a topic into, as schema and name.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn table_of(
        &self,
        client: &Client,
        owner: &Owner,
    ) -> Result<Option<(String, String)>, Error> {
        let sql = format!(
            "select table_schema, table_name from {} where group_name = $1 and topic = $2 limit 1",
            self.table("ledger_position")
        );
        let parameters = texts([&owner.group, &owner.topic]);
        let row = client.query_typed_opt(&sql, &borrowed(&parameters)).await?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// Takes partitions over: from here on only a batch that knows the new epoch
    /// can advance them. A partition seen for the first time starts at the
    /// offset given with it. With each comes the topic that its position is of.
    ///
    /// Waits at most `lock_timeout_s` for a batch that holds a row, then fails
    /// with SQLSTATE 55P03.
    ///
    /// # Errors
    /// Whatever the server says; nothing is taken then.
    pub async fn claim(
        &self,
        client: &Client,
        owner: &Owner,
        table: &Found,
        topic_id: Option<&TopicId>,
        starts: &[(i32, i64)],
        lock_timeout_s: u32,
    ) -> Result<Vec<(Claim, Option<TopicId>)>, Error> {
        // Locks are taken in the order of the partitions, by every claimer.
        let sql = format!(
            "insert into {} as p (group_name, topic, partition, table_schema, table_name,
                 next_offset, owner_epoch, owner, topic_id)
             select $1, $2, s.partition, $3, $4, s.next_offset, 1, $5, $8
             from unnest($6::int4[], $7::int8[]) as s (partition, next_offset)
             order by s.partition
             on conflict (group_name, topic, partition) do update
                 set owner_epoch = p.owner_epoch + 1, owner = excluded.owner, updated_at = now(),
                     topic_id = coalesce(p.topic_id, excluded.topic_id)
             returning partition, next_offset, owner_epoch, topic_id",
            self.table("ledger_position")
        );
        let (partitions, offsets): (Vec<i32>, Vec<i64>) = starts.iter().copied().unzip();
        let (schema, name) = (table.schema.as_str(), table.table.as_str());
        let topic_id = topic_id.map(|id| id.0.as_str());
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (&owner.group, Type::TEXT),
            (&owner.topic, Type::TEXT),
            (&schema, Type::TEXT),
            (&name, Type::TEXT),
            (&owner.worker, Type::TEXT),
            (&partitions, Type::INT4_ARRAY),
            (&offsets, Type::INT8_ARRAY),
            (&topic_id, Type::TEXT),
        ];
        client
            .batch_execute(&format!("begin; set local lock_timeout = '{lock_timeout_s}s'"))
            .await?;
        let claimed = client.query_typed(&sql, &parameters).await;
        let end = if claimed.is_ok() { "commit" } else { "rollback" };
        let ended = client.batch_execute(end).await;
        let rows = claimed?;
        ended?;
        Ok(rows.iter().map(|row| (claim(row), row.get::<_, Option<_>>(3).map(TopicId))).collect())
    }

    /// Moves a partition that this worker has just claimed, when its position is
    /// gone from Kafka and the user chose where to go on; it is of this topic
    /// from now on, if there is one, and the ledger notes that it was moved.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn move_position(
        &self,
        client: &Client,
        owner: &Owner,
        moved: &Claim,
        topic_id: Option<&TopicId>,
    ) -> Result<(), Error> {
        let sql = format!(
            "update {} set next_offset = $1, topic_id = coalesce($6, topic_id), updated_at = now(),
                 moved_at = now(), moved_to = $1
             where group_name = $2 and topic = $3 and partition = $4 and owner_epoch = $5",
            self.table("ledger_position")
        );
        let topic_id = topic_id.map(|id| id.0.as_str());
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&moved.next_offset, Type::INT8),
            (&owner.group, Type::TEXT),
            (&owner.topic, Type::TEXT),
            (&moved.partition, Type::INT4),
            (&moved.epoch, Type::INT8),
            (&topic_id, Type::TEXT),
        ];
        client.execute_typed(&sql, &parameters).await.map(|_| ())
    }

    /// Ends the backends of this group that keep others waiting for a position,
    /// as a stopped worker in the middle of a COPY does; how many it ended.
    ///
    /// Only backends that the server names as blocking, and whose
    /// `application_name` is the group's, are touched.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn end_blockers(&self, client: &Client, application: &str) -> Result<u64, Error> {
        let sql = "select pg_catalog.pg_terminate_backend(b.pid)
            from (select distinct unnest(pg_catalog.pg_blocking_pids(w.pid)) as pid
                  from pg_catalog.pg_stat_activity w
                  where w.application_name = $1 and w.wait_event_type = 'Lock') as b
            join pg_catalog.pg_stat_activity a on a.pid = b.pid and a.application_name = $1";
        client.execute_typed(sql, &[(&application, Type::TEXT)]).await
    }

    /// Where partitions stand now.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn positions(&self, client: &Client, owner: &Owner) -> Result<Vec<Claim>, Error> {
        let sql = format!(
            "select partition, next_offset, owner_epoch from {}
             where group_name = $1 and topic = $2",
            self.table("ledger_position")
        );
        let parameters = texts([&owner.group, &owner.topic]);
        let rows = client.query_typed(&sql, &borrowed(&parameters)).await?;
        Ok(rows.iter().map(claim).collect())
    }

    /// One update a partition, in their order; each touches one row, or none
    /// when this worker is no longer the owner.
    pub fn advance_sql(&self, owner: &Owner, advances: &[Advance]) -> String {
        let mut sql = String::with_capacity(advances.len() * 200);
        for advance in advances {
            sql.push_str(&format!(
                "update {} set next_offset = {}, updated_at = now() where group_name = {} \
                 and topic = {} and partition = {} and next_offset = {} and owner_epoch = {};",
                self.table("ledger_position"),
                advance.to,
                literal(&owner.group),
                literal(&owner.topic),
                advance.partition,
                advance.from,
                advance.epoch,
            ));
        }
        sql
    }
}

/// From partition, position and epoch.
fn claim(row: &Row) -> Claim {
    Claim { partition: row.get(0), next_offset: row.get(1), epoch: row.get(2) }
}

fn texts<const N: usize>(values: [&str; N]) -> [String; N] {
    values.map(str::to_owned)
}

fn borrowed(values: &[String]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect()
}
