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
use crate::fetch::Fetchers;
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
            Effect::Fetch(job, source) => {
                let fetchers = Arc::clone(&self.fetchers);
                self.spawn(async move {
                    let result = fetchers.fetch(&source).await;
                    Input::Fetched(job, result.map_err(|error| error.to_string()))
                });
            }
            Effect::Write(ready) => {
                let engine = Arc::clone(&self.engine);
                self.spawn(async move {
                    let job = ready.job;
                    Input::Written(job, engine.write(as_write(&ready)).await)
                });
            }
            Effect::PrepareEngine => {
                let (engine, policies) = (Arc::clone(&self.engine), Arc::clone(&self.policies));
                self.spawn(async move { Input::Prepared(prepare(&*engine, &policies).await) });
            }
            Effect::ProbeEngine => {
                let engine = Arc::clone(&self.engine);
                self.spawn(async move { Input::Probed(engine.probe().await) });
            }
            Effect::Report(report) => report::log(&report),
            Effect::GiveUp(_) => {}
        }
    }

    fn spawn(&self, work: impl Future<Output = Input> + Send + 'static) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            // The receiver lives as long as the process.
            let _ = inputs.send(work.await);
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
