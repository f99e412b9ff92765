//! What is done with is removed, and what is not only when told so.

use super::{dlq, ids, rejected, states};
use crate::support::{orderctl, sql};

#[test]
fn letters_that_are_done_with_lose_their_contents_and_stay_accounted_for() {
    let sandbox = rejected("purged", 3);
    let ids = ids(&sandbox);
    orderctl(["dlq", "redrive", &ids[0]]).success();
    let done = dlq(&sandbox, "purge", ["--all", "--yes"]).finish().success().json();
    assert_eq!((&done["purged"], &done["left_open"]), (&1.into(), &2.into()));
    assert_eq!(states(&sandbox), "open 2, purged 1");
    let emptied = sql(&format!(
        "select 1 from orderctl.dead_letter where id = {} and key is null and payload is null
             and field = '' and reason = ''",
        ids[0]
    ));
    assert_eq!(emptied.len(), 1);
    let shown = orderctl(["dlq", "show", &ids[0]]).success();
    assert!(shown.stdout.contains("purged"), "{shown}");
    let again = dlq(&sandbox, "redrive", [ids[0].as_str()]).finish().success().json();
    assert_eq!((&again["done_before"], &again["published"]), (&1.into(), &0.into()));
}

#[test]
fn open_letters_are_purged_only_when_told_so() {
    let sandbox = rejected("purge_open", 2);
    let ids = ids(&sandbox);
    let left = dlq(&sandbox, "purge", [ids[0].as_str(), "--yes"]).finish().success().json();
    assert_eq!((&left["purged"], &left["left_open"]), (&0.into(), &1.into()));
    let refused = dlq(&sandbox, "purge", ["--state", "open", "--yes"]).finish().code(2);
    assert!(refused.stderr.contains("--open"), "{refused}");
    let gone = dlq(&sandbox, "purge", [ids[0].as_str(), "--open", "--yes"]);
    assert_eq!(gone.finish().success().json()["purged"], 1);
    assert_eq!(states(&sandbox), "open 1, purged 1");
}

#[test]
fn where_nobody_can_be_asked_it_says_how_many_and_wants_yes() {
    let sandbox = rejected("purge_ask", 2);
    let refused = dlq(&sandbox, "purge", ["--all", "--open"]).finish().code(2);
    assert!(
        refused.stderr.contains("2 dead letters") && refused.stderr.contains("--yes"),
        "{refused}"
    );
    assert_eq!(states(&sandbox), "open 2");
}

#[test]
fn on_a_terminal_it_asks_and_only_yes_purges() {
    let sandbox = rejected("purge_asks", 2);
    let asked = || {
        let mut terminal = dlq(&sandbox, "purge", ["--all", "--open"]).on_terminal();
        terminal.wait_for("purge 2 dead letters? [y/N] ");
        terminal
    };
    for no in ["n\r", "\r"] {
        let mut terminal = asked();
        terminal.press(no);
        let (code, screen) = terminal.finish();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains("nothing was purged"), "{screen}");
    }
    let terminal = asked();
    terminal.signal("INT");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(130), "{screen}");
    assert_eq!(states(&sandbox), "open 2");
    let mut terminal = asked();
    terminal.press("y\r");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(states(&sandbox), "purged 2");
}

#[test]
fn a_letter_in_the_middle_of_a_redrive_is_not_purged() {
    let sandbox = rejected("purge_middle", 1);
    sql(&format!(
        "update orderctl.dead_letter set state = 'redriving', redrive_id = 0 where topic = '{}'",
        sandbox.topic
    ));
    let left = dlq(&sandbox, "purge", ["--all", "--open", "--yes"]).finish().success().json();
    assert_eq!((&left["purged"], &left["left_redriving"]), (&0.into(), &1.into()));
    assert_eq!(states(&sandbox), "redriving 1");
}
