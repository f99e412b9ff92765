use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn parse(line: &str) -> Result<Args, String> {
    let words = std::iter::once("produce").chain(line.split_whitespace());
    Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
}

#[test]
fn defaults_follow_the_kind() {
    assert_eq!(parse("").unwrap().topic(), "product_orders");
    assert_eq!(parse("--kind movie-ticket").unwrap().topic(), "movie_app");
    assert_eq!(parse("--kind user --topic-name t").unwrap().topic(), "t");
}

#[test]
fn wrong_values_are_refused_with_the_way_to_write_them() {
    for (line, word) in [
        ("--num 0", "1.."),
        ("--num -5", "-5"),
        ("--num abc", "abc"),
        ("--rate 0", "greater than 0"),
        ("--rate -1", "greater than 0"),
        ("--interval 2", "with a unit"),
        ("--interval 0s", "more than zero"),
        ("--interval 1s --rate 5", "cannot be used with"),
        ("--kind cart", "movie-ticket"),
        ("--topic-name a/b", "a topic's name"),
        ("--source https://u:p@example.com/orders", "must not hold a login"),
        ("--source https://", "is no URL"),
        ("--inject dup=1", "dup=1%"),
        ("--partitions 3", "--create-topic"),
        ("--create-topic --partitions 0", "1.."),
        ("--dry-run --create-topic", "cannot be used with"),
        ("--seed x", "x"),
        ("--id-style v1", "v7"),
    ] {
        let refusal = parse(line).expect_err(line);
        assert!(refusal.contains(word), "{line}: {refusal}");
    }
}

#[test]
fn a_source_that_is_refused_is_not_quoted() {
    for source in
        ["https://u:hunter2@h/orders?key=hunter2", "postgres://u:hunter2@h/db", "http://?hunter2"]
    {
        let refusal = parse(&format!("--source {source}")).expect_err(source);
        assert!(!refusal.contains("hunter2"), "{refusal}");
        assert!(refusal.contains("--source"), "{refusal}");
    }
}

#[test]
fn an_interval_paces_events_but_for_a_url_fetches() {
    let second = Some(Duration::from_secs(1));
    assert_eq!(parse("--interval 1s").unwrap().pace(), second);
    assert_eq!(parse("--source http://h/ --interval 1s").unwrap().pace(), None);
    assert_eq!(parse("--source http://h/ --rate 1").unwrap().pace(), second);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (line, word) in [
        ("--source f.jsonl --seed 1", "--seed"),
        ("--source - --inject dup=1%", "--inject"),
        ("--source f.jsonl --manifest m.json", "--manifest"),
        ("--raw", "--raw"),
        ("--source http://h/ --source-ca ca.pem", "--source-ca"),
        ("--source-ca ca.pem", "--source-ca"),
        ("--source https://h/ --seed 1", "--seed"),
        ("--kind movie-ticket --inject late=1%", "late"),
    ] {
        let refusal = parse(line).unwrap().check().expect_err(line).to_string();
        assert!(refusal.contains(word), "{line}: {refusal}");
    }
    assert!(parse("--source f.jsonl --raw").unwrap().check().is_ok());
    assert!(parse("--kind movie-ticket --inject dup=1%").unwrap().check().is_ok());
}
