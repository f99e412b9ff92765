//! Questions about a group that are asked again and again on one connection.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orderctl::config::{Connections, PostgresSettings};
use orderctl::edges::postgres::connect::connect;
use orderctl::edges::postgres::{Client, application_name};
use tokio::runtime::Runtime;

/// How often a watch looks.
const LOOK: Duration = Duration::from_millis(50);

/// A connection to a stack's database, for questions about one group; its clones
/// share the connection.
#[derive(Debug, Clone)]
pub struct Asker {
    group: String,
    connection: Arc<Mutex<(Runtime, Client)>>,
}

impl Asker {
    /// Connects with the files of a stack.
    pub fn new(creds: &Path, cert_path: &Path, group: &str) -> Asker {
        let connections = Connections {
            creds: Some(creds.to_owned()),
            cert_path: Some(cert_path.to_owned()),
            ..Connections::default()
        };
        let settings = PostgresSettings::resolve(&connections).expect("a stack's credentials");
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let client = runtime.block_on(connect(&settings, "asker")).expect("a running database");
        Asker { group: group.to_owned(), connection: Arc::new(Mutex::new((runtime, client))) }
    }

    /// The answer to a query for one bigint.
    pub fn number(&self, sql: &str) -> i64 {
        let connection = self.connection.lock().expect("no panic");
        let (runtime, client) = &*connection;
        let row = runtime.block_on(client.query_typed_one(sql, &[]));
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
    }

    /// The sum of the group's positions in all partitions.
    pub fn position(&self) -> i64 {
        self.number(&format!(
            "select coalesce(sum(next_offset), 0)::int8 from orderctl.ledger_position
             where group_name = '{}'",
            self.group
        ))
    }

    /// Whether a batch of the group is open on one of these ports of clients: a
    /// position is advanced and not yet committed.
    pub fn has_batch_open(&self, ports: &[u16]) -> bool {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        self.number(&format!(
            "select count(*) from pg_stat_activity a where application_name = '{}'
                 and client_port = any ('{{{}}}') and exists (select from pg_locks l
                     where l.pid = a.pid and l.mode = 'RowExclusiveLock'
                     and l.relation = 'orderctl.ledger_position'::regclass)",
            application_name(&self.group),
            ports.join(",")
        )) > 0
    }

    /// Measures the group's longest pause from now on.
    pub fn watch(&self) -> Watch {
        let (asker, over) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (mut position, mut since) = (asker.position(), Instant::now());
            let mut longest = Duration::ZERO;
            while !is_over.load(SeqCst) {
                // A commit is seen only by looking.
                std::thread::sleep(LOOK);
                let now = asker.position();
                longest = longest.max(since.elapsed());
                if now != position {
                    (position, since) = (now, Instant::now());
                }
            }
            longest
        });
        Watch { over, thread: Some(thread) }
    }
}

/// A measurement under way; records have to come in all the while.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Duration>>,
}

impl Watch {
    /// Ends it: the longest time in which the group's positions stood still.
    pub fn longest(mut self) -> Duration {
        self.over.store(true, SeqCst);
        self.thread.take().expect("taken once").join().expect("the watch's thread")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
    }
}
