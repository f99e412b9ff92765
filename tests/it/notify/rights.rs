//! A login that may do a few things and no others.

use crate::exactly_once::broker::Broker;
use crate::support::Run;

#[test]
fn what_a_login_may_not_do_is_named_with_its_cure_and_what_it_must_is_enough() {
    let broker = Broker::with_rights_only();
    let run = |args: &str| broker.logged_in(Run::bare(args.split_whitespace()));
    run("db-setup").finish().success();
    broker.kafka.create_topic("rights", 1, &[]);
    let notify = || run("notify --from rights --group readers --until-end -o json").finish();

    let blind = notify().code(1);
    assert!(blind.stderr.contains("the rights DESCRIBE and READ on it"), "{blind}");
    broker.grant("--topic", "rights", &["describe", "read"]);
    let outside = notify().code(1);
    assert!(outside.stderr.contains("READ on the topic and on the group"), "{outside}");
    broker.grant("--group", "readers", &["read"]);
    assert_eq!(notify().success().json()["read"], 0);
}
