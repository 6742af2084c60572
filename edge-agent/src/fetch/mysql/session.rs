//! A connection that is signed in, may change nothing, and takes no query along when it goes.

use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, SslOpts};
use rustls::pki_types::CertificateDer;

use super::failure::{Failure, failure};
use crate::fetch::endpoint::Endpoint;
use crate::fetch::{FetchError, Means};

/// How long ending a query may take.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// How long one that is forgetting a query is waited for.
const RESET_WITHIN: Duration = Duration::from_secs(2);
/// After how long a server that was cut off is noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The largest packet that the protocol has.
const LARGEST: usize = 1 << 30;
/// The smallest that signing in can do with.
const SMALLEST: usize = 64 << 10;

/// A connection.
///
/// The library would read what is left of an answer to its end before it lets a connection go.
/// One that is dropped while the server is still busy for it is ended at the server instead.
pub(super) struct Session {
    conn: Option<Conn>,
    opts: Opts,
    /// Whether the server has not said its last word.
    pub(super) busy: bool,
}

// === impl Session ===

impl Session {
    /// Connects and signs in.
    ///
    /// # Errors
    /// It may not be reached, nobody answers, or the server does not want us.
    pub(super) async fn new(
        endpoint: &Endpoint,
        means: &Means,
        tls: bool,
    ) -> Result<Self, FetchError> {
        let opts: Opts = options(endpoint, means, tls).await?.into();
        let conn =
            Conn::new(opts.clone()).await.map_err(|error| match failure(endpoint, &error) {
                Failure::Broken(error) | Failure::Said(error) => error,
            })?;
        Ok(Self { conn: Some(conn), opts, busy: false })
    }

    /// The connection itself.
    pub(super) fn conn(&mut self, endpoint: &Endpoint) -> Result<&mut Conn, Failure> {
        let gone = || Failure::Broken(endpoint.failed("the connection broke off"));
        self.conn.as_mut().ok_or_else(gone)
    }

    /// Has the server forget what the query left behind, such as locks and variables, so that the
    /// next one, which may be another publisher's, begins as the first did. False if the session
    /// cannot be used again.
    pub(super) async fn rest(&mut self) -> bool {
        let Some(conn) = self.conn.as_mut().filter(|_| !self.busy) else { return false };
        matches!(tokio::time::timeout(RESET_WITHIN, conn.reset()).await, Ok(Ok(true)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.busy {
            let opts = self.opts.clone();
            runtime.spawn(async move {
                // The server ends it by itself when its time is over, should this fail.
                let _ = tokio::time::timeout(KILL_WITHIN, kill(opts, conn.id())).await;
                drop(conn);
            });
        }
    }
}

/// Ends a connection, and what runs on it, from another one; everybody may do so to their own.
async fn kill(opts: Opts, id: u32) -> mysql_async::Result<()> {
    let mut other = Conn::new(opts).await?;
    other.query_drop(format!("KILL {id}")).await?;
    other.disconnect().await
}

async fn options(endpoint: &Endpoint, means: &Means, tls: bool) -> Result<OptsBuilder, FetchError> {
    let addresses = endpoint.resolve(means).await?;
    Ok(OptsBuilder::default()
        .ip_or_hostname(endpoint.bare_host())
        .tcp_port(endpoint.port)
        // Only what was looked at is connected to.
        .resolved_ips(Some(addresses))
        // The path of a socket would be the server's to choose.
        .prefer_socket(false)
        .user(endpoint.user.as_deref())
        .pass(endpoint.password.as_deref())
        .db_name(endpoint.database.as_deref())
        .tcp_keepalive(Some(KEEPALIVE))
        .max_allowed_packet(Some(means.max_bytes.clamp(SMALLEST, LARGEST)))
        .wait_timeout(Some(28_800))
        .setup(vec![beginning(means.timeout)])
        .ssl_opts(tls.then(|| certificates(means))))
}

/// What every session begins with. Whoever publishes an update chooses the query, and should be
/// able to change nothing with it. A query that outlives its fetch is ended by the server itself:
/// MariaDB and MySQL have settings for that of different names, each in a comment that only that
/// one reads.
fn beginning(timeout: Duration) -> String {
    let (seconds, millis) = (timeout.as_secs_f64(), timeout.as_millis());
    format!(
        "SET SESSION TRANSACTION READ ONLY; \
         SET time_zone = '+00:00' /*M! , max_statement_time = {seconds} */ \
         /*!50708 , max_execution_time = {millis} */"
    )
}

/// TLS as the settings have it, which this library makes itself.
fn certificates(means: &Means) -> SslOpts {
    /// Read once: it is the same for all.
    static PLATFORM: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    let platform = PLATFORM.get_or_init(|| rustls_native_certs::load_native_certs().certs);
    let platform = platform.iter().map(|certificate| certificate.to_vec().into());
    let roots = platform.chain(means.files.ca.clone().map(Into::into)).collect();
    let own = means.files.certificate.clone().zip(means.files.key.clone());
    SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_root_certs(roots)
        .with_client_identity(
            own.map(|(certificate, key)| ClientIdentity::new(certificate.into(), key.into())),
        )
}
