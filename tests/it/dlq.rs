//! `dlq`: what was rejected, why, and again after the cure, each letter once.

mod accounted;
mod foreign;
mod killed;
mod ledger;
mod list_and_show;
mod purge;
mod redrive;
mod table;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde_json::Value;

use crate::support::{PATIENCE, Run, Sandbox, kafka, order, order_with, sql, sql_value};

/// A topic with so many rejected orders, one good one before them, and their
/// letters in the ledger.
fn rejected(name: &str, number: usize) -> Sandbox {
    rejected_in(Sandbox::new(name).with_topic(2), number)
}

/// The same in a sandbox whose topic is there.
fn rejected_in(sandbox: Sandbox, number: usize) -> Sandbox {
    sandbox.set_up("orders");
    let mut events = vec![order("good")];
    events.extend((0..number).map(|n| order_with(format!("bad{n}"), "/quantity", 0)));
    sandbox.publish(&events);
    sandbox.store("orders").finish().code(3);
    assert_eq!(ids(&sandbox).len(), number);
    sandbox
}

/// `dlq SUBCOMMAND` of the sandbox's letters, with its result as JSON.
fn dlq<'a>(sandbox: &Sandbox, subcommand: &str, args: impl IntoIterator<Item = &'a str>) -> Run {
    Run::new(["dlq", subcommand, "--topic-name", &sandbox.topic, "-o", "json"]).args(args)
}

/// Redrives all letters of the sandbox.
fn redrive(sandbox: &Sandbox) -> Run {
    dlq(sandbox, "redrive", ["--all"]).limit(PATIENCE)
}

/// The numbers of the sandbox's letters.
fn ids(sandbox: &Sandbox) -> Vec<String> {
    let rows = sql(&format!(
        "select id from orderctl.dead_letter where topic = '{}' order by id",
        sandbox.topic
    ));
    rows.into_iter().map(|mut row| row.remove(0).expect("a number")).collect()
}

/// How many letters of the sandbox are in each state: `open 2, redriven 1`.
fn states(sandbox: &Sandbox) -> String {
    sql_value(&format!(
        "select coalesce(string_agg(state || ' ' || n, ', ' order by state), '') from
             (select state, count(*) n from orderctl.dead_letter where topic = '{}' group by 1) s",
        sandbox.topic
    ))
}

fn header<'m>(message: &'m OwnedMessage, name: &str) -> Option<&'m [u8]> {
    message.headers()?.iter().find(|header| header.key == name)?.value
}

/// How often each redriven letter is in a topic, by its mark.
fn copies(topic: &str) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for message in kafka().read_all(topic) {
        if let Some(mark) = header(&message, "orderctl-redrive") {
            *copies.entry(String::from_utf8_lossy(mark).into_owned()).or_default() += 1;
        }
    }
    copies
}

/// Fails the test unless so many letters are in the topic again, each once, and
/// marked as redriven.
#[track_caller]
fn assert_each_redriven_once(sandbox: &Sandbox, number: usize) {
    kafka().await_markers(&sandbox.topic);
    let copies = copies(&sandbox.topic);
    assert_eq!(copies.len(), number, "{copies:?}");
    assert!(copies.values().all(|count| *count == 1), "{copies:?}");
    assert_eq!(states(sandbox), format!("redriven {number}"));
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// Makes a letter's change to a state wait while somebody holds the lock of
/// `TOPIC:STATE`, see [`lock_of`]; once for all tests, because adding a trigger
/// waits for every transaction on the table.
fn make_marks_wait() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        sql("create or replace function public.dlq_wait() returns trigger language plpgsql as $$
             begin
                 perform pg_advisory_xact_lock_shared(hashtext(new.topic || ':' || new.state));
                 return new;
             end $$;
             create or replace trigger dlq_wait before update on orderctl.dead_letter
             for each row execute function public.dlq_wait()");
    });
}

/// The key of the lock that a change to a state waits for, as SQL.
fn lock_of(sandbox: &Sandbox, state: &str) -> String {
    format!("(hashtext('{}:{state}'))", sandbox.topic)
}

/// Process ids of the backends that wait for that lock.
fn waiting_for(sandbox: &Sandbox, state: &str) -> Vec<String> {
    let rows = sql(&format!(
        "select pid from pg_locks where locktype = 'advisory' and not granted
             and (classid::int8 << 32 | objid::int8) = hashtext('{}:{state}')::int8",
        sandbox.topic
    ));
    rows.into_iter().map(|mut row| row.remove(0).expect("a pid")).collect()
}
