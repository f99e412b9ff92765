//! Believable events in any number, as JSON. Event `index` is a pure function
//! of kind, seed, base and index, so that any number of threads write the same
//! bytes.

mod catalogue;
pub mod faults;
mod places;
mod pools;
mod write;

#[cfg(test)]
mod tests;

use pools::{City, Pools};

use super::Kind;

const MICROS_A_DAY: i64 = 86_400_000_000;

/// How generated events are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum IdStyle {
    /// UUIDv7: sorted by time, which indexes like best
    #[default]
    V7,
    /// UUIDv4: random
    V4,
}

/// The products that orders are generated for, with their prices in US dollars.
pub fn products() -> impl Iterator<Item = (&'static str, String)> {
    catalogue::PRODUCTS.iter().map(|(name, cents)| (*name, catalogue::dollars(*cents)))
}

/// Writes events of one kind.
pub struct Generator {
    kind: Kind,
    seed: u64,
    base_micros: i64,
    id_style: IdStyle,
    has_payments: bool,
    pools: Pools,
}

impl Generator {
    /// A generator whose event `index` happens `index` microseconds after
    /// `base_micros` (since 1970 UTC, kept between 1970 and 9999).
    pub fn new(kind: Kind, seed: u64, base_micros: i64, id_style: IdStyle) -> Generator {
        let pools = Pools::new(seed);
        Generator { kind, seed, base_micros, id_style, has_payments: false, pools }
    }

    /// The same events, of which orders have a payment with a test card too, if
    /// asked for: of a hundred about two are declined, of a thousand two are not
    /// answered in time.
    pub fn with_payments(self, has_payments: bool) -> Generator {
        Generator { has_payments, ..self }
    }

    /// The kind of the events.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The seed that the events are made of.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Replaces the contents of the two buffers by the key and the payload of
    /// event `index`; the key is the event's id.
    pub fn write(&self, index: u64, key: &mut Vec<u8>, payload: &mut Vec<u8>) {
        self.write_late(index, 0, key, payload);
    }

    /// As [`Generator::write`], with the event's moment (an order's date, a
    /// user's registration) so many days earlier; a movie ticket has none.
    pub fn write_late(&self, index: u64, days: u32, key: &mut Vec<u8>, payload: &mut Vec<u8>) {
        let mut draw = Draw::new(self.seed, index);
        let now_micros = write::moment_micros(self.base_micros, index);
        let id = match self.id_style {
            IdStyle::V7 => write::uuid_v7(now_micros, draw.next()),
            IdStyle::V4 => write::uuid_v4(draw.next(), draw.next()),
        };
        key.clear();
        key.extend_from_slice(&id);
        payload.clear();
        let moment_micros = now_micros - i64::from(days) * MICROS_A_DAY;
        match self.kind {
            Kind::Order => self.order(&id, moment_micros, &mut draw, payload),
            Kind::MovieTicket => self.movie_ticket(&id, &mut draw, payload),
            Kind::User => self.user(&id, moment_micros, &mut draw, payload),
        }
    }

    fn order(&self, id: &[u8], moment_micros: i64, draw: &mut Draw, out: &mut Vec<u8>) {
        let person = draw.one_of(&self.pools.persons);
        let city = draw.one_of(&self.pools.cities);
        let product = draw.one_of(&self.pools.products);
        put(out, &[b"{\"order_id\":\"", id, b"\",\"customer\":{\"name\":\"", bytes(&person.name)]);
        put(out, &[b"\",\"email\":\"", bytes(&person.email), b"\",\"address\":{\"street\":\""]);
        self.street(draw, out);
        put(out, &[b"\",\"city\":\"", bytes(&city.city), b"\",\"state\":\"", bytes(&city.state)]);
        put(out, &[b"\",\"postal_code\":\""]);
        postal_code(city, draw, out);
        put(out, &[b"\"}},\"product_name\":\"", bytes(&product.name), b"\",\"unit_price\":\""]);
        put(out, &[bytes(&product.price), b"\",\"currency\":\"USD\",\"quantity\":"]);
        out.push(*draw.one_of(b"11111111222223334456789"));
        put(out, &[b",\"order_date\":\""]);
        write::rfc3339(moment_micros, out);
        let priority = *draw.one_of(&["low", "low", "low", "medium", "medium", "high"]);
        put(out, &[b"\",\"priority\":\"", bytes(priority), b"\""]);
        if self.has_payments {
            payment(draw, out);
        }
        out.push(b'}');
    }

