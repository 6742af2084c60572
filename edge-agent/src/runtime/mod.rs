//! The tokio shell: gives the [`core`](crate::core) what happens, and carries out what it
//! decides.
//!
//! | question | file |
//! |---|---|
//! | What is started, and in which order? | this one |
//! | Who runs the core? | `driver` |
//! | How is the socket to the hub kept? | `link` |
//! | How is an opal-server talked to? | `opal_link` |
//! | How does the token stay valid? | `renewal` |
//! | Where are the hub's policies kept? | `policy_file` |
//! | How does somebody wait for an update? | `waiting` |
//! | How fresh is what the engine has? | `freshness` |
//! | How do an update's callbacks hear of it? | `callbacks` |
//! | What goes to the log? | `report` |

pub(crate) mod callbacks;
mod driver;
pub(crate) mod freshness;
mod link;
mod opal_link;
mod policy_file;
mod python_json;
mod renewal;
mod report;
pub(crate) mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::opal::ignore::Ignored;
use protocol::plane::grants;
use protocol::topic::TopicSet;
use protocol::{Problem, commit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::core::status::Progress;
use crate::core::{Config, Core, Input, Kept};
use crate::decision_log::DecisionLog;
use crate::enforcement::Enforcement;
use crate::engine::{Engine, OpaEngine, RegorusEngine};
use crate::facts::{self, Facts};
use crate::fetch::exec::ExecFetcher;
use crate::fetch::{Fetcher, Fetchers, HttpFetcher, Means, MeansError};
use crate::http::{self, HttpError};
use crate::net::Tls;
use crate::plane::{self, Audits, Book, DataPlane};
use crate::policy::{self, PolicyError};
use crate::secrets::Secrets;
use crate::settings::{self, EngineKind, Protocol, Secret, SecretSettings, Settings};
use crate::store::{Identity, Opened, Store, StoreError};
use crate::{decisions, enforcement, local_api, opal};
use callbacks::{Callbacks, Registered};
pub(crate) use driver::Question;
use driver::{Channels, Driver, Shell};
use link::Link;
pub use link::LinkError;
use opal_link::OpalLink;
use policy_file::PolicyFile;
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
    /// Fetches cannot be made as the settings want them.
    #[error(transparent)]
    Means(#[from] MeansError),
}

/// Runs the agent until it is told to end (SIGINT, SIGTERM), or cannot go on.
///
/// # Errors
/// What cannot be mended by waiting: settings, policies, addresses in use.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    run_with(settings, |_| vec![]).await
}

