//! The parts, and the network between them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testbed::{Agent, Answer, Engine, Functions, Opa, Proxy, Source, free_port};
use tokio::sync::{Mutex, watch};

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any fault but a swallowed answer, which a publisher has to find by this.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Everything that runs.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) functions: Arc<Mutex<Functions>>,
    /// A token that may publish and read the log.
    pub(crate) token: String,
    /// The way from the publishers to the functions.
    pub(crate) publishers: Arc<Proxy>,
    pub(crate) subjects: Vec<Arc<Subject>>,
    pub(crate) source: Arc<std::sync::Mutex<Source>>,
}

/// An agent, its engine, and its way to the hub.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) topics: &'static [&'static str],
    pub(crate) agent: Mutex<Agent>,
    pub(crate) link: Proxy,
    pub(crate) opa: Option<Mutex<Opa>>,
    /// Where to ask; changes when the agent is restarted.
    addresses: watch::Sender<Addresses>,
}

/// Where an agent and its engine listen.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) local: String,
    pub(crate) decisions: String,
}

/// Who subscribes to what, and with which engine. One wants all of it, one a part, so that no two
/// of them have the same `prev`.
const SUBJECTS: [(&str, &[&str], bool); 4] = [
    ("embedded-all", &["lists", "counters", "fetched", "done"], false),
    ("embedded-part", &["lists/1", "lists/2", "counters", "done"], false),
    ("embedded-lists", &["lists", "done"], false),
    ("opa-all", &["lists", "counters", "fetched", "done"], true),
];

// === impl Stage ===

impl Stage {
    /// Starts everything, with what it stores and logs in `folder`.
    pub(crate) async fn start(folder: &Path, with_opa: bool) -> Result<Self> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let functions = Functions::builder()?
            .data_dir(folder.join("hub"))
            .port(free_port()?)
            .log_file(logs.join("workerd.log"))
            .start()
            .await?;
        let day = json!({"ttl": 86_400});
        let token = functions.mint("datasource", day.clone()).await?;
        let mut subjects = vec![];
        for (name, topics, wants_opa) in SUBJECTS {
            if wants_opa && !with_opa {
                continue;
            }
            let link = Proxy::start(functions.port()).await?;
            let opa = if wants_opa { Some(Opa::start().await?) } else { None };
            let engine =
                opa.as_ref().map_or(Engine::Regorus, |opa| Engine::Opa(opa.url().to_owned()));
            let data_dir = folder.join("agents").join(name);
            fs::create_dir_all(&data_dir)?;
            let agent = Agent::builder(link.url(), functions.mint("client", day.clone()).await?)
                .topics(topics.iter().copied())
                .engine(engine)
                .data_dir(data_dir)
                .arg("--agent-name")
                .arg(name)
                .log_file(logs.join(format!("{name}.log")))
                .start()
                .await?;
            agent.wait_live(PATIENCE).await.with_context(|| format!("starting {name}"))?;
            let addresses = watch::Sender::new(Addresses::of(&agent));
            let (agent, opa) = (Mutex::new(agent), opa.map(Mutex::new));
            subjects.push(Arc::new(Subject { name, topics, agent, link, opa, addresses }));
        }
        let publishers = Arc::new(Proxy::start(functions.port()).await?);
        let source = Source::start(&Value::Null)?;
        Ok(Self {
            functions: Arc::new(Mutex::new(functions)),
            token,
            publishers,
            subjects,
            source: Arc::new(std::sync::Mutex::new(source)),
        })
    }
}

// === impl Subject ===

impl Subject {
    /// Kills the agent and starts it again after `away`, on what it left in its folder.
    pub(crate) async fn crash(&self, away: Duration) -> Result<()> {
        let mut agent = self.agent.lock().await;
        agent.kill().await?;
        tokio::time::sleep(away).await;
        agent.restart().await.with_context(|| format!("restarting {}", self.name))?;
        self.addresses.send_replace(Addresses::of(&agent));
        Ok(())
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.borrow().clone()
    }

    /// True if the engine has everything of a topic.
    pub(crate) fn has(&self, topic: &str) -> bool {
        protocol_parents(topic).any(|parent| self.topics.contains(&parent))
    }

    /// The engine's document at `path`; `None` where there is none.
    pub(crate) async fn data(&self, http: &reqwest::Client, path: &str) -> Result<Option<Value>> {
        let url = format!("{}/v1/data/{path}", self.addresses().decisions);
        let answer = Answer::of(http.post(url).json(&json!({"input": {}}))).await?.ok()?;
        Ok(answer.get("result").cloned())
    }

    /// `GET /status` of the agent.
    pub(crate) async fn status(&self, http: &reqwest::Client) -> Result<Value> {
        Answer::of(http.get(format!("{}/status", self.addresses().local))).await?.ok()
    }
}

/// A topic and those above it.
fn protocol_parents(topic: &str) -> impl Iterator<Item = &str> {
    let ends = topic.match_indices('/').map(|(at, _)| at).chain([topic.len()]);
    ends.filter_map(|end| topic.get(..end))
}

impl Addresses {
    fn of(agent: &Agent) -> Self {
        Self { local: agent.local_url().to_owned(), decisions: agent.decision_url().to_owned() }
    }
}

/// A client that gives up soon enough to try again.
pub(crate) fn impatient_client() -> Result<reqwest::Client> {
    testbed::http_client_within(ANSWER_WITHIN)
}
