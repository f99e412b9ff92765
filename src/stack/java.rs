//! Finding a Java runtime that the servers run on, and Maven.

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::helper;
use crate::stop::Stop;

/// The oldest Java that a Kafka 4 broker runs on.
const JAVA_MIN: u32 = 17;

const JAVA_CURE: &str = "install Java 17 or newer (Debian, Ubuntu: apt-get install \
    openjdk-17-jre-headless), or set JAVA_HOME to one";

/// The program `java`: of JAVA_HOME, else of PATH; checked to be new enough.
///
/// # Errors
/// When there is none or it is too old.
pub fn find(stop: &Stop) -> anyhow::Result<PathBuf> {
    let java = match env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let mut command = Command::new(&java);
    command.arg("-version");
    let finished = helper::run(command, stop, |_| {}).map_err(|error| {
        if is_not_found(&error) {
            error.context(format!(
                "Kafka needs Java, and {} is missing; {JAVA_CURE}",
                java.display()
            ))
        } else {
            error
        }
    })?;
    match finished.lines.iter().find_map(|line| major_version(line)) {
        Some(found) if found < JAVA_MIN => {
            bail!("{} is Java {found}, too old for Kafka; {JAVA_CURE}", java.display())
        }
        Some(_) if finished.status.success() => Ok(java),
        _ => {
            let said = helper::last_lines(finished.lines.iter().map(String::as_str), 5);
            bail!("{} -version failed; {JAVA_CURE}; it said:\n{said}", java.display())
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(ErrorKind::NotFound)
}

/// The major version in a line such as `openjdk version "17.0.15" 2025-04-15`;
/// up to Java 8 it was written as `"1.8.0_412"`.
fn major_version(line: &str) -> Option<u32> {
    let (_, quoted) = line.split_once("version \"")?;
    let mut numbers = quoted.split(|letter: char| !letter.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

/// A command that runs Maven without colours and questions.
pub fn maven() -> Command {
    let mut command = Command::new("mvn");
    // The last: what could not be downloaded before is tried again at once.
    command.args(["--batch-mode", "--update-snapshots"]);
    // Java takes the home directory from the password file; everything else,
    // and so our user, takes it from HOME.
    if let Some(home) = env::var_os("HOME") {
        let mut options = env::var_os("MAVEN_OPTS").unwrap_or_default();
        options.push(" -Duser.home=");
        options.push(quoted(home));
        command.env("MAVEN_OPTS", options);
    }
    command
}

/// Maven's script splits MAVEN_OPTS at blanks, and has no way to quote them;
/// then the directory of the password file has to do.
fn quoted(home: OsString) -> OsString {
    if home.to_string_lossy().contains(char::is_whitespace) { OsString::from("/") } else { home }
}

/// Runs Maven, showing each line it prints.
///
/// # Errors
/// When it is missing, or fails, with what it said.
pub fn run_maven(
    command: Command,
    what: &str,
    stop: &Stop,
    on_line: impl FnMut(&str),
) -> anyhow::Result<()> {
    let finished = helper::run(command, stop, on_line).map_err(|error| {
        if is_not_found(&error) {
            error.context(format!(
                "{what} is downloaded by Maven on first use, and mvn is missing; install it \
                 (Debian, Ubuntu: apt-get install maven)"
            ))
        } else {
            error
        }
    })?;
    if finished.status.success() {
        return Ok(());
    }
    let errors = finished.lines.iter().filter_map(|line| line.strip_prefix("[ERROR] "));
    let said = errors.clone().next().or(finished.lines.last().map(String::as_str));
    bail!(
        "cannot download {what}; check the network (behind a proxy or with a mirror: \
         ~/.m2/settings.xml) and run this again; maven said: {}",
        said.map(without_help).context("maven failed without a word")?
    )
}

/// Maven ends its errors with a reference to lines that we do not show.
fn without_help(error: &str) -> &str {
    error.split(" -> [Help").next().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_vendors_line() {
        assert_eq!(major_version(r#"openjdk version "17.0.15" 2025-04-15"#), Some(17));
        assert_eq!(major_version(r#"java version "1.8.0_412""#), Some(8));
        assert_eq!(major_version(r#"openjdk version "21-ea" 2023-09-19"#), Some(21));
        assert_eq!(major_version(r#"openjdk version "25" 2025-09-16"#), Some(25));
        assert_eq!(major_version("OpenJDK Runtime Environment (build 17)"), None);
        assert_eq!(major_version(r#"version "x""#), None);
    }

    #[test]
    fn a_missing_maven_is_named_with_its_cure() {
        let command = Command::new("orderctl-no-such-program");
        let error = run_maven(command, "Apache Kafka", &Stop::manual(), |_| {}).unwrap_err();
        assert!(format!("{error:#}").contains("apt-get install maven"), "{error:#}");
    }

    #[test]
    fn a_failing_maven_is_quoted_with_its_first_error() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo '[INFO] x'; echo '[ERROR] Unknown host -> [Help 1]'; echo '[ERROR] y'; exit 1",
        ]);
        let error = run_maven(command, "Apache Kafka", &Stop::manual(), |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("check the network") && text.ends_with("Unknown host"), "{text}");
    }
}
