//! Policy from git: a repository of a thousand policies, a commit that changes one of them, and how
//! soon it decides. The real opal-server follows the same repository in the same run.
//!
//! | figure | file |
//! |---|---|
//! | bytes from git for a commit; webhook → decided by it, with each engine | `commits.rs` |
//! | all policies to a new agent | `sync.rs` |
//! | webhook → bundle served, beside an opal-server | `served.rs` |
//! | memory of workerd while it fetches a large pack | `pack.rs` |
//! | what the git code adds to the Worker | `weight.rs` |

mod commits;
mod pack;
mod served;
mod sync;
mod weight;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Answer, Functions, GitServer, Opa, Repository, http_client};
use tokio::time::sleep;

use super::report::Report;

const POLICIES: usize = 1_000;
/// So many where an agent gives them to an OPA one by one: OPA compiles all it has for each that it
/// is given, so a thousand take it minutes.
const FEW: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
/// What it adds to a figure at most. Without it whoever asks has a core for itself.
const PAUSE: Duration = Duration::from_millis(2);

/// `commits` of each kind are measured.
pub(crate) async fn measure(report: &mut Report, commits: u64) -> Result<()> {
    let mut stage = Stage::start(POLICIES).await?;
    sync::measure(report, &stage).await?;
    commits::measure(report, &mut stage, commits).await?;
    served::measure(report, &mut stage, commits).await?;
    drop(stage);
    pack::measure(report).await?;
    weight::measure(report).await
}

/// Functions that follow a repository of policies.
struct Stage {
    policies: usize,
    functions: Functions,
    repository: Repository,
    git: GitServer,
    /// The repository's address.
    url: String,
    /// A token that may publish.
    ds: String,
    /// How many commits there were.
    commits: usize,
}

/// A commit of one policy.
struct Commit {
    hash: String,
    /// The decision that it changes.
    path: String,
    /// What it is decided then.
    value: Value,
}

impl Stage {
    async fn start(policies: usize) -> Result<Self> {
        let texts: Vec<_> = (0..policies).map(|number| policy(number, 0)).collect();
        let files: Vec<_> = texts.iter().map(|(path, text)| (&**path, &**text)).collect();
        let repository = Repository::with(&files).await?;
        let git = GitServer::start()?;
        let url = git.serve("policy", &repository);
        let functions = Functions::builder()?.var("GIRASOL_POLICY_REPO_URL", &url).start().await?;
        let ds = functions.mint("datasource", json!({})).await?;
        let stage = Self { policies, functions, repository, git, url, ds, commits: 0 };
        refresh(&stage.functions, &stage.ds).await?;
        Ok(stage)
    }

    /// Commits a change of one policy, each time of another.
    async fn commit(&mut self) -> Result<Commit> {
        self.commits += 1;
        let number = self.commits * 37 % self.policies;
        let (path, text) = policy(number, self.commits);
        let hash = self.repository.change(&[(&path, &text)]).await?;
        Ok(Commit { hash, path: decision(number), value: json!(self.commits) })
    }

    /// A new agent with an empty disk.
    async fn agent(&self, engine: testbed::Engine) -> Result<Decider> {
        let token = self.functions.mint("client", json!({})).await?;
        let agent = Agent::builder(self.functions.url(), token).engine(engine).start().await?;
        Ok(Decider::Agent(Box::new(agent)))
    }

    /// An OPA that follows the functions' bundle by itself.
    async fn opa(&self) -> Result<Decider> {
        let token = self.functions.mint("client", json!({})).await?;
        let service =
            json!({"url": self.functions.url(), "credentials": {"bearer": {"token": token}}});
        let bundle = json!({"service": "girasol", "resource": "bundles/main",
            "polling": {"long_polling_timeout_seconds": 30}});
        let config = json!({"services": {"girasol": service}, "bundles": {"main": bundle}});
        Opa::start_with(&config).await.map(Box::new).map(Decider::Opa)
    }

    /// Waits until somebody decides by the policy that comes last by its path.
    async fn until_all_are_at(&self, decider: &Decider, since: Instant) -> Result<Duration> {
        let last = (0..self.policies).max_by_key(|number| policy(*number, 0).0).unwrap_or_default();
        // No commit has changed it, or one has: it is there.
        until(since, async || decider.decides(&decision(last)).await.map(|it| it.is_some())).await
    }

    /// Tells somebody that the repository has a new commit, as GitHub does.
    async fn hook(&self, server: &str) -> Result<()> {
        let body = json!({"ref": "refs/heads/master", "repository": {"clone_url": self.url}});
        let request = http_client()?.post(format!("{server}/webhook")).json(&body);
        let answer = Answer::of(request.header("X-GitHub-Event", "push")).await?.ok()?;
        if answer.get("status") != Some(&json!("ok")) {
            bail!("POST /webhook of {server} was answered {answer}");
        }
        Ok(())
    }
}

async fn refresh(functions: &Functions, ds: &str) -> Result<()> {
    let answer = functions.request(Method::POST, "/policy/refresh", Some(ds), None).await?;
    answer.ok().map(drop).context("looking at the repository")
}

/// A policy of about a kilobyte, and where it is: fifty in a folder.
fn policy(number: usize, value: usize) -> (String, String) {
    let rules: String = (0..8)
        .map(|rule| {
            format!(
                "allow if {{\n\tinput.user.team == \"team-{number}\"\n\tinput.action == \
                 \"action-{rule}\"\n\tinput.resource.level < {rule}\n}}\n\n"
            )
        })
        .collect();
    let text =
        format!("package bench.p{number}\n\nvalue := {value}\n\ndefault allow := false\n\n{rules}");
    (format!("team{}/p{number}.rego", number / 50), text)
}

fn decision(number: usize) -> String {
    format!("bench/p{number}/value")
}

/// Who decides by the policies.
enum Decider {
    Agent(Box<Agent>),
    Opa(Box<Opa>),
}

impl Decider {
    /// What is decided at this path, if there is a policy.
    async fn decides(&self, path: &str) -> Result<Option<Value>> {
        let nobody = json!({});
        let decided = match self {
            Self::Agent(agent) => agent.decide(path, &nobody).await?,
            Self::Opa(opa) => opa.decide(path, &nobody).await?,
        };
        Ok(decided.get("result").cloned())
    }
}

/// From `since` to the first decision of this kind.
async fn until_decided(
    decider: &Decider,
    path: &str,
    value: &Value,
    since: Instant,
) -> Result<Duration> {
    until(since, async || Ok(decider.decides(path).await?.as_ref() == Some(value))).await
}

/// Asks until it is so; how long after `since` that is.
async fn until(since: Instant, is_so: impl AsyncFn() -> Result<bool>) -> Result<Duration> {
    loop {
        let is_so = is_so().await;
        let took = since.elapsed();
        match is_so {
            Ok(true) => return Ok(took),
            Err(error) if took > PATIENCE => return Err(error),
            Ok(false) if took > PATIENCE => bail!("not within {PATIENCE:?}"),
            Ok(false) | Err(_) => sleep(PAUSE).await,
        }
    }
}
