//! A mock bank: what it answers is a pure function of the order, so that a replay
//! gets the same answer. Tests choose it by the card's token, or by the amount.
//!
//! | token | answer |
//! |---|---|
//! | `tok_chargeDeclined` | declined, `card_declined` |
//! | `tok_insufficientFunds` | declined, `insufficient_funds` |
//! | `tok_expiredCard` | declined, `expired_card` |
//! | `tok_incorrectCvc` | declined, `incorrect_cvc` |
//! | `tok_lostCard` | declined, `lost_card` |
//! | `tok_timeout` | no answer in time |
//! | `tok_error` | an error of the bank's |
//! | any other, as `tok_visa`, or none | approved |
//!
//! By the amount, when asked for, the last two digits of the total in minor units
//! are the response code of ISO 8583: 05 and 51, 54 decline, 68 comes too late, 96
//! is an error. A token from the table goes before.

use sha2::{Digest as _, Sha256};

use super::money::Total;

/// What the bank says of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is paid.
    Approved,
    /// It will not be paid; the code says why.
    Declined(&'static str),
    /// There was no answer in time: it may be paid or not.
    TimedOut,
    /// The bank failed.
    Failed,
}

use Answer::{Approved, Declined, Failed, TimedOut};

const BY_TOKEN: [(&str, Answer); 7] = [
    ("tok_chargeDeclined", Declined("card_declined")),
    ("tok_insufficientFunds", Declined("insufficient_funds")),
    ("tok_expiredCard", Declined("expired_card")),
    ("tok_incorrectCvc", Declined("incorrect_cvc")),
    ("tok_lostCard", Declined("lost_card")),
    ("tok_timeout", TimedOut),
    ("tok_error", Failed),
];
const BY_AMOUNT: [(i128, Answer); 5] = [
    (5, Declined("card_declined")),
    (51, Declined("insufficient_funds")),
    (54, Declined("expired_card")),
    (68, TimedOut),
    (96, Failed),
];

/// Asks the bank to charge a card.
pub fn charge(token: Option<&str>, total: &Total, by_amount: bool) -> Answer {
    let of_token = BY_TOKEN.iter().find(|(name, _)| token == Some(*name));
    if let Some((_, answer)) = of_token {
        return *answer;
    }
    let code = total.minor_units() % 100;
    let of_amount = BY_AMOUNT.iter().find(|(ending, _)| by_amount && code == *ending);
    of_amount.map_or(Approved, |(_, answer)| *answer)
}

/// What names the payment of an order at the bank: the same for every replay and
/// every copy of the order, so that the bank charges once, and another for every
/// other order (128 bits of SHA-256).
pub fn reference(order_id: &str) -> String {
    let digest = Sha256::digest(format!("orderctl payment {order_id}"));
    let mut text = String::with_capacity(4 + 2 * 16);
    text.push_str("pay_");
    // By hand: it is written for every order, and format! would cost a tenth of its time.
    for byte in &digest[..16] {
        for half in [byte >> 4, byte & 0xf] {
            text.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::money::{Currency, Price};
    use super::*;

    fn total(price: &str, currency: &str) -> Total {
        let currency = Currency::parse(currency).unwrap();
        Price::parse(price).unwrap().times(1, currency).unwrap()
    }

    #[test]
    fn a_token_decides_and_all_others_are_approved() {
        let total = total("10.05", "USD");
        for (token, expected) in [
            (None, Approved),
            (Some("tok_visa"), Approved),
            (Some("tok_0123456789abcdef"), Approved),
            (Some("tok_chargeDeclined"), Declined("card_declined")),
            (Some("tok_timeout"), TimedOut),
            (Some("tok_error"), Failed),
        ] {
            assert_eq!(charge(token, &total, false), expected, "{token:?}");
        }
    }

    #[test]
    fn an_amount_decides_when_asked_for() {
        for (price, currency, expected) in [
            ("10.05", "USD", Declined("card_declined")),
            ("1.51", "EUR", Declined("insufficient_funds")),
            ("154", "JPY", Declined("expired_card")),
            ("1.068", "KWD", TimedOut),
            ("0.96", "USD", Failed),
            ("51.00", "USD", Approved),
        ] {
            let total = total(price, currency);
            assert_eq!(charge(None, &total, true), expected, "{price}");
            assert_eq!(charge(None, &total, false), Approved);
            assert_eq!(charge(Some("tok_expiredCard"), &total, true), Declined("expired_card"));
        }
    }

    #[test]
    fn a_reference_is_this_for_ever() {
        assert_eq!(reference("90123"), REFERENCE_OF_90123);
    }

    /// `printf 'orderctl payment 90123' | sha256sum`
    const REFERENCE_OF_90123: &str = "pay_fa0403aac070ac8620c522b007d4aeb7";

    #[test]
    fn references_of_many_orders_are_distinct() {
        let references: HashSet<String> =
            (0..10_000).map(|id| reference(&id.to_string())).collect();
        assert_eq!(references.len(), 10_000);
    }

    proptest! {
        #[test]
        fn a_reference_belongs_to_one_id(one: String, other: String) {
            prop_assert_eq!(reference(&one) == reference(&other), one == other);
        }
    }
}
