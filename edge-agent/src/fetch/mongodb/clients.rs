//! Clients that are kept between fetches, by their addresses. Each has its connections, and
//! watches its servers, until nobody has asked it for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, serialize_to_document};
use mongodb::options::{
    AuthMechanism, ClientOptions, ConnectionString, Credential, HostInfo, SelectionCriteria,
    ServerAddress, Socks5Proxy, Tls, TlsOptions,
};
use tokio::sync::OnceCell;
use url::Url;

use super::relay::{Pass, Relay};
use crate::fetch::{FetchError, Means};

/// How long a client is kept that nobody asks.
const REST: Duration = Duration::from_secs(60);
/// Clients that are kept.
const IN_ALL: usize = 32;
/// How long a server is waited for that may be asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections of one client.
const CONNECTIONS: u32 = 8;

/// A client and what its address says of every query.
pub(super) struct Client {
    pub(super) mongo: mongodb::Client,
    /// The address's own database.
    pub(super) database: Option<String>,
    /// Which servers are asked, if not the primary one.
    pub(super) criteria: Option<SelectionCriteria>,
    pub(super) read_concern: Option<Document>,
    shown: String,
    pass: Pass,
}

/// When each was used last, by its address.
type Kept = Mutex<HashMap<String, (Instant, Arc<Client>)>>;

/// All that are kept.
pub(super) struct Clients {
    means: Means,
    relay: OnceCell<Relay>,
    kept: Arc<Kept>,
}

// === impl Client ===

impl Client {
    /// The same error with the servers' addresses before it.
    pub(super) fn named(&self, error: &FetchError) -> FetchError {
        let message = format!("{}: {error}", self.shown);
        if error.is_permanent() { FetchError::permanent(message) } else { FetchError::new(message) }
    }

    /// Why the last connection could not be made, if that was so.
    pub(super) fn trouble(&self) -> Option<FetchError> {
        self.pass.trouble()
    }
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(means: Means) -> Self {
        Self { means, relay: OnceCell::new(), kept: Arc::default() }
    }

    /// The client of an address: a kept one, or a new one.
    ///
    /// # Errors
    /// The address is none of MongoDB's, asks for what is not allowed, or is somewhere that may
    /// not be reached.
    pub(super) async fn get(&self, url: &str) -> Result<Arc<Client>, FetchError> {
        if let Some(kept) = self.kept(url) {
            return Ok(kept);
        }
        let client = Arc::new(self.connect(url).await?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < IN_ALL {
            kept.insert(url.to_owned(), (Instant::now(), Arc::clone(&client)));
            tokio::spawn(forget(Arc::downgrade(&self.kept), url.to_owned()));
        }
        Ok(client)
    }

    fn kept(&self, url: &str) -> Option<Arc<Client>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, client) = kept.get_mut(url)?;
        *used = Instant::now();
        Some(Arc::clone(client))
    }

    async fn connect(&self, url: &str) -> Result<Client, FetchError> {
        if !url.starts_with("mongodb://") && !url.starts_with("mongodb+srv://") {
            let advice = "url: this fetcher takes mongodb://host/… or mongodb+srv://host/…";
            return Err(FetchError::permanent(advice));
        }
        // Before anybody is asked for its records; an address that is none is refused below.
        if let Ok(ConnectionString { host_info: HostInfo::DnsRecord(name), .. }) =
            ConnectionString::parse(url)
        {
            let place = Url::parse(&format!("mongodb+srv://{name}/"))
                .map_err(|_| FetchError::permanent("url: its host is none"))?;
            self.means.reach.check(&place).map_err(|refused| {
                FetchError::permanent(format!("mongodb+srv://{name}: {refused}"))
            })?;
        }
        // What the driver says of an address may have a password in it.
        let mut options = ClientOptions::parse(url).await.map_err(|error| match *error.kind {
            mongodb::error::ErrorKind::DnsResolve { .. } => {
                FetchError::new("url: the records of the mongodb+srv name cannot be had")
            }
            _ => FetchError::permanent(
                "url: not an address of MongoDB; give mongodb://user@host:port/database?options, \
                 with what has a special meaning percent-encoded",
            ),
        })?;
        let shown = self.checked(&options)?;
        let tls = secured(options.tls.take())?;
        options.credential.as_ref().map_or(Ok(()), |credential| harmless(credential, tls))?;
        if options.socks5_proxy.is_some() {
            return Err(FetchError::permanent("url: proxyHost is not the publisher's to choose"));
        }
        let relay = self.relay.get_or_try_init(|| Relay::start(self.means.clone())).await;
        let relay = relay.map_err(|error| FetchError::new(format!("no relay: {error}")))?;
        let pass = relay.pass(tls);
        options.socks5_proxy = Some(
            Socks5Proxy::builder()
                .host("127.0.0.1")
                .port(relay.port())
                .authentication((pass.user().to_owned(), relay.password().to_owned()))
                .build(),
        );
        // It gives up before its caller does, who could not tell why, and who tries again.
        let patience = PATIENCE.min(self.means.timeout * 4 / 5);
        options.server_selection_timeout = Some(patience);
        options.connect_timeout = Some(patience);
        options.max_pool_size = Some(
            options.max_pool_size.filter(|size| *size > 0).unwrap_or(CONNECTIONS).min(CONNECTIONS),
        );
        options.min_pool_size = None;
        options.max_idle_time = Some(REST);
        options.app_name.get_or_insert_with(|| "girasol-edge-agent".to_owned());
        let database = options.default_database.clone();
        let criteria = options.selection_criteria.clone();
        let read_concern =
            options.read_concern.as_ref().and_then(|it| serialize_to_document(it).ok());
        let mongo = mongodb::Client::with_options(options)
            .map_err(|error| FetchError::permanent(format!("{shown}: {error}")))?;
        Ok(Client { mongo, database, criteria, read_concern, shown, pass })
    }

    /// Asks whether the servers of an address may be reached, as far as it tells, and shows them.
    /// Each connection is checked again, those to servers that are found later too.
    fn checked(&self, options: &ClientOptions) -> Result<String, FetchError> {
        let mut shown = Vec::new();
        for host in &options.hosts {
            let ServerAddress::Tcp { host, port } = host else {
                return Err(FetchError::permanent(
                    "url: no files of this machine are connected to",
                ));
            };
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            let address = format!("{host}{port}");
            let url = Url::parse(&format!("mongodb://{address}/"))
                .map_err(|_| FetchError::permanent("url: a host is none"))?;
            self.means.reach.check(&url).map_err(|refused| {
                FetchError::permanent(format!("mongodb://{address}: {refused}"))
            })?;
            shown.push(address);
        }
        Ok(format!("mongodb://{}", shown.join(",")))
    }
}

