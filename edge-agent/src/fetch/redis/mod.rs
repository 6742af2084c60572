//! `RedisFetchProvider`: one command that reads, whose reply is the data.
//!
//! | question | file |
//! |---|---|
//! | What can the settings say? | `config` |
//! | How is a command split into words? | `words` |
//! | Which commands are run? | `reading` |
//! | What JSON is a reply? | `reply` |

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError};
use redis::{ServerErrorKind, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use super::endpoint::{Endpoint, Scheme};
use super::idle::Idle;
use super::metered::{Allowance, Metered};
use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::json::Json;
use config::RedisConfig;
use reading::Verdict;

mod config;
mod reading;
mod reply;
mod words;

const SCHEMES: [Scheme; 4] = [
    Scheme { name: "redis", port: 6379, tls: false },
    Scheme { name: "rediss", port: 6379, tls: true },
    Scheme { name: "valkey", port: 6379, tls: false },
    Scheme { name: "valkeys", port: 6379, tls: true },
];

/// Bytes that the protocol may add to the data, and that signing in may take.
const OVERHEAD: usize = 64 << 10;

/// The community's `RedisFetchProvider`.
pub struct RedisFetcher {
    means: Means,
    idle: Idle<Connection>,
}

/// A connection that is signed in. Its task ends with it.
struct Connection {
    redis: MultiplexedConnection,
    allowance: Allowance,
    task: JoinHandle<()>,
}

/// Why a question has no answer.
enum Failure {
    /// The connection is of no use any more.
    Broken(FetchError),
    /// The server said so.
    Said(FetchError),
}

// === impl RedisFetcher ===

impl RedisFetcher {
    /// Connects with `means`.
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means, idle: Idle::default() }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let config: RedisConfig = settings_of(source)?;
        let words = config.words()?;
        let mut endpoint = Endpoint::new(&source.url, config.connection_params, &SCHEMES)?;
        // Written in one way only, so that a rule about one is not passed by `01`, or by none.
        let number = endpoint.database.as_deref().unwrap_or("0").parse::<i64>().map_err(|_| {
            endpoint.permanent("the database is a number; give redis://host:port/0")
        })?;
        endpoint.database = Some(number.to_string());
        endpoint.check(&self.means)?;
        let json_values = config.json_values == Some(true);
        let identity = endpoint.identity();
        if let Some(kept) = self.idle.take(&identity) {
            match self.ask(&endpoint, kept, &words).await {
                // It may have been dead for long; the server may not.
                Err(Failure::Broken(_)) => self.idle.forget(&identity),
                done => return self.answer(done, &endpoint, identity, json_values),
            }
        }
        let fresh = self.connect(&endpoint).await?;
        let done = self.ask(&endpoint, fresh, &words).await;
        self.answer(done, &endpoint, identity, json_values)
    }

    /// Makes data of an answer, and keeps the connection.
    fn answer(
        &self,
        done: Result<(Connection, Value), Failure>,
        endpoint: &Endpoint,
        identity: String,
        json_values: bool,
    ) -> Result<Json, FetchError> {
        let (connection, value) = done.map_err(|failure| match failure {
            Failure::Broken(error) | Failure::Said(error) => error,
        })?;
        self.idle.put(identity, connection);
        reply::data(value, json_values, self.means.max_bytes)
            .map_err(|unfit| endpoint.failed(&unfit.to_string()))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, FetchError> {
        let stream = endpoint.connect(&self.means).await?;
        let allowance = Allowance::new(OVERHEAD);
        if endpoint.tls {
            let stream = endpoint.secure(&self.means, stream).await?;
            sign_in(endpoint, Metered::new(stream, allowance.clone()), allowance).await
        } else {
            sign_in(endpoint, Metered::new(stream, allowance.clone()), allowance).await
        }
    }

    /// Runs a command, if it is one that reads.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        mut connection: Connection,
        words: &[Vec<u8>],
    ) -> Result<(Connection, Value), Failure> {
        let name = words.first().map(|word| String::from_utf8_lossy(word)).unwrap_or_default();
        if !reading::is_known(&name) {
            let sub = words.get(1).map(|word| String::from_utf8_lossy(word)).unwrap_or_default();
            let mut question = redis::cmd("COMMAND");
            question.arg("INFO").arg(&*name).arg(format!("{name}|{sub}"));
            let info = connection.send(endpoint, &question, OVERHEAD).await?;
            let refused = match reading::judge(&info) {
                Verdict::Reads => None,
                Verdict::DoesNot => Some("is not a command that only reads"),
                Verdict::Unknown => Some("is not a command of this server"),
            };
            if let Some(refused) = refused {
                let message = format!("config.command: {:?} {refused}", name.to_uppercase());
                return Err(Failure::Said(endpoint.permanent(&message)));
            }
        }
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_slice());
        }
        let limit = self.means.max_bytes.saturating_add(OVERHEAD);
        let value = connection.send(endpoint, &command, limit).await?;
        Ok((connection, value))
    }
}

