//! Kafka and PostgreSQL, well and not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{assert_found, doctor, found};
use crate::connections::{fakes, passwords};
use crate::support::{
    Pooler, Run, Sandbox, Session, drop_role, kafka, order, query_at, sql, stack, try_sql, uri,
    uri_as, uri_at_port,
};

fn sandbox(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(3);
    sandbox.set_up("orders");
    sandbox
}

#[test]
fn a_stack_that_is_well_is_ok_through_every_listener_and_nothing_is_left_behind() {
    let sandbox = sandbox("well");
    for (creds, login) in [
        (&stack().creds, "client certificate"),
        (&stack().creds_sasl, "SCRAM-SHA-256 as"),
        (&stack().creds_plaintext, "none asked for"),
    ] {
        let run = doctor(&sandbox).env("ORDERCTL_CREDS", creds).finish().success();
        let json = run.json();
        let findings = json.as_array().unwrap();
        assert!(findings.iter().all(|one| one["status"] == "ok"), "{run}");
        assert_found(&run, "kafka", "login", "ok", &[login]);
        assert_found(&run, "kafka", "topic", "ok", &["3 partitions, 1 replica", "written"]);
        assert_found(&run, "postgres", "tls", "ok", &["TLSv1.3", "days left"]);
        assert_found(&run, "postgres", "login", "ok", &["TLSv1.3"]);
        assert_found(&run, "postgres", "table", "ok", &["kind order", "ids are unique"]);
        assert_found(&run, "postgres", "ledger", "ok", &["schema orderctl"]);
        for secret in passwords() {
            assert!(!format!("{run}").contains(&secret), "{run}");
        }
    }
    assert_eq!(kafka().watermarks(&sandbox.topic, 0), (0, 0));
    assert!(sandbox.positions().is_empty());
}

#[test]
fn people_get_a_table_with_the_counts() {
    let sandbox = sandbox("people");
    let flags = ["--schema", &sandbox.schema, "--topic-name", &sandbox.topic];
    let run = Run::new(["doctor"]).args(flags).finish().success();
    for line in ["kafka\n", "postgres\n", "  ok       login ", " 0 failed, 0 skipped\n"] {
        assert!(run.stdout.contains(line), "{line}: {run}");
    }
}

#[test]
fn what_consume_would_miss_fails_with_the_command_that_makes_it() {
    let sandbox = Sandbox::new("missing");
    let run = doctor(&sandbox).finish().code(1);
    let setup = format!("orderctl db-setup --table-name orders --schema {}", sandbox.schema);
    assert_found(&run, "postgres", "table", "failed", &[&setup]);
    assert_found(&run, "postgres", "rights", "skipped", &["table failed"]);
    assert_found(&run, "kafka", "topic", "failed", &[&sandbox.topic, "--create-topic"]);
    assert_found(&run, "kafka", "group", "skipped", &["topic failed"]);
    assert!(run.stderr.contains("2 of ") && run.stderr.contains("checks failed"), "{run}");
}

#[test]
fn a_table_that_cannot_take_the_kind_fails_and_one_without_a_key_is_warned_about() {
    let sandbox = sandbox("shape");
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} drop constraint orders_pkey"));
    let run = doctor(&sandbox).finish().success();
    assert_found(&run, "postgres", "table", "warning", &["create unique index on"]);
    sql(&format!("alter table {table} drop column priority, add shop text not null"));
    let run = doctor(&sandbox).finish().code(1);
    assert_found(&run, "postgres", "table", "failed", &["no column priority", "column shop"]);
}

#[test]
fn a_group_that_stores_the_topic_elsewhere_fails() {
    let sandbox = sandbox("shared");
    sandbox.set_up("others");
    sandbox.publish(&[order("1")]);
    sandbox.store("others").finish().success();
    let run = doctor(&sandbox).finish().code(1);
    assert_found(&run, "postgres", "group", "failed", &[&sandbox.table("others"), "--group"]);
}

