//! `auth-setup` as a user runs it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use orderctl::config::Creds;

use crate::support::Run;

const KAFKA: [&str; 5] =
    ["auth-setup", "--kafka-hostname", "kafka.example", "--kafka-portnumber", "12345"];

fn auth_setup(folder: &Path, more: &[&str]) -> Run {
    Run::bare(KAFKA.iter().chain(more)).directory(folder)
}

#[test]
fn it_writes_a_private_file_that_is_understood_and_says_what_is_next() {
    let folder = tempfile::tempdir().unwrap();
    let uri = "postgres://user:hunter2@pg.example:12346/orders?sslmode=verify-full";
    let run = auth_setup(folder.path(), &["--postgres-uri", uri]).finish().success();
    assert!(run.stdout.contains("creds.json (kafka, postgres)"), "{run}");
    assert!(run.stderr.contains("ca.pem") && run.stderr.contains("orderctl db-setup"), "{run}");
    assert!(!format!("{run}").contains("hunter2"), "{run}");

    let path = folder.path().join("creds.json");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let creds = Creds::read(&path).unwrap();
    let kafka = creds.kafka.unwrap();
    assert_eq!((kafka.hostname.as_str(), kafka.port), ("kafka.example", 12345));
    assert_eq!(creds.postgres.unwrap().uri.expose(), uri);
}

#[test]
fn it_replaces_a_file_only_with_force() {
    let folder = tempfile::tempdir().unwrap();
    auth_setup(folder.path(), &[]).finish().success();
    let before = std::fs::read(folder.path().join("creds.json")).unwrap();
    let other = ["--postgres-uri", "postgres://u@h/db"];
    let run = auth_setup(folder.path(), &other).finish().code(1);
    assert!(run.stderr.contains("--force"), "{run}");
    assert_eq!(std::fs::read(folder.path().join("creds.json")).unwrap(), before);
    auth_setup(folder.path(), &[other[0], other[1], "--force"]).finish().success();
    assert!(Creds::read(&folder.path().join("creds.json")).unwrap().postgres.is_some());
}

#[test]
fn it_does_not_follow_a_symbolic_link() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    std::fs::write(&target, "kept").unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join("creds.json")).unwrap();
    let run = auth_setup(folder.path(), &["--force"]).finish().code(1);
    assert!(run.stderr.contains("symbolic link"), "{run}");
    assert_eq!(std::fs::read(&target).unwrap(), b"kept");
}

#[test]
fn secrets_come_from_standard_input_or_variables() {
    let folder = tempfile::tempdir().unwrap();
    let creds = folder.path().join("named.json");
    let flags = ["--creds", "named.json", "--postgres-uri", "-", "--sasl-username", "u"];
    let smtp = ["--smtp-hostname", "mail", "--smtp-from", "a@b", "--smtp-username", "m"];
    let run = auth_setup(folder.path(), &flags)
        .arg("--sasl-password")
        .arg("-")
        .stdin("postgres://u:one@h/db\ntwo\n");
    let run = smtp.iter().fold(run, Run::arg).env("ORDERCTL_SMTP_PASSWORD", "three");
    let run = run.arg("-o").arg("json").finish().success();
    assert_eq!(run.json()["creds"], "named.json");

    let creds = Creds::read(&creds).unwrap();
    assert_eq!(creds.postgres.unwrap().uri.expose(), "postgres://u:one@h/db");
    assert_eq!(creds.kafka.unwrap().sasl.unwrap().password.expose(), "two");
    assert_eq!(creds.smtp.unwrap().password.unwrap().expose(), "three");
}

#[test]
fn contradictions_and_malformed_values_are_usage_errors_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, word) in [
        (&["--security-protocol", "SASL_SSL"][..], "--sasl-username"),
        (&["--sasl-username", "u"], "ORDERCTL_SASL_PASSWORD"),
        (&["--sasl-password", "hunter2"], "--sasl-username"),
        (
            &["--security-protocol=SSL", "--sasl-username=u", "--sasl-password=hunter2"],
            "--security-protocol",
        ),
        (&["--postgres-uri", "postgres://u:hun@hunter2@h/db"], "%40"),
        (&["--postgres-uri", "mysql://u:hunter2@h/db"], "postgres://"),
        (&["--postgres-uri", "-"], "standard input"),
        (&["--kafka-portnumber", "0"], "portnumber"),
        (&["--search-url", "https://u:hunter2@h"], "--search-username"),
        (&["--search-url", "ftp://h"], "https://"),
        (&["--smtp-hostname", "mail"], "--smtp-from"),
        (&["--smtp-hostname", "mail", "--smtp-from", "nobody"], "mail address"),
    ] {
        let run = auth_setup(folder.path(), flags).finish().code(2);
        assert!(run.stderr.contains(word), "{flags:?}: {run}");
        assert!(!run.stderr.contains("hunter2"), "{flags:?}: {run}");
        assert!(!folder.path().join("creds.json").exists());
    }
    let run = Run::bare(["auth-setup"]).directory(folder.path()).finish().code(2);
    assert!(run.stderr.contains("--kafka-hostname"), "{run}");
}
