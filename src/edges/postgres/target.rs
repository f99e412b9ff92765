//! A table as it is, read from the catalog, and how rows are made for it.

use anyhow::{Context as _, bail};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::column::ColumnType;
use super::identifier::Identifier;
use crate::events::{Field, Kind};

/// The trigger by which a table of tickets is known to have seating: see
/// [`super::seating`].
pub const SEATING_TRIGGER: &str = "orderctl_seating_insert";

/// What happens to a record whose id is in the table already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnDuplicate {
    /// The stored row stays, the record is counted as skipped.
    #[default]
    Skip,
    /// The stored row takes the record's values.
    Update,
    /// The record becomes a dead letter.
    Reject,
}

/// A column that rows fill.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: Identifier,
    /// Index into [`Kind::fields`].
    pub field: usize,
    /// How its values are encoded.
    pub column_type: ColumnType,
    /// The type as written in SQL, without modifier, domains as their base: what
    /// a staging table declares so that it refuses nothing.
    pub base_type: String,
    /// Its collation as written in SQL, where it is not the type's own.
    pub collation: Option<String>,
    /// Whether an absent value may be stored as null.
    pub nullable: bool,
    /// Whether it holds the event's id.
    pub is_key: bool,
}

/// A table that takes events of a kind.
#[derive(Debug, Clone)]
pub struct Target {
    /// The schema it is in.
    pub schema: Identifier,
    /// Its name.
    pub table: Identifier,
    /// What its rows are made of.
    pub kind: Kind,
    /// The columns that rows fill, in the table's order.
    pub columns: Vec<Column>,
    /// Their number as COPY BINARY wants it.
    pub column_count: i16,
    /// Whether the id is unique, so that a duplicate can be told.
    pub unique_key: bool,
    /// Whether the server may refuse a row that the encoder let through, because
    /// of constraints, triggers or the like. Then batches keep the payloads, so
    /// that a refused row can become a dead letter.
    pub server_may_refuse: bool,
    /// Whether its tickets' seats are sold once.
    pub has_seating: bool,
    /// Optional fields of the kind that the table has no column for.
    pub left_out: Vec<&'static str>,
}

impl Target {
    /// Schema and table as written in SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", self.schema.quoted(), self.table.quoted())
    }

    /// The names of the columns that rows fill, as written in SQL.
    pub fn column_list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| column.name.quoted()).collect();
        names.join(", ")
    }

    /// What a batch does by itself about rows whose ids have the same bytes:
    /// nothing, where the server may refuse the one that would be stored, for then
    /// another one is to be.
    pub fn repeat(&self, on_duplicate: OnDuplicate) -> Option<OnDuplicate> {
        (self.unique_key && !self.server_may_refuse).then_some(on_duplicate)
    }

    /// The column that holds the id.
    pub fn key(&self) -> &Column {
        // `shape` refuses a table without one.
        self.columns.iter().find(|column| column.is_key).unwrap_or(&self.columns[0])
    }
}

/// Where a table was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its object id.
    pub oid: u32,
    /// The schema it is in.
    pub schema: Identifier,
    /// Its name.
    pub table: Identifier,
}

/// Finds a table by name, in the schema named or on the search path.
///
/// # Errors
/// When what has that name is not a table, or the catalog cannot be read.
pub async fn find(
    client: &Client,
    schema: Option<&Identifier>,
    table: &Identifier,
) -> anyhow::Result<Option<Found>> {
    let sql = "select c.oid, n.nspname::text, c.relkind::text
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relname = $1 and case when $2 = '' then pg_catalog.pg_table_is_visible(c.oid)
            else n.nspname = $2 end";
    let schema = schema.map_or("", Identifier::as_str);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&table.as_str(), Type::TEXT), (&schema, Type::TEXT)];
    let Some(row) = client.query_typed_opt(sql, &parameters).await? else { return Ok(None) };
    let kind: &str = row.get(2);
    if !matches!(kind, "r" | "p") {
        bail!("{table} is not a table but {}; name a table", relation_kind(kind));
    }
    let schema: &str = row.get(1);
    let schema = schema.parse().map_err(anyhow::Error::msg)?;
    Ok(Some(Found { oid: row.get(0), schema, table: table.clone() }))
}

fn relation_kind(kind: &str) -> &'static str {
    match kind {
        "v" => "a view",
        "m" => "a materialized view",
        "f" => "a foreign table",
        "i" | "I" => "an index",
        "S" => "a sequence",
        _ => "something else",
    }
}

