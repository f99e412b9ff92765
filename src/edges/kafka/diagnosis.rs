//! librdkafka's error texts, turned into what is wrong and what to do.

use rdkafka::types::RDKafkaErrorCode as Code;

/// What is wrong between us and a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// One line with the cure, without secrets.
    pub text: String,
    /// Whether waiting is of no use.
    pub is_final: bool,
}

/// Reads an error callback; none when it says nothing about the cause.
pub fn diagnose(code: Option<Code>, reason: &str) -> Option<Diagnosis> {
    let broker = broker(reason);
    let last = |text: String| Some(Diagnosis { text, is_final: true });
    let passing = |text: String| Some(Diagnosis { text, is_final: false });
    match code {
        Some(Code::AllBrokersDown) => return None,
        Some(Code::Authentication) | Some(Code::SaslAuthenticationFailed) => {
            return last(login(&broker, reason));
        }
        Some(Code::Resolve) => {
            return passing(format!(
                "there is no host of this name: {broker}; check the broker's address"
            ));
        }
        _ => {}
    }
    if let Some(text) = handshake(&broker, reason) {
        return last(text);
    }
    if reason.contains("Failed to resolve") {
        passing(format!("there is no host of this name: {broker}; check the broker's address"))
    } else if reason.contains("Connection refused") {
        passing(format!("nothing listens on {broker}: is Kafka running, and the port right?"))
    } else if reason.contains("ApiVersion") && reason.contains("isconnected") {
        passing(format!(
            "{broker} closed the connection at once: does it want TLS or a SASL login? \
             check --security-protocol"
        ))
    } else if reason.contains("timed out") || reason.contains("timeout") {
        passing(format!("no answer from {broker}: check the address and the firewalls between"))
    } else {
        passing(format!("no connection to {broker}: {}", without_address(reason)))
    }
}

/// What librdkafka says when it cannot even make a client.
pub fn creation(said: &str) -> String {
    format!("the Kafka settings do not fit together: {said}")
}

/// The login failed.
fn login(broker: &str, reason: &str) -> String {
    if reason.contains("nsupported") {
        format!(
            "{broker} does not know the SASL mechanism: set --sasl-mechanism to one it offers ({})",
            without_address(reason)
        )
    } else {
        format!(
            "{broker} refuses the SASL login: check user, password and --sasl-mechanism ({})",
            without_address(reason)
        )
    }
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
    } else if has(&["certificate required", "client SSL authentication might be required"]) {
        format!(
            "{broker} wants a client certificate: put service.key and service.cert into the \
             certificate directory (--cert-path)"
        )
    } else if has(&["alert unknown ca", "alert bad certificate", "alert certificate"]) {
        format!(
            "{broker} refuses our client certificate: use service.key and service.cert of this \
             cluster"
        )
    } else if has(&["PLAINTEXT broker listener", "wrong version number", "packet length too long"])
    {
        format!(
            "{broker} does not speak TLS: check the port, or set --security-protocol to PLAINTEXT \
             or SASL_PLAINTEXT"
        )
    } else if has(&["connecting to a SSL listener"]) {
        format!("{broker} speaks TLS: set --security-protocol to SSL or SASL_SSL")
    } else {
        return None;
    };
    Some(text)
}

/// `host:port` out of `ssl://host:port/bootstrap: …`; plaintext has no scheme.
fn broker(reason: &str) -> String {
    split_address(reason).map_or_else(|| "the broker".into(), |(address, _)| address.into())
}

/// The reason without the `ssl://host:port/1: ` in front.
fn without_address(reason: &str) -> &str {
    split_address(reason).map_or(reason, |(_, said)| said)
}

fn split_address(reason: &str) -> Option<(&str, &str)> {
    let (name, said) = reason.split_once(": ")?;
    let name = name.split_once("://").map_or(name, |(_, name)| name);
    let (address, _node) = name.rsplit_once('/')?;
    Some((address, said))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_cause_has_its_message() {
        let ssl = "ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::";
        for (code, reason, word, is_final) in [
            (Code::Resolve, "h:1/bootstrap: Failed to resolve 'h:1': unknown", "host", false),
            (
                Code::BrokerTransportFailure,
                "h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
                "nothing listens on h:1",
                false,
            ),
            (Code::SSL, &format!("{ssl}certificate verify failed: x"), "ca.pem", true),
            (
                Code::SSL,
                &format!("{ssl}certificate verify failed: hostname mismatch"),
                "another host name",
                true,
            ),
            (
                Code::SSL,
                "ssl://h:1/bootstrap: SSL handshake failed: Disconnected: connecting to a \
                 PLAINTEXT broker listener?",
                "does not speak TLS",
                true,
            ),
            (
                Code::BrokerTransportFailure,
                "h:1/bootstrap: Disconnected while requesting ApiVersion: might be \
                 caused by incorrect security.protocol configuration (connecting to a SSL \
                 listener?) or broker version is < 0.10",
                "speaks TLS",
                true,
            ),
            (
                Code::Authentication,
                "sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed",
                "h:1 refuses the SASL login",
                true,
            ),
            (
                Code::SSL,
                "ssl://h:1/1: SSL alert: tlsv13 alert certificate required",
                "service.key",
                true,
            ),
        ] {
            let found = diagnose(Some(code), reason).unwrap();
            assert!(found.text.contains(word), "{reason}: {}", found.text);
            assert_eq!(found.is_final, is_final, "{reason}");
        }
        assert_eq!(diagnose(Some(Code::AllBrokersDown), "1/1 brokers are down"), None);
    }

    proptest! {
        #[test]
        fn any_reason_is_read(reason in "\\PC{0,80}") {
            diagnose(None, &reason);
        }
    }
}
