//! Decision logs in OPA's format (`spec/opa-and-grants.md` §2.6): who asked what, and what was
//! decided.
//!
//! Whoever decides hands a [`Decision`] over and never waits: what the queue has no room for is
//! dropped and counted. One task takes decisions from there, asks the policy whether one is to be
//! dropped (`data.system.log.drop`) and what of it is to be masked (`data.system.log.mask`), and
//! gives the rest to the console, a file, and a service. What a policy fails to mask is not
//! logged, as in OPA.
//!
//! | question | file |
//! |---|---|
//! | What does a decision look like? | `event.rs` |
//! | What is dropped, what is masked? | `mask.rs` |
//! | How are decisions gathered for a service, and how many? | `chunks.rs` |
//! | How do they get there? | `upload.rs` |
//! | Which settings are there? | `settings/decisions.rs` |

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::http::HttpError;
use crate::settings::Secret;

mod chunks;
mod event;
mod mask;
#[cfg(test)]
mod tests;
mod upload;

use chunks::Chunks;
use event::Event;
pub(crate) use event::{Asked, Decision};
pub(crate) use mask::Rules;
use upload::Uploader;

/// Bytes of inputs and results that wait for the task.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Decisions that are worked on at one time.
const BATCH: usize = 256;
/// How long the last decisions may take to get out when the agent ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where decisions are logged; nowhere by default.
#[derive(Clone, Debug, Default)]
pub struct DecisionLogSettings {
    /// A line each on standard output.
    pub console: bool,
    /// A line each at the end of this file.
    pub file: Option<PathBuf>,
    /// To this service.
    pub service: Option<ServiceSettings>,
    /// Decisions that wait for their turn, at most.
    pub buffer_events: usize,
    /// Decisions of one second, at most; none for all.
    pub per_second: Option<u64>,
    /// What is said of this agent with each decision.
    pub labels: BTreeMap<String, String>,
}

/// A service that takes decisions.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Decisions are posted to `{url}/logs`.
    pub url: Url,
    /// What is shown to it.
    pub token: Option<Secret>,
    /// Bytes of one upload, compressed.
    pub chunk_bytes: usize,
    /// Bytes of uploads that wait, compressed.
    pub buffer_bytes: usize,
    /// Between two uploads at least this passes, and at most that.
    pub delay: (Duration, Duration),
}

/// What became of decisions, for `/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Given to every place that takes them.
    pub(crate) logged: u64,
    /// Dropped because a policy said so.
    pub(crate) dropped_by_policy: u64,
    /// Dropped because nobody could have said what of them is to be hidden.
    pub(crate) failed: u64,
    /// Dropped because there was no room, or were too many in a second.
    pub(crate) dropped: u64,
    /// Taken by the service.
    pub(crate) uploaded: u64,
}

/// Takes decisions; clones take them to the same log.
#[derive(Clone)]
pub(crate) struct DecisionLog {
    queue: mpsc::Sender<Decision>,
    shared: Arc<Shared>,
}

/// What those who decide, the task and `/status` share.
#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    logged: AtomicU64,
    dropped_by_policy: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    uploaded: AtomicU64,
}

/// Ends the log: what was taken gets out first, if that does not take long.
pub(crate) struct Ending {
    end: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// The task's own.
struct Sinks {
    rules: Arc<dyn Rules>,
    labels: Arc<BTreeMap<String, String>>,
    console: bool,
    file: Option<(PathBuf, bool)>,
    chunks: Option<Arc<Mutex<Chunks>>>,
    rate: Option<Rate>,
    shared: Arc<Shared>,
}

/// So many in a second.
struct Rate {
    most: u64,
    since: Instant,
    seen: u64,
}

impl DecisionLog {
    /// Starts the log; none if the settings want none. `rules` is asked what to drop and to mask.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(crate) fn start(
        settings: DecisionLogSettings,
        rules: Arc<dyn Rules>,
    ) -> Result<Option<(Self, Ending)>, HttpError> {
        let DecisionLogSettings { console, file, service, buffer_events, per_second, labels } =
            settings;
        if !console && file.is_none() && service.is_none() {
            return Ok(None);
        }
        let shared = Arc::new(Shared::default());
        let uploader = service.map(|it| Uploader::new(it, Arc::clone(&shared))).transpose()?;
        let sinks = Sinks {
            rules,
            labels: Arc::new(labels),
            console,
            file: file.map(|path| (path, false)),
            chunks: uploader.as_ref().map(Uploader::chunks),
            rate: per_second.map(|most| Rate { most, since: Instant::now(), seen: 0 }),
            shared: Arc::clone(&shared),
        };
        let (queue, decisions) = mpsc::channel(buffer_events.max(1));
        let (end, ending) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        tokio::spawn(async move {
            run(sinks, decisions, uploader, ending).await;
            // Nobody waits for it any more.
            let _ = done.send(());
        });
        Ok(Some((Self { queue, shared }, Ending { end, ended })))
    }

