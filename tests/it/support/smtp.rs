//! A mail server that answers as a test says, and what it was sent.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use native_tls::{Identity, TlsAcceptor};

use super::stack;

/// How far a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Greeting,
    Auth,
    Rcpt,
    Data,
    Content,
}

/// What the server does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// What a server says that takes mails.
    Good,
    /// This line; after one of 421 the connection is closed.
    Say(&'static str),
    /// Closes the connection. A content was taken before.
    HangUp,
    /// Says nothing, until the client has gone. A content was taken before.
    Stall,
}

/// Decides by the step, the part of the recipient's address before the @, and how
/// often the step was reached for it before.
type Script = dyn Fn(Step, &str, usize) -> Answer + Send + Sync;

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The part of the address before the @.
    pub to: String,
    pub message_id: String,
    /// Whether it came over TLS.
    pub over_tls: bool,
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
    steps: HashMap<(Step, String), usize>,
    stalled: usize,
    logins: usize,
    open: usize,
    most_open: usize,
}

/// The running server.
pub struct Smtp {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

struct Conversation {
    stream: BufReader<Box<dyn Stream>>,
    seen: Arc<Mutex<Seen>>,
    script: Arc<Script>,
    to: String,
    over_tls: bool,
    /// What stands right behind the answer to STARTTLS.
    injected: &'static str,
}

impl Smtp {
    /// Without TLS.
    pub fn start(script: impl Fn(Step, &str, usize) -> Answer + Send + Sync + 'static) -> Smtp {
        Smtp::listen(Arc::new(script), None)
    }

    /// Offers STARTTLS, with a certificate of the stack's CA.
    pub fn with_starttls() -> Smtp {
        let folder = stack().folder.join("tls");
        let read = |name: &str| std::fs::read(folder.join(name)).expect("the stack's files");
        Smtp::with_identity(&read("kafka.cert"), &read("kafka.key"))
    }

    /// As [`Smtp::with_starttls`], where someone on the way adds an answer to the
    /// one before encryption.
    pub fn with_injection() -> Smtp {
        let folder = stack().folder.join("tls");
        let read = |name: &str| std::fs::read(folder.join(name)).expect("the stack's files");
        let acceptor = acceptor(&read("kafka.cert"), &read("kafka.key"));
        Smtp::listen(Arc::new(|_, _, _| Answer::Good), Some((acceptor, "\r\n250 AUTH PLAIN")))
    }

    /// Offers STARTTLS, with a certificate that nobody knows.
    pub fn of_a_stranger() -> Smtp {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = made.signing_key.serialize_pem();
        Smtp::with_identity(made.cert.pem().as_bytes(), key.as_bytes())
    }

    fn with_identity(certificate: &[u8], key: &[u8]) -> Smtp {
        let tls = acceptor(certificate, key);
        Smtp::listen(Arc::new(|_, _, _| Answer::Good), Some((tls, "")))
    }

    fn listen(script: Arc<Script>, tls: Option<(TlsAcceptor, &'static str)>) -> Smtp {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let server = Smtp { address, seen: Arc::clone(&seen) };
        // It ends with the tests: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                let tls = tls.clone();
                {
                    let mut seen = seen.lock().expect("no panic");
                    seen.open += 1;
                    seen.most_open = seen.most_open.max(seen.open);
                }
                std::thread::spawn(move || {
                    converse(stream, Arc::clone(&seen), script, tls);
                    seen.lock().expect("no panic").open -= 1;
                });
            }
        });
        server
    }

    /// The mails taken so far for the part of an address before the @.
    pub fn taken(&self, to: &str) -> Vec<Taken> {
        let seen = self.seen.lock().expect("no panic");
        seen.taken.iter().filter(|mail| mail.to == to).cloned().collect()
    }

    /// How often it went silent.
    pub fn stalled(&self) -> usize {
        self.seen.lock().expect("no panic").stalled
    }

    /// How many logins it let in.
    pub fn logins(&self) -> usize {
        self.seen.lock().expect("no panic").logins
    }

    /// The most connections that there were at the same time.
    pub fn most_open(&self) -> usize {
        self.seen.lock().expect("no panic").most_open
    }

    /// How often a recipient was offered.
    pub fn offered(&self, to: &str) -> usize {
        let seen = self.seen.lock().expect("no panic");
        seen.steps.get(&(Step::Rcpt, to.to_owned())).copied().unwrap_or(0)
    }
}

