//! `verify` after letters were moved and purged: every record stays accounted for.

use super::table::{checked, cure, to_table};
use super::{dlq, redrive, states};
use crate::support::{PATIENCE, Sandbox, sql};

/// Fails the test unless `verify` finds every record: so many stored and so many
/// rejected, and nothing wrong.
#[track_caller]
fn assert_accounted(sandbox: &Sandbox, stored: u64, rejected: u64) {
    let report = sandbox.verify("orders").limit(PATIENCE).finish().success().json();
    let counts = ["stored", "duplicates", "rejected", "missing", "duplicated", "extra", "unknown"];
    let found = counts.map(|count| report["totals"][count].as_u64().expect("a count"));
    assert_eq!(found, [stored, 0, rejected, 0, 0, 0, 0], "{report}");
    assert_eq!(report["rows"]["rows"], stored, "{report}");
}

/// Purges letters of the sandbox; how many.
#[track_caller]
fn purge(sandbox: &Sandbox, flag: &str) -> u64 {
    let done = dlq(sandbox, "purge", ["--yes", flag]).finish().success().json();
    super::number(&done["purged"])
}

#[test]
fn letters_that_were_stored_after_all_are_rows_also_when_they_are_purged() {
    let sandbox = checked("accounted_table");
    assert_accounted(&sandbox, 1, 3);
    cure(&sandbox);
    to_table(&sandbox).finish().code(3);
    assert_accounted(&sandbox, 3, 1);
    assert_eq!(purge(&sandbox, "--all"), 2);
    assert_accounted(&sandbox, 3, 1);
    assert_eq!(purge(&sandbox, "--open"), 1);
    assert_eq!(states(&sandbox), "purged 3");
    assert_accounted(&sandbox, 3, 1);

    // Purged, it is still a row that can be missed.
    sql(&format!("delete from {} where order_id = '2'", sandbox.table("orders")));
    let report = sandbox.verify("orders").finish().code(1).json();
    assert_eq!(report["totals"]["missing"], 1, "{report}");
    assert_eq!(report["findings"][0]["id"], "2", "{report}");
}

#[test]
fn letters_that_were_published_again_are_rejected_records_also_when_they_are_purged() {
    let sandbox = checked("accounted_topic");
    cure(&sandbox);
    redrive(&sandbox).finish().success();
    assert_accounted(&sandbox, 1, 3);
    sandbox.store("orders").finish().code(3);
    assert_eq!(states(&sandbox), "open 1, redriven 3", "one is rejected anew");
    assert_accounted(&sandbox, 3, 4);
    assert_eq!(purge(&sandbox, "--all"), 3);
    assert_accounted(&sandbox, 3, 4);
    assert_eq!(purge(&sandbox, "--open"), 1);
    assert_eq!(states(&sandbox), "purged 4");
    assert_accounted(&sandbox, 3, 4);
}
