//! One run on one topic: finds out what earlier runs left, then publishes
//! portions. Why nothing is moved twice is told in `edges::postgres::redrive`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::super::{Desk, partition_count};
use super::fate::Fate;
use super::{IfUnknown, Summary};
use crate::config::KafkaSettings;
use crate::console::plural;
use crate::edges::kafka::excerpt::{Excerpt, Isolation, Span};
use crate::edges::kafka::republish::{Outgoing, Published, Publisher};
use crate::edges::kafka::topics;
use crate::edges::postgres::redrive::{self, Ending, Run, Source};

/// The header that names a letter, as LEDGER/SOURCE/NUMBER.
const MARK: &str = "orderctl-redrive";
/// How long a transaction of somebody else may hide ours: more than the
/// brokers' default for its timeout.
const HIDDEN_MAX: Duration = Duration::from_secs(90);
/// How often we look whether it has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Gives the records of letters, by their numbers.
pub type Load<'l> = dyn Fn(&[i64]) -> anyhow::Result<Vec<(i64, Outgoing)>> + 'l;

/// A run on one topic.
pub struct Redriver<'d> {
    desk: &'d Desk<'d>,
    source: Source,
    run: Run,
    publisher: Publisher,
    kafka: KafkaSettings,
    committed: Excerpt,
    uncommitted: Excerpt,
    /// What every mark of this ledger's letters begins with.
    mark: String,
    /// What became of letters that earlier runs took, as far as they stay so.
    settled: BTreeMap<i64, Fate>,
}

impl<'d> Redriver<'d> {
    /// Becomes the topic's only run and settles what earlier ones left.
    pub fn begin(
        desk: &'d Desk<'d>,
        kafka: &KafkaSettings,
        topic: &str,
        source: Source,
        if_unknown: IfUnknown,
        summary: &mut Summary,
    ) -> anyhow::Result<Redriver<'d>> {
        let (console, stop) = (&desk.context.console, &desk.context.stop);
        let partitions = partition_count(kafka, topic, desk.context)?;
        let committed = Excerpt::new(kafka, topic, Isolation::Committed, console)?;
        let uncommitted = Excerpt::new(kafka, topic, Isolation::Uncommitted, console)?;
        let spans = committed.spans(partitions, stop)?;
        let from: Vec<i64> = spans.iter().map(|span| span.end).collect();
        let identity = desk.ask(redrive::identity(&desk.client, &desk.ledger))?;
        let cluster = committed.cluster_id();
        let topic_id = committed.topic_id()?;
        let beginning =
            redrive::begin(&desk.client, &desk.ledger, &cluster, topic, topic_id, &from);
        let run = desk.ask(beginning)?;
        // After the run is noted, so that whoever took letters before it is
        // fenced by this.
        let transactional_id = format!("orderctl-dlq-{identity}-{topic}");
        let publisher = Publisher::new(kafka, topic, &transactional_id, console, stop)?;
        let mark = format!("{identity}/{}/", source.tag());
        let mut redriver = Redriver {
            desk,
            source,
            run,
            publisher,
            kafka: kafka.clone(),
            committed,
            uncommitted,
            mark,
            settled: BTreeMap::new(),
        };
        redriver.settle(if_unknown, summary)?;
        Ok(redriver)
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> i32 {
        self.run.from.len() as i32
    }

    /// Finds out what became of the letters that earlier runs took.
    fn settle(&mut self, if_unknown: IfUnknown, summary: &mut Summary) -> anyhow::Result<()> {
        let Desk { client, ledger, context, .. } = self.desk;
        let (source, run) = (self.source, self.run.clone());
        for (earlier, ids) in self.desk.ask(redrive::unsettled(client, ledger, source, &run))? {
            context.console.note(format!(
                "looking in topic {} for {} of a run that did not finish",
                run.topic,
                plural(ids.len() as u64, "letter")
            ));
            let Search { found, is_complete } = self.search(&earlier, &ids)?;
            let others: Vec<i64> = ids.iter().copied().filter(|id| !found.contains(id)).collect();
            let mut published: Vec<i64> = found.into_iter().collect();
            let open_again = match if_unknown {
                _ if is_complete => others,
                IfUnknown::Again => others,
                IfUnknown::Done => {
                    published.extend(others);
                    Vec::new()
                }
                IfUnknown::Leave => {
                    self.note_fate(&others, Fate::Unknown, summary);
                    Vec::new()
                }
            };
            self.note_fate(&published, Fate::Published, summary);
            let ending = Ending::Published;
            self.desk.ask(redrive::finish(client, ledger, source, &earlier, &published, ending))?;
            let opening = redrive::settle(client, ledger, source, &run, &earlier, &open_again);
            self.desk.ask(opening)?;
        }
        Ok(())
    }

    fn note_fate(&mut self, ids: &[i64], fate: Fate, summary: &mut Summary) {
        self.settled.extend(ids.iter().map(|id| (*id, fate)));
        ids.iter().for_each(|_| summary.settle(fate));
    }

