//! The checks of mail and search, where creds.json has them: as far as a
//! greeting goes. No mail is sent.

use std::io;

use super::finding::{Check, Sheet};
use super::link::{Cures, LIMIT, blocking, is_local, note_handshake, reach};
use crate::config::address::join_address;
use crate::config::certificates::CertificateDirectory;
use crate::config::creds::{SearchCreds, SmtpCreds, SmtpSecurity};
use crate::edges::handshake::{Connection, Distrust, Opening, call, shake_hands};
use crate::edges::trust::Trust;
use crate::edges::{search, smtp};

const MAIL_CURES: Cures = Cures {
    distrust: cure,
    no_tls: "check port and smtp.security in creds.json: starttls is on 587, tls on 465",
};
const SEARCH_CURES: Cures =
    Cures { distrust: cure, no_tls: "check the port, or write http:// in search.url" };

fn cure(distrust: &Distrust) -> &'static str {
    match distrust {
        Distrust::OtherName => "use a name it was made for",
        Distrust::Expired => "renew it there",
        Distrust::NotYetValid => "check the clocks",
        Distrust::Unsigned | Distrust::Other(_) => {
            "give its CA certificate as ca.pem in the certificate directory (--cert-path)"
        }
    }
}

/// The authorities of the system, and those of the certificate directory.
fn trust(directory: Option<&CertificateDirectory>) -> Trust {
    let own = directory.and_then(|directory| directory.ca.as_deref());
    own.and_then(|path| Trust::of_system_and(path).ok()).unwrap_or_else(Trust::of_system)
}

/// Looks at the mail server. Its login is not tried: no mail is sent either.
pub async fn mail(creds: &SmtpCreds, directory: Option<&CertificateDirectory>) -> Sheet {
    let mut sheet = Sheet::new("smtp");
    let address = join_address(&creds.hostname, creds.port);
    if !is_reached(&mut sheet, &address, "the mail server").await {
        return sheet;
    }
    let (opening, command) = match creds.security {
        SmtpSecurity::None => {
            note_plain(&mut sheet, &address, "smtp.security is none");
            let target = address.clone();
            let said = blocking(move || smtp::exchange(&mut call(&target)?, "")).await;
            note_greeting(&mut sheet, &address, said);
            return sheet;
        }
        // The greeting was before TLS, so there must be a question.
        SmtpSecurity::Starttls => (Opening::Starttls, "EHLO orderctl\r\n"),
        SmtpSecurity::Tls => (Opening::AtOnce, ""),
    };
    let ask = move |stream: &mut Connection| smtp::exchange(stream, command);
    match secured(&mut sheet, &address, opening, trust(directory), &MAIL_CURES, ask).await {
        Some(said) => note_greeting(&mut sheet, &address, Some(said)),
        None => sheet.skip(&[Check::Greeting], &address, Check::Tls),
    }
    sheet
}

/// Looks at the search service, with its login if there is one.
pub async fn search(creds: &SearchCreds, directory: Option<&CertificateDirectory>) -> Sheet {
    let mut sheet = Sheet::new("search");
    let place = match search::place(&creds.url) {
        Ok(place) => place,
        Err(error) => {
            sheet.failed(Check::Settings, "", format!("{error:#}"));
            return sheet;
        }
    };
    let address = place.address;
    if !is_reached(&mut sheet, &address, "the search service").await {
        return sheet;
    }
    let (target, login) = (address.clone(), creds.clone());
    if !place.has_tls {
        note_plain(&mut sheet, &address, "search.url begins with http://");
        let said = blocking(move || search::ask(&mut call(&target)?, &target, &login)).await;
        note_answer(&mut sheet, &address, said);
        return sheet;
    }
    let ask = move |stream: &mut Connection| search::ask(stream, &target, &login);
    let opening = Opening::AtOnce;
    match secured(&mut sheet, &address, opening, trust(directory), &SEARCH_CURES, ask).await {
        Some(said) => note_answer(&mut sheet, &address, Some(said)),
        None => sheet.skip(&[Check::Greeting], &address, Check::Tls),
    }
    sheet
}

