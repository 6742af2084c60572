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
//! | What do fetchers share: limits, TLS, a client? | `means` |
//! | How is an HTTP source asked, and S3-compatible storage? | `http` |
//! | How is PostgreSQL asked, what becomes of its values? | `postgres` |
//! | How is a program of somebody's own run? | [`exec`] |
//! | How is MongoDB asked? | `mongodb` |
//! | How is a directory searched with LDAP? | `ldap` |
//! | How is MySQL or MariaDB asked, what becomes of its values? | `mysql` |
//! | How is Redis asked? | `redis` |
//! | How do rows become one document? | [`rows`] |
//! | Where is a server, and who are we there? | `endpoint` |
//! | Which connections are kept between fetches? | `idle` |
//! | How is more than the limit not even read? | `metered` |
//! | How is what was fetched shaped before it is stored? | `transform` |

#[cfg(any(feature = "ldap", feature = "mysql", feature = "postgres", feature = "redis"))]
#[cfg_attr(
    not(all(feature = "ldap", feature = "mysql", feature = "redis")),
    allow(dead_code, reason = "not every fetcher needs all of it")
)]
mod endpoint;
pub mod exec;
mod http;
#[cfg(any(feature = "ldap", feature = "mysql", feature = "postgres", feature = "redis"))]
#[cfg_attr(
    not(all(feature = "ldap", feature = "mysql", feature = "redis")),
    allow(dead_code, reason = "not every fetcher needs all of it")
)]
mod idle;
#[cfg(feature = "ldap")]
mod ldap;
mod means;
#[cfg(any(feature = "ldap", feature = "redis"))]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "not every fetcher needs all of it"))]
mod metered;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
mod redis;
pub mod rows;
mod transform;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
pub use http::HttpFetcher;
#[cfg(feature = "s3")]
pub use http::s3::S3Fetcher;
#[cfg(feature = "ldap")]
pub use ldap::LdapFetcher;
pub use means::{Means, MeansError, TlsFiles};
#[cfg(feature = "mongodb")]
pub use mongodb::MongoFetcher;
#[cfg(feature = "mysql")]
pub use mysql::MySqlFetcher;
#[cfg(feature = "postgres")]
pub use postgres::PostgresFetcher;
#[cfg(feature = "redis")]
pub use redis::RedisFetcher;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::Json;
use crate::secrets::Secrets;
use transform::Transform;

/// What to fetch.
#[derive(Clone)]
pub struct Source {
    /// The address; what it means is the fetcher's to say.
    pub url: String,
    /// The fetcher's settings; the key `fetcher` names the fetcher.
    pub config: Option<Box<RawValue>>,
}

impl Source {
    fn text(&self) -> (&str, Option<&str>) {
        (&self.url, self.config.as_deref().map(RawValue::get))
    }
}

impl PartialEq for Source {
    /// To the letter: what else means the same only its fetcher knows.
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Source {}

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