impl Fetcher for RedisFetcher {
    fn name(&self) -> &'static str {
        "RedisFetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.fetch(source))
    }
}

// === impl Connection ===

impl Connection {
    /// Asks one question, whose answer may have `limit` bytes.
    async fn send(
        &mut self,
        endpoint: &Endpoint,
        command: &redis::Cmd,
        limit: usize,
    ) -> Result<Value, Failure> {
        self.allowance.set(limit);
        let sent = self.redis.send_packed_command(command).await;
        let sent = sent.and_then(Value::extract_error);
        sent.map_err(|error| {
            if self.allowance.is_used_up() {
                let limit = limit.saturating_sub(OVERHEAD);
                let message = format!("answered more than the limit of {limit} bytes");
                return Failure::Said(endpoint.failed(&message));
            }
            let said = error.code().is_some();
            let error = failure(endpoint, &error);
            if said { Failure::Said(error) } else { Failure::Broken(error) }
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn sign_in<S>(
    endpoint: &Endpoint,
    stream: S,
    allowance: Allowance,
) -> Result<Connection, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut info = RedisConnectionInfo::default()
        // With it the server says which lists are maps, and which strings are numbers.
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name();
    if let Some(user) = &endpoint.user {
        info = info.set_username(user);
    }
    if let Some(password) = &endpoint.password {
        info = info.set_password(password);
    }
    if let Some(database) = &endpoint.database {
        let number = database.parse().map_err(|_| {
            endpoint.permanent("the database is a number; give redis://host:port/0")
        })?;
        info = info.set_db(number);
    }
    // How long an answer may take is the caller's business.
    let waiting = AsyncConnectionConfig::new().set_response_timeout(None);
    let connected = MultiplexedConnection::new_with_config(&info, stream, waiting).await;
    let (redis, driver) = connected.map_err(|error| failure(endpoint, &error))?;
    Ok(Connection { redis, allowance, task: tokio::spawn(driver) })
}

/// What the server said, or what became of the connection, in one line. What was asked is not
/// in it.
fn failure(endpoint: &Endpoint, error: &RedisError) -> FetchError {
    let detail = error.detail().unwrap_or_default();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            endpoint.failed("refuses the user or the password")
        }
        (_, Some("NOPERM" | "ERR"))
            if error.code() == Some("NOPERM") || detail.contains("no permissions") =>
        {
            endpoint.failed("this user may not run the command or read the key")
        }
        // The server would go on with what was asked.
        (_, Some("ERR")) if detail.starts_with("unknown command") => {
            endpoint.permanent("config.command: it is not a command of this server")
        }
        (ErrorKind::RESP3NotSupported, _) => endpoint.failed("is older than Redis 6"),
        (ErrorKind::Server(kind), Some(code)) => {
            let message = format!("{code} {detail}");
            match kind {
                ServerErrorKind::ResponseError
                | ServerErrorKind::CrossSlot
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask => endpoint.permanent(&message),
                _ => endpoint.failed(&message),
            }
        }
        (_, Some("WRONGTYPE")) => endpoint.permanent(&format!("WRONGTYPE {detail}")),
        (_, Some(code)) => endpoint.failed(&format!("{code} {detail}")),
        (_, None) if error.is_connection_dropped() => endpoint.failed("the connection broke off"),
        (_, None) => endpoint.failed(&format!("no answer: {}", error.category())),
    }
}
