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

use anyhow::{Context as _, bail, ensure};

use super::wire::{Api, Rest, bytes, exchange, text};
use crate::config::{KafkaSettings, SaslMechanism, Secret};

const HANDSHAKE: Api = Api { key: 17, version: 1 };
const AUTHENTICATE: Api = Api { key: 36, version: 0 };
/// The most rounds of hashing that a broker may ask for.
const ROUNDS_MAX: usize = 1_000_000;

/// A login.
pub(super) struct Login {
    mechanism: SaslMechanism,
    user: String,
    password: Secret,
}

impl Login {
    /// The login of the settings.
    ///
    /// # Errors
    /// When it is of a kind not spoken here, or not whole.
    pub(super) fn of(settings: &KafkaSettings) -> anyhow::Result<Login> {
        let setting = |name| settings.get(name).with_context(|| format!("no {name}"));
        let mechanism = setting("sasl.mechanism")?;
        let mechanism = SaslMechanism::parse(mechanism)
            .with_context(|| format!("a login by {mechanism} is not made here"))?;
        let (user, password) = (setting("sasl.username")?, setting("sasl.password")?);
        Ok(Login { mechanism, user: user.to_owned(), password: Secret::from(password) })
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the broker refuses, is not the one that knows the password (only SCRAM
    /// can tell), or does not answer.
    pub(super) fn log_in(&self, stream: &mut (impl Read + Write)) -> anyhow::Result<()> {
        let name = self.mechanism.name();
        let answer = exchange(stream, HANDSHAKE, &text(name))?;
        ensure!(Rest(&answer).int16() == Some(0), "the broker takes no login by {name}");
        let digest = match self.mechanism {
            SaslMechanism::Plain => {
                let said = format!("\0{}\0{}", self.user, self.password.expose());
                return say(stream, &said).map(drop);
            }
            SaslMechanism::ScramSha256 => MessageDigest::sha256(),
            SaslMechanism::ScramSha512 => MessageDigest::sha512(),
        };
        let mut nonce = [0; 24];
        rand_bytes(&mut nonce)?;
        let first = format!("n={},r={}", escaped(&self.user), encode_block(&nonce));
        let challenge = say(stream, &format!("n,,{first}"))?;
        let (last, signature) = answer_to(&challenge, &first, self.password.expose(), digest)
            .context("a challenge that is none")?;
        ensure!(say(stream, &last)? == signature, "the broker does not know the password");
        Ok(())
    }
}

/// Says something of a login; what the broker says to it.
fn say(stream: &mut (impl Read + Write), said: &str) -> anyhow::Result<String> {
    let answer = exchange(stream, AUTHENTICATE, &bytes(said.as_bytes()))?;
    let mut rest = Rest(&answer);
    let (error, why) = rest.int16().zip(rest.text()).context("an answer that is none")?;
    if error != 0 {
        bail!("the login was refused: {why}");
    }
    let told = rest.bytes().context("an answer that is none")?;
    Ok(String::from_utf8(told.to_vec())?)
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
    use std::io;

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

    /// A broker that knows one password, and answers what it is asked at once.
    struct Broker {
        password: &'static str,
        /// What SCRAM's last answer begins with, `v=` unless it is wrong.
        signs: &'static str,
        digest: MessageDigest,
        /// The client's first message and the challenge to it.
        challenged: Option<(String, String)>,
        answer: io::Cursor<Vec<u8>>,
    }

    impl Broker {
        /// The error, and what is said, to a message of a login.
        fn judge(&mut self, said: &str) -> (i16, String) {
            let refused = (58, String::new());
            if let Some(login) = said.strip_prefix('\0') {
                let expected = format!("user\0{}", self.password);
                return if login == expected { (0, String::new()) } else { refused };
            }
            if let Some(first) = said.strip_prefix("n,,") {
                let (_, nonce) = first.rsplit_once("r=").unwrap();
                let challenge = format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
                self.challenged = Some((first.to_owned(), challenge.clone()));
                return (0, challenge);
            }
            let (first, challenge) = self.challenged.take().unwrap();
            let (last, signature) =
                answer_to(&challenge, &first, self.password, self.digest).unwrap();
            let signature = signature.replacen("v=", self.signs, 1);
            if said == last { (0, signature) } else { refused }
        }
    }

    impl Write for Broker {
        fn write(&mut self, request: &[u8]) -> io::Result<usize> {
            let body = &request[4 + 8 + 2 + "orderctl".len()..];
            let answer = if request[4..6] == HANDSHAKE.key.to_be_bytes() {
                let is_known = Rest(body).text().unwrap() != "SCRAM-SHA-512";
                i16::to_be_bytes(if is_known { 0 } else { 33 }).to_vec()
            } else {
                let said = Rest(body).bytes().unwrap();
                let (error, told) = self.judge(std::str::from_utf8(said).unwrap());
                [&error.to_be_bytes()[..], &text("why"), &bytes(told.as_bytes())].concat()
            };
            self.answer = io::Cursor::new(bytes(&[&[0; 4][..], &answer].concat()));
            Ok(request.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Broker {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    #[test]
    fn who_is_let_in_and_who_is_believed_is_told_from_others() {
        let said = |mechanism, password, signs| {
            let password = Secret::from(password);
            let login = Login { mechanism, user: "user".into(), password };
            let (digest, answer) = (MessageDigest::sha256(), io::Cursor::default());
            let mut broker = Broker { password: "pencil", signs, digest, challenged: None, answer };
            login.log_in(&mut broker).err().map(|why| format!("{why:#}"))
        };
        use SaslMechanism::{Plain, ScramSha256, ScramSha512};
        let refused = Some("the login was refused: why".to_owned());
        for mechanism in [Plain, ScramSha256] {
            assert_eq!(said(mechanism, "pencil", "v="), None);
            assert_eq!(said(mechanism, "crayon", "v="), refused);
        }
        let impostor = said(ScramSha256, "pencil", "v=x");
        assert_eq!(impostor.as_deref(), Some("the broker does not know the password"));
        let unknown = said(ScramSha512, "pencil", "v=");
        assert_eq!(unknown.as_deref(), Some("the broker takes no login by SCRAM-SHA-512"));
    }

    #[test]
    fn names_keep_their_commas_and_signs_to_themselves() {
        assert_eq!(escaped("a=b,c"), "a=3Db=2Cc");
    }
}
