//! The table that db-setup creates for a kind.

use super::identifier::Identifier;
use crate::events::{Field, Kind, Shape};

/// The type of the id column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum IdType {
    /// Any id: digits, UUIDs, order numbers.
    #[default]
    Text,
    /// Only UUIDs, in 16 bytes.
    Uuid,
    /// Only whole numbers, in 8 bytes.
    Bigint,
}

/// `create table if not exists` with the kind's columns, the id first and
/// primary key.
pub fn table_sql(schema: &Identifier, table: &Identifier, kind: Kind, id_type: IdType) -> String {
    let fields = kind.fields().iter().filter(|field| field.in_default_table);
    let columns: Vec<String> =
        fields.enumerate().map(|(index, field)| column_sql(field, index == 0, id_type)).collect();
    format!(
        "create table if not exists {}.{} (\n  {}\n)",
        schema.quoted(),
        table.quoted(),
        columns.join(",\n  ")
    )
}

fn column_sql(field: &Field, is_key: bool, id_type: IdType) -> String {
    let type_name = match field.shape {
        Shape::Id if is_key => id_type.sql(),
        Shape::Id | Shape::Text | Shape::Code => "text",
        Shape::Integer => "integer",
        Shape::Decimal => "numeric",
        Shape::Moment if field.name.starts_with("date_of") => "date",
        Shape::Moment => "timestamptz",
    };
    let constraint = match (is_key, field.required) {
        (true, _) => " primary key",
        (false, true) => " not null",
        (false, false) => "",
    };
    format!("{} {type_name}{constraint}", field.name)
}

impl IdType {
    fn sql(self) -> &'static str {
        match self {
            IdType::Text => "text",
            IdType::Uuid => "uuid",
            IdType::Bigint => "bigint",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_table_is_the_one_of_the_contract() {
        let name = |text: &str| text.parse().unwrap();
        let sql = table_sql(&name("public"), &name("orders"), Kind::Order, IdType::Text);
        for column in [
            "order_id text primary key",
            "product_name text not null",
            "quantity integer not null",
            "order_date timestamptz not null",
            "priority text not null",
        ] {
            assert!(sql.contains(column), "{sql}");
        }
        assert!(!sql.contains("unit_price"), "{sql}");
    }
}
