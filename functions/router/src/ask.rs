//! Asking the hub of a scope: one function a question, and what a caller hears if the
//! answer is lost. What is asked about policies that are followed is in `ask/repository.rs`.

mod repository;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use platform::{Lost, Object, encode};
use protocol::bundle::{Ingredients, Mark, Report, Reported, Shown};
use protocol::directory::{self, DirectoryAnswer, DirectoryRequest};
use protocol::internal::{
    HubAnswer, HubAnswers, HubRequest, LogPage, Peers, Policy, Receipts, Revocation,
    SESSION_HEADER, SOCKET_PATH, Session, Snapshot, Wait,
};
use protocol::opal::policy::Files;
use protocol::plane::{PlaneAnswer, PlaneRequest, Refusal};
use protocol::topic::TopicSet;
use protocol::{Claims, DEFAULT_SCOPE, Millis, Problem, Seq, Update, limits};
use publish::query::LogQuery;
use serde::Serialize;
use serde_json::value::RawValue;
use worker::{Env, RequestInit, Response};

pub(crate) use self::repository::{forget, look, repository};
use crate::settings::LoadLimit;
use crate::together::{self, Caller};

/// Appends an update that has the id `id` to a scope's log, and waits for the agents as far as
/// the publisher does. Updates of those who do not wait travel together.
///
/// # Errors
/// What the hub refuses; 503 with the id if its answer is lost. The publisher may not know
/// an id that it did not choose, and another one would append the update twice.
pub(crate) async fn append(
    caller: Caller<'_>,
    scope: &str,
    id: &str,
    update: Update,
    claims: Claims,
    wait: Option<Wait>,
) -> Result<(Seq, Option<Receipts>), Problem> {
    let again = || format!("publish again with id `{id}`, which has one effect");
    let waits = wait.is_some();
    let request = HubRequest::Append { update, claims, wait };
    let answer = if waits {
        call(caller.env, scope, &request, again).await?
    } else {
        together::ask(caller, scope, encode(&request)?).await.map_err(|_| lost(again()))??
    };
    match answer {
        HubAnswer::Appended { seq, receipts } => Ok((seq, receipts)),
        other => Err(unexpected("an append", &other)),
    }
}

/// Reads a part of a scope's log, as much of it as the bearer may see.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn read_log(
    env: &Env,
    scope: &str,
    claims: Claims,
    LogQuery { after, topics }: LogQuery,
) -> Result<LogPage, Problem> {
    read(env, scope, HubRequest::Read { claims, topics, after, bytes: None }).await
}

/// Reads a large part of a scope's log, for a bundle.
///
/// # Errors
/// As [`read_log`].
pub(crate) async fn replay(
    env: &Env,
    scope: &str,
    claims: Claims,
    topics: Option<TopicSet>,
    after: Seq,
) -> Result<LogPage, Problem> {
    let bytes = Some(limits::BUNDLE_PAGE_BYTES);
    read(env, scope, HubRequest::Read { claims, topics, after, bytes }).await
}

async fn read(env: &Env, scope: &str, request: HubRequest) -> Result<LogPage, Problem> {
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Log(page) => Ok(page),
        other => Err(unexpected("a read", &other)),
    }
}

/// Of which moment a bundle is; held back for so many milliseconds while it is the known one.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn watch(
    env: &Env,
    scope: &str,
    claims: Claims,
    of: Ingredients,
    known: Option<Mark>,
    wait_ms: u64,
) -> Result<Mark, Problem> {
    let request = HubRequest::Watch { claims, of, known, wait_ms };
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Mark(mark) => Ok(mark),
        other => Err(unexpected("a watch", &other)),
    }
}

/// Has a scope's hub keep what an OPA reports.
///
/// # Errors
/// As [`check`].
pub(crate) async fn report(
    env: &Env,
    scope: &str,
    claims: Claims,
    report: Report,
) -> Result<(), Problem> {
    done(env, scope, HubRequest::Report { claims, report }).await
}

