//! A rule about where sources may be: a network, or a place.
//!
//! | written | is |
//! |---|---|
//! | `10.0.0.0/8`, `fd00::/8`, `10.0.0.5` | every address in it, whatever name led there |
//! | `db.internal` | this name, at every port |
//! | `*.example.com` | every name below it, and not `example.com` itself |
//! | `db.internal:5432` | this name at this port |
//! | `https://api.example.com/v1/*` | what begins with that, at the scheme's own port unless one is given |
//! | `api.example.com/v1/*` | the same for `http` and `https` |
//! | `https://api.example.com/v1/roles` | this path alone, whatever its query |
//!
//! Names and schemes are compared in any case, a name with and without its last dot. Schemes that
//! mean the same are one: `postgres` and `postgresql`, `redis` and `valkey`.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

use super::path::Path;

/// What may be written.
const ADVICE: &str = "give a name (db.internal, *.example.com), a network (10.0.0.0/8), or the \
                      beginning of an address (https://host:8443/path/*)";

/// What is said of a scheme that no address of a source has.
const SCHEME_ADVICE: &str = "give a scheme that sources have (http, https, postgresql, mysql, \
                             redis, rediss, mongodb, ldap, ldaps), or none";

/// The schemes of sources' addresses.
const SCHEMES: [Known; 14] = [
    Known::new("http", 80, "http", "http"),
    Known::new("https", 443, "https", "https"),
    Known::new("postgres", 5432, "postgres", "postgres"),
    Known::new("postgresql", 5432, "postgres", "postgres"),
    Known::new("mysql", 3306, "mysql", "mysql"),
    Known::new("mariadb", 3306, "mysql", "mysql"),
    Known::new("mongodb", 27017, "mongodb", "mongodb"),
    Known::new("mongodb+srv", 27017, "mongodb", "mongodb"),
    Known::new("redis", 6379, "redis", "redis"),
    Known::new("valkey", 6379, "redis", "redis"),
    Known::new("rediss", 6379, "rediss", "redis"),
    Known::new("valkeys", 6379, "rediss", "redis"),
    Known::new("ldap", 389, "ldap", "ldap"),
    Known::new("ldaps", 636, "ldaps", "ldaps"),
];

/// A scheme, the port where an address or a rule gives none, and what else means the same.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: &'static str,
    port: u16,
    /// Schemes with the same word here are one to a rule that lets in.
    same: &'static str,
    /// Schemes with the same word here are one to a rule that keeps out: the same server, with
    /// TLS or without.
    server: &'static str,
}

impl Known {
    const fn new(name: &'static str, port: u16, same: &'static str, server: &'static str) -> Self {
        Self { name, port, same, server }
    }
}

/// A rule that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every address in a network.
    Network(IpNet),
    /// A host, and perhaps only some of what is there.
    Place(Place),
}

/// Where a rule with a host holds; what is not given does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    scheme: Scheme,
    host: Pattern,
    port: Option<u16>,
    path: Option<Path>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Any,
    /// Of a rule that has a path and no scheme.
    Web,
    One(&'static Known),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Is(Host),
    /// Names that end with this, which begins with a dot.
    Below(String),
}

/// How much of an address is known when a rule is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    /// All of it.
    Url { scheme: &'a str, port: Option<u16>, path: &'a str },
    /// The port that is connected to.
    Port(u16),
    /// Nothing but the name: the rest was looked at before.
    Name,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What to write in its place; the text itself is not repeated.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(unmapped(network.trunc())));
        }
        if text.contains(|it: char| it.is_whitespace() || matches!(it, '@' | '?' | '#' | '\\')) {
            return Err(ADVICE.to_owned());
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Scheme::One(scheme_of(scheme)?), rest),
            None => (Scheme::Any, text),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Path::of(path)?),
            None => (rest, None),
        };
        let (host, port) = split_port(authority)?;
        let host = Pattern::of(host)?;
        let place = match (scheme, path) {
            // A typing error in a network must not become a path that nobody asks for.
            (Scheme::Any, Some(_)) if port.is_none() && host.address().is_some() => {
                return Err(ADVICE.to_owned());
            }
            (Scheme::Any, Some(path)) => {
                Place { scheme: Scheme::Web, host, port, path: Some(path) }
            }
            (scheme, path) => Place { scheme, host, port, path },
        };
        Ok(match (&place, place.host.address()) {
            (Place { scheme: Scheme::Any, port: None, path: None, .. }, Some(address)) => {
                Self::Network(address.to_canonical().into())
            }
            _ => Self::Place(place),
        })
    }

    /// True for a rule about this host, whatever else it says.
    pub(crate) fn is_about(&self, host: &Host) -> bool {
        matches!(self, Self::Place(place) if place.host.fits(host))
    }

    /// True for a rule that names the host and nothing else.
    pub(crate) fn is_name_of(&self, host: &Host) -> bool {
        matches!(self, Self::Place(Place { host: Pattern::Is(own), .. }) if own == host)
    }

    /// True if the rule lets this in, as far as one can see.
    pub(crate) fn lets_in(&self, host: &Host, seen: Seen<'_>) -> bool {
        matches!(self, Self::Place(place) if place.fits(host, seen, true, &Path::admits))
    }

    /// True if the rule keeps this out for certain.
    pub(crate) fn keeps_out(&self, host: &Host, seen: Seen<'_>) -> bool {
        matches!(self, Self::Place(place) if place.fits(host, seen, false, &Path::catches))
    }

    /// True for a rule about only a part of what is at an address, which a name that leads
    /// there would get around: when its address is known, the rest is not any more.
    pub(crate) fn is_part_of_address(&self) -> bool {
        matches!(self, Self::Place(place) if place.host.address().is_some())
    }

    /// The network, of a rule that is one.
    pub(crate) fn network(&self) -> Option<&IpNet> {
        match self {
            Self::Network(network) => Some(network),
            Self::Place(_) => None,
        }
    }
}