/// The kind whose id column the table has, for a table that nobody recorded.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn guess_kind(client: &Client, found: &Found) -> anyhow::Result<Option<Kind>> {
    let described = describe(client, found.oid).await?;
    let has = |kind: &Kind| described.iter().any(|column| column.name == kind.fields()[0].name);
    Ok(Kind::ALL.into_iter().find(has))
}

/// Reads the table's columns and fits the kind's fields to them.
///
/// # Errors
/// When the table cannot take the kind; the text names every column at fault.
pub async fn shape(client: &Client, found: &Found, kind: Kind) -> anyhow::Result<Target> {
    let described = describe(client, found.oid).await?;
    let columns = fit(kind, &described).map_err(|faults| {
        anyhow::anyhow!(
            "table {}.{} cannot take events of kind {}: {}; change the table, or name another \
             with --table, or another kind with --kind",
            found.schema,
            found.table,
            kind.name(),
            faults.join("; ")
        )
    })?;
    let key = columns.iter().find(|column| column.is_key).context("a kind has an id")?;
    let number = described.iter().find(|one| one.name == key.name.as_str()).map_or(0, |d| d.number);
    let Rules { unique_key, others, has_seating } = rules(client, found.oid, number).await?;
    let left_out = (kind.fields().iter().enumerate())
        .filter(|(index, _)| !columns.iter().any(|column| column.field == *index))
        .map(|(_, field)| field.name)
        .collect();
    Ok(Target {
        schema: found.schema.clone(),
        table: found.table.clone(),
        kind,
        column_count: columns.len() as i16,
        columns,
        unique_key,
        server_may_refuse: others || described.iter().any(|column| column.is_domain),
        has_seating,
        left_out,
    })
}

/// A column as the catalog has it.
#[derive(Debug)]
struct Described {
    name: String,
    number: i16,
    column_type: Option<ColumnType>,
    shown_type: String,
    base_type: String,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
    is_domain: bool,
    collation: Option<String>,
}

async fn describe(client: &Client, oid: u32) -> anyhow::Result<Vec<Described>> {
    let sql = "select a.attname::text, a.attnum, b.typname::text, b.typtype = 'e',
            case when t.typtype = 'd' then t.typtypmod else a.atttypmod end,
            array(select e.enumlabel::text from pg_catalog.pg_enum e
                where e.enumtypid = b.oid order by e.enumsortorder),
            pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(b.oid, -1),
            a.attnotnull or t.typnotnull,
            a.atthasdef or a.attidentity <> '' or t.typdefault is not null,
            a.attgenerated <> '', t.typtype = 'd',
            (select pg_catalog.format('%I.%I', n.nspname, c.collname)
                from pg_catalog.pg_collation c
                join pg_catalog.pg_namespace n on n.oid = c.collnamespace
                where c.oid = a.attcollation and c.oid <> b.typcollation)
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        join pg_catalog.pg_type b
            on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
        where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
        order by a.attnum";
    let rows = client.query_typed(sql, &[(&oid, Type::OID)]).await?;
    Ok(rows.iter().map(described).collect())
}

fn described(row: &Row) -> Described {
    Described {
        name: row.get(0),
        number: row.get(1),
        column_type: ColumnType::from_catalog(row.get(2), row.get(3), row.get(4), row.get(5)),
        shown_type: row.get(6),
        base_type: row.get(7),
        not_null: row.get(8),
        has_default: row.get(9),
        is_generated: row.get(10),
        is_domain: row.get(11),
        collation: row.get(12),
    }
}

/// What the server sees to by itself: that the key column alone is unique;
/// `others` by which it may refuse a row, on the table or by its encoding.
struct Rules {
    unique_key: bool,
    others: bool,
    has_seating: bool,
}

async fn rules(client: &Client, oid: u32, key: i16) -> anyhow::Result<Rules> {
    let sql = "with keys as (
            select i.indexrelid from pg_catalog.pg_index i
            where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indimmediate
                and i.indpred is null and i.indnkeyatts = 1 and i.indkey[0] = $2)
        select exists (select from keys),
            exists (select from pg_catalog.pg_constraint
                where conrelid = $1 and contype in ('c', 'f', 'x'))
            or exists (select from pg_catalog.pg_index i where i.indrelid = $1
                and (i.indisunique or i.indisexclusion)
                and i.indexrelid not in (select indexrelid from keys))
            or exists (select from pg_catalog.pg_trigger
                where tgrelid = $1 and not tgisinternal)
            or exists (select from pg_catalog.pg_class where oid = $1 and relkind = 'p')
            or pg_catalog.current_setting('server_encoding') <> 'UTF8',
            exists (select from pg_catalog.pg_trigger where tgrelid = $1 and tgname = $3)";
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&oid, Type::OID), (&key, Type::INT2), (&SEATING_TRIGGER, Type::TEXT)];
    let row = client.query_typed_one(sql, &parameters).await?;
    Ok(Rules { unique_key: row.get(0), others: row.get(1), has_seating: row.get(2) })
}

