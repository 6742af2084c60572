//! The proxy plane: it stands in front of an application, asks the engine whether a request may
//! pass, puts the ids of facts in the place of values on the way in, and values in the place of
//! ids on the way out (`spec/opa-and-grants.md` §4.1, §4.4).
//!
//! Being there needs a grant: it is deployed with `PUT /api/v1/proxies/<name>`, and asks again and
//! again whether it still may be. Once it may not, or nobody says so any more, nothing passes.
//!
//! | question | file |
//! |---|---|
//! | How is it set up? | `config.rs` |
//! | May it be there, and where are facts? | `vault.rs` |
//! | What becomes of a request? | `serve.rs` |
//! | May it pass? | `decide.rs` |
//! | Where in a body are the values? | `pointer.rs` |
//! | Which headers do engine and application get? | `headers.rs` |
//! | How is a request handed on? | `forward.rs` |
//!
//! **Invariants:** without an answer that says `true` nothing passes; a body that cannot be
//! rewritten reaches nobody; no value and no token is in a log or an error.

mod config;
mod decide;
mod forward;
mod headers;
mod pointer;
mod serve;
mod vault;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::http::{self, HttpError};
use crate::settings::Secret;

pub(crate) use config::Config;
use decide::Decider;
use forward::Upstream;
use serve::Proxy;
use vault::{Standing, Vault};

/// Why the proxy ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// Its grant does not let it be there.
    #[error("it may not be deployed: {0}")]
    Refused(String),
    /// The agent that has to know the grant does not know its hub's last word.
    #[error(
        "the agent at data_plane has not caught up with the hub within {seconds} s{said}; see its \
         /status and logs, or give it more with catch_up_seconds"
    )]
    Behind {
        /// For how long it was waited for.
        seconds: u64,
        /// What it says.
        said: String,
    },
    /// An address cannot be had.
    #[error("{name} {address}: {reason}; choose another address")]
    Listen {
        /// The member of the configuration.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The HTTP client could not be made.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The system refused something else.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Deploys the proxy, and serves until `end`.
///
/// # Errors
/// What cannot be mended by waiting: a grant that is not there, addresses in use; and an agent that
/// does not catch up in time.
pub(crate) async fn run(
    config: Config,
    token: Secret,
    end: impl Future<Output = ()> + Send + Clone + 'static,
) -> Result<(), ProxyError> {
    let timeout = Duration::from_secs(config.timeout_seconds);
    let vault = Arc::new(Vault::new(http::client(timeout)?, &config, token));
    tokio::select! {
        deployed = vault.deploy() => deployed?,
        () = end.clone() => return Ok(()),
    }
    let standing = Arc::new(Standing::new(config.grant_check_interval()));
    let watcher = tokio::spawn(Arc::clone(&vault).watch(Arc::clone(&standing)));
    let listener = listen("listen", config.listen).await?;
    config.routes.iter().for_each(config::Route::tell);
    tracing::info!(listen = %listener.local_addr()?, name = %config.name, "the proxy is deployed");
    if let Some(address) = config.health_listen {
        let health = listen("health_listen", address).await?;
        tracing::info!(health = %health.local_addr()?, "serving the proxy's health");
        let standing = Arc::clone(&standing);
        let router = Router::new().route("/healthz", get(move || serve::health(standing)));
        tokio::spawn(async move { axum::serve(health, router).await });
    }
    let proxy = Proxy {
        decider: Decider::new(http::direct_client(timeout)?, config.decision.clone()),
        upstream: Upstream::new(&config.upstream, timeout),
        vault,
        standing,
        body_timeout: config.body_timeout(),
        routes: config.routes,
        max_body_bytes: config.max_body_bytes,
    };
    let service = serve::router(proxy).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(end).await?;
    watcher.abort();
    Ok(())
}

async fn listen(name: &'static str, address: SocketAddr) -> Result<TcpListener, ProxyError> {
    TcpListener::bind(address).await.map_err(|reason| ProxyError::Listen { name, address, reason })
}
