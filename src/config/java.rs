//! Kafka client properties files: Java's names and librdkafka's, turned into
//! librdkafka's.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::Secret;

/// Java properties without counterpart that change nothing about how we work;
/// whole families end in a dot.
const IGNORED: [&str; 30] = [
    "key.deserializer",
    "value.deserializer",
    "key.serializer",
    "value.serializer",
    "ssl.truststore.password",
    "ssl.truststore.type",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.enabled.protocols",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "ssl.keymanager.algorithm",
    "ssl.engine.factory.class",
    "security.providers",
    "metric.reporters",
    "metrics.",
    "interceptor.classes",
    "sasl.login.",
    "sasl.client.callback.handler.class",
    "default.api.timeout.ms",
    "max.poll.records",
    "fetch.max.wait.ms",
    "exclude.internal.topics",
    "buffer.memory",
    "max.block.ms",
    "partitioner.class",
    "receive.buffer.bytes",
    "send.buffer.bytes",
    "schema.registry.",
];

/// What a properties file says, in librdkafka's names.
#[derive(Debug, Default)]
pub(super) struct Properties {
    /// Names and values in the order of the file.
    pub set: Vec<(String, Secret)>,
    /// Names that were passed over, for `-v`.
    pub ignored: Vec<String>,
}

/// Reads a properties file.
///
/// # Errors
/// When it cannot be read or understood, names a store that is no PEM, or a
/// login module that is neither SCRAM nor PLAIN; no value is quoted.
pub(super) fn read(path: &Path) -> anyhow::Result<Properties> {
    let in_file = || format!("--kafka-config {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => anyhow::anyhow!("not UTF-8 text: check the path"),
        _ => anyhow::anyhow!("cannot read it: {error}"),
    });
    text.and_then(|text| translate(&parse(&text)?)).with_context(in_file)
}

/// Turns Java's properties into librdkafka's; those of librdkafka pass.
fn translate(entries: &[(String, String)]) -> anyhow::Result<Properties> {
    let mut properties = Properties::default();
    for (name, value) in entries {
        let mut set = |name: &str, value: &str| {
            properties.set.push((name.into(), Secret::new(value)));
        };
        match name.as_str() {
            "ssl.truststore.location" => {
                refuse_other_than_pem(value, "-nokeys")?;
                set("ssl.ca.location", value);
            }
            "ssl.truststore.certificates" => set("ssl.ca.pem", value),
            "ssl.keystore.location" => {
                refuse_other_than_pem(value, "-nodes")?;
                set("ssl.certificate.location", value);
                set("ssl.key.location", value);
            }
            "ssl.keystore.certificate.chain" => set("ssl.certificate.pem", value),
            "ssl.keystore.key" => set("ssl.key.pem", value),
            "ssl.endpoint.identification.algorithm" if value.is_empty() => set(name, "none"),
            "sasl.jaas.config" => {
                let login = Login::parse(value)?;
                if let Some(mechanism) = login.mechanism {
                    // An explicit sasl.mechanism elsewhere in the file wins.
                    if !entries.iter().any(|(name, _)| name.starts_with("sasl.mechanism")) {
                        set("sasl.mechanism", mechanism);
                    }
                }
                set("sasl.username", &login.username);
                set("sasl.password", &login.password);
            }
            name if is_ignored(name) => properties.ignored.push(name.into()),
            name => set(name, value),
        }
    }
    Ok(properties)
}

fn is_ignored(name: &str) -> bool {
    IGNORED
        .iter()
        .any(|ignored| name == *ignored || (ignored.ends_with('.') && name.starts_with(ignored)))
}

/// JKS and PKCS#12 stores are binary; PEM says so in text.
fn refuse_other_than_pem(path: &str, what: &str) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the store {path}"))?;
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Ok(());
    }
    bail!(
        "the store {path} is not PEM: convert it with \
         `keytool -importkeystore -srckeystore {path} -destkeystore store.p12 \
         -deststoretype PKCS12` and `openssl pkcs12 -in store.p12 {what} -out store.pem`, \
         then name store.pem"
    )
}

/// The login of a `sasl.jaas.config`.
struct Login {
    mechanism: Option<&'static str>,
    username: String,
    password: String,
}

impl Login {
    /// Reads `org.apache.kafka…PlainLoginModule required username="…" password="…";`.
    fn parse(text: &str) -> anyhow::Result<Login> {
        let (module, options) = text.trim().split_once(char::is_whitespace).unwrap_or((text, ""));
        let mechanism = match module.rsplit('.').next() {
            Some("PlainLoginModule") => Some("PLAIN"),
            Some("ScramLoginModule") => None,
            _ => {
                bail!("sasl.jaas.config: only ScramLoginModule and PlainLoginModule are understood")
            }
        };
        let option = |name: &str| {
            quoted_option(options, name).with_context(|| {
                format!("sasl.jaas.config has no {name}=\"…\": write it in double quotes")
            })
        };
        Ok(Login { mechanism, username: option("username")?, password: option("password")? })
    }
}

/// The value of `name="…"`, in which a backslash takes the next character as it
/// is.
fn quoted_option(options: &str, name: &str) -> Option<String> {
    let mut rest = options;
    while let Some((before, after)) = rest.split_once("=\"") {
        let (value, end) = unquote(after)?;
        if before.trim_end().rsplit(char::is_whitespace).next() == Some(name) {
            return Some(value);
        }
        rest = &after[end..];
    }
    None
}

