//! Messages that cannot be written: the work goes on without them.

use std::fs::File;
use std::io::pipe;

use crate::support::{Run, Sandbox, kafka, order_with, orderctl, orders};

#[test]
fn a_full_standard_error_keeps_no_record_from_the_table() {
    let sandbox = Sandbox::new("stderr_full").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 10));
    sandbox.publish(&[order_with("bad", "/quantity", 0)]);
    let full = File::options().write(true).open("/dev/full").expect("a device that is full");
    let summary = sandbox.store("orders").arg("-v").stderr(full).finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&10.into(), &1.into()));
    assert_eq!(sandbox.count("orders"), 10);
}

#[test]
fn a_standard_error_that_nobody_reads_keeps_no_record_from_the_topic() {
    let sandbox = Sandbox::new("stderr_closed");
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let create = ["produce", "--num", "10", "--topic-name", &sandbox.topic];
    let run = Run::new(create).args(["--create-topic", "--partitions", "1"]);
    run.stderr(writer).finish().success();
    assert_eq!(kafka().read_all(&sandbox.topic).len(), 10);
}

#[test]
fn an_error_that_nobody_can_read_has_its_exit_code_all_the_same() {
    let full = || File::options().write(true).open("/dev/full").expect("a device that is full");
    let refused = ["dlq", "redrive"];
    Run::new(refused).stderr(full()).finish().code(2);
    Run::new(["--no-such-option"]).stderr(full()).finish().code(2);
    assert!(orderctl(refused).code(2).stderr.contains("--all"));
}