/// The columns to fill, or what keeps the kind out of the table.
fn fit(kind: Kind, described: &[Described]) -> Result<Vec<Column>, Vec<String>> {
    let mut faults = Vec::new();
    let mut columns = Vec::new();
    for column in described.iter().filter(|column| !column.is_generated) {
        match field_of(kind, &column.name, described) {
            Some((index, field)) => match fill(column, index, field) {
                Ok(filled) => columns.push(filled),
                Err(fault) => faults.push(fault),
            },
            None if column.not_null && !column.has_default => faults.push(format!(
                "column {} is not null, has no default, and no field of the event fills it",
                column.name
            )),
            None => {}
        }
    }
    for (index, field) in kind.fields().iter().enumerate() {
        let is_there = described.iter().any(|column| {
            field_of(kind, &column.name, described).is_some_and(|(found, _)| found == index)
        });
        if field.required && !is_there {
            faults.push(format!("it has no column {}", field.name));
        }
    }
    if faults.is_empty() { Ok(columns) } else { Err(faults) }
}

fn fill(column: &Described, index: usize, field: &Field) -> Result<Column, String> {
    let unfit = || format!("column {} is {}", column.name, column.shown_type);
    let column_type =
        column.column_type.clone().filter(|known| known.takes(field)).ok_or_else(unfit)?;
    Ok(Column {
        name: column.name.parse()?,
        field: index,
        column_type,
        base_type: column.base_type.clone(),
        collation: column.collation.clone(),
        nullable: !column.not_null,
        is_key: index == 0,
    })
}

/// The field that a column of this name holds: the one of that very name, else
/// one that lists it as an alias and has no column of its own name.
fn field_of(kind: Kind, column: &str, described: &[Described]) -> Option<(usize, &'static Field)> {
    let own_name = |name: &str| described.iter().any(|other| other.name == name);
    kind.fields().iter().enumerate().find(|(_, field)| {
        field.name == column || (field.aliases.contains(&column) && !own_name(field.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_name: &str) -> Described {
        Described {
            name: name.into(),
            number: 1,
            column_type: ColumnType::from_catalog(type_name, false, -1, Vec::new()),
            shown_type: type_name.into(),
            base_type: type_name.into(),
            not_null: false,
            has_default: false,
            is_generated: false,
            is_domain: false,
            collation: None,
        }
    }

    fn orders() -> Vec<Described> {
        let typed = |field: &Field| match field.shape {
            Shape::Integer => "int4",
            Shape::Moment => "date",
            _ => "varchar",
        };
        let fields = Kind::Order.fields().iter().filter(|field| field.required);
        fields.map(|field| column(field.name, typed(field))).collect()
    }

    use crate::events::Shape;

    #[test]
    fn a_table_made_by_hand_fits_in_its_own_order_of_columns() {
        let mut table = orders();
        table.reverse();
        let columns = fit(Kind::Order, &table).unwrap();
        assert!(columns.last().unwrap().is_key);
        assert_eq!(columns.len(), table.len());
    }

    #[test]
    fn faults_are_named_by_column() {
        let mut table = orders();
        table.retain(|column| column.name != "priority");
        table.iter_mut().find(|c| c.name == "quantity").unwrap().column_type = None;
        table.push(Described { not_null: true, ..column("shop", "text") });
        let faults = fit(Kind::Order, &table).unwrap_err().join("; ");
        for name in ["priority", "quantity", "shop"] {
            assert!(faults.contains(name), "{faults}");
        }
    }

    #[test]
    fn a_generated_column_is_left_to_the_server() {
        let mut table = orders();
        table.push(Described { is_generated: true, not_null: true, ..column("lower", "text") });
        assert_eq!(fit(Kind::Order, &table).unwrap().len(), table.len() - 1);
    }

    #[test]
    fn an_alias_serves_where_the_own_name_is_missing() {
        let mut table = orders();
        let field = Kind::Order.fields().iter().find(|field| !field.aliases.is_empty()).unwrap();
        table.iter_mut().find(|c| c.name == field.name).unwrap().name = field.aliases[0].into();
        let columns = fit(Kind::Order, &table).unwrap();
        assert!(columns.iter().any(|column| column.name.as_str() == field.aliases[0]));
    }
}
