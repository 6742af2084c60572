//! What the tests of policies that are followed share: a repository behind a git server, functions
//! that follow it, and those who look on.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Answer, Functions, FunctionsBuilder, GitServer, OpalPeer, Repository, http_client};
use tokio::time::{Instant, sleep};

use crate::support::{SOON, can_run};

/// A module that can be told from others.
pub(crate) fn module(package: &str, number: u32) -> String {
    format!("package {package}\n\nnumber := {number}\n")
}

/// A repository that is followed.
pub(crate) struct Following {
    pub(crate) functions: Functions,
    /// A token that may publish.
    pub(crate) ds: String,
    pub(crate) server: GitServer,
    pub(crate) repository: Repository,
    /// The repository's address.
    pub(crate) url: String,
}

impl Following {
    /// Functions that follow a repository with these files, and have looked.
    pub(crate) async fn start(files: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let following = Self::prepare(files, |mut functions| {
            for (name, value) in settings {
                functions = functions.var(format!("GIRASOL_{name}"), *value);
            }
            functions
        })
        .await;
        following.refresh().await.ok().unwrap();
        following
    }

    /// The same, and nobody has looked yet unless the minting of a token is enough.
    pub(crate) async fn prepare(
        files: &[(&str, &str)],
        settings: impl FnOnce(FunctionsBuilder) -> FunctionsBuilder,
    ) -> Self {
        let repository = Repository::with(files).await.unwrap();
        let server = GitServer::start().unwrap();
        let url = server.serve("policy", &repository);
        let functions = Functions::builder().unwrap().var("GIRASOL_POLICY_REPO_URL", &url);
        let functions = settings(functions).start().await.unwrap();
        let ds = functions.mint("datasource", json!({})).await.unwrap();
        Self { functions, ds, server, repository, url }
    }

    /// A look that is waited for.
    pub(crate) async fn refresh(&self) -> Answer {
        ask(&self.functions, Method::POST, "/policy/refresh", &self.ds).await
    }

    /// What a client is given.
    pub(crate) async fn policy(&self) -> Answer {
        ask(&self.functions, Method::GET, "/policy", &self.ds).await
    }

    /// The revision that a client is given.
    pub(crate) async fn hash(&self) -> String {
        self.policy().await.ok().unwrap()["hash"].as_str().unwrap().to_owned()
    }

    /// How things stand.
    pub(crate) async fn status(&self) -> Value {
        ask(&self.functions, Method::GET, "/policy/status", &self.ds).await.ok().unwrap()
    }

    /// What GitHub sends when somebody has pushed to this repository, unsigned.
    pub(crate) async fn hook(&self) -> Answer {
        let body = json!({"ref": "refs/heads/master", "repository": {"clone_url": self.url}});
        post_hook(&self.functions, &[("X-GitHub-Event", "push")], body.to_string()).await
    }

    /// A client that is told of changes from now on.
    pub(crate) async fn listen(&self) -> OpalPeer {
        let token = self.functions.mint("client", json!({})).await.unwrap();
        let peer = OpalPeer::connect(&self.functions.ws_url(), Some(&token)).await.unwrap();
        let mut peer = peer.open().unwrap();
        peer.subscribe(&["policy:."]).await.unwrap();
        peer
    }
}

pub(crate) async fn ask(functions: &Functions, method: Method, path: &str, token: &str) -> Answer {
    functions.request(method, path, Some(token), None).await.unwrap()
}

pub(crate) async fn post_hook(
    functions: &Functions,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let http = http_client().unwrap();
    let mut request = http.post(format!("{}/webhook", functions.url())).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await.unwrap()
}

/// The revision of the next change that a client is told of.
pub(crate) async fn told(peer: &mut OpalPeer) -> String {
    let (_, change) = peer.notified(SOON).await.unwrap().expect("a change of policy");
    change["new_policy_hash"].as_str().unwrap().to_owned()
}

/// Asks again and again until the answer is this one.
pub(crate) async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<(), Value>) {
    let deadline = Instant::now() + SOON;
    while let Err(instead) = look().await {
        assert!(Instant::now() < deadline, "waited for {what}, it is {instead}");
        sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The text of a module that a client is given.
pub(crate) fn text_of<'p>(policy: &'p Value, path: &str) -> Option<&'p str> {
    let modules = policy["policy_modules"].as_array()?;
    modules.iter().find(|module| module["path"] == path)?["rego"].as_str()
}

/// True if the test can run.
pub(crate) fn can_follow() -> bool {
    can_run(&[])
}
