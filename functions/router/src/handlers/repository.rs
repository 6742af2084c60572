//! Policies that are followed: who may ask for a look, and what is shown of them.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::try_join_all;
use platform::setting;
use protocol::repository::{Looked, Place, Source, Why};
use protocol::{Claims, DEFAULT_SCOPE, PeerType, Problem, limits};
use publish::scopes::Scope;
use publish::statistics::PolicyStatus;
use publish::webhook::Verdict;
use serde_json::json;
use worker::{Context, Env, Response, console_error};

use super::scopes::{self, no_such};
use super::{Asked, body};
use crate::{answer, ask, settings};

/// True when this isolate has had somebody look.
static STARTED: AtomicBool = AtomicBool::new(false);

/// A scope that follows something.
pub(super) struct Followed {
    pub(super) scope: String,
    source: Source,
}

/// At the isolate's first request somebody looks, since nobody may have heard of what was pushed
/// before. Nobody waits for it.
pub(crate) fn start(env: &Env, context: &Context) {
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    match settings::source(env) {
        Ok(None) => {}
        Ok(Some(_)) => {
            let env = env.clone();
            context.wait_until(async move { look_unasked(&env, Why::Start).await });
        }
        Err(problem) => console_error!("no policy is followed: {problem}"),
    }
}

/// Another minute has passed. Where looks have no interval, the first one in this isolate counts.
pub(crate) async fn tick(env: &Env) {
    let is_first = !STARTED.swap(true, Ordering::Relaxed);
    let why = if is_first { Why::Start } else { Why::Clock };
    match settings::source(env) {
        Ok(Some(source)) if is_first || source.poll_ms.is_some() => look_unasked(env, why).await,
        Ok(_) => {}
        Err(problem) => console_error!("no policy is followed: {problem}"),
    }
}

async fn look_unasked(env: &Env, why: Why) {
    if let Err(problem) = ask::look(env, DEFAULT_SCOPE, None, why, false).await {
        console_error!("{problem}");
    }
}

/// What a scope follows; none if its policy is pushed, which is so too where a function cannot
/// reach the repository.
///
/// # Errors
/// 503 that names the setting.
pub(super) fn source_of(env: &Env, scope: &Scope) -> Result<Option<Source>, Problem> {
    let Some(policy) = &scope.policy else { return Ok(None) };
    let Some(url) = &policy.url else { return Ok(None) };
    let place = repository::settings::git(url, &policy.branch, policy.access());
    let Ok((place, access)) = place else { return Ok(None) };
    let interval = repository::settings::scope_interval(&|name| setting(env, name))?;
    let poll_ms = interval.filter(|_| policy.poll_updates);
    Ok(Some(Source { place, access, wanted: policy.wanted(), poll_ms }))
}

/// What a scope follows, and the scope's name; the default scope for none.
fn source_of_any(env: &Env, scope: Option<&Scope>) -> Result<Option<Source>, Problem> {
    match scope {
        Some(scope) => source_of(env, scope),
        None => settings::source(env),
    }
}

/// Every scope that follows something, the default one first.
pub(super) async fn followed(env: &Env, claims: Option<Claims>) -> Result<Vec<Followed>, Problem> {
    let mut all = vec![];
    if let Some(source) = settings::source(env)? {
        all.push(Followed { scope: DEFAULT_SCOPE.to_owned(), source });
    }
    for scope in scopes::all(env, claims).await? {
        if let Some(source) = source_of(env, &scope)? {
            all.push(Followed { scope: scope.scope_id, source });
        }
    }
    Ok(all)
}

/// Has somebody look at all of these. Nobody waits for it.
pub(super) async fn look_at(env: &Env, all: Vec<Followed>, why: Why) -> Result<(), Problem> {
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        let some: Vec<Followed> = all.by_ref().take(scopes::AT_ONCE).collect();
        try_join_all(some.iter().map(|Followed { scope, source }| {
            let source = (scope != DEFAULT_SCOPE).then(|| source.clone());
            ask::look(env, scope, source, why, false)
        }))
        .await?;
    }
    Ok(())
}

/// A git host, or somebody with a token where there is a bundle server, says that there is
/// something new (`spec/opal-protocol.md` §2.3). The answer does not wait for the look.
pub(super) async fn webhook(asked: Asked<'_>) -> Result<Response, Problem> {
    let env = asked.caller.env;
    let source = settings::source(env)?;
    if let Some(Source { place: Place::Bundle { url } | Place::S3 { url, .. }, .. }) = &source {
        let claims = asked.authenticate()?;
        ask::check(env, DEFAULT_SCOPE, claims).await?;
        ask::look(env, DEFAULT_SCOPE, None, Why::Hint, false).await?;
        let event = "webhook_trigger";
        return answer::ok(&json!({ "status": "ok", "event": event, "repo_url": url }));
    }
    let webhooks = settings::webhooks(env)?;
    let limit = limits::MAX_WEBHOOK_BYTES;
    let refuse = |bytes| {
        Problem::too_large(format!("the body has at least {bytes} bytes, the limit is {limit}"))
    };
    let body = body(asked.request, limit, refuse).await?;
    let said = webhooks.read(&|name| asked.header(name), &body)?;
    let mut all = followed(env, None).await?;
    let places: Vec<&Place> = all.iter().map(|followed| &followed.source.place).collect();
    let of = match webhooks.judge(&said, &places) {
        Verdict::OtherBranch => return answer::ok(&()),
        Verdict::Ignored => {
            return answer::ok(&json!({ "status": "ignored", "event": said.event }));
        }
        Verdict::Of(of) => of,
    };
    let url = of.first().and_then(|at| places.get(*at)).map(|place| place.url().to_owned());
    if webhooks.is_push(&said) {
        let mut at = 0..;
        all.retain(|_| at.next().is_some_and(|at| of.contains(&at)));
        look_at(env, all, Why::Hint).await?;
    }
    answer::ok(&json!({ "status": "ok", "event": said.event, "repo_url": url }))
}

