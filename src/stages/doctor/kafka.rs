//! The checks of Kafka, up to the cluster's answer; topics follow in
//! [`super::topic`].

use std::time::Duration;

use futures_util::future::join_all;

use super::finding::{Check, Sheet};
use super::link::{Cures, LIMIT, blocking, is_local, note_handshake, obstacle, reach};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::console::plural;
use crate::edges::handshake::{Opening, shake_hands};
use crate::edges::kafka::client::{self, Cluster};
use crate::edges::trust::{self, Trust};
use crate::edges::{kafka, tls};

/// How long the cluster may take to answer: less than a probe may, because a
/// look at why it does not may follow.
const ANSWER_LIMIT: Duration = Duration::from_millis(3500);

const CURES: Cures = Cures {
    distrust: kafka::explain::cure,
    no_tls: "check the port, or set --security-protocol to PLAINTEXT or SASL_PLAINTEXT",
};

/// What came of the way to the cluster.
pub struct Linked {
    /// What was found on it.
    pub sheet: Sheet,
    /// How to go on; none when there is no way.
    pub settings: Option<KafkaSettings>,
    /// How many brokers there are.
    pub brokers: usize,
}

/// Goes the way to the cluster as far as it leads.
pub async fn link(context: &Context) -> Linked {
    let mut sheet = Sheet::new("kafka");
    let settings = match settings(context) {
        Ok(settings) => settings,
        Err(error) => {
            sheet.failed(Check::Settings, "", format!("{error:#}"));
            let rest = [Check::Certificates, Check::Dns, Check::Tcp, Check::Tls, Check::Login];
            sheet.skip(&rest, "", Check::Settings);
            sheet.skip(&[Check::Cluster], "", Check::Settings);
            return Linked { sheet, settings: None, brokers: 0 };
        }
    };
    let protocol = settings.get("security.protocol").unwrap_or_default().to_owned();
    sheet.ok(Check::Settings, "", format!("{}, {protocol}", settings.brokers()));
    let trust = note_files(&mut sheet, &settings, &protocol);
    let files_are_good = !sheet.has_failed(Check::Certificates);
    let servers = settings.brokers().split(',').map(str::trim).filter(|one| !one.is_empty());
    let doors = servers.map(|server| door(sheet.provider, server, &protocol, trust.clone()));
    let mut is_open = false;
    for (found, open) in join_all(doors).await {
        is_open |= open;
        sheet.provider = sheet.provider.or(found.provider);
        sheet.findings.extend(found.findings);
    }
    if !is_open || !files_are_good {
        let earlier = [Check::Certificates, Check::Dns, Check::Tcp];
        let earlier = earlier.into_iter().find(|check| sheet.has_failed(*check));
        let earlier = earlier.unwrap_or(Check::Tls);
        sheet.skip(&[Check::Login, Check::Cluster], "", earlier);
        return Linked { sheet, settings: None, brokers: 0 };
    }
    match note_cluster(&mut sheet, context, &settings).await {
        Some(cluster) => Linked { sheet, settings: Some(settings), brokers: cluster.brokers.len() },
        None => Linked { sheet, settings: None, brokers: 0 },
    }
}

fn settings(context: &Context) -> anyhow::Result<KafkaSettings> {
    let settings = KafkaSettings::resolve(&context.connections)?;
    client::check(&settings)?;
    Ok(settings)
}

/// Looks at the certificate files; what to trust, where the protocol has TLS.
fn note_files(sheet: &mut Sheet, settings: &KafkaSettings, protocol: &str) -> Option<Trust> {
    if !protocol.ends_with("SSL") {
        return None;
    }
    let read = tls::check_kafka(settings).and_then(|warnings| {
        let trust = Trust::of_kafka(settings)?;
        Ok((warnings, trust))
    });
    match read {
        Ok((warnings, trust)) => {
            note_trust(sheet, &trust, warnings);
            Some(trust)
        }
        Err(error) => {
            sheet.failed(Check::Certificates, "", format!("{error:#}"));
            None
        }
    }
}