    fn movie_ticket(&self, id: &[u8], draw: &mut Draw, out: &mut Vec<u8>) {
        let person = draw.one_of(&self.pools.persons);
        let city = draw.one_of(&self.pools.cities);
        let theater = draw.one_of(&self.pools.theaters);
        let movie = draw.one_of(&self.pools.movies);
        put(out, &[b"{\"ticket_id\":\"", id, b"\",\"theater\":\"", bytes(theater), b" "]);
        put(out, &[bytes(&city.city), b"\",\"movie\":\"", bytes(movie), b"\",\"name\":\""]);
        put(out, &[bytes(&person.name), b"\",\"email\":\"", bytes(&person.email)]);
        put(out, &[b"\",\"phone_number\":\""]);
        phone_number(draw, out);
        put(out, &[b"\",\"seats\":\""]);
        seats(draw, out);
        put(out, &[b"\"}"]);
    }

    fn user(&self, id: &[u8], moment_micros: i64, draw: &mut Draw, out: &mut Vec<u8>) {
        let person = draw.one_of(&self.pools.persons);
        let city = draw.one_of(&self.pools.cities);
        let birthday = write::date(i64::from(draw.below(13_000)));
        put(out, &[b"{\"user_id\":\"", id, b"\",\"full_name\":\"", bytes(&person.name)]);
        put(out, &[b"\",\"email\":\"", bytes(&person.email), b"\",\"phone\":\""]);
        phone_number(draw, out);
        put(out, &[b"\",\"address\":\""]);
        self.street(draw, out);
        put(out, &[b"\",\"city\":\"", bytes(&city.city), b"\",\"country\":\""]);
        put(out, &[bytes(&city.country), b"\",\"date_of_birth\":\"", &birthday]);
        put(out, &[b"\",\"username\":\"", bytes(&person.username), b"\",\"registered_at\":\""]);
        write::rfc3339(moment_micros, out);
        put(out, &[b"\",\"picture\":\"https://example.com/portraits/"]);
        write::number(u64::from(draw.below(1000)), out);
        put(out, &[b".jpg\"}"]);
    }

    fn street(&self, draw: &mut Draw, out: &mut Vec<u8>) {
        write::number(1 + u64::from(draw.below(9_900)), out);
        put(out, &[b" ", draw.one_of(&self.pools.streets).as_bytes()]);
    }
}

fn payment(draw: &mut Draw, out: &mut Vec<u8>) {
    let (token, last4) = match draw.below(1000) {
        0..2 => ("tok_timeout", "0341"),
        2..12 => ("tok_chargeDeclined", "0002"),
        12..20 => ("tok_insufficientFunds", "9995"),
        20..25 => ("tok_expiredCard", "0069"),
        _ => {
            *draw.one_of(&[("tok_visa", "4242"), ("tok_mastercard", "4444"), ("tok_amex", "0005")])
        }
    };
    put(out, &[b",\"payment\":{\"card_token\":\"", bytes(token)]);
    put(out, &[b"\",\"card_last4\":\"", bytes(last4), b"\"}"]);
}

fn postal_code(city: &City, draw: &mut Draw, out: &mut Vec<u8>) {
    let mut random = draw.next() >> 16;
    for byte in city.postal_code.bytes() {
        out.push(if byte == b'#' { b'0' + (random % 10) as u8 } else { byte });
        random /= if byte == b'#' { 10 } else { 1 };
    }
}

/// A number of the range 555-0100 to 555-0199, which is kept for fiction.
fn phone_number(draw: &mut Draw, out: &mut Vec<u8>) {
    put(out, &[b"+1-"]);
    write::number(201 + u64::from(draw.below(780)), out);
    put(out, &[b"-555-0"]);
    write::number(100 + u64::from(draw.below(100)), out);
}

/// One to four seats side by side: `F7,F8`.
fn seats(draw: &mut Draw, out: &mut Vec<u8>) {
    let row = *draw.one_of(b"ABCDEFGHJKLMN");
    let first = 1 + u64::from(draw.below(20));
    let count = u64::from(*draw.one_of(&[1u8, 2, 2, 2, 3, 4]));
    for seat in first..first + count {
        if seat > first {
            out.push(b',');
        }
        out.push(row);
        write::number(seat, out);
    }
}

fn bytes(text: &str) -> &[u8] {
    text.as_bytes()
}

fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

/// Numbers that look random and depend on seed and index only (SplitMix64).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64, index: u64) -> Draw {
        Draw(mix(seed ^ mix(index)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to `limit` - 1; `limit` is at least 1.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    fn one_of<'t, T>(&mut self, values: &'t [T]) -> &'t T {
        &values[self.below(values.len() as u32) as usize]
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
