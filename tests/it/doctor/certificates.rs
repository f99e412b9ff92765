//! Certificates and logins that do not fit, seen through the program: `doctor`
//! and `consume` say the same, what was expected and what came.

use super::{assert_found, doctor};
use crate::connections::assert_says;
use crate::connections::fakes::{self, Stranger};
use crate::support::program::Finished;
use crate::support::{Run, Sandbox, stack, uri};

/// The name of the CA that has signed the stack's certificates.
const OUR_CA: &str = "orderctl local project CA";
/// That of the others.
const THEIR_CA: &str = "a stranger's CA";

/// A mistake: flags, variables, and what is to be said of it.
struct Mistake {
    flags: Vec<String>,
    variables: Vec<(&'static str, String)>,
    /// The check of `doctor` that fails.
    check: &'static str,
    words: Vec<String>,
}

/// Makes a mistake with `doctor` and with `consume`.
#[track_caller]
fn assert_told(service: &str, sandbox: &Sandbox, mistake: &Mistake) {
    let Mistake { flags, variables, check, words } = mistake;
    let set = |run: Run| variables.iter().fold(run, |run, (name, value)| run.env(name, value));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = set(doctor(sandbox)).args(flags).finish().code(1);
    assert_found(&run, service, check, "failed", &words);
    assert_no_secret(&run);
    let run = set(sandbox.store("orders")).args(flags).finish().code(1);
    assert_says(run.stderr.trim_end(), &words);
    assert_no_secret(&run);
}

#[track_caller]
fn assert_no_secret(run: &Finished) {
    for secret in crate::connections::passwords().iter().chain(&["hunter2".to_owned()]) {
        assert!(!format!("{run}").contains(secret), "{run}");
    }
}

fn sandbox(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    sandbox
}

fn kafka(flags: &[&str], check: &'static str, words: &[&str]) -> Mistake {
    let own = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    Mistake { flags: own(flags), variables: Vec::new(), check, words: own(words) }
}

fn with_creds(mistake: Mistake, creds: &std::path::Path) -> Mistake {
    Mistake { variables: vec![("ORDERCTL_CREDS", creds.display().to_string())], ..mistake }
}

#[test]
fn kafka_says_whose_certificate_came_and_whose_was_expected() {
    let sandbox = sandbox("kafka_certificates");
    let (stranger, expired) = (Stranger::new(false), Stranger::new(true));
    let property = |name: &str, file: std::path::PathBuf| format!("{name}={}", file.display());
    let their_ca = property("ssl.ca.location", stranger.file("ca.pem"));
    let signed = format!("{OUR_CA} has signed it");
    let words = ["not signed by", THEIR_CA, &signed, "--cert-path"];
    assert_told("kafka", &sandbox, &kafka(&["-X", &their_ca], "tls", &words));

    let other_name = format!("127.1:{}", stack().kafka_ssl.port());
    let words = ["made for localhost, 127.0.0.1", "not for 127.1"];
    assert_told("kafka", &sandbox, &kafka(&["--bootstrap-server", &other_name], "tls", &words));

    let (past_ca, past) =
        (property("ssl.ca.location", expired.file("ca.pem")), expired.serve(false).to_string());
    let flags = ["--bootstrap-server", &past, "-X", &past_ca];
    assert_told("kafka", &sandbox, &kafka(&flags, "tls", &["has expired", "ended on Dec 31"]));

    let certificate = property("ssl.certificate.location", stranger.file("service.cert"));
    let key = property("ssl.key.location", stranger.file("service.key"));
    let came = format!("signed by {THEIR_CA}");
    let words = ["wants a client certificate that its CA has signed", &came];
    let flags = ["-X", &certificate, "-X", &key];
    assert_told("kafka", &sandbox, &kafka(&flags, "login", &words));

    let words = ["does not belong to the key"];
    assert_told("kafka", &sandbox, &kafka(&["-X", &key], "certificates", &words));
}

#[test]
fn kafka_says_which_protocol_was_expected_and_which_came() {
    let sandbox = sandbox("kafka_protocols");
    let (plaintext, ssl) = (stack().kafka_plaintext.to_string(), stack().kafka_ssl.to_string());
    let mistake = kafka(&["--bootstrap-server", &plaintext], "tls", &["--security-protocol"]);
    assert_told("kafka", &sandbox, &mistake);
    let words = ["speaks TLS", "is PLAINTEXT", "--security-protocol"];
    let mistake = kafka(&["--bootstrap-server", &ssl], "login", &words);
    assert_told("kafka", &sandbox, &with_creds(mistake, &stack().creds_plaintext));
    let mistake = kafka(&["-X", "sasl.password=hunter2"], "login", &["refuses the SASL login"]);
    assert_told("kafka", &sandbox, &with_creds(mistake, &stack().creds_sasl));
}

fn postgres(uri: String, check: &'static str, words: &[&str]) -> Mistake {
    let words = words.iter().map(|one| (*one).to_owned()).collect();
    Mistake { flags: Vec::new(), variables: vec![("ORDERCTL_POSTGRES_URI", uri)], check, words }
}

#[test]
fn postgres_says_whose_certificate_came_and_whose_was_expected() {
    let sandbox = sandbox("postgres_certificates");
    let (stranger, expired) = (Stranger::new(false), Stranger::new(true));
    let ours = uri(&stack().creds);
    let address = stack().postgres.to_string();
    let root = |of: &Stranger| format!("&sslrootcert={}", of.file("ca.pem").display());

    let signed = format!("{OUR_CA} has signed it");
    let words = ["not signed by", THEIR_CA, &signed, "sslrootcert"];
    let mistake = postgres(format!("{ours}{}", root(&stranger)), "tls", &words);
    assert_told("postgres", &sandbox, &mistake);

    let other_name = ours.replace("@127.0.0.1:", "@127.1:");
    let words = ["made for localhost, 127.0.0.1", "not for 127.1", "verify-ca"];
    assert_told("postgres", &sandbox, &postgres(other_name, "tls", &words));

    let past = ours.replace(&address, &expired.serve(true).to_string());
    let words = ["has expired", "ended on Dec 31"];
    let mistake = postgres(format!("{past}{}", root(&expired)), "tls", &words);
    assert_told("postgres", &sandbox, &mistake);

    let (certificate, key) = (stranger.file("service.cert"), expired.file("service.key"));
    let pair = format!("{ours}&sslcert={}&sslkey={}", certificate.display(), key.display());
    let words = ["does not belong to the key"];
    assert_told("postgres", &sandbox, &postgres(pair, "certificates", &words));
}

#[test]
fn postgres_says_which_protocol_was_expected_and_which_came() {
    let sandbox = sandbox("postgres_protocols");
    let ours = uri(&stack().creds);
    let address = stack().postgres.to_string();
    let without = ours.replace(&address, &fakes::without_tls().to_string());
    assert_told("postgres", &sandbox, &postgres(without, "tls", &["TLS", "sslmode=disable"]));
    let plain = ours.replace("verify-full", "disable");
    let words = ["wants an encrypted connection", "sslmode=require"];
    assert_told("postgres", &sandbox, &postgres(plain, "login", &words));
    let wrong = ours.replace(&crate::connections::passwords()[0], "hunter2");
    let words = ["refuses the password of"];
    assert_told("postgres", &sandbox, &postgres(wrong, "login", &words));
}
