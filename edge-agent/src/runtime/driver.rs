//! The loop that owns the core.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Millis, SaveMethod, Seq};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::callbacks::Callbacks;
use super::freshness::Teller;
use super::link::Link;
use super::policy_file::PolicyFile;
use super::report;
use super::waiting::{Awaited, Awaiting};
use crate::core::status::{Progress, Status};
use crate::core::{Core, Effect, Input, Report, Restored, WriteError};
use crate::engine::{Engine, EngineError, Write};
use crate::fetch::{FetchError, Fetchers};
use crate::plane::Book;
use crate::policy::{self, PolicyModule};
use crate::settings::Secret;
use crate::store::{self, Mark, Record, Store, StoreError};

/// A question for the core's status, with where to answer.
pub(crate) type Question = oneshot::Sender<Status>;

/// What effects are carried out with.
pub(super) struct Shell {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) store: Arc<Store>,
    pub(super) book: Arc<Book>,
    /// Policies of a folder, which the hub's are added to.
    pub(super) local_policies: Arc<[PolicyModule]>,
    pub(super) policy_file: Option<PolicyFile>,
    pub(super) fetchers: Arc<Fetchers>,
    pub(super) callbacks: Arc<Callbacks>,
    pub(super) link: Link,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    /// Up to where a replay went whose updates have not all taken effect.
    pub(super) caught_up: Option<Seq>,
}

/// Runs the core: one input at a time, in the order of arrival.
pub(super) struct Driver {
    core: Core,
    shell: Shell,
    /// The core's clock begins here.
    started: Instant,
    received: mpsc::UnboundedReceiver<Input>,
    asked: mpsc::Receiver<Question>,
    renewed: mpsc::Receiver<Secret>,
    progress: watch::Sender<Progress>,
    awaited: mpsc::UnboundedReceiver<Awaited>,
    awaiting: Awaiting,
    freshness: Teller,
}

/// What comes to the driver besides inputs, and what it tells to others.
pub(super) struct Channels {
    pub(super) asked: mpsc::Receiver<Question>,
    pub(super) renewed: mpsc::Receiver<Secret>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) awaited: mpsc::UnboundedReceiver<Awaited>,
    pub(super) freshness: Teller,
}

impl Driver {
    pub(super) fn new(
        core: Core,
        shell: Shell,
        started: Instant,
        received: mpsc::UnboundedReceiver<Input>,
        channels: Channels,
    ) -> Self {
        let Channels { asked, renewed, progress, awaited, freshness } = channels;
        let awaiting = Awaiting::default();
        Self {
            core,
            shell,
            started,
            received,
            asked,
            renewed,
            progress,
            awaited,
            awaiting,
            freshness,
        }
    }

    /// Runs until the core gives up; returns why.
    pub(super) async fn run(mut self) -> String {
        let mut input = Input::Start;
        loop {
            let now = self.now();
            for effect in self.core.step(now, input) {
                match effect {
                    Effect::GiveUp(reason) => return reason,
                    // What is waited for is a number of another log.
                    Effect::BeginAgain(_) => self.awaiting.give_up("the hub's log began anew"),
                    _ => {}
                }
                self.shell.carry_out(effect);
            }
            let progress = self.core.progress();
            self.shell.book.owes(self.core.owes_grants());
            self.shell.settle(progress);
            self.freshness.tell(self.core.is_current(), self.core.policy_revision());
            self.progress.send_if_modified(|old| std::mem::replace(old, progress) != progress);
            self.awaiting.tell(|seq| self.core.receipt(seq));
            input = self.next_input().await;
        }
    }

