//! The entries of the menu and their numbers.

use super::Names;

/// One entry of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Tickets are published to the topic.
    Publish,
    /// The table is created.
    CreateTable,
    /// The table is there and takes tickets.
    TableExists,
    /// What waits in the topic is stored.
    Consume,
    /// What was consumed is in the table.
    Stored,
    /// All tests, one after the other.
    All,
    /// Leaves the menu.
    Exit,
    /// Every message in the topic is a ticket.
    Valid,
    /// A second ticket of one id is refused.
    Duplicate,
}

impl Entry {
    /// All entries; the first has number 1.
    pub const ALL: [Entry; 9] = [
        Entry::Publish,
        Entry::CreateTable,
        Entry::TableExists,
        Entry::Consume,
        Entry::Stored,
        Entry::All,
        Entry::Exit,
        Entry::Valid,
        Entry::Duplicate,
    ];

    /// What "run all" runs, in an order in which each finds what it needs.
    pub const TESTS: [Entry; 7] = [
        Entry::Publish,
        Entry::CreateTable,
        Entry::TableExists,
        Entry::Consume,
        Entry::Stored,
        Entry::Valid,
        Entry::Duplicate,
    ];

    /// Its number in the menu, 1 to 9.
    pub fn number(self) -> usize {
        Entry::ALL.iter().position(|one| *one == self).unwrap_or(0) + 1
    }

    /// Reads an entry's number.
    ///
    /// # Errors
    /// When it is none; the text says which there are.
    pub fn parse(text: &str) -> Result<Entry, String> {
        let number = text.trim().parse::<usize>().ok();
        let entry = number.and_then(|number| Entry::ALL.get(number.checked_sub(1)?));
        entry.copied().ok_or_else(|| {
            "the entries are 1 to 5, 8 and 9 (tests), 6 (run all) and 7 (exit)".to_owned()
        })
    }

    /// A short name for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Entry::Publish => "publish",
            Entry::CreateTable => "create-table",
            Entry::TableExists => "table-exists",
            Entry::Consume => "consume",
            Entry::Stored => "data-stored",
            Entry::All => "run-all",
            Entry::Exit => "exit",
            Entry::Valid => "messages-valid",
            Entry::Duplicate => "duplicate-refused",
        }
    }

    /// What it does, as the menu says it and as a failure says what was tried.
    pub fn title(self, names: &Names) -> String {
        let Names { topic, table, .. } = names;
        match self {
            Entry::Publish => format!("publish messages to {topic}"),
            Entry::CreateTable => format!("create table {table}"),
            Entry::TableExists => format!("see that table {table} exists"),
            Entry::Consume => format!("consume from {topic} and store in {table}"),
            Entry::Stored => format!("see that the data is stored in {table}"),
            Entry::All => "run all tests".into(),
            Entry::Exit => "exit".into(),
            Entry::Valid => format!("see that the messages in {topic} are valid"),
            Entry::Duplicate => "see that a duplicate ticket id is refused".into(),
        }
    }

    /// The tests that it stands for.
    pub fn tests(self) -> Vec<Entry> {
        match self {
            Entry::All => Entry::TESTS.to_vec(),
            Entry::Exit => Vec::new(),
            one => vec![one],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_people_know() {
        let numbers = [Entry::Publish, Entry::Stored, Entry::All, Entry::Exit, Entry::Duplicate];
        assert_eq!(numbers.map(Entry::number), [1, 5, 6, 7, 9]);
        for (index, entry) in Entry::ALL.into_iter().enumerate() {
            assert_eq!(Entry::parse(&format!(" {}\r", index + 1)), Ok(entry));
        }
        for wrong in ["0", "10", "abc", "-1", "1.0", "", "99999999999999999999"] {
            assert!(Entry::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn run_all_is_every_entry_that_tests_something() {
        let mut all = Entry::All.tests();
        all.sort_by_key(|one| one.number());
        let rest = Entry::ALL.into_iter().filter(|one| !matches!(one, Entry::All | Entry::Exit));
        assert_eq!(all, rest.collect::<Vec<_>>());
    }
}
