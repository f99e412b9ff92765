//! librdkafka's error texts, turned into what is wrong and what to do.

use rdkafka::types::RDKafkaErrorCode as Code;

/// A connection closed later than this was working; librdkafka takes the same
/// limit for its own hint.
const AT_ONCE_MS_MAX: u64 = 2000;

/// What is wrong between us and a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// One line with the cure, without secrets.
    pub text: String,
    /// Whether waiting is of no use.
    pub is_final: bool,
    /// What librdkafka does not say, and a look at the broker does.
    pub open_question: Option<OpenQuestion>,
}

/// What is worth a look of our own, at the broker with this `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenQuestion {
    /// Why its certificate was not accepted.
    ServerCertificate(String),
    /// Which certificate of ours it did not accept.
    OurCertificate,
    /// Whether it speaks TLS, where we do not.
    Encryption(String),
}

/// Reads an error callback or a line of the log; none when it says nothing
/// about the cause.
pub fn diagnose(code: Option<Code>, reason: &str) -> Option<Diagnosis> {
    if code == Some(Code::AllBrokersDown) {
        return None;
    }
    let (name, said) = split_name(reason).unwrap_or(("the broker", reason));
    let (said, age) = split_age(said);
    let broker = address(name);
    let settled = login(broker, said).or_else(|| handshake(broker, said));
    let open_question = if said.contains("certificate verify failed") {
        Some(OpenQuestion::ServerCertificate(broker.to_owned()))
    } else if refuses_our_certificate(said) {
        Some(OpenQuestion::OurCertificate)
    } else if is_cut(said) && !name.contains("ssl://") {
        Some(OpenQuestion::Encryption(broker.to_owned()))
    } else {
        None
    };
    Some(Diagnosis {
        is_final: settled.is_some(),
        text: settled.unwrap_or_else(|| unreachable(name, said, age)),
        open_question,
    })
}

/// What librdkafka says when it cannot even make a client.
pub fn creation(said: &str) -> String {
    format!("the Kafka settings do not fit together: {said}")
}

/// There is no connection, or it was closed: may pass, or not.
fn unreachable(name: &str, said: &str, age_ms: Option<u64>) -> String {
    let broker = address(name);
    let is_encrypted = name.contains("ssl://");
    let is_cut = is_cut(said);
    if said.contains("Failed to resolve") {
        format!("there is no host of this name: {broker}; check the broker's address")
    } else if said.contains("Connection refused") {
        format!("nothing listens on {broker}: is Kafka running, and the port right?")
    } else if is_cut && age_ms.is_some_and(|age| age > AT_ONCE_MS_MAX) {
        format!("{broker} closed the connection")
    } else if is_cut && is_encrypted {
        format!(
            "{broker} closes the connection at once: does it want a SASL login? \
             check --security-protocol and the port"
        )
    } else if is_cut {
        format!(
            "{broker} closes the connection at once: does it want TLS? set --security-protocol \
             to SSL or SASL_SSL, and give ca.pem (--cert-path)"
        )
    } else if said.contains("timed out") || said.contains("timeout") {
        format!("no answer from {broker}: check the address and the firewalls between")
    } else {
        format!("no connection to {broker}: {said}")
    }
}

fn is_cut(said: &str) -> bool {
    ["Disconnected", "Broken pipe", "Connection reset"].iter().any(|words| said.contains(words))
}

fn refuses_our_certificate(said: &str) -> bool {
    let words = ["SSL authentication might be required", "alert certificate"];
    let alerts = ["alert unknown ca", "alert bad certificate"];
    words.iter().chain(&alerts).any(|words| said.contains(words))
}

/// The SASL login failed.
fn login(broker: &str, said: &str) -> Option<String> {
    if let Some((_, mechanisms)) = said.split_once("supported mechanisms:") {
        return Some(match mechanisms.trim() {
            "" => format!(
                "{broker} has no SASL login: set --security-protocol to SSL or PLAINTEXT, or \
                 check the port"
            ),
            offered => format!(
                "{broker} does not know our SASL mechanism: set --sasl-mechanism to one of those \
                 it offers, {offered}"
            ),
        });
    }
    said.contains("SASL authentication error").then(|| {
        format!(
            "{broker} refuses the SASL login: check user, password and --sasl-mechanism ({said})"
        )
    })
}