    /// Waits for what happens next, answering questions meanwhile.
    async fn next_input(&mut self) -> Input {
        let tick = self.core.next_tick().map(|at| self.started + Duration::from_millis(at.0));
        loop {
            tokio::select! {
                Some(input) = self.received.recv() => return input,
                () = sleep_until(tick) => return Input::Tick,
                Some(token) = self.renewed.recv() => match self.shell.link.set_token(&token) {
                    Ok(()) => {
                        self.shell.callbacks.set_token(&token);
                        return Input::Renewed;
                    }
                    Err(error) => tracing::error!(%error, "the renewed token cannot be used"),
                },
                Some(awaited) = self.awaited.recv() => {
                    self.awaiting.add(awaited, |seq| self.core.receipt(seq));
                }
                Some(question) = self.asked.recv() => {
                    // Who asked may have gone away.
                    let _ = question.send(self.core.status(self.now()));
                }
            }
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

// === impl Shell ===

impl Shell {
    /// Tells the book of grants once all that was missed has taken effect.
    fn settle(&mut self, progress: Progress) {
        let is_there = |seq: &mut Seq| progress.at.is_some_and(|at| at >= *seq);
        if self.caught_up.take_if(is_there).is_some() {
            self.book.live();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect => {
                self.lost();
                self.link.connect();
            }
            Effect::Send(frame) => self.link.send(frame),
            Effect::Disconnect => self.link.disconnect(),
            Effect::Fetch(job, source) => {
                let fetchers = Arc::clone(&self.fetchers);
                let fetch = async move { fetchers.fetch(&source).await };
                let broken = || Err(FetchError::new("the fetcher broke"));
                self.spawn(fetch, broken, move |result| Input::Fetched(job, result));
            }
            Effect::Write(ready, mark) => {
                let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
                let (job, book, generation) = (ready.job, Arc::clone(&self.book), mark.generation);
                let write = async move {
                    let record = [ready.record];
                    record_all(&store, &record, mark).await?;
                    let [record] = &record;
                    if record.path.is_grant() {
                        // No engine is given it.
                        book.take(generation, &record.path, &record.data);
                        return Ok(());
                    }
                    Ok(engine.write(as_write(record)).await?)
                };
                let broken = || Err(EngineError::Unavailable("the write broke".to_owned()).into());
                self.spawn(write, broken, move |result| Input::Written(job, result));
            }
            Effect::Commit(commit, set, mark) => {
                let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
                let (job, local) = (commit.job, Arc::clone(&self.local_policies));
                let write = async move {
                    record_all(&store, &commit.records, mark).await?;
                    let documents = store::merged(&commit.records);
                    let documents = documents.map_err(EngineError::Rejected)?;
                    Ok(engine.commit(&policy::merge(&local, &set), &documents).await?)
                };
                let broken = || Err(EngineError::Unavailable("the commit broke".to_owned()).into());
                self.spawn(write, broken, move |result| Input::Written(job, result));
            }
            // These two not beside the loop: no later write may come before them.
            Effect::Discard(tags) => kept(self.store.discard(&tags)),
            Effect::BeginAgain(mark) => {
                // Where the last replay ended is a number of another log.
                self.caught_up = None;
                self.book.begin_again(mark.generation);
                kept(self.store.begin_again(&mark));
            }
            Effect::Save(mark) => {
                let store = Arc::clone(&self.store);
                tokio::task::spawn_blocking(move || kept(store.save(&mark)));
            }
            Effect::PrepareEngine(set) => {
                let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
                let policies = policy::merge(&self.local_policies, &set);
                let prepare = async move { prepare(&*engine, store, &policies).await };
                let broken = || Err(EngineError::Rejected("the engine broke on them".to_owned()));
                self.spawn(prepare, broken, Input::Prepared);
            }
            Effect::SetPolicies(set) => {
                let engine = Arc::clone(&self.engine);
                let modules = policy::merge(&self.local_policies, &set);
                let change = async move { engine.set_policies(&modules).await };
                let broken = || Err(EngineError::Rejected("the engine broke on them".to_owned()));
                self.spawn(change, broken, Input::PoliciesSet);
            }
            Effect::KeepPolicies(set) => {
                if let Some(file) = self.policy_file.clone() {
                    let set = set.clone();
                    tokio::task::spawn_blocking(move || file.keep(&set));
                }
                let callbacks = Arc::clone(&self.callbacks);
                tokio::spawn(async move { callbacks.tell_policy(set.revision.as_deref()).await });
            }
            Effect::ProbeEngine => {
                let engine = Arc::clone(&self.engine);
                let probe = async move { engine.probe().await };
                let broken = || Err(EngineError::Unavailable("the probe broke".to_owned()));
                self.spawn(probe, broken, Input::Probed);
            }
            Effect::Tell(report) => {
                let callbacks = Arc::clone(&self.callbacks);
                tokio::spawn(async move { callbacks.tell(report).await });
            }
            Effect::Report(report) => {
                match &report {
                    Report::Live(seq) => self.caught_up = Some(*seq),
                    Report::Disconnected(..) => self.lost(),
                    _ => {}
                }
                report::log(&report);
            }
            Effect::GiveUp(_) => {}
        }
    }

    /// What the hub says is no contact before the next replay is over.
    fn lost(&mut self) {
        self.caught_up = None;
        self.book.lost();
    }

    /// Runs `work` beside the loop and feeds its result back. Work that panics is a failure
    /// like another: a job without an end would hold up everything behind it.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        broken: impl FnOnce() -> T + Send + 'static,
        input: impl FnOnce(T) -> Input + Send + 'static,
    ) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let result = tokio::spawn(work).await.unwrap_or_else(|_| broken());
            // The receiver lives as long as the process.
            let _ = inputs.send(input(result));
        });
    }
}

/// What could not be kept is done again by the next start: the engine refuses a record once
/// more, and the hub replays what an older mark does not cover.
fn kept(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the state on disk lags behind");
    }
}

/// Records what is about to be written: durable when this returns.
async fn record_all(store: &Arc<Store>, records: &[Record], mark: Mark) -> Result<(), WriteError> {
    let (recorder, records) = (Arc::clone(store), records.to_vec());
    let recorded = tokio::task::spawn_blocking(move || recorder.append(&records, &mark));
    match recorded.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(WriteError::NotRecorded(error.to_string())),
        Err(_) => Err(WriteError::NotRecorded("the store broke on it".to_owned())),
    }
}

async fn prepare(
    engine: &dyn Engine,
    store: Arc<Store>,
    policies: &[PolicyModule],
) -> Result<Restored, EngineError> {
    let state = tokio::task::spawn_blocking(move || store.state());
    engine.set_policies(policies).await?;
    let state = match state.await {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => return Err(EngineError::Unavailable(error.to_string())),
        Err(_) => return Err(EngineError::Unavailable("the store broke".to_owned())),
    };
    let refused_places = engine.restore(&state.owned).await?;
    Ok(Restored { refused: state.refused, refused_places })
}

fn as_write(record: &Record) -> Write<'_> {
    let (path, data) = (&record.path, &record.data);
    match record.save_method {
        SaveMethod::Put => Write::Put { path, data },
        SaveMethod::Patch => Write::Patch { path, operations: data },
    }
}
