//! A replication connection: as much of PostgreSQL's protocol as that takes.
//!
//! `tokio-postgres` has no replication mode. What is hard, passwords, comes from the crate that it
//! is built on; what is left is a start-up, queries whose answers are text, and the stream.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{Host, SslMode};
use tokio_rustls::TlsConnector;

use super::WatchError;
use super::pgoutput::{self, Lsn};
use super::source::{Database, broken, refused};

/// A message of the server is not longer: PostgreSQL's own limit for a value.
const MAX_MESSAGE: usize = 1 << 30;
/// Seconds between 1970, from where this machine counts, and 2000, from where PostgreSQL does.
const EPOCH: u64 = 946_684_800;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection in replication mode.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    unread: BytesMut,
}

/// A message of the server: what it is, and the rest.
type Message = (u8, Bytes);

impl Wire {
    /// Connects, with the password if it is asked for.
    pub(super) async fn connect(database: &Database) -> Result<Self, WatchError> {
        let limit = database.config().get_connect_timeout().copied().unwrap_or(Duration::MAX);
        let connecting = tokio::time::timeout(limit, Self::open(database)).await;
        let connected = connecting.unwrap_or_else(|_| Err(WatchError::retry("no answer in time")));
        connected.map_err(|error| WatchError {
            message: format!("{database}: {}", error.message),
            ..error
        })
    }

    async fn open(database: &Database) -> Result<Self, WatchError> {
        let config = database.config();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let stream: Box<dyn Stream> = match config.get_hosts().first() {
            Some(Host::Unix(folder)) => {
                let socket = folder.join(format!(".s.PGSQL.{port}"));
                Box::new(UnixStream::connect(socket).await.map_err(|error| broken(&error))?)
            }
            Some(Host::Tcp(host)) => {
                let address = config.get_hostaddrs().first().map(ToString::to_string);
                let address = (address.as_deref().unwrap_or(host), port);
                let stream = TcpStream::connect(address).await.map_err(|error| broken(&error))?;
                stream.set_nodelay(true).map_err(|error| broken(&error))?;
                encrypted(database, host, stream).await?
            }
            None => return Err(WatchError::stop("the address names no host")),
        };
        let mut wire = Self { stream, unread: BytesMut::new() };
        wire.start_up(database).await?;
        Ok(wire)
    }

    async fn start_up(&mut self, database: &Database) -> Result<(), WatchError> {
        let config = database.config();
        let user = config.get_user().unwrap_or_default();
        let parameters = [
            ("user", user),
            ("database", config.get_dbname().unwrap_or_default()),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
            ("application_name", config.get_application_name().unwrap_or_default()),
            ("options", config.get_options().unwrap_or_default()),
        ];
        self.send(|to| frontend::startup_message(parameters, to)).await?;
        let password = config.get_password();
        let mut scram: Option<ScramSha256> = None;
        loop {
            let (kind, mut body) = self.message().await?;
            match kind {
                b'R' => {
                    let asked = pgoutput::Bytes(&body).u32()?;
                    body.advance(4);
                    if asked == 0 {
                        continue;
                    }
                    let Some(password) = password else {
                        let missing = WatchError::stop("the database wants a password");
                        return Err(missing.hint("give it in PGPASSWORD or in GIRASOL_SOURCE_URL"));
                    };
                    self.authenticate(asked, &body, (user, password), &mut scram).await?;
                }
                b'Z' => return Ok(()),
                // Settings, the key to cancel with, notices.
                _ => {}
            }
        }
    }

