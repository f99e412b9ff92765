//! Connection strings in libpq's two forms, taken apart into keywords.
//!
//! No error of this module quotes the string: where a password holds an
//! unescaped `@`, `/`, `?` or space, any part of it could be the password's.

/// Keywords of libpq that our driver, or we, give a meaning to.
const KNOWN: [&str; 26] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
    // These three change nothing for a client without GSSAPI.
    "gssencmode",
    "sslcompression",
    "fallback_application_name",
];

/// Keywords that libpq knows and we do not; named in the refusal.
const UNSUPPORTED: [&str; 14] = [
    "client_encoding",
    "krbsrvname",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslsni",
];

/// Keywords and values of a connection string, each keyword once and none
/// without a value; the last of a repeated keyword wins, as in libpq.
#[derive(Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a URI or a key/value string.
    ///
    /// # Errors
    /// When it is neither or uses a keyword that is not supported.
    pub(super) fn parse(text: &str) -> Result<Parameters, String> {
        let text = text.trim();
        let scheme = ["postgres://", "postgresql://"];
        if let Some(rest) = scheme.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            return parse_uri(rest);
        }
        if text.contains("://")
            && !text.split("://").next().unwrap_or_default().contains(['=', ' '])
        {
            return Err("a URI must begin with postgres:// or postgresql://".into());
        }
        parse_key_values(text)
    }

    /// The value of a keyword, if it is there.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == keyword).map(|(_, value)| value.as_str())
    }

    /// Takes a keyword out.
    pub(super) fn take(&mut self, keyword: &str) -> Option<String> {
        let value = self.get(keyword).map(str::to_owned);
        self.0.retain(|(known, _)| known != keyword);
        value
    }

    /// Sets a keyword that is not there.
    pub(super) fn set_default(&mut self, keyword: &str, value: &str) {
        if self.get(keyword).is_none() {
            self.set(keyword, value.into());
        }
    }

    /// The parameters as one key/value string.
    pub(super) fn to_key_values(&self) -> String {
        let pair = |(keyword, value): &(String, String)| {
            format!("{keyword}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
        };
        self.0.iter().map(pair).collect::<Vec<_>>().join(" ")
    }

    /// Sets a keyword in place of what it was; to nothing means not at all.
    fn set(&mut self, keyword: &str, value: String) {
        self.0.retain(|(known, _)| known != keyword);
        if !value.is_empty() {
            self.0.push((keyword.into(), value));
        }
    }

    fn add(&mut self, keyword: &str, value: String, may_quote: bool) -> Result<(), String> {
        if keyword == "ssl" && value == "true" {
            // What JDBC writes; libpq takes it for this.
            self.set("sslmode", "require".into());
        } else if KNOWN.contains(&keyword) {
            self.set(keyword, value);
        } else if UNSUPPORTED.contains(&keyword) {
            return Err(format!("the parameter {keyword} is not supported: remove it"));
        } else if may_quote {
            return Err(format!("there is no parameter {keyword}: remove it"));
        } else {
            return Err("there is a parameter that PostgreSQL does not know: put values with \
                        spaces in single quotes and check the names"
                .into());
        }
        Ok(())
    }
}

const RAW_AT: &str = "user or password holds a character that must be percent-encoded: write @ \
                      as %40, / as %2F, ? as %3F, : as %3A, # as %23, % as %25";

/// Reads what follows `postgres://`.
fn parse_uri(rest: &str) -> Result<Parameters, String> {
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
    // Exactly one @ is plain, and only in the authority. Anywhere else the
    // password was not encoded, and what looks like a host is a part of it.
    if authority.matches('@').count() > 1 || path.contains('@') || query.contains('@') {
        return Err(RAW_AT.into());
    }
    let mut parameters = Parameters::default();
    let hosts = match authority.split_once('@') {
        None => authority,
        Some((login, hosts)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            parameters.set("user", decode(user)?);
            parameters.set("password", decode(password)?);
            hosts
        }
    };
    add_hosts(&mut parameters, hosts)?;
    parameters.set("dbname", decode(path)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((keyword, value)) = pair.split_once('=') else {
            return Err("a parameter after the ? has no value: write NAME=VALUE".into());
        };
        // Without a login in front, what follows the ? may be a password's rest.
        parameters.add(&decode(keyword)?, decode(value)?, authority.contains('@'))?;
    }
    Ok(parameters)
}

/// Adds the `host:port,host:port` of a URI.
fn add_hosts(parameters: &mut Parameters, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((v6, rest)) => (v6, rest.strip_prefix(':').unwrap_or(rest)),
            None => part.split_once(':').unwrap_or((part, "")),
        };
        hosts.push(decode(host)?);
        ports.push(decode(port)?);
    }
    parameters.set("host", hosts.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.set("port", ports.join(","));
    }
    Ok(())
}

/// Percent-decoding (RFC 3986); `+` is itself.
fn decode(text: &str) -> Result<String, String> {
    let broken = || "a % is not followed by two hexadecimal digits: write % as %25".to_string();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2).ok_or_else(broken)?;
        // The parser of numbers would take a sign.
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(broken());
        }
        let digits = std::str::from_utf8(digits).map_err(|_| broken())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| broken())?);
        rest = after;
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err("a percent-encoded part is not UTF-8 text: check the encoding".into()),
    }
}

