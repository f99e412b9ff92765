//! `db-setup --with-seating`: tickets, seats and sales stored together, and each
//! seat sold once, whoever sells it.

use serde_json::{Value, json};

use crate::support::program::Finished;
use crate::support::{
    Raw, Run, Sandbox, Session, drop_role, eventually, kafka, sql, sql_value, try_sql, uri_as,
    verified,
};

const TICKETS: &str = "movie_ticket";

/// A ticket for seats of the one showing there is.
fn ticket(id: &str, seats: impl Into<Value>) -> Value {
    json!({
        "ticket_id": id, "theater": "Rialto", "movie": "Dune", "name": "James Clark",
        "email": "james@example.com", "phone_number": "+1-201-555-0100", "seats": seats.into()
    })
}

fn set_up(sandbox: &Sandbox, more: &[&str]) -> Finished {
    let args = ["db-setup", "-o", "json", "--schema", &sandbox.schema, "--table-name", TICKETS];
    Run::new(args).args(more).finish()
}

fn with_seating(sandbox: &Sandbox) -> Finished {
    set_up(sandbox, &["--kind", "movie-ticket", "--with-seating"])
}

/// A topic, and a table of tickets with seating.
fn seated(name: &str, partitions: i32) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(partitions);
    with_seating(&sandbox).success();
    sandbox
}

/// Stores what is in the topic; how many were stored, skipped and rejected.
fn store(sandbox: &Sandbox, more: &[&str]) -> [u64; 3] {
    let run = sandbox.store(TICKETS).args(more).finish();
    assert!(matches!(run.code, Some(0 | 3)), "{run}");
    let summary = run.json();
    ["stored", "duplicates", "rejected"].map(|name| summary[name].as_u64().unwrap())
}

/// Who holds which seat: `A1 by t1`.
fn held(sandbox: &Sandbox) -> Vec<String> {
    sandbox.column("seating", "seat || ' by ' || ticket")
}

/// Who bought how many seats: `t1 2`.
fn sales(sandbox: &Sandbox) -> Vec<String> {
    sandbox.column("transactions", "ticket_id || ' ' || seats")
}

/// Where each rejected ticket was, and who has its seats.
fn refusals(sandbox: &Sandbox) -> Vec<(i64, String)> {
    let holder = |reason: &str| reason.split(" of Dune at Rialto").next().unwrap().to_owned();
    sandbox.dead().iter().map(|letter| (letter.offset, holder(&letter.reason))).collect()
}

#[test]
fn tickets_seats_and_sales_are_stored_together() {
    let sandbox = seated("together", 1);
    let mut other = ticket("t3", "A1");
    other["movie"] = "Alien".into();
    sandbox.publish(&[ticket("t1", " A1, A2"), ticket("t2", json!(["B1", 7])), other]);
    assert_eq!(store(&sandbox, &[]), [3, 0, 0]);
    assert_eq!(held(&sandbox), ["7 by t2", "A1 by t1", "A1 by t3", "A2 by t1", "B1 by t2"]);
    assert_eq!(sales(&sandbox), ["t1 2", "t2 2", "t3 1"]);
    let sale = sandbox.column(
        "transactions",
        "concat_ws('|', ticket_id, theater, movie, name, stored_at > now() - interval '1 hour')",
    );
    assert_eq!(sale[2], "t3|Rialto|Alien|James Clark|t");
}

#[test]
fn a_seat_sold_twice_is_a_dead_letter_that_names_its_holder() {
    let sandbox = seated("sold", 1);
    // The one that came first gets the seat, whatever the order of the ids; and
    // one that was refused keeps no seat from those after it.
    sandbox.publish(&[
        ticket("t9", "A1,A2"),
        ticket("t8", "A2,A3"),
        ticket("t7", "A3"),
        ticket("t6", "A4,A4"),
        ticket("t5", ""),
    ]);
    assert_eq!(store(&sandbox, &[]), [2, 0, 3]);
    sandbox.publish(&[ticket("t1", "A0,A3"), ticket("t2", "A0")]);
    assert_eq!(store(&sandbox, &[]), [1, 0, 1]);

    assert_eq!(held(&sandbox), ["A0 by t2", "A1 by t9", "A2 by t9", "A3 by t7"]);
    assert_eq!(sales(&sandbox), ["t2 1", "t7 1", "t9 2"]);
    let dead = sandbox.dead();
    assert!(dead.iter().all(|letter| letter.field == "seats" && letter.bytes > Some(100)));
    let refusals = refusals(&sandbox);
    assert_eq!(refusals[0], (1, "ticket t9 holds seat A2".into()));
    assert!(refusals[1].0 == 3 && refusals[1].1.starts_with("seat A4 is on the ticket twice"));
    assert!(refusals[2].0 == 4, "{refusals:?}");
    assert_eq!(refusals[3], (5, "ticket t7 holds seat A3".into()));
    assert_eq!(verified(sandbox.verify(TICKETS), 0), "stored 3, rejected 4");
}

