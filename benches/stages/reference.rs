//! Kafka Streams, doing the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::java;
use crate::stack::BenchStack;

/// The application in `streams/`, compiled.
#[derive(Debug)]
pub struct Streams {
    classpath: String,
    files: PathBuf,
}

impl Streams {
    /// Copies the jars from Maven Central, into target/bench-streams, and compiles
    /// the application.
    ///
    /// # Errors
    /// When Maven or a Java compiler is missing or fails.
    pub fn build(stack: &BenchStack) -> anyhow::Result<Streams> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = root.join("benches/stages/streams");
        let jars = root.join("target/bench-streams");
        // Else those of another version stay beside.
        if jars.exists() {
            fs::remove_dir_all(&jars)?;
        }
        let mut maven = Command::new("mvn");
        maven.args(["-B", "-q", "--file"]).arg(source.join("pom.xml"));
        maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", jars.display()));
        run(maven, "install Maven")?;
        let files = stack.files.path().join("streams");
        fs::create_dir(&files)?;
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(jars.join("*")).arg("-d").arg(&files).arg(source.join("Stage.java"));
        run(javac, "install a Java development kit, 17 or newer")?;
        let classpath = format!("{}/*:{}", jars.display(), files.display());
        Ok(Streams { classpath, files })
    }

    /// The application, for one run: reads `from`, as the application `id`, and
    /// does `step` to so many records, on so many threads.
    ///
    /// # Errors
    /// When its properties cannot be written.
    pub fn command(
        &self,
        stack: &BenchStack,
        id: &str,
        threads: u32,
        arguments: &[&str],
    ) -> anyhow::Result<Command> {
        let state = self.files.join("state");
        let properties = java::write_properties(
            stack,
            &format!("{id}.properties"),
            &format!(
                "application.id={id}\n\
                 state.dir={}\n\
                 processing.guarantee=exactly_once_v2\n\
                 commit.interval.ms=100\n\
                 num.stream.threads={threads}\n\
                 producer.compression.type=lz4\n",
                state.display()
            ),
        )?;
        let mut java = Command::new("java");
        java.args(["-Xmx2g", "-cp", &self.classpath, "Stage"]).arg(properties).args(arguments);
        Ok(java)
    }
}

/// The rate that the application reports, in records a second.
///
/// # Errors
/// When it did not report one.
pub fn reported_rate(stdout: &[u8]) -> anyhow::Result<f64> {
    let text = String::from_utf8_lossy(stdout);
    text.trim().parse().with_context(|| format!("Kafka Streams did not finish: {text}"))
}

fn run(mut command: Command, cure: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}: {cure}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
