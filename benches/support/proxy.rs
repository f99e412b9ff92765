//! A TCP proxy that delays every byte, to stand for a distant service.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Pieces on their way in one direction: with 64 KiB each far more than a real
/// link holds, so that the delay and not the proxy bounds the throughput.
const PIECES_MAX: usize = 1024;
const PIECE_BYTES: usize = 64 * 1024;

/// Starts a proxy to `target` on a free port of the loopback interface and
/// returns its address. It lives as long as the process.
///
/// `round_trip` is how much longer a question and its answer take.
///
/// # Errors
/// When no port can be opened.
pub fn start(target: SocketAddr, round_trip: Duration) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A target that refuses looks to the client like a closed connection.
            if let Ok(server) = TcpStream::connect(target) {
                let _ = join(&client, &server, round_trip / 2);
            }
        }
    });
    Ok(address)
}

/// Carries bytes both ways until either side closes.
fn join(client: &TcpStream, server: &TcpStream, delay: Duration) -> std::io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        to.set_nodelay(true)?;
        let (sender, receiver) = sync_channel(PIECES_MAX);
        std::thread::spawn(move || read(from, &sender, delay));
        std::thread::spawn(move || write(to, &receiver));
    }
    Ok(())
}

/// Reads pieces and stamps each with the moment it may leave.
fn read(mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
            break;
        }
    }
}

fn write(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    for (leaves, piece) in receiver {
        std::thread::sleep(leaves.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // Nothing more comes from the other side: say so to this one.
    let _ = to.shutdown(Shutdown::Write);
}
