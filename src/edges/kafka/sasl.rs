//! Logging in by SASL on a connection of our own: PLAIN (RFC 4616) and SCRAM with
//! SHA-256 or SHA-512 (RFC 5802, RFC 7677), as Kafka wraps them.

use std::io::{Read, Write};

use openssl::base64::{decode_block, encode_block};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use super::wire::{Api, Rest, bytes, exchange, text};
use crate::config::{KafkaSettings, Secret};

const HANDSHAKE: Api = Api { key: 17, version: 1 };
const AUTHENTICATE: Api = Api { key: 36, version: 0 };
/// The most rounds of hashing that a broker may ask for.
const ROUNDS_MAX: usize = 1_000_000;

/// A login.
pub(super) struct Login {
    mechanism: Mechanism,
    user: String,
    password: Secret,
}

#[derive(Clone, Copy)]
enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

impl Login {
    /// The login of the settings; none when it is of a kind not spoken here.
    pub(super) fn of(settings: &KafkaSettings) -> Option<Login> {
        let setting = |names: [&str; 2]| names.iter().find_map(|name| settings.get(name));
        let mechanism = match setting(["sasl.mechanism", "sasl.mechanisms"])? {
            "PLAIN" => Mechanism::Plain,
            "SCRAM-SHA-256" => Mechanism::Scram256,
            "SCRAM-SHA-512" => Mechanism::Scram512,
            _ => return None,
        };
        let user = settings.get("sasl.username")?.to_owned();
        Some(Login { mechanism, user, password: Secret::from(settings.get("sasl.password")?) })
    }

    /// Logs in; none when that fails.
    pub(super) fn log_in(&self, stream: &mut (impl Read + Write)) -> Option<()> {
        let (name, digest) = match self.mechanism {
            Mechanism::Plain => ("PLAIN", None),
            Mechanism::Scram256 => ("SCRAM-SHA-256", Some(MessageDigest::sha256())),
            Mechanism::Scram512 => ("SCRAM-SHA-512", Some(MessageDigest::sha512())),
        };
        let answer = exchange(stream, HANDSHAKE, &text(name)).ok()?;
        if Rest(&answer).int16()? != 0 {
            return None;
        }
        let Some(digest) = digest else {
            let said = format!("\0{}\0{}", self.user, self.password.expose());
            return say(stream, &said).map(drop);
        };
        let mut nonce = [0; 24];
        rand_bytes(&mut nonce).ok()?;
        let first = format!("n={},r={}", escaped(&self.user), encode_block(&nonce));
        let challenge = say(stream, &format!("n,,{first}"))?;
        let (last, signature) = answer_to(&challenge, &first, self.password.expose(), digest)?;
        (say(stream, &last)? == signature).then_some(())
    }
}

/// Says something of a login; what the broker says to it.
fn say(stream: &mut (impl Read + Write), said: &str) -> Option<String> {
    let answer = exchange(stream, AUTHENTICATE, &bytes(said.as_bytes())).ok()?;
    let mut rest = Rest(&answer);
    let (error, _why) = (rest.int16()?, rest.text()?);
    let told = String::from_utf8(rest.bytes()?.to_vec()).ok()?;
    (error == 0).then_some(told)
}

/// A name in which nothing is taken for a part of the message.
fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The last message of SCRAM to a challenge, and what the broker must answer to it.
/// `first` is the first message without its beginning, and so with our nonce.
fn answer_to(
    challenge: &str,
    first: &str,
    password: &str,
    digest: MessageDigest,
) -> Option<(String, String)> {
    let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name));
    let (nonce, salt, rounds) = (part("r=")?, decode_block(part("s=")?).ok()?, part("i=")?);
    let (_, own) = first.rsplit_once("r=")?;
    let rounds = rounds.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))?;
    if !nonce.starts_with(own) {
        return None;
    }
    // "biws" is "n,,", the beginning of the first message, in base64.
    let last = format!("c=biws,r={nonce}");
    let all = format!("{first},{challenge},{last}");
    let mut salted = vec![0; digest.size()];
    pbkdf2_hmac(password.as_bytes(), &salt, rounds, digest, &mut salted).ok()?;
    let keyed = |key: &[u8], text: &str| hmac(key, text, digest).ok();
    let client = keyed(&salted, "Client Key")?;
    let proof = keyed(&hash(digest, &client).ok()?, &all)?;
    let proof: Vec<u8> = proof.iter().zip(&client).map(|(one, other)| one ^ other).collect();
    let signature = keyed(&keyed(&salted, "Server Key")?, &all)?;
    let signature = format!("v={}", encode_block(&signature));
    Some((format!("{last},p={}", encode_block(&proof)), signature))
}

fn hmac(key: &[u8], text: &str, digest: MessageDigest) -> Result<Vec<u8>, ErrorStack> {
    Signer::new(digest, &*PKey::hmac(key)?)?.sign_oneshot_to_vec(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    const FIRST: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn a_challenge_is_answered_as_the_rfc_has_it() {
        let digest = MessageDigest::sha256();
        let (last, signature) = answer_to(CHALLENGE, FIRST, "pencil", digest).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_challenge_to_another_or_with_too_many_rounds_is_not_answered() {
        let digest = MessageDigest::sha512();
        let answered = |challenge: &str| answer_to(challenge, FIRST, "pencil", digest).is_some();
        assert!(answered(CHALLENGE));
        assert!(!answered(&CHALLENGE.replace("rOpr", "xOpr")));
        assert!(!answered(&CHALLENGE.replace("4096", "1000000000")));
        assert!(!answered(&CHALLENGE.replace("4096", "0")));
        assert!(!answered("e=other-error"));
    }

    #[test]
    fn names_keep_their_commas_and_signs_to_themselves() {
        assert_eq!(escaped("a=b,c"), "a=3Db=2Cc");
    }
}