/// The text up to the closing quote, and where the text after it begins.
fn unquote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, at + 1)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Splits the text of a `.properties` file (java.util.Properties) into names
/// and values.
fn parse(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (name, value) = split_entry(&logical);
        let unescape_here = |text| {
            unescape(text).with_context(|| format!("line {}: broken \\u escape", number + 1))
        };
        let (name, value) = (unescape_here(name)?, unescape_here(value.trim_end())?);
        if name.is_empty() {
            bail!("line {}: no name before the =", number + 1);
        }
        entries.push((name, value));
    }
    Ok(entries)
}

/// Whether a line ends in an odd number of backslashes.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The name ends at the first `=`, `:` or white space that is not escaped.
fn split_entry(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        if !escaped && (matches!(character, '=' | ':') || character.is_whitespace()) {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
        escaped = character == '\\' && !escaped;
    }
    (line, "")
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                let code = u32::from_str_radix(&digits, 16).ok()?;
                out.push(char::from_u32(code)?);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn translated(text: &str) -> anyhow::Result<Vec<(String, String)>> {
        let properties = translate(&parse(text)?)?;
        Ok(properties.set.into_iter().map(|(name, value)| (name, value.expose().into())).collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn a_java_file_of_a_scram_user_is_understood() {
        let text = "# comes from the provider\n\
            security.protocol=SASL_SSL\n\
            sasl.mechanism: SCRAM-SHA-512\n\
            sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n\
            \x20 username=\"al\\\\\"ice\" \\\n\
            \x20 password=\"pa=\\\\\\\\ss;\";\n\
            ssl.endpoint.identification.algorithm=\n\
            key.deserializer=org.apache.kafka.common.serialization.StringDeserializer\n";
        let expected = pairs(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "al\"ice"),
            ("sasl.password", "pa=\\ss;"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ]);
        assert_eq!(translated(text).unwrap(), expected);
    }

    #[test]
    fn the_plain_module_implies_its_mechanism_unless_named() {
        let module = "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
            required username=\"u\" password=\"p\";\n";
        let found = translated(module).unwrap();
        assert_eq!(found[0], ("sasl.mechanism".into(), "PLAIN".into()));
        let found = translated(&format!("{module}sasl.mechanism=PLAIN\n")).unwrap();
        assert_eq!(found.iter().filter(|(name, _)| name == "sasl.mechanism").count(), 1);
    }

    #[test]
    fn pem_in_the_file_keeps_its_line_breaks() {
        let text = "ssl.truststore.type=PEM\n\
            ssl.truststore.certificates=-----BEGIN CERTIFICATE-----\\nAAAA\\n\\\n  -----END\n\
            ssl.keystore.key=K\nssl.keystore.certificate.chain=C\nssl.key.password=P\n";
        let expected = pairs(&[
            ("ssl.ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END"),
            ("ssl.key.pem", "K"),
            ("ssl.certificate.pem", "C"),
            ("ssl.key.password", "P"),
        ]);
        assert_eq!(translated(text).unwrap(), expected);
    }

    #[test]
    fn librdkafka_names_pass() {
        let text = "metadata.broker.list=a:1,b:2\nsocket.timeout.ms = 5000\n";
        let expected = pairs(&[("metadata.broker.list", "a:1,b:2"), ("socket.timeout.ms", "5000")]);
        assert_eq!(translated(text).unwrap(), expected);
    }

    #[test]
    fn stores_in_pem_are_named_to_librdkafka_and_others_refused_with_the_conversion() {
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("store.pem");
        std::fs::write(&pem, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let names: Vec<String> = translated(&format!("ssl.keystore.location={}\n", pem.display()))
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["ssl.certificate.location", "ssl.key.location"]);
        let jks = folder.path().join("store.jks");
        std::fs::write(&jks, b"\xfe\xed\xfe\xed").unwrap();
        for name in ["ssl.truststore.location", "ssl.keystore.location"] {
            let refusal = translated(&format!("{name}={}\n", jks.display())).unwrap_err();
            assert!(refusal.to_string().contains("keytool -importkeystore"), "{refusal}");
        }
    }

    #[test]
    fn other_login_modules_and_broken_lines_are_refused() {
        let kerberos = "sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required;";
        assert!(translated(kerberos).unwrap_err().to_string().contains("ScramLoginModule"));
        let nobody = "sasl.jaas.config=x.PlainLoginModule required password=\"hunter2\";";
        let refusal = translated(nobody).unwrap_err().to_string();
        assert!(refusal.contains("username") && !refusal.contains("hunter2"), "{refusal}");
        assert!(translated("=value").unwrap_err().to_string().contains("line 1"));
        assert!(translated("a=\\u12").unwrap_err().to_string().contains("line 1"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in "[\\PC\n\\\\\"=]{0,200}") {
            let _ = translated(&text);
        }

        #[test]
        fn a_password_survives_quoting(password in "\\PC{1,30}") {
            let jaas = password.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!(
                "sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"{}\";",
                jaas.replace('\\', "\\\\"),
            );
            let found = translated(&line).unwrap();
            prop_assert_eq!(&found.last().unwrap().1, &password);
        }
    }
}
