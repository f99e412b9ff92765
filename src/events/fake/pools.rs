//! Values made once and drawn from ever after, already in JSON's form.

use std::collections::HashMap;

use ::fake::Fake as _;
use ::fake::faker::address::en::StreetName;
use ::fake::faker::name::en::{FirstName, LastName};
use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;

use super::catalogue::{MOVIES, PRODUCTS, THEATERS, dollars};
use super::places::PLACES;

const PERSONS: usize = 4096;
const STREETS: usize = 2048;
/// Domains that nobody's mail goes to (RFC 2606).
const MAIL_DOMAINS: [&str; 3] = ["example.com", "example.org", "example.net"];

/// Somebody, in pieces of JSON strings.
pub(super) struct Person {
    /// The full name.
    pub name: Box<str>,
    /// The e-mail address, made of the name; no two persons share one.
    pub email: Box<str>,
    /// What stands before the `@`.
    pub username: Box<str>,
}

/// A city in pieces of JSON strings.
pub(super) struct City {
    pub city: Box<str>,
    pub state: Box<str>,
    pub country: Box<str>,
    /// With `#` for any digit.
    pub postal_code: Box<str>,
}

/// A product in pieces of JSON strings.
pub(super) struct Product {
    pub name: Box<str>,
    /// Dollars and cents: `12.50`.
    pub price: Box<str>,
}

/// All values that events are put together from.
pub(super) struct Pools {
    pub persons: Vec<Person>,
    pub streets: Vec<Box<str>>,
    pub cities: Vec<City>,
    pub products: Vec<Product>,
    pub movies: Vec<Box<str>>,
    pub theaters: Vec<Box<str>>,
}

impl Pools {
    /// The same seed makes the same pools; the random numbers are ChaCha8's,
    /// which are the same on every platform.
    pub fn new(seed: u64) -> Pools {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Pools {
            persons: persons(&mut rng),
            streets: (0..STREETS)
                .map(|_| escaped(&StreetName().fake_with_rng::<String, _>(&mut rng)))
                .collect(),
            cities: PLACES.iter().map(City::of).collect(),
            products: PRODUCTS.iter().map(Product::of).collect(),
            movies: MOVIES.iter().map(|movie| escaped(movie)).collect(),
            theaters: THEATERS.iter().map(|theater| escaped(theater)).collect(),
        }
    }
}

impl City {
    fn of(place: &super::places::Place) -> City {
        City {
            city: escaped(place.city),
            state: escaped(place.state),
            country: escaped(place.country),
            postal_code: escaped(place.postal_code),
        }
    }
}

impl Product {
    fn of((name, cents): &(&str, u32)) -> Product {
        Product { name: escaped(name), price: dollars(*cents).into() }
    }
}

fn persons(rng: &mut ChaCha8Rng) -> Vec<Person> {
    let mut namesakes: HashMap<String, u32> = HashMap::new();
    (0..PERSONS)
        .map(|index| {
            let first: &str = FirstName().fake_with_rng(rng);
            let last: &str = LastName().fake_with_rng(rng);
            let mut username = format!("{}.{}", mail_part(first), mail_part(last));
            let namesake = namesakes.entry(username.clone()).or_default();
            *namesake += 1;
            if *namesake > 1 {
                username.push_str(&namesake.to_string());
            }
            let domain = MAIL_DOMAINS[index % MAIL_DOMAINS.len()];
            Person {
                name: escaped(&format!("{first} {last}")),
                email: escaped(&format!("{username}@{domain}")),
                username: escaped(&username),
            }
        })
        .collect()
}

fn mail_part(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> Box<str> {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].into()
}
