//! Letters into their table after all, marked in the same transaction.

use super::{dlq, states};
use crate::support::{PATIENCE, Run, Sandbox, Session, eventually, order, order_with, sql};

/// Orders of which those of `Nowhere` break a check, and one that no table takes.
pub fn checked(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} add constraint known check (city <> 'Nowhere')"));
    let city = |id: &str| order_with(id, "/customer/address/city", "Nowhere");
    sandbox.publish(&[order("1"), city("2"), city("3"), order_with("4", "/quantity", 0)]);
    sandbox.store("orders").finish().code(3);
    assert_eq!(states(&sandbox), "open 3");
    sandbox
}

/// Redrives all letters of the sandbox into their table.
pub fn to_table(sandbox: &Sandbox) -> Run {
    dlq(sandbox, "redrive", ["--all", "--to", "table"]).limit(PATIENCE)
}

/// Drops the check.
pub fn cure(sandbox: &Sandbox) {
    sql(&format!("alter table {} drop constraint known", sandbox.table("orders")));
}

/// Process ids of the backends that wait to store into the table.
fn storing(sandbox: &Sandbox) -> Vec<String> {
    let rows = sql(&format!(
        "select pid from pg_locks where not granted and relation = '{}'::regclass",
        sandbox.table("orders")
    ));
    rows.into_iter().map(|mut row| row.remove(0).expect("a pid")).collect()
}

#[test]
fn after_the_cure_letters_are_stored_once_and_the_rest_stays_open() {
    let sandbox = checked("cured");
    let before = to_table(&sandbox).finish().code(3).json();
    assert_eq!((&before["stored"], &before["refused"]), (&0.into(), &3.into()));
    assert_eq!(states(&sandbox), "open 3");

    cure(&sandbox);
    let done = to_table(&sandbox).finish().code(3).json();
    assert_eq!((&done["stored"], &done["duplicates"]), (&2.into(), &0.into()));
    assert_eq!(done["refused"], 1);
    assert_eq!(sandbox.column("orders", "order_id"), ["1", "2", "3"]);
    assert_eq!(states(&sandbox), "open 1, stored 2");

    let again = to_table(&sandbox).finish().code(3).json();
    assert_eq!((&again["chosen"], &again["stored"]), (&1.into(), &0.into()));
    assert_eq!(sandbox.column("orders", "order_id"), ["1", "2", "3"]);
}

#[test]
fn a_letter_that_still_fails_has_its_new_reason() {
    let sandbox = checked("new_reason");
    cure(&sandbox);
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} add constraint large check (quantity > 100) not valid"));
    to_table(&sandbox).finish().code(3);
    let reasons: Vec<String> = sandbox
        .dead()
        .into_iter()
        .map(|letter| format!("{} {}", letter.field, letter.reason))
        .collect();
    assert!(reasons[0].contains("large") && reasons[1].contains("large"), "{reasons:?}");
    assert!(reasons[2].starts_with("quantity"), "{reasons:?}");
    assert_eq!(states(&sandbox), "open 3");
}

