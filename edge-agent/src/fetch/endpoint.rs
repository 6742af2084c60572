//! Where a server is that speaks a protocol of its own, and who we are there: the source's
//! address, and the `connection_params` that replace parts of it.
//!
//! A password belongs in `connection_params`, where the settings fill secrets in; one in the
//! address works too. Neither is shown: errors name the address without user and password.

#[cfg(feature = "mysql")]
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use super::{FetchError, Means};
use crate::http::display;
use crate::net::reach::ConnectError;

/// One kind of address that a fetcher takes.
pub(super) struct Scheme {
    pub(super) name: &'static str,
    /// The port of an address that has none.
    pub(super) port: u16,
    /// TLS from the first byte.
    pub(super) tls: bool,
}

/// OPAL's `connection_params`: what is given replaces that part of the address.
#[derive(Default, Deserialize)]
pub(super) struct ConnectionParams {
    #[serde(default, alias = "database")]
    pub(super) db: Option<Text>,
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) host: Option<String>,
    #[serde(default)]
    pub(super) port: Option<Port>,
}

/// Text, also where it was written as a number.
pub(super) struct Text(pub(super) String);

/// A port, also where it was written as text.
pub(super) struct Port(pub(super) u16);

/// A checked address.
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
    /// What the address has after its `?`, without user and password.
    pub(super) options: Vec<(String, String)>,
    url: Url,
}

// === impl ConnectionParams ===

impl ConnectionParams {
    /// Only who we are.
    #[cfg(feature = "ldap")]
    pub(super) fn login(user: Option<String>, password: Option<String>) -> Self {
        Self { user, password, ..Self::default() }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads an address of one of `schemes`.
    ///
    /// # Errors
    /// It is none, without showing it.
    pub(super) fn new(
        url: &str,
        params: Option<ConnectionParams>,
        schemes: &[Scheme],
    ) -> Result<Self, FetchError> {
        let known = || schemes.iter().map(|scheme| format!("{}://…", scheme.name));
        let wanted = || known().collect::<Vec<_>>().join(" or ");
        let mut url = Url::parse(url).map_err(|_| {
            FetchError::permanent(format!("url: it is not an address; give {}", wanted()))
        })?;
        let scheme =
            schemes.iter().find(|scheme| scheme.name == url.scheme()).ok_or_else(|| {
                let given = url.scheme();
                FetchError::permanent(format!(
                    "url: this fetcher knows no `{given}`; give {}",
                    wanted()
                ))
            })?;
        let params = params.unwrap_or_default();
        let has_host = match &params.host {
            Some(host) => url.set_host(Some(host)).is_ok(),
            None => url.host_str().is_some_and(|host| !host.is_empty()),
        };
        if !has_host {
            let message = "url: it has no host; give one there or in config.connection_params.host";
            return Err(FetchError::permanent(message));
        }
        if let Some(Port(port)) = params.port {
            // Fails only for an address without a host.
            let _ = url.set_port(Some(port));
        }
        let mut options: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut option = |name: &str| {
            let place = options.iter().position(|(key, _)| key == name)?;
            Some(options.remove(place).1)
        };
        let (user, password) = (option("user"), option("password"));
        Ok(Self {
            host: decoded(url.host_str().unwrap_or_default()),
            port: url.port().unwrap_or(scheme.port),
            tls: scheme.tls,
            user: params.user.or_else(|| given(url.username())).or(user),
            password: params.password.or_else(|| url.password().and_then(given)).or(password),
            database: params.db.map(|Text(db)| db).or_else(|| given(url.path().trim_matches('/'))),
            options,
            url,
        })
    }

    /// The address for people: it holds no user and no password.
    pub(super) fn shown(&self) -> String {
        display(&self.url)
    }

    /// What tells two connections apart. It holds the password: it is not for people.
    pub(super) fn identity(&self) -> String {
        let Self { host, port, tls, user, password, database, options, .. } = self;
        format!("{:?}", (host, port, tls, user, password, database, options))
    }

    /// Where the connection goes, for the rules: the path is the database that is used.
    fn place(&self) -> Url {
        let mut url = self.url.clone();
        if let Some(database) = &self.database
            && given(url.path().trim_matches('/')).as_ref() != Some(database)
            && let Ok(mut path) = url.path_segments_mut()
        {
            path.clear().push(database);
        }
        url
    }

    /// Whether it may be connected to, as far as the address itself tells.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn check(&self, means: &Means) -> Result<(), FetchError> {
        means.reach.check(&self.place()).map_err(|refused| self.permanent(&refused.to_string()))
    }

    /// Connects, without TLS.
    ///
    /// # Errors
    /// It may not be reached, or nobody answers.
    pub(super) async fn connect(&self, means: &Means) -> Result<TcpStream, FetchError> {
        self.check(means)?;
        let connected = means.reach.connect(&self.host, self.port).await;
        connected.map_err(|error| self.unreachable(error))
    }