/// Tickets `PREFIX0`, `PREFIX1`, … for the seats 0, 1, … into a partition.
fn publish_rows(sandbox: &Sandbox, partition: i32, prefix: &str, number: usize) {
    let seat = |seat: usize| ticket(&format!("{prefix}{seat}"), seat.to_string()).to_string();
    let payloads: Vec<String> = (0..number).map(seat).collect();
    let raw = payloads.iter().map(|payload| Raw {
        partition: Some(partition),
        key: None,
        payload: Some(payload.as_bytes()),
    });
    kafka().produce(&sandbox.topic, raw);
}

#[test]
fn two_workers_that_sell_the_same_seats_at_once_agree() {
    let sandbox = seated("agree", 2);
    let mut workers = [(); 2].map(|()| sandbox.consume(TICKETS).args(["--writers", "1"]).spawn());
    let owners = format!(
        "select count(distinct owner) from orderctl.ledger_position where group_name = '{}'",
        sandbox.group
    );
    eventually("each worker has a partition", || sql_value(&owners) == "2");
    let holder = Session::open();
    holder.run(&format!("begin; lock table {} in share mode", sandbox.table("seating")));
    publish_rows(&sandbox, 0, "a", 200);
    publish_rows(&sandbox, 1, "b", 200);
    eventually("both are about to sell", || sandbox.lock_waiters() == 2);
    holder.run("rollback");
    eventually("all are stored or dead letters", || {
        workers.iter_mut().for_each(|worker| assert!(worker.is_running()));
        sandbox.positions() == [(0, 200), (1, 200)]
    });
    for worker in workers {
        worker.interrupt();
        worker.finish().code(130);
    }
    assert_eq!((sandbox.count(TICKETS), sandbox.count("seating")), (200, 200));
    let untrue = sql_value(&format!(
        "select count(*) from orderctl.dead_letter d where d.topic = '{}' and not exists (
             select from {} s where d.reason like
                 'ticket ' || s.ticket || ' holds seat ' || s.seat || ' of Dune at Rialto %'
             and convert_from(d.payload, 'UTF8')::json ->> 'seats' = s.seat)",
        sandbox.topic,
        sandbox.table("seating")
    ));
    assert_eq!((sandbox.dead().len(), untrue.as_str()), (200, "0"));
    assert_eq!(verified(sandbox.verify(TICKETS), 0), "stored 200, rejected 200");
}

#[test]
fn a_worker_killed_while_selling_leaves_nothing_and_the_next_sells_all() {
    let sandbox = seated("killed_selling", 1);
    publish_rows(&sandbox, 0, "a", 300);
    sandbox.publish(&[ticket("late", "7")]);
    let holder = Session::open();
    holder.run(&format!("begin; lock table {} in share mode", sandbox.table("transactions")));
    let worker = sandbox.consume(TICKETS).args(["-X", "session.timeout.ms=6000"]).spawn();
    eventually("it has sold and not yet noted it", || sandbox.lock_waiters() == 1);
    worker.kill();
    sandbox.terminate_backends();
    holder.run("rollback");
    let counts = |of: &Sandbox| [TICKETS, "seating", "transactions"].map(|name| of.count(name));
    assert_eq!(counts(&sandbox), [0; 3]);
    assert_eq!(store(&sandbox, &[]), [300, 0, 1]);
    assert_eq!(counts(&sandbox), [300; 3]);
    assert_eq!(refusals(&sandbox), [(300, "ticket a7 holds seat 7".into())]);
    assert_eq!(verified(sandbox.verify(TICKETS), 0), "stored 300, rejected 1");
}

