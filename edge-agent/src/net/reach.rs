//! Where sources may be. Whoever publishes an update chooses what an agent connects to, from a
//! machine that can reach more than the publisher can.
//!
//! 1. What a rule of `fetch_deny` matches is refused.
//! 2. Link-local addresses and the metadata services of clouds are refused ([`super::never`]),
//!    unless a rule of `fetch_allow` names just them: `169.254.169.254` does, `0.0.0.0/0` does
//!    not. Loopback and private ranges are no such addresses: that is where data lives.
//! 3. If there are rules in `fetch_allow`, what none of them matches is refused. A name that such
//!    a rule has a port or a path for is reached there only, whichever network it is in.
//!
//! A name is resolved once, what it resolves to is checked, and the connection goes to exactly
//! what was checked, so that a name cannot mean one address for the check and another for the
//! connection. Every fetcher connects through [`Reach::connect`], or has its library connect to
//! what [`Reach::resolve`] answered. Through an HTTP proxy it is the proxy that resolves, and
//! only names and literal addresses are checked ([`Reach::check_unresolved`]).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Name, Resolve, Resolving};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::confined;
use super::never::{self, Nature};
use super::rule::{Rule, Seen, host_of};

/// One address is given up for the next after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A host that the agent does not connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} {why}")]
pub struct Refused {
    host: String,
    why: Why,
}

/// Why it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A link-local or metadata address.
    #[error("is a link-local or metadata address, which is never fetched from")]
    Address,
    /// Unspecified, multicast or broadcast.
    #[error("is not the address of a machine")]
    NoMachine,
    /// A metadata service's name.
    #[error("is the name of a metadata service, which is never fetched from")]
    Name,
    /// No name and no address.
    #[error("is not the name or the address of a machine")]
    NoHost,
    /// The operator denies it.
    #[error("is not fetched from: the agent's fetch_deny has it")]
    Denied,
    /// The operator allows only others.
    #[error("is not fetched from: the agent's fetch_allow does not have it")]
    NotAllowed,
    /// A secret in the source may not go there.
    #[error("is not where a secret of this source may go: the agent's setting secrets says where")]
    Secret,
}

impl Refused {
    fn new(host: &(impl ToString + ?Sized), why: Why) -> Self {
        Self { host: host.to_string(), why }
    }

    /// Why it is refused.
    #[must_use]
    pub fn why(&self) -> Why {
        self.why
    }
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

/// Resolves a name; the port is taken over.
pub type Lookup =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Where sources may be.
#[derive(Clone)]
pub struct Reach {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    lookup: Lookup,
}

impl Default for Reach {
    /// Everything but what is always refused.
    fn default() -> Self {
        Self { allow: vec![], deny: vec![], lookup: Arc::new(system_lookup) }
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut reach = f.debug_struct("Reach");
        reach.field("allow", &self.allow).field("deny", &self.deny).finish_non_exhaustive()
    }
}

fn system_lookup(name: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect()) })
}

/// How far a host is allowed before its addresses are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Whatever its addresses are, but for those that are always refused.
    Allowed,
    /// If its address is in a network of `fetch_allow`.
    ByAddress,
}

impl Reach {
    /// With rules as [`super::rule`] has them; deny wins over allow, and no rule at all in
    /// `allow` allows everything.
    ///
    /// # Errors
    /// Says which rule of which list cannot be read, and what to write; the rule itself is not
    /// repeated.
    pub fn new(allow: &[String], deny: &[String]) -> Result<Self, String> {
        let read = |name: &str, rules: &[String]| {
            let read = rules.iter().enumerate().map(|(at, text)| {
                Rule::parse(text).map_err(|error| format!("{name}: rule {}: {error}", at + 1))
            });
            read.collect::<Result<Vec<_>, _>>()
        };
        let (allow, deny) = (read("fetch_allow", allow)?, read("fetch_deny", deny)?);
        if let Some(at) = deny.iter().position(Rule::is_part_of_address) {
            return Err(format!(
                "fetch_deny: rule {}: give the address alone, without scheme, port and path: a \
                 name that leads to it could not be told apart by them",
                at + 1
            ));
        }
        Ok(Self { allow, deny, ..Self::default() })
    }

