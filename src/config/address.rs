//! Where a server listens, as text: `host:port`, or `[address]:port` for IPv6.

/// `host:port`, with an IPv6 address in brackets.
pub fn join_address(hostname: &str, port: u16) -> String {
    if hostname.contains(':') && !hostname.starts_with('[') {
        format!("[{hostname}]:{port}")
    } else {
        format!("{hostname}:{port}")
    }
}

/// Host and port of `host:port` or `[address]:port`; the host without brackets.
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_put_together_and_taken_apart() {
        for (host, port, text) in
            [("h", 1, "h:1"), ("10.0.0.1", 9092, "10.0.0.1:9092"), ("::1", 5432, "[::1]:5432")]
        {
            assert_eq!(join_address(host, port), text);
            assert_eq!(split_address(text), Some((host, port)));
        }
        assert_eq!(join_address("[::1]", 5432), "[::1]:5432", "brackets that are there stay");
        assert_eq!(split_address("h"), None);
        assert_eq!(split_address("h:port"), None);
    }
}