#[test]
fn rights_are_told_by_the_grant_that_is_missing() {
    let sandbox = sandbox("rights");
    let role = format!("{}_role", sandbox.schema);
    sql(&format!("create role {role} login password 'pw-{role}'"));
    let own = uri_as(&role, stack().postgres.port());
    let look = || doctor(&sandbox).env("ORDERCTL_POSTGRES_URI", &own).finish();
    let nothing = look();
    sql(&format!(
        "grant usage on schema {0}, orderctl to {role}; grant select on {0}.orders to {role};
         grant select on all tables in schema orderctl to {role}",
        sandbox.schema
    ));
    let reader = look();
    sql(&format!(
        "grant insert on {0}.orders to {role};
         grant insert, update on all tables in schema orderctl to {role}",
        sandbox.schema
    ));
    let writer = look();
    sql(&format!(
        "revoke insert on orderctl.redrive from {role};
         revoke select on orderctl.ledger_identity from {role}"
    ));
    let consumer = look();
    drop_role(&role);
    assert_found(&nothing.code(1), "postgres", "rights", "failed", &["grant usage on schema"]);
    let reader = reader.code(1);
    assert_found(&reader, "postgres", "rights", "failed", &["grant insert on"]);
    let ledger = ["insert on ledger_position", "update on dead_letter", "grant select"];
    assert_found(&reader, "postgres", "ledger", "failed", &ledger);
    let writer = writer.success();
    assert_found(&writer, "postgres", "rights", "warning", &["grant update on"]);
    assert_found(&writer, "postgres", "ledger", "ok", &[]);
    assert!(!writer.stdout.contains("dlq redrive"), "{writer}");
    let consumer = consumer.success();
    let redrive = ["lacks select on ledger_identity, insert on redrive,", "dlq redrive", "grant"];
    assert_found(&consumer, "postgres", "ledger", "warning", &redrive);
    assert!(!format!("{writer}").contains(&format!("pw-{role}")), "{writer}");
}

#[test]
fn a_pooler_that_lets_us_in_and_has_no_connection_left_is_given_up_in_time() {
    let sandbox = sandbox("pool_taken");
    let pooler = Pooler::start(1);
    let uri = uri_at_port(pooler.port);
    let look = || {
        // The pooler itself would let us wait for two minutes.
        doctor(&sandbox).env("ORDERCTL_POSTGRES_URI", &uri).limit(Duration::from_secs(40)).finish()
    };
    let holder = Session::open_at(&uri).unwrap();
    holder.run("begin");
    let taken = look().code(1);
    assert_found(&taken, "postgres", "tls", "ok", &[]);
    assert_found(&taken, "postgres", "login", "failed", &["within 5 s", "pooler"]);
    assert_found(&taken, "postgres", "table", "skipped", &["login failed"]);
    holder.run("rollback");
    let free = look().success();
    assert_found(&free, "postgres", "table", "ok", &[]);
}

#[test]
fn a_database_without_a_ledger_and_one_of_an_older_version_are_to_be_set_up() {
    let sandbox = sandbox("no_ledger");
    let (name, owner) = (&sandbox.schema, uri(&stack().creds));
    sql(&format!("create database {name}"));
    let (server, query) = owner.rsplit_once('?').unwrap();
    let own = format!("{}/{name}?{query}", server.rsplit_once('/').unwrap().0);
    let ask = |query: &str| query_at(&own, &stack().cert_path.join("ca.pem"), query).unwrap();
    let look = || {
        let flags = ["doctor", "-o", "json", "--topic-name", &sandbox.topic];
        Run::new(flags).env("ORDERCTL_POSTGRES_URI", &own).finish()
    };
    ask("create table orders (order_id text primary key)");
    let bare = look();
    ask("drop table orders");
    Run::new(["db-setup"]).env("ORDERCTL_POSTGRES_URI", &own).finish().success();
    ask("delete from orderctl.ledger_history");
    let older = look();
    let _ = try_sql(&format!("drop database {name} with (force)"));
    let cure = "orderctl db-setup --table-name orders";
    assert_found(&bare.code(1), "postgres", "ledger", "failed", &["no ledger", cure]);
    assert_found(&older.code(1), "postgres", "ledger", "failed", &["version 0", cure]);
}

#[test]
fn replicas_below_the_minimum_and_records_from_the_future_are_warned_about() {
    let sandbox = Sandbox::new("replicas");
    kafka().create_topic(&sandbox.topic, 1, &[("min.insync.replicas", "2")]);
    sandbox.set_up("orders");
    let run = doctor(&sandbox).finish().success();
    assert_found(&run, "kafka", "topic", "warning", &["min.insync.replicas is 2"]);

    let sandbox = self::sandbox("future");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead = now + Duration::from_secs(30 * 60);
    kafka().produce_at(&sandbox.topic, ahead.as_millis() as i64, b"{}");
    let run = doctor(&sandbox).finish().success();
    assert_found(&run, "kafka", "clock", "warning", &["in the future", "NTP"]);
}

#[test]
fn a_cluster_that_names_a_broker_out_of_reach_fails_at_that() {
    let sandbox = sandbox("advertised");
    let elsewhere = fakes::closed();
    let door = advertising(stack().kafka_plaintext, elsewhere);
    let run = doctor(&sandbox)
        .env("ORDERCTL_CREDS", &stack().creds_plaintext)
        .args(["--bootstrap-server", &door.to_string()])
        .finish()
        .code(1);
    let words = ["1 cannot be reached", &elsewhere.to_string(), "advertised.listeners"];
    assert_found(&run, "kafka", "cluster", "failed", &words);
    assert_found(&run, "kafka", "topic", "skipped", &[]);
}