    /// The same with another way to resolve names.
    #[must_use]
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// The same, with the operator's own addresses among what is allowed.
    #[must_use]
    pub fn and<'u>(mut self, own: impl Iterator<Item = &'u Url>) -> Self {
        if !self.allow.is_empty() {
            let places = own.filter_map(|url| {
                let (host, port) = (url.host_str()?, url.port_or_known_default()?);
                Rule::parse(&format!("{host}:{port}")).ok()
            });
            self.allow.extend(places);
        }
        self
    }

    /// Checks an address before anything is resolved. Which schemes there are is the
    /// fetcher's to say; an address without a host is not refused here.
    ///
    /// # Errors
    /// Its host or its path may not be reached.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        self.look_at(url).map(drop)
    }

    /// The same where somebody else will resolve the name, so that it cannot be allowed by its
    /// address.
    ///
    /// # Errors
    /// The same, and a name that only its address could allow.
    pub fn check_unresolved(&self, url: &Url) -> Result<(), Refused> {
        match (self.look_at(url)?, url.host()) {
            (Standing::ByAddress, Some(Host::Domain(name))) if host_is_name(name) => {
                Err(Refused::new(name, Why::NotAllowed))
            }
            _ => Ok(()),
        }
    }

    fn look_at(&self, url: &Url) -> Result<Standing, Refused> {
        let Some(text) = url.host_str().filter(|host| !host.is_empty()) else {
            return Ok(Standing::Allowed);
        };
        // Of schemes that browsers do not know, the parser leaves the host as it was written.
        let host = host_of(text).ok_or_else(|| Refused::new(text, Why::NoHost))?;
        if !confined::admits(text) {
            return Err(Refused::new(text, Why::Secret));
        }
        let seen = Seen::Url { scheme: url.scheme(), port: url.port(), path: url.path() };
        let standing = self.standing(&host, seen)?;
        match address_of(&host) {
            Some(address) => self.admit(address, standing).map(|()| Standing::Allowed),
            None => Ok(standing),
        }
    }

    /// The addresses of `host`, a name or a literal address, that may be connected to.
    ///
    /// # Errors
    /// None of them may be, or there are none.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        self.resolve_seen(host, port, Seen::Port(port)).await
    }

    async fn resolve_seen(
        &self,
        text: &str,
        port: u16,
        seen: Seen<'_>,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let host = host_of(text).ok_or_else(|| Refused::new(text, Why::NoHost))?;
        let standing = self.standing(&host, seen)?;
        let found = match (&host, address_of(&host)) {
            // A zone is part of an address that was allowed, and nobody else's business.
            (_, Some(address)) => vec![SocketAddr::new(address, port)],
            (Host::Domain(name), None) => (self.lookup)(name.clone(), port).await?,
            _ => vec![],
        };
        let mut allowed = vec![];
        let mut refused: Option<Why> = None;
        for address in found {
            match self.admit(address.ip(), standing) {
                Ok(()) => allowed.push(address),
                // What a rule could change is what the operator wants to hear of.
                Err(_) if refused == Some(Why::NotAllowed) => {}
                Err(Refused { why, .. }) => refused = Some(why),
            }
        }
        match refused {
            // An address that a name led to is nothing to tell the publisher.
            Some(why) if allowed.is_empty() => Err(Refused::new(&host, why).into()),
            _ => Ok(allowed),
        }
    }

    /// Connects to the first of `host`'s addresses that answers and may be connected to.
    ///
    /// # Errors
    /// None may be, or none answers.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.resolve(host, port).await? {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => {
                    // Small questions, whose answers are waited for.
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
            }
        }
        Err(last.into())
    }

    /// What the rules say of a host, and of what is there, without its addresses.
    fn standing(&self, host: &Host, seen: Seen<'_>) -> Result<Standing, Refused> {
        let refuse = |why| Err(Refused::new(host, why));
        if self.deny.iter().any(|rule| rule.keeps_out(host, seen)) {
            return refuse(Why::Denied);
        }
        if let Host::Domain(name) = host
            && never::refuses_name(name)
            && !self.allow.iter().any(|rule| rule.is_name_of(host))
        {
            return refuse(Why::Name);
        }
        if self.allow.is_empty() || self.allow.iter().any(|rule| rule.lets_in(host, seen)) {
            return Ok(Standing::Allowed);
        }
        let has_networks = self.allow.iter().any(|rule| rule.network().is_some());
        // Whoever resolves the name later sees nothing but the name.
        let is_name = matches!(host, Host::Domain(_));
        if !has_networks || is_name && self.allow.iter().any(|rule| rule.is_about(host)) {
            return refuse(Why::NotAllowed);
        }
        Ok(Standing::ByAddress)
    }

    /// What the rules say of one address of a host.
    fn admit(&self, address: IpAddr, standing: Standing) -> Result<(), Refused> {
        let refuse = |why| Err(Refused::new(&address, why));
        let address = address.to_canonical();
        let forms: Vec<IpAddr> = std::iter::once(address)
            .chain(never::embedded(address).into_iter().map(IpAddr::V4))
            .collect();
        if self.denied().any(|network| forms.iter().any(|form| network.contains(form))) {
            return refuse(Why::Denied);
        }
        let mut allowed = self.allow.iter().filter_map(Rule::network);
        if let Some((range, nature)) = never::refused(address) {
            // A rule that is about more was not written with this in mind.
            let names = |rule: &IpNet| rule.contains(&address) && range.contains(rule);
            return match (allowed.any(names), nature) {
                (true, _) => Ok(()),
                (false, Nature::Service) => refuse(Why::Address),
                (false, Nature::NoMachine) => refuse(Why::NoMachine),
            };
        }
        if standing == Standing::Allowed || allowed.any(|network| network.contains(&address)) {
            Ok(())
        } else {
            refuse(Why::NotAllowed)
        }
    }

    fn denied(&self) -> impl Iterator<Item = &IpNet> {
        self.deny.iter().filter_map(Rule::network)
    }
}

fn address_of(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ipv4(v4) => Some(IpAddr::V4(*v4)),
        Host::Ipv6(v6) => Some(IpAddr::V6(*v6)),
        Host::Domain(_) => None,
    }
}

fn host_is_name(text: &str) -> bool {
    matches!(host_of(text), Some(Host::Domain(_)))
}

/// What an HTTP client resolves names with. The addresses were checked by
/// [`Reach::check`]; the proxies are the operator's own word.
pub(crate) struct GuardedResolver {
    pub(crate) reach: Arc<Reach>,
    pub(crate) proxies: Vec<String>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.reach);
        let is_proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let allowed = if is_proxy {
                (reach.lookup)(name.as_str().to_owned(), 0).await?
            } else {
                reach.resolve_seen(name.as_str(), 0, Seen::Name).await?
            };
            Ok(Box::new(allowed.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
