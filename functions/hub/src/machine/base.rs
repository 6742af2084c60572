//! Base sources in the log, for agents that follow it.
//!
//! Clients of the OPAL dialect list the base sources when they connect (`GET /data/config`), and
//! ask the periodic ones again by themselves (`spec/opal-protocol.md` §5.4). Agents have the log:
//! each source is an update there, appended when the sources are set, and once more whenever its
//! interval has passed. So order, replay and compaction hold for it as for every other update. It
//! is left out of what clients of the OPAL dialect are told, for they have it already.
//!
//! Sources of the settings have nobody who sets them: they are compared with what was appended
//! last whenever an agent connects. Nothing is appended at a periodic source's turn while no agent
//! is there; the next one that connects finds it done.
//!
//! Storage may refuse in the middle. So the numbers that are about to be used are noted first, and
//! what is at them, if it is ours and not of any source, is dropped with the next append. What is
//! in the log of a source that is no longer set, or that was appended again, is dropped as well:
//! its address may lead nowhere now, and an agent without data would ask it forever.

use std::collections::BTreeSet;

use protocol::internal::{SCOPE_DOCUMENT, SOURCES_DOCUMENT};
use protocol::opal::data::{Source, SourceList, Sources};
use protocol::{DEFAULT_SCOPE, Entry, Millis, Problem, Seq, Update};
use serde::{Deserialize, Serialize};

use super::policy::{get, put};
use super::publishing::Batch;
use super::{Effect, Machine};
use crate::compaction::Position;
use crate::log::{Fingerprint, Log};

/// What the log has of them.
const APPENDED: &str = "base/appended";
/// Milliseconds between two turns of a source, at least.
const LEAST_INTERVAL: u64 = 1_000;

/// When the first periodic source has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nobody has looked since the hub woke up.
    Unknown,
    Never,
    At(Millis),
}

/// What the log has of the base sources.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Appended {
    /// Tells these sources from others; empty for none.
    print: String,
    sources: Vec<Turn>,
    /// Numbers that may have an update of a source that is none any more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    stale: BTreeSet<Seq>,
}

/// The last turn of a source.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Turn {
    seq: Seq,
    at: Millis,
    /// Milliseconds to the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    /// What the source says: one that says the same later is the same one.
    #[serde(default)]
    print: String,
    /// A later update has taken its place in the log. It does not come back when retention passes
    /// its number.
    #[serde(default)]
    covered: bool,
}

/// True if an update with this id is a base source.
pub(super) fn is_source(id: &str) -> bool {
    id.starts_with(Update::SOURCE_ID)
}

/// True if what the hub keeps under this name says what the base sources are.
pub(super) fn is_about(name: &str) -> bool {
    matches!(name, SOURCES_DOCUMENT | SCOPE_DOCUMENT)
}

impl Turn {
    fn next(&self) -> Option<Millis> {
        self.every.map(|every| self.at.plus(every))
    }
}

impl Appended {
    fn read(log: &dyn Log) -> Result<Self, Problem> {
        Ok(get(log, APPENDED)?.unwrap_or_default())
    }

    fn due(&self) -> Due {
        self.sources.iter().filter_map(Turn::next).min().map_or(Due::Never, Due::At)
    }

    /// Which of them are to be appended: those that are not there yet, those that retention gave
    /// up, and those whose turn it is.
    fn wanted(&self, now: Millis, log: &dyn Log) -> Vec<usize> {
        let floor = log.floor();
        let is_wanted = |turn: &Turn| {
            turn.seq == Seq::ZERO
                || turn.seq <= floor && !turn.covered
                || turn.next().is_some_and(|next| next <= now)
        };
        let all = self.sources.iter().enumerate();
        all.filter(|(_, turn)| is_wanted(turn)).map(|(at, _)| at).collect()
    }

    /// The same for these sources: those that were there before stay what they are.
    fn following(mut self, sources: &[(Entry, Option<u64>)], now: Millis) -> Self {
        let mut before = std::mem::take(&mut self.sources);
        for source in sources {
            let print = print(std::slice::from_ref(source));
            let known = before.iter().position(|turn| turn.print == print);
            self.sources.push(match known {
                Some(at) => before.swap_remove(at),
                None => Turn { seq: Seq::ZERO, at: now, every: source.1, print, covered: false },
            });
        }
        self.stale.extend(before.iter().map(|turn| turn.seq));
        self
    }
}

impl Machine {
    /// When the machine is to be called for a periodic source.
    pub(super) fn next_base(&self) -> Option<Millis> {
        match self.base {
            Due::At(at) if self.sockets.has_agents() => Some(at),
            _ => None,
        }
    }

    /// Looks up when a periodic source has its turn, once after the hub woke up: the alarm may be
    /// set for something later otherwise.
    pub(super) fn know_base(&mut self, log: &dyn Log) {
        if self.base == Due::Unknown
            && let Ok(appended) = Appended::read(log)
        {
            self.base = appended.due();
        }
    }

