//! A transaction-mode pooler between the workers and the database.

use std::net::Ipv4Addr;
use std::time::Instant;

use orderctl::stack::LOGIN;

use super::cuts::end;
use super::workers::{held_mid_copy, owners, replace};
use super::{Publishing, STAYS, assert_each_once, at_least, note_pause, sandbox, worker};
use crate::support::{Pooler, Proxy, Run, Sandbox, eventually, orders, sql, uri_at_port, verified};

/// A worker behind the pooler.
fn behind(pooler: &Pooler, sandbox: &Sandbox) -> Run {
    worker(sandbox).env("ORDERCTL_POSTGRES_URI", uri_at_port(pooler.port))
}

/// How many transactions of the workers went through.
fn transactions(pooler: &Pooler) -> u64 {
    let stats = pooler.show("show stats_totals");
    let ours = stats.iter().find(|row| row[0].as_deref() == Some(LOGIN)).expect("our database");
    ours[1].as_ref().expect("xact_count").parse().expect("a number")
}

#[test]
fn workers_behind_a_pooler_that_are_killed_and_come_and_go_store_every_record_once() {
    // Fewer connections than the workers have.
    let pooler = Pooler::start(4);
    let sandbox = sandbox("pooled", 4);
    let mut workers: Vec<_> = (0..2).map(|_| behind(&pooler, &sandbox).spawn()).collect();
    let publishing = Publishing::into(&sandbox);
    for _ in 0..4 {
        let mut victim = workers.remove(0);
        let rows = sandbox.count("orders");
        at_least(&sandbox, rows + 500, &mut victim);
        assert_eq!(victim.kill().code, None);
        let killed = Instant::now();
        workers.push(behind(&pooler, &sandbox).spawn());
        let rows = sandbox.count("orders");
        at_least(&sandbox, rows + 1, &mut workers[1]);
        note_pause("worker killed behind pgbouncer", killed);
    }
    // One more comes and goes in good order.
    let third = behind(&pooler, &sandbox).spawn();
    let pid = format!(":{}", third.pid());
    let is_owner = || owners(&sandbox).iter().any(|owner| owner.ends_with(&pid));
    eventually("it owns a partition", is_owner);
    third.interrupt();
    third.finish().code(130);
    let number = publishing.end();
    assert_each_once(&sandbox, number);
    assert!(transactions(&pooler) > 20, "{}", transactions(&pooler));
    for worker in workers {
        worker.interrupt();
        worker.finish().code(130);
    }
}

#[test]
fn a_worker_stopped_in_a_copy_through_a_pooler_is_replaced() {
    let pooler = Pooler::start(4);
    let sandbox = sandbox("pooled_zombie", 2);
    let proxy = Proxy::to((Ipv4Addr::LOCALHOST, pooler.port).into());
    let uri = uri_at_port(proxy.address.port());
    let through = worker(&sandbox).env("ORDERCTL_POSTGRES_URI", uri);
    let (zombie, stored_before) = held_mid_copy(through, &proxy, &sandbox);
    let fault = "worker stopped in a COPY behind pgbouncer";
    let other = replace(&zombie, behind(&pooler, &sandbox), &sandbox, fault);
    let epochs = sandbox.epochs();
    proxy.silence(false);
    zombie.signal("CONT");
    eventually("the woken worker rejoins", || sandbox.epochs() != epochs);
    assert_each_once(&sandbox, 5_100);
    assert_eq!(end(zombie)["stored"], stored_before, "the woken worker stored nothing more");
    end(other);
}

#[test]
fn a_pooler_whose_server_connections_are_ended_is_waited_out() {
    let pooler = Pooler::start(3);
    let sandbox = sandbox("pooled_ended", 2);
    let worker = behind(&pooler, &sandbox).args(["--batch-rows", "200"]).args(STAYS).spawn();
    for round in 0..15 {
        sandbox.scatter(&orders(&format!("r{round}-"), 500));
        eventually("a backend to end", || sandbox.terminate_backends() > 0);
    }
    assert_each_once(&sandbox, 7_500);
    worker.interrupt();
    assert_eq!(worker.finish().code(130).json()["stored"], 7_500);
}

#[test]
fn duplicates_and_refused_rows_go_through_a_pooler_too() {
    let pooler = Pooler::start(2);
    let uri = uri_at_port(pooler.port);
    let sandbox = Sandbox::new("pooled_rows").with_topic(1);
    let set_up = Run::new(["db-setup", "--schema", &sandbox.schema, "--table-name", "orders"]);
    set_up.env("ORDERCTL_POSTGRES_URI", &uri).finish().success();
    sql(&format!("alter table {} add check (order_id <> 'bad7')", sandbox.table("orders")));
    let mut records = orders("a", 100);
    records.extend(orders("a", 50));
    records.extend(orders("bad", 10));
    sandbox.publish(&records);
    for (rows, duplicates) in [(109, 50), (119, 50)] {
        let run = sandbox.store("orders").env("ORDERCTL_POSTGRES_URI", &uri);
        let summary = run.finish().code(3).json();
        assert_eq!(summary["duplicates"], duplicates, "{summary}");
        assert_eq!(summary["rejected"], 1, "{summary}");
        assert_eq!(sandbox.count("orders"), rows);
        // The temporary tables of one batch are not in the way of the next.
        sandbox
            .publish(&[orders("b", 10), orders("a", 50), orders("bad", 8)[7..].to_vec()].concat());
    }
    assert_eq!(sandbox.dead().len(), 2);
    let verify = sandbox.verify("orders").env("ORDERCTL_POSTGRES_URI", &uri);
    assert_eq!(verified(verify, 0), "stored 119, duplicates 100, rejected 2, behind 61");
}

#[test]
fn a_parameter_that_the_pooler_refuses_is_named_with_the_cure() {
    let pooler = Pooler::start(1);
    let sandbox = sandbox("pooled_options", 1);
    let uri = format!("{}&options=-cstatement_timeout%3D60s", uri_at_port(pooler.port));
    let refused = sandbox.store("orders").env("ORDERCTL_POSTGRES_URI", uri).finish().code(1);
    assert!(refused.stderr.contains("unsupported startup parameter: options"), "{refused}");
    assert!(refused.stderr.contains("ignore_startup_parameters"), "{refused}");
}
