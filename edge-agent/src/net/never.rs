//! What is never connected to unless the operator allows it by its own address: link-local
//! addresses, the metadata services of clouds, which hand out credentials to whoever can reach
//! them, and addresses that are no machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(first: [u16; 3], last: u16, bits: u8) -> IpNet {
    let [a, b, c] = first;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, last), bits))
}

/// Link-local networks and metadata services. Most services are at 169.254.169.254; those of
/// AWS for containers (169.254.170.2) and of Tencent (169.254.0.23) are link-local, too.
const SERVICES: [IpNet; 16] = [
    v4(169, 254, 0, 0, 16),
    v6([0xfe80, 0, 0], 0, 10),
    v4(100, 100, 100, 200, 32),                // Alibaba Cloud
    v4(168, 63, 129, 16, 32),                  // Azure
    v4(192, 0, 0, 192, 32),                    // Oracle Cloud
    v6([0xfd00, 0x0ec2, 0], 0x0254, 128),      // AWS
    v6([0xfd00, 0x0ec2, 0], 0x0253, 128),      // AWS: names
    v6([0xfd00, 0x0ec2, 0], 0x0123, 128),      // AWS: time
    v6([0xfd00, 0x0ec2, 0], 0x0023, 128),      // AWS: identities of pods
    v6([0xfd20, 0x00ce, 0], 0x0254, 128),      // Google Cloud
    v6([0xfd00, 0x0042, 0], 0x0042, 128),      // Scaleway
    v6([0xfd00, 0xa9fe, 0xa9fe], 0x0001, 128), // Akamai
    ORACLE_V6,
    v4(192, 0, 0, 170, 32), // NAT64's own discovery
    v4(192, 0, 0, 171, 32),
    v4(192, 0, 0, 8, 32), // the dummy address
];

/// fd00:c1::a9fe:a9fe.
const ORACLE_V6: IpNet =
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128));

/// Addresses of nobody, or of everybody.
const NO_MACHINE: [IpNet; 5] = [
    v4(0, 0, 0, 0, 8),
    v4(224, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
    v6([0, 0, 0], 0, 128),
    v6([0xff00, 0, 0], 0, 8),
];

/// Names of metadata services, which resolvers and hosts files answer with what is refused
/// anyway; a proxy that resolves them itself would not refuse.
const NAMES: [&str; 11] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "api.metadata.cloud.ibm.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "rancher-metadata",
];

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Link-local, or a metadata service.
    Service,
    /// Unspecified, multicast, broadcast.
    NoMachine,
}

/// The network that makes an address one that is refused, and what it is; nothing for others.
/// For an address inside another one, that is the other one alone.
pub(crate) fn refused(address: IpAddr) -> Option<(IpNet, Nature)> {
    let address = address.to_canonical();
    let listed = |address: IpAddr| {
        let service = SERVICES.iter().map(|network| (*network, Nature::Service));
        let nobody = NO_MACHINE.iter().map(|network| (*network, Nature::NoMachine));
        service.chain(nobody).find(|(network, _)| network.contains(&address))
    };
    listed(address).or_else(|| {
        let inside = embedded(address).into_iter().filter_map(|v4| listed(IpAddr::V4(v4)));
        // Of the places where an address could be, the others hold zeros.
        let mut natures = inside.map(|(_, nature)| nature);
        let nature = match address {
            IpAddr::V6(v6) if is_local_nat64(v6) => natures.find(|it| *it == Nature::Service),
            _ => natures.next(),
        };
        nature.map(|nature| (IpNet::from(address), nature))
    })
}

/// A network's own translation prefix (RFC 8215), whose length is not known here.
fn is_local_nat64(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 1, ..])
}

/// True for a metadata service's name, which is in lower case and without its last dot.
pub(crate) fn refuses_name(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The IPv4 addresses that a gateway could take out of an IPv6 one: compatible
/// (`::a.b.c.d`), translated (RFC 6052, RFC 8215, RFC 2765), 6to4, Teredo's two, ISATAP.
pub(crate) fn embedded(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return vec![] };
    let octets = address.octets();
    let at = |places: [usize; 4]| {
        let [a, b, c, d] = places.map(|place| octets.get(place).copied().unwrap_or(0));
        Ipv4Addr::new(a, b, c, d)
    };
    let last = || at([12, 13, 14, 15]);
    match address.segments() {
        // ::1 and its neighbours are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, _] => vec![],
        [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => vec![last()],
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => vec![last()],
        // Whatever the length of the prefix; octet 8 is skipped.
        _ if is_local_nat64(address) => {
            vec![last(), at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12])]
        }
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from_bits(!last().to_bits())],
        [_, _, _, _, 0 | 0x0200, 0x5efe, _, _] => vec![last()],
        _ => vec![],
    }
}
