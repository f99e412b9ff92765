//! Topics that are deleted and created again.

use super::{Elsewhere, column, sandbox, urgent};
use crate::support::{Answer, Run, Smtp, eventually};

#[test]
fn a_topic_made_anew_under_a_running_worker_is_read_from_its_first_record() {
    let sandbox = sandbox("notify_anew", 1);
    let server = Smtp::start(|_, _, _| Answer::Good);
    let elsewhere = Elsewhere::new(&server, "none");
    let run = Run::new(["notify", "--from", &sandbox.topic, "--group", &sandbox.group]).args([
        "-o",
        "json",
        "-X",
        "session.timeout.ms=45000",
    ]);
    let worker = elsewhere.at(run).spawn();
    let orders = |generation: &str, number: usize| -> Vec<_> {
        let id = |at| format!("{generation}{at}");
        (0..number).map(|at| urgent(&id(at), &format!("{}@example.com", id(at)))).collect()
    };
    let are_sent = |number: usize| column(&sandbox, "state") == vec!["sent"; number];
    sandbox.publish(&orders("old", 3));
    eventually("the first topic's mails are sent", || are_sent(3));
    // Stopped, it sees the topic neither go nor come.
    worker.signal("STOP");
    let anew = sandbox.clone().with_topic_anew();
    anew.publish(&orders("new", 8));
    worker.signal("CONT");
    eventually("all of the new topic's are sent", || are_sent(3 + 8));
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert!(ended.stderr.contains("created again"), "{ended}");
    for id in column(&sandbox, "order_id") {
        assert_eq!(server.taken(&id).len(), 1, "{id}");
    }
}