    /// Appends what has changed and whose turn it is, if an agent is there.
    pub(super) fn adopt_base(&mut self, now: Millis, log: &mut dyn Log) -> Vec<Effect> {
        if !self.sockets.has_agents() {
            return vec![];
        }
        let mut batch = Batch::default();
        // What storage does not do now is tried again, not at once.
        let _ = self.renew_base(now, &mut batch, log);
        self.finish(now, batch, log)
    }

    /// Appends what has changed and whose turn it is.
    pub(super) fn renew_base(
        &mut self,
        now: Millis,
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<(), Problem> {
        let renewed = self.renewed_base(now, batch, log);
        self.base = match &renewed {
            Ok(appended) => appended.due(),
            Err(_) => Due::At(now.plus(LEAST_INTERVAL)),
        };
        renewed.map(drop)
    }

    fn renewed_base(
        &self,
        now: Millis,
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<Appended, Problem> {
        let sources = self.base_sources(log)?;
        let appended = Appended::read(log)?;
        let print = print(&sources);
        let is_changed = appended.print != print;
        let mut next = appended.clone();
        if is_changed {
            next = next.following(&sources, now);
        }
        let floor = log.floor();
        let mut is_covered = false;
        for turn in &mut next.sources {
            if turn.seq > floor && !turn.covered && !is_ours(log, turn.seq) {
                turn.covered = true;
                is_covered = true;
            }
        }
        let wanted = next.wanted(now, log);
        next.print = print;
        if is_changed || is_covered || !wanted.is_empty() || !next.stale.is_empty() {
            let first = log.head().next().0;
            next.stale.extend((first..).take(wanted.len()).map(Seq));
            // Until all are there, they are others than those that were set.
            let unfinished = Appended { stale: next.stale.clone(), ..appended };
            put(log, APPENDED, &unfinished)?;
            for at in wanted {
                if let (Some(turn), Some((entry, _))) = (next.sources.get_mut(at), sources.get(at))
                {
                    let is_turn = turn.seq > floor || turn.covered;
                    let reason = if is_turn { "periodic update" } else { "base sources" };
                    next.stale.insert(turn.seq);
                    turn.seq = append(now, entry, reason, batch, log)?;
                    turn.at = now;
                    turn.covered = false;
                }
            }
            drop_stale(&mut next, log);
            put(log, APPENDED, &next)?;
        }
        Ok(next)
    }

    /// The base sources as they are set, each with milliseconds between its turns. One that could
    /// not be an update is none: an earlier version may have let it in.
    fn base_sources(&self, log: &dyn Log) -> Result<Vec<(Entry, Option<u64>)>, Problem> {
        #[derive(Deserialize)]
        struct Scope {
            #[serde(default)]
            data: SourceList,
        }
        let list = if self.scope == DEFAULT_SCOPE {
            let kept: Option<Sources> = get(log, SOURCES_DOCUMENT)?;
            kept.or_else(|| self.default_sources.clone()).and_then(|sources| sources.config)
        } else {
            get::<Scope>(log, SCOPE_DOCUMENT)?.map(|scope| scope.data)
        };
        let sources = list.unwrap_or_default().entries;
        let sources = sources.into_iter().filter(|source| source.check().is_ok());
        Ok(sources.map(|source| (source.entry(&self.scope), interval(&source))).collect())
    }
}

fn interval(source: &Source) -> Option<u64> {
    let seconds = source.periodic_update_interval?;
    let every = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    Some(u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(LEAST_INTERVAL))
}

fn print(sources: &[(Entry, Option<u64>)]) -> String {
    if sources.is_empty() {
        return String::new();
    }
    // Strings, numbers and verbatim JSON: nothing in it can fail to encode.
    let text = serde_json::to_string(sources).unwrap_or_default();
    Fingerprint::of(&text).0
}

fn append(
    now: Millis,
    entry: &Entry,
    reason: &str,
    batch: &mut Batch,
    log: &mut dyn Log,
) -> Result<Seq, Problem> {
    // No other update ever has this id.
    let id = format!("{}{}", Update::SOURCE_ID, log.head().next());
    let entries = vec![entry.clone()];
    let update = Update { id: Some(id), reason: Some(reason.to_owned()), entries, callback: None };
    batch.append(now, update, log)
}

/// Drops what is in the log of sources that are none any more. What storage does not do now is the
/// next turn's.
fn drop_stale(appended: &mut Appended, log: &mut dyn Log) {
    let current: BTreeSet<Seq> = appended.sources.iter().map(|turn| turn.seq).collect();
    appended.stale.retain(|seq| *seq > Seq::ZERO && !current.contains(seq));
    let ours = appended.stale.iter().filter(|seq| is_ours(log, **seq));
    let ours: BTreeSet<Position> = ours.map(|seq| (*seq, 0)).collect();
    if ours.is_empty() || log.drop_entries(&ours).is_ok() {
        appended.stale.clear();
    }
}

/// True if the update with this number is in the log and is a base source.
fn is_ours(log: &dyn Log, seq: Seq) -> bool {
    let found = log.record(seq).ok().flatten();
    found.is_some_and(|record| is_source(&record.id))
}
