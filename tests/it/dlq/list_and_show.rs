//! What is shown of letters, and that no payload steers a terminal.

use super::{dlq, ids, redrive, rejected};
use crate::support::{Run, Sandbox, kafka, order_with, orderctl, sql};

/// A letter of each unsafe kind, in this order.
const UNSAFE: [Option<&[u8]>; 4] = [
    Some(b"\x1b[31mred\x1b]0;owned\x07 \xc2\x9b31m \xe2\x80\xaetxt"),
    Some(b"\xff\xfe\x1b[2J"),
    Some(b"{\"order_id\":\"1\",\"priority\":\"\\u001b[31m\",\"quantity\":1e99}"),
    None,
];

fn with_unsafe_letters(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish_raw(UNSAFE);
    sandbox.store("orders").finish().code(3);
    sandbox
}

#[test]
fn letters_are_counted_by_reason_and_filtered() {
    let sandbox = Sandbox::new("listed").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[
        order_with("a", "/priority", "urgent"),
        order_with("b", "/priority", "urgent"),
        order_with("c", "/quantity", 0),
    ]);
    sandbox.store("orders").finish().code(3);
    let all = dlq(&sandbox, "list", []).finish().success().json();
    assert_eq!((&all["total"], &all["states"]["open"]), (&3.into(), &3.into()));
    assert_eq!(
        (&all["reasons"][0]["field"], &all["reasons"][0]["count"]),
        (&"priority".into(), &2.into())
    );
    let letter = &all["letters"][2];
    assert_eq!((&letter["topic"], &letter["offset"]), (&sandbox.topic.as_str().into(), &2.into()));
    assert_eq!((&letter["field"], &letter["state"]), (&"quantity".into(), &"open".into()));

    let total = |args: &[&str]| {
        dlq(&sandbox, "list", args.iter().copied()).finish().success().json()["total"].clone()
    };
    for (args, count) in [
        (&["--reason", "priority"][..], 2),
        (&["--reason", "URGENT"], 2),
        (&["--reason", "no such thing"], 0),
        (&["--since", "1h"], 3),
        (&["--since", "2999-01-01"], 0),
        (&["--until", "1h"], 0),
        (&["--until", "2999-01-01T00:00:00Z"], 3),
        (&["--group", &sandbox.group], 3),
        (&["--group", "somebody"], 0),
        (&["--schema", &sandbox.schema, "--table", "orders"], 3),
        (&["--schema", &sandbox.schema, "--table", "others"], 0),
        (&["--state", "redriven"], 0),
        (&["--state", "all"], 3),
    ] {
        assert_eq!(total(args), count, "{args:?}");
    }
    let one = dlq(&sandbox, "list", ["--limit", "1"]).finish().success().json();
    assert_eq!(one["letters"].as_array().unwrap().len(), 1);
    assert_eq!(one["total"], 3, "all are counted");
}

#[test]
fn no_payload_key_or_reason_steers_the_terminal() {
    let sandbox = with_unsafe_letters("unsafe");
    let key: &[u8] = b"\x1b[5mkey";
    kafka().produce(
        &sandbox.topic,
        [crate::support::Raw { partition: Some(0), key: Some(key), payload: Some(b"{") }],
    );
    sandbox.store("orders").finish().code(3);
    let ids = ids(&sandbox);
    assert_eq!(ids.len(), 5);
    let mut shown = vec![
        orderctl(["dlq", "list", "--topic-name", &sandbox.topic]),
        dlq(&sandbox, "list", []).finish(),
    ];
    for id in &ids {
        shown.push(orderctl(["dlq", "show", id]));
        shown.push(orderctl(["dlq", "show", id, "-o", "json"]));
    }
    for run in &shown {
        assert_eq!(run.code, Some(0), "{run}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!run.stdout.contains(steers), "{:?}", run.stdout);
    }
    assert!(shown[2].stdout.contains("\\u001b[31mred"), "{}", shown[2]);
    assert!(shown[4].stdout.contains("fffe1b5b324a"), "{}", shown[4]);
    assert!(shown[6].stdout.contains("\n  \"quantity\": 1e99"), "{}", shown[6]);
    assert!(shown[8].stdout.contains("a tombstone"), "{}", shown[8]);
    let json = shown[3].json();
    assert_eq!(json["payload"], std::str::from_utf8(UNSAFE[0].unwrap()).unwrap());
}

#[test]
fn raw_writes_the_bytes_and_nothing_else() {
    let sandbox = with_unsafe_letters("raw");
    let ids = ids(&sandbox);
    let raw = orderctl(["dlq", "show", &ids[0], "--raw"]).success();
    assert_eq!(raw.stdout.as_bytes(), UNSAFE[0].unwrap());
    let none = orderctl(["dlq", "show", &ids[3], "--raw"]).code(1);
    assert!(none.stderr.contains("no payload") && none.stdout.is_empty(), "{none}");
}

#[test]
fn everything_about_a_letter_is_shown() {
    let sandbox = rejected("shown", 1);
    let id = &ids(&sandbox)[0];
    let shown = orderctl(["dlq", "show", id, "-o", "json"]).success().json();
    for (name, value) in [
        ("state", "open"),
        ("field", "quantity"),
        ("topic", &sandbox.topic),
        ("group", &sandbox.group),
        ("table", &sandbox.table("orders")),
        ("key", "key"),
    ] {
        assert_eq!(shown[name], value, "{shown}");
    }
    assert_eq!((&shown["partition"], &shown["offset"]), (&0.into(), &1.into()));
    redrive(&sandbox).finish().success();
    let shown = orderctl(["dlq", "show", id, "-o", "json"]).success().json();
    assert_eq!(shown["state"], "redriven");
    assert!(shown["state_at"].is_string(), "{shown}");
}

#[test]
fn wrong_names_and_missing_choices_are_told_with_the_cure() {
    let sandbox = rejected("wrong", 1);
    let id = &ids(&sandbox)[0];
    let absent = "9223372036854775807";
    for (args, code, words) in [
        (&["show", "abc"][..], 2, "as in 17"),
        (&["show", "0"], 2, "as in 17"),
        (&["show", "0:1"], 2, "--topic"),
        (&["show", absent], 1, "no dead letter 9223372036854775807"),
        (&["show", "5", "--topic", &sandbox.topic], 2, "0:5"),
        (&["show", "0:99", "--topic", &sandbox.topic], 1, "no record at offset 99"),
        (&["list", "--since", "yesterday"], 2, "how long ago"),
        (&["list", "--topic", "no-such-topic"], 1, "there is no topic no-such-topic"),
        (&["redrive"], 2, "--all"),
        (&["redrive", "x"], 2, "as in 17"),
        (&["redrive", id, absent], 1, "no dead letter 9223372036854775807"),
        (&["redrive", "--all", "--topic", &sandbox.topic, "--to", "table"], 2, "--to table"),
        // Letters of a topic that others write are on their way to no table.
        (&["redrive", "--table", "t", "--schema", "s", "--topic", &sandbox.topic], 2, "--all"),
        (&["redrive", "0:77", "--topic", &sandbox.topic], 1, "no dead letter 0:77"),
        (&["purge"], 2, "--all"),
        (&["purge", absent, "--yes"], 1, "no dead letter"),
    ] {
        let refused = Run::new(["dlq"]).args(args).finish().code(code);
        assert!(refused.stderr.contains(words), "{args:?}: {refused}");
    }
    let state = format!("select state from orderctl.dead_letter where id = {id}");
    assert_eq!(sql(&state)[0][0].as_deref(), Some("open"), "nothing was moved");
}