    /// The same in other words.
    #[must_use]
    pub(crate) fn reworded(self, with: impl FnOnce(&str) -> String) -> Self {
        Self { message: with(&self.message), ..self }
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

/// A way to fetch data.
///
/// Adding one is to write this trait for it and to hand it to
/// [`cli::main_with`](crate::cli::main_with), in a program of one's own that is the agent
/// otherwise. A fetcher that needs no Rust is a program that [`exec`] runs.
///
/// ```
/// use edge_agent::fetch::{FetchError, Fetcher, Fetchers, Means, Source};
/// use edge_agent::json::Json;
/// use futures::future::BoxFuture;
/// use serde::Deserialize;
/// use serde_json::value::{RawValue, to_raw_value};
///
/// /// `{"url": "file:///etc/app/users.csv", "config": {"fetcher": "Csv", "key": "name"}}`
/// struct Csv {
///     means: Means,
/// }
///
/// /// Other members of `config` are not ours.
/// #[derive(Deserialize)]
/// struct Settings {
///     key: String,
/// }
///
/// impl Csv {
///     async fn read(&self, source: &Source) -> Result<Json, FetchError> {
///         let config = source.config.as_deref().map_or("{}", RawValue::get);
///         // What cannot get better by itself is permanent; everything else is tried again.
///         let settings: Settings = serde_json::from_str(config)
///             .map_err(|_| FetchError::permanent("config: give `key`, the name of a column"))?;
///         let path = source.url.strip_prefix("file://");
///         let path = path.ok_or_else(|| FetchError::permanent("url: give file:///…"))?;
///         let text = tokio::fs::read_to_string(path)
///             .await
///             .map_err(|error| FetchError::new(format!("the file: {error}")))?;
///         if text.len() > self.means.max_bytes {
///             return Err(FetchError::new("the file is larger than the limit"));
///         }
///         let mut lines = text.lines().map(|line| line.split(','));
///         let head: Vec<&str> = lines.next().into_iter().flatten().collect();
///         let rows: serde_json::Map<_, _> = lines
///             .filter_map(|line| {
///                 let row: serde_json::Map<_, _> =
///                     head.iter().map(ToString::to_string).zip(line.map(Into::into)).collect();
///                 Some((row.get(&settings.key)?.as_str()?.to_owned(), row.into()))
///             })
///             .collect();
///         let data = to_raw_value(&rows).map_err(|error| FetchError::new(error.to_string()))?;
///         Ok(data.into())
///     }
/// }
///
/// impl Fetcher for Csv {
///     fn name(&self) -> &str {
///         "Csv"
///     }
///
///     fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
///         Box::pin(self.read(source))
///     }
/// }
///
/// // A program of one's own has this as its `main`:
/// // `edge_agent::cli::main_with(|means| vec![Box::new(Csv { means: means.clone() })])`
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let means = Means::standard(std::time::Duration::from_secs(10))?;
/// let mut fetchers = Fetchers::standard(&means);
/// fetchers.add(Box::new(Csv { means }));
///
/// let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(file.path(), "name,role\nann,admin\nbob,reader\n")?;
/// let config = to_raw_value(&serde_json::json!({ "fetcher": "Csv", "key": "name" }))?;
/// let source = Source { url: format!("file://{}", file.path().display()), config: Some(config) };
/// let data = fetchers.fetch(&source).await?;
/// assert_eq!(
///     data.get(),
///     r#"{"ann":{"name":"ann","role":"admin"},"bob":{"name":"bob","role":"reader"}}"#
/// );
/// # Ok(())
/// # }
/// ```
pub trait Fetcher: Send + Sync + 'static {
    /// The name that `config.fetcher` gives.
    fn name(&self) -> &str;

    /// The time one fetch may take, if that is not the settings' [`Means::timeout`].
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Fetches once; trying again and giving up when it takes too long is the caller's, who may
    /// drop the future at any moment.
    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>>;
}

/// The fetchers that this agent has; the first is the one of an entry that names none.
pub struct Fetchers {
    known: Vec<Box<dyn Fetcher>>,
    timeout: Duration,
    max_bytes: usize,
    secrets: Secrets,
}

/// The one member of `config` that is not the fetcher's own.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    fetcher: Option<String>,
}

/// The one member of `config` that has members of its own for several fetchers.
#[derive(Default, Deserialize)]
struct Nested<'s> {
    #[serde(borrow, default)]
    connection_params: Option<&'s RawValue>,
}

impl Fetchers {
    /// The fetchers that are built in.
    #[must_use]
    pub fn standard(means: &Means) -> Self {
        let known: Vec<Box<dyn Fetcher>> = vec![
            Box::new(HttpFetcher::new(means.clone())),
            #[cfg(feature = "postgres")]
            Box::new(PostgresFetcher::new(means.clone())),
            #[cfg(feature = "s3")]
            Box::new(S3Fetcher::new(means.clone())),
            #[cfg(feature = "mongodb")]
            Box::new(MongoFetcher::new(means.clone())),
            #[cfg(feature = "ldap")]
            Box::new(LdapFetcher::new(means.clone())),
            #[cfg(feature = "mysql")]
            Box::new(MySqlFetcher::new(means.clone())),
            #[cfg(feature = "redis")]
            Box::new(RedisFetcher::new(means.clone())),
        ];
        Self {
            known,
            timeout: means.timeout,
            max_bytes: means.max_bytes,
            secrets: Secrets::default(),
        }
    }

    /// The same with these secrets, which sources name.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// Adds a fetcher, in place of one that has its name.
    pub fn add(&mut self, fetcher: Box<dyn Fetcher>) {
        match self.known.iter_mut().find(|known| known.name() == fetcher.name()) {
            Some(known) => *known = fetcher,
            None => self.known.push(fetcher),
        }
    }

