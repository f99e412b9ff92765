//! Orders as JSON, and the steps that most tests of the sink share.

use serde_json::{Value, json};

use super::program::Running;
use super::{Raw, Run, Sandbox, eventually, kafka, orderctl, sql, sql_value, uri};

/// A valid order.
pub fn order(id: impl Into<Value>) -> Value {
    json!({
        "order_id": id.into(),
        "customer": {
            "name": "James Clark", "email": "james@example.com",
            "address": {
                "street": "Avenue Street", "city": "Springfield",
                "state": "Illinois", "postal_code": "62701"
            }
        },
        "product_name": "Protein Powder", "quantity": 5,
        "order_date": "2023-06-09", "priority": "high"
    })
}

/// A valid order but for one value, named by a JSON pointer (`/customer/name`).
pub fn order_with(id: impl Into<Value>, pointer: &str, value: impl Into<Value>) -> Value {
    let mut order = order(id);
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = order.pointer_mut(parent).expect("the field's parent");
    parent.as_object_mut().expect("an object").insert(name.to_owned(), value.into());
    order
}

/// So many valid orders with the ids `PREFIX0`, `PREFIX1`, ….
pub fn orders(prefix: &str, number: usize) -> Vec<Value> {
    (0..number).map(|index| order(format!("{prefix}{index}"))).collect()
}

/// A dead letter as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key in hexadecimal digits.
    pub key: Option<String>,
    /// The bytes of its payload.
    pub bytes: Option<usize>,
    /// The field at fault; empty for the payload as a whole.
    pub field: String,
    /// What was found there.
    pub reason: String,
}

impl Sandbox {
    /// Runs db-setup for a table of this name in the sandbox's schema.
    pub fn set_up(&self, table: &str) {
        orderctl(["db-setup", "--schema", &self.schema, "--table-name", table]).success();
    }

    /// Publishes events to partition 0, in order.
    pub fn publish(&self, events: &[Value]) {
        let payloads: Vec<String> = events.iter().map(Value::to_string).collect();
        self.publish_raw(payloads.iter().map(|payload| Some(payload.as_bytes())));
    }

    /// Publishes orders to all partitions, by their ids.
    pub fn scatter(&self, orders: &[Value]) {
        let record = |order: &Value| {
            (order["order_id"].as_str().expect("a text").to_owned(), order.to_string())
        };
        let records: Vec<(String, String)> = orders.iter().map(record).collect();
        let raw = records.iter().map(|(key, payload)| Raw {
            partition: None,
            key: Some(key.as_bytes()),
            payload: Some(payload.as_bytes()),
        });
        kafka().produce(&self.topic, raw);
    }

