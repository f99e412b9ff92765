//! The checks of PostgreSQL, up to the login; tables follow in
//! [`super::table`].

use futures_util::future::join_all;

use super::finding::{Check, Sheet};
use super::kafka::note_trust;
use super::link::{Cures, LIMIT, blocking, is_local, note_handshake, reach};
use crate::cli::Context;
use crate::config::{PostgresSettings, RootCertificate, SslMode};
use crate::edges::handshake::{NoHandshake, Opening, Shown, shake_hands};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::inspect::{self, Server};
use crate::edges::postgres::{Client, fault};
use crate::edges::tls;
use crate::edges::trust::Trust;

/// The oldest version that the PostgreSQL project has not given up for long,
/// as a number.
const VERSION_MIN: i32 = 130_000;
/// Clocks further apart than this are warned about, in milliseconds.
const CLOCKS_APART_MS_MAX: i64 = 2_000;
/// What `consume` takes with its two writers.
const CONNECTIONS_MIN: i64 = 4;

const CURES: Cures = Cures {
    distrust: fault::cure,
    no_tls: "switch TLS on there, check host and port, or set sslmode=disable",
};

/// Goes the way to the database as far as it leads; a client when it led there.
pub async fn link(context: &Context) -> (Sheet, Option<Client>) {
    let mut sheet = Sheet::new("postgres");
    let settings = match PostgresSettings::resolve(&context.connections) {
        Ok(settings) => settings,
        Err(error) => {
            sheet.failed(Check::Settings, "", format!("{error:#}"));
            let rest = [Check::Certificates, Check::Dns, Check::Tcp, Check::Tls, Check::Login];
            sheet.skip(&rest, "", Check::Settings);
            return (sheet, None);
        }
    };
    sheet.ok(Check::Settings, "", describe(&settings));
    let trust = note_files(&mut sheet, &settings);
    let servers = settings.server.split(',');
    let doors = servers.map(|server| door(server, &settings, trust.clone()));
    let mut is_open = false;
    for (found, open) in join_all(doors).await {
        is_open |= open;
        sheet.provider = sheet.provider.or(found.provider);
        sheet.findings.extend(found.findings);
    }
    let earlier = [Check::Certificates, Check::Dns, Check::Tcp, Check::Tls];
    let earlier = earlier.into_iter().find(|check| sheet.has_failed(*check));
    let is_open = is_open && earlier != Some(Check::Certificates);
    if let (false, Some(earlier)) = (is_open, earlier) {
        sheet.skip(&[Check::Login], "", earlier);
        return (sheet, None);
    }
    match login(&settings).await {
        Ok(client) => match tokio::time::timeout(LIMIT, inspect::server(&client)).await {
            Ok(Ok(server)) => {
                note_server(&mut sheet, &server);
                (sheet, Some(client))
            }
            Ok(Err(error)) => {
                let said = crate::edges::postgres::failure::describe(&error);
                sheet.failed(Check::Login, "", format!("the server answers nothing: {said}"));
                (sheet, Some(client))
            }
            Err(_) => {
                let text = format!(
                    "{} let us in and then answered nothing within {} s: look at the server's \
                     load, and whether a pooler before it has connections left",
                    settings.server,
                    LIMIT.as_secs()
                );
                sheet.failed(Check::Login, "", text);
                // Further questions would wait behind this one.
                (sheet, None)
            }
        },
        Err(message) => {
            sheet.failed(Check::Login, "", message);
            (sheet, None)
        }
    }
}

fn describe(settings: &PostgresSettings) -> String {
    let user = settings.user.as_deref().unwrap_or("the system user");
    let database = settings.database.as_deref().unwrap_or("the user's name");
    format!(
        "{}, user {user}, database {database}, sslmode={} ({})",
        settings.server,
        settings.sslmode.name(),
        meaning(settings.sslmode, &settings.root)
    )
}

/// What a mode means with what is trusted (libpq, chapter "SSL Support").
fn meaning(mode: SslMode, root: &RootCertificate) -> &'static str {
    let has_root = *root != RootCertificate::Unchecked;
    match mode {
        SslMode::Disable => "never encrypted",
        SslMode::Allow => "encrypted only where the server insists",
        SslMode::Prefer => "encrypted where the server can",
        SslMode::Require if has_root => {
            "always encrypted, the certificate checked but for the host name"
        }
        SslMode::Require => "always encrypted, the certificate not checked",
        SslMode::VerifyCa => "always encrypted, the certificate checked but for the host name",
        SslMode::VerifyFull => "always encrypted, certificate and host name checked",
    }
}

