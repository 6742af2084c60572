//! The tokio shell: gives the [`core`](crate::core) what happens, and carries out what it
//! decides.
//!
//! | question | file |
//! |---|---|
//! | What is started, and in which order? | this one |
//! | Who runs the core? | `driver` |
//! | How is the socket to the hub kept? | `link` |
//! | How does the token stay valid? | `renewal` |
//! | How does somebody wait for an update? | `waiting` |
//! | How do an update's callbacks hear of it? | `callbacks` |
//! | What goes to the log? | `report` |

mod callbacks;
mod driver;
mod link;
mod python_json;
mod renewal;
mod report;
pub(crate) mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::topic::TopicSet;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::core::status::Progress;
use crate::core::{Config, Core, Kept};
use crate::engine::{Engine, OpaEngine, RegorusEngine};
use crate::fetch::{Fetchers, HttpFetcher};
use crate::http::{self, HttpError};
use crate::policy::{self, PolicyError, PolicyModule};
use crate::settings::{EngineKind, Settings};
use crate::store::{Identity, Opened, Store, StoreError};
use crate::{decisions, local_api};
pub(crate) use driver::Question;
use driver::{Channels, Driver, Shell};
use link::Link;
pub use link::LinkError;
use renewal::Renewal;
use waiting::Waiting;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The topics of the settings break a rule.
    #[error("--topics: {0}")]
    Topics(String),
    /// The policies could not be read.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The engine will not have the policies.
    #[error("the engine refuses the policies: {0}")]
    Refused(String),
    /// The server's address or the token cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listener's address cannot be had.
    #[error("{flag} {address}: {reason}; choose another address with {flag}")]
    Listen {
        /// The flag that sets it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The system refused something else.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The HTTP client could not be made.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs the agent until it is told to end (SIGINT, SIGTERM), or cannot go on.
///
/// # Errors
/// What cannot be mended by waiting: settings, policies, addresses in use.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let topics =
        TopicSet::new(settings.topics.iter().cloned()).map_err(|it| RunError::Topics(it.detail))?;
    let policies: Arc<[PolicyModule]> = match &settings.policy_dir {
        Some(dir) => policy::load_dir(dir)?.into(),
        None => Arc::default(),
    };
    let identity = Identity {
        scope: settings.scope.clone(),
        server: Some(settings.server.to_string()),
        topics: topics.clone(),
    };
    let (store, Opened { mark, written, fresh }) =
        Store::open(settings.data_dir.as_deref(), &identity)?;
    if let Some(reason) = &fresh {
        tracing::warn!(%reason, "the agent starts anew");
    }
    let timeout = Duration::from_secs(settings.fetch_timeout_seconds);
    let http = http::client(timeout)?;
    let (inputs, received) = mpsc::unbounded_channel();
    let renewal =
        Renewal::new(&settings.server, http.clone(), settings.data_dir.as_deref(), &settings.token);
    let link = Link::new(&settings.server, renewal.token(), inputs.clone())?;
    let started = Instant::now();
    let (progress, progressed) = watch::channel(Progress::default());
    let waiting = Waiting::new(progressed, inputs.clone(), started);

    let local = listen("--listen", settings.listen).await?;
    let local_address = local.local_addr()?;
    let engine: Arc<dyn Engine> = match settings.engine {
        EngineKind::Regorus => {
            let engine = Arc::new(RegorusEngine::new());
            let listener = listen("--decision-listen", settings.decision_listen).await?;
            let decisions = listener.local_addr()?;
            serve(listener, decisions::router(Arc::clone(&engine), waiting.clone()));
            tracing::info!(local = %local_address, %decisions, "listening");
            engine
        }
        EngineKind::Opa => {
            tracing::info!(local = %local_address, "listening");
            Arc::new(OpaEngine::new(settings.opa_url, settings.opa_token)?)
        }
    };
    let config = Config {
        agent: settings.agent_name.clone(),
        topics,
        engine: engine.name(),
        probe_engine: settings.engine == EngineKind::Opa,
        seed: seed(),
    };
    let core = Core::new(config, Kept { mark, written, fresh });
    let shell = Shell {
        engine,
        store: Arc::new(store),
        policies,
        fetchers: Arc::new(Fetchers::standard(http.clone())),
        callbacks: Arc::new(HttpFetcher::new(http)),
        link,
        inputs,
    };
    let (questions, asked) = mpsc::channel(16);
    serve(local, local_api::router(questions, waiting));
    let (tokens, renewed) = mpsc::channel(1);
    tokio::spawn(renewal.run(tokens, seed()));

    let channels = Channels { asked, renewed, progress };
    let driver = Driver::new(core, shell, started, received, channels);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        reason = driver.run() => Err(RunError::Refused(reason)),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|reason| RunError::Listen { flag, address, reason })
}

/// Serves until the process ends.
fn serve(listener: TcpListener, router: axum::Router) {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a listener ended");
        }
    });
}

/// Where this process's jitter begins. Without randomness the clock must do.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        return now.map_or(0, |now| u64::from(now.subsec_nanos()));
    }
    u64::from_le_bytes(bytes)
}
