//! Files that hold secrets and that others could have read or written.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::marked::{HOLDERS, Marked, assert_clean, words};

/// Fails unless every verb that reads creds.json refuses it with these words.
#[track_caller]
fn assert_refused(marked: &Marked, file: &Path, words_said: &[&str]) {
    for line in ["doctor", "consume --until-end", "db-setup", "produce --num 1"] {
        let line = words(&format!("{line} --creds {}", file.display()));
        let run = marked.run(&line).finish().code(1);
        let said = format!("{}{}", run.stdout, run.stderr);
        for word in words_said {
            assert!(said.contains(word), "no {word:?}: {}: {run}", line.join(" "));
        }
        assert_clean(&line, &run, marked.folder(), &HOLDERS);
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn creds_that_others_may_read_or_write_are_refused_with_the_cure() {
    let marked = Marked::new("modes");
    let path = marked.path("creds.json");
    for (mode, shown) in [(0o644, "mode 644"), (0o620, "mode 620"), (0o604, "mode 604")] {
        set_mode(&path, mode);
        let cure = format!("chmod 600 {}", path.display());
        assert_refused(&marked, &path, &["creds.json", shown, &cure]);
    }
    set_mode(&path, 0o400);
    let line = words("db-setup --table-name orders --schema");
    let line = [line, vec![marked.sandbox.schema.clone()]].concat();
    marked.run(&line).finish().success();
}

#[test]
fn creds_behind_a_symbolic_link_are_refused() {
    let marked = Marked::new("links");
    let link = marked.path("link.json");
    symlink(marked.path("creds.json"), &link).unwrap();
    assert_refused(&marked, &link, &["link.json is a symbolic link", "name the file"]);
    std::fs::remove_file(&link).unwrap();
    // In the working directory, where nobody names it, and leading nowhere.
    std::fs::remove_file(marked.path("creds.json")).unwrap();
    symlink("/nowhere/at/all", marked.path("creds.json")).unwrap();
    let line = words("db-setup");
    let run = marked.run(&line).finish().code(1);
    assert!(run.stderr.contains("creds.json is a symbolic link"), "{run}");
}

#[test]
fn creds_of_someone_else_are_refused_with_the_cure() {
    let marked = Marked::new("owners");
    let path = marked.path("creds.json");
    let line = words("db-setup --table-name orders --schema");
    let line = [line, vec![marked.sandbox.schema.clone()]].concat();
    // Only root can give a file away; anyone else has nothing to check here but
    // that their own file is accepted.
    if chown(&path, Some(65_534), None).is_ok() {
        let cure = format!("chown 0 {}", path.display());
        assert_refused(&marked, &path, &["belongs to another user (uid 65534)", &cure]);
        chown(&path, Some(0), None).unwrap();
    }
    marked.run(&line).finish().success();
}
