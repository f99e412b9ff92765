//! What goes wrong, with a secret in the middle of it.

use orderctl::config::{Connections, Creds, Environment, KafkaSettings, PostgresSettings};

use super::marked::{HOLDERS, MARK, Marked, assert_clean, encoded, leak, secret, words};
use crate::connections::fakes::{self, Stranger};
use crate::support::{Run, stack};

/// The loudest of all ways.
const LOUD: &str = "-v -v -X debug=all";

/// Connection strings that cannot be understood, all with the mark.
fn malformed() -> Vec<String> {
    let (raw, encoded) = (secret("postgres"), encoded("postgres"));
    vec![
        format!("postgres://u:{raw}@127.0.0.1:1/db"),
        format!("postgres://u:{encoded}@127.0.0.1:99999/db"),
        format!("postgres://u:{encoded}@127.0.0.1:port/db"),
        format!("postgres://u:{encoded}@127.0.0.1/db?no_such_parameter=1"),
        format!("postgres://u:{encoded}@127.0.0.1/db?sslmode=sometimes"),
        format!("postgres://u@127.0.0.1/db?password={encoded}&connect_timeout=soon"),
        format!("postgres://u:{MARK}/x@h/db"),
        format!("postgres://u:{MARK}?x=1@h/db"),
        format!("postgres://u:%zz{MARK}@h/db"),
        format!("postgres://u:{MARK}@[::1/db"),
        format!("postgres://u:{MARK}"),
        format!("postgres:/u:{MARK}@h/db"),
        format!("mysql://u:{MARK}@h/db"),
        format!("jdbc:postgresql://h/db?user=u&password={MARK}"),
        format!("host=h user=u password={MARK} dbname"),
        format!("host=h user=u password='{MARK}"),
        format!("host=h user=u password={MARK} no_such_parameter=1"),
        MARK.to_owned(),
    ]
}

/// Verbs that connect, as a user of the sandbox would call them.
fn connecting(marked: &Marked) -> Vec<String> {
    let sandbox = &marked.sandbox;
    let place = format!("--schema {} --table orders", sandbox.schema);
    let source = format!("--topic-name {} --group {}", sandbox.topic, sandbox.group);
    vec![
        format!("doctor {place} {source}"),
        format!("doctor {place} {source} -o json"),
        format!("consume {place} {source} --until-end"),
        format!("db-setup --schema {} --table-name orders", sandbox.schema),
        format!("produce --num 2 --topic-name {}", sandbox.topic),
        format!("verify {place} {source}"),
        format!("dlq list {place}"),
        format!("dlq redrive {place}"),
    ]
}

/// Those of them that need the database.
fn storing(marked: &Marked) -> Vec<String> {
    connecting(marked).into_iter().filter(|line| !line.starts_with("produce")).collect()
}

/// Those of them that need Kafka; verify and redrive only once something was
/// rejected ([`Marked::reject_one`]).
fn streaming(marked: &Marked) -> Vec<String> {
    let is_about_tables = |line: &str| line.starts_with("db-setup") || line.starts_with("dlq list");
    connecting(marked).into_iter().filter(|line| !is_about_tables(line)).collect()
}

/// Runs a line with everything that the drivers say.
#[track_caller]
fn assert_silent(marked: &Marked, line: &str, set: impl Fn(Run) -> Run) {
    let line = words(&format!("{line} {LOUD}"));
    let run = set(marked.run(&line)).finish();
    assert_clean(&line, &run, marked.folder(), &HOLDERS);
    assert_ne!(run.code, Some(0), "{run}");
}

/// Does something with each of many lines, some at a time: most of them wait for
/// an answer that does not come.
#[track_caller]
fn each(lines: &[String], check: impl Fn(&String) + Sync) {
    const AT_ONCE: usize = 4;
    for some in lines.chunks(AT_ONCE) {
        std::thread::scope(|scope| some.iter().for_each(|line| drop(scope.spawn(|| check(line)))));
    }
}

#[test]
fn connection_strings_that_are_not_understood_are_not_quoted() {
    let marked = Marked::new("malformed");
    // Nobody listens there, so that Kafka is done with soon.
    let broker = format!("--bootstrap-server {}", fakes::closed());
    for uri in malformed() {
        let lines = [
            format!("doctor {broker}"),
            "consume --until-end".into(),
            "db-setup".into(),
            "auth-setup --kafka-hostname h --kafka-portnumber 1 --creds written.json".into(),
            "produce --num 1 --source postgres:select+1".into(),
        ];
        for line in lines {
            let line = words(&line);
            let run = marked.run(&line).env("ORDERCTL_POSTGRES_URI", &uri).finish();
            assert_clean(&line, &run, marked.folder(), &HOLDERS);
            assert_ne!(run.code, Some(0), "{uri}: {run}");
            // As a flag, and in creds.json, it is no other.
            let flag = [line.clone(), vec!["--postgres-uri".into(), uri.clone()]].concat();
            let run = marked.run(&flag).finish();
            assert_clean(&line, &run, marked.folder(), &HOLDERS);
        }
        marked.write("creds.json", &marked.creds(&uri).to_string());
        let line = words("db-setup");
        let run = marked.run(&line).finish().code(1);
        assert_clean(&line, &run, marked.folder(), &HOLDERS);
    }
}

