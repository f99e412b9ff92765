//! `notify`: mails that tell the truth about what was sent.

mod hands;
mod mailboxes;
mod refusals;
mod rights;
mod scripted;
mod seen;
mod survival;
mod topics;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Run, Sandbox, Smtp, order, orderctl, sql, stack};

/// A sandbox with a topic, where the ledger is there.
fn sandbox(name: &str, partitions: i32) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(partitions);
    sandbox.set_up("orders");
    sandbox
}

/// `notify` of the sandbox's topic until all is done, with its summary as JSON.
fn notify(sandbox: &Sandbox) -> Run {
    Run::new(["notify", "--until-end", "-o", "json", "--from", &sandbox.topic])
        .args(["--group", &sandbox.group])
}

/// An urgent order whose customer has this address.
fn urgent(id: &str, email: &str) -> Value {
    let mut order = order(id);
    order["priority"] = json!("high");
    order["customer"]["email"] = json!(email);
    order
}

/// An address that no other test writes to.
fn address(sandbox: &Sandbox, name: &str) -> String {
    format!("{name}.{}@example.com", sandbox.schema)
}

/// One column of the group's mails, in the order of the order ids.
fn column(sandbox: &Sandbox, expression: &str) -> Vec<String> {
    let rows = sql(&format!(
        "select {expression} from orderctl.mail where group_name = '{}' order by order_id",
        sandbox.group
    ));
    rows.into_iter().map(|mut row| row.remove(0).unwrap_or_default()).collect()
}

/// A folder whose creds.json names another mail server.
struct Elsewhere(tempfile::TempDir);

impl Elsewhere {
    fn new(server: &Smtp, security: &str) -> Elsewhere {
        Elsewhere::at_port(server.address.port(), security)
    }

    fn at_port(port: u16, security: &str) -> Elsewhere {
        let text = std::fs::read(&stack().creds).unwrap();
        let mut creds: Value = serde_json::from_slice(&text).unwrap();
        creds["smtp"] = json!({
            "hostname": "127.0.0.1", "port": port, "security": security,
            "username": "u", "password": "Hx7sentinel", "from": "Orders <orders@example.com>",
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("creds.json");
        std::fs::write(&path, creds.to_string()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Elsewhere(folder)
    }

    /// With the mail server that this folder names.
    fn at(&self, run: Run) -> Run {
        run.env("ORDERCTL_CREDS", self.0.path().join("creds.json"))
    }
}

#[test]
fn what_is_not_there_is_named_with_its_cure() {
    let sandbox = sandbox("missing", 1);
    let unnamed = Run::new(["notify", "--from", &format!("{}_not", sandbox.topic)]);
    assert!(unnamed.finish().code(1).stderr.contains("produce --topic-name"));
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Run::bare(["notify"]).directory(folder.path()).finish().code(1);
    assert!(nowhere.stderr.contains("auth-setup --smtp-hostname"), "{nowhere}");
    let twice = orderctl(["notify", "--from", "a,a"]).code(2);
    assert!(twice.stderr.contains("twice"), "{twice}");
    let rate = orderctl(["notify", "--rate", "10/d"]).code(2);
    assert!(rate.stderr.contains("100/s"), "{rate}");
    let group = orderctl(["notify", "--group", &"g".repeat(256)]).code(2);
    assert!(group.stderr.contains("at most 255 bytes"), "{group}");
    let reads = orderctl(["notify", "-X", "isolation.level=read_uncommitted"]).code(2);
    assert!(reads.stderr.contains("isolation.level can only be read_committed"), "{reads}");
    let which = orderctl(["notify", "retry"]).code(2);
    assert!(which.stderr.contains("--failed"), "{which}");
}