    /// Looks for letters in what was committed since an earlier run began.
    fn search(&self, earlier: &Run, ids: &[i64]) -> anyhow::Result<Search> {
        let (spans, mut is_complete) = self.visible_since(earlier)?;
        let wanted: BTreeSet<i64> = ids.iter().copied().collect();
        let mut found = BTreeSet::new();
        self.committed.read(&spans, &self.desk.context.stop, |record| {
            let id = record.headers().iter().find_map(|(name, value)| {
                let value = value.filter(|_| *name == MARK)?;
                std::str::from_utf8(value).ok()?.strip_prefix(&self.mark)?.parse().ok()
            });
            found.extend(id.filter(|id| wanted.contains(id)));
            Ok(match found.len() == wanted.len() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        if is_complete && found.len() < wanted.len() {
            is_complete = self.keeps_every_copy()?;
        }
        Ok(Search { found, is_complete })
    }

    /// Whether a copy that was not found was never there: compaction removes one
    /// once a later record has its key. A topic whose policy this login may not
    /// see is taken for a compacted one, as `verify` does.
    fn keeps_every_copy(&self) -> anyhow::Result<bool> {
        let (console, topic) = (&self.desk.context.console, &self.run.topic);
        let why = match topics::is_compacted(&self.kafka, topic, console, &self.desk.context.stop)?
        {
            Some(false) => return Ok(true),
            Some(true) => "is compacted",
            None => "may be compacted (this login has no right DESCRIBE_CONFIGS on it)",
        };
        console.note(format!(
            "topic {topic} {why}: a letter that is not found may have been published and removed \
             for a later record with its key"
        ));
        Ok(false)
    }

    /// What has to be searched, once every transaction in it has ended; false
    /// when retention has removed some of it, or the topic was made anew.
    fn visible_since(&self, earlier: &Run) -> anyhow::Result<(Vec<Span>, bool)> {
        let partitions = self.run.from.len();
        let (console, stop) = (&self.desk.context.console, &self.desk.context.stop);
        let ends = self.uncommitted.spans(partitions, stop)?;
        let since = Instant::now();
        let mut is_told = false;
        loop {
            let visible = self.committed.spans(partitions, stop)?;
            if visible.iter().zip(&ends).all(|(visible, end)| visible.end >= end.end) {
                break;
            }
            if since.elapsed() > HIDDEN_MAX {
                bail!(
                    "a transaction of another producer on topic {} has not ended for {} s and \
                     hides what an earlier run published: try again when it has",
                    self.run.topic,
                    HIDDEN_MAX.as_secs()
                );
            }
            if !is_told && since.elapsed() > Duration::from_secs(2) {
                console.note("waiting: a transaction of another producer has not ended");
                is_told = true;
            }
            if stop.wait_for(LOOK) {
                bail!("stopped while a transaction of another producer was waited for");
            }
        }
        let is_same = match (&earlier.topic_id, &self.run.topic_id) {
            (Some(earlier), Some(now)) => earlier == now,
            _ => true,
        };
        let mut is_complete = is_same && earlier.from.len() <= partitions;
        let spans = (ends.iter().enumerate())
            .map(|(at, end)| {
                let from = earlier.from.get(at).copied().unwrap_or(0);
                is_complete &= (end.from..=end.end).contains(&from);
                Span { from: from.max(end.from), ..*end }
            })
            .collect();
        Ok((spans, is_complete))
    }

    /// Publishes the letters of these numbers that are still to be published;
    /// `load` gives the record of each that is taken, without its mark.
    pub fn publish(
        &self,
        ids: &[i64],
        load: &Load<'_>,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let Desk { client, ledger, context, .. } = self.desk;
        let (source, run) = (self.source, &self.run);
        for fate in ids.iter().filter_map(|id| self.settled.get(id)) {
            summary.choose_settled(*fate);
        }
        let unsettled = |id: &i64| !self.settled.contains_key(id);
        let ids: Vec<i64> = ids.iter().copied().filter(unsettled).collect();
        let taken = self.desk.ask(redrive::take(client, ledger, source, run, &ids))?;
        if taken.is_empty() {
            return Ok(());
        }
        let records = load(&taken)?.into_iter().map(|(id, record)| self.marked(id, record));
        let records: Vec<Outgoing> = records.collect();
        let published = self.publisher.publish(&records, &context.stop)?;
        let ending = match published {
            Published::Committed => Ending::Published,
            Published::Aborted(_) => Ending::Aborted,
        };
        self.desk.ask(redrive::finish(client, ledger, source, run, &taken, ending))?;
        match (published, taken.as_slice()) {
            (Published::Committed, _) => summary.published += taken.len() as u64,
            (Published::Aborted(why), [id]) => {
                summary.refused += 1;
                let topic = &run.topic;
                context.console.note(format!("letter {id} is refused by topic {topic}: {why}"));
            }
            // Which of them it is does not show: each on its own.
            (Published::Aborted(_), several) => {
                for id in several {
                    self.publish(&[*id], load, summary)?;
                }
            }
        }
        Ok(())
    }

    fn marked(&self, id: i64, mut record: Outgoing) -> Outgoing {
        record.partition = record.partition.filter(|partition| *partition < self.partitions());
        record.headers.retain(|(name, _)| name != MARK);
        record.headers.push((MARK.into(), Some(format!("{}{id}", self.mark).into_bytes())));
        record
    }
}

struct Search {
    found: BTreeSet<i64>,
    is_complete: bool,
}
