//! Mails as they go over the wire (RFC 5322).

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

/// The longest address, in characters (RFC 5321, section 4.5.3.1: 64 for the
/// part before the @, 255 behind it).
const ADDRESS_CHARS_MAX: usize = 320;

/// The sender of mails, `Orders <orders@example.com>`.
#[derive(Debug, Clone)]
pub struct Sender(pub(super) Mailbox);

/// Who gets a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient(pub(super) lettre::Address);

/// What is said in a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// One line.
    pub subject: String,
    /// For readers without HTML.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

impl Sender {
    /// Reads an address, with or without a name.
    ///
    /// # Errors
    /// When it is none; the text says what is wrong.
    pub fn parse(text: &str) -> Result<Sender, String> {
        text.parse().map(Sender).map_err(|error| format!("{error}"))
    }

    /// What stands behind the @.
    pub fn domain(&self) -> &str {
        self.0.email.domain()
    }
}

impl Recipient {
    /// Reads an address without a name.
    ///
    /// # Errors
    /// When no mail could go there; the text says why.
    pub fn parse(text: &str) -> Result<Recipient, String> {
        if text.is_empty() {
            return Err("the order has no e-mail address".to_owned());
        }
        if text.chars().count() > ADDRESS_CHARS_MAX {
            return Err(format!("an e-mail address has at most {ADDRESS_CHARS_MAX} characters"));
        }
        let invalid = |error| format!("no e-mail address: {error}");
        text.parse::<lettre::Address>().map(Recipient).map_err(invalid)
    }
}

/// One line of what may have been several: what could end a header becomes a
/// space.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// A mail of text and HTML (multipart/alternative, RFC 2046), with all headers. It
/// says of itself that no human wrote it (RFC 3834), so that nobody's absence
/// answers it.
///
/// # Errors
/// When a header cannot be written.
pub fn build(
    from: &Sender,
    to: &Recipient,
    name: &str,
    message_id: &str,
    content: &Content,
) -> anyhow::Result<Vec<u8>> {
    let name = Some(one_line(name).trim().to_owned()).filter(|name| !name.is_empty());
    let generated = HeaderName::new_from_ascii_str("Auto-Submitted");
    let message = Message::builder()
        .from(from.0.clone())
        .to(Mailbox::new(name, to.0.clone()))
        .date_now()
        .message_id(Some(message_id.to_owned()))
        .subject(one_line(&content.subject))
        .raw_header(HeaderValue::new(generated, "auto-generated".to_owned()))
        .multipart(MultiPart::alternative_plain_html(content.text.clone(), content.html.clone()))?;
    Ok(message.formatted())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn built(name: &str, subject: &str) -> String {
        let content = Content {
            subject: subject.to_owned(),
            text: "Grüße".to_owned(),
            html: "<p>Gr&uuml;&szlig;e</p>".to_owned(),
        };
        let from = Sender::parse("Orders <orders@example.com>").unwrap();
        let to = Recipient::parse("a@example.com").unwrap();
        String::from_utf8(build(&from, &to, name, "<1.order@example.com>", &content).unwrap())
            .unwrap()
    }

    /// The names of a mail's headers, continued lines left out.
    fn headers(mail: &str) -> Vec<&str> {
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        let starts = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        starts.map(|line| line.split_once(':').expect("a header").0).collect()
    }

    const OURS: [&str; 8] = [
        "From",
        "To",
        "Date",
        "Message-ID",
        "Subject",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
    ];

    #[test]
    fn a_mail_has_both_forms_and_its_id() {
        let mail = built("James", "Your order");
        assert_eq!(headers(&mail), OURS);
        assert!(mail.contains("\r\nMessage-ID: <1.order@example.com>\r\n"), "{mail}");
        assert!(mail.contains("multipart/alternative") && mail.contains("text/html"), "{mail}");
        assert!(mail.is_ascii(), "the body is encoded for servers of seven bits");
    }

    #[test]
    fn an_address_that_nothing_can_reach_is_refused() {
        for wrong in ["", "james", "@example.com", "a@", "a b@example.com", "a@b\r\nBcc: c@d"] {
            assert!(Recipient::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Recipient::parse(&format!("{}@example.com", "a".repeat(400))).is_err());
        for right in ["a@example.com", "a+b@example.com", "o'neil@example.co.uk"] {
            assert!(Recipient::parse(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn what_looks_like_a_header_stays_inside_of_one() {
        let mail = built("J\r\nBcc: everyone@example.com", "S\r\n\r\nBcc: all@example.com");
        assert_eq!(headers(&mail), OURS);
    }

    proptest! {
        #[test]
        fn no_text_adds_a_header(name in any::<String>(), subject in any::<String>()) {
            let mail = built(&name, &subject);
            prop_assert_eq!(headers(&mail), OURS);
        }
    }
}
