//! Tables of random columns and constraints, random values, and PostgreSQL's own
//! word on each: what an INSERT of the text stores is what `consume` stores, and
//! what it refuses is a dead letter.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::support::{Sandbox, order, sql, try_sql};

/// Records of a case.
const RECORDS: usize = 80;

/// A column: its name, where its value is in an order, what may follow its name
/// in CREATE TABLE, and values. `SCHEMA` stands for the sandbox's schema.
struct Choice {
    name: &'static str,
    pointer: &'static str,
    /// A type that takes all values. Most columns have it, so that a good part of
    /// the records is stored.
    usual: &'static str,
    types: &'static [&'static str],
    values: &'static [&'static str],
}

const TEXTS: &[&str] = &[
    "text",
    "varchar(10)",
    "varchar(3) not null",
    "char(5)",
    "citext",
    "bool",
    "uuid",
    "json",
    "jsonb",
    "SCHEMA.shade",
    "SCHEMA.word",
    "text check (COLUMN <> 'bad' and length(COLUMN) < 11)",
    "text references SCHEMA.known",
    "varchar(20) references SCHEMA.known deferrable initially deferred",
    "text unique",
    "citext unique",
    "char(12) unique",
];
const WORDS: &[&str] = &[
    "low",
    "high",
    "known",
    "Known",
    "bad",
    "",
    "ab",
    "ab   ",
    "abcdefghij",
    "abcdefghijk",
    "abc       ",
    "        ",
    "äöüßé",
    "ä😀\u{202e}",
    "a\"\\\n'b",
    "true",
    "no",
    "on",
    "12",
    "{\"a\": 1}",
    "018f4e2a-7c3b-7000-8000-00000000abcd",
    "018F4E2A7C3B7000800000000000ABCD",
];

const COLUMNS: [Choice; 8] = [
    Choice { name: "name", pointer: "/customer/name", usual: "text", types: TEXTS, values: WORDS },
    Choice {
        name: "city",
        pointer: "/customer/address/city",
        usual: "text",
        types: TEXTS,
        values: WORDS,
    },
    Choice {
        name: "state",
        pointer: "/customer/address/state",
        usual: "text",
        types: TEXTS,
        values: WORDS,
    },
    Choice {
        name: "product_name",
        pointer: "/product_name",
        usual: "text",
        types: TEXTS,
        values: WORDS,
    },
    Choice {
        name: "postal_code",
        pointer: "/customer/address/postal_code",
        usual: "text",
        types: &[
            "smallint",
            "integer",
            "bigint",
            "numeric",
            "numeric(5,2)",
            "numeric(3,-1)",
            "numeric(2,4)",
            "uuid",
            "varchar(5)",
            "SCHEMA.digits",
            "integer check (COLUMN % 2 = 0)",
            "bigint unique",
        ],
        values: &[
            "0",
            "7",
            "-7",
            "012",
            "12.5",
            "99999",
            "32768",
            "-32769",
            "2147483648",
            "999.994",
            "999.995",
            "-999.995",
            "0.00994",
            "0.00995",
            "9949",
            "9950",
            "12345678901234567890",
            "abc",
            "",
            "12a",
            "018f4e2a-7c3b-7000-8000-00000000abcd",
        ],
    },
    Choice {
        name: "quantity",
        pointer: "/quantity",
        usual: "bigint",
        types: &[
            "smallint",
            "integer",
            "bigint",
            "numeric(5,2)",
            "numeric(3,-1)",
            "text",
            "varchar(3)",
            "jsonb",
            "integer check (COLUMN between 2 and 1000)",
        ],
        values: &["1", "5", "99", "100", "999", "1000", "9994", "32768", "2147483648"],
    },
    Choice {
        name: "order_date",
        pointer: "/order_date",
        usual: "timestamptz",
        types: &[
            "date",
            "timestamp",
            "timestamptz",
            "text",
            "varchar(10)",
            "jsonb",
            "date check (COLUMN > '2000-01-01')",
            "timestamptz check (extract(dow from COLUMN at time zone 'utc') <> 0)",
        ],
        values: &[
            "2023-06-09",
            "1969-12-31T23:59:59.999999Z",
            "2000-01-01T00:30:00+01:00",
            "2024-02-29T12:00:00.5-09:30",
            "0001-01-01",
            "9999-12-31T23:59:59Z",
        ],
    },
    Choice {
        name: "unit_price",
        pointer: "/unit_price",
        usual: "numeric",
        types: &["numeric", "numeric(5,2)", "numeric(4,1)", "text", "jsonb", "SCHEMA.price"],
        values: &["12.50", "0", "-0.00", "999.994", "999.995", "999.96", "-1000", "0.00001"],
    },
];

/// For each column the number of its type, and for each record its values'.
#[derive(Debug, Clone)]
struct Case {
    types: Vec<&'static str>,
    records: Vec<Vec<&'static str>>,
}

fn case() -> impl Strategy<Value = Case> {
    let column_type =
        |column: &Choice| prop_oneof![2 => Just(column.usual), 1 => select(column.types)];
    let types: Vec<_> = COLUMNS.iter().map(column_type).collect();
    let values: Vec<_> = COLUMNS.iter().map(|column| select(column.values)).collect();
    let records = prop::collection::vec(values, RECORDS);
    (types, records).prop_map(|(types, records)| Case { types, records })
}

