//! Jars of the servers, copied by Maven into the user's cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::{cache, java};
use crate::console::Console;
use crate::stop::Stop;

/// A server that Maven Central has, with all it needs to run.
#[derive(Debug, Clone, Copy)]
pub struct Jars {
    /// The service's name in messages and in the cache.
    pub service: &'static str,
    /// What is downloaded, for people.
    pub title: &'static str,
    /// The version in the pom.
    pub version: &'static str,
    /// About how much is downloaded, in megabytes.
    pub megabytes: u32,
    /// What Maven is to copy.
    pub pom: &'static str,
}

/// The goal that copies all dependencies; pinned like the jars themselves.
const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The directory with the jars, downloaded on first use.
///
/// # Errors
/// When the cache cannot be written, or Maven is missing or fails.
pub fn obtain(wanted: &Jars, console: &Console, stop: &Stop) -> anyhow::Result<PathBuf> {
    let name = format!("{}-{}", wanted.service, wanted.version);
    cache::obtain(&cache::user_directory()?, &name, console, stop, |staging| {
        download(wanted, staging, console, stop)
    })
}

fn download(
    wanted: &Jars,
    staging: &Path,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<PathBuf> {
    let Jars { service, title, version, megabytes, pom: text } = wanted;
    let what = format!("{title} {version}");
    console.note(format_args!(
        "{service}: downloading {what} from Maven Central (about {megabytes} MB)"
    ));
    let jars = staging.join("jars");
    let pom = staging.join("pom.xml");
    fs::write(&pom, text)?;
    let mut command = java::maven();
    command.arg("--file").arg(&pom).arg(GOAL);
    command.arg(format!("-DoutputDirectory={}", jars.display()));
    let line = console.live_line();
    let mut files = 0;
    java::run_maven(command, &what, stop, |said| {
        if let Some(progress) = progress(said, &mut files) {
            line.set_message(format!("{service}: {progress}"));
        }
    })?;
    line.finish_and_clear();
    Ok(jars)
}

/// What a line of Maven's says about how far it is. How many files there will
/// be, it does not know itself before it copies them.
fn progress(line: &str, files: &mut u32) -> Option<String> {
    let line = line.strip_prefix("[INFO] ")?;
    let (_, file) = if let Some(url) = line.strip_prefix("Downloaded from ") {
        *files += 1;
        url.split(" (").next()?.rsplit_once('/')?
    } else {
        line.strip_prefix("Copying ")?.split(" to ").map(|jar| ("", jar)).next()?
    };
    Some(format!("files downloaded: {files}, {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mavens_lines_become_progress() {
        let mut files = 0;
        let line = "[INFO] Downloaded from central: https://host/a/kafka-clients-4.2.1.jar (10 MB at 9 MB/s)";
        assert_eq!(
            progress(line, &mut files).unwrap(),
            "files downloaded: 1, kafka-clients-4.2.1.jar"
        );
        assert_eq!(progress("[INFO] Building local-kafka 1", &mut files), None);
        let copied = progress("[INFO] Copying a.jar to /x/a.jar", &mut files).unwrap();
        assert_eq!(copied, "files downloaded: 1, a.jar");
    }
}
