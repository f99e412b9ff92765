//! `test`: every entry alone, all together, from lines, from keys, and cleaned up.

mod keys;
mod rights;

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Run, Sandbox, drop_role, kafka, sql, sql_value, stack, try_sql, uri_as};

/// A sandbox whose names may be those of tests.
fn sandbox(name: &str) -> Sandbox {
    Sandbox::new(&format!("test_{name}"))
}

/// `test` on the sandbox's topic and group and the table test_table in its schema.
fn menu(sandbox: &Sandbox, args: &str) -> Run {
    let (topic, group, schema) = (&sandbox.topic, &sandbox.group, &sandbox.schema);
    Run::new(["test", "--topic-name", topic, "--group", group, "--schema", schema])
        .args(args.split_whitespace())
}

/// Runs entries; what became of each, as `1 ok` or `3 there is no table`.
fn tested(sandbox: &Sandbox, args: &str, code: i32) -> Vec<String> {
    let report = menu(sandbox, args).args(["-o", "json"]).finish().code(code).json();
    assert_eq!(report["ok"], code == 0, "{report}");
    report["results"].as_array().expect("results").iter().map(told).collect()
}

fn told(result: &Value) -> String {
    assert!(result["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{result}");
    assert!(!result["done"].as_str().expect("what was done").is_empty(), "{result}");
    assert_eq!(result["passed"] == true, result["reason"].is_null(), "{result}");
    format!("{} {}", result["entry"], result["reason"].as_str().unwrap_or("ok"))
}

/// Fails the test unless the one entry that was run failed with these words.
#[track_caller]
fn assert_fails(sandbox: &Sandbox, entry: &str, words: &[&str]) {
    let told = tested(sandbox, entry, 1);
    assert_eq!(told.len(), 1, "{told:?}");
    for word in words {
        assert!(told[0].contains(word), "{entry}: {word}: {told:?}");
    }
}

/// How many rows the ledger in a schema has of the sandbox's topic and table.
fn ledger_rows(sandbox: &Sandbox, ledger: &str) -> String {
    sql_value(&format!(
        "select (select count(*) from {ledger}.ledger_position where topic = '{0}')
             + (select count(*) from {ledger}.dead_letter where topic = '{0}')
             + (select count(*) from {ledger}.ledger_table where table_schema = '{1}')",
        sandbox.topic, sandbox.schema
    ))
}

const ALL_OK: [&str; 7] = ["1 ok", "2 ok", "3 ok", "4 ok", "5 ok", "8 ok", "9 ok"];

#[test]
fn all_pass_where_nothing_was_and_clean_leaves_nothing() {
    let sandbox = sandbox("menu_all");
    assert_eq!(tested(&sandbox, "--all", 0), ALL_OK);
    assert_eq!(sandbox.count("test_table"), 11, "ten tickets and one that was sold twice");
    assert_ne!(ledger_rows(&sandbox, "orderctl"), "0");
    // Again on what is left, by its number, and cleaned up behind.
    let again = menu(&sandbox, "6 --clean -o json").finish().success().json();
    assert_eq!(again["results"].as_array().map(Vec::len), Some(7), "{again}");
    assert!(again["cleaned"].as_array().unwrap().iter().all(|one| one["removed"] == true));
    assert_eq!(kafka().partitions(&sandbox.topic), 0);
    assert_eq!(ledger_rows(&sandbox, "orderctl"), "0");
    let tables = format!("select count(*) from pg_tables where schemaname = '{}'", sandbox.schema);
    assert_eq!(sql_value(&tables), "0");
    let twice = menu(&sandbox, "--clean").finish().success();
    assert!(twice.stdout.contains("was not there"), "{twice}");
    // A topic made anew is not taken for the one that is gone.
    assert_eq!(tested(&sandbox, "1 2 4 5", 0), ["1 ok", "2 ok", "4 ok", "5 ok"]);
}

#[test]
fn each_entry_alone_says_what_is_missing_and_what_to_do_first() {
    let sandbox = sandbox("menu_alone");
    for entry in ["3", "4", "5", "9"] {
        assert_fails(&sandbox, entry, &["no table test_table", "run 2"]);
    }
    assert_fails(&sandbox, "8", &["no topic", "run 1"]);
    tested(&sandbox, "2", 0);
    assert_fails(&sandbox, "4", &["no topic", "run 1"]);
    assert_fails(&sandbox, "5", &["empty", "run 1 and 4"]);
    assert_eq!(tested(&sandbox, "9 8", 0), ["9 ok", "8 ok"], "9 publishes for itself");
    assert_fails(&sandbox, "4", &["nothing new", "run 1"]);
}

#[test]
fn what_an_earlier_run_left_does_not_make_a_test_lie() {
    let sandbox = sandbox("menu_left");
    tested(&sandbox, "1 2 4", 0);
    // Rows are there, but not those of the messages of this run.
    tested(&sandbox, "1", 0);
    assert_fails(&sandbox, "5", &["10 messages", "not stored yet", "run 4"]);
    tested(&sandbox, "4 5", 0);
    sql(&format!(
        "delete from {0} where ticket_id = (select min(ticket_id) from {0})",
        sandbox.table("test_table")
    ));
    assert_fails(&sandbox, "5", &["1 missing"]);
    sandbox.publish_raw([Some(b"{\"movie\": 1}".as_slice())]);
    assert_fails(&sandbox, "8", &["1 of 21 messages", "partition 0 offset"]);
    assert_fails(&sandbox, "4", &["1 rejected", "dlq list"]);
    // The topic is another one; the table and the ledger are those of before.
    let sandbox = sandbox.with_topic_anew();
    assert_eq!(tested(&sandbox, "1 4 8 9", 0), ["1 ok", "4 ok", "8 ok", "9 ok"]);
}

#[test]
fn a_table_that_takes_no_tickets_or_cannot_tell_them_apart_fails_by_name() {
    let sandbox = sandbox("menu_tables");
    sql(&format!("create table {} (colour text)", sandbox.table("test_table")));
    assert_fails(&sandbox, "2", &["ticket_id"]);
    assert_fails(&sandbox, "3", &["ticket_id"]);
    sql(&format!(
        "drop table {0}; create table {0} (ticket_id text, theater text, movie text, name text,
             email text, phone_number text, seats text)",
        sandbox.table("test_table")
    ));
    tested(&sandbox, "2 3", 0);
    assert_fails(&sandbox, "9", &["2 rows", "unique index on ticket_id"]);
}