/// Looks whether there is something new, and answers what came of it.
pub(super) async fn refresh(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    let env = asked.caller.env;
    let id = asked.query_scope().unwrap_or_else(|| DEFAULT_SCOPE.to_owned());
    publish::scopes::check_name(&id)?;
    claims.require_change(&id)?;
    let scope = scope_called(&asked, &id, claims).await?;
    let source = source_of_any(env, scope.as_ref())?;
    if source.is_none() {
        return Err(Problem::conflict(format!(
            "scope {id} follows no repository: set POLICY_REPO_URL or the scope's policy.url, or \
             push with `edge-agent policy push`"
        )));
    }
    let source = source.filter(|_| scope.is_some());
    let looked = ask::look(env, &id, source, Why::Refresh, true).await?;
    let Looked { hash, changed, seq } =
        looked.ok_or_else(|| Problem::internal("a look had no outcome"))?;
    answer::ok(&json!({ "status": "ok", "hash": hash, "changed": changed, "seq": seq }))
}

/// How the policy stands that is followed.
pub(super) async fn status(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate()?;
    let scope = asked.scope(&claims)?;
    ask::check(asked.caller.env, &scope, claims).await?;
    answer::ok(&state(asked.caller.env, &scope).await?)
}

/// The same for who has been verified, of a scope that is there.
pub(super) async fn state(env: &Env, scope: &str) -> Result<PolicyStatus, Problem> {
    if scope == DEFAULT_SCOPE {
        match settings::source(env) {
            Ok(None) => return Ok(PolicyStatus::default()),
            Err(problem) => return Ok(PolicyStatus::wrong(problem)),
            Ok(Some(_)) => {}
        }
    }
    Ok(ask::repository(env, scope).await?.into())
}

/// Why there is no policy yet. If one is followed, somebody looks.
pub(super) async fn not_there(env: &Env, scope: Option<&Scope>) -> Problem {
    let id = scope.map_or(DEFAULT_SCOPE, |scope| &scope.scope_id);
    let source = match source_of_any(env, scope) {
        Ok(Some(source)) => Some(source).filter(|_| scope.is_some()),
        Ok(None) => {
            return Problem::unavailable(
                "policy repo was not found; set POLICY_REPO_URL, or give a policy with `edge-agent \
                 policy push DIR`",
            );
        }
        Err(problem) => return problem,
    };
    let looked = ask::look(env, id, source, Why::Start, false).await;
    let state = match looked {
        Ok(_) => ask::repository(env, id).await,
        Err(problem) => Err(problem),
    };
    match state.map(|state| state.error) {
        // Nothing that waiting mends.
        Ok(Some(error)) if error.status == 409 => Problem::conflict(format!(
            "Policy branch for scope {id} could not be resolved (check the configured branch); not \
             retryable"
        )),
        Ok(Some(error)) => {
            Problem::unavailable(format!("policy repo is not ready: {}", error.detail))
        }
        Ok(None) => Problem::unavailable("policy repo is not ready"),
        Err(problem) => problem,
    }
}

/// Nobody pushes a policy to a scope that follows one: the next commit would undo it.
pub(super) async fn refuse_push(
    asked: &Asked<'_>,
    id: &str,
    claims: &Claims,
) -> Result<(), Problem> {
    let env = asked.caller.env;
    let scope = scope_called(asked, id, claims.clone()).await?;
    // A setting that is wrong keeps nobody from pushing.
    let Ok(Some(source)) = source_of_any(env, scope.as_ref()) else { return Ok(()) };
    let setting = match (&scope, &source.place) {
        (Some(_), _) => "the scope's policy.url",
        (None, Place::Git { .. }) => "POLICY_REPO_URL",
        (None, _) => "POLICY_BUNDLE_URL",
    };
    Err(Problem::conflict(format!(
        "scope {id} follows {}: publish the policy there, or unset {setting}",
        source.place.url()
    )))
}

/// A scope by its name, for a bearer whose token is still good; none for the default one.
async fn scope_called(
    asked: &Asked<'_>,
    id: &str,
    claims: Claims,
) -> Result<Option<Scope>, Problem> {
    if id == DEFAULT_SCOPE {
        return ask::check(asked.caller.env, id, claims).await.map(|()| None);
    }
    asked.find_scope(id, claims).await?.map(Some).ok_or_else(|| no_such(id))
}
