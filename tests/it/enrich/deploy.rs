//! What runs the fetch, `enrich` and `consume` on servers: the files in deploy/.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use orderctl::cli::Cli;

const PROGRAM: &str = "/usr/local/bin/orderctl";

fn deploy(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(place)
}

fn text(place: &str) -> String {
    std::fs::read_to_string(deploy(place)).expect("the file")
}

/// The units by their names, in order.
fn units() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(deploy("systemd")).expect("the folder");
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("a name");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), text(&format!("systemd/{name}")))).collect()
}

/// The words after the program's name must be a command line that it takes.
#[track_caller]
fn assert_accepted(words: &[String]) {
    let line = std::iter::once("orderctl").chain(words.iter().map(String::as_str));
    if let Err(refusal) = Cli::command().try_get_matches_from(line) {
        panic!("{words:?}: {refusal}");
    }
}

/// Checks the command lines that begin with the program; how many there are.
#[track_caller]
fn accepted_after_program(text: &str) -> usize {
    let program = format!("{PROGRAM} ");
    let commands = text.split(&program).skip(1);
    let line = |command: &str| {
        let command = command.lines().next().unwrap_or_default();
        let command = command.split(" 2>").next().unwrap_or_default();
        let unquoted = |word: &str| word.trim_matches('\'').to_owned();
        command.split_whitespace().map(unquoted).collect::<Vec<String>>()
    };
    commands.map(|command| assert_accepted(&line(command))).count()
}

#[test]
fn the_program_takes_every_command_line_in_deploy() {
    let in_units: usize = units().iter().map(|(_, unit)| accepted_after_program(unit)).sum();
    assert_eq!(in_units, 4);
    assert_eq!(accepted_after_program(&text("cron/orderctl-fetch-users")), 1);
    let manifest = text("kubernetes/users.yaml");
    let args = manifest.lines().filter_map(|line| line.trim().strip_prefix("args: "));
    let words = |args: &str| serde_json::from_str::<Vec<String>>(args).expect("a list");
    assert_eq!(args.map(|args| assert_accepted(&words(args))).count(), 4);
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (name, unit) in units() {
        let sections: Vec<&str> = unit.lines().filter(|line| line.starts_with('[')).collect();
        let own = if name.ends_with(".timer") { "[Timer]" } else { "[Service]" };
        assert_eq!(sections[..2], ["[Unit]", own], "{name}");
        let is_known =
            |line: &str| line.is_empty() || line.starts_with(['#', '[']) || line.contains('=');
        assert!(unit.lines().all(is_known), "{name}");
        // A program that is there, and an account.
        let unit = unit.replace(PROGRAM, env!("CARGO_BIN_EXE_orderctl"));
        let unit = unit.replace("User=orderctl", "User=daemon");
        std::fs::write(folder.path().join(&name), unit).unwrap();
        names.push(name);
    }
    let timer = names.iter().filter(|name| name.ends_with(".timer"));
    for timer in timer {
        assert!(names.contains(&timer.replace(".timer", ".service")), "{timer} starts nothing");
    }
    let verify = Command::new("systemd-analyze")
        .arg("verify")
        .args(names.iter().map(|name| folder.path().join(name)))
        .output();
    match verify {
        // Not every system has systemd; then the above is all that is checked.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr).into_owned();
            assert!(verified.status.success(), "{said}");
            assert!(!said.contains("nknown"), "{said}");
        }
    }
}

#[test]
fn secrets_are_mounted_and_never_in_the_environment() {
    let manifest = text("kubernetes/users.yaml");
    assert!(!manifest.contains('\t') && !manifest.contains("secretKeyRef"));
    let documents: Vec<&str> = manifest.split("\n---\n").collect();
    let kinds = ["kind: CronJob", "kind: Deployment", "kind: Deployment"];
    assert_eq!(documents.len(), kinds.len());
    for (document, kind) in documents.iter().zip(kinds) {
        assert!(document.lines().any(|line| line == kind), "{kind}");
        assert!(document.contains("secret: {secretName: orderctl, defaultMode: 0440}"), "{kind}");
    }
    let all = units().into_iter().map(|(_, unit)| unit);
    for text in all.chain([manifest.clone(), text("cron/orderctl-fetch-users")]) {
        for word in ["PASSWORD", "POSTGRES_URI", "DATABASE_URL", "PGPASSWORD", "--sasl-password"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
