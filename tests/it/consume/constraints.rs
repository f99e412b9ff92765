//! What only the server can refuse: constraints and triggers.

use crate::support::{Sandbox, order, order_with, orders, sql};

/// Sets up the orders table and adds to it.
fn sandbox_with(name: &str, addition: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    sql(&addition.replace("ORDERS", &sandbox.table("orders")).replace("SCHEMA", &sandbox.schema));
    sandbox
}

/// Stores orders 0 to 9, of which 3 and 7 have another city, and asserts that
/// those two are dead letters for the reason given.
#[track_caller]
fn assert_refuses_two(sandbox: &Sandbox, reason: &str) {
    let city = |number: i32| match number {
        3 | 7 => order_with(number, "/customer/address/city", format!("Nowhere{number}")),
        _ => order_with(number, "/customer/address/city", format!("Town{number}")),
    };
    sandbox.publish(&(0..10).map(city).collect::<Vec<_>>());
    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&8.into(), &2.into()));
    assert_eq!(sandbox.count("orders"), 8);
    let dead = sandbox.dead();
    assert_eq!(dead.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [3, 7]);
    for letter in dead {
        assert!(letter.reason.contains(reason), "{reason}: {letter:?}");
        assert!(letter.bytes > Some(100), "{letter:?}");
    }
    sandbox.assert_read_to_the_end();
}

/// How many transactions and subtransactions wrote the rows of the table: a row
/// that the server decided on by itself has one of its own.
fn writers_of(sandbox: &Sandbox) -> usize {
    sql(&format!("select distinct xmin from {}", sandbox.table("orders"))).len()
}

#[test]
fn good_rows_around_those_that_break_a_constraint_go_in_together() {
    for (name, addition) in [
        ("check", "alter table ORDERS add check (city not like 'Nowhere%' and quantity > 0)"),
        (
            "foreign",
            "create table SCHEMA.towns (town text, priority text, primary key (town, priority));
             insert into SCHEMA.towns select 'Town' || n, 'high' from generate_series(0, 9) n;
             alter table ORDERS add foreign key (city, priority) references SCHEMA.towns",
        ),
        (
            "unique",
            "insert into ORDERS select 'was' || n, '', '', '', 'Nowhere' || n, '', '', '', 1,
                 now(), 'low' from unnest(array[3, 7]) n;
             create unique index on ORDERS (priority, city);
             update ORDERS set priority = 'high'",
        ),
        (
            "domain",
            "create domain SCHEMA.town as varchar(20) check (value not like 'Nowhere%');
             alter table ORDERS alter city type SCHEMA.town",
        ),
    ] {
        let sandbox = sandbox_with(name, addition);
        let before = sandbox.count("orders");
        let city = |number: i32| {
            let town = if number == 3 || number == 7 { "Nowhere" } else { "Town" };
            order_with(number, "/customer/address/city", format!("{town}{number}"))
        };
        sandbox.publish(&(0..10).map(city).collect::<Vec<_>>());
        let summary = sandbox.store("orders").finish().code(3).json();
        assert_eq!((&summary["stored"], &summary["rejected"]), (&8.into(), &2.into()), "{name}");
        let dead: Vec<i64> = sandbox.dead().iter().map(|letter| letter.offset).collect();
        assert_eq!(dead, [3, 7], "{name}");
        assert_eq!(writers_of(&sandbox), 1 + usize::from(before > 0), "{name}");
    }
}

#[test]
fn rows_that_break_a_check_are_dead_letters() {
    let check = "alter table ORDERS add constraint known check (city not like 'Nowhere%')";
    assert_refuses_two(&sandbox_with("check", check), "known");
}

const TOWNS: &str = "create table SCHEMA.towns (town text primary key);
    insert into SCHEMA.towns select 'Town' || n from generate_series(0, 9) n;";

#[test]
fn rows_that_break_a_foreign_key_are_dead_letters() {
    let key = "alter table ORDERS add constraint town foreign key (city)
        references SCHEMA.towns";
    assert_refuses_two(&sandbox_with("foreign", &format!("{TOWNS}{key}")), "town");
}

#[test]
fn rows_that_break_a_deferred_foreign_key_are_dead_letters() {
    let key = "alter table ORDERS add constraint town foreign key (city)
        references SCHEMA.towns deferrable initially deferred";
    assert_refuses_two(&sandbox_with("deferred", &format!("{TOWNS}{key}")), "town");
}

#[test]
fn rows_that_another_unique_index_has_already_are_dead_letters() {
    let addition = "create unique index one_city on ORDERS (city);
        insert into ORDERS select n::text, '', '', '', 'Nowhere' || n, '', '', '', 1, now(), 'low'
        from unnest(array[3, 7]) n";
    let sandbox = sandbox_with("unique", addition);
    // The ids of the rows there are others than those of the orders.
    sql(&format!("update {} set order_id = 'was' || order_id", sandbox.table("orders")));
    sandbox.publish(
        &(0..10)
            .map(|number| {
                let town = if number == 3 || number == 7 { "Nowhere" } else { "Town" };
                order_with(number, "/customer/address/city", format!("{town}{number}"))
            })
            .collect::<Vec<_>>(),
    );
    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&8.into(), &2.into()));
    assert_eq!(sandbox.count("orders"), 10);
    assert!(sandbox.dead().iter().all(|letter| letter.reason.contains("one_city")));
}