/// What OPAs reported to a scope's hub.
///
/// # Errors
/// As [`check`].
pub(crate) async fn reported(
    env: &Env,
    scope: &str,
    claims: Claims,
    which: Reported,
) -> Result<Vec<Shown>, Problem> {
    match call(env, scope, &HubRequest::Reported { claims, which }, || "ask again").await? {
        HubAnswer::Reported(shown) => Ok(shown),
        other => Err(unexpected("a read", &other)),
    }
}

/// Has a scope's hub refuse tokens from now on; returns how many sockets it closed.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn revoke(env: &Env, scope: &str, revocation: Revocation) -> Result<u32, Problem> {
    let request = HubRequest::Revoke(revocation);
    match call(env, scope, &request, || "revoke again, which does no harm").await? {
        HubAnswer::Revoked { closed } => Ok(closed),
        other => Err(unexpected("a revocation", &other)),
    }
}

/// Checks that a bearer's token is not revoked.
///
/// # Errors
/// 401 if it is; 503 if the hub's answer is lost.
pub(crate) async fn check(env: &Env, scope: &str, claims: Claims) -> Result<(), Problem> {
    match call(env, scope, &HubRequest::Check(claims), || "ask again").await? {
        HubAnswer::Good => Ok(()),
        other => Err(unexpected("a check", &other)),
    }
}

/// Opens a verified bearer's socket to the hub of its scope.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn open_socket(env: &Env, session: &Session) -> Result<Response, Problem> {
    let connect_again = |_: Lost| lost("connect again");
    let mut request = platform::request(SOCKET_PATH, &RequestInit::new())?;
    let headers = request.headers_mut().map_err(platform::problem)?;
    for (name, value) in [("Upgrade", "websocket"), (SESSION_HEADER, encode(session)?.get())] {
        headers.set(name, value).map_err(platform::problem)?;
    }
    let response =
        platform::fetch(env, Object::Hub, &session.scope, request).await.map_err(connect_again)?;
    if response.status_code() == 101 {
        return Ok(response);
    }
    let refused =
        platform::decode::<HubAnswers>(Object::Hub, response).await.map_err(connect_again)??;
    Err(Problem::internal(format!("the hub answered an upgrade with {refused:?}")))
}

/// What of a scope's log an OPAL client is given.
pub(crate) struct SnapshotQuery {
    pub(crate) topics: Option<TopicSet>,
    pub(crate) after: Seq,
    pub(crate) inline_bytes: usize,
    pub(crate) origin: String,
}

/// Reads a part of a scope's log as entries.
///
/// # Errors
/// As [`read_log`].
pub(crate) async fn snapshot(
    env: &Env,
    scope: &str,
    claims: Claims,
    query: SnapshotQuery,
) -> Result<Snapshot, Problem> {
    let SnapshotQuery { topics, after, inline_bytes, origin } = query;
    let request = HubRequest::Snapshot { claims, topics, after, inline_bytes, origin };
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Snapshot(snapshot) => Ok(snapshot),
        other => Err(unexpected("a read", &other)),
    }
}

/// The inline data of an entry.
///
/// # Errors
/// 401 without its key, 404 if it is gone; 503 if the hub's answer is lost.
pub(crate) async fn fetch(
    env: &Env,
    scope: &str,
    (seq, place): (Seq, u32),
    key: String,
) -> Result<Box<RawValue>, Problem> {
    let request = HubRequest::Fetch { seq, place, key };
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Data(data) => Ok(data),
        other => Err(unexpected("a read", &other)),
    }
}

/// Who is connected to a scope's hub.
///
/// # Errors
/// As [`check`].
pub(crate) async fn peers(env: &Env, scope: &str, claims: Claims) -> Result<Peers, Problem> {
    match call(env, scope, &HubRequest::Peers(claims), || "ask again").await? {
        HubAnswer::Peers(peers) => Ok(peers),
        other => Err(unexpected("who is there", &other)),
    }
}

