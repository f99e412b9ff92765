//! Every verb, when all is well.

use clap::CommandFactory as _;
use orderctl::cli::Cli;

use super::marked::{HOLDERS, Marked, assert_clean, encoded, leak, secret, words};
use crate::seen::Watched;
use crate::support::{Proxy, Run, order, stack};

/// What is added to every command line. A flag that opens a new way out for
/// texts belongs here.
const WAYS_TO_SAY_MORE: [&str; 4] = [
    "--log-file plain.log --log-format text",
    "-v -v --log-file json.log --log-format json",
    "-v -v -X debug=all --metrics-listen 127.0.0.1:0",
    "-o json",
];

/// A command line for every verb, at least one; `letter` is the number of a dead
/// letter.
fn lines(marked: &Marked, letter: &str) -> Vec<Vec<String>> {
    let sandbox = &marked.sandbox;
    let place = format!("--schema {} --table orders", sandbox.schema);
    let source = format!("--topic-name {} --group {}", sandbox.topic, sandbox.group);
    let stack = stack().cert_path.parent().unwrap().display();
    let lines = [
        "demo --num 200".into(),
        format!("stack status --dir {stack}"),
        "auth-setup --creds written.json --force --kafka-hostname h --kafka-portnumber 1 \
         --sasl-username u --smtp-hostname m --smtp-from a@b --smtp-username m \
         --search-url https://h --search-username s"
            .into(),
        format!("db-setup --schema {} --table-name orders", sandbox.schema),
        format!("produce --num 3 --topic-name {}", sandbox.topic),
        "produce --num 2 --dry-run".into(),
        format!("consume {place} {source} --until-end"),
        format!("doctor {place} {source}"),
        format!("verify {place} {source}"),
        // The key of the rejected record.
        format!("trace key --topics {} --schema {}", sandbox.topic, sandbox.schema),
        format!("status cluster topics groups --topic-name {}", sandbox.topic),
        format!("produce --num 3 --topic-name {0}_good --create-topic", sandbox.topic),
        format!("route-cities --from {0}_good --prefix {0}- --until-end", sandbox.topic),
        format!("produce --num 3 --kind user --topic-name {0}_users --create-topic", sandbox.topic),
        format!("enrich --from {0}_users --via {0}_via --to {0}_to --until-end", sandbox.topic),
        format!(
            "confirm --from {0}_good --to {0}_yes --declined-to {0}_no --group {0}_confirm --until-end",
            sandbox.topic
        ),
        format!("notify --from {0}_good --group {0} --dry-run mails", sandbox.topic),
        format!("notify status --group {}", sandbox.group),
        format!("dlq list {place}"),
        format!("dlq show {letter} {place}"),
        format!("dlq redrive {place} --dry-run"),
        // It is open, and stays.
        format!("dlq purge {place} --yes"),
        format!("test 2 3 --schema {} --topic-name test_{}", sandbox.schema, sandbox.topic),
        "completions bash".into(),
    ];
    lines.iter().map(|line| words(line)).collect()
}

fn verbs() -> Vec<String> {
    let command = Cli::command();
    command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}

/// Secrets in the variables too, for what takes them from there.
fn with_variables(run: Run) -> Run {
    let uri = format!("postgres://u:{}@127.0.0.1:1/db", encoded("postgres"));
    [
        ("ORDERCTL_POSTGRES_URI", uri),
        ("ORDERCTL_SASL_PASSWORD", secret("sasl")),
        ("ORDERCTL_SMTP_PASSWORD", secret("smtp")),
        ("ORDERCTL_SEARCH_PASSWORD", secret("search")),
        ("PGPASSWORD", secret("postgres")),
    ]
    .into_iter()
    .fold(run, |run, (name, value)| run.env(name, value))
}

#[test]
fn every_verb_has_a_line() {
    let marked = Marked::new("lines");
    let lines = lines(&marked, "1");
    let has_line = |verb: &String| lines.iter().any(|line| line[0] == *verb);
    let missing: Vec<String> = verbs().into_iter().filter(|verb| !has_line(verb)).collect();
    assert!(missing.is_empty(), "add a line for {missing:?}");
}

#[test]
fn no_verb_shows_a_secret_however_much_it_says() {
    let marked = Marked::new("verbs");
    let letter = marked.reject_one();
    for more in WAYS_TO_SAY_MORE {
        for mut line in lines(&marked, &letter) {
            line.extend(words(more));
            let run = marked.run(&line);
            let run = if line[0] == "auth-setup" { with_variables(run) } else { run };
            let run = run.finish();
            assert_clean(&line, &run, marked.folder(), &HOLDERS);
            // The mail and search servers of creds.json are not there, which doctor
            // finds out.
            run.code(if line[0] == "doctor" { 1 } else { 0 });
        }
    }
}

#[test]
fn metrics_and_health_show_no_secret_when_the_database_goes_away() {
    let marked = Marked::new("metrics");
    let (sandbox, proxy) = (&marked.sandbox, Proxy::to(stack().postgres));
    let port = |port: u16| format!(":{port}/");
    let uri = marked.uri().replace(&port(stack().postgres.port()), &port(proxy.address.port()));
    let line = words(&format!(
        "consume --schema {} --table orders --topic-name {} --group {} -v -v -X debug=all",
        sandbox.schema, sandbox.topic, sandbox.group
    ));
    let watched = Watched::start(marked.run(&line).env("ORDERCTL_POSTGRES_URI", uri));
    let log = watched.log();
    let mut said = watched.wait_for_ready(200);
    proxy.refuse(true);
    proxy.cut();
    // Something to store, so that it is missed.
    sandbox.publish(&[order("1")]);
    said.push_str(&watched.wait_for_ready(503));
    for path in ["/metrics", "/healthz", "/"] {
        said.push_str(&watched.get(path).1);
    }
    watched.running.interrupt();
    assert_clean(&line, &watched.running.finish(), marked.folder(), &HOLDERS);
    said.push_str(&std::fs::read_to_string(log).unwrap());
    assert_eq!(leak(&said), None);
}

#[test]
fn help_shows_no_value_of_a_variable() {
    let marked = Marked::new("help");
    for verb in verbs() {
        let line = [verb, "--help".to_owned()];
        let run = with_variables(marked.run(&line)).finish().success();
        assert_clean(&line, &run, marked.folder(), &HOLDERS);
    }
}