/// Reads `keyword = value` pairs; a value in single quotes may hold spaces, and
/// a backslash takes the next character as it is.
fn parse_key_values(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::default();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((keyword, after)) = rest.split_once('=') else {
            return Err(
                "not a connection string: write postgres://USER:PASSWORD@HOST:PORT/DATABASE \
                        or host=… user=… dbname=…"
                    .into(),
            );
        };
        let (value, after) = take_value(after.trim_start())?;
        parameters.add(keyword.trim(), value, false)?;
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// A value and what follows it.
fn take_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            space if quoted.is_none() && space.is_whitespace() => return Ok((value, &body[at..])),
            other => value.push(other),
        }
    }
    if quoted.is_some() {
        return Err("a value in single quotes does not end: close the quote".into());
    }
    Ok((value, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Parameters {
        Parameters::parse(text).unwrap()
    }

    fn refusal(text: &str) -> String {
        Parameters::parse(text).err().unwrap()
    }

    #[test]
    fn a_uri_is_taken_apart() {
        let found = parsed("postgres://al%40ice:p%3Aw@h1:1,[::1]:2,h3/data%20base?sslmode=require");
        for (keyword, value) in [
            ("user", "al@ice"),
            ("password", "p:w"),
            ("host", "h1,::1,h3"),
            ("port", "1,2,"),
            ("dbname", "data base"),
            ("sslmode", "require"),
        ] {
            assert_eq!(found.get(keyword), Some(value), "{keyword}");
        }
    }

    #[test]
    fn every_part_of_a_uri_is_optional() {
        let found = parsed("postgresql://");
        assert_eq!(found.to_key_values(), "");
        assert_eq!(parsed("postgres:///db").to_key_values(), "dbname='db'");
        assert_eq!(parsed("postgres://u@h").to_key_values(), "user='u' host='h'");
    }

    #[test]
    fn key_values_are_taken_apart_and_put_together() {
        let found = parsed("host = a user='it\\'s' ");
        assert_eq!(found.get("host"), Some("a"));
        let found = parsed(r"user='a b' password='p\'\\q' dbname=d");
        assert_eq!(found.get("password"), Some(r"p'\q"));
        assert_eq!(found.to_key_values(), r"user='a b' password='p\'\\q' dbname='d'");
    }

    #[test]
    fn the_last_of_a_repeated_parameter_counts() {
        let found = parsed("postgres://u@h/a?dbname=b&dbname=c");
        assert_eq!(found.to_key_values(), "user='u' host='h' dbname='c'");
    }

    #[test]
    fn a_raw_at_sign_is_refused_without_being_quoted() {
        for text in [
            "postgres://u:hunter2@rest@h/db",
            "postgres://u:hunter2/x@h/db",
            "postgres://u:p@hunter2/x@h/db",
            "postgres://u:hunter2?x@h/db",
            "postgres://u:p@hunter2?x=1@h/db",
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains("%40") && !refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn other_schemes_and_unknown_parameters_are_refused() {
        assert!(refusal("mysql://u:p@h/db").contains("postgres://"));
        assert!(refusal("jdbc:postgresql://h/db?user=u&password=p").contains("postgres://"));
        assert!(refusal("postgres://u@h/db?sslcrl=x").contains("sslcrl"));
        assert!(refusal("postgres://u@h/db?schema=x").contains("schema"));
        assert!(!refusal("host=h password=a hunter2=b").contains("hunter2"));
        assert!(refusal("hunter2").contains("postgres://USER"));
        assert!(refusal("postgres://u:%zz@h").contains("%25"));
    }

    proptest! {
        #[test]
        fn any_login_survives_the_way_through(
            user in "\\PC{1,12}", password in "\\PC{1,20}", dbname in "\\PC{1,12}",
        ) {
            let encode = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let uri = format!(
                "postgres://{}:{}@h:1/{}", encode(&user), encode(&password), encode(&dbname)
            );
            let again = parsed(&parsed(&uri).to_key_values());
            prop_assert_eq!(again.get("user"), Some(user.as_str()));
            prop_assert_eq!(again.get("password"), Some(password.as_str()));
            prop_assert_eq!(again.get("dbname"), Some(dbname.as_str()));
            prop_assert_eq!(again.get("port"), Some("1"));
        }

        #[test]
        fn no_refusal_quotes_the_string(password in "[a-z]{10}[@/?=& %']{0,3}[a-z]{10}") {
            for text in [
                format!("postgres://u:{password}@h/db"),
                format!("postgres://u:{password}"),
                format!("host=h password={password} user=u"),
                format!("jdbc:postgresql://h/db?password={password}"),
                password.clone(),
            ] {
                if let Err(refusal) = Parameters::parse(&text) {
                    prop_assert!(!refusal.contains(&password[..10]), "{}", refusal);
                    prop_assert!(!refusal.contains(&password[password.len() - 10..]), "{}", refusal);
                }
            }
        }
    }
}
