use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::events::Value;

const BASE_MICROS: i64 = 1_735_689_600_000_000;

fn generator(kind: Kind, seed: u64) -> Generator {
    Generator::new(kind, seed, BASE_MICROS, IdStyle::V7)
}

fn event(generator: &Generator, index: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut payload) = (Vec::new(), Vec::new());
    generator.write(index, &mut key, &mut payload);
    (key, payload)
}

fn text<'e>(event: &'e crate::events::Event<'_>, field: usize) -> &'e str {
    match event.value(field) {
        Value::Text(text) | Value::Decimal(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

#[test]
fn generated_events_are_valid_and_keyed_by_their_id() {
    for kind in Kind::ALL {
        for id_style in [IdStyle::V7, IdStyle::V4] {
            let generator = Generator::new(kind, 7, BASE_MICROS, id_style);
            let mut ids = HashSet::new();
            for index in 0..10_000 {
                let (key, payload) = event(&generator, index);
                let event = kind.parse(&payload).unwrap_or_else(|reject| {
                    panic!("{reject}: {}", String::from_utf8_lossy(&payload))
                });
                assert_eq!(event.id().as_bytes(), key);
                assert!(ids.insert(key), "an id came twice");
            }
        }
    }
}

#[test]
fn every_value_of_the_pools_is_valid() {
    let pools = Pools::new(1);
    let mut emails = HashSet::new();
    for person in &pools.persons {
        assert!(emails.insert(&person.email), "{} came twice", person.email);
        assert!(person.email.starts_with(&*person.username));
    }
    let quoted = |text: &str| format!("\"{text}\"");
    let cities = pools.cities.iter().flat_map(|city| [&city.city, &city.state, &city.country]);
    let products = pools.products.iter().map(|product| &product.name);
    for text in cities.chain(products).chain(&pools.streets).chain(&pools.movies) {
        assert!(serde_json::from_str::<String>(&quoted(text)).is_ok(), "{text}");
    }
}

#[test]
fn the_order_of_writing_does_not_change_the_bytes() {
    for kind in Kind::ALL {
        let forward: Vec<_> = (0..20).map(|index| event(&generator(kind, 3), index)).collect();
        let one = generator(kind, 3);
        let mut backward: Vec<_> = (0..20).rev().map(|index| event(&one, index)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let other = generator(kind, 4);
        assert_ne!(forward, (0..20).map(|index| event(&other, index)).collect::<Vec<_>>());
    }
}

#[test]
fn the_bytes_of_a_seed_are_these_for_ever() {
    let (key, payload) = event(&generator(Kind::Order, 7), 0);
    assert_eq!(String::from_utf8(key).unwrap(), "01941f29-7c00-7000-863b-891f4c0abd4f");
    assert_eq!(
        String::from_utf8(payload).unwrap(),
        concat!(
            r#"{"order_id":"01941f29-7c00-7000-863b-891f4c0abd4f","customer":{"name":"Millie Kr"#,
            r#"eiger","email":"millie.kreiger@example.org","address":{"street":"6571 Elisa High"#,
            r#"way","city":"Kraków","state":"Małopolskie","postal_code":"31-055"}},"product_nam"#,
            r#"e":"Dark Chocolate","unit_price":"4.25","currency":"USD","quantity":3,"order_dat"#,
            r#"e":"2025-01-01T00:00:00.000Z","priority":"medium"}"#,
        )
    );
}

#[test]
fn a_payment_is_the_only_difference_it_makes() {
    let plain = generator(Kind::Order, 7);
    let paid = generator(Kind::Order, 7).with_payments(true);
    let mut declined = 0;
    for index in 0..2000 {
        let (_, without) = event(&plain, index);
        let (_, with) = event(&paid, index);
        assert!(with.starts_with(&without[..without.len() - 1]));
        Kind::Order.parse(&with).unwrap();
        let with: serde_json::Value = serde_json::from_slice(&with).unwrap();
        let token = with["payment"]["card_token"].as_str().unwrap();
        let is_approved = matches!(token, "tok_visa" | "tok_mastercard" | "tok_amex");
        declined += u32::from(!is_approved);
    }
    assert!((20..100).contains(&declined), "{declined} of 2000");
}

#[test]
fn ids_of_version_7_are_in_the_order_of_the_events() {
    let generator = generator(Kind::Order, 9);
    let keys: Vec<_> = (0..5000).map(|index| event(&generator, index).0).collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn orders_are_of_about_three_hundred_bytes() {
    let generator = generator(Kind::Order, 5);
    let total: usize = (0..1000).map(|index| event(&generator, index).1.len()).sum();
    assert!((280_000..380_000).contains(&total), "{total}");
}

#[test]
fn a_place_has_its_own_state_and_postal_codes() {
    let generator = generator(Kind::Order, 11);
    let mut boston = 0;
    for index in 0..5000 {
        let (_, payload) = event(&generator, index);
        let order = Kind::Order.parse(&payload).unwrap();
        if text(&order, 4) == "Boston" {
            boston += 1;
            assert_eq!(text(&order, 5), "MA");
            let zip = text(&order, 6);
            assert!(zip.len() == 5 && zip.starts_with("021"), "{zip}");
        }
    }
    assert!(boston > 10, "{boston} orders from Boston");
}

#[test]
fn a_late_event_differs_in_its_moment_only() {
    for (kind, field) in [(Kind::Order, 9), (Kind::User, 9)] {
        let generator = generator(kind, 2);
        let (mut key, mut late) = (Vec::new(), Vec::new());
        generator.write_late(1, 3, &mut key, &mut late);
        let (on_time_key, on_time) = event(&generator, 1);
        assert_eq!(key, on_time_key);
        let micros = |payload: &[u8]| match kind.parse(payload).unwrap().value(field) {
            Value::Moment { micros, .. } => micros,
            other => panic!("{other:?} is no moment"),
        };
        assert_eq!(micros(&on_time) - micros(&late), 3 * MICROS_A_DAY);
        assert_eq!(on_time.len(), late.len());
    }
}

proptest! {
    // Few, because each makes the pools anew.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn events_of_any_seed_base_and_index_are_valid(seed: u64, base: i64, index: u64) {
        for kind in Kind::ALL {
            let (key, payload) = event(&Generator::new(kind, seed, base, IdStyle::V7), index);
            let event = kind.parse(&payload).unwrap();
            prop_assert_eq!(event.id().as_bytes(), &key[..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_malformed_event_is_certainly_rejected(index: u64, choice: u64) {
        static GENERATORS: std::sync::OnceLock<Vec<Generator>> = std::sync::OnceLock::new();
        let all = || Kind::ALL.map(|kind| generator(kind, 6)).into();
        for generator in GENERATORS.get_or_init(all) {
            let (_, mut payload) = event(generator, index);
            faults::malform(generator.kind(), choice, &mut payload);
            prop_assert!(generator.kind().parse(&payload).is_err());
        }
    }
}
