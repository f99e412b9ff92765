//! Mails into a folder: what would be sent now. No member joins the group, no
//! position is committed, and the ledger is not asked.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::plan::{Asked, plan, without_cards};
use super::templates::{self, Details};
use super::{Sending, join, sender};
use crate::cli::Context;
use crate::config::smtp::SmtpSettings;
use crate::console::one_line;
use crate::edges::kafka::{Consumer, Happening, Polled};
use crate::edges::postgres::mail::Planned;
use crate::edges::smtp::message::{self, Recipient, Sender};
use crate::error::{Outcome, Unnamed};
use crate::stages::consume::selection::ask_kafka;

/// Who sends, where no mail server is named yet.
const SENDER: &str = "Orders <orders@example.com>";

/// What was written.
#[derive(Debug, Default, Serialize)]
pub struct Written {
    folder: String,
    read: u64,
    mails: u64,
    refused: u64,
    rejected: u64,
    interrupted: bool,
}

impl Written {
    /// How the verb ends.
    pub fn outcome(&self) -> Outcome {
        match self.interrupted {
            true => Outcome::Interrupted,
            false if self.rejected + self.refused > 0 => Outcome::Rejected,
            false => Outcome::Done,
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "read      {}", self.read)?;
        writeln!(f, "rejected  {}", self.rejected)?;
        writeln!(f, "refused   {}", self.refused)?;
        write!(f, "{} mails in {}", self.mails, self.folder)
    }
}

/// Writes what would be sent now.
///
/// # Errors
/// When Kafka cannot be reached or the folder cannot be written.
pub fn run(args: &Sending, folder: &Path, context: &Context) -> anyhow::Result<Written> {
    let from = match SmtpSettings::resolve(&context.connections) {
        Ok(smtp) => sender(&smtp)?,
        Err(error) if error.is::<Unnamed>() => Sender::parse(SENDER).map_err(anyhow::Error::msg)?,
        Err(error) => return Err(error),
    };
    fs::create_dir_all(folder).with_context(|| {
        format!("cannot create {}; name a folder you can write", folder.display())
    })?;
    let mut written = Written { folder: folder.display().to_string(), ..Written::default() };
    for (topic, consumer) in join(args, &context.kafka()?, context)? {
        let read = read(&topic, &consumer, args, folder, &from, &mut written, context);
        consumer.close(Duration::from_secs(2));
        read?;
    }
    written.interrupted = context.stop.requested();
    Ok(written)
}

/// Reads a topic from the group's positions to where it ends now.
fn read(
    topic: &str,
    consumer: &Consumer,
    args: &Sending,
    folder: &Path,
    from: &Sender,
    written: &mut Written,
    context: &Context,
) -> anyhow::Result<()> {
    let stop = &context.stop;
    let count = ask_kafka(stop, |limit| consumer.partition_count(limit))?;
    let count = i32::try_from(count.with_context(|| format!("topic {topic} is gone"))?)?;
    let numbers: Vec<i32> = (0..count).collect();
    let positions = ask_kafka(stop, |limit| consumer.committed(&numbers, limit))?;
    let ends = ask_kafka(stop, |limit| consumer.ask_ends(&numbers, limit))?;
    let unread = positions.iter().zip(ends).filter(|((_, next_offset), end)| next_offset < end);
    let mut open: BTreeMap<i32, i64> = unread.map(|((number, _), end)| (*number, end)).collect();
    consumer.assign(positions.into_iter())?;
    while !open.is_empty() && !context.stop.requested() {
        match consumer.poll(Duration::from_millis(100)) {
            Polled::Record(record) => {
                let raw = record.raw();
                let Some(end) = open.get(&raw.partition).copied() else { continue };
                if raw.offset < end {
                    written.read += 1;
                    match plan(&raw, &args.group, from.domain()) {
                        Ok(Asked::Nothing) => {}
                        Ok(Asked::Mail(mail)) => written.write(&mail, folder, from, context)?,
                        Err(reject) => {
                            written.rejected += 1;
                            let reject = without_cards(reject);
                            context.console.warn(format_args!("a record is rejected: {reject}"));
                        }
                    }
                }
                if raw.offset + 1 >= end {
                    open.remove(&raw.partition);
                }
            }
            // Markers of transactions may be the last before the end.
            Polled::Other(Happening::End(number)) => drop(open.remove(&number)),
            Polled::Other(Happening::Failed(error)) => return Err(error),
            Polled::Other(Happening::PositionLost) => {
                bail!("Kafka no longer has the position that group {} goes on from", args.group)
            }
            Polled::Other(_) => {}
        }
    }
    Ok(())
}

impl Written {
    fn write(
        &mut self,
        mail: &Planned,
        folder: &Path,
        from: &Sender,
        context: &Context,
    ) -> anyhow::Result<()> {
        let details: Details = serde_json::from_str(&mail.details)?;
        let content = templates::content(mail.occasion, &mail.order_id, &details);
        let built = Recipient::parse(&mail.recipient).and_then(|to| {
            let built = message::build(from, &to, &details.name, &mail.message_id, &content);
            built.map_err(|why| format!("{why:#}"))
        });
        let bytes = match built {
            Ok(bytes) => bytes,
            Err(why) => {
                self.refused += 1;
                let order = one_line(&mail.order_id);
                context.console.warn(format_args!("order {order}: {}", one_line(&why)));
                return Ok(());
            }
        };
        // The id's own part is letters, digits and a dot: the same mail, the same file.
        let name = mail.message_id.trim_start_matches('<').split('@').next().unwrap_or_default();
        let path = folder.join(format!("{name}.eml"));
        self.mails += u64::from(!path.exists());
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}
