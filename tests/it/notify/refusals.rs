//! What no wait will cure: wrong logins, servers without encryption, strangers.

use super::{Elsewhere, column, notify, sandbox, urgent};
use crate::support::{Answer, Smtp, Step};

#[test]
fn a_refused_login_stops_with_the_cure_and_the_mails_stay_to_be_sent() {
    let sandbox = sandbox("login", 1);
    let server = Smtp::start(|step, _, _| match step {
        Step::Auth => Answer::Say("535 5.7.8 wrong"),
        _ => Answer::Good,
    });
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let stopped = Elsewhere::new(&server, "none").at(notify(&sandbox)).arg("-v").finish().code(1);
    assert!(stopped.stderr.contains("smtp.password") && stopped.stderr.contains("535"));
    assert!(!format!("{stopped}").contains("Hx7sentinel"), "{stopped}");
    assert_eq!(column(&sandbox, "state || coalesce(owner, '')"), ["sending"]);
}

#[test]
fn starttls_comes_before_the_login_and_the_mail() {
    let sandbox = sandbox("starttls", 1);
    let server = Smtp::with_starttls();
    sandbox.publish(&[urgent("o", "a@example.com")]);
    Elsewhere::new(&server, "starttls").at(notify(&sandbox)).finish().success();
    let taken = server.taken("a");
    assert_eq!((taken.len(), server.logins()), (1, 1));
    assert!(taken[0].over_tls);
}

#[test]
fn a_server_without_encryption_or_of_a_stranger_gets_neither_login_nor_mail() {
    let sandbox = sandbox("plain", 1);
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let plain = Smtp::start(|_, _, _| Answer::Good);
    let refused = Elsewhere::new(&plain, "starttls").at(notify(&sandbox)).finish().code(1);
    assert!(refused.stderr.contains("does not offer STARTTLS"), "{refused}");
    assert_eq!(plain.logins(), 0);

    let stranger = Smtp::of_a_stranger();
    let distrusted = Elsewhere::new(&stranger, "starttls").at(notify(&sandbox)).finish().code(1);
    assert!(distrusted.stderr.contains("ca.pem"), "{distrusted}");
    assert_eq!(stranger.logins(), 0);

    let injected = Smtp::with_injection();
    let fooled = Elsewhere::new(&injected, "starttls").at(notify(&sandbox)).finish().code(1);
    assert!(fooled.stderr.contains("does not speak TLS"), "{fooled}");
    assert_eq!(injected.logins(), 0);
    assert_eq!(column(&sandbox, "state || coalesce(owner, '')"), ["sending"]);
}
