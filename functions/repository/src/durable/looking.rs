//! A look: what is there, may it be the policy, and the hub is told.

use std::pin::pin;

use futures::StreamExt as _;
use git::{
    Auth, GitError, Limits, Look, Next, ObjectId, Outcome, Remote, Selection, StoreError, checkout,
    reachable,
};
use platform::{Object, setting};
use protocol::internal::{HubAnswer, HubAnswers, HubRequest};
use protocol::opal::policy::{Files, Revision};
use protocol::repository::{Access, Looked, Place, Source};
use protocol::{Millis, Problem};

use super::store::Store;
use super::{Shared, http, now, unstored};
use crate::bundle::{self, Head};
use crate::failure::Failure;
use crate::record::{Record, Todo};
use crate::{gate, settings};

/// How long is believed what a git server can do.
const SERVER_MS: u64 = 3_600_000;
const GIT: &str = "the git server";
const BUNDLE: &str = "the bundle server";

/// What is there.
enum Found {
    /// A commit, whose objects are kept.
    Commit(ObjectId),
    /// A bundle; without bytes if it is the one that has been seen to.
    Bundle { tag: String, body: Vec<u8> },
}

impl Found {
    fn head(&self) -> String {
        match self {
            Self::Commit(id) => id.to_string(),
            Self::Bundle { tag, .. } => tag.clone(),
        }
    }
}

impl Shared {
    /// Finds what is there and makes it the policy; none if something else is followed by now.
    pub(super) async fn find(
        &self,
        source: &Source,
        is_thorough: bool,
    ) -> Result<Option<Looked>, Failure> {
        let store = self.store().map_err(Failure::of)?;
        let found = match &source.place {
            Place::Git { url, branch } => {
                let remote = Remote::new(url, auth(&source.access))?;
                let found = self.find_commit(remote, branch).await;
                Found::Commit(found.map_err(Failure::of_nothing_found)?)
            }
            Place::Bundle { .. } | Place::S3 { .. } => {
                let Some(known) = self.known_bundle(source, is_thorough)? else { return Ok(None) };
                self.find_bundle(source, known).await?
            }
        };
        match self.what_to_do(source, &found.head(), is_thorough)? {
            None => Ok(None),
            Some(Todo::Nothing(outcome)) => outcome.map(Some).map_err(Failure::Refused),
            Some(Todo::Publish) => match &found {
                Found::Commit(commit) => {
                    let files = self.files_of(&store, source, commit)?;
                    let looked = self.publish(files, Some(commit.to_string())).await?;
                    self.tidy(&store, commit);
                    Ok(Some(looked))
                }
                Found::Bundle { body, .. } => {
                    let files = bundle::read(body, &source.wanted.filter())?;
                    self.publish(files, None).await.map(Some)
                }
            },
        }
    }

    /// None if something else is followed by now.
    fn what_to_do(
        &self,
        source: &Source,
        head: &str,
        is_thorough: bool,
    ) -> Result<Option<Todo>, Failure> {
        let todo = self.with(|record| {
            let is_followed = record.source() == Some(source);
            is_followed.then(|| record.found(head, is_thorough))
        });
        todo.map_err(Failure::of)
    }

    /// The branch's commit, whose objects are all kept then.
    async fn find_commit(&self, remote: Remote, branch: &str) -> Result<ObjectId, Failure> {
        let mut store = self.store().map_err(Failure::of)?;
        let known = self.with(|record| record.head().and_then(|head| head.parse().ok()));
        let known = known.map_err(Failure::of)?;
        let (since, server) = self.server.borrow().clone().unzip();
        let since = since.unwrap_or(Millis(0));
        let server = server.filter(|_| now().since(since) < SERVER_MS);
        let look = Look::new(remote, branch, known, Limits::default())?;
        let mut look = look.with_server(server.as_ref());
        let outcome = loop {
            match look.request() {
                Next::Done(outcome) => break outcome,
                Next::Send(request) => {
                    let git::HttpRequest { method, url, headers, body } = &request;
                    let answer = http::send(GIT, method, url, headers, body).await?;
                    let (kind, location) =
                        (answer.header("Content-Type"), answer.header("Location"));
                    look.head(answer.status(), kind.as_deref(), location.as_deref())?;
                    let mut pieces = pin!(answer.body());
                    while let Some(piece) = pieces.next().await {
                        let done = look.chunk(&piece?, &mut store);
                        done.map_err(|error| self.of_git(&store, error))?;
                    }
                    look.end(&mut store).map_err(|error| self.of_git(&store, error))?;
                }
            }
        };
        if server.as_ref() != look.server() {
            self.server.replace(look.server().cloned().map(|server| (now(), server)));
        }
        match (outcome, known) {
            (Outcome::New(commit), _) | (Outcome::Unchanged, Some(commit)) => Ok(commit),
            (Outcome::Unchanged, None) => Err(GitError::Order("nothing was known").into()),
        }
    }