#[test]
fn a_repeated_ticket_does_not_want_its_own_seats_again() {
    let sandbox = seated("repeated", 1);
    sandbox.publish(&[ticket("t1", "A1"), ticket("t1", "A1"), ticket("t1", "A2")]);
    assert_eq!(store(&sandbox, &[]), [1, 2, 0]);
    sandbox.publish(&[ticket("t1", "A1,A3"), ticket("t2", "A2")]);
    assert_eq!(store(&sandbox, &[]), [1, 1, 0]);
    assert_eq!(held(&sandbox), ["A1 by t1", "A2 by t2"]);
}

#[test]
fn an_updated_ticket_changes_its_seats_or_keeps_them() {
    let sandbox = seated("updated", 1);
    sandbox.publish(&[ticket("t1", "A1,A2"), ticket("t2", "B1,B2")]);
    assert_eq!(store(&sandbox, &[]), [2, 0, 0]);
    sandbox.publish(&[ticket("t1", "A2,A3"), ticket("t3", "A1")]);
    assert_eq!(store(&sandbox, &["--on-duplicate", "update"]), [2, 1, 0]);
    sandbox.publish(&[ticket("t2", "B1,A3")]);
    assert_eq!(store(&sandbox, &["--on-duplicate", "update"])[2], 1);
    assert_eq!(held(&sandbox), ["A1 by t3", "A2 by t1", "A3 by t1", "B1 by t2", "B2 by t2"]);
    assert_eq!(refusals(&sandbox), [(4, "ticket t1 holds seat A3".into())]);
    let tickets = sandbox.table(TICKETS);
    sql(&format!("update {tickets} set seats = 'C1' where ticket_id = 't2'"));
    sql(&format!("update {tickets} set ticket_id = 't4' where ticket_id = 't1'"));
    assert_eq!(held(&sandbox), ["A1 by t3", "A2 by t4", "A3 by t4", "C1 by t2"]);
    assert_eq!(sales(&sandbox), ["t2 1", "t3 1", "t4 2"]);
}

#[test]
fn a_deleted_ticket_gives_its_seats_back_for_a_redrive() {
    let sandbox = seated("freed", 1);
    sandbox.publish(&[ticket("t1", "A1"), ticket("t2", "A1"), ticket("t3", "A1,A2")]);
    assert_eq!(store(&sandbox, &[]), [1, 0, 2]);
    let redrive = || {
        let args = ["dlq", "redrive", "--all", "--to", "table", "-o", "json", "--topic-name"];
        Run::new(args).arg(&sandbox.topic).finish().code(3).json()
    };
    assert_eq!(redrive()["refused"], 2);
    sql(&format!("delete from {} where ticket_id = 't1'", sandbox.table(TICKETS)));
    assert_eq!((sandbox.count("seating"), sandbox.count("transactions")), (0, 0));
    let done = redrive();
    assert_eq!((&done["stored"], &done["refused"]), (&1.into(), &1.into()));
    assert_eq!(held(&sandbox), ["A1 by t2"]);
    let reason = &sandbox.dead()[1].reason;
    assert!(reason.starts_with("ticket t2 holds seat A1 "), "{reason}");
}

