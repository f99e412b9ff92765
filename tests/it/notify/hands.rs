//! A mail that a worker took twice: the lease of the first time ran out while the
//! database stood still.

use orderctl::edges::postgres::ledger::{DEFAULT_SCHEMA, Ledger};
use orderctl::edges::postgres::mail::{Fate, Mails, Planned};
use orderctl::events::notice::Occasion;
use tokio_postgres::Error;

use super::{column, sandbox};
use crate::support::{Session, sql};

#[test]
fn a_hand_whose_lease_ran_out_does_not_send_what_another_of_its_worker_has_now() {
    let sandbox = sandbox("hands", 1);
    let mails = Mails {
        ledger: Ledger { schema: DEFAULT_SCHEMA.parse().unwrap() },
        group: sandbox.group.clone(),
        owner: format!("worker of {}", sandbox.group),
        repeats_max: 1,
    };
    let planned = Planned {
        occasion: Occasion::Order,
        order_id: "o".to_owned(),
        recipient: "a@example.com".to_owned(),
        message_id: "<o@example.com>".to_owned(),
        details: "{}".to_owned(),
        refused: None,
    };
    let asked = Session::open().ask(async |client| -> Result<(), Error> {
        mails.plan(client, &[planned]).await?;
        let first = mails.take(client).await?.expect("a mail that is due");
        assert_eq!(mails.take(client).await?, None, "it is in hand");
        sql(&format!(
            "update orderctl.mail set lease_until = now() - interval '1 second'
             where group_name = '{}'",
            sandbox.group
        ));
        let second = mails.take(client).await?.expect("a mail whose lease ran out");

        assert!(!mails.begin_content(client, &first).await?, "it is in another hand");
        assert!(!mails.settle(client, &first, &Fate::PutBack).await?);
        assert!(mails.begin_content(client, &second).await?);
        assert!(mails.begin_content(client, &second).await?, "asked again: the answer was lost");
        assert!(!mails.settle(client, &first, &Fate::PutBack).await?);
        assert!(mails.settle(client, &second, &Fate::Sent).await?);
        Ok(())
    });
    asked.unwrap();
    assert_eq!(column(&sandbox, "state"), ["sent"]);
    assert_eq!(column(&sandbox, "attempts"), ["2"]);
}
