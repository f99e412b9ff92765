//! Secrets with a mark in them, and the search for the mark.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use openssl::base64::encode_block;
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use serde_json::json;

use crate::support::program::Finished;
use crate::support::{Run, Sandbox, drop_role, order, sql, sql_value, stack, uri};

/// In every secret, twice: before and behind an `@`, at which a careless parser
/// would cut.
pub const MARK: &str = "Hx7sentinel";

/// A secret with the mark, as `name` for people who read a failure.
pub fn secret(name: &str) -> String {
    format!("{MARK}{name}@{MARK}{name}")
}

/// The same as it is written in a URI.
pub fn encoded(name: &str) -> String {
    secret(name).replace('@', "%40")
}

/// Where the mark is, in any of the forms in which it may leak; none if nowhere.
pub fn leak(text: &str) -> Option<String> {
    let found = forms().into_iter().find(|form| text.contains(form))?;
    let at = text.find(&found).unwrap_or(0);
    let around = text.floor_char_boundary(at.saturating_sub(80));
    let end = text.ceil_char_boundary((at + found.len() + 40).min(text.len()));
    Some(text[around..end].to_owned())
}

/// The mark as it is, percent-encoded, in hexadecimal digits, and in base64 at
/// each of the places that it may have in a text.
fn forms() -> Vec<String> {
    let each = |form: fn(u8) -> String| MARK.bytes().map(form).collect::<String>();
    let mut forms = vec![
        MARK.to_owned(),
        each(|byte| format!("%{byte:02X}")),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
    ];
    forms.extend((0..3).map(|shift| {
        let text = encode_block(&[&vec![b'x'; shift], MARK.as_bytes()].concat());
        // Without the digits that hold bits of what is beside it.
        text[(shift * 8).div_ceil(6)..(shift + MARK.len()) * 8 / 6].to_owned()
    }));
    forms
}

/// Fails unless the run has neither printed the mark nor written it to a file
/// below its folder, but for those that are there to hold it.
#[track_caller]
pub fn assert_clean(line: &[String], run: &Finished, folder: &Path, holders: &[&str]) {
    for (what, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        if let Some(leak) = leak(text) {
            panic!("{what} of `orderctl {}` shows a secret: …{leak}…", line.join(" "));
        }
    }
    for path in files_below(folder) {
        let name = path.file_name().unwrap().to_string_lossy();
        let bytes = std::fs::read(&path).unwrap();
        if !holders.contains(&&*name)
            && let Some(leak) = leak(&String::from_utf8_lossy(&bytes))
        {
            panic!("`orderctl {}` writes a secret to {name}: …{leak}…", line.join(" "));
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap() {
                it if it.is_dir() => folders.push(path),
                it if it.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files
}

/// A folder with a creds.json whose every secret has the mark, a certificate
/// directory whose key has such a passphrase, and a role with such a password.
pub struct Marked {
    folder: tempfile::TempDir,
    /// Topic, group, and a schema in which the role may do everything.
    pub sandbox: Sandbox,
    role: String,
}

/// Files of the folder that hold secrets by design.
pub const HOLDERS: [&str; 3] = ["creds.json", "written.json", "kafka.properties"];

impl Marked {
    /// With a table `orders` and a topic.
    pub fn new(name: &str) -> Marked {
        let sandbox = Sandbox::new(name).with_topic(1);
        sandbox.set_up("orders");
        let role = format!("{}_role", sandbox.schema);
        let schema = &sandbox.schema;
        sql(&format!(
            "create role {role} login password '{}';
             grant usage, create on schema {schema}, orderctl to {role};
             grant all on all tables in schema {schema} to {role};
             grant all on all tables in schema orderctl to {role}",
            secret("postgres")
        ));
        let folder = tempfile::tempdir().unwrap();
        let marked = Marked { folder, sandbox, role };
        marked.write("creds.json", &marked.creds(&marked.uri()).to_string());
        let passphrase = format!("ssl.key.password={}\n", secret("passphrase"));
        marked.write("kafka.properties", &passphrase);
        std::fs::create_dir(marked.path("certs")).unwrap();
        for name in ["ca.pem", "service.cert"] {
            std::fs::copy(stack().cert_path.join(name), marked.path("certs").join(name)).unwrap();
        }
        let key = std::fs::read(stack().cert_path.join("service.key")).unwrap();
        let key = PKey::private_key_from_pem(&key).unwrap();
        let passphrase = secret("passphrase");
        let locked = key
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase.as_bytes())
            .unwrap();
        marked.write("certs/service.key", std::str::from_utf8(&locked).unwrap());
        marked
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only we may read.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), private).unwrap();
    }

    /// The database, as the role.
    pub fn uri(&self) -> String {
        let ours = uri(&stack().creds);
        let server = ours.split_once('@').unwrap().1;
        format!("postgres://{}:{}@{server}", self.role, encoded("postgres"))
    }

    /// A creds.json with every section, and this URI.
    pub fn creds(&self, uri: &str) -> serde_json::Value {
        let address = stack().kafka_ssl;
        json!({
            "kafka": {
                "hostname": address.ip().to_string(), "port": address.port(),
                "security_protocol": "SSL",
                "sasl": {
                    "mechanism": "SCRAM-SHA-256", "username": "u", "password": secret("sasl")
                }
            },
            "postgres": { "uri": uri },
            "smtp": {
                "hostname": "127.0.0.1", "port": 1, "security": "tls", "from": "a@b",
                "username": "m", "password": secret("smtp")
            },
            "search": {
                "url": "https://127.0.0.1:1", "username": "s", "password": secret("search")
            }
        })
    }

    /// Has a bad record rejected: the number of its dead letter.
    pub fn reject_one(&self) -> String {
        self.sandbox.publish(&[order("")]);
        self.sandbox.store("orders").finish().code(3);
        sql_value(&format!(
            "select id from orderctl.dead_letter where topic = '{}'",
            self.sandbox.topic
        ))
    }

    /// The program in the folder, with its creds.json and passphrase.
    pub fn run(&self, line: &[String]) -> Run {
        Run::bare(line)
            .directory(self.folder())
            .env("ORDERCTL_KAFKA_CONFIG", self.path("kafka.properties"))
            .env("TMPDIR", self.folder())
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        sql(&format!("drop schema {} cascade", self.sandbox.schema));
        drop_role(&self.role);
    }
}

/// A command line taken apart at its spaces.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_mark_is_found_in_every_form() {
    let url = format!("postgres://u:{}@h", encoded("x"));
    let basic = ["", "u:", "user"].map(|user| encode_block(format!("{user}{MARK}").as_bytes()));
    let hex: String = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
    for text in [MARK, &url, &hex, &basic[0], &basic[1], &basic[2]] {
        assert!(leak(&format!("ä before {text} behind")).is_some(), "{text}");
    }
    assert_eq!(leak("nothing of the kind"), None);
}