    /// Publishes payloads to partition 0, in order; none is a tombstone.
    pub fn publish_raw<'p>(&self, payloads: impl IntoIterator<Item = Option<&'p [u8]>>) {
        let raw = |payload| Raw { partition: Some(0), key: Some(b"key"), payload };
        kafka().produce(&self.topic, payloads.into_iter().map(raw));
    }

    /// `consume` from the topic into a table of the schema, as a group of the
    /// sandbox's own, with its summary as JSON.
    pub fn consume(&self, table: &str) -> Run {
        let (schema, topic, group) = (&self.schema, &self.topic, &self.group);
        Run::new(["consume", "--schema", schema, "--table", table, "--topic-name", topic])
            .args(["--group", group, "-o", "json"])
    }

    /// Stores what is in the topic now.
    pub fn store(&self, table: &str) -> Run {
        self.consume(table).arg("--until-end")
    }

    /// `verify` of the topic and a table of the schema, with its report as JSON.
    pub fn verify(&self, table: &str) -> Run {
        let (schema, topic, group) = (&self.schema, &self.topic, &self.group);
        Run::new(["verify", "--schema", schema, "--table", table, "--topic-name", topic])
            .args(["--group", group, "-o", "json"])
    }

    /// How many rows a table has.
    pub fn count(&self, table: &str) -> usize {
        let counted = sql_value(&format!("select count(*) from {}.\"{table}\"", self.schema));
        counted.parse().expect("a count")
    }

    /// One column of a table, sorted.
    pub fn column(&self, table: &str, expression: &str) -> Vec<String> {
        let rows = sql(&format!("select {expression} from {}.\"{table}\" order by 1", self.schema));
        rows.into_iter().map(|mut row| row.remove(0).unwrap_or_default()).collect()
    }

    /// The dead letters of the sandbox's topic, by offset.
    pub fn dead(&self) -> Vec<DeadLetter> {
        let rows = sql(&format!(
            "select partition, \"offset\", encode(key, 'hex'), length(payload), field, reason
             from orderctl.dead_letter where topic = '{}' and group_name = '{}' order by 1, 2",
            self.topic, self.group
        ));
        let text = |value: &Option<String>| value.clone().expect("not null");
        let letter = |row: &Vec<Option<String>>| DeadLetter {
            partition: text(&row[0]).parse().expect("a number"),
            offset: text(&row[1]).parse().expect("a number"),
            key: row[2].clone(),
            bytes: row[3].as_ref().map(|bytes| bytes.parse().expect("a number")),
            field: text(&row[4]),
            reason: text(&row[5]),
        };
        rows.iter().map(letter).collect()
    }

    /// The ledger's positions: partition and offset, as text.
    pub fn positions(&self) -> Vec<(i32, i64)> {
        self.ledger("next_offset")
    }

    /// The ledger's epochs: partition and epoch.
    pub fn epochs(&self) -> Vec<(i32, i64)> {
        self.ledger("owner_epoch")
    }

    fn ledger(&self, column: &str) -> Vec<(i32, i64)> {
        let rows = sql(&format!(
            "select partition, {column} from orderctl.ledger_position
             where group_name = '{}' and topic = '{}' order by 1",
            self.group, self.topic
        ));
        let number = |value: &Option<String>| value.as_ref().expect("not null").parse::<i64>();
        let pair = |row: &Vec<Option<String>>| {
            (number(&row[0]).expect("a number") as i32, number(&row[1]).expect("a number"))
        };
        rows.iter().map(pair).collect()
    }

    /// Fails the test unless the ledger stands at the end of every partition.
    #[track_caller]
    pub fn assert_read_to_the_end(&self) {
        let positions = self.positions();
        let ends: Vec<(i32, i64)> = (0..kafka().partitions(&self.topic) as i32)
            .map(|partition| (partition, kafka().watermarks(&self.topic, partition).1))
            .collect();
        assert_eq!(positions, ends, "ledger positions and watermarks of {}", self.topic);
    }

    /// What the connections of the group's writers are called.
    pub fn application(&self) -> String {
        orderctl::edges::postgres::application_name(&self.group)
    }

    /// How many connections to the database the group has.
    pub fn backends(&self) -> usize {
        let named = format!("application_name = '{}'", self.application());
        sql(&format!("select from pg_stat_activity where {named}")).len()
    }

    /// Ends every backend of the group; how many there were.
    pub fn terminate_backends(&self) -> usize {
        let ended = sql(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{}'",
            self.application()
        ));
        ended.len()
    }

    /// How many backends of the group wait for a lock.
    pub fn lock_waiters(&self) -> usize {
        let waiters = sql(&format!(
            "select from pg_stat_activity where application_name = '{}'
             and wait_event_type = 'Lock'",
            self.application()
        ));
        waiters.len()
    }

    /// Waits until a table has at least so many rows while a worker runs.
    #[track_caller]
    pub fn wait_for_rows(&self, table: &str, rows: usize, worker: &mut Running) {
        eventually(&format!("{rows} rows in {table}"), || {
            assert!(worker.is_running(), "the worker ended early");
            self.count(table) >= rows
        });
    }
}

impl Sandbox {
    /// Creates a role that may do in the sandbox's schema what `consume` needs;
    /// its password is `pw-ROLE`. Its backends can be looked into. [`drop_role`]
    /// removes it.
    pub fn create_role(&self) -> String {
        let role = format!("{}_role", self.schema);
        sql(&format!(
            "create role {role} login password 'pw-{role}';
             grant usage on schema {0}, orderctl to {role};
             grant select, insert, update on all tables in schema {0} to {role};
             grant select, insert, update on all tables in schema orderctl to {role};
             grant {role} to current_user",
            self.schema
        ));
        role
    }
}

/// What a run of `verify` counts in all, without what it counts none of: `stored
/// 10, unknown 5`. It must end with this exit code.
#[track_caller]
pub fn verified(verify: Run, code: i32) -> String {
    let report = verify.finish().code(code).json();
    let named = |name: &str| {
        let count = report["totals"][name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
        (count > 0).then(|| format!("{name} {count}"))
    };
    COUNTS.into_iter().filter_map(named).collect::<Vec<_>>().join(", ")
}

/// What `verify` counts, but for what it has read.
const COUNTS: [&str; 8] =
    ["stored", "duplicates", "rejected", "missing", "duplicated", "extra", "behind", "unknown"];

/// The stack's database under a port, for a role with the password `pw-ROLE`.
pub fn uri_as(role: &str, port: u16) -> String {
    let owner = uri_at_port(port);
    let address = owner.split_once('@').expect("a URI with a password").1;
    format!("postgres://{role}:pw-{role}@{address}")
}

/// Drops a role that a test has created, with its rights.
pub fn drop_role(role: &str) {
    sql(&format!("grant {role} to current_user; drop owned by {role}; drop role {role}"));
}

/// The stack's database under another port, as when a proxy stands before it.
pub fn uri_at_port(port: u16) -> String {
    let stack = super::stack();
    uri(&stack.creds).replace(&format!(":{}/", stack.postgres.port()), &format!(":{port}/"))
}