#[test]
fn lines_of_a_pipe_are_entries_until_exit() {
    let sandbox = sandbox("menu_pipe");
    let piped = |lines: &str| menu(&sandbox, "").stdin(lines).finish();
    let passed = piped("1\r\n\n 2 \n7\n3\n").success();
    assert_eq!(passed.stdout.matches("PASS").count(), 2, "{passed}");
    assert!(!passed.stderr.contains("Which test"), "nobody is asked: {passed}");
    let failed = piped("3\n5\n").code(1);
    assert!(failed.stdout.starts_with("PASS  3") && failed.stdout.contains("FAIL  5"), "{failed}");
    assert!(failed.stderr.contains("1 of 2 tests failed"), "{failed}");
    let unknown = piped("3\nabc\n3").code(2);
    assert_eq!(unknown.stdout.matches("PASS").count(), 2, "it goes on: {unknown}");
    assert!(unknown.stderr.contains("\"abc\" is no entry"), "{unknown}");
    let nothing = piped("").code(2);
    assert!(nothing.stderr.contains("--all"), "{nothing}");
    assert!(!passed.stdout.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn numbers_and_names_that_are_none_are_usage_errors() {
    let sandbox = sandbox("menu_usage");
    for wrong in ["0", "10", "abc", "-1", "1 2 x"] {
        let refused = menu(&sandbox, wrong).finish().code(2);
        assert!(refused.stderr.contains("1 to 5, 8 and 9 (tests)"), "{refused}");
    }
    menu(&sandbox, "--all 1").finish().code(2);
    for flag in ["--topic-name", "--table-name", "--group"] {
        let refused = Run::new(["test", "--clean", flag, "orders"]).finish().code(2);
        assert!(refused.stderr.contains("begin with test_"), "{refused}");
    }
    assert_eq!(tested(&sandbox, "7 1", 0), [""; 0], "nothing after exit");
}

#[test]
fn a_role_that_may_only_create_in_its_schema_is_enough() {
    let sandbox = sandbox("menu_role");
    let role = format!("{}_role", sandbox.schema);
    sql(&format!(
        "create role {role} login password 'pw-{role}';
         grant create, usage on schema {} to {role}; grant {role} to current_user",
        sandbox.schema
    ));
    let uri = uri_as(&role, stack().postgres.port());
    let run = |args: &str| menu(&sandbox, args).env("ORDERCTL_POSTGRES_URI", &uri).finish();
    let report = run("--all -o json").success().json();
    let told: Vec<String> = report["results"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, ALL_OK);
    assert_ne!(ledger_rows(&sandbox, &sandbox.schema), "0", "the ledger is beside the table");
    run("--clean").success();
    assert_eq!(ledger_rows(&sandbox, &sandbox.schema), "0");
    assert!(try_sql(&format!("select from {}", sandbox.table("test_table"))).is_err());
    drop_role(&role);
}

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_is() {
    let sandbox = sandbox("menu_stuck");
    tested(&sandbox, "1 2", 0);
    sql(&format!("create view {0}.seen as select * from {0}.test_table", sandbox.schema));
    let stuck = menu(&sandbox, "--clean").finish().code(1);
    assert!(stuck.stdout.contains("not removed: table test_table"), "{stuck}");
    assert!(stuck.stderr.contains("1 of 3 things"), "{stuck}");
    assert_eq!(kafka().partitions(&sandbox.topic), 0);
    sql(&format!("drop view {}.seen", sandbox.schema));
    menu(&sandbox, "--clean").finish().success();
}

#[test]
fn a_stop_in_the_middle_of_a_test_is_no_failure_of_it() {
    // A cluster that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let running = menu(&sandbox("menu_stopped"), "1 2")
        .args(["--bootstrap-server", &address, "--security-protocol", "PLAINTEXT"])
        .spawn();
    let _connection = silent.accept().unwrap();
    running.interrupt();
    let stopped = running.finish().code(130);
    assert_eq!(stopped.stdout, "", "{stopped}");
}
