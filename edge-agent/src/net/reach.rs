//! Where sources may be. Whoever publishes an update chooses what an agent connects to, from a
//! machine that can reach more than the publisher can.
//!
//! Never, unless the operator allows it by name: link-local addresses and the metadata services
//! of clouds, which hand out credentials to whoever can reach them. Loopback and private ranges
//! are allowed: that is where data lives.
//!
//! A name is resolved once, what it resolves to is checked, and the connection goes to exactly
//! what was checked, so that a name cannot mean one address for the check and another for the
//! connection. Every fetcher connects through [`Reach::connect`], or has its library connect to
//! what [`Reach::resolve`] answered. Through an HTTP proxy it is the proxy that resolves, and
//! only names and literal addresses are checked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Name, Resolve, Resolving};
use tokio::net::TcpStream;
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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The operator does not want it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name cannot be resolved, or nobody answers there.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Where sources may be.
#[derive(Clone, Debug, Default)]
pub struct Reach {}

impl Reach {
    /// Checks an address before anything is resolved: its scheme's own rules are the fetcher's.
    ///
    /// # Errors
    /// Its host, as a literal address, or its path may not be reached.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if refuses(address) { Err(Refused(address.to_string())) } else { Ok(()) }
    }

    /// The addresses of `host`, a name or a literal address, that may be connected to.
    ///
    /// # Errors
    /// None of them may be, or there are none.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
        let allowed: Vec<SocketAddr> =
            found.iter().copied().filter(|address| !refuses(address.ip())).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(Refused(host.to_owned()).into());
        }
        Ok(allowed)
    }

    /// Connects to the first of `host`'s addresses that answers and may be connected to.
    ///
    /// # Errors
    /// None may be, or none answers.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolve(host, port).await?;
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        // Small questions, whose answers are waited for.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// What an HTTP client resolves names with.
pub(crate) struct GuardedResolver(pub(crate) Arc<Reach>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.0);
        Box::pin(async move {
            let allowed = reach.resolve(name.as_str(), 0).await?;
            Ok(Box::new(allowed.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded() -> GuardedResolver {
        GuardedResolver(Arc::default())
    }

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
            let refused = Reach::default().check(&url).expect_err(host).to_string();
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
            assert_eq!(Reach::default().check(&url), Ok(()), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_refused_address_is_refused() {
        // Resolvers read numbers as addresses too, which makes them names to test with.
        let name = "169.254.169.254".parse::<Name>().unwrap();
        let Err(error) = guarded().resolve(name).await else { panic!("resolved") };
        assert!(error.to_string().contains("link-local or metadata"), "{error}");
        let name = "localhost".parse::<Name>().unwrap();
        assert!(guarded().resolve(name).await.unwrap().next().is_some());
    }
}
