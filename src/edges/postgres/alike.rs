//! Rows of one batch that have the same id for the server.
//!
//! A batch passes over ids of the same bytes by itself where that is safe. But
//! for the server `a` and `a ` may be the same, or `2` and `2.0`, and it does not
//! update a row twice in one statement. They are not dropped, for the one that is
//! to be stored may be refused.

use tokio_postgres::{Client, Error};

use super::staging::{STAGE, count};
use super::target::{OnDuplicate, Target};

/// The staged rows that were put apart.
pub const ALIKE: &str = "pg_temp.orderctl_alike";

/// Moves all rows but one of each id from the staging table to [`ALIKE`], which
/// is only there if there are such; how many. The one that stays is the one that
/// is to be stored: the first that came, or the last.
///
/// # Errors
/// Whatever the server says.
pub async fn put_apart(
    client: &Client,
    target: &Target,
    on_duplicate: OnDuplicate,
) -> Result<u64, Error> {
    let key = target.key().name.quoted();
    let stays = match on_duplicate {
        OnDuplicate::Skip | OnDuplicate::Reject => "min",
        OnDuplicate::Update => "max",
    };
    let repeated = format!("(select from {STAGE} group by {key} having count(*) > 1) as repeated");
    if count(client, &repeated).await? == 0 {
        return Ok(0);
    }
    let sql = format!(
        "create temporary table orderctl_alike on commit drop as
             with ids as (
                 select {key} as id, {stays}(orderctl_place) as place from {STAGE}
                 group by {key} having count(*) > 1)
             select s.* from {STAGE} s join ids on s.{key} = ids.id
             where s.orderctl_place <> ids.place;
         delete from {STAGE} s using {ALIKE} a where s.orderctl_row = a.orderctl_row"
    );
    client.batch_execute(&sql).await?;
    count(client, ALIKE).await
}
