//! The end: everybody must have what was accepted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::faults::Done;
use crate::findings::{Findings, Kind};
use crate::ledger::{Expected, Ledger, Segment};
use crate::observers::{Observers, Seen};
use crate::stage::{Stage, Subject, impatient_client};
use crate::workload::{GROUPS, LISTS, topic_of};

/// An agent whose cursor does not move for so long will not arrive any more. Longer than it takes
/// an agent to find that its socket is dead (two pings of 20 s), and to try again.
const STUCK_AFTER: Duration = Duration::from_secs(100);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a run ended.
pub(crate) struct Verdict {
    seed: u64,
    updates: u64,
    looks: u64,
    done: Done,
    seconds: f64,
    caught_up_seconds: f64,
    digests: Digests,
    findings: Findings,
}

/// What comparing the digests came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digests {
    Equal,
    Different,
    /// The parts do not tell them.
    Unknown,
}

// === impl Verdict ===

impl Verdict {
    /// Waits until every agent has everything, and compares.
    pub(crate) async fn reach(
        seed: u64,
        stage: &Stage,
        ledger: &Ledger,
        observers: Observers,
        findings: &Findings,
        done: Done,
        began: Instant,
    ) -> Result<Self> {
        let waiting = Instant::now();
        let head = publish_end(stage).await?;
        for subject in &stage.subjects {
            wait_for(subject, head).await?;
        }
        let caught_up_seconds = waiting.elapsed().as_secs_f64();
        let looks = observers.looks();
        let seen = observers.finish().await?;

        let (last, gaps) = ledger.gaps();
        for gap in &gaps {
            findings.add(Kind::Lost, "hub", format!("no publisher was given the number {gap}"));
        }
        if last + 1 != head {
            let told = format!("the last update is {last}, the one after it {head}");
            findings.add(Kind::Lost, "hub", told);
        }
        compare_log(stage, ledger, findings).await?;
        let expected = ledger.expected();
        for (subject, seen) in &seen {
            check_seen(subject, seen, &expected, findings);
            check_end(subject, &expected, findings).await?;
        }
        let digests = compare_digests(stage, findings).await?;
        Ok(Self {
            seed,
            updates: ledger.accepted(),
            looks,
            done,
            seconds: began.elapsed().as_secs_f64(),
            caught_up_seconds,
            digests,
            findings: findings.clone(),
        })
    }

    /// True if no promise was broken.
    pub(crate) fn is_fine(&self) -> bool {
        self.findings.count() == 0
    }

    /// A table on standard error, a JSON line on standard output.
    pub(crate) fn print(&self) {
        let of = |kind| self.findings.count_of(kind);
        let digests = match self.digests {
            Digests::Equal => "equal",
            Digests::Different => "different",
            Digests::Unknown => "not told",
        };
        let mut rows = vec![
            ("updates accepted".to_owned(), self.updates.to_string()),
            ("kills".to_owned(), self.done.kills.to_string()),
        ];
        let by_name = self.done.by_name.iter();
        rows.extend(by_name.map(|(name, count)| (format!("  {name}"), count.to_string())));
        rows.extend([
            ("looks at engines".to_owned(), self.looks.to_string()),
            ("lost".to_owned(), of(Kind::Lost).to_string()),
            ("repeated".to_owned(), of(Kind::Repeated).to_string()),
            ("inverted".to_owned(), of(Kind::Inverted).to_string()),
            ("embedded engine went blank".to_owned(), of(Kind::Blank).to_string()),
            ("digests".to_owned(), digests.to_owned()),
            ("last update to all caught up".to_owned(), format!("{:.1} s", self.caught_up_seconds)),
            ("time".to_owned(), format!("{:.1} s", self.seconds)),
        ]);
        eprintln!("chaos, seed {}", self.seed);
        for (name, value) in rows {
            eprintln!("  {name:32}  {value:>10}");
        }
        let line = json!({
            "suite": "chaos", "seed": self.seed, "updates": self.updates, "kills": self.done.kills,
            "faults": self.done.by_name, "looks": self.looks, "lost": of(Kind::Lost),
            "repeated": of(Kind::Repeated), "inverted": of(Kind::Inverted),
            "blank": of(Kind::Blank), "digests": digests,
            "caught_up_seconds": (self.caught_up_seconds * 10.0).round() / 10.0,
            "seconds": (self.seconds * 10.0).round() / 10.0,
        });
        println!("{line}");
    }
}

/// Publishes one update for everybody; who has it has everything.
async fn publish_end(stage: &Stage) -> Result<u64> {
    let update = json!({"id": "the-end", "entries": [
        {"topics": ["done"], "dst_path": "/done", "data": {"done": true}},
    ]});
    stage.functions.lock().await.publish_ok(&stage.token, &update).await
}

