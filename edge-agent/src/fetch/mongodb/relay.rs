//! The driver resolves names and connects by itself, also to servers that other servers tell it
//! of. It can be made to do so through a SOCKS5 proxy (RFC 1928, 1929): this one, inside the
//! agent, which connects through [`Reach`](crate::net::Reach) and with the agent's own TLS.
//!
//! It listens on loopback and knows nobody who cannot show a password that was made up for this
//! process.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::fetch::{FetchError, Means};
use crate::net::reach::ConnectError;

/// The version of the protocol, and of its exchange of passwords.
const VERSION: u8 = 5;
const PASSWORD_VERSION: u8 = 1;
/// The one way to sign in, and the answer to those who know no password.
const PASSWORD: u8 = 2;
const NO_WAY: u8 = 0xff;
/// The one command.
const CONNECT: u8 = 1;
/// Answers to it.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const REFUSED: u8 = 2;
/// What a user's name ends with who is to be given TLS.
const WITH_TLS: &str = "+tls";
/// Somebody who has not said what he wants by then is none of ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// The proxy; it ends with its handle.
pub(super) struct Relay {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    means: Means,
    password: String,
    users: AtomicU64,
    /// Why the last connection of a user was not made.
    troubles: Mutex<HashMap<String, FetchError>>,
}

/// One client's right to connect.
pub(super) struct Pass {
    user: String,
    shared: Arc<Shared>,
}

// === impl Pass ===

impl Pass {
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Why the last connection was not made, if it was not.
    pub(super) fn trouble(&self) -> Option<FetchError> {
        self.shared.troubles().get(&self.user).cloned()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.shared.troubles().remove(&self.user);
    }
}

// === impl Relay ===

impl Relay {
    pub(super) async fn start(means: Means) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let shared = Arc::new(Shared {
            means,
            password: protocol::hex(&random),
            users: AtomicU64::default(),
            troubles: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn password(&self) -> &str {
        &self.shared.password
    }

    /// Lets a client in, whose connections are secured by the relay if it says so.
    pub(super) fn pass(&self, tls: bool) -> Pass {
        let number = self.shared.users.fetch_add(1, Ordering::Relaxed);
        let user = format!("{number}{}", if tls { WITH_TLS } else { "" });
        Pass { user, shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Whoever was served knows how it ended.
                    let _ = shared.serve(stream).await;
                });
            }
            // Too many open files; others may be closed by then.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

// === impl Shared ===

impl Shared {
    fn troubles(&self) -> std::sync::MutexGuard<'_, HashMap<String, FetchError>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (user, host, port) = tokio::time::timeout(PATIENCE, self.greet(&mut stream)).await??;
        match self.connect(&user, &host, port).await {
            Ok(mut there) => {
                self.troubles().remove(&user);
                answer(&mut stream, DONE).await?;
                copy_bidirectional(&mut stream, &mut *there).await?;
                Ok(())
            }
            Err(trouble) => {
                let code = if trouble.is_permanent() { REFUSED } else { FAILED };
                self.troubles().insert(user, trouble);
                answer(&mut stream, code).await
            }
        }
    }

    /// Who it is and where to.
    async fn greet(&self, stream: &mut TcpStream) -> io::Result<(String, String, u16)> {
        let stranger = || io::Error::from(io::ErrorKind::PermissionDenied);
        if stream.read_u8().await? != VERSION {
            return Err(stranger());
        }
        if !short_bytes(stream).await?.contains(&PASSWORD) {
            stream.write_all(&[VERSION, NO_WAY]).await?;
            return Err(stranger());
        }
        stream.write_all(&[VERSION, PASSWORD]).await?;
        let version = stream.read_u8().await?;
        let user = String::from_utf8(short_bytes(stream).await?).map_err(|_| stranger())?;
        let password = short_bytes(stream).await?;
        let known = bool::from(password.ct_eq(self.password.as_bytes()));
        if version != PASSWORD_VERSION || !known {
            stream.write_all(&[PASSWORD_VERSION, FAILED]).await?;
            return Err(stranger());
        }
        stream.write_all(&[PASSWORD_VERSION, DONE]).await?;
        let mut command = [0; 4];
        stream.read_exact(&mut command).await?;
        let [VERSION, CONNECT, _, kind] = command else { return Err(stranger()) };
        let host = match kind {
            1 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
            3 => String::from_utf8(short_bytes(stream).await?).map_err(|_| stranger())?,
            4 => std::net::Ipv6Addr::from(stream.read_u128().await?).to_string(),
            _ => return Err(stranger()),
        };
        Ok((user, host, stream.read_u16().await?))
    }

    async fn connect(&self, user: &str, host: &str, port: u16) -> Result<Box<dyn Io>, FetchError> {
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let failed = |error: &io::Error| {
            let text = error.to_string();
            let words = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
            FetchError::new(format!("cannot connect to {shown}:{port}: {words}"))
        };
        let stream = self.means.reach.connect(host, port).await.map_err(|error| match error {
            ConnectError::Refused(refused) => FetchError::permanent(refused.to_string()),
            ConnectError::Io(error) => failed(&error),
        })?;
        if !user.ends_with(WITH_TLS) {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            FetchError::permanent("its host is no name that a certificate can have")
        })?;
        let connector = TlsConnector::from(Arc::clone(&self.means.tls));
        let secured = connector.connect(name, stream).await.map_err(|error| failed(&error))?;
        Ok(Box::new(secured))
    }
}