/// Looks at the certificate files; what to trust, where anything is checked.
fn note_files(sheet: &mut Sheet, settings: &PostgresSettings) -> Option<Trust> {
    if settings.sslmode == SslMode::Disable {
        return None;
    }
    let read = tls::check_postgres(settings).and_then(|warnings| {
        let trust = Trust::of_postgres(settings)?;
        Ok((warnings, trust))
    });
    match read {
        Ok((warnings, trust)) => {
            if let Some(trust) = &trust {
                note_trust(sheet, trust, warnings);
            }
            trust
        }
        Err(error) => {
            sheet.failed(Check::Certificates, "", format!("{error:#}"));
            None
        }
    }
}

/// One of the hosts: name, port, encryption.
async fn door(server: &str, settings: &PostgresSettings, trust: Option<Trust>) -> (Sheet, bool) {
    let mut sheet = Sheet::new("postgres");
    if server.starts_with('/') {
        sheet.ok(Check::Tls, server, "a socket of this machine, which has no TLS");
        return (sheet, true);
    }
    if !reach(&mut sheet, server, "PostgreSQL").await {
        let earlier = if sheet.has_failed(Check::Dns) { Check::Dns } else { Check::Tcp };
        sheet.skip(&[Check::Tls], server, earlier);
        return (sheet, false);
    }
    if settings.sslmode == SslMode::Disable {
        note_plain(&mut sheet, server, "sslmode=disable");
        return (sheet, true);
    }
    let address = server.to_owned();
    let ours = trust.clone().unwrap_or_else(Trust::of_system);
    let shake = move || shake_hands(&address, Opening::Postgres, &ours).map(|(shown, _)| shown);
    let shaken = blocking(shake).await;
    let may_be_plain = matches!(settings.sslmode, SslMode::Allow | SslMode::Prefer);
    if may_be_plain && matches!(shaken, Some(Err(NoHandshake::NoTls(_)))) {
        let mode = format!("the server has no TLS, sslmode={} allows it", settings.sslmode.name());
        note_plain(&mut sheet, server, &mode);
        return (sheet, true);
    }
    let is_good = note_encrypted(&mut sheet, server, shaken, trust.as_ref(), settings.sslmode);
    // What the handshake did not like, these modes may go without.
    (sheet, is_good || may_be_plain)
}

fn note_encrypted(
    sheet: &mut Sheet,
    server: &str,
    shaken: Option<Result<Shown, NoHandshake>>,
    trust: Option<&Trust>,
    mode: SslMode,
) -> bool {
    let is_good = note_handshake(sheet, server, shaken, trust, &CURES);
    if is_good && mode != SslMode::VerifyFull && !is_local(server) {
        let text = format!(
            "sslmode={} lets someone on the way pretend to be {server} and read the password: set \
             sslmode=verify-full, with the provider's ca.pem or sslrootcert=system",
            mode.name()
        );
        sheet.warning(Check::Tls, server, text);
    }
    is_good
}

fn note_plain(sheet: &mut Sheet, server: &str, because: &str) {
    if is_local(server) {
        return sheet.ok(Check::Tls, server, format!("not encrypted ({because}), on this machine"));
    }
    let text = format!(
        "not encrypted ({because}): others on the way can read rows and logins; set \
         sslmode=verify-full"
    );
    sheet.warning(Check::Tls, server, text);
}

/// Logs in within the limit of a probe, whatever the settings' own limit is.
async fn login(settings: &PostgresSettings) -> Result<Client, String> {
    let mut settings = settings.clone();
    // The last of two counts.
    settings.uri = format!("{} connect_timeout='3'", settings.uri.expose()).into();
    match tokio::time::timeout(LIMIT, connect(&settings, "orderctl doctor")).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "{} did not let us in within {} s: is it PostgreSQL that listens there?",
            settings.server,
            LIMIT.as_secs()
        )),
    }
}