/// Lets a client begin.
///
/// # Errors
/// 401 for a revoked token, 429 for one client too many; 503 if the hub's answer is lost.
pub(crate) async fn admit(env: &Env, claims: Claims, limit: LoadLimit) -> Result<(), Problem> {
    let LoadLimit { most, per_ms, shown } = limit;
    check(env, DEFAULT_SCOPE, claims).await?;
    match call(env, DEFAULT_SCOPE, &HubRequest::Admit { most, per_ms }, || "ask again").await {
        Ok(_) => Ok(()),
        Err(problem) if problem.status == 429 => Err(Problem::new(429, shown)),
        Err(problem) => Err(problem),
    }
}

/// What a scope's hub keeps under a name.
///
/// # Errors
/// As [`check`].
pub(crate) async fn document(
    env: &Env,
    scope: &str,
    claims: Option<Claims>,
    name: &str,
) -> Result<Option<Box<RawValue>>, Problem> {
    let request = HubRequest::Document { claims, name: name.to_owned() };
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Document(document) => Ok(document),
        other => Err(unexpected("a read", &other)),
    }
}

/// What a scope's hub keeps under all names that begin so.
///
/// # Errors
/// As [`check`].
pub(crate) async fn documents(
    env: &Env,
    scope: &str,
    claims: Option<Claims>,
    prefix: &str,
) -> Result<BTreeMap<String, Box<RawValue>>, Problem> {
    let request = HubRequest::Documents { claims, prefix: prefix.to_owned() };
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Documents(documents) => Ok(documents),
        other => Err(unexpected("a read", &other)),
    }
}

/// How the names go on, that begin so, under which a scope's hub keeps something.
///
/// # Errors
/// 503 if the hub's answer is lost.
pub(crate) async fn names(env: &Env, scope: &str, prefix: &str) -> Result<Vec<String>, Problem> {
    let request = HubRequest::Names { prefix: prefix.to_owned() };
    match call(env, scope, &request, || "ask again").await? {
        HubAnswer::Names(names) => {
            Ok(names.iter().filter_map(|it| it.strip_prefix(prefix)).map(str::to_owned).collect())
        }
        other => Err(unexpected("a read", &other)),
    }
}

/// Has a scope's hub keep something under a name, or forget it.
///
/// # Errors
/// As [`check`].
pub(crate) async fn keep(
    env: &Env,
    scope: &str,
    claims: Claims,
    name: &str,
    body: Option<Box<RawValue>>,
) -> Result<(), Problem> {
    done(env, scope, HubRequest::Keep { claims, name: name.to_owned(), body }).await
}

/// What became of a policy that was given.
#[derive(Serialize)]
pub(crate) struct PolicySet {
    /// `ok`, as for an update.
    status: &'static str,
    /// Its revision.
    hash: String,
    /// False if it had these files before.
    changed: bool,
    /// The number of the update that completes it in the log.
    seq: Seq,
    /// What agents said of it, if that was waited for.
    #[serde(flatten)]
    receipts: Option<Receipts>,
}

/// Makes these files a scope's policy, by a name if there is one, and waits for the agents as far as that is wanted.
///
/// # Errors
/// As [`check`].
pub(crate) async fn set_policy(
    env: &Env,
    scope: &str,
    claims: Claims,
    files: Files,
    revision: Option<String>,
    wait: Option<Wait>,
) -> Result<PolicySet, Problem> {
    let request = HubRequest::SetPolicy { claims: Some(claims), revision, files, wait };
    match call(env, scope, &request, || "push again, which does no harm").await? {
        HubAnswer::PolicySet { hash, changed, seq, receipts } => {
            Ok(PolicySet { status: "ok", hash, changed, seq, receipts })
        }
        other => Err(unexpected("a policy", &other)),
    }
}