/// A door to a broker that gives another address of itself than its own.
fn advertising(broker: SocketAddr, elsewhere: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = listener.local_addr().unwrap();
    // A 32-bit port behind the host, as Kafka's protocol has it.
    let advertised = |address: SocketAddr| {
        [&b"127.0.0.1"[..], &i32::from(address.port()).to_be_bytes()].concat()
    };
    let (theirs, ours) = (advertised(broker), advertised(elsewhere));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let Ok(mut server) = TcpStream::connect(broker) else { continue };
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (theirs, ours) = (theirs.clone(), ours.clone());
            std::thread::spawn(move || while answer(&mut server, &mut client, &theirs, &ours) {});
        }
    });
    door
}

/// Hands one answer of a broker on, rewritten; false at the end.
fn answer(from: &mut TcpStream, to: &mut TcpStream, theirs: &[u8], ours: &[u8]) -> bool {
    let mut size = [0; 4];
    if from.read_exact(&mut size).is_err() {
        return false;
    }
    let mut body = vec![0; u32::from_be_bytes(size) as usize];
    if from.read_exact(&mut body).is_err() {
        return false;
    }
    while let Some(at) = body.windows(theirs.len()).position(|part| part == theirs) {
        body[at..at + ours.len()].copy_from_slice(ours);
    }
    to.write_all(&size).and_then(|()| to.write_all(&body)).is_ok()
}

#[test]
fn silent_servers_are_given_up_in_time_and_each_probe_alone() {
    let sandbox = sandbox("silent");
    let (one, other) = (fakes::silent(), fakes::silent());
    let port = other.local_addr().unwrap().port();
    let started = Instant::now();
    let run = doctor(&sandbox)
        .args(["--bootstrap-server", &one.local_addr().unwrap().to_string()])
        .env("ORDERCTL_POSTGRES_URI", uri_at_port(port))
        .finish()
        .code(1);
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}: {run}", started.elapsed());
    for service in ["kafka", "postgres"] {
        assert_found(&run, service, "tcp", "ok", &[]);
        assert_found(&run, service, "tls", "failed", &["does not answer a TLS handshake"]);
        assert_found(&run, service, "login", "skipped", &["tls failed"]);
    }
}

#[test]
fn unknown_hosts_and_closed_ports_fail_where_they_are() {
    let sandbox = sandbox("nowhere");
    let closed = fakes::closed();
    let uri = format!("postgres://u:hunter2@{closed}/db?sslmode=verify-full");
    let run = doctor(&sandbox)
        .args(["--bootstrap-server", "no-such-host.invalid:9092"])
        .env("ORDERCTL_POSTGRES_URI", uri)
        .finish()
        .code(1);
    assert_found(&run, "kafka", "dns", "failed", &["no host of this name", "no-such-host"]);
    assert_found(&run, "kafka", "tcp", "skipped", &["dns failed"]);
    let words = ["nothing listens on", &closed.to_string()];
    assert_found(&run, "postgres", "tcp", "failed", &words);
    assert_found(&run, "postgres", "login", "skipped", &["tcp failed"]);
    assert!(!format!("{run}").contains("hunter2"), "{run}");
}

#[test]
fn the_next_broker_and_host_are_good_enough_to_go_on() {
    let sandbox = sandbox("next");
    let closed = fakes::closed();
    let run = doctor(&sandbox)
        .args(["--bootstrap-server", &format!("{closed},{}", stack().kafka_ssl)])
        .finish()
        .code(1);
    assert_found(&run, "kafka", "tcp", "failed", &[&closed.to_string()]);
    assert_eq!(found(&run, "kafka", "login").0, "ok", "{run}");
    assert_eq!(found(&run, "kafka", "topic").0, "ok", "{run}");
}

#[test]
fn ctrl_c_ends_it_at_once() {
    let sandbox = sandbox("stopped");
    let server = fakes::silent();
    let run = doctor(&sandbox)
        .args(["--bootstrap-server", &server.local_addr().unwrap().to_string()])
        .spawn();
    // It has come to where nobody answers.
    server.accept().unwrap();
    let asked = Instant::now();
    run.interrupt();
    let ended = run.finish().code(130);
    // Less than it gives a server for a single step.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}: {ended}", asked.elapsed());
    assert_eq!(ended.stdout, "");
}

#[test]
fn usage_errors_name_the_flag() {
    for (flag, value) in [("--kind", "car"), ("--topic-name", "a b"), ("--table", "")] {
        let run = Run::new(["doctor", flag, value]).finish().code(2);
        assert!(run.stderr.contains(flag), "{run}");
    }
}
