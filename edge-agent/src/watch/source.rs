//! Where the database is, and connections to it.
//!
//! The address is the operator's own word, so nothing checks where it leads. Nothing shows it but
//! [`Database`]'s own display, which has no user and no password.

use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::WatchError;
use crate::fetch::Means;
use crate::fetch::postgres::tls::Mode;
use crate::fetch::postgres::types::SETTINGS;

/// How long a database may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Nobody answers who takes longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection calls itself in `pg_stat_activity`.
const APPLICATION: &str = "girasol-watch";
/// A database.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: Arc<rustls::ClientConfig>,
    shown: String,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.shown).finish()
    }
}

impl fmt::Display for Database {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Database {
    /// Reads an address such as `postgresql://user@host:5432/database?sslmode=require`. The
    /// password may be in it, or is the given one.
    ///
    /// # Errors
    /// What to give in its place; the address is not repeated.
    pub fn new(url: &str, password: Option<String>) -> Result<Self, String> {
        const ADVICE: &str = "give an address such as postgresql://user@host:5432/database";
        if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
            return Err(ADVICE.to_owned());
        }
        let (url, mode) = without_mode(url)?;
        let mut config: Config = url.parse().map_err(|_| ADVICE.to_owned())?;
        config.ssl_mode(mode.negotiated());
        let user = config.get_user().map(str::to_owned).ok_or("it names no user")?;
        let (Some(host), None) = (config.get_hosts().first().cloned(), config.get_hosts().get(1))
        else {
            return Err("give one host".to_owned());
        };
        if config.get_password().is_none()
            && let Some(password) = password
        {
            config.password(password);
        }
        if config.get_dbname().is_none() {
            config.dbname(user);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        // The form of values is fixed, whatever the database's settings are.
        let settings = SETTINGS.iter().map(|(name, value)| format!("-c {name}={value}"));
        let options = config.get_options().map(str::to_owned).into_iter().chain(settings);
        config.options(options.collect::<Vec<_>>().join(" ")).application_name(APPLICATION);
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let host = match &host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            Host::Unix(_) => "a socket".to_owned(),
        };
        let database = config.get_dbname().unwrap_or_default();
        let shown = format!("postgresql://{host}:{port}/{database}");
        let means = Means::standard(CONNECT_TIMEOUT).map_err(|error| error.to_string())?;
        let mut tls = mode.config(&means).map_err(|error| error.to_string())?;
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { config, tls: Arc::new(tls), shown })
    }

    /// A connection for queries. It ends with the client.
    pub(super) async fn connect(&self) -> Result<Connected, WatchError> {
        // One that is going down may take a connection and never say a word on it.
        match tokio::time::timeout(CONNECT_WITHIN, self.connect_once()).await {
            Ok(connected) => connected,
            Err(_) => Err(WatchError::retry(format!("{self}: no answer in time"))),
        }
    }

    async fn connect_once(&self) -> Result<Connected, WatchError> {
        let failed = |error| self.failed(&error);
        if self.config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
            return Ok(Connected::new(client, connection));
        }
        let tls = MakeRustlsConnect::new(self.tls.as_ref().clone());
        let (client, connection) = self.config.connect(tls).await.map_err(failed)?;
        Ok(Connected::new(client, connection))
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> WatchError {
        let WatchError { message, hint, is_final } = sql(error);
        WatchError { message: format!("{self}: {message}"), hint, is_final }
    }
}

/// An address without its `sslmode`, of whose values the library knows only some.
fn without_mode(url: &str) -> Result<(String, Mode), String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (modes, others): (Vec<_>, Vec<_>) =
        query.split('&').partition(|parameter| parameter.starts_with("sslmode="));
    let mode = match modes.last().and_then(|parameter| parameter.split_once('=')) {
        Some((_, name)) => {
            Mode::named(name).ok_or_else(|| format!("sslmode: give one of {}", Mode::names()))?
        }
        None => Mode::default(),
    };
    Ok((format!("{base}?{}", others.join("&")), mode))
}

/// A connection for queries, and what comes on it unasked.
pub(super) struct Connected {
    client: Client,
    /// Something was notified, or the connection has ended.
    pub(super) told: Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Connected {
    fn new<S, T>(client: Client, mut connection: tokio_postgres::Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let told = Arc::new(tokio::sync::Notify::new());
        let tell = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
            while let Some(Ok(message)) = messages.next().await {
                if matches!(message, AsyncMessage::Notification(_)) {
                    tell.notify_one();
                }
            }
            // So that the client is closed before anybody is told.
            drop(messages);
            tell.notify_one();
        });
        Self { client, told, task }
    }
}

impl Deref for Connected {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connected {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What to do about errors of the database that waiting does not put right.
const ADVICE: [(&str, &str); 7] = [
    ("28P01", "give the right password: in the address, in PGPASSWORD or in GIRASOL_SOURCE_URL"),
    ("28000", "does pg_hba.conf let this user into the database from here?"),
    ("3D000", "name a database that is there"),
    (
        "42501",
        "grant the user what is missing: REPLICATION and SELECT to watch, ownership of the \
         tables to install; or use --mode notify, which needs no REPLICATION",
    ),
    ("42704", "run once with --install, as the owner of the tables"),
    ("42P01", "run once with --install, as the owner of the tables"),
    ("53400", "raise max_replication_slots and max_wal_senders in postgresql.conf"),
];

/// An error that the database has answered with.
pub(super) fn refused(code: &str, message: &str) -> WatchError {
    match ADVICE.iter().find(|(known, _)| *known == code) {
        Some((_, hint)) => WatchError::stop(message).hint(*hint),
        None => WatchError::retry(message),
    }
}

/// The same of a query.
pub(super) fn sql(error: &tokio_postgres::Error) -> WatchError {
    match error.as_db_error() {
        Some(refusal) => refused(refusal.code().code(), refusal.message()),
        None => broken(error),
    }
}

/// A connection that did not work. A certificate that nobody trusts will not be trusted later.
pub(super) fn broken(error: &(dyn Error + 'static)) -> WatchError {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let reason = text.split_once(" (os error").map_or(&*text, |(words, _)| words);
    if reason.contains("certificate") {
        return WatchError::stop(reason)
            .hint("name the file of the authority that signed it: SSL_CERT_FILE=ca.pem");
    }
    WatchError::retry(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_is_secret() {
        for (url, shown) in [
            ("postgresql://me:secret@db.example:5433/app", "postgresql://db.example:5433/app"),
            ("postgres://me:secret@[::1]/app?sslmode=verify-full", "postgresql://[::1]:5432/app"),
            ("postgresql://me@h", "postgresql://h:5432/me"),
        ] {
            let database = Database::new(url, Some("secret".to_owned())).unwrap();
            assert_eq!(database.to_string(), shown);
            assert!(!format!("{database:?}").contains("secret"));
            assert_eq!(database.config.get_password(), Some(&b"secret"[..]));
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_not_shown() {
        for (url, words) in [
            ("mysql://me:secret@h/app", "give an address such as"),
            ("me:secret@h", "give an address such as"),
            ("postgresql://h/app?password=secret", "it names no user"),
            ("postgresql://me:secret@h,i/app", "give one host"),
            ("postgresql://me:secret@h/app?sslmode=on", "sslmode: give one of disable, allow"),
            ("postgresql://me:secret@h:port/app", "give an address such as"),
        ] {
            let error = Database::new(url, None).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