/// A scope's policy, with what is known of the revision `base`.
///
/// # Errors
/// As [`check`].
pub(crate) async fn policy(
    env: &Env,
    scope: &str,
    claims: Claims,
    base: Option<String>,
) -> Result<Option<Box<Policy>>, Problem> {
    match call(env, scope, &HubRequest::Policy { claims, base }, || "ask again").await? {
        HubAnswer::Policy(policy) => Ok(policy),
        other => Err(unexpected("a read", &other)),
    }
}

/// Asks a scope's hub for a plane, and waits for the agents as far as that is wanted. What the
/// plane refuses is inside.
///
/// # Errors
/// As [`check`].
pub(crate) async fn plane(
    env: &Env,
    scope: &str,
    asked: PlaneRequest,
    wait: Option<Wait>,
) -> Result<(Result<PlaneAnswer, Refusal>, Option<Receipts>), Problem> {
    let request = HubRequest::Plane { asked: Box::new(asked), wait };
    match call(env, scope, &request, || "it may have been done; look, and ask again").await? {
        HubAnswer::Plane { answer, receipts } => Ok((answer, receipts)),
        other => Err(unexpected("a plane", &other)),
    }
}

/// Asks a scope's hub for its directory, and waits for the agents as far as that is wanted. What
/// the directory refuses is inside.
///
/// # Errors
/// As [`check`].
pub(crate) async fn directory(
    env: &Env,
    scope: &str,
    asked: DirectoryRequest,
    wait: Option<Wait>,
) -> Result<(Result<DirectoryAnswer, directory::Refusal>, Option<Receipts>), Problem> {
    let request = HubRequest::Directory { asked: Box::new(asked), wait };
    match call(env, scope, &request, || "it may have been done; PUT and DELETE can be repeated")
        .await?
    {
        HubAnswer::Directory { answer, receipts } => Ok((answer, receipts)),
        other => Err(unexpected("a directory", &other)),
    }
}

/// Has a scope's hub forget everything.
///
/// # Errors
/// As [`check`].
pub(crate) async fn clear(env: &Env, scope: &str, claims: Claims) -> Result<(), Problem> {
    done(env, scope, HubRequest::Clear(claims)).await
}

/// What a scope's hub was ever told to refuse.
///
/// # Errors
/// 503 if the hub's answer is lost.
pub(crate) async fn revocations(
    env: &Env,
    scope: &str,
) -> Result<Vec<(Revocation, Millis)>, Problem> {
    match call(env, scope, &HubRequest::Revocations, || "ask again").await? {
        HubAnswer::Revocations(revocations) => Ok(revocations),
        other => Err(unexpected("a read", &other)),
    }
}

/// Tells the hub of a new scope what was revoked before.
///
/// # Errors
/// 503 if the hub's answer is lost.
pub(crate) async fn inherit(
    env: &Env,
    scope: &str,
    revocations: Vec<(Revocation, Millis)>,
) -> Result<(), Problem> {
    done(env, scope, HubRequest::Inherit(revocations)).await
}

/// Asks for something that has no answer but that it is done, and can be asked again.
async fn done(env: &Env, scope: &str, request: HubRequest) -> Result<(), Problem> {
    match call(env, scope, &request, || "ask again, which does no harm").await? {
        HubAnswer::Good => Ok(()),
        other => Err(unexpected("a change", &other)),
    }
}

/// Asks a scope's hub; `again` is what the caller is told to do if the answer is lost.
async fn call<T: Display>(
    env: &Env,
    scope: &str,
    asked: &HubRequest,
    again: impl FnOnce() -> T,
) -> Result<HubAnswer, Problem> {
    let answers = platform::ask::<HubAnswers>(env, Object::Hub, scope, &[asked]).await;
    answers
        .map_err(|_| lost(again()))??
        .pop()
        .unwrap_or_else(|| Err(Problem::internal("the hub answered nothing")))
}

fn unexpected(asked: &str, answer: &impl Debug) -> Problem {
    Problem::internal(format!("an object answered {asked} with {answer:?}"))
}

/// The hub may have done what it was asked, or not.
fn lost(again: impl Display) -> Problem {
    Problem::unavailable(format!("the hub did not answer; {again}"))
}
