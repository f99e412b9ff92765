//! A TCP proxy on 127.0.0.1 that a test can cut, reset, close, silence and delay.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

/// How often a pump looks whether it should go on.
const LOOK: Duration = Duration::from_millis(10);
/// Most pieces of 64 KiB that are under way in one direction of a delayed link.
const PIECES_MAX: usize = 256;

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
    links: Mutex<Vec<Weak<Link>>>,
    made: AtomicUsize,
    /// How much later bytes come out than they came in.
    delay_ms: AtomicU64,
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

/// A client's connection and the one to the server that belongs to it; both are
/// closed once neither pump holds it any more.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: TcpStream,
    is_reset: AtomicBool,
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
            made: AtomicUsize::new(0),
            delay_ms: AtomicU64::new(0),
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

    /// Resets every link: both sides get an RST and lose what was under way,
    /// where [`Proxy::cut`] ends the stream in order. Answers with how many links
    /// there were, once all are closed.
    pub fn reset(&self) -> usize {
        let links = std::mem::take(&mut *self.state.links.lock().expect("no panic"));
        let alive: Vec<_> = links.iter().filter_map(Weak::upgrade).collect();
        for link in &alive {
            for stream in [&link.client, &link.server] {
                set_socket_linger(stream, Some(Duration::ZERO)).expect("an open socket");
            }
            link.is_reset.store(true, SeqCst);
        }
        let number = alive.len();
        drop(alive);
        while links.iter().any(|link| link.strong_count() > 0) {
            // The pumps look that often, and the last one closes the sockets.
            std::thread::sleep(LOOK);
        }
        number
    }

    /// Lets every byte in either direction come so much later from now on.
    pub fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, SeqCst);
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
        self.state.made.load(SeqCst)
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

impl Link {
    /// Ends both streams in order.
    fn end(&self) {
        for stream in [&self.client, &self.server] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl State {
    fn link(self: &Arc<Self>, client: TcpStream) {
        if self.refuses.load(SeqCst) {
            self.refused.fetch_add(1, SeqCst);
            return;
        }
        let Ok(server) = TcpStream::connect(self.target) else { return };
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(LOOK)).expect("a time limit");
            stream.set_write_timeout(Some(LOOK)).expect("a time limit");
            stream.set_nodelay(true).expect("an open socket");
        }
        let link = Arc::new(Link { client, server, is_reset: AtomicBool::new(false) });
        let mut links = self.links.lock().expect("no panic");
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        drop(links);
        self.made.fetch_add(1, SeqCst);
        for is_up in [true, false] {
            let (state, link) = (Arc::clone(self), Arc::clone(&link));
            std::thread::spawn(move || {
                state.pump(&link, is_up);
                if !link.is_reset.load(SeqCst) {
                    link.end();
                }
            });
        }
    }

    fn cut(&self) {
        let links = self.links.lock().expect("no panic");
        links.iter().filter_map(Weak::upgrade).for_each(|link| link.end());
    }

    /// Carries bytes in one direction until either side ends or the link is over.
    fn pump(&self, link: &Link, is_up: bool) {
        let (mut from, to) = match is_up {
            true => (&link.client, &link.server),
            false => (&link.server, &link.client),
        };
        let mut buffer = vec![0; 64 * 1024];
        let (mut kept, mut under_way) = (Vec::new(), VecDeque::new());
        let mut is_open = true;
        while is_open || !under_way.is_empty() {
            if self.is_over(link) {
                return;
            }
            // A silent proxy takes bytes in and keeps them.
            let is_silent = self.silent.load(SeqCst);
            let is_due = |(due, _): &(Instant, Vec<u8>)| !is_silent && *due <= Instant::now();
            if let Some((_, bytes)) = under_way.pop_front_if(|next| is_due(next)) {
                if !self.forward(link, to, &bytes, is_up) {
                    return;
                }
                continue;
            }
            if !is_open || under_way.len() == PIECES_MAX {
                // Nothing can be done before the next piece is due.
                std::thread::sleep(LOOK);
                continue;
            }
            match from.read(&mut buffer) {
                Ok(0) => is_open = false,
                Ok(read) => {
                    if is_up {
                        self.bytes.fetch_add(read, SeqCst);
                    }
                    kept.extend_from_slice(&buffer[..read]);
                    let delay = Duration::from_millis(self.delay_ms.load(SeqCst));
                    under_way.push_back((Instant::now() + delay, self.ready(&mut kept, is_up)));
                }
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes a piece, but for a cut or silence that is due within it; false when
    /// the link is over.
    fn forward(&self, link: &Link, to: &TcpStream, bytes: &[u8], is_up: bool) -> bool {
        let due = if is_up { self.counted(bytes.len()) } else { None };
        let (first, rest) = bytes.split_at(due.unwrap_or(bytes.len()));
        if !self.write(link, to, first) {
            return false;
        }
        if due.is_some() && !self.goes_silent.load(SeqCst) {
            self.cut();
            return false;
        }
        if due.is_some() {
            self.silent.store(true, SeqCst);
            self.wait_while_silent(link);
        }
        self.write(link, to, rest)
    }

    fn write(&self, link: &Link, mut to: &TcpStream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            // What an ended link still holds is lost with it.
            if self.is_over(link) {
                return false;
            }
            match to.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_passing(&error) => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn is_over(&self, link: &Link) -> bool {
        self.closed.load(SeqCst) || link.is_reset.load(SeqCst)
    }

    fn wait_while_silent(&self, link: &Link) {
        while self.silent.load(SeqCst) && !self.is_over(link) {
            // Ends with the test that made the link silent.
            std::thread::sleep(LOOK);
        }
    }

    /// Counts what goes up: after how many of these bytes the cut or silence is
    /// due, if it is.
    fn counted(&self, bytes: usize) -> Option<usize> {
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
