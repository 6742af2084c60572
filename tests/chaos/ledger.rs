//! What was accepted, and what an engine must have then.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::findings::{Findings, Kind};
use crate::workload::{Change, LISTS, Update};

/// Every accepted update, by number.
#[derive(Clone)]
pub(crate) struct Ledger {
    books: Arc<Mutex<Books>>,
    accepted: Arc<watch::Sender<u64>>,
    findings: Findings,
}

#[derive(Default)]
struct Books {
    by_seq: BTreeMap<u64, Update>,
    by_id: HashMap<String, u64>,
}

/// A list from one beginning to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) items: Vec<u64>,
}

/// What the accepted updates make, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The segments of each list, oldest first; the last is what it is now.
    pub(crate) lists: Vec<Vec<Segment>>,
    pub(crate) counters: BTreeMap<usize, u64>,
    pub(crate) fetched: BTreeMap<usize, u64>,
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn new(findings: &Findings) -> Self {
        Self {
            books: Arc::default(),
            accepted: Arc::new(watch::Sender::new(0)),
            findings: findings.clone(),
        }
    }

    /// Notes that the hub gave `seq` to an update; it must be the only number of the only update.
    pub(crate) fn accept(&self, update: &Update, seq: u64) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        match books.by_id.get(&update.id) {
            Some(&known) if known == seq => return,
            Some(known) => {
                let told = format!("update {} has the numbers {known} and {seq}", update.id);
                self.findings.add(Kind::Repeated, "hub", told);
                return;
            }
            None => {}
        }
        if let Some(other) = books.by_seq.get(&seq) {
            let told = format!("{} and {} both have the number {seq}", other.id, update.id);
            self.findings.add(Kind::Lost, "hub", told);
        }
        books.by_id.insert(update.id.clone(), seq);
        books.by_seq.insert(seq, update.clone());
        self.accepted.send_replace(books.by_id.len() as u64);
    }

    /// How many updates were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Waits until so many were accepted.
    pub(crate) async fn reach(&self, count: u64) {
        // The sender lives as long as we do.
        let _ = self.accepted.subscribe().wait_for(|accepted| *accepted >= count).await;
    }

    /// The number of an update.
    pub(crate) fn seq_of(&self, id: &str) -> Option<u64> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).copied()
    }

    /// The highest number, and those below it that no update has.
    pub(crate) fn gaps(&self) -> (u64, Vec<u64>) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let head = books.by_seq.last_key_value().map_or(0, |(seq, _)| *seq);
        (head, (1..=head).filter(|seq| !books.by_seq.contains_key(seq)).collect())
    }

    /// What all of it makes.
    pub(crate) fn expected(&self) -> Expected {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let mut expected = Expected {
            lists: vec![vec![]; LISTS],
            counters: BTreeMap::new(),
            fetched: BTreeMap::new(),
        };
        for change in books.by_seq.values().flat_map(|update| &update.changes) {
            match *change {
                Change::Begin { list, segment } => {
                    expected.lists[list].push(Segment { number: segment, items: vec![] });
                }
                Change::Append { list, item } => {
                    expected.lists[list].last_mut().expect("lists begin first").items.push(item);
                }
                Change::Count { counter, to } => {
                    expected.counters.insert(counter, to);
                }
                Change::Fetch { place, version } => {
                    expected.fetched.insert(place, version);
                }
            }
        }
        expected
    }
}
