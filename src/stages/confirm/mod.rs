//! `confirm`: each order priced, paid at a mock bank, and published again, exactly
//! once.

mod bank;
mod catalogue;
mod money;
mod step;

use std::path::PathBuf;

use jiff::Timestamp;

use super::relay::{self, Stage};
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::error::{Outcome, Usage};
use catalogue::Catalogue;
use money::Currency;
use step::Confirm;

/// Arguments of `confirm`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl confirm                                   for ever; Ctrl-C ends it well
  orderctl confirm --until-end                       what is there now, then exit
  orderctl confirm --from order --to order_confirm
  orderctl confirm --catalog prices.csv --currency EUR

The total is quantity x unit price, rounded half up to the currency's minor unit.
The bank is a mock: it approves all but cards with the tokens tok_chargeDeclined,
tok_insufficientFunds, tok_expiredCard, tok_incorrectCvc, tok_lostCard (declined),
tok_timeout and tok_error (dead letters, to be redriven). The payment's reference
derives from the order's id, so that a replay charges once. Card numbers become a
token and the last four digits. Readers should read with
isolation.level=read_committed.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected,
130 interrupted. Rejected records are in the topic recieved_orders_dead_letters.")]
pub struct Args {
    /// Topic to read orders from
    #[arg(long, visible_alias = "topic-name", value_name = "TOPIC", default_value = "recieved_orders", value_parser = parse_topic_name)]
    from: String,

    /// Topics for confirmed orders, separated by commas: each gets every order
    #[arg(long, value_name = "TOPICS", value_delimiter = ',', default_value = "confirmed_orders,analysis_topic", value_parser = parse_topic_name)]
    to: Vec<String>,

    /// Topic for orders whose payment was declined
    #[arg(long, value_name = "TOPIC", default_value = "declined_orders", value_parser = parse_topic_name)]
    declined_to: String,

    /// Prices of products whose order has none: CSV or JSON with product_name,
    /// unit_price, currency [default: the products that produce generates]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,

    /// Currency where neither order nor catalogue says one
    #[arg(long, value_name = "CODE", default_value = "USD", value_parser = Currency::parse)]
    currency: Currency,

    /// Let totals that end in 05, 51, 54 (declined), 68 (too late) or 96 (error)
    /// choose the bank's answer too
    #[arg(long)]
    bank_by_amount: bool,

    #[command(flatten)]
    relay: relay::Args,
}

impl Args {
    /// The topics that are published to, but for the dead letters.
    fn outputs(&self) -> impl Iterator<Item = &String> {
        self.to.iter().chain([&self.declined_to])
    }

    /// Refuses topics that do not go together.
    fn check(&self) -> Result<(), Usage> {
        if self.outputs().any(|topic| *topic == self.from) {
            return Err(Usage(format!(
                "{} is what is read: publishing to it would go round in circles; name another \
                 with --to or --declined-to",
                self.from
            )));
        }
        let mut sorted: Vec<&String> = self.outputs().collect();
        sorted.sort();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Usage(format!(
                "{} is named twice in --to and --declined-to; name each topic once",
                pair[0]
            ))),
            None => Ok(()),
        }
    }
}

/// Confirms orders until the end asked for, or for ever.
///
/// # Errors
/// When the arguments contradict each other, the catalogue cannot be read, a
/// topic cannot be created; and as [`relay::run`].
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    args.check()?;
    let catalogue = match &args.catalog {
        Some(path) => Catalogue::read(path)?,
        None => Catalogue::built_in(),
    };
    let confirm = Confirm {
        catalogue: &catalogue,
        currency: args.currency,
        by_amount: args.bank_by_amount,
        to: &args.to,
        declined_to: &args.declined_to,
        now: &Timestamp::now,
    };
    let mut step = |raw: &Raw<'_>, outgoing: &mut Outgoing| confirm.step(raw, outgoing);
    // All at the start: who reads declined orders shall not fail because none was
    // declined yet.
    let outputs: Vec<&str> = args.outputs().map(String::as_str).collect();
    let stage = Stage {
        outputs: &outputs,
        is_cleaned: true,
        ..Stage::new("confirm", &args.from, &mut step)
    };
    let summary = relay::run(stage, &args.relay, context)?;
    context.console.result(&summary)?;
    Ok(summary.outcome())
}