    /// The addresses that may be connected to.
    ///
    /// # Errors
    /// None may be, or there are none.
    #[cfg(feature = "mysql")]
    pub(super) async fn resolve(&self, means: &Means) -> Result<Vec<IpAddr>, FetchError> {
        self.check(means)?;
        let found = means.reach.resolve(&self.host, self.port).await;
        match found.map_err(|error| self.unreachable(error))? {
            found if found.is_empty() => Err(self.failed("the name has no address")),
            found => Ok(found.into_iter().map(|address| address.ip()).collect()),
        }
    }

    /// The host without the brackets of an address of IPv6.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Speaks TLS over a connection.
    ///
    /// # Errors
    /// The server does not, or its certificate is not good for the host.
    pub(super) async fn secure(
        &self,
        means: &Means,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let name = ServerName::try_from(self.bare_host().to_owned())
            .map_err(|_| self.permanent("its host is no name that a certificate can have"))?;
        let secured = TlsConnector::from(means.tls.clone()).connect(name, stream).await;
        secured.map_err(|error| self.failed(&format!("no TLS: {}", reason(&error))))
    }

    fn unreachable(&self, error: ConnectError) -> FetchError {
        match error {
            ConnectError::Refused(refused) => self.permanent(&refused.to_string()),
            ConnectError::Io(error) => self.failed(&format!("cannot connect: {}", reason(&error))),
        }
    }

    /// An error worth another try, that names the address.
    pub(super) fn failed(&self, message: &str) -> FetchError {
        FetchError::new(format!("{}: {message}", self.shown()))
    }

    /// An error for good, that names the address.
    pub(super) fn permanent(&self, message: &str) -> FetchError {
        FetchError::permanent(format!("{}: {message}", self.shown()))
    }
}

/// The error of the system in words, without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

fn given(text: &str) -> Option<String> {
    Some(decoded(text)).filter(|text| !text.is_empty())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

// === impl Text, Port ===

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Number(number) => Self(number.to_string()),
            Either::Text(text) => Self(text),
        })
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| serde::de::Error::custom("not a port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [Scheme; 2] =
        [Scheme { name: "red", port: 1, tls: false }, Scheme { name: "reds", port: 2, tls: true }];

    fn read(url: &str, params: &str) -> Result<Endpoint, FetchError> {
        Endpoint::new(url, serde_json::from_str(params).unwrap(), &SCHEMES)
    }

    #[test]
    fn params_replace_parts_of_the_address() {
        for (url, params, host, port, user, password, database) in [
            ("red://h", "null", "h", 1, None, None, None),
            ("reds://h/d", "{}", "h", 2, None, None, Some("d")),
            ("red://u:p%40@h:7/d", "null", "h", 7, Some("u"), Some("p@"), Some("d")),
            ("red://h/d?user=u&password=p%2Bq", "null", "h", 1, Some("u"), Some("p+q"), Some("d")),
            ("red://[::1]:7", "null", "[::1]", 7, None, None, None),
            (
                "red://u:p@h:7/d",
                r#"{"host":"i","port":"8","user":"v","password":"q","db":"e"}"#,
                "i",
                8,
                Some("v"),
                Some("q"),
                Some("e"),
            ),
            ("red://h:7/d", r#"{"port":9,"database":3}"#, "h", 9, None, None, Some("3")),
        ] {
            let read = read(url, params).unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port), "{url}");
            assert_eq!(read.user.as_deref(), user, "{url}");
            assert_eq!(read.password.as_deref(), password, "{url}");
            assert_eq!(read.database.as_deref(), database, "{url}");
        }
    }

    #[test]
    fn the_database_that_is_used_is_the_path_that_is_checked() {
        for (url, params, path) in [
            ("red://h/d", "null", "/d"),
            ("red://h", "null", ""),
            ("red://h/d", r#"{"db":"e"}"#, "/e"),
            ("red://h", r#"{"db":"e/f?g"}"#, "/e%2Ff%3Fg"),
        ] {
            assert_eq!(read(url, params).unwrap().place().path(), path, "{url} {params}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let read = read("red://me:hidden@h:7/d?password=hidden", r#"{"password":"hidden"}"#);
        assert_eq!(read.unwrap().shown(), "red://h:7/d");
    }

    #[test]
    fn a_bad_address_is_an_error_that_does_not_show_it() {
        for (url, words) in [
            ("hidden", "url: it is not an address; give red://… or reds://…"),
            ("http://hidden", "url: this fetcher knows no `http`; give red://… or reds://…"),
            ("red:///hidden", "url: it has no host"),
        ] {
            let error = read(url, "null").err().unwrap();
            assert!(error.is_permanent(), "{url}");
            let error = error.to_string();
            assert!(error.starts_with(words) && !error.contains("hidden"), "{error}");
        }
        assert!(serde_json::from_str::<ConnectionParams>(r#"{"port":"x"}"#).is_err());
        assert!(serde_json::from_str::<ConnectionParams>(r#"{"port":70000}"#).is_err());
    }
}
