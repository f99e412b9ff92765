//! What became of letters that an earlier run took, chosen ones and others.

use super::Summary;

/// What became of a letter that an earlier run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was published.
    Published,
    /// Nobody can tell.
    Unknown,
}

impl Summary {
    /// Counts what became of a letter that an earlier run took, until it turns out
    /// to be a chosen one.
    pub fn settle(&mut self, fate: Fate) {
        match fate {
            Fate::Published => self.others_found_published += 1,
            Fate::Unknown => self.others_unknown += 1,
        }
    }

    /// Counts a letter that was settled among the chosen ones.
    pub fn choose_settled(&mut self, fate: Fate) {
        let (others, chosen) = match fate {
            Fate::Published => (&mut self.others_found_published, &mut self.found_published),
            Fate::Unknown => (&mut self.others_unknown, &mut self.unknown),
        };
        *others -= 1;
        *chosen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_an_earlier_run_that_were_not_chosen_hide_none_that_are_left() {
        let mut summary = Summary { chosen: 3, ..Summary::default() };
        let settled = [Fate::Published, Fate::Published, Fate::Published, Fate::Unknown];
        settled.into_iter().for_each(|fate| summary.settle(fate));
        summary.choose_settled(Fate::Published);
        summary.settle_accounts();
        assert_eq!((summary.found_published, summary.unknown, summary.left), (1, 0, 2));
        assert_eq!(
            summary.to_string(),
            "3 chosen, 1 published by an earlier run, 2 left, 2 others published by an earlier \
             run, 1 others unknown whether published"
        );
        summary.choose_settled(Fate::Unknown);
        summary.settle_accounts();
        assert_eq!((summary.unknown, summary.others_unknown, summary.left), (1, 0, 1));
    }
}