fn acceptor(certificate: &[u8], key: &[u8]) -> TlsAcceptor {
    let identity = Identity::from_pkcs8(certificate, key).expect("an identity");
    TlsAcceptor::new(identity).expect("a TLS server")
}

/// One client; a broken connection ends it.
fn converse(
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    script: Arc<Script>,
    tls: Option<(TlsAcceptor, &'static str)>,
) {
    let injected = tls.as_ref().map_or("", |(_, injected)| injected);
    let plain = stream.try_clone().expect("a second handle");
    let stream = BufReader::new(Box::new(stream) as Box<dyn Stream>);
    let mut talk =
        Conversation { stream, seen, script, to: String::new(), over_tls: false, injected };
    let Ok(true) = talk.answer(Step::Greeting, "220 test") else { return };
    let ended = talk.go_on(tls.is_some());
    if let (Ok(End::Tls), Some((acceptor, _))) = (ended, tls) {
        let Ok(tls) = acceptor.accept(plain) else { return };
        talk.stream = BufReader::new(Box::new(tls) as Box<dyn Stream>);
        talk.over_tls = true;
        let _ = talk.go_on(false);
    }
}

enum End {
    Closed,
    Tls,
}

impl Conversation {
    fn go_on(&mut self, offers_tls: bool) -> std::io::Result<End> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Ok(End::Closed);
            }
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let goes_on = match verb.as_str() {
                "EHLO" if offers_tls => self.say("250-test\r\n250 STARTTLS")?,
                "EHLO" => self.say("250-test\r\n250 AUTH PLAIN LOGIN")?,
                "STAR" if offers_tls => {
                    self.say(&format!("220 go on{}", self.injected))?;
                    return Ok(End::Tls);
                }
                "AUTH" => self.log_in()?,
                "MAIL" | "RSET" => self.say("250 good")?,
                "RCPT" => {
                    let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                    self.to = address.split('@').next().unwrap_or_default().to_owned();
                    self.answer(Step::Rcpt, "250 good")?
                }
                "DATA" => self.answer(Step::Data, "354 go on")? && self.content()?,
                "QUIT" => {
                    self.say("221 good-bye")?;
                    false
                }
                _ => self.say("502 what?")?,
            };
            if !goes_on {
                return Ok(End::Closed);
            }
        }
    }

    fn log_in(&mut self) -> std::io::Result<bool> {
        let goes_on = self.answer(Step::Auth, "235 come in")?;
        self.seen.lock().expect("no panic").logins += usize::from(goes_on);
        Ok(goes_on)
    }

    /// Takes the content unless the answer is to be a refusal.
    fn content(&mut self) -> std::io::Result<bool> {
        let mut message_id = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(id) = line.strip_prefix("Message-ID: ") {
                message_id = id.trim().to_owned();
            }
            if line == ".\r\n" {
                break;
            }
        }
        let taken = Taken { to: self.to.clone(), message_id, over_tls: self.over_tls };
        if !matches!(self.planned(Step::Content), Answer::Say(_)) {
            self.seen.lock().expect("no panic").taken.push(taken);
        }
        self.answer(Step::Content, "250 taken")
    }

    fn planned(&self, step: Step) -> Answer {
        let seen = self.seen.lock().expect("no panic");
        let times = seen.steps.get(&(step, self.to.clone())).copied().unwrap_or(0);
        drop(seen);
        (self.script)(step, &self.to, times)
    }

    /// Answers as the script says; whether the conversation goes on.
    fn answer(&mut self, step: Step, good: &str) -> std::io::Result<bool> {
        let answer = self.planned(step);
        let mut seen = self.seen.lock().expect("no panic");
        *seen.steps.entry((step, self.to.clone())).or_default() += 1;
        seen.stalled += usize::from(answer == Answer::Stall);
        drop(seen);
        match answer {
            Answer::Good => self.say(good),
            Answer::Say(line) => Ok(self.say(line)? && !line.starts_with("421")),
            Answer::HangUp => Ok(false),
            Answer::Stall => {
                let mut rest = Vec::new();
                self.stream.read_to_end(&mut rest)?;
                Ok(false)
            }
        }
    }

    fn say(&mut self, line: &str) -> std::io::Result<bool> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        stream.flush()?;
        Ok(true)
    }
}