/// A connection, with or without TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// As many bytes as the first one says.
async fn short_bytes(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Answers a command; which address of ours is used there is nobody's business.
async fn answer(stream: &mut TcpStream, code: u8) -> io::Result<()> {
    stream.write_all(&[VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn relay() -> Relay {
        Relay::start(Means::standard(Duration::from_secs(5)).unwrap()).await.unwrap()
    }

    /// Says all of it at once, and hears what comes back.
    async fn say(relay: &Relay, parts: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", relay.port())).await.unwrap();
        stream.write_all(&parts.concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        // A stranger is hung up on, perhaps while he still speaks.
        let _ = stream.read_to_end(&mut heard).await;
        heard
    }

    fn signed_in(user: &str, password: &str) -> Vec<u8> {
        let field = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [&[5, 1, 2, 1][..], &field(user), &field(password)].concat()
    }

    fn to(host: &str, port: u16) -> Vec<u8> {
        let length = u8::try_from(host.len()).unwrap();
        [&[5, 1, 0, 3, length][..], host.as_bytes(), &port.to_be_bytes()].concat()
    }

    #[tokio::test]
    async fn strangers_are_not_served() {
        let relay = relay().await;
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = target.local_addr().unwrap().port();
        // Neither without a password, nor with a wrong one, nor with the right beginning of it.
        assert_eq!(say(&relay, &[&[5, 1, 0], &to("127.0.0.1", port)]).await, [5, 0xff]);
        let almost = relay.password().get(1..).unwrap().to_owned();
        for password in ["", "wrong", &almost] {
            let heard = say(&relay, &[&signed_in("0", password), &to("127.0.0.1", port)]).await;
            assert_eq!(heard, [5, 2, 1, 1], "{password}");
        }
        assert_eq!(say(&relay, &[b"GET / HTTP/1.1\r\n\r\n"]).await, b"");
        let nobody = tokio::time::timeout(Duration::from_millis(50), target.accept()).await;
        assert!(nobody.is_err());
    }

    #[tokio::test]
    async fn where_nobody_may_connect_to_is_refused_and_remembered() {
        let relay = relay().await;
        let pass = relay.pass(false);
        let hello = signed_in(pass.user(), relay.password());
        let heard = say(&relay, &[&hello, &to("169.254.169.254", 80)]).await;
        assert_eq!(heard.get(4..6), Some(&[5, REFUSED][..]));
        let trouble = pass.trouble().unwrap();
        assert!(trouble.is_permanent() && trouble.to_string().contains("link-local"), "{trouble}");

        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let heard = say(&relay, &[&hello, &to("localhost", port)]).await;
        assert_eq!(heard.get(4..6), Some(&[5, FAILED][..]));
        let said = format!("cannot connect to localhost:{port}: Connection refused");
        assert_eq!(pass.trouble(), Some(FetchError::new(said)));
    }

    #[tokio::test]
    async fn what_is_said_is_passed_on_and_back() {
        let relay = relay().await;
        let pass = relay.pass(false);
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = target.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = target.accept().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard.reverse();
            stream.write_all(&heard).await.unwrap();
        });
        let hello = signed_in(pass.user(), relay.password());
        let heard = say(&relay, &[&hello, &to("127.0.0.1", port), b"abc"]).await;
        assert_eq!(heard.get(..6), Some(&[5, 2, 1, 0, 5, DONE][..]));
        assert!(heard.ends_with(b"cba"));
        assert_eq!(pass.trouble(), None);
    }
}
