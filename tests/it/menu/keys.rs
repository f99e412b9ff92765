//! The menu on a terminal, key by key.

use super::{menu, sandbox};
use crate::support::{Terminal, eventually};

const UP: &str = "\u{1b}[A";
const DOWN: &str = "\u{1b}[B";
const CTRL_C: &str = "\u{3}";

/// The menu's first line.
const MENU: &str = "Which test?";

fn open(sandbox: &crate::support::Sandbox) -> Terminal {
    let mut terminal = menu(sandbox, "").on_terminal();
    terminal.wait_for(MENU);
    terminal
}

#[test]
fn arrows_and_digits_pick_tests_and_each_returns_to_the_menu() {
    let sandbox = sandbox("menu_keys");
    let mut terminal = open(&sandbox);
    terminal.press(DOWN);
    terminal.wait_for("> 2 create table test_table");
    terminal.press(DOWN);
    terminal.wait_for("> 3 see that table test_table exists");
    terminal.press(UP);
    terminal.wait_for("> 2 create");
    terminal.press("\r");
    terminal.wait_for("PASS\u{1b}[0m  2  created table");
    terminal.wait_for(MENU);
    terminal.press("3");
    terminal.wait_for("  3  found table");
    terminal.wait_for(MENU);
    terminal.press("x");
    terminal.press("7");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(0), "{screen}");
}

#[test]
fn no_color_is_honoured() {
    let mut terminal = menu(&sandbox("menu_plain"), "").env("NO_COLOR", "1").on_terminal();
    terminal.wait_for("> 1 publish");
    terminal.press("3");
    terminal.wait_for("FAIL  3  see that table");
    terminal.wait_for(MENU);
    terminal.press("q");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(1), "one test failed: {screen}");
    let coloured = screen.match_indices("\u{1b}[3").count();
    assert_eq!(coloured, 0, "{screen:?}");
}

#[test]
fn a_terminal_that_cannot_draw_is_asked_line_by_line() {
    let mut terminal = menu(&sandbox("menu_dumb"), "").env("TERM", "dumb").on_terminal();
    terminal.wait_for("9 see that a duplicate ticket id is refused");
    terminal.wait_for("entry: ");
    terminal.press("12\r");
    terminal.wait_for("\"12\" is no entry");
    terminal.wait_for("entry: ");
    terminal.press("3\r");
    terminal.wait_for("FAIL  3");
    terminal.wait_for("entry: ");
    terminal.press("7\r");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(1), "{screen}");
    assert!(!screen.contains('\u{1b}'), "{screen:?}");
}

#[test]
fn ctrl_c_in_the_menu_ends_it_and_leaves_the_terminal_as_it_was() {
    for sends_signal in [false, true] {
        let mut terminal = open(&sandbox("menu_stop"));
        terminal.wait_for_menu();
        match sends_signal {
            true => terminal.signal("TERM"),
            false => terminal.press(CTRL_C),
        }
        let (code, screen) = terminal.finish();
        assert_eq!(code, Some(130), "{screen}");
    }
}

#[test]
fn an_interrupted_run_that_was_to_clean_says_that_nothing_was_removed() {
    let sandbox = sandbox("menu_interrupted");
    let mut terminal = menu(&sandbox, "--all --clean").on_terminal();
    terminal.wait_for("PASS");
    terminal.signal("INT");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(130), "{screen}");
    assert!(screen.contains("interrupted, so nothing was removed"), "{screen}");
    // Kafka keeps a group that the interrupted run was in until its session is over.
    let is_cleaned = || menu(&sandbox, "--clean").finish().code == Some(0);
    eventually("what was left is removed", is_cleaned);
}
