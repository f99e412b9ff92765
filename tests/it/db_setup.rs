//! `db-setup`: table, ledger, kinds, names and rights.

use serde_json::Value;

use crate::support::postgres::Rows;
use crate::support::program::Finished;
use crate::support::{
    Run, Sandbox, order, orderctl, query_at, sql, sql_value, stack, try_sql, uri,
};

/// `db-setup` in the sandbox's schema.
fn set_up(sandbox: &Sandbox, more: &[&str]) -> Run {
    Run::new(["db-setup", "-o", "json", "--schema", &sandbox.schema]).args(more)
}

/// The columns of a table of the sandbox, as `name type`.
fn columns(sandbox: &Sandbox, table: &str) -> Vec<String> {
    let rows = sql(&format!(
        "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute
         where attrelid = '{}'::regclass and attnum > 0 order by attnum",
        sandbox.table(table)
    ));
    rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

#[test]
fn table_and_ledger_are_created_and_the_second_run_changes_nothing() {
    let sandbox = Sandbox::new("twice");
    let first = set_up(&sandbox, &[]).finish().success().json();
    assert_eq!(first["table"], "orders");
    assert_eq!(first["kind"], "order");
    assert_eq!(
        (&first["table_created"], &first["ledger_schema"]),
        (&true.into(), &"orderctl".into())
    );
    let before = columns(&sandbox, "orders");
    assert_eq!(before[0], "order_id text");
    assert!(before.contains(&"quantity integer".into()), "{before:?}");
    assert!(before.contains(&"order_date timestamp with time zone".into()), "{before:?}");
    sql(&format!(
        "insert into {} values ('1','','','','','','','p',1,now(),'low')",
        sandbox.table("orders")
    ));

    let second = set_up(&sandbox, &[]).finish().success().json();
    assert_eq!(second["table_created"], false);
    assert_eq!(second["ledger_changed"], false);
    assert_eq!(columns(&sandbox, "orders"), before);
    assert_eq!(sandbox.count("orders"), 1);
    let table = orderctl(["db-setup", "--schema", &sandbox.schema]).success();
    assert!(table.stdout.contains("there already"), "{table}");
}

#[test]
fn each_kind_has_its_table_with_the_id_as_primary_key() {
    let sandbox = Sandbox::new("kinds");
    for (kind, table, id, other) in [
        ("order", "orders", "order_id text", "postal_code text"),
        ("movie-ticket", "movie_ticket", "ticket_id text", "seats text"),
        ("user", "users", "user_id text", "date_of_birth date"),
    ] {
        let made = set_up(&sandbox, &["--kind", kind]).finish().success().json();
        assert_eq!(made["table"], table);
        let columns = columns(&sandbox, table);
        assert_eq!(columns[0], id);
        assert!(columns.contains(&other.to_owned()), "{columns:?}");
        let key = sql_value(&format!(
            "select pg_get_constraintdef(oid) from pg_constraint
             where conrelid = '{}'::regclass and contype = 'p'",
            sandbox.table(table)
        ));
        assert_eq!(key, format!("PRIMARY KEY ({})", id.trim_end_matches(" text")));
    }
}

#[test]
fn the_id_is_of_the_type_asked_for() {
    let sandbox = Sandbox::new("ids");
    for id_type in ["text", "uuid", "bigint"] {
        set_up(&sandbox, &["--id-type", id_type, "--table-name", id_type]).finish().success();
        assert_eq!(columns(&sandbox, id_type)[0], format!("order_id {id_type}"));
    }
    let unknown = set_up(&sandbox, &["--id-type", "float"]).finish().code(2);
    assert!(unknown.stderr.contains("bigint"), "the choices are named: {unknown}");
}

#[test]
fn a_named_schema_is_created_when_missing() {
    let sandbox = Sandbox::new("schemas");
    let schema = format!("{}_Été", sandbox.schema);
    let made = orderctl(["db-setup", "-o", "json", "--schema", &schema]).success().json();
    assert_eq!(made["schema"], schema.as_str());
    assert_eq!(sql_value(&format!("select count(*) from \"{schema}\".orders")), "0");
}

#[test]
fn names_of_any_legal_form_are_kept_and_can_be_consumed_into() {
    let sandbox = Sandbox::new("names").with_topic(1);
    sandbox.publish(&[order("1")]);
    let longest = "ü".repeat(31) + "x";
    assert_eq!(longest.len(), 63);
    for name in ["Ordre-été", "MixedCase", longest.as_str(), "a\"quote", "a.dot", "select", "it's"]
    {
        set_up(&sandbox, &["--table-name", name]).finish().success();
        let exists = format!(
            "select count(*) from pg_tables where schemaname = '{}' and tablename = '{}'",
            sandbox.schema,
            name.replace('\'', "''")
        );
        assert_eq!(sql_value(&exists), "1", "{name}");
        let own = Sandbox { group: format!("{}-{name}", sandbox.group), ..sandbox.clone() };
        let stored = own.store(name).finish().success().json();
        assert_eq!(stored["stored"], 1, "{name}");
        assert_eq!(own.count(&name.replace('"', "\"\"")), 1, "{name}");
    }
}

#[test]
fn illegal_names_are_usage_errors_and_make_nothing() {
    let sandbox = Sandbox::new("illegal");
    for name in ["", &"x".repeat(64), &"é".repeat(32)] {
        let refused = set_up(&sandbox, &["--table-name", name]).finish().code(2);
        assert!(refused.stderr.contains("--table-name"), "{refused}");
        let refused = orderctl(["db-setup", "--schema", name]).code(2);
        assert!(refused.stderr.contains("--schema"), "{refused}");
    }
    let tables = format!("select count(*) from pg_tables where schemaname = '{}'", sandbox.schema);
    assert_eq!(sql_value(&tables), "0");
}

#[test]
fn ten_at_once_all_succeed() {
    let sandbox = Sandbox::new("ten");
    let schema = format!("{}_new", sandbox.schema);
    let run = || Run::new(["db-setup", "-o", "json", "--schema", &schema]).spawn();
    let running: Vec<_> = (0..10).map(|_| run()).collect();
    let ended: Vec<Value> = running.into_iter().map(|one| one.finish().success().json()).collect();
    let created = ended.iter().filter(|one| one["table_created"] == true).count();
    assert_eq!(created, 1, "one of them created the table");
}

/// A role of the test's own in a database of its own, so that the ledger's
/// schema of the shared database is not in its way.
struct Role {
    name: String,
    sandbox: Sandbox,
}

impl Role {
    fn new(name: &str) -> Role {
        let sandbox = Sandbox::new(name);
        let name = sandbox.schema.clone();
        sql(&format!("create role {name} login password 'secret-of-{name}'"));
        sql(&format!("create database {name}"));
        let role = Role { name, sandbox };
        role.as_owner(&format!(
            "revoke all on schema public from public; \
            revoke all on database {} from public; \
            grant connect on database {} to {}",
            role.name, role.name, role.name
        ));
        role
    }

    fn uri(&self) -> String {
        let owner = uri(&stack().creds);
        let (before, after) = owner.split_once("://").unwrap();
        let host = after.split_once('@').unwrap().1;
        let (address, rest) = host.split_once('/').unwrap();
        let query = rest.split_once('?').unwrap().1;
        format!("{before}://{0}:secret-of-{0}@{address}/{0}?{query}", self.name)
    }

    fn as_owner(&self, query: &str) {
        let owner = uri(&stack().creds);
        let (before, query_part) = owner.rsplit_once('?').unwrap();
        let (server, _) = before.rsplit_once('/').unwrap();
        let own = format!("{server}/{}?{query_part}", self.name);
        query_at(&own, &stack().cert_path.join("ca.pem"), query).unwrap();
    }

    fn as_role(&self, query: &str) -> Rows {
        query_at(&self.uri(), &stack().cert_path.join("ca.pem"), query).unwrap()
    }

    fn value(&self, query: &str) -> String {
        self.as_role(query)[0][0].clone().unwrap()
    }

    fn run(&self, args: &[&str]) -> Finished {
        Run::new(args).env("ORDERCTL_POSTGRES_URI", self.uri()).finish()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = try_sql(&format!("drop database if exists {} with (force)", self.name));
        let _ = try_sql(&format!("drop role {}", self.name));
    }
}

#[test]
fn a_role_that_may_create_only_in_its_schema_keeps_the_ledger_there_and_can_consume() {
    let role = Role::new("own_schema");
    role.as_owner(&format!(
        "create schema mine; grant create, usage on schema mine to {}",
        role.name
    ));
    let made = role.run(&["db-setup", "-o", "json", "--schema", "mine"]).success().json();
    assert_eq!(made["ledger_schema"], "mine");
    let again = role.run(&["db-setup", "-o", "json", "--schema", "mine"]).success().json();
    assert_eq!(again["ledger_changed"], false);

    let sandbox = role.sandbox.clone().with_topic(1);
    sandbox.publish(&[order("1"), order(""), order("2")]);
    let consume = ["consume", "--schema", "mine", "--topic-name", &sandbox.topic, "--until-end"];
    role.run(&consume).code(3);
    assert_eq!(role.value("select count(*) from mine.orders"), "2");
    assert_eq!(role.value("select count(*) from mine.dead_letter"), "1");
    assert_eq!(role.value("select next_offset from mine.ledger_position"), "3");
    role.run(&consume).success();
    assert_eq!(role.value("select count(*) from mine.orders"), "2");
}

#[test]
fn a_role_without_rights_is_told_which_one_is_missing() {
    let role = Role::new("no_rights");
    role.as_owner("create schema theirs");
    let grant = |text: &str| format!("{text} to \"{}\"", role.name);
    for (args, cure) in [
        (
            &["db-setup", "--schema", "theirs"][..],
            grant("grant create, usage on schema \"theirs\""),
        ),
        (
            &["db-setup", "--schema", "absent"][..],
            grant(&format!("grant create on database \"{}\"", role.name)),
        ),
    ] {
        let refused = role.run(args).code(1);
        assert!(refused.stderr.contains(&cure), "{cure}: {refused}");
        assert!(!refused.stderr.contains("secret-of"), "{refused}");
    }
    role.as_owner(&format!("grant create, usage on schema theirs to {}", role.name));
    role.run(&["db-setup", "--schema", "theirs"]).success();
    role.as_role("revoke all on all tables in schema theirs from current_user");
    let refused = role.run(&["db-setup", "--schema", "theirs"]).code(1);
    assert!(refused.stderr.contains("grant select, insert, update"), "{refused}");
}

#[test]
fn a_table_that_cannot_take_the_kind_is_refused_by_column_and_left_alone() {
    let sandbox = Sandbox::new("misfit");
    sql(&format!(
        "create table {} (order_id text primary key, quantity bytea, shop text not null)",
        sandbox.table("orders")
    ));
    let before = columns(&sandbox, "orders");
    let refused = set_up(&sandbox, &[]).finish().code(1);
    for name in ["quantity is bytea", "shop", "product_name", "--kind"] {
        assert!(refused.stderr.contains(name), "{name}: {refused}");
    }
    assert_eq!(columns(&sandbox, "orders"), before);
    let recorded = format!(
        "select count(*) from orderctl.ledger_table where table_schema = '{}'",
        sandbox.schema
    );
    assert_eq!(sql_value(&recorded), "0");
}

#[test]
fn a_view_is_refused() {
    let sandbox = Sandbox::new("view");
    sql(&format!("create view {} as select 1 as order_id", sandbox.table("orders")));
    let refused = set_up(&sandbox, &[]).finish().code(1);
    assert!(refused.stderr.contains("a view"), "{refused}");
}

#[test]
fn the_kind_of_the_table_is_recorded_so_that_consume_need_not_be_told() {
    let sandbox = Sandbox::new("recorded").with_topic(1);
    set_up(&sandbox, &["--kind", "movie-ticket", "--table-name", "Kino"]).finish().success();
    sandbox.publish(&[serde_json::json!({
        "ticket_id": "t1", "theater": "Rex", "movie": "Alien", "name": "Ann",
        "email": "ann@example.com", "phone_number": "555", "seats": ["A1", "A2"]
    })]);
    sandbox.store("Kino").finish().success();
    assert_eq!(sandbox.column("Kino", "seats"), ["A1,A2"]);
}

#[test]
fn a_database_that_is_not_there_is_told_within_seconds() {
    let absent = uri(&stack().creds).replace(&format!("/{}?", orderctl::stack::LOGIN), "/absent?");
    let refused = Run::new(["db-setup"]).env("ORDERCTL_POSTGRES_URI", absent).finish().code(1);
    assert!(refused.stderr.contains("no such database"), "{refused}");
}
