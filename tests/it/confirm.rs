//! `confirm`: each order priced, paid and published again, exactly once.

mod cards;
mod once;

use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde_json::{Value, json};

use crate::support::{Run, Sandbox, eventually, kafka, order, orderctl, sql, sql_value};

/// Where the orders of a sandbox go.
struct Topics {
    confirmed: String,
    analysis: String,
    declined: String,
    letters: String,
}

fn topics(sandbox: &Sandbox) -> Topics {
    let named = |end: &str| format!("{}_{end}", sandbox.topic);
    Topics {
        confirmed: named("confirmed"),
        analysis: named("analysis"),
        declined: named("declined"),
        letters: named("dead_letters"),
    }
}

fn confirm(sandbox: &Sandbox) -> Run {
    let Topics { confirmed, analysis, declined, .. } = topics(sandbox);
    Run::new(["confirm", "-o", "json", "--from", &sandbox.topic, "--group", &sandbox.group]).args([
        "--to",
        &format!("{confirmed},{analysis}"),
        "--declined-to",
        &declined,
    ])
}

/// An order with some members of its own.
fn order_of(id: &str, members: Value) -> Value {
    let mut order = order(id);
    for (name, value) in members.as_object().expect("an object") {
        order[name] = value.clone();
    }
    order
}

fn payload(record: &OwnedMessage) -> Value {
    serde_json::from_slice(record.payload().expect("a payload")).expect("JSON")
}

/// The orders of a topic, whose records must be keyed by their ids.
fn read(topic: &str) -> Vec<Value> {
    let records = kafka().read_all(topic);
    let order = |record: &OwnedMessage| {
        let order = payload(record);
        assert_eq!(order["order_id"].as_str().map(str::as_bytes), record.key());
        order
    };
    let mut orders: Vec<Value> = records.iter().map(order).collect();
    orders.sort_by_key(|order| order["order_id"].as_str().expect("a text").to_owned());
    orders
}

/// The order's id and why it was rejected, of each dead letter.
fn rejected(letters: &str) -> Vec<(String, String)> {
    let reason = |record: &OwnedMessage| {
        let headers = record.headers().expect("headers");
        let value = |wanted: &str| {
            let found = headers.iter().find(|header| header.key == wanted);
            let value = found.and_then(|header| header.value).expect("a value");
            String::from_utf8(value.to_vec()).expect("UTF-8")
        };
        let id = payload(record)["order_id"].as_str().expect("a text").to_owned();
        (id, value("__connect.errors.exception.message"))
    };
    let mut reasons: Vec<_> = kafka().read_all(letters).iter().map(reason).collect();
    reasons.sort();
    reasons
}

#[test]
fn orders_are_priced_paid_declined_or_rejected() {
    let sandbox = Sandbox::new("confirm").with_topic(2);
    let topics = topics(&sandbox);
    let token = |token: &str| json!({"payment": {"card_token": token, "card_last4": "4242"}});
    sandbox.publish(&[
        order_of("a1", json!({"unit_price": "0.335", "quantity": 3, "note": [1, {"x": 1.50}]})),
        order_of("a2", json!({"unit_price": 99.5, "quantity": 3, "currency": "JPY"})),
        order_of("a3", json!({"unit_price": "1.2345", "quantity": 1, "currency": "KWD"})),
        order_of("a4", token("tok_visa")),
        order_of("d1", token("tok_chargeDeclined")),
        order_of("d2", json!({"unit_price": "10.51", "quantity": 1})),
        order_of("r1", token("tok_timeout")),
        order_of("r2", token("tok_error")),
        order_of("r3", json!({"product_name": "Unheard Of"})),
        order_of("r4", json!({"unit_price": "-1"})),
        order_of("r5", json!({"quantity": 1_000_001})),
        order_of("r6", json!({"quantity": 1_000_000, "unit_price": "1000001"})),
        order_of("r7", json!({"unit_price": "10.96", "quantity": 1})),
    ]);
    let done = confirm(&sandbox).args(["--until-end", "--bank-by-amount"]).finish().code(3);
    let summary = done.json();
    assert_eq!((&summary["read"], &summary["rejected"]), (&json!(13), &json!(7)));
    assert_eq!(summary["counts"], json!({"confirmed": 4, "declined": 2}));
    let created = format!("created {}, {}", topics.analysis, topics.confirmed);
    assert!(done.stderr.contains(&created), "{done}");

    let confirmed = read(&topics.confirmed);
    assert_eq!(confirmed, read(&topics.analysis));
    let ids: Vec<&Value> = confirmed.iter().map(|order| &order["order_id"]).collect();
    assert_eq!(ids, ["a1", "a2", "a3", "a4"]);
    for (order, places) in confirmed.iter().zip([2, 0, 3, 2]) {
        let (price, quantity) = (order["unit_price"].as_str().expect("a text"), &order["quantity"]);
        // PostgreSQL multiplies and rounds half up too.
        let total = sql_value(&format!("select round({price}::numeric * {quantity}, {places})"));
        assert_eq!(order["total_cost"], total, "{order}");
        assert_eq!(order["payment"]["status"], "approved");
        assert!(order["confirmed_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{order}");
    }
    assert_eq!(confirmed[0]["note"], json!([1, {"x": 1.5}]));
    // From the catalogue that is built in.
    assert_eq!(
        (&confirmed[3]["unit_price"], &confirmed[3]["currency"]),
        (&json!("34.99"), &json!("USD"))
    );
    assert_eq!(confirmed[3]["payment"]["card_last4"], "4242");

    let declined = read(&topics.declined);
    let codes: Vec<&Value> = declined.iter().map(|order| &order["payment"]["code"]).collect();
    assert_eq!(codes, ["card_declined", "insufficient_funds"]);
    let reasons = rejected(&topics.letters);
    let parts = [
        "in time for payment pay_",
        "failed at payment pay_",
        "no price",
        "negative",
        "more than",
        "total_cost",
        "failed at payment pay_",
    ];
    assert_eq!(reasons.len(), parts.len());
    for ((id, reason), part) in reasons.iter().zip(parts) {
        assert!(reason.contains(part), "{id}: {reason}");
    }
}

#[test]
fn a_catalogue_gives_prices_and_says_what_is_wrong_with_it() {
    let sandbox = Sandbox::new("confirm_catalog").with_topic(1);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prices.csv");
    let with = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        confirm(&sandbox).args(["--until-end", "--catalog", file.to_str().expect("UTF-8")])
    };
    let wrong = with("product_name,unit_price\nTea,1\nCup,cheap\n").finish().code(2);
    assert!(wrong.stderr.contains("prices.csv, line 3: unit_price: expected"), "{wrong}");
    assert_eq!(kafka().topics_like(&topics(&sandbox).confirmed), [""; 0]);
    let missing = confirm(&sandbox).args(["--catalog", "/no/such/file"]).finish().code(2);
    assert!(missing.stderr.contains("cannot read /no/such/file"), "{missing}");

    sandbox.publish(&[order_of("1", json!({"product_name": "Tea, green"}))]);
    with("product_name,unit_price,currency\n\"Tea, green\",0.10,KWD\n").finish().success();
    let confirmed = read(&topics(&sandbox).confirmed);
    assert_eq!(
        (&confirmed[0]["total_cost"], &confirmed[0]["currency"]),
        (&json!("0.500"), &json!("KWD"))
    );
}

