//! What is to be seen of a run from outside: metrics and health over HTTP, and
//! the history in a log file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::console::Console;
use crate::edges::http::scrape::{self, Answer};
use crate::engine::metrics::{CONTENT_TYPE, Figures, Metrics};
use crate::error::{Outcome, Usage, exit_code};
use crate::log::{Level, Log, LogFile, LogFormat};

/// How often the log file gets a line of figures.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// The flags that every verb takes to be seen.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Seen from outside")]
pub struct Flags {
    /// Form of the messages on standard error
    #[arg(long, global = true, env = "ORDERCTL_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// File to append what happens and the figures of every second to, as JSON lines
    #[arg(long, global = true, env = "ORDERCTL_LOG_FILE", value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Address to serve /metrics, /healthz and /readyz on, as in 127.0.0.1:9464; port 0 is a free one
    #[arg(long, global = true, env = "ORDERCTL_METRICS_LISTEN", value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
}

impl Flags {
    /// Opens the log file.
    ///
    /// # Errors
    /// [`Usage`] when it cannot be written to.
    pub fn log(&self) -> anyhow::Result<Log> {
        let open = |path: &PathBuf| {
            LogFile::open(path).map(Arc::new).map_err(|error| {
                Usage(format!(
                    "cannot write to --log-file {}: {error}; create its directory, or choose \
                     another file",
                    path.display()
                ))
            })
        };
        let file = self.log_file.as_ref().map(open).transpose()?;
        Ok(Log { format: self.log_format, file })
    }

    /// Whether figures go anywhere.
    pub fn is_asked_for(&self) -> bool {
        self.log_file.is_some() || self.metrics_listen.is_some()
    }

    /// Serves metrics and health from now on, if that was asked for, and says
    /// where.
    ///
    /// # Errors
    /// [`Usage`] when the address cannot be had.
    pub fn listen(&self, metrics: &Arc<Metrics>, console: &Console) -> anyhow::Result<()> {
        let Some(address) = self.metrics_listen else { return Ok(()) };
        let (listener, bound) = scrape::bind(address).map_err(|error| {
            Usage(format!(
                "cannot listen on {address} for --metrics-listen: {error}; choose another port, \
                 or 0 for a free one"
            ))
        })?;
        let metrics = Arc::clone(metrics);
        scrape::serve(listener, move |path| answer(&metrics, path))?;
        let url = format!("http://{bound}");
        let fields = json!({ "address": bound.to_string() });
        console.event(Level::Info, format_args!("metrics are at {url}/metrics"), &fields);
        Ok(())
    }
}

fn answer(metrics: &Metrics, path: &str) -> Answer {
    match path {
        "/metrics" => Answer { status: 200, content_type: CONTENT_TYPE, body: metrics.render() },
        "/healthz" => match metrics.stuck_for() {
            None => Answer::text(200, "alive"),
            Some(silent) => {
                Answer::text(503, &format!("the loop has stood still for {} s", silent.as_secs()))
            }
        },
        "/readyz" => match metrics.unready() {
            None => Answer::text(200, "ready"),
            Some(why) => Answer::text(503, &why),
        },
        _ => Answer::text(404, "there is /metrics, /healthz and /readyz"),
    }
}

/// The history of a run in its log file: the beginning is written.
#[derive(Debug)]
pub struct History {
    log: Log,
    verb: String,
    metrics: Arc<Metrics>,
    begun: Instant,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl History {
    /// Writes the first line, and one with figures every second from now on; does
    /// nothing without a file.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn begin(log: &Log, verb: &str, metrics: &Arc<Metrics>) -> anyhow::Result<History> {
        let fields = json!({
            "verb": verb,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
        });
        log.append(Level::Info, "started", &fields);
        let ticker = match &log.file {
            Some(_) => Some(start_ticker(log.clone(), Arc::clone(metrics))?),
            None => None,
        };
        let (log, metrics) = (log.clone(), Arc::clone(metrics));
        Ok(History { log, verb: verb.to_owned(), metrics, begun: Instant::now(), ticker })
    }

