//! The table that a bench prints, one row as soon as it is measured.

use crate::measure::{Run, median};

/// Above this share of the machine going to something else, a ratio is not to
/// be trusted. The kernel's own work for us (writing back files) is in it too.
const OTHERS_SHARE_MAX: f64 = 0.10;

/// The runs of one side of a comparison, and the rows each of them moved.
#[derive(Debug)]
pub struct Side {
    /// What every run took.
    pub runs: Vec<Run>,
    /// Rows that a run stored or published.
    pub rows: u64,
}

impl Side {
    /// A side whose every run moves so many rows.
    pub fn new(rows: u64) -> Side {
        Side { runs: Vec::new(), rows }
    }

    /// Rows a second of the median run, from process start to process end.
    pub fn rate(&self) -> f64 {
        let seconds = median(&self.runs, |run| run.seconds);
        if seconds > 0.0 { self.rows as f64 / seconds } else { 0.0 }
    }

    fn peak_megabytes(&self) -> f64 {
        self.runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0) as f64 / 1e6
    }

    fn others_share(&self) -> f64 {
        self.runs.iter().map(|run| run.others_share).fold(0.0, f64::max)
    }

    /// CPU seconds as `client+broker+database`.
    fn cpu(&self) -> String {
        let client = median(&self.runs, |run| run.client_cpu);
        let broker = median(&self.runs, |run| run.broker_cpu);
        let database = median(&self.runs, |run| run.database_cpu);
        format!("{client:.1}+{broker:.1}+{database:.1}")
    }
}

/// What a row has to reach.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// The least that is accepted.
    pub at_least: f64,
    /// What is aimed at.
    pub aim: f64,
    /// The most memory that orderctl may need, in megabytes.
    pub megabytes_max: f64,
}

/// One measured comparison.
#[derive(Debug)]
pub struct Row {
    /// What was compared.
    pub name: String,
    /// What it has to reach, if anything.
    pub bar: Option<Bar>,
    /// orderctl's runs.
    pub ours: Side,
    /// The reference's runs.
    pub reference: Side,
    /// The reference's rate as the row's ratio takes it, where that is not
    /// simply its [`Side::rate`].
    pub reference_rate: f64,
    /// Another figure to print beside, in rows a second.
    pub beside: Option<f64>,
}

/// Prints the columns' names. `reference` and `beside` say what those are.
pub fn print_header(reference: &str, beside: &str) {
    println!(
        "{:<26} {:>5} {:>10} {:>11} {:>11} {:>11} {:>6} {:>15} {:>15} {:>6}",
        "",
        "ratio",
        "bar/aim",
        "orderctl/s",
        reference,
        beside,
        "MB",
        "CPU s",
        "CPU s ref.",
        "others"
    );
}

/// Prints a row; true when the machine was quiet enough to trust it.
pub fn print_row(row: &Row) -> bool {
    let rate = row.ours.rate();
    let ratio = if row.reference_rate > 0.0 { rate / row.reference_rate } else { 0.0 };
    let bar = row.bar.map_or("-".to_owned(), |bar| format!("{:.2}/{:.2}", bar.at_least, bar.aim));
    let megabytes = row.ours.peak_megabytes();
    let missed = row.bar.is_some_and(|bar| ratio < bar.at_least || megabytes > bar.megabytes_max);
    let others = row.ours.others_share().max(row.reference.others_share());
    let quiet = others <= OTHERS_SHARE_MAX;
    println!(
        "{:<26} {ratio:>5.2} {bar:>10} {rate:>11.0} {:>11.0} {:>11} {:>6.0} {:>15} {:>15} {:>5.0}%{}{}",
        row.name,
        row.reference_rate,
        row.beside.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
        megabytes,
        row.ours.cpu(),
        row.reference.cpu(),
        others * 100.0,
        if quiet { "" } else { "  machine too busy" },
        if missed { "  misses the bar" } else { "" },
    );
    quiet
}

/// Explains the columns, and warns when some rows are not to be trusted.
pub fn print_footer(all_quiet: bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\nrows a second from process start to process end, medians of alternated rounds on {cores} \
         cores; CPU s: client+broker+database; MB: the highest peak of orderctl's memory; \
         others: the share of the machine that went to other programs, at worst"
    );
    if !all_quiet {
        println!(
            "warning: other programs took more than {:.0} % of the machine in some rows; run those \
             again on a quiet machine before believing them",
            OTHERS_SHARE_MAX * 100.0
        );
    }
}