#[test]
fn topics_that_go_round_in_circles_or_are_not_there_are_refused() {
    let circle = orderctl(["confirm", "--from", "a", "--to", "b,a"]).code(2);
    assert!(circle.stderr.contains("round in circles"), "{circle}");
    let twice = orderctl(["confirm", "--to", "a,b", "--declined-to", "b"]).code(2);
    assert!(twice.stderr.contains("b is named twice"), "{twice}");
    let sandbox = Sandbox::new("confirm_none");
    let none = confirm(&sandbox).arg("--until-end").finish().code(1);
    assert!(none.stderr.contains(&format!("there is no topic {}", sandbox.topic)), "{none}");
    assert_eq!(kafka().topics_like(&sandbox.topic), [""; 0], "nothing was created");
}

#[test]
fn the_topics_of_the_food_orders_are_the_defaults_and_restaurants_name_theirs() {
    let sandbox = Sandbox::new("confirm_names").with_topic(1);
    let id = format!("{}-1", sandbox.topic);
    let events = format!("{}\n", order(id.as_str()));
    // Other tests may use the topics too.
    let publish = |topic: &str| {
        Run::new(["produce", "--source", "-", "--create-topic", "--topic-name", topic])
            .stdin(events.clone())
            .finish()
            .success();
    };
    let count = |topic: &str| {
        let is_ours = |record: &OwnedMessage| record.key() == Some(id.as_bytes());
        kafka().read_all(topic).into_iter().filter(is_ours).count()
    };
    publish("recieved_orders");
    let run = Run::new(["confirm", "--until-end", "--group", &sandbox.group]).finish();
    assert!(matches!(run.code, Some(0 | 3)), "{run}");
    assert_eq!(["confirmed_orders", "analysis_topic", "declined_orders"].map(count), [1, 1, 0]);

    publish("order");
    let run = Run::new(["confirm", "--from", "order", "--to", "order_confirm", "--until-end"])
        .args(["--group", &sandbox.group])
        .finish();
    assert!(matches!(run.code, Some(0 | 3)), "{run}");
    assert_eq!(count("order_confirm"), 1);
}

#[test]
fn confirmed_orders_are_stored_with_their_money() {
    let sandbox = Sandbox::new("confirm_table").with_topic(1);
    let payment = json!({"card_number": "4242424242424242"});
    sandbox.publish(&[order_of(
        "1",
        json!({"unit_price": 1.5, "currency": "eur", "payment": payment}),
    )]);
    confirm(&sandbox).arg("--until-end").finish().success();
    sql(&format!(
        "create table {}.confirmed (order_id text primary key, name text, email text, street text,
         city text, state text, postal_code text, product_name text, quantity int,
         order_date timestamptz, priority text, unit_price numeric, total_cost numeric,
         currency char(3), payment_status text, payment_reference text, card_last4 text,
         confirmed_at timestamptz)",
        sandbox.schema
    ));
    sandbox.set_up("orders");
    let confirmed = topics(&sandbox).confirmed;
    Run::new(["consume", "--until-end", "--schema", &sandbox.schema, "--table", "confirmed"])
        .args(["--group", &sandbox.group, "--topic-name", &confirmed])
        .finish()
        .success();
    let published = &read(&confirmed)[0];
    let text = |name: &str| published[name].as_str().expect("a text").to_owned();
    let row = sandbox.column(
        "confirmed",
        "concat_ws(' ', unit_price, total_cost, currency, payment_status, payment_reference,
         card_last4, to_char(confirmed_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))",
    );
    let reference = published["payment"]["reference"].as_str().expect("a text");
    assert_eq!(row, [format!("1.5 7.50 EUR approved {reference} 4242 {}", text("confirmed_at"))]);
}