async fn wait_for(subject: &Subject, head: u64) -> Result<()> {
    let http = impatient_client()?;
    let mut moved = (0, Instant::now());
    loop {
        let status = subject.status(&http).await;
        let cursor = status.as_ref().ok().and_then(|status| status["cursor"].as_u64()).unwrap_or(0);
        if cursor >= head {
            return Ok(());
        }
        if cursor != moved.0 {
            moved = (cursor, Instant::now());
        } else if moved.1.elapsed() > STUCK_AFTER {
            let status = status.map_or_else(|error| format!("{error:#}"), |it| format!("{it:#}"));
            bail!("{} is stuck at {cursor} of {head}: {status}", subject.name);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Compares what an engine has shown with what was accepted.
fn check_seen(subject: &Subject, seen: &Seen, expected: &Expected, findings: &Findings) {
    for (&list, shown) in &seen.lists {
        let segments = &expected.lists[list];
        let mut at = 0;
        for segment in shown {
            let Some(place) = segments.iter().position(|it| it.number == segment.number) else {
                let told =
                    format!("list {list} showed segment {}, which nobody began", segment.number);
                findings.add(Kind::Repeated, subject.name, told);
                continue;
            };
            if place < at {
                let told = format!("list {list} went back to segment {}", segment.number);
                findings.add(Kind::Inverted, subject.name, told);
            }
            at = at.max(place);
            let items = &segments[place].items;
            // It was looked at somewhere on its way.
            let so_far = items.get(..segment.items.len()).unwrap_or(items);
            tell_difference(subject.name, list, so_far, segment, findings, "on the way");
        }
    }
}

/// Compares what an engine has now with what was accepted.
async fn check_end(subject: &Subject, expected: &Expected, findings: &Findings) -> Result<()> {
    let http = testbed::http_client()?;
    let name = subject.name;
    let lists = subject.data(&http, "lists").await?.unwrap_or_default();
    for list in (0..LISTS).filter(|&list| subject.has(&topic_of(list))) {
        let document = &lists[(list % GROUPS).to_string()][list.to_string()];
        let wanted = expected.lists[list].last().context("lists begin first")?;
        let Some(segment) = Segment::read(document) else {
            findings.add(Kind::Lost, name, format!("list {list} is {document} at the end"));
            continue;
        };
        if segment.number == wanted.number {
            tell_difference(name, list, &wanted.items, &segment, findings, "at the end");
        } else {
            let told =
                format!("list {list} ends in segment {}, not in {}", segment.number, wanted.number);
            findings.add(Kind::Lost, name, told);
        }
    }
    for (topic, values) in [("counters", &expected.counters), ("fetched", &expected.fetched)] {
        if !subject.has(topic) {
            continue;
        }
        let document = subject.data(&http, topic).await?.unwrap_or_default();
        for (place, value) in values {
            let has = &document[place.to_string()]["n"];
            if has.as_u64() != Some(*value) {
                let told = format!("/{topic}/{place} ends as {has}, not as {value}");
                findings.add(Kind::Lost, name, told);
            }
        }
    }
    Ok(())
}

/// Finds out which items are missing, doubled or misplaced.
fn tell_difference(
    name: &str,
    list: usize,
    wanted: &[u64],
    segment: &Segment,
    findings: &Findings,
    when: &str,
) {
    if wanted == segment.items {
        return;
    }
    let told = |what: &str, item: u64| {
        format!("list {list}, segment {}, {when}: {what} {item}", segment.number)
    };
    let order: HashMap<u64, usize> =
        wanted.iter().enumerate().map(|(at, item)| (*item, at)).collect();
    let mut met = HashSet::new();
    let mut furthest = 0;
    for &item in &segment.items {
        if !met.insert(item) {
            findings.add(Kind::Repeated, name, told("twice", item));
            continue;
        }
        match order.get(&item) {
            None => findings.add(Kind::Inverted, name, told("not here, or not yet, belongs", item)),
            Some(&at) if at < furthest => {
                findings.add(Kind::Inverted, name, told("out of order:", item));
            }
            Some(&at) => furthest = at,
        }
    }
    for item in wanted.iter().filter(|item| !met.contains(item)) {
        findings.add(Kind::Lost, name, told("missing:", *item));
    }
}

/// Compares the numbers in the log with those that publishers were given, as far as the log still
/// has them. Nothing if the hub does not show its log.
async fn compare_log(stage: &Stage, ledger: &Ledger, findings: &Findings) -> Result<()> {
    let functions = stage.functions.lock().await;
    let mut after = 0;
    loop {
        let path = format!("/log?after={after}");
        let answer = functions.request(Method::GET, &path, Some(&stage.token), None).await?;
        if answer.status == 404 {
            return Ok(());
        }
        let page = answer.ok().context("reading the log")?;
        for update in page["updates"].as_array().context("a page has updates")? {
            let (id, seq) = (update["id"].as_str().unwrap_or_default(), update["seq"].as_u64());
            if id != "the-end" && ledger.seq_of(id) != seq {
                let told = format!("{id} is {seq:?} in the log, not {:?}", ledger.seq_of(id));
                findings.add(Kind::Lost, "hub", told);
            }
        }
        match page["next"].as_u64() {
            Some(next) if next > after => after = next,
            _ => return Ok(()),
        }
    }
}

/// Compares the hub's digest of each topic with the agents'.
async fn compare_digests(stage: &Stage, findings: &Findings) -> Result<Digests> {
    let http = impatient_client()?;
    let functions = stage.functions.lock().await;
    let mut outcome = Digests::Unknown;
    for subject in &stage.subjects {
        let path = format!("/log?after=0&topics={}", subject.topics.join(","));
        let answer = functions.request(Method::GET, &path, Some(&stage.token), None).await?;
        let status = subject.status(&http).await?;
        let (hub, agent) = (&answer.body["digests"], &status["digests"]);
        let (Value::Object(hub), Value::Object(agent)) = (hub, agent) else {
            continue;
        };
        for topic in subject.topics {
            let (hub, agent) = (hub.get(*topic), agent.get(*topic));
            if hub.is_none() || hub != agent {
                let told = format!("{topic}: the hub has {hub:?}, the agent {agent:?}");
                findings.add(Kind::Digest, subject.name, told);
                outcome = Digests::Different;
            } else if outcome == Digests::Unknown {
                outcome = Digests::Equal;
            }
        }
    }
    Ok(outcome)
}