/// The TLS handshake failed, with a certain cause.
fn handshake(broker: &str, reason: &str) -> Option<String> {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    let text = if has(&["hostname mismatch", "IP address mismatch"]) {
        format!(
            "the certificate of {broker} is for another host name: use the name it was made for, \
             or -X ssl.endpoint.identification.algorithm=none"
        )
    } else if has(&["certificate has expired"]) {
        format!("the certificate of {broker} has expired: renew it there")
    } else if has(&["certificate verify failed"]) {
        format!(
            "the certificate of {broker} is not signed by our CA: give the CA certificate of this \
             cluster as ca.pem in the certificate directory (--cert-path)"
        )
    } else if refuses_our_certificate(reason) {
        format!(
            "{broker} wants a client certificate that its CA has signed: put service.key and \
             service.cert of this cluster into the certificate directory (--cert-path)"
        )
    } else if has(&["PLAINTEXT broker listener", "wrong version number", "packet length too long"])
    {
        format!(
            "{broker} does not speak TLS: check the port, or set --security-protocol to PLAINTEXT \
             or SASL_PLAINTEXT"
        )
    } else if has(&["Invalid response size"]) {
        format!(
            "what listens on {broker} is no Kafka, or speaks TLS: check the port and \
             --security-protocol"
        )
    } else {
        return None;
    };
    Some(text)
}

/// Splits `ssl://host:port/bootstrap: …`, which is plain without a scheme.
fn split_name(reason: &str) -> Option<(&str, &str)> {
    // A line of the log has the thread's name in front.
    let reason = match reason.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        Some((_, rest)) => rest,
        None => reason,
    };
    reason.split_once(": ").filter(|(name, _)| name.contains('/'))
}

/// `host:port` of `ssl://host:port/bootstrap`.
fn address(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, name)| name);
    name.rsplit_once('/').map_or(name, |(address, _node)| address)
}

/// Splits ` (after 3ms in state CONNECT, …)` off: the text, and how long the
/// connection had been in its last state, in milliseconds.
fn split_age(said: &str) -> (&str, Option<u64>) {
    match said.rsplit_once(" (after ") {
        Some((text, age)) => (text, age.split_once("ms").and_then(|(age, _)| age.parse().ok())),
        None => (said, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_cause_has_its_message() {
        let verify = "ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::\
            certificate verify failed";
        let hostname = format!("{verify} (hostname mismatch)");
        let expired = format!("{verify} (certificate has expired)");
        let mechanisms = "sasl_ssl://h:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: \
            Unsupported SASL mechanism: broker's supported mechanisms:";
        let offered = format!("{mechanisms} SCRAM-SHA-256 (after 1ms in state AUTH_HANDSHAKE)");
        for (reason, words, is_final) in [
            ("h:1/bootstrap: Failed to resolve 'h:1': unknown", "no host of this name: h:1", false),
            (
                "h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms)",
                "nothing listens on h:1",
                false,
            ),
            (verify, "ca.pem", true),
            (&hostname, "another host name", true),
            (&expired, "has expired", true),
            (
                "ssl://h:1/bootstrap: SSL handshake failed: Disconnected: connecting to a \
                 PLAINTEXT broker listener?",
                "h:1 does not speak TLS",
                true,
            ),
            (
                "[thrd:h:1/bootstrap]: h:1/bootstrap: Disconnected: connection closed by peer: \
                 receive 0 after POLLIN (after 2ms in state APIVERSION_QUERY)",
                "h:1 closes the connection at once: does it want TLS?",
                false,
            ),
            (
                "[thrd:ssl://h:1/1]: ssl://h:1/1: Disconnected: SSL connection closed by peer",
                "does it want a SASL login?",
                false,
            ),
            (
                "ssl://h:1/1: Disconnected: SSL connection closed by peer (after 600000ms in \
                 state UP)",
                "h:1 closed the connection",
                false,
            ),
            (
                "sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed",
                "h:1 refuses the SASL login",
                true,
            ),
            (mechanisms, "h:1 has no SASL login", true),
            (&offered, "those it offers, SCRAM-SHA-256", true),
            ("ssl://h:1/1: alert bad certificate: SSL alert number 42", "service.key", true),
            ("h:1/1: Receive failed: Invalid response size 1157627904", "is no Kafka", true),
        ] {
            let found = diagnose(None, reason).unwrap();
            assert!(found.text.contains(words), "{reason}: {}", found.text);
            assert_eq!(found.is_final, is_final, "{reason}");
        }
        assert_eq!(diagnose(Some(Code::AllBrokersDown), "1/1 brokers are down"), None);
        let question = Some(OpenQuestion::ServerCertificate("h:1".into()));
        assert_eq!(diagnose(None, verify).unwrap().open_question, question);
    }

    proptest! {
        #[test]
        fn any_reason_is_read(reason in "\\PC{0,80}") {
            diagnose(None, &reason);
        }
    }
}
