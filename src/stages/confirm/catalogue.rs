//! What products cost when the order does not say: from a file, or what the
//! products cost that `produce` generates.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::money::{Currency, Price};
use crate::error::Usage;
use crate::events::decimal::Decimal;
use crate::events::fake;

const FORM: &str = "write CSV with the columns product_name,unit_price,currency, or a JSON array \
                    of objects with these members";

/// What one piece of a product costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The price.
    pub price: Price,
    /// In which currency; the default one when none.
    pub currency: Option<Currency>,
    /// Where its row begins in the file, in bytes.
    at: usize,
}

/// Prices by the exact name of the product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue(HashMap<String, Listed>);

impl Catalogue {
    /// What the products cost that `produce` generates, in US dollars.
    pub fn built_in() -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (name, price) in fake::products() {
            // They are all good and distinct, which a test holds.
            let _ = catalogue.add("", 0, name, &price, Some("USD"));
        }
        catalogue
    }

    /// Reads a catalogue: JSON when the file's name ends so or it begins with `[`,
    /// else CSV.
    ///
    /// # Errors
    /// A [`Usage`] error that names the file, the line and what is wrong there.
    pub fn read(path: &Path) -> Result<Catalogue, Usage> {
        let shown = path.display();
        let text = fs::read(path).map_err(|error| {
            Usage(format!("cannot read {shown}: {error}; give --catalog a file"))
        })?;
        let text = String::from_utf8(text).map_err(|error| {
            let byte = error.utf8_error().valid_up_to() + 1;
            Usage(format!("{shown} is not UTF-8 from byte {byte}; save it as UTF-8"))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let is_json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let parsed = match is_json || text.trim_start().starts_with(['[', '{']) {
            true => from_json(text),
            false => from_csv(text),
        };
        let catalogue =
            parsed.map_err(|(line, fault)| Usage(format!("{shown}, line {line}: {fault}")))?;
        match catalogue.0.is_empty() {
            true => Err(Usage(format!("{shown} has no products; {FORM}"))),
            false => Ok(catalogue),
        }
    }

    /// What a product costs.
    pub fn find(&self, product: &str) -> Option<&Listed> {
        self.0.get(product)
    }

    /// Adds the product of the row that begins at this byte of the text.
    fn add(
        &mut self,
        text: &str,
        at: usize,
        name: &str,
        price: &str,
        currency: Option<&str>,
    ) -> Result<(), Fault> {
        let fault = |fault: String| (line_at(text, at), fault);
        if name.is_empty() {
            return Err(fault("product_name is empty".into()));
        }
        let price = Price::parse(price).map_err(|wrong| fault(format!("unit_price: {wrong}")))?;
        let currency = currency.filter(|code| !code.is_empty()).map(Currency::parse).transpose();
        let currency = currency.map_err(|wrong| fault(format!("currency: {wrong}")))?;
        match self.0.entry(name.to_owned()) {
            Entry::Occupied(first) => Err(fault(format!(
                "{name:?} is there a second time, the first is in line {}; keep one",
                line_at(text, first.get().at)
            ))),
            Entry::Vacant(place) => {
                place.insert(Listed { price, currency, at });
                Ok(())
            }
        }
    }
}

/// A line, from 1, and what is wrong there.
type Fault = (usize, String);

/// The line, from 1, of what begins at this byte behind blank lines. It counts from
/// the beginning: only faults are worth that.
fn line_at(text: &str, at: usize) -> usize {
    let text = text.as_bytes();
    let blank = |byte: &&u8| matches!(byte, b'\n' | b'\r');
    let start = at + text[at..].iter().take_while(blank).count();
    1 + text[..start].iter().filter(|byte| **byte == b'\n').count()
}

fn from_csv(text: &str) -> Result<Catalogue, Fault> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| csv_fault(text, &error))?.clone();
    let column = |names: &[&str]| {
        header.iter().position(|column| names.iter().any(|name| column.eq_ignore_ascii_case(name)))
    };
    let missing = |name: &str| (line_at(text, 0), format!("there is no column {name}; {FORM}"));
    let name = column(&["product_name", "product"]).ok_or_else(|| missing("product_name"))?;
    let price = column(&["unit_price", "price"]).ok_or_else(|| missing("unit_price"))?;
    let currency = column(&["currency"]);
    let mut catalogue = Catalogue::default();
    for record in reader.records() {
        let record = record.map_err(|error| csv_fault(text, &error))?;
        let at = record.position().map_or(0, |position| position.byte() as usize);
        let field = |index: usize| record.get(index).unwrap_or_default();
        catalogue.add(text, at, field(name), field(price), currency.map(field))?;
    }
    Ok(catalogue)
}