impl Place {
    /// `unseen` is what holds for the parts that are not known.
    fn fits(
        &self,
        host: &Host,
        seen: Seen<'_>,
        unseen: bool,
        fits: &dyn Fn(&Path, &str) -> bool,
    ) -> bool {
        if !self.host.fits(host) {
            return false;
        }
        match seen {
            Seen::Url { scheme, port, path } => {
                self.scheme.fits(scheme, unseen)
                    && self.fits_port(port.or_else(|| port_of(scheme)), port_of(scheme))
                    && self.path.as_ref().is_none_or(|own| fits(own, path))
            }
            Seen::Port(port) => {
                let part = self.path.is_some() || self.scheme != Scheme::Any;
                self.scheme.fits_port(self.port, port) && (unseen || !part)
            }
            Seen::Name => {
                let part = self.path.is_some() || self.port.is_some() || self.scheme != Scheme::Any;
                unseen || !part
            }
        }
    }

    /// A rule with a scheme and without a port is about the scheme's own.
    fn fits_port(&self, port: Option<u16>, standard: Option<u16>) -> bool {
        match (self.port, &self.scheme) {
            (Some(own), _) => port == Some(own),
            (None, Scheme::Any) => true,
            (None, _) => standard.is_none() || port == standard,
        }
    }
}

impl Scheme {
    fn fits(&self, scheme: &str, strictly: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Web => matches!(scheme, "http" | "https"),
            Self::One(own) => known(scheme).is_some_and(|other| {
                if strictly { own.same == other.same } else { own.server == other.server }
            }),
        }
    }

    /// The same where only a port is known.
    fn fits_port(&self, own: Option<u16>, port: u16) -> bool {
        match (own, self) {
            (Some(own), _) => own == port,
            (None, Self::Any) => true,
            (None, Self::Web) => matches!(port, 80 | 443),
            (None, Self::One(known)) => known.port == port,
        }
    }
}

impl Pattern {
    fn of(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("*.") {
            return match host_of(name) {
                Some(Host::Domain(name)) if !name.contains('*') => {
                    Ok(Self::Below(format!(".{name}")))
                }
                _ => Err(ADVICE.to_owned()),
            };
        }
        let host = host_of(text).filter(|host| !host.to_string().contains('*'));
        host.map(Self::Is).ok_or_else(|| ADVICE.to_owned())
    }

    fn fits(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Is(own), host) => own == host,
            (Self::Below(end), Host::Domain(name)) => name.ends_with(end.as_str()),
            (Self::Below(_), _) => false,
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Is(Host::Ipv4(v4)) => Some(IpAddr::V4(*v4)),
            Self::Is(Host::Ipv6(v6)) => Some(IpAddr::V6(*v6)),
            Self::Is(Host::Domain(_)) | Self::Below(_) => None,
        }
    }
}

/// Addresses are compared as IPv4 wherever they are.
fn unmapped(network: IpNet) -> IpNet {
    let inner = |network: &Ipv6Net| {
        let bits = network.prefix_len().checked_sub(96)?;
        Ipv4Net::new(network.addr().to_ipv4_mapped()?, bits).ok()
    };
    match &network {
        IpNet::V6(v6) => inner(v6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

fn scheme_of(text: &str) -> Result<&'static Known, String> {
    known(text).ok_or_else(|| SCHEME_ADVICE.to_owned())
}

fn known(scheme: &str) -> Option<&'static Known> {
    SCHEMES.iter().find(|known| known.name.eq_ignore_ascii_case(scheme))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let is_bare_v6 = authority.parse::<std::net::Ipv6Addr>().is_ok();
    match authority.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 && !port.ends_with(']') => {
            let port = port.parse().map_err(|_| "give a port from 1 to 65535".to_owned())?;
            Ok((host, Some(port)))
        }
        _ => Ok((authority, None)),
    }
}

/// The port of a scheme that is known here.
pub(crate) fn port_of(scheme: &str) -> Option<u16> {
    known(scheme).map(|known| known.port)
}

/// A host as browsers read it, in every notation of an address: `0xa9fea9fe` is one, and so is
/// `fe80::1%eth0`. Names come out in lower case, in ASCII and without their last dot; an IPv4
/// address inside a mapped IPv6 one comes out by itself. Nothing if it is not a host.
pub(crate) fn host_of(text: &str) -> Option<Host> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let unzoned = bare.split('%').next().filter(|text| text.contains(':'));
    let host = match unzoned.unwrap_or(bare).parse() {
        Ok(IpAddr::V4(v4)) => Host::Ipv4(v4),
        Ok(IpAddr::V6(v6)) => Host::Ipv6(v6),
        Err(_) => Host::parse(bare).ok()?,
    };
    Some(match host {
        Host::Ipv6(v6) => v6.to_ipv4_mapped().map_or(Host::Ipv6(v6), Host::Ipv4),
        Host::Domain(name) => {
            // `1.2.3.4.` was no address to the parser's own eyes in every version of it.
            let name = name.trim_end_matches('.');
            match name.parse() {
                Ok(v4) => Host::Ipv4(v4),
                Err(_) if name.is_empty() => return None,
                Err(_) => Host::Domain(name.to_owned()),
            }
        }
        v4 @ Host::Ipv4(_) => v4,
    })
}
