//! Which tags a user gets: always the same ones for the same seed and lists.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::Usage;

/// The lists that are built in.
const BUILT_IN: &str = include_str!("tags.json");
/// What a file of lists must look like.
const FORM: &str = r#"write {"majors": ["Physics", …], "hobbies": ["Chess", …]}"#;

/// The lists that tags are chosen from; neither is empty.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    majors: Vec<String>,
    hobbies: Vec<String>,
}

impl Tags {
    /// The lists of a JSON file, or without one those that are built in.
    ///
    /// # Errors
    /// When the file cannot be read or is not of the form: a [`Usage`] error that
    /// shows the form.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Tags> {
        let Some(path) = path else { return Ok(Tags::parse(BUILT_IN).map_err(Usage)?) };
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let tags = text.and_then(|text| Tags::parse(&text));
        Ok(tags.map_err(|why| Usage(format!("cannot use --tags {}: {why}", path.display())))?)
    }

    fn parse(json: &str) -> Result<Tags, String> {
        let tags: Tags = serde_json::from_str(json).map_err(|error| format!("{error}; {FORM}"))?;
        for (name, list) in [("majors", &tags.majors), ("hobbies", &tags.hobbies)] {
            if list.is_empty() {
                return Err(format!("{name} is empty; {FORM}"));
            }
            if list.iter().any(|tag| tag.trim().is_empty() || tag.contains('\0')) {
                return Err(format!("{name} has a tag that is empty or holds a NUL; {FORM}"));
            }
        }
        Ok(tags)
    }

    /// The major and the hobby of a user.
    pub fn choose(&self, seed: u64, user_id: &str) -> (&str, &str) {
        let digest: [u8; 32] =
            Sha256::new().chain_update(seed.to_be_bytes()).chain_update(user_id).finalize().into();
        // Two parts of the digest: who shares a major need not share a hobby.
        (pick(&self.majors, &digest[..8]), pick(&self.hobbies, &digest[8..16]))
    }
}

fn pick<'l>(list: &'l [String], bytes: &[u8]) -> &'l str {
    let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    &list[(number % list.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn built_in() -> Tags {
        Tags::read(None).unwrap()
    }

    #[test]
    fn the_built_in_lists_have_no_tag_twice() {
        for list in [built_in().majors, built_in().hobbies] {
            assert_eq!(list.iter().collect::<HashSet<_>>().len(), list.len());
            assert!(list.len() >= 40);
        }
    }

    #[test]
    fn tags_stay_the_same_from_release_to_release() {
        assert_eq!(built_in().choose(0, "u1"), ("Chemistry", "Woodworking"));
        assert_eq!(built_in().choose(7, "u1"), ("Veterinary Medicine", "Photography"));
    }

    #[test]
    fn every_tag_is_chosen_and_a_major_says_nothing_about_the_hobby() {
        let tags = built_in();
        let pairs: HashSet<_> = (0..40_000)
            .map(|id: u32| id.to_string())
            .map(|id| {
                let (major, hobby) = tags.choose(1, &id);
                (major.to_owned(), hobby.to_owned())
            })
            .collect();
        assert_eq!(pairs.len(), tags.majors.len() * tags.hobbies.len());
    }

    #[test]
    fn lists_of_another_form_are_refused_with_the_form() {
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"majors":["a"]}"#,
            r#"{"majors":[],"hobbies":["a"]}"#,
            r#"{"majors":["a"],"hobbies":[" "]}"#,
            r#"{"majors":["a"],"hobbies":[7]}"#,
            r#"{"majors":["a"],"hobbies":["b"],"hobies":["c"]}"#,
            "{\"majors\":[\"a\\u0000\"],\"hobbies\":[\"b\"]}",
        ] {
            let refusal = Tags::parse(wrong).unwrap_err();
            assert!(refusal.contains("\"majors\": [\"Physics\""), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_by_its_name() {
        let refusal = Tags::read(Some(Path::new("no/tags.json"))).unwrap_err();
        assert!(refusal.is::<Usage>() && refusal.to_string().contains("no/tags.json"));
    }

    proptest! {
        #[test]
        fn the_same_seed_and_user_have_the_same_tags(seed in any::<u64>(), id in "\\PC{0,40}") {
            let tags = built_in();
            let chosen = tags.choose(seed, &id);
            let again = built_in();
            prop_assert_eq!(chosen, again.choose(seed, &id));
            prop_assert!(tags.majors.iter().any(|one| one == chosen.0));
            prop_assert!(tags.hobbies.iter().any(|one| one == chosen.1));
        }
    }
}
