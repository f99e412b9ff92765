//! A mail server: mails as they go over the wire, sessions that send them, and a
//! greeting for who only looks.

pub mod message;
pub mod session;
mod wary;

use std::io::{self, BufRead as _, BufReader, Read, Write};

use super::trust::printable;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Sends a command (none for the greeting, which comes by itself) and reads the
/// answer: its last line, `250 HELP`, on which the digits say what it means
/// (RFC 5321, section 4.2).
///
/// # Errors
/// When the connection breaks off, the server does not answer in time, or what
/// it says is no answer of a mail server.
pub fn exchange(stream: &mut (impl Read + Write), command: &str) -> io::Result<String> {
    stream.write_all(command.as_bytes())?;
    // The server says no more than its answer until it is asked again, so
    // nothing is lost with the buffer.
    let mut lines = BufReader::new(stream.take(ANSWER_BYTES_MAX));
    loop {
        let mut bytes = Vec::new();
        if lines.read_until(b'\n', &mut bytes)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        let has_code = line.get(..3).is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit()));
        match line.get(3..4) {
            _ if !has_code => return Err(io::ErrorKind::InvalidData.into()),
            Some("-") => {}
            _ => return Ok(printable(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script(io::Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(answer: &str) -> io::Result<String> {
        exchange(&mut Script(io::Cursor::new(answer.into())), "EHLO us\r\n")
    }

    #[test]
    fn the_last_line_of_an_answer_counts() {
        assert_eq!(said("250-mail\r\n250-SIZE 1\r\n250 HELP\r\n").unwrap(), "250 HELP");
        assert_eq!(said("220 \x1b[31mred\r\n").unwrap(), "220 [31mred");
        assert_eq!(said("250\r\n").unwrap(), "250");
    }

    #[test]
    fn other_servers_are_no_mail_servers() {
        assert_eq!(said("HTTP/1.1 400\r\n").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(said("ü").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(said("250-half").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
