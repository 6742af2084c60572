//! Where data comes from: fetchers behind one trait, named by an entry's `config.fetcher`
//! (`spec/opal-protocol.md` §6).
//!
//! A [`Fetcher`] is given a [`Source`] whose secrets are filled in, fetches it once, and answers
//! with JSON text. Trying again, sharing equal fetches, and the time a fetch may take are not its
//! business. It connects only through [`Means::reach`], reads no more than
//! [`Means::max_bytes`], and its errors name no secret: no body, no header, no password.
//!
//! | question | file |
//! |---|---|
//! | How is an HTTP source asked? | `http` |
//! | How is PostgreSQL asked, what becomes of its values? | `postgres` |
//! | How is Redis asked? | `redis` |
//! | How do rows become one document? | [`rows`] |
//! | Where is a server, and who are we there? | `endpoint` |
//! | Which connections are kept between fetches? | `idle` |
//! | How is more than the limit not even read? | `metered` |

mod endpoint;
mod http;
mod idle;
mod metered;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
mod redis;
pub mod rows;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
pub use http::HttpFetcher;
#[cfg(feature = "postgres")]
pub use postgres::PostgresFetcher;
#[cfg(feature = "redis")]
pub use redis::RedisFetcher;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::HttpError;
use crate::json::Json;
use crate::net::Reach;

/// Bytes of JSON that one fetch brings at most, unless the settings say otherwise.
const MAX_BYTES: usize = 64 << 20;

/// What to fetch.
#[derive(Clone)]
pub struct Source {
    /// The address; what it means is the fetcher's to say.
    pub url: String,
    /// The fetcher's settings; the key `fetcher` names the fetcher.
    pub config: Option<Box<RawValue>>,
}

impl std::fmt::Debug for Source {
    /// Says nothing of the address and the settings: both can hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// Why there is no data. Never holds a body, a header, or a password of an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    message: String,
    permanent: bool,
    retry_after: Option<Duration>,
}

impl FetchError {
    /// Worth another try: what failed is the world, which changes.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), permanent: false, retry_after: None }
    }

    /// Fails however often it is tried: what is wrong is the source itself.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), permanent: true, retry_after: None }
    }

    /// The same, when the source has said how long not to ask it again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// How long the source wants not to be asked again.
    #[must_use]
    pub fn wanted_wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// True if another try would fail in the same way.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

/// What fetchers share.
#[derive(Clone)]
pub struct Means {
    /// Where they may connect to.
    pub reach: Arc<Reach>,
    /// TLS as the settings have it: whom to trust, what to show.
    pub tls: Arc<rustls::ClientConfig>,
    /// An HTTP client made of the two; it follows no redirects.
    pub http: reqwest::Client,
    /// Bytes of JSON that one fetch may bring.
    pub max_bytes: usize,
    /// The time one fetch may take.
    pub timeout: Duration,
}

impl Means {
    /// With the platform's trust store, and nothing refused or allowed but what always is.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn standard(timeout: Duration) -> Result<Self, HttpError> {
        Ok(Self {
            reach: Arc::default(),
            tls: crate::http::tls_config()?,
            http: crate::http::client(timeout)?,
            max_bytes: MAX_BYTES,
            timeout,
        })
    }
}

/// A way to fetch data.
pub trait Fetcher: Send + Sync + 'static {
    /// The name that `config.fetcher` gives.
    fn name(&self) -> &'static str;

    /// Fetches once; trying again and giving up when it takes too long is the caller's, who may
    /// drop the future at any moment.
    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>>;
}

/// The fetchers that this agent has; the first is the one of an entry that names none.
pub struct Fetchers {
    known: Vec<Box<dyn Fetcher>>,
    timeout: Duration,
}

/// The one member of `config` that is not the fetcher's own.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    fetcher: Option<String>,
}

impl Fetchers {
    /// The fetchers that are built in.
    #[must_use]
    pub fn standard(means: &Means) -> Self {
        let known: Vec<Box<dyn Fetcher>> = vec![
            Box::new(HttpFetcher::new(means.clone())),
            #[cfg(feature = "postgres")]
            Box::new(PostgresFetcher::new(means.clone())),
            #[cfg(feature = "redis")]
            Box::new(RedisFetcher::new(means.clone())),
        ];
        Self { known, timeout: means.timeout }
    }

    /// Fetches with the fetcher that the source names.
    ///
    /// # Errors
    /// No fetcher of that name, or it has no data; the message is for people.
    pub async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let fetch = self.pick(source)?.fetch(source);
        let timely = tokio::time::timeout(self.timeout, fetch).await;
        timely.unwrap_or_else(|_| Err(FetchError::new("no answer in time")))
    }

    fn pick(&self, source: &Source) -> Result<&dyn Fetcher, FetchError> {
        let named: Named = settings_of(source)?;
        let found = match &named.fetcher {
            None => self.known.first(),
            Some(name) => self.known.iter().find(|fetcher| fetcher.name() == name),
        };
        found.map(AsRef::as_ref).ok_or_else(|| {
            let known: Vec<_> = self.known.iter().map(|fetcher| fetcher.name()).collect();
            FetchError::permanent(format!(
                "config.fetcher: this agent has no `{}`; it has {}",
                named.fetcher.unwrap_or_default(),
                known.join(", ")
            ))
        })
    }
}

/// Reads a fetcher's settings; none and `null` are its defaults. The error names the
/// member that is wrong and never what it holds.
fn settings_of<'s, T: Deserialize<'s> + Default>(source: &'s Source) -> Result<T, FetchError> {
    let text = match source.config.as_deref().map(RawValue::get) {
        None | Some("null") => return Ok(T::default()),
        Some(text) => text,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path().to_string() {
        root if root == "." => FetchError::permanent("config: give an object"),
        path => FetchError::permanent(format!("config.{path}: it has the wrong type")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static str);

    impl Fetcher for Fixed {
        fn name(&self) -> &'static str {
            self.0
        }

        fn fetch<'a>(&'a self, _: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
            Box::pin(async { Err(FetchError::new(self.0)) })
        }
    }

    async fn picked(config: Option<&str>) -> FetchError {
        let known: Vec<Box<dyn Fetcher>> =
            vec![Box::new(Fixed("First")), Box::new(Fixed("Second"))];
        let fetchers = Fetchers { known, timeout: Duration::from_secs(1) };
        let config = config.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let source = Source { url: "http://h".to_owned(), config };
        fetchers.fetch(&source).await.unwrap_err()
    }

    #[tokio::test]
    async fn config_names_the_fetcher_and_the_first_is_the_default() {
        for (config, expected) in [
            (None, "First"),
            (Some("null"), "First"),
            (Some(r#"{"fetcher":null,"headers":{}}"#), "First"),
            (Some(r#"{"fetcher":"Second"}"#), "Second"),
        ] {
            assert_eq!(picked(config).await, FetchError::new(expected));
        }
    }

    #[tokio::test]
    async fn an_unknown_fetcher_is_an_error_that_names_the_known_ones() {
        let error = picked(Some(r#"{"fetcher":"Third"}"#)).await;
        let expected = "config.fetcher: this agent has no `Third`; it has First, Second";
        assert_eq!(error, FetchError::permanent(expected));
    }

    #[tokio::test]
    async fn settings_of_the_wrong_type_are_named_and_not_shown() {
        let error = picked(Some(r#""secret""#)).await;
        assert_eq!(error, FetchError::permanent("config: give an object"));
        let error = picked(Some(r#"{"fetcher":["secret"]}"#)).await;
        assert_eq!(error, FetchError::permanent("config.fetcher: it has the wrong type"));
    }
}
