//! Links to both services that are reset, black-holed and slow.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::workers::owners;
use super::{
    asker, assert_each_once, endless_producer, sandbox, stop_producing, without_takeover, worker,
};
use crate::support::program::Running;
use crate::support::{Proxy, Run, Sandbox, eventually, stack, uri_at_port};

/// A proxy before either service.
struct Proxies {
    broker: Proxy,
    database: Proxy,
}

impl Proxies {
    fn new() -> Proxies {
        Proxies {
            broker: Proxy::to_broker(stack().kafka_plaintext),
            database: Proxy::to(stack().postgres),
        }
    }

    /// Lets a run reach both services through the proxies only.
    fn before(&self, run: Run) -> Run {
        run.env("ORDERCTL_POSTGRES_URI", uri_at_port(self.database.address.port()))
            .env("ORDERCTL_BOOTSTRAP_SERVER", self.broker.address.to_string())
            .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
    }
}

/// Ends what runs, and looks whether all that was published is there once.
#[track_caller]
fn end(sandbox: &Sandbox, producer: Running, workers: Vec<Running>) {
    let number = stop_producing(producer);
    assert_each_once(sandbox, number);
    for worker in workers {
        worker.interrupt();
        worker.finish().code(130);
    }
    assert_each_once(sandbox, number);
}

#[test]
fn the_proxy_resets_cuts_and_delays() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(server.local_addr().unwrap());
    let link = || {
        let (number, client) = (proxy.links(), TcpStream::connect(proxy.address).unwrap());
        eventually("the link", || proxy.links() > number);
        (client, server.accept().unwrap().0)
    };
    let (mut client, mut served) = link();
    assert_eq!(proxy.reset(), 1);
    for end in [&mut client, &mut served] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let (mut client, _served) = link();
    proxy.cut();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);

    let (mut client, mut served) = link();
    let delay = Duration::from_millis(300);
    proxy.delay(delay);
    let sent = Instant::now();
    client.write_all(b"question").unwrap();
    served.read_exact(&mut [0; 8]).unwrap();
    assert!(sent.elapsed() >= delay);
    served.write_all(b"answer").unwrap();
    drop(served);
    client.read_exact(&mut [0; 6]).unwrap();
    assert!(sent.elapsed() >= 2 * delay, "each way");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn links_that_are_reset_lose_and_double_nothing() {
    let sandbox = sandbox("reset", 3);
    let (proxies, asker) = (Proxies::new(), asker(&sandbox));
    let worker = proxies.before(worker(&sandbox)).args(["--batch-rows", "500"]).spawn();
    let producers_broker = Proxy::to_broker(stack().kafka_plaintext);
    let producer = endless_producer(&sandbox, 3_000)
        .env("ORDERCTL_BOOTSTRAP_SERVER", producers_broker.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
        .spawn();
    let links = [&proxies.database, &proxies.broker, &producers_broker];
    let watch = asker.watch();
    let mut resets = [0; 3];
    for round in 0..12 {
        let position = asker.position();
        eventually("records are stored", || asker.position() > position);
        eventually("a link is reset", || {
            let reset = links[round % 3].reset();
            resets[round % 3] += reset;
            reset > 0
        });
    }
    eprintln!("links reset {resets:?}, longest pause {:.1?}", watch.longest());
    end(&sandbox, producer, vec![worker]);
}

#[test]
fn a_black_hole_before_kafka_costs_the_partitions_and_nothing_else() {
    let sandbox = sandbox("hole_kafka", 4);
    let (proxies, asker) = (Proxies::new(), asker(&sandbox));
    let first = proxies.before(worker(&sandbox)).spawn();
    let second = worker(&sandbox).spawn();
    let producer = endless_producer(&sandbox, 2_000).spawn();
    eventually("both own partitions", || owners(&sandbox).len() == 2);
    let watch = asker.watch();
    for _ in 0..2 {
        proxies.broker.silence(true);
        let is_owner = format!(":{}", second.pid());
        // The group has waited for longer than the session timeout then.
        eventually(
            "only the other one owns partitions",
            || matches!(&owners(&sandbox)[..], [owner] if owner.ends_with(&is_owner)),
        );
        let position = asker.position();
        eventually("it stores all", || asker.position() > position + 2_000);
        proxies.broker.silence(false);
        eventually("both own partitions again", || owners(&sandbox).len() == 2);
    }
    eprintln!("longest pause {:.1?}", watch.longest());
    end(&sandbox, producer, vec![first, second]);
}

#[test]
fn a_black_hole_before_the_database_is_waited_out_without_leaving_the_group() {
    let sandbox = sandbox("hole_db", 4);
    let (proxies, asker) = (Proxies::new(), asker(&sandbox));
    let first = proxies
        .before(worker(&sandbox))
        .args(["-X", "session.timeout.ms=6000", "--batch-rows", "200"])
        .spawn();
    let producer = endless_producer(&sandbox, 2_000).spawn();
    eventually("records are stored", || asker.position() > 1_000);
    let watch = asker.watch();
    for bytes in [100_000, 250_000] {
        without_takeover(&sandbox, || {
            proxies.database.silence_after(bytes);
            eventually("the hole", || !proxies.database.is_due());
            // Time is the fault here: longer than the session timeout.
            std::thread::sleep(Duration::from_secs(7));
            let position = asker.position();
            proxies.database.silence(false);
            eventually("it goes on", || asker.position() > position + 2_000);
        });
    }
    let longest = watch.longest();
    assert!(longest > Duration::from_millis(6_500), "{longest:?}: nothing came through the hole");
    eprintln!("longest pause {longest:.1?}");
    end(&sandbox, producer, vec![first]);
}

#[test]
fn links_slowed_by_300_ms_each_way_only_take_longer() {
    let sandbox = sandbox("slow", 3);
    let proxies = Proxies::new();
    let delay = Duration::from_millis(300);
    proxies.broker.delay(delay);
    proxies.database.delay(delay);
    let started = Instant::now();
    let first = proxies.before(worker(&sandbox)).spawn();
    let producer = proxies.before(endless_producer(&sandbox, 1_000)).spawn();
    let asker = asker(&sandbox);
    eventually("records are stored", || asker.position() > 0);
    let took = started.elapsed();
    // To each service at least: connect, greet, ask, and have it answered.
    assert!(took > 8 * delay, "{took:?}: not through the slow links");
    let second = proxies.before(worker(&sandbox)).spawn();
    eventually("both own partitions", || owners(&sandbox).len() == 2);
    let position = asker.position();
    eventually("both go on", || asker.position() > position + 1_000);
    end(&sandbox, producer, vec![first, second]);
}
