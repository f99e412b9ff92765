//! Requests of Kafka's protocol over a connection of our own, for what librdkafka
//! cannot ask (kafka.apache.org/protocol). Only versions without tagged fields are
//! spoken; all numbers are big-endian.

use std::io::{self, Read, Write};

/// The longest answer that is read, in bytes: some 500,000 partitions.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
const CLIENT: &str = "orderctl";

/// A kind of request, by its key and version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api {
    pub key: i16,
    pub version: i16,
}

/// Sends a request and reads its answer, behind the number that answers have.
///
/// # Errors
/// When the connection ends or says nothing for too long, or the answer is none.
pub(super) fn exchange(
    stream: &mut (impl Read + Write),
    api: Api,
    body: &[u8],
) -> io::Result<Vec<u8>> {
    stream.write_all(&request(api, body))?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let length = Rest(&head).int32().and_then(|length| usize::try_from(length).ok());
    let length = length.and_then(|length| length.checked_sub(4)).filter(|left| *left <= ANSWER_MAX);
    let mut answer = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn request(api: Api, body: &[u8]) -> Vec<u8> {
    // Answers repeat the number 0: one is asked for after the other.
    let mut rest = [api.key.to_be_bytes(), api.version.to_be_bytes(), [0; 2], [0; 2]].concat();
    rest.extend(text(CLIENT));
    rest.extend(body);
    [&(rest.len() as i32).to_be_bytes()[..], &rest].concat()
}

/// A text of less than 32 KiB with its length.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Bytes with their length.
pub(super) fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat()
}

/// What is left of an answer; none when it ends early.
pub(super) struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// A text; empty for null.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.int16()?;
        std::str::from_utf8(self.slice(length.max(0) as usize)?).ok()
    }

    /// Bytes; empty for null.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.int32()?;
        self.slice(length.max(0) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a request and has an answer.
    struct Broker {
        asked: Vec<u8>,
        answer: io::Cursor<Vec<u8>>,
    }

    impl Read for Broker {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    impl Write for Broker {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_request_has_its_head_and_an_answer_loses_it() {
        let answered = |answer: &[u8]| {
            let mut broker = Broker { asked: Vec::new(), answer: io::Cursor::new(answer.to_vec()) };
            let got = exchange(&mut broker, Api { key: 35, version: 1 }, &[0xff; 4]).ok();
            (got, broker.asked)
        };
        let (answer, asked) = answered(&[0, 0, 0, 6, 0, 0, 0, 0, 7, 8]);
        assert_eq!(answer, Some(vec![7, 8]));
        let head = [0, 0, 0, 22, 0, 35, 0, 1, 0, 0, 0, 0, 0, 8];
        assert_eq!(asked, [&head[..], b"orderctl", &[0xff; 4]].concat());
        for broken in [&[0, 0, 0, 6, 0, 0, 0, 0, 7][..], &[0, 0, 0, 3, 0, 0, 0, 0], &[0x7f; 9]] {
            assert_eq!(answered(broken).0, None, "{broken:?}");
        }
    }
}
