//! What is to be seen of `notify` from outside.

use std::time::Duration;

use super::{Elsewhere, sandbox, urgent};
use crate::seen::Watched;
use crate::support::{Answer, Proxy, Run, Smtp, stack, uri_at_port};

#[test]
fn a_worker_that_misses_its_mail_server_or_database_is_not_ready_and_says_why() {
    let sandbox = sandbox("notify_unready", 1);
    let server = Smtp::start(|_, _, _| Answer::Good);
    let (mails, database) = (Proxy::to(server.address), Proxy::to(stack().postgres));
    mails.refuse(true);
    let elsewhere = Elsewhere::at_port(mails.address.port(), "none");
    let run = Run::new(["notify", "--from", &sandbox.topic, "--group", &sandbox.group])
        .args(["-o", "json"])
        .env("ORDERCTL_POSTGRES_URI", uri_at_port(database.address.port()));
    let watched = Watched::start(elsewhere.at(run));
    watched.wait_for_ready(200);

    sandbox.publish(&[urgent("o", "a@example.com")]);
    let why = watched.wait_for_ready(503);
    assert!(why.starts_with("waiting: ") && why.contains("mail server"), "{why}");
    mails.refuse(false);
    watched.wait_for_ready(200);
    watched.wait_for("it is sent", |seen| seen.sum("orderctl_mails_total") == 1.0);

    database.refuse(true);
    database.cut();
    let why = watched.wait_for_ready(503);
    assert_eq!(why, "waiting: the database does not answer\n");
    database.refuse(false);
    watched.wait_for_ready(200);

    let Watched { running, .. } = watched;
    running.interrupt();
    let summary = running.finish().code(130).json();
    assert_eq!((&summary["sent"], server.taken("a").len()), (&1.into(), 1), "{summary}");
}

#[test]
fn time_without_the_broker_is_not_idle() {
    let sandbox = sandbox("notify_idle_away", 1);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let run = Run::new(["notify", "--from", &sandbox.topic, "--group", &sandbox.group])
        .args(["--idle-exit", "5s"])
        .env("ORDERCTL_BOOTSTRAP_SERVER", proxy.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext");
    Watched::start(run).outlives(&proxy, Duration::from_secs(8));
}
