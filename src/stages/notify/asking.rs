//! The ledger of mails on a connection of a moment's length.

use crate::cli::Context;
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::mail::book::locate;
use crate::edges::postgres::{Client, Ledger, runtime};

/// Asks the ledger; none when the user stopped it.
///
/// # Errors
/// When the database cannot be reached, has no ledger or refuses.
pub fn ask<T>(
    context: &Context,
    question: impl AsyncFnOnce(&Client, &Ledger) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let (settings, runtime) = (context.postgres()?, runtime()?);
    let answer = runtime.block_on(async {
        let asking = async {
            let client = connect(&settings, "orderctl notify").await?;
            let ledger = locate(&client).await?;
            question(&client, &ledger).await
        };
        tokio::select! {
            answer = asking => answer.map(Some),
            () = context.stop.wait() => Ok(None),
        }
    });
    // A name server that does not answer would be waited for.
    runtime.shutdown_background();
    answer
}
