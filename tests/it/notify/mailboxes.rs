//! On a real mail server, over TLS, with mailboxes to look into.

use serde_json::json;

use super::{address, column, notify, sandbox, urgent};
use crate::support::mailbox::{header, text};
use crate::support::{mailbox, order, order_with, sql_value};

#[test]
fn each_urgent_order_is_mailed_once_however_often_it_is_in_the_topic() {
    let sandbox = sandbox("urgent", 2);
    let to = address(&sandbox, "a");
    let urgent: Vec<_> = ["o-1", "o-2", "o-3"].iter().map(|id| urgent(id, &to)).collect();
    sandbox.scatter(&urgent);
    sandbox.scatter(&urgent);
    sandbox.publish(&[order_with("calm", "/priority", "low"), order_with("bad", "/quantity", 0)]);

    let done = notify(&sandbox).args(["--connections", "1"]).finish().code(3).json();
    let figures = ["read", "planned", "sent", "rejected", "logins"].map(|name| &done[name]);
    assert_eq!(figures, [8, 3, 3, 1, 1], "{done}");
    let mails = mailbox(&to);
    let mut subjects: Vec<String> = mails.iter().map(|mail| header(mail, "Subject")).collect();
    subjects.sort();
    let expected = ["o-1", "o-2", "o-3"].map(|id| format!("We have your urgent order {id}"));
    assert_eq!(subjects, expected);
    assert_eq!(column(&sandbox, "state"), ["sent"; 3]);
    assert_eq!(column(&sandbox, "attempts"), ["1"; 3]);
    let mut ids: Vec<String> = mails.iter().map(|mail| header(mail, "Message-ID")).collect();
    ids.sort();
    let mut noted = column(&sandbox, "message_id");
    noted.sort();
    assert_eq!(ids, noted);
    let letters =
        format!("select field from orderctl.dead_letter where group_name = '{}'", sandbox.group);
    assert_eq!(sql_value(&letters), "quantity");

    sandbox.scatter(&urgent);
    let again = notify(&sandbox).finish().success().json();
    assert_eq!([&again["read"], &again["planned"], &again["sent"]], [3, 0, 0], "{again}");
    assert_eq!(mailbox(&to).len(), 3);
}

#[test]
fn the_event_decides_what_is_said_and_cannot_say_more() {
    let sandbox = sandbox("said", 1);
    let (to, other) = (address(&sandbox, "a"), address(&sandbox, "victim"));
    let mut confirmed = order("c-1");
    confirmed["customer"]["email"] = json!(to);
    confirmed["customer"]["name"] = json!(format!("<b>Eve</b>\r\nBcc: {other}\r\n\r\nhello"));
    confirmed["total_cost"] = json!("25.00");
    confirmed["currency"] = json!("EUR");
    confirmed["payment"] =
        json!({"status": "approved", "reference": "ref-77", "card_last4": "4242"});
    let mut declined = confirmed.clone();
    declined["order_id"] = json!(format!("d-1\r\nBcc: {other}"));
    declined["payment"] = json!({"status": "declined", "code": "expired_card"});
    sandbox.publish(&[confirmed, declined]);

    notify(&sandbox).finish().success();
    let mails = mailbox(&to);
    let find = |word: &str| {
        let found = mails.iter().find(|mail| header(mail, "Subject").contains(word));
        text(found.unwrap_or_else(|| panic!("{word}: {mails:?}")))
    };
    let confirmed = find("is confirmed");
    for said in ["Total:     25.00 EUR", "ref-77", "4242", "<td>25.00 EUR</td>"] {
        assert!(confirmed.contains(said), "{said}: {confirmed}");
    }
    assert!(confirmed.contains("<p>Dear &lt;b&gt;Eve&lt;/b&gt;"), "{confirmed}");
    let declined = find("could not be paid");
    assert!(declined.contains("expired_card") && !declined.contains("4242"), "{declined}");
    for mail in [&confirmed, &declined] {
        assert_eq!(header(mail, "Bcc"), "", "{mail}");
        assert!(header(mail, "To").ends_with(&format!("<{to}>")), "{mail}");
    }
    assert_eq!(mailbox(&other), Vec::<String>::new());
    assert_eq!(column(&sandbox, "kind"), ["confirmed", "declined"]);
}

#[test]
fn a_dry_run_writes_files_and_changes_nothing() {
    let sandbox = sandbox("dry", 2);
    let to = address(&sandbox, "a");
    let urgent: Vec<_> = ["o-1", "o-2"].iter().map(|id| urgent(id, &to)).collect();
    sandbox.scatter(&urgent);
    sandbox.scatter(&urgent);
    let folder = tempfile::tempdir().unwrap();
    let dry = || notify(&sandbox).arg("--dry-run").arg(folder.path().join("new"));
    let done = dry().finish().success().json();
    assert_eq!([&done["read"], &done["mails"]], [4, 2], "{done}");
    let again = dry().finish().success();
    assert!(!again.stderr.contains("warning"), "{again}");
    let files: Vec<_> = std::fs::read_dir(folder.path().join("new")).unwrap().collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let mail = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(header(&mail, "Subject").contains("urgent order o-"), "{mail}");
    }
    assert_eq!(column(&sandbox, "state").len(), 0);
    assert_eq!(mailbox(&to).len(), 0);
    let sent = notify(&sandbox).finish().success().json();
    assert_eq!([&sent["read"], &sent["sent"]], [4, 2], "{sent}");
}

#[test]
fn an_address_that_cannot_be_one_is_refused_by_name_and_stops_no_other() {
    let sandbox = sandbox("odd", 1);
    let to = address(&sandbox, "a");
    let forged = "\u{1b}[31mred\nPASS 1\n@b c";
    let odd = ["\"a b\"@example.com", forged, "", "a@b@c", "@"];
    let mut orders: Vec<_> =
        odd.iter().enumerate().map(|(at, odd)| urgent(&format!("o-{at}\nx"), odd)).collect();
    orders.push(urgent("o-good", &to));
    sandbox.publish(&orders);
    let folder = tempfile::tempdir().unwrap();
    let dry = notify(&sandbox).arg("--dry-run").arg(folder.path()).finish().code(3);
    assert_eq!(dry.json()["mails"], 1, "{dry}");
    let sent = notify(&sandbox).finish().code(3);
    assert_eq!(sent.json()["sent"], 1, "{sent}");
    let again =
        super::orderctl(["notify", "retry", "--failed", "--yes", "--group", &sandbox.group]);
    again.success();
    let retried = notify(&sandbox).finish().code(3);
    assert!(retried.stderr.contains("not sent"), "{retried}");
    let status = super::orderctl(["notify", "status", "--group", &sandbox.group]).success();
    for shown in [&dry.stderr, &sent.stderr, &retried.stderr, &status.stdout] {
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(
            !shown.lines().any(|line| line.starts_with("PASS") || line.starts_with('x')),
            "{shown}"
        );
    }
    assert_eq!(mailbox(&to).len(), 1);
}