    /// Answers one question for a password (`AuthenticationRequest` by its number).
    async fn authenticate(
        &mut self,
        asked: u32,
        body: &[u8],
        (user, password): (&str, &[u8]),
        scram: &mut Option<ScramSha256>,
    ) -> Result<(), WatchError> {
        let refuse = |error: io::Error| WatchError::stop(format!("the password exchange: {error}"));
        match (asked, scram.as_mut()) {
            (3, _) => self.send(|to| frontend::password_message(password, to)).await,
            (5, _) => {
                let salt = body.try_into().map_err(|_| WatchError::retry("a salt of no length"))?;
                let hash = md5_hash(user.as_bytes(), password, salt);
                self.send(|to| frontend::password_message(hash.as_bytes(), to)).await
            }
            (10, _) if body.split(|byte| *byte == 0).any(|it| it == SCRAM_SHA_256.as_bytes()) => {
                let begun = ScramSha256::new(password, ChannelBinding::unsupported());
                let first = begun.message().to_vec();
                *scram = Some(begun);
                self.send(|to| frontend::sasl_initial_response(SCRAM_SHA_256, &first, to)).await
            }
            (11, Some(scram)) => {
                scram.update(body).map_err(refuse)?;
                let next = scram.message().to_vec();
                self.send(|to| frontend::sasl_response(&next, to)).await
            }
            (12, Some(scram)) => scram.finish(body).map_err(refuse),
            _ => Err(WatchError::stop(
                "the database wants to know the user in a way that is not known here",
            )
            .hint("set scram-sha-256 in pg_hba.conf")),
        }
    }

    /// Sends a command and returns the rows of its answer, as text.
    pub(super) async fn query(
        &mut self,
        command: &str,
    ) -> Result<Vec<Vec<Option<String>>>, WatchError> {
        self.send(|to| frontend::query(command, to)).await?;
        let mut rows = vec![];
        loop {
            let (kind, body) = self.message().await?;
            match kind {
                b'D' => rows.push(row(&body)?),
                b'Z' => return Ok(rows),
                _ => {}
            }
        }
    }

    /// Sends a command that begins the stream.
    pub(super) async fn start(&mut self, command: &str) -> Result<(), WatchError> {
        self.send(|to| frontend::query(command, to)).await?;
        loop {
            match self.message().await? {
                (b'W', _) => return Ok(()),
                (b'Z', _) => return Err(WatchError::retry("the stream did not begin")),
                _ => {}
            }
        }
    }

    /// The next frame of the stream. May be dropped at any moment.
    pub(super) async fn frame(&mut self) -> Result<Bytes, WatchError> {
        loop {
            match self.message().await? {
                (b'd', frame) => return Ok(frame),
                (b'c', _) => return Err(WatchError::retry("the database has ended the stream")),
                _ => {}
            }
        }
    }

    /// The next frame if it has arrived.
    pub(super) fn arrived(&mut self) -> Result<Option<Bytes>, WatchError> {
        while let Some(message) = self.parse()? {
            if let (b'd', frame) = message {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Says up to where the stream has been dealt with.
    pub(super) async fn confirm(&mut self, flushed: Lsn) -> Result<(), WatchError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap_or_default().saturating_sub(Duration::from_secs(EPOCH));
        let micros = u64::try_from(now.as_micros()).unwrap_or_default();
        let mut body = vec![b'r'];
        for number in [flushed.0, flushed.0, flushed.0, micros] {
            body.extend(number.to_be_bytes());
        }
        body.push(0);
        self.send(|to| frontend::CopyData::new(&body[..]).map(|data| data.write(to))).await
    }

    /// Says good-bye, so that the slot is free at once.
    pub(super) async fn end(mut self) {
        let farewell = self.send(|to| {
            frontend::terminate(to);
            Ok(())
        });
        // It is over whether or not that is heard.
        let _ = farewell.await;
        let _ = self.stream.shutdown().await;
    }

    async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), WatchError> {
        let mut bytes = BytesMut::new();
        write(&mut bytes).map_err(|error| broken(&error))?;
        self.stream.write_all(&bytes).await.map_err(|error| broken(&error))?;
        self.stream.flush().await.map_err(|error| broken(&error))
    }

    async fn message(&mut self) -> Result<Message, WatchError> {
        loop {
            if let Some(message) = self.parse()? {
                return Ok(message);
            }
            let read = self.stream.read_buf(&mut self.unread).await;
            if read.map_err(|error| broken(&error))? == 0 {
                return Err(WatchError::retry("the database has closed the connection"));
            }
        }
    }

    /// The next message if all of it is there. An error of the server is an error.
    fn parse(&mut self) -> Result<Option<Message>, WatchError> {
        let Some((head, _)) = self.unread.split_first_chunk::<5>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(WatchError::stop("what answers there is no PostgreSQL"));
        }
        if self.unread.len() <= length {
            self.unread.reserve(length + 1 - self.unread.len());
            return Ok(None);
        }
        let mut message = self.unread.split_to(length + 1).freeze();
        message.advance(5);
        if kind == b'E' {
            let (code, text) = error(&message);
            return Err(refused(&code, &text));
        }
        Ok(Some((kind, message)))
    }
}

