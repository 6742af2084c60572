//! What goes wrong, and when: drawn from the seed before anything starts.
//!
//! A fault is due when so many updates are accepted, so that it comes under load however fast the
//! machine is. Faults of different tracks overlap; those of one track cannot, like two deaths of
//! the same process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ledger::Ledger;
use crate::stage::Stage;

/// All faults of a run.
#[derive(Debug)]
pub(crate) struct Plan(Vec<Due>);

#[derive(Debug, Clone, Copy)]
struct Due {
    /// When so many updates are accepted.
    at: u64,
    /// And so much later, so that it falls anywhere in what is under way.
    after: Duration,
    fault: Fault,
    /// How long it lasts.
    lasts: Duration,
}

/// One thing that goes wrong. Numbers are those of the stage's subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillHub,
    KillAgent(usize),
    KillOpa(usize),
    StopAgent(usize),
    CutAgent(usize),
    FreezeLink(usize),
    HalfOpenLink(usize),
    CutPublishers,
    StopSource,
}

/// Who carries a fault out: one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Track {
    Hub,
    Agent(usize),
    Opa(usize),
    Link(usize),
    Publishers,
    Source,
}

/// The faults under way.
pub(crate) struct Faults {
    tracks: JoinSet<Result<()>>,
    count: Arc<Count>,
    due: u64,
}

#[derive(Default)]
struct Count {
    done: AtomicU64,
    kills: AtomicU64,
    by_name: std::sync::Mutex<BTreeMap<&'static str, u64>>,
}

/// What was done.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) kills: u64,
    pub(crate) by_name: BTreeMap<&'static str, u64>,
}

// === impl Plan ===

impl Plan {
    /// Draws so many kills over so many updates, and other faults in proportion.
    pub(crate) fn new(random: &mut fastrand::Rng, kills: u64, updates: u64, stage: &Stage) -> Self {
        let count = stage.subjects.len();
        let opas: Vec<usize> =
            (0..count).filter(|&number| stage.subjects[number].opa.is_some()).collect();
        let mut due = vec![];
        let mut draw =
            |times: u64, longest_ms: u64, pick: &mut dyn FnMut(&mut fastrand::Rng) -> Fault| {
                for _ in 0..times {
                    let fault = pick(random);
                    due.push(Due {
                        at: random.u64(updates / 50..=updates - updates / 50),
                        after: Duration::from_millis(random.u64(..50)),
                        fault,
                        lasts: Duration::from_millis(random.u64(..=longest_ms)),
                    });
                }
            };
        let of_opa = if opas.is_empty() { 0 } else { kills / 6 };
        let of_hub = kills / 2;
        let any = |random: &mut fastrand::Rng| random.usize(..count);
        draw(of_hub, 400, &mut |_| Fault::KillHub);
        draw(of_opa, 400, &mut |random| Fault::KillOpa(opas[random.usize(..opas.len())]));
        draw(kills - of_hub - of_opa, 400, &mut |random| Fault::KillAgent(any(random)));
        draw(kills / 4, 3_000, &mut |random| Fault::StopAgent(any(random)));
        draw(kills / 2, 0, &mut |random| Fault::CutAgent(any(random)));
        draw(kills / 5, 3_000, &mut |random| Fault::FreezeLink(any(random)));
        draw(kills / 20, 0, &mut |random| Fault::HalfOpenLink(any(random)));
        draw(kills / 5, 0, &mut |_| Fault::CutPublishers);
        draw(kills / 10, 2_000, &mut |_| Fault::StopSource);
        due.sort_by_key(|due| due.at);
        Self(due)
    }

