//! Behaviours: named statements that hold or do not, made by scenarios that share started parts.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;

use crate::support::Stage;

/// So many scenarios run at a time. Starting OPAL is a second or more of work for a processor.
const AT_ONCE: usize = 3;
/// A scenario that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(150);

/// All on one thread: they wait, and the parts work.
type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

/// What starts some parts and shows several behaviours on them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    run: fn(Arc<Stage>, Behaviours) -> Running,
}

/// Where a scenario tells what it showed.
#[derive(Debug, Clone)]
pub(crate) struct Behaviours {
    scenario: &'static str,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

/// A behaviour by its full name, `scenario/behaviour`, and why it does not hold if it does not.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) failed: Option<String>,
}

/// A row of the table of scenarios.
pub(crate) const fn scenario(
    name: &'static str,
    run: fn(Arc<Stage>, Behaviours) -> Running,
) -> Scenario {
    Scenario { name, run }
}

/// Runs the scenarios, some at a time, and gives what they showed. One that could not go on shows
/// that as a behaviour of its own, which never passes.
pub(crate) async fn run_all(stage: &Arc<Stage>, scenarios: &[&'static Scenario]) -> Vec<Outcome> {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let run = |scenario: &'static Scenario| {
        let behaviours = Behaviours { scenario: scenario.name, outcomes: Arc::clone(&outcomes) };
        let stage = Arc::clone(stage);
        async move {
            let began = Instant::now();
            let running = AssertUnwindSafe((scenario.run)(stage, behaviours.clone()));
            let ended = match timeout(PATIENCE, running.catch_unwind()).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(panic)) => Err(panicked(&*panic)),
                Err(_) => Err(anyhow!("it did not end in {PATIENCE:?}")),
            };
            if let Err(error) = ended {
                behaviours.tell("can be shown", Err(error), began);
            }
            eprintln!("     {} took {:.1} s", scenario.name, began.elapsed().as_secs_f64());
        }
    };
    futures::stream::iter(scenarios.iter().copied().map(run))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
    let outcomes = outcomes.lock().unwrap();
    outcomes.clone()
}

// === impl Scenario ===

impl Scenario {
    /// How the names of its behaviours begin.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/", self.name)
    }
}

// === impl Behaviours ===

impl Behaviours {
    /// Shows one behaviour. The scenario goes on if it does not hold; an assertion that fails in it
    /// is an error like others.
    pub(crate) async fn show(&self, name: &str, behaviour: impl Future<Output = Result<()>>) {
        let began = Instant::now();
        let held = AssertUnwindSafe(behaviour).catch_unwind().await;
        self.tell(name, held.unwrap_or_else(|panic| Err(panicked(&*panic))), began);
    }

    fn tell(&self, name: &str, held: Result<()>, began: Instant) {
        let name = format!("{}/{name}", self.scenario);
        let time = began.elapsed().as_secs_f64();
        let failed = held.err().map(|error| format!("{error:#}"));
        match &failed {
            None => eprintln!("ok   {name} ({time:.1} s)"),
            Some(why) => {
                eprintln!("FAIL {name} ({time:.1} s)\n     {}", why.replace('\n', "\n     "));
            }
        }
        self.outcomes.lock().unwrap().push(Outcome { name, failed });
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    anyhow!(text.unwrap_or_else(|| "it panicked".to_owned()))
}
