//! Watching what the engines show while everything goes wrong.
//!
//! An engine may be behind, never wrong: a list must be as it was after some accepted update, and
//! no list or counter may go back. What a list showed is compared with the ledger at the end, when
//! it is known what was accepted in which order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::findings::{Findings, Kind};
use crate::ledger::Segment;
use crate::stage::{Stage, Subject, impatient_client};
use crate::workload::{GROUPS, LISTS, topic_of};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One observer each engine.
pub(crate) struct Observers {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    tasks: Vec<(Arc<Subject>, JoinHandle<Seen>)>,
}

/// What an engine has shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Segments of each list in the order in which they were seen, each at its longest.
    pub(crate) lists: BTreeMap<usize, Vec<Segment>>,
    counters: HashMap<String, u64>,
}

struct Observer {
    subject: Arc<Subject>,
    findings: Findings,
    seen: Seen,
}

// === impl Observers ===

impl Observers {
    pub(crate) fn start(stage: &Stage, findings: &Findings) -> Self {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = stage.subjects.iter().map(|subject| {
            let observer = Observer {
                subject: Arc::clone(subject),
                findings: findings.clone(),
                seen: Seen::default(),
            };
            let task = tokio::spawn(observer.run(Arc::clone(&stop), Arc::clone(&looks)));
            (Arc::clone(subject), task)
        });
        let tasks = tasks.collect();
        Self { stop, looks, tasks }
    }

    /// How often an engine was looked at and answered.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Ends watching, and gives what each engine has shown.
    pub(crate) async fn finish(self) -> Result<Vec<(Arc<Subject>, Seen)>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = vec![];
        for (subject, task) in self.tasks {
            all.push((subject, task.await?));
        }
        Ok(all)
    }
}

// === impl Observer ===

impl Observer {
    async fn run(mut self, stop: Arc<AtomicBool>, looks: Arc<AtomicU64>) -> Seen {
        let http = impatient_client().unwrap();
        let lists: Vec<usize> = (0..LISTS).filter(|&it| self.subject.has(&topic_of(it))).collect();
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            // An agent that is down, or frozen, is not looked at.
            if self.subject.has("counters")
                && let Ok(counters) = self.subject.data(&http, "counters").await
            {
                self.look_at_counters(counters.as_ref());
                looks.fetch_add(1, Ordering::Relaxed);
            }
            let list = lists[turn % lists.len()];
            let path = format!("lists/{}/{list}", list % GROUPS);
            if let Ok(document) = self.subject.data(&http, &path).await {
                self.look_at_list(list, document.as_ref());
                looks.fetch_add(1, Ordering::Relaxed);
            }
            turn += 1;
            sleep(LOOK_EVERY).await;
        }
        self.seen
    }

    fn look_at_counters(&mut self, counters: Option<&Value>) {
        let name = self.subject.name;
        let Some(counters) = counters.and_then(Value::as_object) else {
            return self.blank("/counters", self.seen.counters.is_empty());
        };
        for (counter, value) in counters {
            let Some(value) = value["n"].as_u64() else {
                self.findings.add(Kind::Lost, name, format!("/counters/{counter} is {value}"));
                continue;
            };
            let last = self.seen.counters.entry(counter.clone()).or_default();
            if value < *last {
                let told = format!("/counters/{counter} went back from {last} to {value}");
                self.findings.add(Kind::Inverted, name, told);
            }
            *last = value;
        }
    }

    fn look_at_list(&mut self, list: usize, document: Option<&Value>) {
        let name = self.subject.name;
        let Some(document) = document else {
            return self.blank("a list", !self.seen.lists.contains_key(&list));
        };
        let Some(segment) = Segment::read(document) else {
            let told = format!("list {list} is {document}");
            return self.findings.add(Kind::Lost, name, told);
        };
        let known = self.seen.lists.entry(list).or_default();
        match known.iter_mut().rev().enumerate().find(|(_, it)| it.number == segment.number) {
            None => known.push(segment),
            Some((0, newest)) if segment.items.starts_with(&newest.items) => *newest = segment,
            Some((0, newest)) => {
                let (had, has) = (newest.items.len(), segment.items.len());
                let told = format!(
                    "list {list}, segment {}: after {had} items it shows {has}, which do not begin \
                     with them",
                    segment.number
                );
                self.findings.add(Kind::Inverted, name, told);
                *newest = segment;
            }
            Some((ago, _)) => {
                let told = format!(
                    "list {list} went back to segment {}, {ago} segments before",
                    segment.number
                );
                self.findings.add(Kind::Inverted, name, told);
            }
        }
    }

    /// An OPA that was killed is empty until its agent has filled it; nobody but OPA can change
    /// that. The embedded engine answers nothing before it has what it had.
    fn blank(&self, what: &str, never_seen: bool) {
        if !never_seen && self.subject.opa.is_none() {
            let told = format!("{what} is not there any more");
            self.findings.add(Kind::Blank, self.subject.name, told);
        }
    }
}

// === impl Segment ===

impl Segment {
    /// A list's document.
    pub(crate) fn read(document: &Value) -> Option<Self> {
        let items = document["items"].as_array()?.iter().map(Value::as_u64);
        Some(Self { number: document["segment"].as_u64()?, items: items.collect::<Option<_>>()? })
    }
}