/// Notes what certificate files hold, and what is to be warned about.
pub fn note_trust(sheet: &mut Sheet, trust: &Trust, warnings: Vec<String>) {
    match trust::describe(trust) {
        Ok(text) => sheet.ok(Check::Certificates, "", text),
        Err(error) => sheet.failed(Check::Certificates, "", format!("{error:#}")),
    }
    for warning in warnings {
        sheet.warning(Check::Certificates, "", warning);
    }
}

/// One of the brokers to ask first: name, port, encryption.
async fn door(
    provider: Option<super::hints::Provider>,
    server: &str,
    protocol: &str,
    trust: Option<Trust>,
) -> (Sheet, bool) {
    let mut sheet = Sheet::new("kafka");
    sheet.provider = provider;
    if !reach(&mut sheet, server, "Kafka").await {
        let earlier = if sheet.has_failed(Check::Dns) { Check::Dns } else { Check::Tcp };
        sheet.skip(&[Check::Tls], server, earlier);
        return (sheet, false);
    }
    let Some(trust) = trust else {
        if protocol.ends_with("SSL") {
            sheet.skip(&[Check::Tls], server, Check::Certificates);
        } else if is_local(server) {
            sheet.ok(Check::Tls, server, format!("not encrypted ({protocol}), on this machine"));
        } else {
            let text = format!(
                "not encrypted ({protocol}): others on the way can read everything; use a listener \
                 with SSL or SASL_SSL if the cluster has one"
            );
            sheet.warning(Check::Tls, server, text);
        }
        return (sheet, true);
    };
    let (address, ours) = (server.to_owned(), trust.clone());
    let shaken =
        blocking(move || shake_hands(&address, Opening::AtOnce, &ours).map(|(shown, _)| shown));
    let is_good = note_handshake(&mut sheet, server, shaken.await, Some(&trust), &CURES);
    (sheet, is_good)
}

async fn note_cluster(
    sheet: &mut Sheet,
    context: &Context,
    settings: &KafkaSettings,
) -> Option<Cluster> {
    let (asked, console, stop) = (settings.clone(), context.console.clone(), context.stop.clone());
    let probe = move || client::probe(&asked, &console, &stop, ANSWER_LIMIT);
    let cluster = match blocking(probe).await {
        Some(Ok(cluster)) => cluster,
        Some(Err(error)) => {
            sheet.failed(Check::Login, "", format!("{error:#}"));
            sheet.skip(&[Check::Cluster], "", Check::Login);
            return None;
        }
        None => {
            let text = format!(
                "no answer from {} within {} s: check the address and --security-protocol",
                settings.brokers(),
                LIMIT.as_secs()
            );
            sheet.failed(Check::Login, "", text);
            sheet.skip(&[Check::Cluster], "", Check::Login);
            return None;
        }
    };
    sheet.ok(Check::Login, "", login(settings));
    let checks = cluster.brokers.iter().map(|broker| obstacle(broker, "the broker"));
    let obstacles: Vec<String> = join_all(checks).await.into_iter().flatten().collect();
    let brokers = plural(cluster.brokers.len() as u64, "broker");
    if obstacles.is_empty() {
        sheet.ok(Check::Cluster, "", format!("{brokers}: {}", cluster.brokers.join(", ")));
        return Some(cluster);
    }
    let text = format!(
        "the cluster names {brokers}, of which {} cannot be reached from here: {}; correct \
         advertised.listeners there, or open the way",
        obstacles.len(),
        obstacles.join("; ")
    );
    sheet.failed(Check::Cluster, "", text);
    None
}

/// As whom the cluster has let us in.
fn login(settings: &KafkaSettings) -> String {
    let get = |name| settings.get(name).unwrap_or_default();
    if get("security.protocol").starts_with("SASL") {
        return match get("sasl.username") {
            "" => get("sasl.mechanism").to_owned(),
            username => format!("{} as {username}", get("sasl.mechanism")),
        };
    }
    match settings.get("ssl.certificate.location") {
        Some(path) if get("security.protocol") == "SSL" => {
            format!("with the client certificate {path}")
        }
        _ => "none asked for".into(),
    }
}
