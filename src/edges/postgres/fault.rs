//! What is wrong with a database's certificate: the driver only says that
//! something is.

use crate::config::PostgresSettings;
use crate::edges::handshake::{Distrust, Opening, shake_hands};
use crate::edges::trust::Trust;

/// What is wrong with the certificate of the first of the servers that has one
/// at fault, with the cure; none when a look of our own finds nothing.
pub async fn of(settings: &PostgresSettings) -> Option<String> {
    let trust = Trust::of_postgres(settings).ok()??;
    let servers = settings.server.clone();
    let look = move || {
        servers.split(',').find_map(|server| {
            let (shown, _) = shake_hands(server, Opening::Postgres, &trust).ok()?;
            let fault = shown.fault(server, &trust)?;
            Some(format!("{fault}; {}", cure(shown.distrust.as_ref()?)))
        })
    };
    tokio::task::spawn_blocking(look).await.ok()?
}

/// What to do about a database's certificate.
pub fn cure(distrust: &Distrust) -> &'static str {
    match distrust {
        Distrust::OtherName => "use a name it was made for, or sslmode=verify-ca",
        Distrust::Expired => "renew it there",
        Distrust::NotYetValid => "check the clocks",
        Distrust::Unsigned | Distrust::Other(_) => {
            "give the CA certificate of this server (sslrootcert=FILE, or ca.pem in the \
             certificate directory)"
        }
    }
}
