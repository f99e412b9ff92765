//! Ids by the million outside of memory: buckets by hash in one temporary file
//! without a name, so that nothing is left behind whatever happens.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;

/// Into how many parts the ids are divided; each is compared by itself.
pub const BUCKETS: usize = 256;
/// A bucket goes to the file in pieces of this size, so all together hold 8 MiB
/// of memory.
const PIECE_BYTES: usize = 32 * 1024;

/// Ids with something of a fixed size about each.
#[derive(Debug)]
pub struct Spill<const TAIL: usize> {
    file: File,
    length: u64,
    buckets: Vec<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// What is not in the file yet.
    last: Vec<u8>,
    /// Where the other pieces are; each holds whole entries.
    pieces: Vec<(u64, usize)>,
}

impl<const TAIL: usize> Spill<TAIL> {
    /// With nothing in it.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub fn new() -> anyhow::Result<Spill<TAIL>> {
        let file = temporary()?;
        let buckets = (0..BUCKETS).map(|_| Bucket::default()).collect();
        Ok(Spill { file, length: 0, buckets })
    }

    /// Adds an id.
    ///
    /// # Errors
    /// When the file cannot grow.
    pub fn push(&mut self, id: &[u8], tail: [u8; TAIL]) -> anyhow::Result<()> {
        let bucket = &mut self.buckets[bucket_of(id)];
        let length = u32::try_from(id.len()).context("an id is longer than 4 GB")?;
        bucket.last.extend_from_slice(&length.to_le_bytes());
        bucket.last.extend_from_slice(id);
        bucket.last.extend_from_slice(&tail);
        if bucket.last.len() >= PIECE_BYTES {
            self.file.write_all_at(&bucket.last, self.length).map_err(no_room)?;
            bucket.pieces.push((self.length, bucket.last.len()));
            self.length += bucket.last.len() as u64;
            bucket.last.clear();
        }
        Ok(())
    }

    /// Gives every id of a bucket to `each`, in the order they were added.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn each(&self, bucket: usize, mut each: impl FnMut(&[u8], [u8; TAIL])) -> io::Result<()> {
        let bucket = &self.buckets[bucket];
        let mut piece = Vec::new();
        for (start, length) in &bucket.pieces {
            piece.resize(*length, 0);
            self.file.read_exact_at(&mut piece, *start)?;
            entries(&piece, &mut each);
        }
        entries(&bucket.last, &mut each);
        Ok(())
    }
}

/// A temporary file without a name.
///
/// # Errors
/// When there cannot be one; the text says where and what to do.
pub fn temporary() -> anyhow::Result<File> {
    tempfile::tempfile().map_err(no_room)
}

/// What to do about a temporary file that fails.
pub fn no_room(error: io::Error) -> anyhow::Error {
    let folder = std::env::temp_dir();
    anyhow::anyhow!(
        "cannot write a temporary file in {}: {error}; set TMPDIR to a folder with more room \
         (about 100 bytes a record)",
        folder.display()
    )
}

/// The same for the same id within a run.
fn bucket_of(id: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish() as usize % BUCKETS
}

fn entries<const TAIL: usize>(mut piece: &[u8], each: &mut impl FnMut(&[u8], [u8; TAIL])) {
    while let Some((length, rest)) = piece.split_first_chunk::<4>() {
        let (id, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        let Some((tail, rest)) = rest.split_first_chunk::<TAIL>() else { return };
        each(id, *tail);
        piece = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<const TAIL: usize>(spill: &Spill<TAIL>) -> Vec<(Vec<u8>, [u8; TAIL])> {
        let mut found = Vec::new();
        for bucket in 0..BUCKETS {
            spill.each(bucket, |id, tail| found.push((id.to_vec(), tail))).unwrap();
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn more_than_memory_holds_comes_back_as_it_was() {
        let mut spill = Spill::<8>::new().unwrap();
        let mut wanted = Vec::new();
        for number in 0..200_000u64 {
            let id = format!("some-quite-long-identifier-{}", number % 100_000).into_bytes();
            spill.push(&id, number.to_le_bytes()).unwrap();
            wanted.push((id, number.to_le_bytes()));
        }
        assert!(spill.length > 5_000_000, "most of it is in the file: {}", spill.length);
        wanted.sort_unstable();
        assert!(all(&spill) == wanted);
    }

    proptest! {
        // Each case is large.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_ids_come_back_and_equal_ones_are_in_one_bucket(
            ids in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..300)
        ) {
            let mut spill = Spill::<0>::new().unwrap();
            for id in &ids {
                spill.push(id, []).unwrap();
                spill.push(id, []).unwrap();
            }
            let mut wanted: Vec<_> = ids.iter().chain(&ids).map(|id| (id.clone(), [])).collect();
            wanted.sort_unstable();
            prop_assert_eq!(all(&spill), wanted);
        }
    }
}
