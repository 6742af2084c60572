//! A connection, and how its query is cancelled.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::address::Address;
use super::failure::explain;
use super::tls::connector;
use crate::fetch::{FetchError, Means};
use crate::http::reason;
use crate::net::reach::ConnectError;

/// Cancelling is a kindness to the server, not worth waiting for.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);

/// A connection with a session. Dropped, it is closed, whatever is still on its way.
pub(super) struct Connection {
    client: Client,
    /// Carries what is sent and received.
    carrier: JoinHandle<()>,
    peer: SocketAddr,
    host: String,
    tls: ClientConfig,
}

impl Connection {
    /// Connects to the first host that lets us in.
    ///
    /// # Errors
    /// None does; that of the last one.
    pub(super) async fn open(means: &Means, address: &Address) -> Result<Self, FetchError> {
        let mut last = address.failed("it has no host");
        for (host, port) in &address.hosts {
            match Self::open_at(means, address, host, *port).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open_at(
        means: &Means,
        address: &Address,
        host: &str,
        port: u16,
    ) -> Result<Self, FetchError> {
        let at = |words: &str| match address.hosts.len() {
            1 => words.to_owned(),
            _ => format!("{host}:{port}: {words}"),
        };
        let stream = means.reach.connect(host, port).await.map_err(|error| match error {
            ConnectError::Refused(refused) => address.permanent(&refused.to_string()),
            ConnectError::Io(error) => {
                address.failed(&at(&format!("cannot connect: {}", reason(&error))))
            }
        })?;
        let tls = address.mode.config(means);
        let tls = tls.map_err(|error| address.failed(&format!("no TLS: {error}")))?;
        let peer = stream.peer_addr().map_err(|error| address.failed(&reason(&error)))?;
        let (client, connection) = address
            .login()
            .connect_raw(stream, connector(&tls, host))
            .await
            .map_err(|error| explain(address, &error))?;
        // How it ends is told to whoever waits for an answer.
        let carrier = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, carrier, peer, host: host.to_owned(), tls })
    }

    /// What speaks over it.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Has the server give up the query that is running, and closes.
    async fn give_up(self) {
        let cancel = async {
            // To the very machine that has the query, not where its name leads now.
            let stream = TcpStream::connect(self.peer).await.ok()?;
            let tls = connector(&self.tls, &self.host);
            self.client.cancel_token().cancel_query_raw(stream, tls).await.ok()
        };
        // The server may be gone, which also ends its queries.
        let _ = tokio::time::timeout(CANCEL_WITHIN, cancel).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// A connection while its query runs: dropped, it has the query cancelled.
pub(super) struct Busy(Option<Connection>);

impl Busy {
    /// From now on a query may run.
    pub(super) fn new(connection: Connection) -> Self {
        Self(Some(connection))
    }

    /// What speaks over it; nothing once it is at rest.
    pub(super) fn client(&self) -> Option<&Client> {
        self.0.as_ref().map(Connection::client)
    }

    /// Nothing runs any more.
    pub(super) fn at_rest(mut self) -> Option<Connection> {
        self.0.take()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(connection) = self.0.take() else { return };
        if connection.client.is_closed() {
            return;
        }
        // The runtime is away only when the agent ends, and every connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(connection.give_up());
        }
    }
}
