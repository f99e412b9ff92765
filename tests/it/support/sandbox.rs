//! Names that no other test uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::turn::{Load, Turn};
use super::{eventually, kafka, sql};

/// A topic, a group and a schema of a test's own, on the shared stack.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Name of a topic that does not exist yet.
    pub topic: String,
    /// Name of a consumer group that does not exist yet.
    pub group: String,
    /// Name of an empty schema.
    pub schema: String,
    /// Held by a test that uses the machine to the full.
    pub turn: Option<Arc<Turn>>,
}

impl Sandbox {
    /// Names that start with `name` (letters, digits and `_`), never used
    /// before, not even by an earlier run; the schema is created.
    pub fn new(name: &str) -> Sandbox {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{name}_{:x}_{}_{number}", now.as_millis(), std::process::id());
        sql(&format!("create schema {unique}"));
        let (topic, group) = (unique.clone(), format!("{unique}_group"));
        Sandbox { topic, group, schema: unique, turn: None }
    }

    /// For a test that uses the machine to the full: waits for its turn, which
    /// lasts as long as the sandbox.
    pub fn in_turn(mut self, load: Load) -> Sandbox {
        self.turn = Some(Arc::new(Turn::take(load)));
        self
    }

    /// Creates the topic.
    pub fn with_topic(self, partitions: i32) -> Sandbox {
        kafka().create_topic(&self.topic, partitions, &[]);
        self
    }

    /// Deletes the topic, and creates it again with one partition.
    pub fn with_topic_anew(self) -> Sandbox {
        kafka().delete_topic(&self.topic);
        let is_gone = || kafka().partitions(&self.topic) == 0;
        eventually("the topic is gone", is_gone);
        self.with_topic(1)
    }

    /// A name inside the schema.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema)
    }
}