#[test]
fn settings_that_are_not_understood_are_not_quoted() {
    let marked = Marked::new("settings");
    let good = marked.creds(&marked.uri());
    let wrong = |pointer: &str, value: serde_json::Value| {
        let mut creds = good.clone();
        *creds.pointer_mut(pointer).unwrap() = value;
        creds.to_string()
    };
    let text = good.to_string();
    for creds in [
        wrong("/kafka/port", secret("sasl").into()),
        wrong("/kafka/sasl", secret("sasl").into()),
        wrong("/kafka/sasl/mechanism", secret("sasl").into()),
        wrong("/postgres", secret("postgres").into()),
        wrong("/smtp/security", secret("smtp").into()),
        wrong("/search/url", format!("https://u:{}@h", encoded("search")).into()),
        text[..text.len() - 20].to_owned(),
        format!("{text}{}", secret("smtp")),
    ] {
        marked.write("creds.json", &creds);
        for line in connecting(&marked).iter().filter(|line| !line.contains("-o json")) {
            let line = words(line);
            let run = marked.run(&line).finish();
            assert_clean(&line, &run, marked.folder(), &HOLDERS);
        }
    }
    marked.write("creds.json", &text);
    for flag in [
        format!("-X {MARK}"),
        format!("-X socket.timeout.ms={MARK}"),
        format!("-X no.such.property={MARK}"),
        format!("--sasl-password {MARK} --security-protocol SASL_SSL"),
        format!("--sasl-password {MARK} --no-such-flag"),
        format!("--postgres-uri {} --sasl-mechanism none", malformed()[0]),
    ] {
        for verb in ["doctor", "consume --until-end", "produce --num 1", "auth-setup"] {
            let line = words(&format!("{verb} {flag}"));
            let run = marked.run(&line).finish();
            assert_clean(&line, &run, marked.folder(), &HOLDERS);
        }
    }
    for file in [
        format!("sasl.password={MARK}\nno such line {MARK}\n"),
        format!("ssl.key.password={MARK}\nsecurity.protocol={MARK}\n"),
        format!("sasl.jaas.config=org.example.Module required password=\"{MARK}"),
        format!("ssl.keystore.type=PEM\nssl.keystore.key={MARK}\n"),
        format!("ssl.keystore.location={MARK}\nssl.keystore.password={MARK}\n"),
    ] {
        // The name of a file may be shown: it is no secret.
        let file = file.replace(&format!("location={MARK}"), "location=/none");
        marked.write("kafka.properties", &file);
        let line = words("produce --num 1 -v -v");
        let run = marked.run(&line).finish();
        assert_clean(&line, &run, marked.folder(), &HOLDERS);
    }
}

#[test]
fn failing_logins_show_no_secret() {
    let marked = Marked::new("logins");
    marked.reject_one();
    let wrong = marked.uri().replace(&encoded("postgres"), &encoded("wrong"));
    let sasl = stack().kafka_sasl.to_string();
    each(&storing(&marked), |line| {
        assert_silent(&marked, line, |run| run.env("ORDERCTL_POSTGRES_URI", &wrong));
    });
    each(&streaming(&marked), |line| {
        // The password of creds.json is not the one of this login.
        let login = format!("{line} --security-protocol SASL_SSL --bootstrap-server {sasl}");
        assert_silent(&marked, &login, |run| run);
        assert_silent(&marked, &format!("{login} --sasl-mechanism PLAIN"), |run| run);
    });
    // A passphrase, but a wrong one.
    let passphrase = format!("ssl.key.password={}\n", secret("wrong"));
    marked.write("kafka.properties", &passphrase);
    each(&streaming(&marked), |line| {
        assert_silent(&marked, line, |run| run);
        let run = marked.run(&words(line)).finish().code(1);
        let both = format!("{}{}", run.stdout, run.stderr);
        assert!(both.contains("passphrase"), "{run}");
    });
}

#[test]
fn failing_handshakes_show_no_secret() {
    let marked = Marked::new("handshakes");
    marked.reject_one();
    let stranger = Stranger::new(false);
    let ours = marked.uri();
    let address = stack().postgres.to_string();
    let ca = stranger.file("ca.pem").display().to_string();
    let (tls, no_tls) = (stack().kafka_ssl, stack().kafka_plaintext);
    for uri in [
        format!("{ours}&sslrootcert={ca}"),
        ours.replace("@127.0.0.1:", "@127.1:"),
        ours.replace(&address, &fakes::without_tls().to_string()),
        ours.replace(&address, &fakes::closed().to_string()),
        ours.replace("verify-full", "disable"),
    ] {
        each(&storing(&marked), |line| {
            assert_silent(&marked, line, |run| run.env("ORDERCTL_POSTGRES_URI", &uri));
        });
    }
    let mut lines = streaming(&marked);
    lines.retain(|line| !line.contains("-o json"));
    each(&lines, |line| {
        for flags in [
            format!("-X ssl.ca.location={ca}"),
            format!("--bootstrap-server {no_tls}"),
            format!("--bootstrap-server {tls} --security-protocol SASL_PLAINTEXT"),
        ] {
            assert_silent(&marked, &format!("{line} {flags}"), |run| run);
        }
    });
}

#[test]
fn what_a_panic_would_print_has_no_secret() {
    let marked = Marked::new("panics");
    let connections = Connections {
        creds: Some(marked.path("creds.json")),
        sasl_password: Some(secret("sasl").as_str().into()),
        property: vec![format!("ssl.key.password={}", secret("passphrase")).as_str().into()],
        postgres_uri: Some(marked.uri().as_str().into()),
        ..Connections::default()
    };
    let environment = Environment::default();
    let kafka = KafkaSettings::resolve_in(&connections, &environment, marked.folder()).unwrap();
    let postgres =
        PostgresSettings::resolve_in(&connections, &environment, marked.folder()).unwrap();
    let creds = Creds::read(&marked.path("creds.json")).unwrap();
    let shown = format!("{connections:#?} {kafka:#?} {postgres:#?} {creds:#?}");
    assert!(shown.contains("***"), "{shown}");
    assert_eq!(leak(&shown), None);
}