/// The same with fetchers of somebody's own besides those that are built in and those that the
/// settings name; they are made of what fetchers share.
///
/// # Errors
/// Those of [`run`].
pub async fn run_with(
    settings: Settings,
    own_fetchers: impl FnOnce(&Means) -> Vec<Box<dyn Fetcher>>,
) -> Result<(), RunError> {
    let topics = topics(&settings).map_err(|it| RunError::Topics(it.detail))?;
    let mut local_policies = match &settings.policy_dir {
        Some(dir) => policy::load_dir(dir)?,
        None => vec![],
    };
    if settings.permit_policy && settings.engine == EngineKind::Opa {
        local_policies.push(enforcement::module());
    }
    let policy_file = settings.data_dir.as_deref().map(|dir| {
        let dirs = policy_dirs(&settings).join(":");
        PolicyFile::new(dir, format!("{} {} {dirs}", settings.server, settings.scope))
    });
    let last_good = policy_file.as_ref().and_then(PolicyFile::read);
    let identity = Identity {
        scope: settings.scope.clone(),
        server: Some(settings.server.to_string()),
        topics: topics.clone(),
    };
    let (store, Opened { mark, written, policies, grants, fresh }) =
        Store::open(settings.data_dir.as_deref(), &identity)?;
    if let Some(reason) = &fresh {
        tracing::warn!(%reason, "the agent starts anew");
    }
    let patience = settings.grants_offline_seconds.map(Duration::from_secs);
    let book = Arc::new(Book::new(patience, &mark, grants));
    let timeout = Duration::from_secs(settings.fetch_timeout_seconds);
    let fetch = &settings.fetch;
    let tls =
        Tls::new(fetch.ca_file.as_deref(), fetch.cert_file.as_deref(), fetch.key_file.as_deref())
            .map_err(MeansError::Tls)?;
    let means = Means::new(fetch, &tls, timeout)?;
    // The server and its callback are the operator's own addresses, where rules are about others.
    let operators = settings.opal.data_sources_url.iter().chain([&settings.server]);
    let operators = means.reaching(means.reach.as_ref().clone().and(operators))?;
    let http = http::client_with(rustls::ClientConfig::clone(tls.trusting()), timeout)?;
    let SecretSettings { dir, command, rules } = &settings.secrets;
    if (dir.is_some() || !command.is_empty()) && !rules.are_for_all() {
        tracing::warn!(
            "whoever may publish can have a secret without a rule sent wherever a fetch may go; \
             say in secrets.\"*\".hosts where that is"
        );
    }
    let secrets = Secrets::new(dir.clone(), command, rules.clone());
    let mut fetchers = Fetchers::standard(&means).with_secrets(secrets.clone());
    for program in &settings.exec_fetchers {
        fetchers.add(Box::new(ExecFetcher::new(program.clone(), &means)));
    }
    for fetcher in own_fetchers(&means) {
        fetchers.add(fetcher);
    }
    let (inputs, received) = mpsc::unbounded_channel();
    let renewal =
        Renewal::new(&settings.server, http.clone(), settings.data_dir.as_deref(), &settings.token);
    let opal = Arc::new(OpalLink::new(
        opal_config(&settings),
        settings.opal.data_sources_url.clone(),
        HttpFetcher::new(operators.clone()),
    ));
    let target = link::Target {
        server: &settings.server,
        opal_socket: settings.opal.socket_url.as_ref(),
        scope: &settings.scope,
        protocol: settings.protocol,
    };
    let upstream = facts::Upstream::new(http.clone(), &settings.server, &settings.scope);
    let functions = plane::Functions::new(http.clone(), &settings.server, &settings.scope);
    let connecting =
        link::Connecting { http, tls: Arc::clone(tls.trusting()), book: Arc::clone(&book) };
    let link = Link::new(&target, renewal.token(), connecting, Arc::clone(&opal), inputs.clone())?;
    let callbacks = Arc::new(callbacks(
        &settings,
        HttpFetcher::new(operators),
        secrets.clone(),
        renewal.token(),
    ));
    let started = Instant::now();
    let (progress, progressed) = watch::channel(Progress::default());
    let (awaited_by, awaited) = mpsc::unbounded_channel();
    let waiting = Waiting::new(progressed, inputs.clone(), awaited_by, started);

    let local = listen("--listen", settings.listen).await?;
    let local_address = local.local_addr()?;
    let about = local_api::About::new(&settings);
    let facts = Facts::new(upstream, waiting.clone(), &settings.facts, &topics);
    let (teller, freshness) = freshness::channel();
    let (mut decision_log, mut log_ending) = (None, None);
    let engine: Arc<dyn Engine> = match settings.engine {
        EngineKind::Regorus => {
            let limit = Duration::from_secs(settings.decision_timeout_seconds);
            let memory = u64::try_from(settings.decision_memory_limit).unwrap_or(u64::MAX);
            rego::memory::limit(memory);
            let engine = Arc::new(RegorusEngine::within(settings.language, limit));
            let listener = listen("--decision-listen", settings.decision_listen).await?;
            let decisions = listener.local_addr()?;
            let log = DecisionLog::start(
                settings.decision_log.clone(),
                Arc::<RegorusEngine>::clone(&engine),
            )?;
            let (log, ending) = log.unzip();
            let parts = decisions::Parts {
                engine: Arc::clone(&engine),
                waiting: waiting.clone(),
                freshness: freshness.clone(),
                log: log.clone(),
                settings: settings.decisions.clone(),
            };
            (decision_log, log_ending) = (log, ending);
            let router = decisions::router(parts);
            serve(listener, router);
            tracing::info!(local = %local_address, %decisions, "listening");
            engine
        }
        EngineKind::Opa => {
            tracing::info!(local = %local_address, "listening");
            Arc::new(OpaEngine::new(settings.opa_url, settings.opa_token)?)
        }
    };
    tokio::spawn(freshness::keep_lag(Arc::clone(&engine), freshness));
    let audits = Arc::new(Audits::default());
    if let Some(address) = settings.data_plane_listen {
        let listener = listen("--data-plane-listen", address).await?;
        tracing::info!(data_plane = %listener.local_addr()?, "serving the data plane");
        let (book, audits) = (Arc::clone(&book), Arc::clone(&audits));
        let (engine, waiting) = (Arc::clone(&engine), waiting.clone());
        let plane = DataPlane { book, audits, engine, functions, waiting };
        serve(listener, plane::router(plane));
    }
    let planes = settings.data_plane_listen.map(|_| (Arc::clone(&book), audits));
    let config = Config {
        agent: settings.agent_name.clone(),
        topics,
        engine: engine.name(),
        probe_engine: settings.engine == EngineKind::Opa,
        seed: seed(),
    };
    let core = Core::new(config, Kept { mark, written, fresh, policies, last_good });
    let enforcement = Enforcement::new(Arc::clone(&engine), waiting.clone());
    let switch = Switch::new(Arc::clone(&opal), inputs.clone());
    let shell = Shell {
        engine,
        store: Arc::new(store),
        book,
        local_policies: local_policies.into(),
        policy_file,
        fetchers: Arc::new(fetchers),
        callbacks: Arc::clone(&callbacks),
        link,
        inputs,
        caught_up: None,
    };
    let (questions, asked) = mpsc::channel(16);
    let parts = local_api::Parts {
        questions,
        waiting,
        callbacks,
        switch,
        about,
        facts,
        planes,
        decision_log,
    };
    serve(local, local_api::router(parts, enforcement));
    let (tokens, renewed) = mpsc::channel(1);
    tokio::spawn(renewal.run(tokens, seed()));

    let channels = Channels { asked, renewed, progress, awaited, freshness: teller };
    let driver = Driver::new(core, shell, started, received, channels);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = tokio::select! {
        reason = driver.run() => Err(RunError::Refused(reason)),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if let Some(ending) = log_ending {
        ending.finish().await;
    }
    ended
}

/// The folders whose policies are wanted of the hub.
fn policy_dirs(settings: &Settings) -> &[String] {
    if settings.opal.policy_updates { &settings.opal.policy_dirs } else { &[] }
}

/// What is subscribed to at a hub of ours, which has policy in its log, and grants. An opal-server is asked
/// for policies by other means.
fn topics(settings: &Settings) -> Result<TopicSet, Problem> {
    let ours = match settings.protocol {
        Protocol::Opal => vec![],
        Protocol::Auto | Protocol::Girasol => {
            let grants = settings.data_plane_listen.map(|_| grants::subscription(&[]));
            let policies = commit::subscription(policy_dirs(settings));
            policies.into_iter().chain(grants.into_iter().flatten()).collect()
        }
    };
    TopicSet::new(settings.topics.iter().cloned().chain(ours))
}

/// The adapter's part of the settings.
fn opal_config(settings: &Settings) -> opal::Config {
    let wanted = &settings.opal;
    opal::Config {
        subscription: opal::Subscription {
            scope: settings.scope.clone(),
            topics: if wanted.data_updates { settings.topics.clone() } else { vec![] },
            policy_dirs: policy_dirs(settings).to_vec(),
        },
        ignored: Ignored::new(&wanted.policies_to_ignore),
        epoch: opal_link::channel(),
        server: settings.server.clone(),
        statistics: wanted.statistics.then(|| settings.agent_name.clone()),
        reports: wanted.reports,
        keep_alive: wanted.keep_alive_seconds.map(|seconds| seconds.saturating_mul(1_000)),
        seed: seed(),
    }
}

/// Who hears of updates, besides those that an update names.
fn callbacks(
    settings: &Settings,
    http: HttpFetcher,
    secrets: Secrets,
    token: &Secret,
) -> Callbacks {
    let wanted = &settings.opal;
    let server = link::beside(&settings.server, &["data", "callback_report"]).to_string();
    let server = wanted.default_callbacks.is_none().then_some(server);
    let callbacks = Callbacks::new(http, secrets, wanted.reports, server, token);
    let configured = wanted.default_callbacks.as_ref();
    let configured = configured.and_then(|text| settings::callbacks(text.expose()).ok());
    for (url, config) in configured.into_iter().flatten() {
        callbacks.register(Registered { key: None, url, config });
    }
    callbacks
}

/// What somebody may switch and trigger while the agent runs.
#[derive(Clone)]
pub(crate) struct Switch {
    opal: Arc<OpalLink>,
    inputs: mpsc::UnboundedSender<Input>,
    off: Arc<AtomicBool>,
}

impl Switch {
    fn new(opal: Arc<OpalLink>, inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self { opal, inputs, off: Arc::default() }
    }

    /// Has all policies loaded again.
    pub(crate) fn load_policies(&self) {
        self.opal.triggers().policies.notify_one();
    }

    /// Has the base sources loaded again.
    pub(crate) fn load_data(&self) {
        self.opal.triggers().data.notify_one();
    }

    /// True if the operator wants no connection to the server.
    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    /// Switches the connection on or off; false if it was so already.
    pub(crate) fn connect(&self, on: bool) -> bool {
        let changed = self.off.swap(!on, Ordering::Relaxed) == on;
        if changed {
            // The receiver lives as long as the process.
            let _ = self.inputs.send(Input::Connectivity(on));
        }
        changed
    }
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|reason| RunError::Listen { flag, address, reason })
}

/// Serves until the process ends.
fn serve(listener: TcpListener, router: axum::Router) {
    tokio::spawn(async move {
        // Who is connected is in the log of decisions.
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(error) = axum::serve(listener, service).await {
            tracing::error!(%error, "a listener ended");
        }
    });
}

/// Where jitter begins, so that those who lose one server do not come back in step. Without
/// randomness the clock must do.
pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        return now.map_or(0, |now| u64::from(now.subsec_nanos()));
    }
    u64::from_le_bytes(bytes)
}