#[test]
fn an_id_that_the_table_has_already_is_skipped_updated_or_refused() {
    let sandbox = checked("already");
    cure(&sandbox);
    let row = |id: &str| {
        let table = sandbox.table("orders");
        sql(&format!("insert into {table} select '{id}', name, email, street, 'Here', state,
            postal_code, product_name, quantity, order_date, priority from {table} where order_id = '1'"));
    };
    row("2");
    let run = |choice: &'static str| {
        let args = ["--all", "--to", "table", "--on-duplicate", choice];
        dlq(&sandbox, "redrive", args).finish().code(3).json()
    };
    let refused = run("reject");
    assert_eq!((&refused["stored"], &refused["refused"]), (&1.into(), &2.into()));
    let skipped = run("skip");
    assert_eq!((&skipped["stored"], &skipped["duplicates"]), (&1.into(), &1.into()));
    assert_eq!(sandbox.column("orders", "city"), ["Here", "Nowhere", "Springfield"]);
    sql(&format!(
        "update orderctl.dead_letter set state = 'open' where topic = '{}'",
        sandbox.topic
    ));
    let updated = run("update");
    assert_eq!((&updated["stored"], &updated["duplicates"]), (&2.into(), &2.into()));
    assert_eq!(sandbox.column("orders", "city"), ["Nowhere", "Nowhere", "Springfield"]);
}

#[test]
fn of_letters_whose_ids_the_server_takes_for_one_the_first_or_the_last_is_stored() {
    for (choice, products) in [("skip", ["1", "one"]), ("update", ["2", "two"])] {
        let sandbox = Sandbox::new("alike_letters").with_topic(1);
        sandbox.set_up("orders");
        let table = sandbox.table("orders");
        sql(&format!(
            "alter table {table} alter order_id type char(8),
                 add constraint known check (city <> 'Nowhere')"
        ));
        let product = |id: &str, name: &str| {
            let mut order = order_with(id, "/customer/address/city", "Nowhere");
            order["product_name"] = name.into();
            order
        };
        sandbox.publish(&[
            product("a", "1"),
            product("a ", "2"),
            product("b  ", "one"),
            product("b", "two"),
        ]);
        sandbox.store("orders").finish().code(3);
        cure(&sandbox);
        let done = to_table(&sandbox).args(["--on-duplicate", choice]).finish().success().json();
        assert_eq!((&done["stored"], &done["duplicates"]), (&4.into(), &2.into()), "{choice}");
        assert_eq!(sandbox.column("orders", "product_name"), products, "{choice}");
        assert_eq!(states(&sandbox), "stored 4");
    }
}

#[test]
fn without_a_unique_key_two_at_once_store_each_letter_once() {
    let sandbox = Sandbox::new("no_key").with_topic(1);
    sandbox.set_up("model");
    let table = sandbox.table("orders");
    sql(&format!("create table {table} as table {}", sandbox.table("model")));
    sql(&format!("alter table {table} add constraint known check (city <> 'Nowhere')"));
    sandbox.set_up("orders");
    let bad = (0..700).map(|id| order_with(id.to_string(), "/customer/address/city", "Nowhere"));
    sandbox.publish(&bad.collect::<Vec<_>>());
    sandbox.store("orders").finish().code(3);
    cure(&sandbox);
    let holder = Session::open();
    holder.run(&format!("begin; lock table {table} in share mode"));
    let first = to_table(&sandbox).spawn();
    eventually("the first one stores", || storing(&sandbox).len() == 1);
    let backend = storing(&sandbox).remove(0);
    let second = to_table(&sandbox).spawn();
    let behind = format!(
        "select from pg_stat_activity where application_name = 'orderctl dlq'
             and {backend} = any(pg_blocking_pids(pid))"
    );
    eventually("the second one waits behind it", || !sql(&behind).is_empty());
    holder.run("rollback");
    let ended = [first, second].map(|run| run.finish().success().json());
    let count = |name: &str| ended.iter().map(|one| super::number(&one[name])).sum::<u64>();
    assert_eq!((count("stored"), count("done_before"), count("left")), (700, 700, 0));
    let counts = sandbox.column("orders", "count(*) || ' ' || count(distinct order_id)");
    assert_eq!(counts, ["700 700"]);
}

#[test]
fn killed_in_the_middle_nothing_is_stored_without_its_mark() {
    let sandbox = checked("killed");
    cure(&sandbox);
    let holder = Session::open();
    // The insert waits for the lock, with the letters locked already.
    holder.run(&format!("begin; lock table {} in share mode", sandbox.table("orders")));
    let run = to_table(&sandbox).spawn();
    eventually("it stores", || !storing(&sandbox).is_empty());
    let backend = storing(&sandbox).remove(0);
    run.kill();
    sql(&format!("select pg_terminate_backend({backend})"));
    holder.run("rollback");
    eventually("its backend ends", || storing(&sandbox).is_empty());
    assert_eq!((sandbox.count("orders"), states(&sandbox).as_str()), (1, "open 3"));
    to_table(&sandbox).finish().code(3);
    assert_eq!((sandbox.count("orders"), states(&sandbox).as_str()), (3, "open 1, stored 2"));
}
