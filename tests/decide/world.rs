//! The policy and the data that both decide by.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, AgentBuilder, Functions, Opa, Part, checkout};

use crate::ask::{self, Ask};

/// Nothing on loopback takes this long unless it is broken.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What a bundle of the same has as roots: the modules' packages, and where documents are.
const ROOTS: &[&str] = &[
    "apart",
    "app/api/v1",
    "base",
    "broken",
    "numbers",
    "roles",
    "rules",
    "sets",
    "system",
    "texts",
    "users",
    "words",
];

/// Functions, an agent that has all of policy and data from them, and an OPA that has it from a
/// bundle.
pub(crate) struct World {
    pub(crate) functions: Functions,
    pub(crate) agent: Agent,
    pub(crate) opa: Opa,
    /// A token that may publish.
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
    _bundle: TempDir,
}

/// True if the suite can run; without a part it is skipped, and with `CI=true` it fails.
pub(crate) fn can_run() -> bool {
    testbed::require(&[Part::Workerd, Part::WorkerConfig, Part::Agent, Part::Opa]).unwrap()
}

/// The folder of the policy.
pub(crate) fn policy() -> PathBuf {
    checkout().join("tests/decide/world")
}

/// The data, whole.
pub(crate) fn data() -> Value {
    serde_json::from_str(&fs::read_to_string(policy().join("data.json")).unwrap()).unwrap()
}

// === impl World ===

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|agent| agent).await
    }

    /// With changes to the agent.
    pub(crate) async fn start_with(plan: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Self {
        let functions = Functions::start().await.unwrap();
        let token = functions.mint("datasource", json!({})).await.unwrap();
        let listener = functions.mint("client", json!({})).await.unwrap();
        let agent = Agent::builder(functions.url(), listener).policy_dir(policy());
        let agent = plan(agent).start().await.unwrap();
        let seq = functions.publish_ok(&token, &update(&data())).await.unwrap();
        agent.wait_cursor(seq, SOON).await.unwrap();
        let (bundle, opa) = opa().await;
        Self { functions, agent, opa, token, http: ask::http(), _bundle: bundle }
    }

    /// What OPA and the agent say to the same request.
    pub(crate) async fn both(&self, ask: &Ask) -> (ask::Answer, ask::Answer) {
        let ours = ask.send(&self.http, self.agent.decision_url());
        tokio::join!(ask.send(&self.http, self.opa.url()), ours)
    }
}

/// An OPA that has all of policy and data from a bundle, which is in the folder.
pub(crate) async fn opa() -> (TempDir, Opa) {
    let bundle = bundle(&policy(), ROOTS);
    let opa = with_bundle(bundle.path()).await;
    (bundle, opa)
}

/// An update that puts every document of `data` to its place.
pub(crate) fn update(data: &Value) -> Value {
    let entry = |(name, value): (&String, &Value)| json!({"topics": ["policy_data"], "dst_path": format!("/{name}"), "data": value});
    json!({"entries": data.as_object().unwrap().iter().map(entry).collect::<Vec<_>>()})
}

/// An OPA that has the bundle in `folder`, under the name that an agent gives what is its own.
pub(crate) async fn with_bundle(folder: &Path) -> Opa {
    active(Opa::start_with(&from(folder)).await.unwrap()).await
}

/// The same, and it asks the policy about access.
pub(crate) async fn guarded(folder: &Path) -> Opa {
    active(Opa::start_guarded(&from(folder)).await.unwrap()).await
}

fn from(folder: &Path) -> Value {
    json!({"bundles": {"girasol": {"resource": format!("file://{}", folder.display())}}})
}

/// An OPA, when it has its bundle.
async fn active(opa: Opa) -> Opa {
    let (http, active) = (ask::http(), Ask::get("/health?bundles"));
    let deadline = Instant::now() + SOON;
    while active.send(&http, opa.url()).await.status != 200 {
        assert!(Instant::now() < deadline, "OPA does not take the bundle: {}", opa.logs());
        tokio::task::yield_now().await;
    }
    opa
}

/// The policy in a folder as a bundle.
pub(crate) fn bundle(policy: &Path, roots: &[&str]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("girasol-decide-").tempdir().unwrap();
    for file in fs::read_dir(policy).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let manifest = json!({"revision": "first", "roots": roots});
    fs::write(folder.path().join(".manifest"), manifest.to_string()).unwrap();
    folder
}
