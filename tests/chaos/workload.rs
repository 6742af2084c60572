//! What is published, and what it does to the data.
//!
//! * `/lists/<group>/<list>` is `{"segment": n, "items": […]}`. A PUT begins a segment with no
//!   items, a PATCH appends one. Numbers are never used twice, so a list tells its history. Lists of
//!   the first two groups are begun once and only grow, so nothing wipes out what went wrong.
//! * `/counters/<publisher>` is `{"n": …}`, PUT with ever higher numbers.
//! * `/fetched/<publisher>` is fetched from the source, which answers `{"n": …}` likewise.

use std::ops::Range;

use serde_json::{Value, json};

/// Lists in all. List `k` is in group `k % GROUPS`.
pub(crate) const LISTS: usize = 64;
/// Each group has a topic and a parent path of its own.
pub(crate) const GROUPS: usize = 4;
/// Groups whose lists are begun anew now and then.
const SHORT_GROUPS: Range<usize> = 2..4;

/// One change to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A list begins anew, with a segment of this number.
    Begin { list: usize, segment: u64 },
    /// A list has one more item.
    Append { list: usize, item: u64 },
    /// A counter is set.
    Count { counter: usize, to: u64 },
    /// A document is fetched, of this version or a later one.
    Fetch { place: usize, version: u64 },
}

/// An update as it is published, again with the same id as long as its answer is lost.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) id: String,
    pub(crate) changes: Vec<Change>,
    pub(crate) body: Value,
}

/// One publisher's choices.
pub(crate) struct Workload {
    publisher: usize,
    random: fastrand::Rng,
    source: String,
    made: u64,
    fetches: u64,
}

/// The topic of a list.
pub(crate) fn topic_of(list: usize) -> String {
    format!("lists/{}", list % GROUPS)
}

// === impl Workload ===

impl Workload {
    pub(crate) fn new(publisher: usize, random: fastrand::Rng, source: String) -> Self {
        Self { publisher, random, source, made: 0, fetches: 0 }
    }

    /// What to publish next.
    pub(crate) fn next(&mut self) -> Update {
        match self.random.u32(..1_000) {
            0..100 => self.count(),
            100..130 => self.fetch(),
            130..150 => {
                let list = self.short_list();
                self.begin(&[list])
            }
            150..152 => {
                let group = self.random.usize(SHORT_GROUPS);
                self.begin_group(group)
            }
            152..230 => self.append(2),
            _ => self.append(1),
        }
    }

    /// Begins lists, each at its own path.
    pub(crate) fn begin(&mut self, lists: &[usize]) -> Update {
        let (mut changes, mut entries) = (vec![], vec![]);
        for &list in lists {
            let segment = self.number();
            changes.push(Change::Begin { list, segment });
            let data = json!({"segment": segment, "items": []});
            let (topic, path) = (topic_of(list), path_of(list));
            entries.push(json!({"topics": [topic], "dst_path": path, "data": data}));
        }
        self.update(changes, &entries)
    }

    /// Begins all lists of a group by one document above them.
    fn begin_group(&mut self, group: usize) -> Update {
        let mut changes = vec![];
        let mut data = serde_json::Map::new();
        for list in (0..LISTS).filter(|list| list % GROUPS == group) {
            let segment = self.number();
            changes.push(Change::Begin { list, segment });
            data.insert(list.to_string(), json!({"segment": segment, "items": []}));
        }
        let path = format!("/lists/{group}");
        let entry = json!({"topics": [topic_of(group)], "dst_path": path, "data": data});
        self.update(changes, &[entry])
    }

    fn append(&mut self, entries: usize) -> Update {
        let lists: Vec<usize> = (0..entries).map(|_| self.random.usize(..LISTS)).collect();
        let (mut changes, mut entries) = (vec![], vec![]);
        for list in lists {
            let item = self.number();
            changes.push(Change::Append { list, item });
            let operations = json!([{"op": "add", "path": "/items/-", "value": item}]);
            entries.push(json!({
                "topics": [topic_of(list)], "dst_path": path_of(list), "save_method": "PATCH",
                "data": operations,
            }));
        }
        self.update(changes, &entries)
    }

    fn count(&mut self) -> Update {
        let (counter, to) = (self.publisher, self.number());
        let path = format!("/counters/{counter}");
        let entry = json!({"topics": ["counters"], "dst_path": path, "data": {"n": to}});
        self.update(vec![Change::Count { counter, to }], &[entry])
    }

    fn fetch(&mut self) -> Update {
        self.fetches += 1;
        let (place, version) = (self.publisher, self.fetches);
        let (url, path) =
            (format!("{}{}", self.source, source_path(place)), format!("/fetched/{place}"));
        let entry = json!({"url": url, "topics": ["fetched"], "dst_path": path});
        self.update(vec![Change::Fetch { place, version }], &[entry])
    }

    fn update(&mut self, changes: Vec<Change>, entries: &[Value]) -> Update {
        let number = self.number();
        let id = format!("p{}-{number}", self.publisher);
        let body = json!({"id": id, "reason": "chaos", "entries": entries});
        Update { id, changes, body }
    }

    /// A number that nobody else uses, higher than this publisher's earlier ones.
    fn number(&mut self) -> u64 {
        self.made += 1;
        self.publisher as u64 * 100_000_000 + self.made
    }

    fn short_list(&mut self) -> usize {
        self.random.usize(..LISTS / GROUPS) * GROUPS + self.random.usize(SHORT_GROUPS)
    }
}

/// Where the source has a document.
pub(crate) fn source_path(place: usize) -> String {
    format!("/place/{place}")
}

fn path_of(list: usize) -> String {
    format!("/lists/{}/{list}", list % GROUPS)
}