    /// Fetches with the fetcher that the source names, which alone gets to know the secrets that
    /// the source names.
    ///
    /// # Errors
    /// A secret cannot be filled in, no fetcher of that name, it has no data, or the source's
    /// `transform` makes none of it; the message is for people, and holds no secret.
    pub async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let transform = Transform::of(source).await?;
        let filled = self.secrets.fill(source).await?;
        let fetch = filled.confine(self.fetch_filled(filled.source()));
        let fetched = fetch.await.inspect_err(|_| {
            self.secrets.doubt(&filled);
        });
        let data = match (fetched, transform) {
            (Ok(data), Some(transform)) => transform.apply(data, self.max_bytes).await,
            (fetched, _) => fetched,
        };
        data.map_err(|error| filled.hide(error))
    }

    async fn fetch_filled(&self, source: &Source) -> Result<Json, FetchError> {
        let fetcher = self.pick(source)?;
        let time = fetcher.timeout().unwrap_or(self.timeout);
        // Whoever publishes an update chooses the server, and libraries believe what a server
        // sends; one that panics at it must not take the agent's work along.
        let fetch = AssertUnwindSafe(fetcher.fetch(source)).catch_unwind();
        match tokio::time::timeout(time, fetch).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(FetchError::new("the source answered what cannot be read")),
            Err(_) => Err(FetchError::new("no answer in time")),
        }
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
    // Members that a list gives by their place have no names for anybody else who looks at them:
    // what is a credential, and where it leads.
    if text.trim_start().starts_with('[') {
        return Err(FetchError::permanent("config: give an object"));
    }
    let nested: Nested<'_> = serde_json::from_str(text).unwrap_or_default();
    if nested.connection_params.is_some_and(|params| params.get().starts_with('[')) {
        return Err(FetchError::permanent("config.connection_params: give an object"));
    }
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
        let secrets = Secrets::default();
        let timeout = Duration::from_secs(1);
        let fetchers = Fetchers { known, timeout, max_bytes: 1_000, secrets };
        let config = config.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let source = Source { url: "http://h".to_owned(), config };
        fetchers.fetch(&source).await.unwrap_err()
    }

    /// Fails with everything that it was given, or answers it.
    struct Telling(bool);

    impl Fetcher for Telling {
        fn name(&self) -> &'static str {
            "Telling"
        }

        fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
            let said = source.config.as_deref().map_or("", RawValue::get);
            let done = match self.0 {
                true => Ok(Json::known(said.to_owned())),
                false => Err(FetchError::new(format!("{} {said}", source.url))),
            };
            Box::pin(async { done })
        }
    }

    /// What comes of a source whose secret `PW` is `s3cret/named`.
    async fn told(answers: bool, url: &str, config: &str) -> Result<String, FetchError> {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("PW"), "s3cret/named\n").unwrap();
        let secrets = Secrets::new(Some(dir.path().to_owned()), &[], Default::default());
        let means = Means::standard(Duration::from_secs(1)).unwrap();
        let mut fetchers = Fetchers::standard(&means).with_secrets(secrets);
        fetchers.add(Box::new(Telling(answers)));
        let config = Some(RawValue::from_string(config.to_owned()).unwrap());
        let source = Source { url: url.to_owned(), config };
        fetchers.fetch(&source).await.map(|data| data.get().to_owned())
    }

    #[tokio::test]
    async fn a_fetcher_has_the_secrets_and_what_it_says_of_them_is_hidden() {
        let config = r#"{"fetcher":"Telling","a":["${secret:PW}"],"password":"s3cret-literal"}"#;
        let url = "x://me:${secret:PW}@h";
        let filled = r#"{"fetcher":"Telling","a":["s3cret/named"],"password":"s3cret-literal"}"#;
        assert_eq!(told(true, url, config).await.unwrap(), filled);
        let error = told(false, url, config).await.unwrap_err().to_string();
        let hidden = r#"x://me:****@h {"fetcher":"Telling","a":["****"],"password":"****"}"#;
        assert_eq!(error, hidden);
    }

    #[tokio::test]
    async fn what_any_fetcher_brings_is_shaped_and_a_mistake_in_that_is_found_before() {
        let config = r#"{"fetcher":"Telling","list":[{"k":1}],"transform":"/list"}"#;
        assert_eq!(told(true, "x://h", config).await.unwrap(), r#"[{"k":1}]"#);
        let config = r#"{"fetcher":"Telling","transform":"{"}"#;
        let error = told(false, "x://h", config).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().starts_with("config.transform: "));
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

    struct Broken;

    impl Fetcher for Broken {
        fn name(&self) -> &'static str {
            "Broken"
        }

        fn fetch<'a>(&'a self, _: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
            Box::pin(async { panic!("as a library might") })
        }
    }

    #[tokio::test]
    async fn a_library_that_panics_is_an_error_of_its_source_alone() {
        let known: Vec<Box<dyn Fetcher>> = vec![Box::new(Broken)];
        let secrets = Secrets::default();
        let timeout = Duration::from_secs(1);
        let fetchers = Fetchers { known, timeout, max_bytes: 1_000, secrets };
        let source = Source { url: "http://h".to_owned(), config: None };
        let expected = FetchError::new("the source answered what cannot be read");
        assert_eq!(fetchers.fetch(&source).await, Err(expected));
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
        for (config, words) in [
            (r#" ["First"]"#, "config: give an object"),
            (r#"{"connection_params":["d","u"]}"#, "config.connection_params: give an object"),
        ] {
            assert_eq!(picked(Some(config)).await, FetchError::permanent(words));
        }
    }
}