    /// Writes the last line: how it ended, with the totals.
    pub fn end(self, result: &anyhow::Result<Outcome>) {
        if let Some((end, thread)) = self.ticker {
            drop(end);
            // A ticker that panicked has nothing more to say.
            let _ = thread.join();
        }
        let mut fields = Map::new();
        fields.insert("verb".into(), self.verb.into());
        fields.insert("exit_code".into(), exit_code(result).into());
        fields.insert("seconds".into(), rounded(self.begun.elapsed().as_secs_f64()));
        if let Some(figures) = self.metrics.figures() {
            fields.extend(named(figures));
        }
        let (level, message) = match result {
            Ok(Outcome::Done) => (Level::Info, "done"),
            Ok(Outcome::Rejected) => (Level::Warn, "done, with rejects"),
            Ok(Outcome::Interrupted) => (Level::Info, "interrupted"),
            Err(error) => {
                fields.insert("error".into(), format!("{error:#}").into());
                (Level::Error, "failed")
            }
        };
        self.log.append(level, message, &Value::Object(fields));
    }
}

/// Appends a line of figures every second until the sender is gone.
fn start_ticker(log: Log, metrics: Arc<Metrics>) -> anyhow::Result<(Sender<()>, JoinHandle<()>)> {
    let (end, ended) = mpsc::channel();
    let tick = move || {
        let mut before = (Instant::now(), 0);
        while ended.recv_timeout(FIGURES_EVERY) == Err(RecvTimeoutError::Timeout) {
            let Some(figures) = metrics.figures() else { continue };
            let now = (Instant::now(), figures.records);
            let seconds = (now.0 - before.0).as_secs_f64();
            let rate = now.1.saturating_sub(before.1) as f64 / seconds;
            before = now;
            let mut fields: Map<String, Value> = named(figures).collect();
            fields.insert("records_per_second".into(), rounded(rate));
            log.append(Level::Info, "figures", &Value::Object(fields));
        }
    };
    let thread = std::thread::Builder::new()
        .name("figures".into())
        .spawn(tick)
        .context("cannot start the thread that writes figures")?;
    Ok((end, thread))
}

fn named(figures: Figures) -> impl Iterator<Item = (String, Value)> {
    figures.fields.into_iter().map(|(name, value)| (name.to_owned(), value))
}

fn rounded(value: f64) -> Value {
    ((value * 1000.0).round() / 1000.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::metrics::Producing;

    #[test]
    fn each_path_has_its_answer() {
        let metrics = Metrics::default();
        assert_eq!(answer(&metrics, "/healthz"), Answer::text(200, "alive"));
        assert_eq!(answer(&metrics, "/readyz"), Answer::text(503, "starting"));
        metrics.set_unready(None);
        assert_eq!(answer(&metrics, "/readyz"), Answer::text(200, "ready"));
        assert_eq!(answer(&metrics, "/metrics").content_type, CONTENT_TYPE);
        assert_eq!(answer(&metrics, "/").status, 404);
    }

    #[test]
    fn a_history_ends_with_how_it_ended_and_the_totals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let flags = Flags { log_file: Some(path.clone()), ..Flags::default() };
        let metrics = Arc::new(Metrics::default());
        let history = History::begin(&flags.log().unwrap(), "produce", &metrics).unwrap();
        metrics.set_producing(Producing { acknowledged: 7, ..Producing::default() });
        history.end(&Err(anyhow::anyhow!("no").context("broken")));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["fields"]["verb"], "produce");
        let last = lines.last().unwrap();
        assert_eq!((&last["level"], &last["message"]), (&json!("error"), &json!("failed")));
        assert_eq!(last["fields"]["error"], "broken: no");
        assert_eq!(
            (&last["fields"]["acknowledged"], &last["fields"]["exit_code"]),
            (&7.into(), &1.into())
        );
    }
}
