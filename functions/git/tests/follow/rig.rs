//! A shell for the machine: sends with reqwest, keeps objects in memory.

use git::{
    Auth, GitError, Limits, Look, MemoryObjects, Next, ObjectId, Outcome, Remote, Selection,
    Server, checkout, reachable,
};
use reqwest::redirect::Policy;
use testbed::{GitServer, Repository, http_client_builder};

/// Follows a branch, as the functions do.
pub(crate) struct Follower {
    pub(crate) remote: Remote,
    pub(crate) branch: String,
    pub(crate) objects: MemoryObjects,
    pub(crate) known: Option<ObjectId>,
    pub(crate) limits: Limits,
    pub(crate) server: Option<Server>,
    /// Bytes of an answer that are handed in together.
    pub(crate) piece: usize,
}

/// A repository that is served.
pub(crate) async fn served(files: &[(&str, &str)]) -> (Repository, GitServer, Follower) {
    let repository = Repository::with(files).await.unwrap();
    let server = GitServer::start().unwrap();
    let url = server.serve("policy", &repository);
    let follower = Follower::of(&url);
    (repository, server, follower)
}

// === impl Follower ===

impl Follower {
    pub(crate) fn of(url: &str) -> Self {
        Self {
            remote: Remote::new(url, Auth::None).unwrap(),
            branch: "master".to_owned(),
            objects: MemoryObjects::default(),
            known: None,
            limits: Limits::default(),
            server: None,
            piece: 1_000,
        }
    }

    /// One look; a success is what is known from then on, and only what it needs is kept.
    pub(crate) async fn look(&mut self) -> Result<Outcome, GitError> {
        let look = Look::new(self.remote.clone(), &self.branch, self.known, self.limits)?;
        let mut look = look.with_server(self.server.as_ref());
        let http = http_client_builder().unwrap().redirect(Policy::none()).build().unwrap();
        loop {
            let sent = match look.request() {
                Next::Done(outcome) => {
                    self.server = look.server().cloned();
                    if let Outcome::New(commit) = outcome {
                        self.known = Some(commit);
                        let keep = reachable(&self.objects, &commit, &self.limits)?;
                        self.objects.retain(|id| keep.contains(id));
                    }
                    return Ok(outcome);
                }
                Next::Send(sent) => sent,
            };
            let mut request = http.request(sent.method.parse().unwrap(), &sent.url);
            for (name, value) in sent.headers {
                request = request.header(name, value);
            }
            let answer = request.body(sent.body).send().await.unwrap();
            let header =
                |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
            let (kind, location) = (header("content-type"), header("location"));
            look.head(answer.status().as_u16(), kind.as_deref(), location.as_deref())?;
            for piece in answer.bytes().await.unwrap().chunks(self.piece) {
                look.chunk(piece, &mut self.objects)?;
            }
            look.end(&mut self.objects)?;
        }
    }

    /// A look that has to find something new: the commit.
    pub(crate) async fn find(&mut self) -> String {
        match self.look().await.unwrap() {
            Outcome::New(commit) => commit.to_string(),
            Outcome::Unchanged => panic!("nothing new"),
        }
    }

    /// The paths and texts of the `.rego` files of the known commit, but for the folder `ignored`.
    pub(crate) fn files(&self) -> Result<Vec<(String, String)>, GitError> {
        let selection = Selection {
            wants: &|path| path.ends_with(".rego"),
            ignores: &|path| path == "ignored",
        };
        let known = self.known.unwrap();
        Ok(checkout(&self.objects, &known, selection, &self.limits)?.into_iter().collect())
    }

    /// The paths alone.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.files().unwrap().into_iter().map(|(path, _)| path).collect()
    }
}