fn note_server(sheet: &mut Sheet, server: &Server) {
    let encryption = server.encryption.as_deref().unwrap_or("not encrypted");
    let login = format!("{} in database {}, {encryption}", server.role, server.database);
    sheet.ok(Check::Login, "", login);
    let version = &server.version;
    if server.version_number < VERSION_MIN {
        let text = format!(
            "PostgreSQL {version} is no longer maintained: upgrade the server to {} or newer",
            VERSION_MIN / 10_000
        );
        sheet.warning(Check::Version, "", text);
    } else if server.is_read_only {
        let text = format!(
            "PostgreSQL {version}, which only reads (a standby, or default_transaction_read_only): \
             name the primary, for example with target_session_attrs=read-write"
        );
        sheet.failed(Check::Version, "", text);
    } else {
        sheet.ok(Check::Version, "", format!("PostgreSQL {version}"));
    }
    let left = server.connections_max - server.connections;
    let of = format!("{} of {} connections", server.connections, server.connections_max);
    if left < CONNECTIONS_MIN {
        let text = format!(
            "{of} are taken, and `consume` wants {CONNECTIONS_MIN}: close some, raise \
             max_connections, or put a pooler before the server"
        );
        sheet.warning(Check::Connections, "", text);
    } else {
        sheet.ok(Check::Connections, "", format!("{of} are taken"));
    }
    note_clock(sheet, server.clock_ahead_ms);
}

fn note_clock(sheet: &mut Sheet, ahead_ms: i64) {
    let apart = format!("{}.{:03} s", ahead_ms.abs() / 1000, ahead_ms.abs() % 1000);
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let text = format!("the server's clock is {apart} {side} ours");
    if ahead_ms.abs() > CLOCKS_APART_MS_MAX {
        sheet.warning(Check::Clock, "", format!("{text}: set both by NTP"));
    } else {
        sheet.ok(Check::Clock, "", text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn server() -> Server {
        Server {
            version: "17.5".into(),
            version_number: 170_005,
            encryption: None,
            role: "r".into(),
            database: "d".into(),
            is_read_only: false,
            connections_max: 97,
            connections: 3,
            clock_ahead_ms: 12,
        }
    }

    fn status(server: &Server, check: Check) -> Status {
        let mut sheet = Sheet::new("postgres");
        note_server(&mut sheet, server);
        sheet.findings.into_iter().find(|one| one.check == check).unwrap().status
    }

    #[test]
    fn a_server_is_graded() {
        let old = Server { version_number: 120_022, ..server() };
        let standby = Server { is_read_only: true, ..server() };
        let full = Server { connections: 94, ..server() };
        let late = Server { clock_ahead_ms: -2_001, ..server() };
        for (server, check, expected) in [
            (server(), Check::Version, Status::Ok),
            (old, Check::Version, Status::Warning),
            (standby, Check::Version, Status::Failed),
            (server(), Check::Connections, Status::Ok),
            (full, Check::Connections, Status::Warning),
            (server(), Check::Clock, Status::Ok),
            (late, Check::Clock, Status::Warning),
        ] {
            assert_eq!(status(&server, check), expected, "{server:?}");
        }
    }

    #[test]
    fn a_mode_below_verify_full_is_warned_about_unless_the_server_is_here() {
        let shown = || Shown {
            protocol: "TLSv1.3".into(),
            names: vec!["h".into()],
            issuer: "a CA".into(),
            days_left: 400,
            not_after: "later".into(),
            distrust: None,
        };
        for (server, mode, warned) in [
            ("db.example:5432", SslMode::Require, true),
            ("db.example:5432", SslMode::VerifyCa, true),
            ("db.example:5432", SslMode::VerifyFull, false),
            ("127.0.0.1:5432", SslMode::Require, false),
        ] {
            let mut sheet = Sheet::new("postgres");
            assert!(note_encrypted(&mut sheet, server, Some(Ok(shown())), None, mode));
            let found = sheet.findings.iter().any(|one| one.status == Status::Warning);
            assert_eq!(found, warned, "{server} {}", mode.name());
        }
        for (server, warned) in [("db.example:5432", true), ("127.0.0.1:5432", false)] {
            let mut sheet = Sheet::new("postgres");
            note_plain(&mut sheet, server, "sslmode=disable");
            assert_eq!(sheet.findings[0].status == Status::Warning, warned);
        }
    }
}