/// TLS, if the address or the server wants it.
async fn encrypted(
    database: &Database,
    host: &str,
    mut stream: TcpStream,
) -> Result<Box<dyn Stream>, WatchError> {
    let mode = database.config().get_ssl_mode();
    if mode == SslMode::Disable {
        return Ok(Box::new(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(|error| broken(&error))?;
    match (stream.read_u8().await.map_err(|error| broken(&error))?, mode) {
        (b'S', _) => {}
        (_, SslMode::Prefer) => return Ok(Box::new(stream)),
        _ => {
            return Err(WatchError::stop("the database does not speak TLS")
                .hint("set ssl = on in postgresql.conf, or give ?sslmode=disable"));
        }
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| WatchError::stop("no certificate can have the host's name"))?;
    let connected = TlsConnector::from(database.tls()).connect(name, stream).await;
    Ok(Box::new(connected.map_err(|error| broken(&error))?))
}

/// A `DataRow`.
fn row(body: &[u8]) -> Result<Vec<Option<String>>, WatchError> {
    let mut body = pgoutput::Bytes(body);
    let count = body.u16()?;
    let mut row = vec![];
    for _ in 0..count {
        row.push(match usize::try_from(body.u32()?) {
            // -1: null.
            Ok(length) if length < MAX_MESSAGE => {
                Some(String::from_utf8_lossy(body.take(length)?).into_owned())
            }
            _ => None,
        });
    }
    Ok(row)
}

/// The code and the text of an `ErrorResponse`.
fn error(body: &[u8]) -> (String, String) {
    let mut body = pgoutput::Bytes(body);
    let (mut code, mut text) = (String::new(), "the database refused".to_owned());
    while let Ok(field @ 1..) = body.u8() {
        match (field, body.text()) {
            (b'C', Ok(value)) => code = value,
            (b'M', Ok(value)) => text = value,
            (_, Ok(_)) => {}
            (_, Err(_)) => break,
        }
    }
    (code, text)
}

impl From<pgoutput::Malformed> for WatchError {
    fn from(error: pgoutput::Malformed) -> Self {
        Self::stop(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_database_is_its_code_and_its_words() {
        let body = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"me\"\0\0";
        let (code, text) = error(body);
        assert_eq!(code, "28P01");
        assert_eq!(text, "password authentication failed for user \"me\"");
        let refusal = refused(&code, &text);
        assert!(refusal.is_final && refusal.advice().unwrap().contains("PGPASSWORD"));
        assert_eq!(error(b"").1, "the database refused");
    }

    #[test]
    fn a_row_has_texts_and_nulls() {
        let body = b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff";
        assert_eq!(row(body).unwrap(), [Some("ab".to_owned()), None]);
        assert!(row(b"\0\x02\0\0\0\x02ab").is_err());
    }

    #[tokio::test]
    async fn what_is_no_database_is_an_error_and_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("postgresql://me:secret@127.0.0.1:{port}/app?sslmode=disable");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let database = Database::new(&url, None).unwrap();
        let Err(error) = Wire::connect(&database).await else { panic!() };
        assert!(error.to_string().ends_with("what answers there is no PostgreSQL"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