    /// Takes a decision, or drops it if there is no room.
    pub(crate) fn record(&self, decision: Decision) {
        let bytes = decision.bytes();
        let before = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= MAX_QUEUED_BYTES;
        if !fits || self.queue.try_send(decision).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of what was taken.
    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        Counts {
            logged: of(&shared.logged),
            dropped_by_policy: of(&shared.dropped_by_policy),
            failed: of(&shared.failed),
            dropped: of(&shared.dropped),
            uploaded: of(&shared.uploaded),
        }
    }
}

impl Ending {
    /// Waits until what was taken is out, for a moment at most.
    pub(crate) async fn finish(self) {
        // The task has ended already, which is as good.
        let _ = self.end.send(());
        let _ = tokio::time::timeout(LAST_WORDS, self.ended).await;
    }
}

async fn run(
    mut sinks: Sinks,
    mut decisions: mpsc::Receiver<Decision>,
    uploader: Option<Uploader>,
    mut ending: oneshot::Receiver<()>,
) {
    let (last, uploads) = uploader.map_or((None, None), |uploader| {
        let (end, ending) = oneshot::channel();
        (Some(end), Some(tokio::spawn(uploader.run(ending))))
    });
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            taken = decisions.recv_many(&mut batch, BATCH) => {
                if taken == 0 { break }
            }
            _ = &mut ending => decisions.close(),
        }
        let taken = std::mem::take(&mut batch);
        let worked = tokio::task::spawn_blocking(move || {
            sinks.take(&taken);
            sinks
        });
        // It panicked, which the panic hook has reported: nothing is left to log with.
        let Ok(back) = worked.await else { return };
        sinks = back;
    }
    drop(last);
    if let Some(uploads) = uploads {
        let _ = uploads.await;
    }
}

// === impl Sinks ===

impl Sinks {
    /// Gives decisions to every place that takes them.
    fn take(&mut self, decisions: &[Decision]) {
        let bytes: usize = decisions.iter().map(Decision::bytes).sum();
        let lines: Vec<String> =
            decisions.iter().filter_map(|decision| self.line(decision)).collect();
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if lines.is_empty() {
            return;
        }
        if self.console {
            let mut out = std::io::stdout().lock();
            // Nobody reads it: a log that nobody reads is no reason to stop deciding.
            let _ = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
        }
        self.write_file(&lines);
        if let Some(chunks) = &self.chunks {
            let mut chunks = chunks.lock().unwrap_or_else(PoisonError::into_inner);
            let dropped: u64 = lines.iter().map(|line| chunks.push(line.as_bytes())).sum();
            self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        let logged = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.shared.logged.fetch_add(logged, Ordering::Relaxed);
    }

    /// A decision as it is logged; none if it is not.
    fn line(&mut self, decision: &Decision) -> Option<String> {
        if self.rate.as_mut().is_some_and(|rate| !rate.has_room(Instant::now())) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let event = Event::new(decision, &self.labels);
        match mask::apply(&event, &*self.rules) {
            Ok(Some(line)) => Some(line),
            Ok(None) => {
                self.shared.dropped_by_policy.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(reason) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(decision = %decision.id, %reason, "a decision is not logged");
                None
            }
        }
    }

    /// Appends to the file, which is opened each time: whoever rotates it needs to tell nobody.
    fn write_file(&mut self, lines: &[String]) {
        let Some((path, has_failed)) = &mut self.file else { return };
        let mut text = lines.join("\n");
        text.push('\n');
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&*path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => *has_failed = false,
            // Said once until it works again.
            Err(error) if !std::mem::replace(has_failed, true) => {
                tracing::error!(path = %path.display(), %error, "decisions cannot be written");
            }
            Err(_) => {}
        }
    }
}

// === impl Rate ===

impl Rate {
    fn has_room(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.seen) = (now, 0);
        }
        self.seen += 1;
        self.seen <= self.most
    }
}
