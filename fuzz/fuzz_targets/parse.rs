//! Any payload, as every kind: an event or a reject that tells why, never a
//! panic; and an order that the quick reader takes is what the slow one reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orderctl_fuzz::encode_check::assert_tells;
use orderctl_fuzz::events::Kind;

fuzz_target!(|payload: &[u8]| {
    for kind in Kind::ALL {
        match kind.parse(payload) {
            Ok(event) => {
                assert!(!event.id().is_empty() && !event.id().contains('\0'));
                assert_same_behind_an_unknown_field(kind, payload);
            }
            Err(reject) => assert_tells(&reject),
        }
    }
});

/// A field that nobody knows sends a payload to the general parser, which must
/// read what the quick one did.
fn assert_same_behind_an_unknown_field(kind: Kind, payload: &[u8]) {
    let object = payload.trim_ascii_start();
    let longer = [b"{\"unknown to all\":0,".as_slice(), &object[1..]].concat();
    assert_eq!(kind.parse(&longer), kind.parse(payload));
}
