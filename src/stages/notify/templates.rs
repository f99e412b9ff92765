//! What is said in mails: a text and an HTML template for each occasion, embedded
//! in the program.
//!
//! The first line of a text is the subject. `{field}` stands for a value, and a
//! line with a field that has no value is left out.

use serde::{Deserialize, Serialize};

use crate::edges::smtp::message::Content;
use crate::events::notice::{Notice, Occasion};

/// The longest value shown, in characters: more is no name or product.
const VALUE_CHARS_MAX: usize = 200;

/// What the templates show, as kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The customer's name.
    pub name: String,
    /// What was ordered.
    pub product: String,
    /// How many of it.
    pub quantity: i64,
    /// What it costs, with the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Why the payment was declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The payment's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The last digits of the card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_last4: Option<String>,
}

impl Details {
    /// What is to be shown of an order.
    pub fn of(notice: &Notice<'_>) -> Details {
        Details {
            name: shortened(notice.name()),
            product: shortened(notice.product()),
            quantity: notice.quantity(),
            total: notice.total().as_deref().map(shortened),
            code: notice.code().map(shortened),
            reference: notice.reference().map(shortened),
            card_last4: notice.card_last4().map(shortened),
        }
    }

    fn value(&self, field: &str, order_id: &str) -> Option<String> {
        match field {
            "order_id" => Some(shortened(order_id)),
            "name" => Some(self.name.clone()),
            "product" => Some(self.product.clone()),
            "quantity" => Some(self.quantity.to_string()),
            "total" => self.total.clone(),
            "code" => self.code.clone(),
            "reference" => self.reference.clone(),
            "card_last4" => self.card_last4.clone(),
            _ => None,
        }
    }
}

/// One line, and not too long: the customer wrote it, or someone in their name.
fn shortened(text: &str) -> String {
    let line = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = line.clone().take(VALUE_CHARS_MAX).collect();
    if line.count() > VALUE_CHARS_MAX {
        short.push('…');
    }
    short
}

/// What is said about an order.
pub fn content(occasion: Occasion, order_id: &str, details: &Details) -> Content {
    let (text, html) = match occasion {
        Occasion::Order => {
            (include_str!("templates/order.txt"), include_str!("templates/order.html"))
        }
        Occasion::Confirmed => {
            (include_str!("templates/confirmed.txt"), include_str!("templates/confirmed.html"))
        }
        Occasion::Declined => {
            (include_str!("templates/declined.txt"), include_str!("templates/declined.html"))
        }
    };
    let value = |field: &str| details.value(field, order_id);
    let text = filled(text, value);
    let (subject, text) = text.split_once("\n\n").unwrap_or((&text, ""));
    let html = filled(html, |field| value(field).map(|value| escaped(&value)));
    Content { subject: subject.to_owned(), text: text.to_owned(), html }
}

/// A template with its values. A value is never taken for a template.
fn filled(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let lines = template.lines().filter_map(|line| filled_line(line, &value));
    lines.fold(String::with_capacity(template.len() * 2), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    })
}

fn filled_line(line: &str, value: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once('{') {
        let (field, behind) = behind.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&value(field)?);
        rest = behind;
    }
    filled.push_str(rest);
    Some(filled)
}

/// A text that means nothing in HTML but itself, in an element or a quoted
/// attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn details(name: &str) -> Details {
        Details {
            name: name.to_owned(),
            product: "Tea & <cups>".to_owned(),
            quantity: 3,
            total: Some("25.00 EUR".to_owned()),
            code: Some("expired_card".to_owned()),
            reference: Some("ref-1".to_owned()),
            card_last4: Some("4242".to_owned()),
        }
    }

    #[test]
    fn every_field_of_every_template_is_known() {
        for occasion in Occasion::ALL {
            let content = content(occasion, "o-1", &details("James"));
            assert!(content.subject.contains("o-1"), "{content:?}");
            for text in [&content.text, &content.html] {
                assert!(!text.contains('{'), "{text}");
                for word in ["James", "o-1", "3", "25.00 EUR"] {
                    assert!(text.contains(word), "{occasion} {word}: {text}");
                }
            }
            // No line was left out: each has all of its fields.
            let lines = |text: &str| text.lines().count();
            let template = match occasion {
                Occasion::Order => include_str!("templates/order.html"),
                Occasion::Confirmed => include_str!("templates/confirmed.html"),
                Occasion::Declined => include_str!("templates/declined.html"),
            };
            assert_eq!(lines(&content.html), lines(template), "{occasion}");
        }
    }

    #[test]
    fn a_line_without_its_value_is_left_out() {
        let unpriced = Details { total: None, ..details("James") };
        let content = content(Occasion::Order, "o-1", &unpriced);
        assert!(!content.text.contains("Total") && content.text.contains("Quantity: 3"));
        assert!(!content.html.contains("Total") && content.html.contains("<td>3</td>"));
    }

    #[test]
    fn html_shows_what_the_event_says_and_does_nothing_of_it() {
        let name = "<script>alert('x')</script> {total}";
        let content = content(Occasion::Confirmed, "<b>\"1\"</b>", &details(name));
        assert!(content.text.contains(name), "{}", content.text);
        assert!(content.html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; {total}"));
        assert!(content.html.contains("Tea &amp; &lt;cups&gt;"), "{}", content.html);
        assert!(content.html.contains("&lt;b&gt;&quot;1&quot;&lt;/b&gt;"));
    }

    #[test]
    fn a_value_is_one_line_and_not_endless() {
        assert_eq!(shortened("a\r\nBcc: b"), "a  Bcc: b");
        assert_eq!(shortened(&"é".repeat(300)).chars().count(), VALUE_CHARS_MAX + 1);
    }

    proptest! {
        #[test]
        fn whatever_the_event_says_adds_no_markup(name in any::<String>()) {
            let markup = |text: &str| text.matches(['<', '>', '"', '\'']).count();
            let plain = content(Occasion::Declined, "1", &details("x")).html;
            let odd = content(Occasion::Declined, "1", &details(&name)).html;
            prop_assert_eq!(markup(&odd), markup(&plain));
        }
    }
}
