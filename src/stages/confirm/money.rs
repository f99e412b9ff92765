//! Money: exact decimals, rounded once, in the end, to what the currency has.

use std::fmt;

use crate::events::decimal::Decimal;

/// The highest price of one piece, in whole units of the currency.
const PRICE_MAX: i128 = 1_000_000_000;
/// The most decimal places of a price: pieces may cost parts of a cent.
const PLACES_MAX: usize = 9;
/// The highest quantity.
const QUANTITY_MAX: i64 = 1_000_000;
/// The highest total, in whole units of the currency.
const TOTAL_MAX: i128 = 1_000_000_000_000;

/// Currencies whose minor unit is not a hundredth, with their decimal places (ISO
/// 4217, list one).
const OTHER_PLACES: [(&[u8; 3], u32); 25] = [
    (b"BIF", 0),
    (b"CLP", 0),
    (b"DJF", 0),
    (b"GNF", 0),
    (b"ISK", 0),
    (b"JPY", 0),
    (b"KMF", 0),
    (b"KRW", 0),
    (b"PYG", 0),
    (b"RWF", 0),
    (b"UGX", 0),
    (b"UYI", 0),
    (b"VND", 0),
    (b"VUV", 0),
    (b"XAF", 0),
    (b"XOF", 0),
    (b"XPF", 0),
    (b"BHD", 3),
    (b"IQD", 3),
    (b"JOD", 3),
    (b"KWD", 3),
    (b"LYD", 3),
    (b"OMR", 3),
    (b"TND", 3),
    (b"CLF", 4),
];

/// A currency by its three letters of ISO 4217, in upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads three letters in any case. Whether there is such a currency is not
    /// looked at.
    ///
    /// # Errors
    /// When it is something else; the text says how to write it.
    pub fn parse(text: &str) -> Result<Currency, String> {
        let letters = text.as_bytes().try_into().ok();
        match letters.filter(|letters: &[u8; 3]| letters.iter().all(u8::is_ascii_alphabetic)) {
            Some(letters) => Ok(Currency(letters.map(|letter| letter.to_ascii_uppercase()))),
            None => Err(format!("expected three letters of ISO 4217 like USD, found {text:?}")),
        }
    }

    /// The decimal places of its minor unit; 2 for those that are not listed.
    pub fn places(self) -> u32 {
        let listed = OTHER_PLACES.iter().find(|(letters, _)| **letters == self.0);
        listed.map_or(2, |(_, places)| *places)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// The price of one piece: from 0 to 1,000,000,000 with at most 9 decimal places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// As it was written, without an exponent.
    text: String,
    /// The digits as a whole number, and how many of them are decimal places.
    digits: i128,
    places: u32,
}

impl Price {
    /// Reads a decimal number, also with an exponent.
    ///
    /// # Errors
    /// What is wrong with it, or which bound it is beyond.
    pub fn parse(text: &str) -> Result<Price, String> {
        let Some(decimal) = Decimal::parse(text) else {
            return Err("expected a decimal number like 12.50".into());
        };
        let text = decimal.as_str().to_owned();
        if text.starts_with('-') {
            return Err("must not be negative".into());
        }
        let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
        let places = places.trim_end_matches('0');
        if places.len() > PLACES_MAX {
            return Err(format!("has more than {PLACES_MAX} decimal places"));
        }
        let scale = places.len() as u32;
        let digits = format!("{whole}{places}").parse::<i128>().ok();
        match digits.filter(|digits| *digits <= PRICE_MAX * 10i128.pow(scale)) {
            Some(digits) => Ok(Price { text, digits, places: scale }),
            None => Err(format!("is more than {PRICE_MAX}")),
        }
    }

    /// The price as it was written, without an exponent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What so many pieces cost, half a minor unit rounded up.
    ///
    /// # Errors
    /// When that is more than a total may be.
    pub fn times(&self, quantity: i64, currency: Currency) -> Result<Total, String> {
        // At most 10^18 × 10^6, which leaves room for two places more.
        let digits = self.digits * i128::from(quantity);
        let places = currency.places();
        let minor_units = match self.places.checked_sub(places) {
            None | Some(0) => digits * 10i128.pow(places - self.places),
            Some(excess) => {
                let unit = 10i128.pow(excess);
                (digits + unit / 2) / unit
            }
        };
        if minor_units > TOTAL_MAX * 10i128.pow(places) {
            return Err(format!("{quantity} × {} is more than {TOTAL_MAX}", self.text));
        }
        Ok(Total { minor_units, places })
    }
}

/// Refuses a quantity that nobody means.
///
/// # Errors
/// When it is more than 1,000,000.
pub fn check_quantity(quantity: i64) -> Result<(), String> {
    match quantity > QUANTITY_MAX {
        true => Err(format!("is more than {QUANTITY_MAX}")),
        false => Ok(()),
    }
}