    fn files_of(&self, store: &Store, source: &Source, head: &ObjectId) -> Result<Files, Failure> {
        let filter = source.wanted.filter();
        let selection =
            Selection { wants: &|path| filter.wants(path), ignores: &|path| filter.ignores(path) };
        let files = checkout(store, head, selection, &Limits::default());
        Ok(filter.settle(files.map_err(|error| self.of_git(store, error))?))
    }

    /// A hole in what is kept is mended by fetching all of it at the next look.
    fn of_git(&self, store: &Store, error: GitError) -> Failure {
        if matches!(error, GitError::Missing { .. }) {
            let forgotten = store.forget_objects().map_err(unstored);
            if let Err(problem) = forgotten.and_then(|()| self.with(Record::lost)) {
                return Failure::of(problem);
            }
        }
        error.into()
    }

    /// Deletes the objects that this commit does not need.
    fn tidy(&self, store: &Store, head: &ObjectId) {
        let wanted = reachable(store, head, &Limits::default());
        let wanted = wanted.map_err(|error| StoreError(error.to_string()));
        if let Err(error) = wanted.and_then(|wanted| store.keep_only(&wanted)) {
            // It costs room only, and is tried again after the next commit.
            worker::console_error!("old objects cannot be deleted: {error}");
        }
    }

    /// The tag of the bundle that has been seen to, if there is one; none if something else is
    /// followed by now.
    fn known_bundle(
        &self,
        source: &Source,
        is_thorough: bool,
    ) -> Result<Option<Option<String>>, Failure> {
        let known = self.with(|record| {
            let is_followed = record.source() == Some(source);
            is_followed.then(|| record.settled_head(is_thorough).map(str::to_owned))
        });
        known.map_err(Failure::of)
    }

    async fn find_bundle(&self, source: &Source, known: Option<String>) -> Result<Found, Failure> {
        let Source { place, access, .. } = source;
        let mut request = bundle::Request::new(place, access, known.as_deref(), now())?;
        let answer = loop {
            let url = request.url.as_str();
            let answer = http::send(BUNDLE, "GET", url, &request.headers, &[]).await?;
            match request.head(answer.status(), answer.header("Location").as_deref())? {
                Head::Bundle => break answer,
                Head::Unchanged => {
                    let tag = known.unwrap_or_default();
                    return Ok(Found::Bundle { tag, body: vec![] });
                }
                Head::Elsewhere(other) => request = *other,
            }
        };
        let etag = answer.header("ETag");
        let mut body = vec![];
        let mut pieces = pin!(answer.body());
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > bundle::MAX_BYTES {
                let limit = bundle::MAX_BYTES;
                return Err(Failure::Lasting(Problem::too_large(format!(
                    "the bundle has more than {limit} bytes, which is the limit"
                ))));
            }
        }
        Ok(Found::Bundle { tag: bundle::tag(etag.as_deref(), &body), body })
    }

    /// Makes these files the policy, if they can be.
    async fn publish(&self, files: Files, revision: Option<String>) -> Result<Looked, Failure> {
        let options = settings::gate(&|name| setting(&self.env, name)).map_err(Failure::of)?;
        let files = gate::pass(files, options.as_ref()).map_err(Failure::Refused)?;
        let set = self.set_policy(revision.clone(), files.clone()).await;
        match (set, revision) {
            // Other files of the same commit are wanted than before.
            (Err(Failure::Lasting(problem)), Some(commit)) if problem.status == 409 => {
                let digest = Revision::of(&files).hash;
                let name = format!("{commit}+{}", digest.get(..8).unwrap_or_default());
                self.set_policy(Some(name), files).await
            }
            (set, _) => set,
        }
    }

    async fn set_policy(&self, revision: Option<String>, files: Files) -> Result<Looked, Failure> {
        let scope = self.scope().map_err(Failure::of)?;
        let asked = [HubRequest::SetPolicy { claims: None, revision, files, wait: None }];
        let answers = platform::ask::<HubAnswers>(&self.env, Object::Hub, &scope, &asked).await;
        let answers = answers.map_err(|_| {
            Failure::Passing(Problem::unavailable("the hub did not answer; it is asked again"))
        });
        match answers?.map_err(Failure::of)?.pop() {
            Some(Ok(HubAnswer::PolicySet { hash, changed, seq, .. })) => {
                Ok(Looked { hash, changed, seq })
            }
            Some(Err(problem)) => Err(Failure::of(problem)),
            other => Err(Failure::of(Problem::internal(format!("the hub answered {other:?}")))),
        }
    }
}

fn auth(access: &Access) -> Auth {
    match access {
        Access::Basic { username, password } => {
            Auth::Basic { username: username.clone(), password: password.clone() }
        }
        Access::Bearer(token) => Auth::Bearer(token.clone()),
        Access::Open | Access::Key { .. } => Auth::None,
    }
}
