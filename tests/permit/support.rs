//! What the files share.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, AgentBuilder, Functions, Part, Proxy, http_client};

/// Nothing on loopback takes this long unless it is broken.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// True if the test can run; without a part it is skipped, and with `CI=true` it fails.
pub(crate) fn can_run(parts: &[Part]) -> bool {
    let needed = [&[Part::Workerd, Part::WorkerConfig, Part::Agent], parts].concat();
    testbed::require(&needed).unwrap()
}

/// Functions with an agent behind a proxy that can hold back what they push.
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    pub(crate) proxy: Proxy,
    pub(crate) functions: Functions,
    /// What the application shows.
    pub(crate) token: String,
}

/// An answer of an agent.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// What became of the write at the agent.
    pub(crate) became: Option<String>,
    pub(crate) seq: Option<u64>,
    pub(crate) id: Option<String>,
    pub(crate) took: Duration,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|agent| agent).await
    }

    /// With an agent that is changed a little.
    pub(crate) async fn with(change: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Self {
        let functions = Functions::start().await.unwrap();
        let token = functions.mint("datasource", json!({})).await.unwrap();
        let proxy = Proxy::start(functions.port()).await.unwrap();
        let agent = change(builder(&functions, &proxy.url()).await).start().await.unwrap();
        agent.wait_live(SOON).await.unwrap();
        Self { agent, proxy, functions, token }
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Told {
        ask(&self.agent, &self.token, (method, path), headers, body).await
    }

    /// Writes a user.
    pub(crate) async fn put(&self, key: &str, headers: &[(&str, &str)]) -> Told {
        self.ask("PUT", &format!("/facts/users/{key}"), headers, &json!({})).await
    }

    /// What the agent's engine has at a path.
    pub(crate) async fn data(&self, path: &str) -> Value {
        data(&self.agent, path).await
    }

    /// How many answers the agent holds.
    pub(crate) async fn waiters(&self) -> u64 {
        self.agent.status().await.unwrap()["fact_waiters"].as_u64().unwrap()
    }
}

/// An agent that gets facts.
pub(crate) async fn builder(functions: &Functions, server: &str) -> AgentBuilder {
    let token = functions.mint("client", json!({})).await.unwrap();
    Agent::builder(server, token).topics(["policy_data"])
}

pub(crate) async fn data(agent: &Agent, path: &str) -> Value {
    agent.decide(path, &json!({})).await.unwrap()["result"].clone()
}

/// Asks an agent's own API.
pub(crate) async fn ask(
    agent: &Agent,
    token: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &Value,
) -> Told {
    let (client, began) = (http_client().unwrap(), Instant::now());
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = client.request(method, format!("{}{path}", agent.local_url()));
    // In lower case, as the SDK 2 has it.
    request = request.header("authorization", format!("bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let header = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
    let became = header("x-permit-update-status");
    let seq = header("x-girasol-seq").map(|seq| seq.parse().unwrap());
    let (id, status) = (header("x-permit-update-id"), answer.status().as_u16());
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Told { status, body, became, seq, id, took: began.elapsed() }
}