    /// For people.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut text = String::new();
        for Due { at, after, fault, lasts } in &self.0 {
            writeln!(text, "{at} updates + {after:?}: {fault:?} for {lasts:?}")?;
        }
        Ok(std::fs::write(file, text)?)
    }

    /// Lets it happen.
    pub(crate) fn start(self, stage: &Stage, ledger: &Ledger) -> Faults {
        let due = self.0.len() as u64;
        let mut by_track: BTreeMap<Track, Vec<Due>> = BTreeMap::new();
        for due in self.0 {
            by_track.entry(due.fault.track()).or_default().push(due);
        }
        let count = Arc::new(Count::default());
        let mut tracks = JoinSet::new();
        for plan in by_track.into_values() {
            let (stage, ledger, count) = (stage.clone(), ledger.clone(), Arc::clone(&count));
            tracks.spawn(async move {
                for due in plan {
                    ledger.reach(due.at).await;
                    sleep(due.after).await;
                    let done = due.fault.happen(&stage, due.lasts).await;
                    done.with_context(|| format!("{:?}", due.fault))?;
                    count.add(due.fault);
                }
                Ok(())
            });
        }
        Faults { tracks, count, due }
    }
}

// === impl Fault ===

impl Fault {
    fn track(self) -> Track {
        match self {
            Self::KillHub => Track::Hub,
            Self::KillAgent(number) | Self::StopAgent(number) => Track::Agent(number),
            Self::KillOpa(number) => Track::Opa(number),
            Self::CutAgent(number) | Self::FreezeLink(number) | Self::HalfOpenLink(number) => {
                Track::Link(number)
            }
            Self::CutPublishers => Track::Publishers,
            Self::StopSource => Track::Source,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::KillHub => "kills of workerd",
            Self::KillAgent(_) => "kills of an agent",
            Self::KillOpa(_) => "kills of OPA",
            Self::StopAgent(_) => "agents stopped and continued",
            Self::CutAgent(_) => "agents' sockets cut",
            Self::FreezeLink(_) => "agents' sockets frozen",
            Self::HalfOpenLink(_) => "agents' sockets half open",
            Self::CutPublishers => "publishers' sockets cut",
            Self::StopSource => "source away",
        }
    }

    fn is_kill(self) -> bool {
        matches!(self, Self::KillHub | Self::KillAgent(_) | Self::KillOpa(_))
    }

    async fn happen(self, stage: &Stage, lasts: Duration) -> Result<()> {
        match self {
            Self::KillHub => {
                let mut functions = stage.functions.lock().await;
                functions.kill().await?;
                sleep(lasts).await;
                functions.restart().await?;
            }
            Self::KillAgent(number) => stage.subjects[number].crash(lasts).await?,
            Self::KillOpa(number) => {
                if let Some(opa) = &stage.subjects[number].opa {
                    let mut opa = opa.lock().await;
                    opa.kill().await?;
                    sleep(lasts).await;
                    opa.restart().await?;
                }
            }
            Self::StopAgent(number) => {
                let mut agent = stage.subjects[number].agent.lock().await;
                agent.freeze().await?;
                sleep(lasts).await;
                agent.thaw().await?;
            }
            Self::CutAgent(number) => stage.subjects[number].link.cut(),
            Self::FreezeLink(number) => {
                stage.subjects[number].link.freeze();
                sleep(lasts).await;
                stage.subjects[number].link.thaw();
            }
            Self::HalfOpenLink(number) => stage.subjects[number].link.half_open(),
            Self::CutPublishers => stage.publishers.cut(),
            Self::StopSource => {
                stage.source.lock().unwrap().stop();
                sleep(lasts).await;
                stage.source.lock().unwrap().restart()?;
            }
        }
        Ok(())
    }
}

// === impl Faults ===

impl Faults {
    /// True if all have happened, or one could not.
    pub(crate) fn are_over(&self) -> bool {
        self.count.done.load(Ordering::Relaxed) == self.due
    }

    pub(crate) fn kills(&self) -> u64 {
        self.count.kills.load(Ordering::Relaxed)
    }

    /// An error if one could not be made to happen, or its victim did not come back.
    pub(crate) fn check(&mut self) -> Result<()> {
        while let Some(ended) = self.tracks.try_join_next() {
            ended??;
        }
        Ok(())
    }

    pub(crate) fn done(&self) -> Done {
        let by_name = self.count.by_name.lock().unwrap().clone();
        Done { kills: self.kills(), by_name }
    }
}

// === impl Count ===

impl Count {
    fn add(&self, fault: Fault) {
        *self.by_name.lock().unwrap().entry(fault.name()).or_default() += 1;
        self.kills.fetch_add(u64::from(fault.is_kill()), Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}
