//! Names of what a cluster has.

use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::client::{ClientLog, client_config, describe};
use crate::config::KafkaSettings;
use crate::console::Console;

/// The consumer groups that this login may see.
///
/// # Errors
/// When the cluster does not answer in time.
pub fn groups(
    settings: &KafkaSettings,
    console: &Console,
    limit: Duration,
) -> anyhow::Result<Vec<String>> {
    let config = client_config(settings);
    let client: BaseConsumer<ClientLog> =
        BaseConsumer::from_config_and_context(&config, ClientLog::new(console))
            .map_err(|error| anyhow::anyhow!("{}", describe(&error)))?;
    let groups = client
        .fetch_group_list(None, limit)
        .map_err(|error| anyhow::anyhow!("cannot list groups: {}", describe(&error)))?;
    Ok(groups.groups().iter().map(|group| group.name().to_owned()).collect())
}
