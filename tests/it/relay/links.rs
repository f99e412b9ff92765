//! Links to the broker that are cut, silent and slow.

use std::time::Duration;

use super::signals::behind;
use super::{Flow, Publishing, end};
use crate::support::{Proxy, eventually, stack};

#[test]
fn links_cut_at_any_byte_lose_and_double_nothing() {
    let flow = Flow::new("relay_cut", 3);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let worker = behind(&flow, &proxy).spawn();
    let publishing = Publishing::into(&flow);
    flow.goes_on(1);
    for bytes in [1_000, 7_000, 30_000, 70_001, 111_111, 3] {
        let links = proxy.links();
        proxy.cut_after(bytes);
        eventually("the cut", || !proxy.is_due());
        eventually("it connects again", || proxy.links() > links);
        flow.goes_on(1);
    }
    let number = publishing.end();
    flow.assert_each_once(number);
    end(worker);
    flow.assert_each_once(number);
}

#[test]
fn a_black_hole_is_waited_out_and_its_partitions_go_to_the_other_worker() {
    let flow = Flow::new("relay_hole", 4);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let first = behind(&flow, &proxy).spawn();
    let publishing = Publishing::into(&flow);
    flow.goes_on(1);
    let second = flow.worker().spawn();
    flow.goes_on(500);
    proxy.silence_after(20_000);
    eventually("the hole", || !proxy.is_due());
    // Only the other one can do that, and all partitions only once it has them.
    flow.goes_on(2_000);
    proxy.silence(false);
    flow.goes_on(1_000);
    let number = publishing.end();
    flow.assert_each_once(number);
    end(second);
    end(first);
    flow.assert_each_once(number);
}

#[test]
fn links_slowed_by_300_ms_each_way_only_take_longer() {
    let flow = Flow::new("relay_slow", 2);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    proxy.delay(Duration::from_millis(300));
    let worker = behind(&flow, &proxy).spawn();
    flow.publish(0..500);
    flow.assert_each_once(500);
    flow.publish(500..1_000);
    flow.assert_each_once(1_000);
    assert!(proxy.bytes() > 10_000, "through the proxy");
    assert_eq!(end(worker)["read"], 1_000);
}
