//! The loop that owns the core.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Millis, SaveMethod};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::link::Link;
use super::report;
use crate::core::queue::Ready;
use crate::core::status::Status;
use crate::core::{Core, Effect, Input};
use crate::engine::{Engine, EngineError, Write};
use crate::fetch::{FetchError, Fetchers};
use crate::policy::PolicyModule;

/// A question for the core's status, with where to answer.
pub(crate) type Question = oneshot::Sender<Status>;

/// What effects are carried out with.
pub(super) struct Shell {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) policies: Arc<[PolicyModule]>,
    pub(super) fetchers: Arc<Fetchers>,
    pub(super) link: Link,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
}

/// Runs the core: one input at a time, in the order of arrival.
pub(super) struct Driver {
    core: Core,
    shell: Shell,
    started: Instant,
    received: mpsc::UnboundedReceiver<Input>,
    asked: mpsc::Receiver<Question>,
}

impl Driver {
    pub(super) fn new(
        core: Core,
        shell: Shell,
        received: mpsc::UnboundedReceiver<Input>,
        asked: mpsc::Receiver<Question>,
    ) -> Self {
        Self { core, shell, started: Instant::now(), received, asked }
    }

    /// Runs until the core gives up; returns why.
    pub(super) async fn run(mut self) -> String {
        let mut input = Input::Start;
        loop {
            let now = self.now();
            for effect in self.core.step(now, input) {
                if let Effect::GiveUp(reason) = effect {
                    return reason;
                }
                self.shell.carry_out(effect);
            }
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
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect => self.link.connect(),
            Effect::Send(frame) => self.link.send(&frame),
            Effect::Disconnect => self.link.disconnect(),
            Effect::Fetch(job, source) => {
                let fetchers = Arc::clone(&self.fetchers);
                let fetch = async move { fetchers.fetch(&source).await };
                let broken = || Err(FetchError::new("the fetcher broke"));
                self.spawn(fetch, broken, move |result| Input::Fetched(job, result));
            }
            Effect::Write(ready) => {
                let engine = Arc::clone(&self.engine);
                let job = ready.job;
                let write = async move { engine.write(as_write(&ready)).await };
                let broken = || Err(EngineError::Rejected("the engine broke on it".to_owned()));
                self.spawn(write, broken, move |result| Input::Written(job, result));
            }
            Effect::PrepareEngine => {
                let (engine, policies) = (Arc::clone(&self.engine), Arc::clone(&self.policies));
                let prepare = async move { prepare(&*engine, &policies).await };
                let broken = || Err(EngineError::Rejected("the engine broke on them".to_owned()));
                self.spawn(prepare, broken, Input::Prepared);
            }
            Effect::ProbeEngine => {
                let engine = Arc::clone(&self.engine);
                let probe = async move { engine.probe().await };
                let broken = || Err(EngineError::Unavailable("the probe broke".to_owned()));
                self.spawn(probe, broken, Input::Probed);
            }
            Effect::Report(report) => report::log(&report),
            Effect::GiveUp(_) => {}
        }
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

async fn prepare(engine: &dyn Engine, policies: &[PolicyModule]) -> Result<(), EngineError> {
    engine.set_policies(policies).await?;
    engine.mark().await
}

fn as_write(ready: &Ready) -> Write<'_> {
    let (path, data) = (&ready.path, &*ready.data);
    match ready.save_method {
        SaveMethod::Put => Write::Put { path, data },
        SaveMethod::Patch => Write::Patch { path, operations: data },
    }
}
