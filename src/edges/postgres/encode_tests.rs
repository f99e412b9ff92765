//! Tests of the row encoder: whatever comes in, a row or a reject comes out.

use proptest::prelude::*;

use super::super::encode_check::{assert_row_or_reject, table};
use super::*;
use crate::events::{Kind, nasty};

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 14)
}

proptest! {
    #[test]
    fn any_payload_is_a_row_or_a_reject_before_any_table(
        (kind, payload) in kind().prop_flat_map(|kind| (Just(kind), nasty::payload(kind))),
        choices in choices(),
    ) {
        assert_row_or_reject(&payload, &table(kind, &choices));
    }

    #[test]
    fn any_bytes_are_a_reject(
        bytes in prop::collection::vec(any::<u8>(), 0..300), kind in kind(), choices in choices(),
    ) {
        prop_assert!(!assert_row_or_reject(&bytes, &table(kind, &choices)));
    }
}

#[test]
fn a_megabyte_of_text_is_a_row_or_a_reject_before_any_table() {
    let long = "ä".repeat(1 << 19);
    for kind in Kind::ALL {
        let id = kind.fields()[0].name;
        let mut event = nasty::generated(kind, 1);
        event["unknown"] = long.as_str().into();
        assert!(assert_row_or_reject(event.to_string().as_bytes(), &table(kind, &[0; 14])));
        event["email"] = long.as_str().into();
        event[id] = long.as_str().into();
        // Every type that an id or a name can have, and no more: it takes its time.
        for choice in (0..20).step_by(2) {
            assert!(!assert_row_or_reject(
                event.to_string().as_bytes(),
                &table(kind, &[choice; 14])
            ));
        }
    }
}

/// Whether a column `numeric(precision,scale)` takes the number.
fn takes(text: &str, precision: i32, scale: i32) -> bool {
    let mut target = table(Kind::Order, &[0; 14]);
    let price = target.columns.iter_mut().find(|column| column.name.as_str() == "unit_price");
    let column = price.expect("a field of orders");
    column.column_type = ColumnType::Numeric { bounds: Some((precision, scale)) };
    from_decimal(text, column, &mut Vec::new()).is_ok()
}

#[test]
fn a_bounded_number_is_refused_when_it_is_too_large_after_rounding() {
    for (fits, too_large, precision, scale) in [
        ("999.99", "1000", 5, 2),
        ("999.994999", "999.995", 5, 2),
        ("-999.994", "-999.995", 5, 2),
        ("99", "99.5", 2, 0),
        ("99949", "99950", 3, -2),
        ("0.0099", "0.0100", 2, 4),
        ("0.00994", "0.00995", 2, 4),
        ("949", "950", 1, -2),
        ("0", "1", 2, 2),
        ("000.00", "0.995", 2, 2),
    ] {
        assert!(!takes(too_large, precision, scale), "{too_large} for {precision},{scale}");
        assert!(takes(fits, precision, scale), "{fits} for {precision},{scale}");
    }
}
