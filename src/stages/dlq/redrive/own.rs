//! Letters of the ledger, back to the topics they came from.

use super::super::Desk;
use super::redriver::Redriver;
use super::{Args, Summary, grouped, portions};
use crate::edges::kafka::republish::Outgoing;
use crate::edges::postgres::letters::{self, Chosen, Letter};
use crate::edges::postgres::redrive::Source;

/// Publishes letters, topic by topic.
pub fn to_topics(
    args: &Args,
    desk: &Desk<'_>,
    chosen: Vec<Chosen>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    if chosen.is_empty() {
        return Ok(());
    }
    let kafka = desk.context.kafka()?;
    let load = |ids: &[i64]| {
        let loaded = desk.ask(letters::load(&desk.client, &desk.ledger, ids))?;
        Ok(loaded.into_iter().map(|(letter, payload)| outgoing(letter, payload)).collect())
    };
    let bar = desk.context.console.bar(chosen.len() as u64, "letters");
    for (topic, letters) in grouped(chosen, |letter| letter.topic.clone()) {
        let redriver =
            Redriver::begin(desk, &kafka, &topic, Source::Own, args.if_unknown, summary)?;
        for portion in portions(&letters) {
            if desk.context.stop.requested() {
                anyhow::bail!("stopped between two portions");
            }
            redriver.publish(&portion, &load, summary)?;
            bar.inc(portion.len() as u64);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The record as it was, with headers that name its origin.
fn outgoing(letter: Letter, payload: Option<Vec<u8>>) -> (i64, Outgoing) {
    let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
    let mut headers = vec![
        header("orderctl-origin-topic", letter.topic),
        header("orderctl-origin-partition", letter.partition.to_string()),
        header("orderctl-origin-offset", letter.offset.to_string()),
    ];
    headers.extend(letter.record_time.map(|time| header("orderctl-origin-time", time)));
    let record = Outgoing { partition: Some(letter.partition), key: letter.key, payload, headers };
    (letter.id, record)
}
