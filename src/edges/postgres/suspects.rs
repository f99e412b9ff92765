//! Rows that the server is likely to refuse, found set-wise before it is asked.
//!
//! One refused row undoes the whole statement, and asking for each row by
//! itself costs five times a COPY. So the rows in the staging table are held
//! against the table's own constraints first, in one query, and those that seem
//! to break one are put apart. It is only a guess that saves time:
//! the server then decides on each suspect by itself, and a constraint that is
//! not understood here (a trigger but that of seating, an exclusion) finds its rows
//! the slow way.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::failure::{self, Class};
use super::seating;
use super::staging::STAGE;
use super::target::Target;

/// The staged rows that were put apart.
pub const SUSPECTS: &str = "pg_temp.orderctl_suspects";

/// Conditions on a staged row `s` under which the table $1 refuses it, as SQL,
/// from the constraints whose columns are all among the filled ones, $2:
/// checks, foreign keys, unique indexes but the key's ($3), and types with
/// rules of their own. A key that is stored already is a duplicate and no
/// matter of other indexes.
const CONDITIONS: &str = "
    with filled as (
        select a.attname, a.attnum, a.atttypid, a.atttypmod
        from pg_catalog.pg_attribute a
        where a.attrelid = pg_catalog.to_regclass($1) and a.attname::text = any($2)
    ), numbers as (select pg_catalog.array_agg(attnum) as filled from filled)
    select pg_catalog.format('not (%s)', pg_catalog.pg_get_expr(c.conbin, c.conrelid))
    from pg_catalog.pg_constraint c, numbers
    where c.conrelid = pg_catalog.to_regclass($1) and c.contype = 'c' and c.conkey <@ filled
    union all
    select pg_catalog.format('%s and not exists (select from %s r where %s)',
        pg_catalog.string_agg(pg_catalog.format('s.%I is not null', f.attname), ' and '),
        c.confrelid::pg_catalog.regclass,
        pg_catalog.string_agg(pg_catalog.format('r.%I = s.%I', r.attname, f.attname), ' and '))
    from numbers, pg_catalog.pg_constraint c
    cross join unnest(c.conkey, c.confkey) as pair (own, other)
    join filled f on f.attnum = pair.own
    join pg_catalog.pg_attribute r on r.attrelid = c.confrelid and r.attnum = pair.other
    where c.conrelid = pg_catalog.to_regclass($1) and c.contype = 'f' and c.conkey <@ filled
    group by c.oid, c.confrelid
    union all
    select pg_catalog.format('%1$s and (exists (select from %2$s t where %3$s)
            or s.orderctl_row not in (select min(orderctl_row) from %4$s group by %5$s))
            and not exists (select from %2$s t where t.%6$I = s.%6$I)',
        pg_catalog.string_agg(pg_catalog.format('s.%I is not null', f.attname), ' and '), $1,
        pg_catalog.string_agg(pg_catalog.format('t.%1$I = s.%1$I', f.attname), ' and '), $4,
        pg_catalog.string_agg(pg_catalog.quote_ident(f.attname), ', '), $3)
    from pg_catalog.pg_index i
    join filled f on f.attnum = any(i.indkey)
    where i.indrelid = pg_catalog.to_regclass($1) and i.indisunique and i.indisvalid
        and i.indpred is null and i.indexprs is null and i.indnkeyatts = i.indnatts
    group by i.indexrelid, i.indnatts
    having pg_catalog.count(*) = i.indnatts and not pg_catalog.bool_and(f.attname = $3)
    union all
    select pg_catalog.format('not pg_catalog.pg_input_is_valid(s.%I::text, %L)', f.attname,
        pg_catalog.format_type(f.atttypid, f.atttypmod))
    from filled f join pg_catalog.pg_type t on t.oid = f.atttypid
    where t.typtype = 'd' and pg_catalog.current_setting('server_version_num')::int >= 160000";

/// Moves the rows that are likely to be refused from the staging table to
/// [`SUSPECTS`]; how many.
///
/// # Errors
/// Whatever the server says that has to do with the connection; where it cannot
/// work out a constraint, the row at fault is left to be found the slow way.
pub async fn put_apart(client: &Client, target: &Target) -> Result<u64, Error> {
    let conditions = conditions(client, target).await?;
    if conditions.is_empty() {
        return Ok(0);
    }
    let create = format!(
        "create temporary table orderctl_suspects (like {STAGE}) on commit drop;
         savepoint orderctl_suspects"
    );
    client.batch_execute(&create).await?;
    // In one look at all rows: a row that comes after another with its unique
    // value is a suspect also when that other one is, so that of several rows the
    // first that can be stored is.
    let sql = format!(
        "with taken as (delete from {STAGE} s where ({}) returning s.*)
         insert into {SUSPECTS} select * from taken",
        conditions.join(") or (")
    );
    match client.execute_typed(&sql, &[]).await {
        Ok(rows) => Ok(rows),
        Err(error) if matches!(failure::classify(&error), Class::Wait | Class::Closed) => {
            Err(error)
        }
        // A table that we may not read, or a check that fails by itself.
        Err(_) => {
            client.batch_execute("rollback to savepoint orderctl_suspects").await?;
            Ok(0)
        }
    }
}

async fn conditions(client: &Client, target: &Target) -> Result<Vec<String>, Error> {
    let names: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
    let (table, key) = (target.quoted(), target.key().name.as_str());
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&table, Type::TEXT),
        (&names, Type::TEXT_ARRAY),
        (&key, Type::TEXT),
        (&STAGE, Type::TEXT),
    ];
    let rows = client.query_typed(CONDITIONS, &parameters).await?;
    let of_table = rows.iter().map(|row| row.get(0));
    Ok(of_table.chain(seating::suspicion(target)).collect())
}
