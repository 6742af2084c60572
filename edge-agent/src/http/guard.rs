//! Addresses that nothing the agent fetches may have: link-local ones and the metadata
//! services of clouds, which hand out credentials to whoever can reach them.
//!
//! Names are checked after they are resolved, at the moment of connecting, so that a name
//! cannot mean one address for the check and another for the connection. Loopback and
//! private ranges are allowed: that is where data sources live. Through a proxy
//! (`HTTP_PROXY`) it is the proxy that resolves, and only literal addresses are checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Name, Resolve, Resolving};
use url::{Host, Url};

/// Metadata services outside the link-local ranges.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)), // Google Cloud
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                    // Alibaba Cloud
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                      // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),                        // Oracle Cloud
];

/// NAT64's well-known prefix (RFC 6052), whose last 32 bits are an IPv4 address.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// A host that the agent does not connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is a link-local or metadata address, which is never fetched from")]
pub struct Refused(String);

/// True for an address that is never connected to, in whichever form it is written.
#[must_use]
pub fn refuses(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}

/// The IPv4 address inside an IPv6 one: mapped (`::ffff:a.b.c.d`), compatible
/// (`::a.b.c.d`) or translated (`64:ff9b::a.b.c.d`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, ..] = address.segments();
    let [.., w, x, y, z] = address.octets();
    let compatible = [a, b, c, d, e, f] == [0; 6] && (w, x, y) != (0, 0, 0);
    let translated = [a, b, c, d, e, f] == NAT64;
    address
        .to_ipv4_mapped()
        .or_else(|| (compatible || translated).then(|| Ipv4Addr::new(w, x, y, z)))
}

/// Checks the host of an address that is about to be connected to, if it is a literal
/// one; names are checked when they are resolved.
///
/// # Errors
/// The host may not be connected to.
pub fn check(url: &Url) -> Result<(), Refused> {
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if refuses(address) { Err(Refused(address.to_string())) } else { Ok(()) }
}

/// The system's resolver, without the addresses that are refused.
pub(super) struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| !refuses(address.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Refused(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_form() {
        for host in [
            "169.254.169.254",
            "169.254.0.1",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[::ffff:169.254.169.254]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[::ffff:100.100.100.200]",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            let url = Url::parse(&format!("http://{host}/latest")).unwrap();
            let refused = check(&url).expect_err(host).to_string();
            assert!(refused.contains("link-local or metadata"), "{refused}");
        }
    }

    #[test]
    fn loopback_private_and_public_addresses_are_allowed() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "[fd00::1]",
            "[2001:db8::1]",
            "localhost",
            "169.254.169.254.example.com",
        ] {
            let url = Url::parse(&format!("http://{host}/latest")).unwrap();
            assert_eq!(check(&url), Ok(()), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_refused_address_is_refused() {
        // Resolvers read numbers as addresses too, which makes them names to test with.
        let name = "169.254.169.254".parse::<Name>().unwrap();
        let Err(error) = GuardedResolver.resolve(name).await else { panic!("resolved") };
        assert!(error.to_string().contains("link-local or metadata"), "{error}");
        let name = "localhost".parse::<Name>().unwrap();
        assert!(GuardedResolver.resolve(name).await.unwrap().next().is_some());
    }
}
