//! Where Java's clients, and our producers, put a key.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The partition of a key that is not empty, as Kafka's default partitioner and
/// librdkafka's `murmur2_random` choose it among so many; none among none.
pub fn partition(key: &[u8], partitions: usize) -> Option<i32> {
    let count = u32::try_from(partitions).ok().filter(|count| *count > 0)?;
    i32::try_from((hash(key) & 0x7fff_ffff) % count).ok()
}

/// MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
fn hash(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = SEED ^ bytes.len() as u32;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed = (mixed ^ (mixed >> SHIFT)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_tests() {
        // org.apache.kafka.common.utils.UtilsTest.testMurmur2
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(hash(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn a_key_has_a_place_among_some_partitions_and_none_among_none() {
        assert_eq!(partition(b"abc", 1), Some(0));
        assert_eq!(partition(b"abc", 7), Some(479_470_107 % 7));
        assert_eq!(partition(b"abc", 0), None);
    }
}