fn csv_fault(text: &str, error: &csv::Error) -> Fault {
    let line = line_at(text, error.position().map_or(0, |position| position.byte() as usize));
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => (
            line,
            format!("{len} values, but {expected_len} columns; put names with a comma in quotes"),
        ),
        _ => (line, error.to_string()),
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(alias = "product")]
    product_name: String,
    #[serde(alias = "price", borrow)]
    unit_price: Decimal<'a>,
    currency: Option<String>,
}

fn from_json(text: &str) -> Result<Catalogue, Fault> {
    let rows: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        let fault = if error.is_data() { format!("no array; {FORM}") } else { text_of(&error) };
        (error.line(), fault)
    })?;
    let mut catalogue = Catalogue::default();
    for row in rows {
        // Each is a part of the text.
        let at = row.get().as_ptr() as usize - text.as_ptr() as usize;
        let read: Row<'_> = serde_json::from_str(row.get()).map_err(|error| {
            (line_at(text, at) + error.line().saturating_sub(1), text_of(&error))
        })?;
        let Row { product_name, unit_price, currency } = read;
        catalogue.add(text, at, product_name.trim(), unit_price.as_str(), currency.as_deref())?;
    }
    Ok(catalogue)
}

/// What serde_json says without the place, which is within the row.
fn text_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(catalogue: &Catalogue, product: &str) -> (String, Option<String>) {
        let listed = catalogue.find(product).unwrap_or_else(|| panic!("no {product}"));
        (listed.price.as_str().to_owned(), listed.currency.map(|currency| currency.to_string()))
    }

    #[test]
    fn what_produce_generates_has_a_price() {
        let catalogue = Catalogue::built_in();
        assert_eq!(catalogue.0.len(), fake::products().count());
        assert_eq!(price(&catalogue, "Protein Powder"), ("34.99".into(), Some("USD".into())));
        assert_eq!(price(&catalogue, "Dark Chocolate").0, "4.25");
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = "currency, product_name ,Unit_Price\nEUR,\"Tea, green\",8.90\n\n,Cup,3\n";
        let json = "[{\"product_name\": \"Tea, green\", \"unit_price\": \"8.90\", \"currency\": \"EUR\"},\n\
                    {\"product\": \"Cup\", \"price\": 3, \"colour\": 1}]";
        for catalogue in [from_csv(csv).unwrap(), from_json(json).unwrap()] {
            assert_eq!(price(&catalogue, "Tea, green"), ("8.90".into(), Some("EUR".into())));
            assert_eq!(price(&catalogue, "Cup"), ("3".into(), None));
            assert!(catalogue.find("cup").is_none());
        }
    }

    #[test]
    fn faults_are_told_by_their_line() {
        for (text, line, part) in [
            ("product_name,price\nTea,1\nCup,-1\n", 3, "unit_price: must not be negative"),
            ("product_name,price\nTea,1\n\nTea,2\n", 4, "the first is in line 2"),
            ("product_name,price\nTea,green,1\n", 2, "3 values, but 2 columns"),
            ("product_name,price,currency\nTea,1,dollar\n", 2, "currency: expected three letters"),
            ("product_name,price\n,1\n", 2, "product_name is empty"),
            ("product_name;price\nTea;1\n", 1, "no column product_name"),
            ("product_name\nTea\n", 1, "no column unit_price"),
        ] {
            let (found, fault) = from_csv(text).unwrap_err();
            assert!(found == line && fault.contains(part), "{text}: line {found}: {fault}");
        }
        for (text, line, part) in [
            (
                "[\n{\"product\":\"Tea\",\"price\":1},\n{\"product\":\"Tea\",\"price\":1}]",
                3,
                "line 2",
            ),
            ("[\n{\"product\":\"Tea\",\n\"price\":\"free\"}]", 3, "decimal number"),
            ("[\n{\"product\":\"Tea\"}]", 2, "missing field `unit_price`"),
            ("[\n{\"product\":\"Tea\",}]", 2, "key must be a string"),
            ("{}", 1, "no array"),
        ] {
            let (found, fault) = from_json(text).unwrap_err();
            assert!(found == line && fault.contains(part), "{text}: line {found}: {fault}");
        }
    }
}