async fn is_reached(sheet: &mut Sheet, address: &str, service: &str) -> bool {
    let reached = reach(sheet, address, service).await;
    if !reached {
        let earlier = if sheet.has_failed(Check::Dns) { Check::Dns } else { Check::Tcp };
        sheet.skip(&[Check::Tls, Check::Greeting], address, earlier);
    }
    reached
}

/// Shakes hands, and asks on when the certificate is to be trusted: a login must
/// not go to a stranger.
async fn secured<T: Send + 'static>(
    sheet: &mut Sheet,
    address: &str,
    opening: Opening,
    trust: Trust,
    cures: &Cures,
    ask: impl FnOnce(&mut Connection) -> io::Result<T> + Send + 'static,
) -> Option<io::Result<T>> {
    let (target, ours) = (address.to_owned(), trust.clone());
    let looked = blocking(move || {
        let (shown, mut connection) = shake_hands(&target, opening, &ours)?;
        let said = shown.distrust.is_none().then(|| ask(&mut connection));
        Ok((shown, said))
    });
    let (shaken, said) = match looked.await {
        Some(Ok((shown, said))) => (Some(Ok(shown)), said),
        Some(Err(error)) => (Some(Err(error)), None),
        None => (None, None),
    };
    note_handshake(sheet, address, shaken, Some(&trust), cures).then_some(said)?
}

fn note_plain(sheet: &mut Sheet, address: &str, because: &str) {
    if is_local(address) {
        sheet.ok(Check::Tls, address, format!("not encrypted ({because}), on this machine"));
    } else {
        let text = format!("not encrypted ({because}): others on the way can read all; use TLS");
        sheet.warning(Check::Tls, address, text);
    }
}

fn note_greeting(sheet: &mut Sheet, address: &str, said: Option<io::Result<String>>) {
    let outcome = match said {
        Some(Ok(said)) if said.starts_with('2') => Ok(said),
        Some(Ok(said)) => Err(format!("{address} turns us away: {said}; ask who runs it")),
        Some(Err(error)) => Err(no_answer(address, &error, "a mail server")),
        None => Err(silent(address)),
    };
    sheet.outcome(Check::Greeting, address, outcome);
}

fn note_answer(sheet: &mut Sheet, address: &str, said: Option<io::Result<(u16, String)>>) {
    let outcome = match said {
        Some(Ok((200..=299, line))) => Ok(line),
        Some(Ok((401 | 403, line))) => Err(format!(
            "{address} refuses the login: correct search.username and search.password in \
             creds.json ({line})"
        )),
        Some(Ok((_, line))) => {
            Err(format!("{address} answers {line}: check search.url, and the service's log"))
        }
        Some(Err(error)) => Err(no_answer(address, &error, "a search service")),
        None => Err(silent(address)),
    };
    sheet.outcome(Check::Greeting, address, outcome);
}

fn no_answer(address: &str, error: &io::Error, expected: &str) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            format!("what listens on {address} is not {expected}: check host and port")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => silent(address),
        _ => format!("{address} breaks off: {error}; is it {expected} that listens there?"),
    }
}

fn silent(address: &str) -> String {
    format!("{address} says nothing within {} s: check the port", LIMIT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn graded(said: Option<io::Result<(u16, String)>>) -> (Status, String) {
        let mut sheet = Sheet::new("search");
        note_answer(&mut sheet, "h:1", said);
        let finding = sheet.findings.remove(0);
        (finding.status, finding.message)
    }

    #[test]
    fn a_search_service_is_told_by_its_status_code() {
        let line = |code: u16| Some(Ok((code, format!("HTTP/1.1 {code}"))));
        assert_eq!(graded(line(200)).0, Status::Ok);
        assert!(graded(line(401)).1.contains("search.password"));
        assert!(graded(line(503)).1.contains("503"));
        let stranger = graded(Some(Err(io::ErrorKind::InvalidData.into())));
        assert!(stranger.1.contains("not a search service"), "{}", stranger.1);
        assert!(graded(None).1.contains("says nothing"));
    }

    #[test]
    fn a_mail_server_is_told_by_its_first_digit() {
        for (said, status) in [("220 mail", Status::Ok), ("554 no", Status::Failed)] {
            let mut sheet = Sheet::new("smtp");
            note_greeting(&mut sheet, "h:1", Some(Ok(said.into())));
            assert_eq!(sheet.findings[0].status, status, "{said}");
        }
    }
}
