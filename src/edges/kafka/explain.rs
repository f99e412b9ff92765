//! What librdkafka leaves open about a failed connection, found out by a look of
//! our own.

use std::path::Path;

use super::diagnosis::{Diagnosis, OpenQuestion};
use crate::config::KafkaSettings;
use crate::edges::handshake::{Distrust, Opening, shake_hands};
use crate::edges::tls;
use crate::edges::trust::{Trust, issuer, subject};

/// The text of a failure, with what was expected and what came where a look at
/// the broker or at our own files tells it. Takes a few seconds at most.
pub fn explain(settings: &KafkaSettings, failure: Diagnosis) -> String {
    let found = match &failure.open_question {
        Some(OpenQuestion::ServerCertificate(broker)) => server_certificate(settings, broker),
        Some(OpenQuestion::OurCertificate) => {
            Some(format!("{}; {}", failure.text, our_certificate(settings)))
        }
        Some(OpenQuestion::Encryption(broker)) => speaks_tls(settings, broker),
        None => None,
    };
    found.unwrap_or(failure.text)
}

fn server_certificate(settings: &KafkaSettings, broker: &str) -> Option<String> {
    let trust = Trust::of_kafka(settings).ok()?;
    let (shown, _) = shake_hands(broker, Opening::AtOnce, &trust).ok()?;
    let fault = shown.fault(broker, &trust)?;
    Some(format!("{fault}; {}", cure(shown.distrust.as_ref()?)))
}

/// What to do about a broker's certificate.
pub fn cure(distrust: &Distrust) -> &'static str {
    match distrust {
        Distrust::OtherName => {
            "use a name it was made for, or -X ssl.endpoint.identification.algorithm=none"
        }
        Distrust::Expired => "renew it there",
        Distrust::NotYetValid => "check the clocks",
        Distrust::Unsigned | Distrust::Other(_) => {
            "give the CA certificate of this cluster as ca.pem in the certificate directory \
             (--cert-path)"
        }
    }
}

fn our_certificate(settings: &KafkaSettings) -> String {
    let Some(path) = settings.get("ssl.certificate.location") else {
        return "we have none to show".into();
    };
    match tls::read_certificates(Path::new(path)) {
        Ok(chain) => {
            format!(
                "ours, {path}, is for {} and signed by {}",
                subject(&chain[0]),
                issuer(&chain[0])
            )
        }
        Err(error) => format!("{error:#}"),
    }
}

fn speaks_tls(settings: &KafkaSettings, broker: &str) -> Option<String> {
    let (shown, _) = shake_hands(broker, Opening::AtOnce, &Trust::of_system()).ok()?;
    Some(format!(
        "{broker} speaks TLS ({}), but the security protocol is {}: set --security-protocol to SSL \
         or SASL_SSL, and give ca.pem (--cert-path)",
        shown.protocol,
        settings.get("security.protocol").unwrap_or("PLAINTEXT")
    ))
}