/// Whether an address wants TLS. Whom to trust and what to show is the agent's to say.
fn secured(tls: Option<Tls>) -> Result<bool, FetchError> {
    match tls {
        None | Some(Tls::Disabled) => Ok(false),
        Some(Tls::Enabled(options)) if options == TlsOptions::default() => Ok(true),
        Some(_) => Err(FetchError::permanent(
            "url: whom to trust is the agent's to say (fetch_ca_file): leave out all options of \
             TLS but tls=true",
        )),
    }
}

/// Checks how an address wants to log in. Some ways show the server what this machine knows of
/// itself, such as the token of its cluster or cloud: those are not the publisher's to choose.
fn harmless(credential: &Credential, tls: bool) -> Result<(), FetchError> {
    let refused = |why: &str| Err(FetchError::permanent(format!("url: authMechanism: {why}")));
    match &credential.mechanism {
        None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => {}
        Some(AuthMechanism::MongoDbX509) => {}
        Some(AuthMechanism::Plain) if tls => {}
        Some(AuthMechanism::Plain) => return refused("PLAIN needs tls=true"),
        Some(_) => {
            return refused("give SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509 or, with TLS, PLAIN");
        }
    }
    if credential.mechanism_properties.is_some() {
        return refused("leave authMechanismProperties out");
    }
    Ok(())
}

/// Forgets a client when nobody has asked it for long, also where nothing is fetched any more.
async fn forget(all: Weak<Kept>, url: String) {
    let mut rest = REST;
    while !rest.is_zero() {
        tokio::time::sleep(rest).await;
        let Some(all) = all.upgrade() else { return };
        rest = sweep(&all, &url);
    }
}

/// Forgets it if nobody has asked it for long; else tells when to look again.
fn sweep(all: &Kept, url: &str) -> Duration {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let used = all.get(url).map(|(used, _)| used.elapsed());
    match used {
        Some(used) if used < REST => REST.saturating_sub(used).max(Duration::from_secs(1)),
        _ => {
            all.remove(url);
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Reach;

    #[tokio::test]
    async fn a_denied_name_is_not_asked_for_its_records() {
        let reach = Reach::new(&[], &["mongodb://db.denied.test".to_owned()]).unwrap();
        let means = Means::standard(Duration::from_secs(1)).unwrap().reaching(reach).unwrap();
        let got = Clients::new(means).get("mongodb+srv://u:hidden@db.denied.test/d").await;
        let error = got.err().unwrap();
        assert!(error.is_permanent());
        let error = error.to_string();
        assert!(error.contains("fetch_deny") && !error.contains("hidden"), "{error}");
    }

    #[tokio::test]
    async fn an_address_logs_in_with_what_it_brings_and_nothing_else() {
        let clients = Clients::new(Means::standard(Duration::from_secs(1)).unwrap());
        for (options, words) in [
            ("authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s", "give SCRAM"),
            ("authMechanism=PLAIN", "PLAIN needs tls=true"),
        ] {
            let user = if options.contains("OIDC") { "" } else { "u:p@" };
            let url = format!("mongodb://{user}127.0.0.1:1/d?{options}");
            let error = clients.get(&url).await.err().unwrap_or_else(|| panic!("{options}"));
            assert!(error.is_permanent(), "{options}");
            assert!(error.to_string().contains(words), "{options}: {error}");
        }
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN&authSource=$external&tls=true"] {
            let url = format!("mongodb://u:p@127.0.0.1:1/d?authMechanism={mechanism}");
            assert!(clients.get(&url).await.is_ok(), "{mechanism}");
        }
    }
}
