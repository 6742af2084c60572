//! Publishers: each publishes one update after the other, and each again, with the same id, until
//! it has an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;
use testbed::{Answer, Reply, Source};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::findings::{Findings, Kind};
use crate::ledger::Ledger;
use crate::stage::{Stage, impatient_client};
use crate::workload::{Change, LISTS, Update, Workload, source_path};

/// Between two tries: the longest; the shortest is none.
const RETRY_AFTER_MS: u64 = 40;
/// One of so many updates is published twice at the same time, with the same id.
const TWICE_ONE_IN: u32 = 50;
/// One of so many is followed by an older one once more, as by a publisher that lost its memory.
const OLD_ONE_IN: u32 = 100;
/// One of so many is followed by another content under its id.
const FORGED_ONE_IN: u32 = 500;

/// All publishers.
pub(crate) struct Publishers {
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

/// One of them.
struct Publisher {
    door: Door,
    workload: Workload,
    random: fastrand::Rng,
    stop: Arc<AtomicBool>,
    source: Arc<std::sync::Mutex<Source>>,
    published: Vec<Update>,
}

/// How updates get to the hub and into the ledger.
#[derive(Clone)]
struct Door {
    http: reqwest::Client,
    url: String,
    token: String,
    ledger: Ledger,
    findings: Findings,
}

// === impl Publishers ===

impl Publishers {
    /// Begins every list, then publishes.
    pub(crate) async fn start(
        stage: &Stage,
        findings: &Findings,
        count: usize,
        random: &mut fastrand::Rng,
    ) -> Result<Self> {
        let ledger = Ledger::new(findings);
        let stop = Arc::new(AtomicBool::new(false));
        let door = Door {
            http: impatient_client()?,
            url: format!("{}/data/config", stage.publishers.url()),
            token: stage.token.clone(),
            ledger: ledger.clone(),
            findings: findings.clone(),
        };
        let source = stage.source.lock().unwrap().url("");
        let source = source.trim_end_matches('/').to_owned();
        let mut first = Workload::new(count, random.fork(), source.clone());
        door.publish(&first.begin(&(0..LISTS).collect::<Vec<_>>())).await?;
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let publisher = Publisher {
                door: door.clone(),
                workload: Workload::new(number, random.fork(), source.clone()),
                random: random.fork(),
                stop: Arc::clone(&stop),
                source: Arc::clone(&stage.source),
                published: vec![],
            };
            tasks.spawn(publisher.run());
        }
        Ok(Self { ledger, stop, tasks })
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Lets everybody get the answer to what they have published, and ends.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

// === impl Publisher ===

impl Publisher {
    async fn run(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let update = self.workload.next();
            for change in &update.changes {
                if let Change::Fetch { place, version } = change {
                    // The source has it before anybody is told to fetch it.
                    let reply = Reply::json(&json!({"n": version}));
                    self.source.lock().unwrap().reply_at(&source_path(*place), reply);
                }
            }
            if self.random.u32(..TWICE_ONE_IN) == 0 {
                let (one, other) =
                    tokio::join!(self.door.publish(&update), self.door.publish(&update));
                one.and(other)?;
            } else {
                self.door.publish(&update).await?;
            }
            if self.random.u32(..OLD_ONE_IN) == 0 {
                let old = self.random.choice(&self.published).unwrap_or(&update);
                self.door.publish(old).await?;
            }
            if self.random.u32(..FORGED_ONE_IN) == 0 {
                self.door.forge(&update).await?;
            }
            self.published.push(update);
        }
        Ok(())
    }
}

// === impl Door ===

impl Door {
    /// Publishes until there is an answer, and notes it.
    async fn publish(&self, update: &Update) -> Result<()> {
        loop {
            match self.try_once(&update.body).await {
                Ok(Answer { status: 200, body }) => {
                    let Some(seq) = body["seq"].as_u64() else {
                        bail!("update {} was answered without a number: {body}", update.id);
                    };
                    self.ledger.accept(update, seq);
                    return Ok(());
                }
                Ok(Answer { status: 400..500, body }) => {
                    bail!("update {} was refused: {body}", update.id)
                }
                // Nobody knows whether it was accepted.
                Ok(_) | Err(_) => wait_a_little().await,
            }
        }
    }

    /// Publishes another content under an id that is taken: it may have no effect.
    async fn forge(&self, update: &Update) -> Result<()> {
        let mut body = update.body.clone();
        body["reason"] = json!("forged");
        loop {
            match self.try_once(&body).await {
                Ok(Answer { status: 409, .. }) => return Ok(()),
                Ok(Answer { status: 200..500, body }) => {
                    let told = format!("other content under the id {} got {body}", update.id);
                    self.findings.add(Kind::Repeated, "hub", told);
                    return Ok(());
                }
                Ok(_) | Err(_) => wait_a_little().await,
            }
        }
    }

    async fn try_once(&self, body: &serde_json::Value) -> Result<Answer> {
        Answer::of(self.http.post(&self.url).bearer_auth(&self.token).json(body)).await
    }
}

/// The jitter needs no seed: when an answer is lost is not ours to repeat either.
async fn wait_a_little() {
    sleep(Duration::from_millis(fastrand::u64(..RETRY_AFTER_MS))).await;
}
