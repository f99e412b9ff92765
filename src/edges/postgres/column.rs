//! The column types that rows can be encoded for, and which fields they take.

use crate::events::{Field, Shape};

/// A column type as the encoder sees it; a domain counts as its base type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `text`, `varchar(n)`, `char(n)`, `citext`; the bound is in characters.
    Text {
        /// n of `varchar(n)`.
        chars_max: Option<usize>,
    },
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `numeric`.
    Numeric {
        /// p and s of `numeric(p,s)`: how many digits there are, and how many of
        /// them after the point, which may be below zero or above p.
        bounds: Option<(i32, i32)>,
    },
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `timestamp` or `timestamptz`: both are microseconds since 2000.
    Timestamp,
    /// `boolean`.
    Bool,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// An enumeration, with its labels.
    Enum {
        /// In the order of the type.
        labels: Vec<String>,
    },
}

impl ColumnType {
    /// From the catalog's name of the base type, its kind and its modifier;
    /// none for a type that rows cannot be encoded for.
    pub fn from_catalog(
        name: &str,
        is_enum: bool,
        modifier: i32,
        labels: Vec<String>,
    ) -> Option<ColumnType> {
        if is_enum {
            return Some(ColumnType::Enum { labels });
        }
        // A modifier counts from 4, the size of a header; -1 is none.
        let bound = usize::try_from(modifier - 4).ok();
        Some(match name {
            "text" | "citext" => ColumnType::Text { chars_max: None },
            "varchar" | "bpchar" => ColumnType::Text { chars_max: bound },
            "int2" => ColumnType::Int2,
            "int4" => ColumnType::Int4,
            "int8" => ColumnType::Int8,
            "numeric" => ColumnType::Numeric { bounds: bound.map(precision_and_scale) },
            "uuid" => ColumnType::Uuid,
            "date" => ColumnType::Date,
            "timestamp" | "timestamptz" => ColumnType::Timestamp,
            "bool" => ColumnType::Bool,
            "json" => ColumnType::Json,
            "jsonb" => ColumnType::Jsonb,
            _ => return None,
        })
    }

    /// The modifier as written in SQL, in parentheses; empty where there is none.
    pub fn modifier(&self) -> String {
        match self {
            ColumnType::Text { chars_max: Some(most) } => format!("({most})"),
            ColumnType::Numeric { bounds: Some((precision, scale)) } => {
                format!("({precision}, {scale})")
            }
            _ => String::new(),
        }
    }

    /// Whether a column of this type can take a field at all. A single value may
    /// still not fit; then its record is a reject.
    pub fn takes(&self, field: &Field) -> bool {
        use ColumnType as C;
        if matches!(self, C::Text { .. } | C::Json | C::Jsonb) {
            return true;
        }
        match field.shape {
            Shape::Id | Shape::Code => {
                matches!(self, C::Int2 | C::Int4 | C::Int8 | C::Numeric { .. } | C::Uuid)
            }
            Shape::Text => matches!(self, C::Enum { .. } | C::Bool | C::Uuid),
            Shape::Integer => matches!(self, C::Int2 | C::Int4 | C::Int8 | C::Numeric { .. }),
            Shape::Decimal => matches!(self, C::Numeric { .. }),
            Shape::Moment => matches!(self, C::Date | C::Timestamp),
        }
    }
}

/// p and s of the modifier of `numeric(p,s)`: p above 16 bits, s in 11 bits with
/// sign.
fn precision_and_scale(modifier: usize) -> (i32, i32) {
    let scale = ((modifier & 0x7ff) as i32 ^ 1024) - 1024;
    ((modifier >> 16) as i32, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(name: &str, modifier: i32) -> ColumnType {
        ColumnType::from_catalog(name, false, modifier, Vec::new()).unwrap()
    }

    #[test]
    fn modifiers_bound_text_and_numbers() {
        assert_eq!(typed("varchar", 14), ColumnType::Text { chars_max: Some(10) });
        assert_eq!(typed("varchar", -1), ColumnType::Text { chars_max: None });
        let five_two = ((5 << 16) | 2) + 4;
        assert_eq!(typed("numeric", five_two), ColumnType::Numeric { bounds: Some((5, 2)) });
        let three_minus_two = ((3 << 16) | (-2 & 0x7ff)) + 4;
        let rounded = ColumnType::Numeric { bounds: Some((3, -2)) };
        assert_eq!(typed("numeric", three_minus_two), rounded);
        let two_four = ((2 << 16) | 4) + 4;
        assert_eq!(typed("numeric", two_four), ColumnType::Numeric { bounds: Some((2, 4)) });
    }

    #[test]
    fn a_type_we_cannot_write_is_none() {
        assert_eq!(ColumnType::from_catalog("bytea", false, -1, Vec::new()), None);
    }

    #[test]
    fn a_name_does_not_go_into_a_number_but_an_id_does() {
        let field = |shape| Field {
            name: "x",
            aliases: &[],
            shape,
            required: true,
            in_default_table: true,
        };
        assert!(typed("int4", -1).takes(&field(Shape::Id)));
        assert!(!typed("int4", -1).takes(&field(Shape::Text)));
        assert!(!typed("int4", -1).takes(&field(Shape::Moment)));
        assert!(typed("text", -1).takes(&field(Shape::Moment)));
    }
}