#[test]
fn of_rows_that_exclude_each_other_the_first_that_can_be_stored_is() {
    let indexes = "create unique index on ORDERS (city); create unique index on ORDERS (name)";
    let sandbox = sandbox_with("two_unique", indexes);
    let called = |id: &str, city: &str, name: &str| {
        let mut order = order_with(id, "/customer/address/city", city);
        order["customer"]["name"] = name.into();
        order
    };
    sandbox.publish(&[
        called("a", "Rome", "Ann"),
        called("b", "Rome", "Bob"),
        called("c", "Oslo", "Bob"),
        called("d", "Oslo", "Eve"),
    ]);
    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&2.into(), &2.into()));
    assert_eq!(sandbox.column("orders", "order_id"), ["a", "c"]);
}

#[test]
fn rows_that_a_trigger_refuses_are_dead_letters() {
    let trigger = "create function SCHEMA.refuse() returns trigger language plpgsql as $$
        begin
            if new.city like 'Nowhere%' then raise exception 'no such town: %', new.city; end if;
            return new;
        end $$;
        create trigger refuse before insert on ORDERS for each row execute function SCHEMA.refuse()";
    assert_refuses_two(&sandbox_with("trigger", trigger), "no such town");
}

#[test]
fn rows_that_a_trigger_refuses_at_commit_are_dead_letters() {
    let trigger = "create function SCHEMA.refuse() returns trigger language plpgsql as $$
        begin
            if new.city like 'Nowhere%' then
                raise exception 'no such town' using errcode = 'check_violation';
            end if;
            return null;
        end $$;
        create constraint trigger refuse after insert on ORDERS deferrable initially deferred
            for each row execute function SCHEMA.refuse()";
    assert_refuses_two(&sandbox_with("late_trigger", trigger), "no such town");
}

#[test]
fn rows_without_a_partition_to_go_to_are_dead_letters() {
    let sandbox = Sandbox::new("partitioned").with_topic(1);
    sandbox.set_up("model");
    sql(&format!(
        "create table {0} (like {1}) partition by list (priority);
         create table {0}_high partition of {0} for values in ('high')",
        sandbox.table("orders"),
        sandbox.table("model")
    ));
    sandbox.set_up("orders");
    sandbox.publish(&[order("1"), order_with("2", "/priority", "low"), order("3")]);
    let run = sandbox.store("orders");
    let summary = run.finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&2.into(), &1.into()));
    assert_eq!(sandbox.dead()[0].offset, 1);
}

#[test]
fn refused_rows_and_duplicates_in_one_batch_are_told_apart() {
    for (policy, counts) in [("skip", [3, 2, 2]), ("update", [5, 2, 2]), ("reject", [3, 0, 4])] {
        let check = "alter table ORDERS add constraint most check (quantity < 100)";
        let sandbox = sandbox_with("mixed", check);
        sandbox.publish(&[order("a"), order("b")]);
        sandbox.store("orders").finish().success();
        let bad = |id: &str| order_with(id, "/quantity", 100);
        sandbox.publish(&[
            order("c"),
            bad("d"),
            order("a"),
            order("e"),
            bad("f"),
            order("b"),
            order("g"),
        ]);
        let run = sandbox.store("orders").args(["--on-duplicate", policy]);
        let summary = run.finish().code(3).json();
        let found =
            ["stored", "duplicates", "rejected"].map(|name| summary[name].as_i64().unwrap());
        assert_eq!(found, counts, "{policy}: {summary}");
        assert_eq!(sandbox.column("orders", "order_id"), ["a", "b", "c", "e", "g"], "{policy}");
    }
}

#[test]
fn a_constraint_added_while_running_makes_dead_letters_with_their_payloads() {
    let sandbox = Sandbox::new("added").with_topic(2);
    sandbox.set_up("orders");
    let mut worker = sandbox.consume("orders").spawn();
    sandbox.publish(&orders("before", 100));
    sandbox.wait_for_rows("orders", 100, &mut worker);
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} add constraint added check (quantity < 100)"));
    sandbox.publish(&[order("x"), order_with("bad", "/quantity", 100), order("y")]);
    sandbox.wait_for_rows("orders", 102, &mut worker);
    worker.interrupt();
    let summary = worker.finish().code(130).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&102.into(), &1.into()));
    let dead = sandbox.dead();
    assert_eq!((dead.len(), dead[0].offset), (1, 101));
    assert!(dead[0].bytes > Some(100) && dead[0].reason.contains("added"), "{dead:?}");
    assert_eq!(dead[0].key.as_deref(), Some("6b6579"));
}
