use super::*;
use crate::log::Log;

const QUIET: Console = Console {
    output: crate::console::OutputFormat::Table,
    quiet: true,
    verbosity: 0,
    log: Log::PLAIN,
};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const SHARED: &str = "c-overflow--shared";

/// Where a city's orders go.
fn topic(routes: &mut Routes<'_>, city: &str) -> String {
    routes.own_topic(city).unwrap_or(SHARED).to_owned()
}

#[test]
fn cities_have_topics_of_their_own_as_far_as_they_may() {
    let mut routes = Routes::new("c-", 2);
    // Nothing is known yet: what is there is found out before anything is sent.
    let wanted: Vec<String> = ["a", "b", "c"].iter().map(|city| topic(&mut routes, city)).collect();
    assert_eq!(wanted, ["c-a", "c-b", "c-c"]);
    let (existing, mut missing) = (names(&["c-b", "other"]), names(&["c-a", "c-c", "t_dead"]));
    routes.admit(&existing, &mut missing, &QUIET);
    assert_eq!(missing, names(&["c-a", "t_dead"]));
    let routed: Vec<String> = ["a", "b", "c"].iter().map(|city| topic(&mut routes, city)).collect();
    assert_eq!(routed, ["c-a", "c-b", "c-overflow--shared"]);
    assert!(routes.is_said);
}

#[test]
fn topics_that_another_worker_made_count_and_are_used() {
    let mut routes = Routes::new("c-", 2);
    routes.admit(&names(&["c-a"]), &mut names(&[]), &QUIET);
    assert_eq!(topic(&mut routes, "b"), "c-b");
    let mut missing = names(&["c-b"]);
    routes.admit(&names(&["c-a", "c-z", "c-overflow--shared"]), &mut missing, &QUIET);
    assert!(missing.is_empty());
    assert_eq!((topic(&mut routes, "b"), topic(&mut routes, "z")), (SHARED.into(), "c-z".into()));
}

#[test]
fn a_topic_that_was_deleted_is_wanted_again() {
    let mut routes = Routes::new("c-", 1);
    routes.admit(&names(&["c-a"]), &mut names(&[]), &QUIET);
    let mut missing = names(&["c-a"]);
    routes.admit(&names(&[]), &mut missing, &QUIET);
    assert_eq!((missing, routes.is_said), (names(&["c-a"]), false));
}
