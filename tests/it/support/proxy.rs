//! A TCP proxy on 127.0.0.1 that a test can cut, close and silence.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a pump looks whether it should go on.
const LOOK: Duration = Duration::from_millis(10);

/// A proxy before a server; its links are cut when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect to.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    /// In what the broker answers, its own address is replaced by ours.
    replace: Option<(Vec<u8>, Vec<u8>)>,
    links: Mutex<Vec<TcpStream>>,
    refuses: AtomicBool,
    silent: AtomicBool,
    closed: AtomicBool,
    /// Cut or go silent when this many more bytes came from clients; negative
    /// for never.
    bytes_left: AtomicI64,
    goes_silent: AtomicBool,
    refused: AtomicUsize,
    bytes: AtomicUsize,
}

impl Proxy {
    /// Before any server.
    pub fn to(target: SocketAddr) -> Proxy {
        Proxy::start(target, false)
    }

    /// Before a broker's plaintext listener: the address that the broker gives
    /// of itself becomes the proxy's, so that clients keep to it.
    pub fn to_broker(target: SocketAddr) -> Proxy {
        Proxy::start(target, true)
    }

    fn start(target: SocketAddr, is_broker: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        // Host and 32-bit port as Kafka's protocol has them, of equal length.
        let advertised = |address: SocketAddr| {
            let port = i32::from(address.port()).to_be_bytes();
            [address.ip().to_string().as_bytes(), &port].concat()
        };
        let state = Arc::new(State {
            target,
            replace: is_broker.then(|| (advertised(target), advertised(address))),
            links: Mutex::default(),
            refuses: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bytes_left: AtomicI64::new(-1),
            goes_silent: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.closed.load(SeqCst) {
                    return;
                }
                accepting.link(client);
            }
        });
        Proxy { address, state }
    }

    /// Cuts every link, in the middle of whatever is on it.
    pub fn cut(&self) {
        self.state.cut();
    }

    /// Cuts every link once so many more bytes came from clients.
    pub fn cut_after(&self, bytes: i64) {
        self.state.goes_silent.store(false, SeqCst);
        self.state.bytes_left.store(bytes, SeqCst);
    }

    /// Goes silent once so many more bytes came from clients.
    pub fn silence_after(&self, bytes: i64) {
        self.state.goes_silent.store(true, SeqCst);
        self.state.bytes_left.store(bytes, SeqCst);
    }

    /// Whether the cut or silence asked for is still to come.
    pub fn is_due(&self) -> bool {
        self.state.bytes_left.load(SeqCst) >= 0
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, SeqCst);
    }

    /// How many connections were closed at once.
    pub fn refused(&self) -> usize {
        self.state.refused.load(SeqCst)
    }

    /// How many bytes came from clients so far.
    pub fn bytes(&self) -> i64 {
        self.state.bytes.load(SeqCst) as i64
    }

    /// Whether nothing goes through in either direction, without an error.
    pub fn silence(&self, silent: bool) {
        self.state.silent.store(silent, SeqCst);
    }

    /// How many links there have been.
    pub fn links(&self) -> usize {
        self.state.links.lock().expect("no panic").len() / 2
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn link(self: &Arc<Self>, client: TcpStream) {
        if self.refuses.load(SeqCst) {
            self.refused.fetch_add(1, SeqCst);
            return;
        }
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let copies = [&client, &server].map(|stream| stream.try_clone().expect("a handle"));
        self.links.lock().expect("no panic").extend(copies);
        let [from_client, to_client] = [&client, &client].map(|c| c.try_clone().expect("a handle"));
        let (to_server, from_server) = (server.try_clone().expect("a handle"), server);
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || up.pump(from_client, to_server, true));
        std::thread::spawn(move || down.pump(from_server, to_client, false));
    }

    fn cut(&self) {
        for stream in self.links.lock().expect("no panic").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_up: bool) {
        from.set_read_timeout(Some(LOOK)).expect("a time limit");
        let mut buffer = vec![0; 64 * 1024];
        let mut kept = Vec::new();
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            kept.extend_from_slice(&buffer[..read]);
            let ready = self.ready(&mut kept, is_up);
            let before = if is_up { self.counted(ready.len()) } else { None };
            let (first, rest) = ready.split_at(before.unwrap_or(ready.len()));
            self.wait_while_silent();
            // What a closed proxy still holds is lost with it.
            if self.closed.load(SeqCst) || to.write_all(first).is_err() {
                break;
            }
            if before.is_some() && !self.goes_silent.load(SeqCst) {
                self.cut();
                break;
            }
            if before.is_some() {
                self.silent.store(true, SeqCst);
                self.wait_while_silent();
            }
            if to.write_all(rest).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn wait_while_silent(&self) {
        while self.silent.load(SeqCst) && !self.closed.load(SeqCst) {
            // Ends with the test that made the link silent.
            std::thread::sleep(LOOK);
        }
    }

    /// Counts what goes up: after how many of these bytes the cut or silence is
    /// due, if it is.
    fn counted(&self, bytes: usize) -> Option<usize> {
        self.bytes.fetch_add(bytes, SeqCst);
        let left = self.bytes_left.load(SeqCst);
        if left < 0 {
            return None;
        }
        if left > bytes as i64 {
            self.bytes_left.fetch_sub(bytes as i64, SeqCst);
            return None;
        }
        self.bytes_left.store(-1, SeqCst);
        Some(left as usize)
    }

    /// What may go on: everything, or whole answers of a broker, rewritten.
    fn ready(&self, kept: &mut Vec<u8>, is_up: bool) -> Vec<u8> {
        let Some((theirs, ours)) = self.replace.as_ref().filter(|_| !is_up) else {
            return std::mem::take(kept);
        };
        let mut whole = 0;
        while let Some(size) = kept[whole..].first_chunk::<4>() {
            let end = whole + 4 + u32::from_be_bytes(*size) as usize;
            if end > kept.len() {
                break;
            }
            whole = end;
        }
        let rest = kept.split_off(whole);
        let mut answers = std::mem::replace(kept, rest);
        let mut from = 0;
        while let Some(at) = answers[from..].windows(theirs.len()).position(|part| part == theirs) {
            answers[from + at..from + at + ours.len()].copy_from_slice(ours);
            from += at + ours.len();
        }
        answers
    }
}