/// The column's text as SQL, as a person would write it for this type.
fn literal(column: &Choice, column_type: &str, text: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let is_number = matches!(column.name, "quantity" | "unit_price");
    match column_type.split(' ').next() {
        Some("json" | "jsonb") if !is_number => quoted(&json!(text).to_string()),
        Some("timestamp") => format!("{}::timestamptz at time zone 'utc'", quoted(text)),
        Some("date") => format!("({}::timestamptz at time zone 'utc')::date", quoted(text)),
        _ => quoted(text),
    }
}

fn event(number: usize, values: &[&str]) -> Value {
    // Ids in the order of the records, in which they also reach the table.
    let mut event = order(format!("{number:04}"));
    for (column, text) in COLUMNS.iter().zip(values) {
        let (parent, name) = column.pointer.rsplit_once('/').expect("a pointer");
        let value = match column.name {
            "quantity" => text.parse::<i64>().expect("a number").into(),
            _ => Value::from(*text),
        };
        event.pointer_mut(parent).expect("an object")[name] = value;
    }
    event
}

/// Creates the table twice, as `orders` and as its `twin`.
fn create(sandbox: &Sandbox, case: &Case) {
    let has_citext = try_sql("create extension if not exists citext with schema public").is_ok();
    let mut columns = String::new();
    for (column, definition) in COLUMNS.iter().zip(&case.types) {
        let definition = definition.replace("COLUMN", column.name);
        let citext = if has_citext { "public.citext" } else { "text" };
        columns += &format!(", {} {}", column.name, definition.replace("citext", citext));
    }
    let table = |name: &str| {
        format!(
            "create table SCHEMA.{name} (order_id text primary key, email text, street text,
             priority text{columns},
             digest bigint generated always as (length(order_id) * 2) stored,
             number bigint generated always as identity, noted_at timestamptz default now());"
        )
    };
    let script = "create type SCHEMA.shade as enum ('low', 'high', 'äöüßé');
         create domain SCHEMA.word as varchar(10) check (value <> 'bad' and value <> '');
         create domain SCHEMA.digits as text not null check (value ~ '^[0-9]+$');
         create domain SCHEMA.price as numeric(6,2) check (value >= 0);
         create table SCHEMA.known (word text primary key);
         insert into SCHEMA.known values ('known'), ('low'), ('high'), ('ab'), ('12');"
        .to_owned();
    let script = script + &table("orders") + &table("twin");
    sql(&script.replace("SCHEMA", &sandbox.schema));
    sandbox.set_up("orders");
}

/// Inserts each record as text, one by one; which the server refused.
fn ask_the_server(sandbox: &Sandbox, case: &Case) -> Vec<i64> {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    let mut script = "set timezone = 'UTC'; create temporary table refused (number bigint);
        do $oracle$ begin set constraints all immediate; "
        .to_owned();
    for (number, values) in case.records.iter().enumerate() {
        let texts = COLUMNS.iter().zip(&case.types).zip(values);
        let texts: Vec<String> = texts.map(|((c, kind), text)| literal(c, kind, text)).collect();
        script += &format!(
            "begin insert into {}.twin (order_id, email, street, priority, {}) values ('{number:04}',
             'james@example.com', 'Avenue Street', 'high', {});
             exception when others then insert into refused values ({number}); end; ",
            sandbox.schema,
            names.join(", "),
            texts.join(", ")
        );
    }
    let refused = sql(&(script + "end $oracle$; select number from refused order by 1"));
    let number = |row: &Vec<Option<String>>| row[0].as_ref().and_then(|text| text.parse().ok());
    refused.iter().map(|row| number(row).expect("a number")).collect()
}

/// All that a table holds but what the server made up.
fn contents(sandbox: &Sandbox, table: &str) -> Vec<String> {
    let names: Vec<String> = COLUMNS.iter().map(|column| column.name.to_owned()).collect();
    sandbox.column(table, &format!("row(order_id, digest, {})::text", names.join(", ")))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_postgres_takes_is_stored_and_what_it_refuses_is_a_dead_letter(case in case()) {
        let sandbox = Sandbox::new("oracle").with_topic(1);
        create(&sandbox, &case);
        let refused = ask_the_server(&sandbox, &case);
        let events: Vec<Value> =
            case.records.iter().enumerate().map(|(number, values)| event(number, values)).collect();
        sandbox.publish(&events);
        let summary = sandbox.store("orders").finish().code(if refused.is_empty() { 0 } else { 3 });
        let dead = sandbox.dead();
        let offsets: Vec<i64> = dead.iter().map(|letter| letter.offset).collect();
        prop_assert_eq!(&offsets, &refused, "{:#?}", dead);
        prop_assert!(dead.iter().all(|letter| !letter.reason.is_empty()), "{:?}", dead);
        prop_assert_eq!(&summary.json()["stored"], &json!(RECORDS - refused.len()));
        prop_assert_eq!(contents(&sandbox, "orders"), contents(&sandbox, "twin"));
        sandbox.assert_read_to_the_end();
    }
}
