//! Ranges of addresses: `203.0.113.0/24`, `2001:db8::/32`, or one address (RFC 4632, RFC 4291).

use std::net::IpAddr;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    /// Leading bits that are the same for all of them.
    prefix_len: u32,
}

impl Network {
    /// Reads a range; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let len_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix_len.unwrap_or(len_max);
        (prefix_len <= len_max).then_some(Self { address, prefix_len })
    }

    /// Whether an address is in it. One of version 4 in the form of version 6 is one of version 4.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(four) => (32, u128::from(u32::from(four))),
            IpAddr::V6(six) => (128, u128::from(six)),
        };
        let ((own_len, own), (len, other)) = (bits(self.address), bits(address.to_canonical()));
        let shift = own_len - self.prefix_len;
        len == own_len && own.checked_shr(shift) == other.checked_shr(shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_begins_like_them() {
        for (range, address, expected) in [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.6", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("2001:db8::/33", "2001:db8:7fff::", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
        ] {
            let network = Network::parse(range).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{range} {address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
