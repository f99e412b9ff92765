//! `completions`: bash for real, the other shells by what their scripts say.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Run, Sandbox, eventually, order, orderctl, stack};

/// Has bash complete a line, cut into words as bash does; the candidates, and
/// what came on standard error.
fn completed(words: &[&str]) -> (Vec<String>, String) {
    let script = orderctl(["completions", "bash"]).success().stdout;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(script.as_bytes()).unwrap();
    let driver = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; \
                  COMPREPLY=(); _clap_complete_orderctl \"$1\" \"${!#}\" \"${@: -2:1}\"; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", driver, "bash"]).arg(file.path()).args(words);
    bash.env_clear().env("PATH", "/usr/bin:/bin");
    bash.env("ORDERCTL_CREDS", &stack().creds).env("ORDERCTL_CERT_PATH", &stack().cert_path);
    let output = bash.output().expect("bash");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let candidates = text(&output.stdout).lines().map(str::to_owned).collect();
    (candidates, text(&output.stderr))
}

/// The candidates for the last word of a line.
#[track_caller]
fn candidates(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let (candidates, errors) = completed(&words);
    assert_eq!(errors, "", "{line}");
    candidates
}

#[test]
fn bash_completes_verbs_flags_and_values() {
    assert_eq!(candidates("orderctl cons"), ["consume"]);
    assert_eq!(candidates("orderctl consume --until"), ["--until-end"]);
    assert_eq!(candidates("orderctl produce --kind m"), ["movie-ticket"]);
    assert_eq!(candidates("orderctl dlq pu"), ["purge"]);
    assert_eq!(candidates("orderctl completions fi"), ["fish"]);
}

#[test]
fn bash_completes_topics_groups_and_tables_that_there_are() {
    let sandbox = Sandbox::new("completed").with_topic(1);
    let (topic, group, schema) = (&sandbox.topic, &sandbox.group, &sandbox.schema);
    sandbox.set_up("completed_table");
    sandbox.publish(&[order("1")]);
    sandbox.store("completed_table").finish().success();
    // The first answers of a busy broker may take longer than a shell waits.
    let soon = |line: &str, expected: &str| {
        eventually(line, || candidates(line) == [expected]);
    };
    soon(&format!("orderctl consume --topic-name {topic}"), topic);
    soon(&format!("orderctl consume --topic-name = {topic}"), topic);
    soon(&format!("orderctl dlq list --topic {topic}"), topic);
    soon(&format!("orderctl trace 1 --topics one,{topic}"), &format!("one,{topic}"));
    soon(&format!("orderctl verify --group {group}"), group);
    soon(&format!("orderctl verify --schema {schema} --table comp"), "completed_table");
}

#[test]
fn where_nothing_answers_the_shell_is_not_kept_waiting_and_told_nothing() {
    // Addresses of this network are for documentation and answer nobody (RFC 5737).
    let uri = "postgres://u:hunter2@192.0.2.1/db";
    for words in [
        &["orderctl", "consume", "--bootstrap-server", "192.0.2.1:9092", "--topic-name", ""],
        &["orderctl", "consume", "--bootstrap-server", "127.0.0.1:1", "--group", ""],
        &["orderctl", "consume", "--postgres-uri", uri, "--table", ""],
        &["orderctl", "consume", "--creds", "no-such-file", "--topic-name", ""],
    ] {
        let started = Instant::now();
        let (found, errors) = completed(words);
        let names: Vec<&String> = found.iter().filter(|name| !name.starts_with('-')).collect();
        assert!(names.iter().all(|name| name.is_empty()), "{words:?}: {found:?}");
        assert_eq!(errors, "", "{words:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{words:?}");
    }
}

#[test]
fn every_shell_has_a_script_that_asks_us() {
    for (shell, registers) in [
        ("bash", "complete -o nospace"),
        ("zsh", "#compdef orderctl"),
        ("fish", "complete --keep-order --exclusive --command orderctl"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer"),
    ] {
        let script = orderctl(["completions", shell]).success().stdout;
        assert!(script.contains(registers), "{shell}: {script}");
        assert!(script.contains("ORDERCTL_COMPLETE"), "{shell}: {script}");
    }
    let unknown = orderctl(["completions", "tcsh"]).code(2);
    assert!(unknown.stderr.contains("powershell"), "{unknown}");
    // A shell that is not known is answered with silence, not with a run.
    let silent = Run::new(["demo"]).env("ORDERCTL_COMPLETE", "tcsh").finish().success();
    assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
}