/// What an order costs, in a currency's minor units: from 0 to 1,000,000,000,000
/// whole units. Shown with all the currency's decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    minor_units: i128,
    places: u32,
}

impl Total {
    /// The total in minor units: cents of a dollar, yen.
    pub fn minor_units(&self) -> i128 {
        self.minor_units
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10i128.pow(self.places);
        write!(f, "{}", self.minor_units / unit)?;
        match self.places {
            0 => Ok(()),
            places => write!(f, ".{:0width$}", self.minor_units % unit, width = places as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(price: &str, quantity: i64, currency: &str) -> Result<String, String> {
        let price = Price::parse(price)?;
        price.times(quantity, Currency::parse(currency)?).map(|total| total.to_string())
    }

    #[test]
    fn totals_have_the_places_of_their_currency() {
        for (price, quantity, currency, expected) in [
            ("34.99", 5, "USD", "174.95"),
            ("4.25", 3, "eur", "12.75"),
            ("0", 3, "USD", "0.00"),
            ("7", 1, "USD", "7.00"),
            ("0.005", 1, "USD", "0.01"),
            ("0.0049999", 1, "USD", "0.00"),
            ("0.335", 3, "USD", "1.01"),
            ("0.125", 2, "USD", "0.25"),
            ("99.5", 1, "JPY", "100"),
            ("99.5", 3, "JPY", "299"),
            ("1.2345", 1, "KWD", "1.235"),
            ("1", 2, "CLF", "2.0000"),
            ("1e3", 2, "USD", "2000.00"),
            ("1.000000000000", 1, "USD", "1.00"),
            ("1000000", 1_000_000, "USD", "1000000000000.00"),
        ] {
            let found = total(price, quantity, currency);
            assert_eq!(found.as_deref(), Ok(expected), "{quantity} × {price} {currency}");
        }
    }

    #[test]
    fn absurd_prices_quantities_and_totals_are_refused() {
        for (price, part) in [
            ("-0.01", "negative"),
            ("1000000000.01", "more than 1000000000"),
            ("1e30", "more than"),
            ("1e900", "more than"),
            ("0.0000000001", "decimal places"),
            ("free", "decimal number"),
        ] {
            let error = Price::parse(price).unwrap_err();
            assert!(error.contains(part), "{price}: {error}");
        }
        assert!(check_quantity(1_000_000).is_ok() && check_quantity(1_000_001).is_err());
        assert!(total("1000001", 1_000_000, "USD").unwrap_err().contains("more than"));
        for wrong in ["", "US", "USDX", "U1D", "€", "ÜSD"] {
            assert!(Currency::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Digits of a decimal text times a number, as one learns it at school: from
    /// the right, carrying; then rounded on the text.
    fn by_hand(price: &str, quantity: u64, places: usize) -> String {
        let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
        let (mut digits, mut carry) = (Vec::new(), 0u64);
        for digit in format!("{whole}{fraction}").bytes().rev() {
            let product = u64::from(digit - b'0') * quantity + carry;
            digits.push((product % 10) as u8);
            carry = product / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
        // Least first: cut or fill up to the currency's places.
        let mut scale = fraction.len();
        let mut round_up = false;
        while scale > places {
            round_up = digits.remove(0) >= 5;
            scale -= 1;
        }
        digits.splice(0..0, std::iter::repeat_n(0, places - scale));
        let mut at = 0;
        while round_up {
            match digits.get_mut(at) {
                Some(9) => digits[at] = 0,
                Some(digit) => {
                    *digit += 1;
                    round_up = false;
                }
                None => {
                    digits.push(1);
                    round_up = false;
                }
            }
            at += 1;
        }
        while digits.len() <= places {
            digits.push(0);
        }
        let text: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
        let (whole, fraction) = text.split_at(text.len() - places);
        let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty());
        let dot = if places > 0 { "." } else { "" };
        format!("{}{dot}{fraction}", whole.unwrap_or("0"))
    }

    proptest! {
        #[test]
        fn totals_are_what_one_gets_by_hand(
            price in "(0|[1-9][0-9]{0,5})(\\.[0-9]{1,9})?", quantity in 1i64..=1_000_000,
            currency in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"]),
        ) {
            let places = Currency::parse(currency).unwrap().places() as usize;
            let expected = by_hand(&price, quantity as u64, places);
            prop_assert_eq!(total(&price, quantity, currency), Ok(expected));
        }

        #[test]
        fn any_price_is_read_or_refused(text in "[-0-9.eE]{0,30}", quantity in 1i64..=1_000_000) {
            let _ = total(&text, quantity, "USD");
        }
    }
}