/// Tables, functions and triggers in the sandbox's schema.
fn objects(sandbox: &Sandbox) -> Vec<String> {
    let rows = sql(&format!(
        "select relname from pg_class where relnamespace = '{0}'::regnamespace and relkind = 'r'
         union all select proname from pg_proc where pronamespace = '{0}'::regnamespace
         union all select tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid
             where c.relnamespace = '{0}'::regnamespace and not tgisinternal order by 1",
        sandbox.schema
    ));
    rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

#[test]
fn tickets_that_are_there_are_filled_in_and_a_second_run_changes_nothing() {
    let sandbox = Sandbox::new("there").with_topic(1);
    set_up(&sandbox, &["--kind", "movie-ticket"]).success();
    sandbox.publish(&[ticket("t1", "A1,A2"), ticket("t2", "B1"), ticket("t3", "A2,B1")]);
    assert_eq!(store(&sandbox, &[]), [3, 0, 0]);
    assert_eq!(objects(&sandbox), [TICKETS]);

    let refused = with_seating(&sandbox).code(1);
    let shown = "2 in all: A2 of Dune at Rialto by tickets t1 and t3";
    assert!(refused.stderr.contains(shown), "{refused}");
    assert_eq!(objects(&sandbox), [TICKETS]);

    sql(&format!("delete from {} where ticket_id = 't3'", sandbox.table(TICKETS)));
    let made = with_seating(&sandbox).success().json();
    assert_eq!(made["seating"], json!({ "created": true, "tickets": 2 }));
    assert_eq!(held(&sandbox), ["A1 by t1", "A2 by t1", "B1 by t2"]);
    assert_eq!(sales(&sandbox), ["t1 2", "t2 1"]);
    let before = objects(&sandbox);
    let again = with_seating(&sandbox).success().json();
    assert_eq!(again["seating"], json!({ "created": false, "tickets": 0 }));
    assert_eq!((objects(&sandbox), sandbox.count("seating")), (before, 3));
}

#[test]
fn what_cannot_have_seating_is_refused_and_nothing_is_made() {
    let sandbox = Sandbox::new("unfit");
    for more in [&["--with-seating"][..], &["--kind", "user", "--with-seating"]] {
        let refused = set_up(&sandbox, more).code(2);
        assert!(refused.stderr.contains("add --kind movie-ticket"), "{refused}");
    }
    assert_eq!(objects(&sandbox), [""; 0]);
    sql(&format!("create table {} (mine text)", sandbox.table("transactions")));
    let refused = with_seating(&sandbox).code(1);
    assert!(refused.stderr.contains("a table transactions already"), "{refused}");
    assert_eq!(objects(&sandbox), ["transactions"], "no tickets whose seats nobody minds");
    sql(&format!("drop table {}", sandbox.table("transactions")));
    set_up(&sandbox, &["--kind", "movie-ticket"]).success();
    sql(&format!("alter table {} drop constraint {TICKETS}_pkey", sandbox.table(TICKETS)));
    let refused = with_seating(&sandbox).code(1);
    assert!(refused.stderr.contains("needs a unique index on ticket_id"), "{refused}");
    assert_eq!(objects(&sandbox), [TICKETS]);
}

#[test]
fn a_table_made_by_hand_has_seating_with_its_own_names_and_types() {
    let sandbox = Sandbox::new("by_hand").with_topic(1);
    sql(&format!(
        "create table {} (id bigint unique, theatre varchar(20), title text, customer_name text,
             email text, phone text, seat_numbers varchar(40))",
        sandbox.table(TICKETS)
    ));
    with_seating(&sandbox).success();
    sandbox.publish(&[ticket("12", "A1,A2"), ticket("3", "A2")]);
    assert_eq!(store(&sandbox, &[]), [1, 0, 1]);
    assert_eq!(held(&sandbox), ["A1 by 12", "A2 by 12"]);
    assert_eq!(refusals(&sandbox), [(1, "ticket 12 holds seat A2".into())]);
    assert_eq!(sandbox.dead()[0].field, "seat_numbers");
}

#[test]
fn whoever_may_sell_tickets_sells_each_seat_once() {
    let sandbox = seated("clerk", 1);
    let role = sandbox.create_role();
    let tables = ["seating", "transactions"].map(|name| sandbox.table(name)).join(", ");
    sql(&format!("revoke all on {tables} from {role}"));
    let port = crate::support::stack().postgres.port();
    let sell = |id: &str, seats: &str| {
        format!(
            "insert into {} values ('{id}', 'Rialto', 'Dune', 'n', 'e', 'p', {seats})",
            sandbox.table(TICKETS)
        )
    };
    let clerk = Session::open_at(&uri_as(&role, port)).unwrap();
    clerk.run(&sell("t1", "'A1, A2'"));
    assert_eq!(held(&sandbox), ["A1 by t1", "A2 by t1"]);
    for (seats, shown) in [
        ("'A3,A2'", "23505 ticket t1 holds seat A2 of Dune at Rialto"),
        ("'A3,'", "a_seat_has_a_number"),
        ("''", "a_ticket_has_seats"),
    ] {
        let error = try_sql(&sell("t2", seats)).unwrap_err().to_string();
        assert!(error.contains(shown), "{error}");
    }
    assert_eq!((sandbox.count(TICKETS), sandbox.count("seating")), (1, 2));

    let uri = uri_as(&role, port);
    sandbox.publish(&[ticket("t3", "A3"), ticket("t4", "A1")]);
    let run = sandbox.store(TICKETS).env("ORDERCTL_POSTGRES_URI", &uri);
    assert_eq!(run.finish().code(3).json()["stored"], 1);
    assert_eq!(held(&sandbox), ["A1 by t1", "A2 by t1", "A3 by t3"]);
    drop(clerk);
    drop_role(&role);
}
