//! A connection to a directory: TLS before or after the first word, and signing in.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use url::Url;

use super::gate::{self, Closed, Verdict};
use crate::fetch::endpoint::Endpoint;
use crate::fetch::metered::Allowance;
use crate::fetch::{FetchError, Means};

/// Bytes that the protocol may add to the data, and that signing in may take.
pub(super) const OVERHEAD: usize = 64 << 10;

/// The request to go on with TLS (RFC 4511 §4.14): message 1, the name of the operation.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The tag of the answer to it.
const EXTENDED_RESPONSE: u8 = 0x78;

/// A connection that is signed in. Its tasks end with it.
pub(super) struct Connection {
    pub(super) ldap: Ldap,
    pub(super) allowance: Allowance,
    verdict: Verdict,
    tasks: [AbortHandle; 2],
}

// === impl Connection ===

impl Connection {
    /// Connects and signs in.
    ///
    /// # Errors
    /// It may not be reached, nobody answers, or the server does not want us.
    pub(super) async fn new(
        endpoint: &Endpoint,
        means: &Means,
        start_tls: bool,
    ) -> Result<Self, FetchError> {
        let mut stream = endpoint.connect(means).await?;
        if start_tls && !endpoint.tls {
            ask_for_tls(endpoint, &mut stream).await?;
        }
        let mut connection = if start_tls || endpoint.tls {
            Self::over(endpoint.secure(means, stream).await?).await
        } else {
            Self::over(stream).await
        }
        .map_err(|_| endpoint.failed("the connection cannot be set up"))?;
        connection.sign_in(endpoint).await?;
        Ok(connection)
    }

    async fn over<S>(stream: S) -> Result<Self, LdapError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let (driver, ldap) =
            LdapConnAsync::from_url_with_settings(settings, &Url::parse("ldapi:///")?).await?;
        let allowance = Allowance::new(OVERHEAD);
        let verdict = Verdict::default();
        let guarding = gate::guard(stream, ours, allowance.clone(), Arc::clone(&verdict));
        let tasks =
            [tokio::spawn(guarding).abort_handle(), tokio::spawn(driver.drive()).abort_handle()];
        Ok(Self { ldap, allowance, verdict, tasks })
    }

    async fn sign_in(&mut self, endpoint: &Endpoint) -> Result<(), FetchError> {
        let (Some(user), Some(password)) = (&endpoint.user, &endpoint.password) else {
            return Ok(());
        };
        match self.ldap.simple_bind(user, password).await {
            Ok(result) if result.rc == 0 => Ok(()),
            Ok(result) => Err(super::refusal(endpoint, result.rc)),
            Err(_) => Err(self.broken(endpoint, OVERHEAD)),
        }
    }

    /// What became of a connection that the library has no answer from; `limit` is what it might
    /// have brought.
    pub(super) fn broken(&self, endpoint: &Endpoint, limit: usize) -> FetchError {
        match self.verdict.get() {
            Some(Closed::TooMuch) => {
                endpoint.failed(&format!("answered more than the limit of {limit} bytes"))
            }
            Some(Closed::Strange) => endpoint.failed("answered what is not LDAP"),
            None => endpoint.failed("the connection broke off"),
        }
    }

    /// Whether it was cut off for what it brought, so that another one would be too.
    pub(super) fn is_judged(&self) -> bool {
        self.verdict.get().is_some()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Has the server expect TLS next.
async fn ask_for_tls(endpoint: &Endpoint, stream: &mut TcpStream) -> Result<(), FetchError> {
    let broken = |_| endpoint.failed("the connection broke off");
    stream.write_all(START_TLS).await.map_err(broken)?;
    let answer = gate::message(stream, &Allowance::new(OVERHEAD)).await;
    let answer = answer.map_err(|_| endpoint.failed("answered what is not LDAP"))?;
    let answer = answer.ok_or_else(|| endpoint.failed("the connection broke off"))?;
    match result_of(&answer) {
        Some(0) => Ok(()),
        Some(_) => Err(endpoint.failed("refuses StartTLS")),
        None => Err(endpoint.failed("answered what is not LDAP")),
    }
}

/// The result in an answer to an extended request.
fn result_of(message: &[u8]) -> Option<u8> {
    let (_, parts, _) = gate::part(message)?;
    let (_, _, after_id) = gate::part(parts)?;
    match gate::part(after_id)? {
        (EXTENDED_RESPONSE, response, _) => match gate::part(response)? {
            (_, [code], _) => Some(*code),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_starttls_is_read() {
        let answer = |code| [0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, code, 4, 0, 4, 0];
        assert_eq!(result_of(&answer(0)), Some(0));
        assert_eq!(result_of(&answer(2)), Some(2));
        assert_eq!(result_of(&[0x30, 3, 2, 1, 1]), None);
        assert_eq!(START_TLS.len(), 31);
    }
}
