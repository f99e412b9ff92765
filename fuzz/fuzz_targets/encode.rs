//! Any payload before any table: a row that the server can read, or a reject.
//! The first bytes choose the kind and the types of the columns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orderctl_fuzz::encode_check::{assert_row_or_reject, table};
use orderctl_fuzz::events::Kind;

/// The kind, and one for each field of the kind that has most.
const CHOICES: usize = 1 + 14;

fuzz_target!(|data: &[u8]| {
    if let Some((choices, payload)) = data.split_at_checked(CHOICES) {
        let kind = Kind::ALL[usize::from(choices[0]) % Kind::ALL.len()];
        assert_row_or_reject(payload, &table(kind, &choices[1..]));
    }
});
