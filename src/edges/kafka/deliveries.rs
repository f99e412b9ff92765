//! The context of producers that publish in transactions: the first record that
//! was not delivered decides what becomes of all.

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::client::ClientLog;
use crate::console::Console;

/// Notes the first record that was not delivered.
pub(super) struct Deliveries {
    /// What went wrong last with the connections, and the log.
    pub log: ClientLog,
    failed: Mutex<Option<KafkaError>>,
}

impl Deliveries {
    /// With nothing noted.
    pub fn new(console: &Console) -> Deliveries {
        Deliveries { log: ClientLog::new(console), failed: Mutex::default() }
    }

    /// Why a record was not delivered, the first since the last call.
    pub fn take_failure(&self) -> Option<KafkaError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.observe(facility, line);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.remember(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.clone());
        }
    }
}
