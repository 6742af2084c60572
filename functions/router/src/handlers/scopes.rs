//! Scopes: each has a hub of its own, and the default scope's hub has the list of them.

use futures::future::join_all;
use protocol::internal::{Revocation, SCOPE_DOCUMENT};
use protocol::{Claims, DEFAULT_SCOPE, PeerType, Problem, limits};
use publish::scopes::Scope;
use serde_json::value::{RawValue, to_raw_value};
use worker::{Env, Response};

use super::{Asked, data, policy};
use crate::{answer, ask};

/// How the names begin under which the default scope's hub keeps the others.
const LIST: &str = "scopes/";
/// Hubs that are asked at the same time.
const AT_ONCE: usize = 6;

/// Makes a scope, or changes it.
pub(super) async fn make(mut asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    let body = asked.body_of_at_most(limits::MAX_UPDATE_BYTES).await?;
    let scope = Scope::parse(&body)?;
    let id = scope.scope_id.clone();
    claims.require_change(&id)?;
    let text = to_raw_value(&scope).map_err(|error| Problem::internal(error.to_string()))?;
    let env = asked.caller.env;
    // In the list first: from then on a revocation reaches its hub, which gets the earlier ones.
    ask::keep(env, DEFAULT_SCOPE, claims.clone(), &listed(&id), Some(text.clone())).await?;
    let revocations = ask::revocations(env, DEFAULT_SCOPE).await?;
    ask::inherit(env, &id, revocations).await?;
    ask::keep(env, &id, claims, SCOPE_DOCUMENT, Some(text)).await?;
    answer::empty(201)
}

/// All scopes.
pub(super) async fn list(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    let found = ask::documents(asked.caller.env, DEFAULT_SCOPE, claims.clone(), LIST).await?;
    let scopes = found.values().map(|text| read(text).map(Scope::shown));
    let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
    let may_see = |scope: &Scope| claims.require_change(&scope.scope_id).is_ok();
    answer::ok(&scopes.into_iter().filter(may_see).collect::<Vec<_>>())
}

/// One scope.
pub(super) async fn show(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_change_scope()?;
    let scope = asked.find_scope(&id, claims).await?.ok_or_else(|| no_such(&id))?;
    answer::ok(&scope.shown())
}

/// Forgets a scope with all that is in it.
pub(super) async fn delete(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_change_scope()?;
    if id != DEFAULT_SCOPE {
        let env = asked.caller.env;
        // Out of the list last: who is told that it failed can do it again.
        ask::clear(env, &id, claims.clone()).await?;
        ask::keep(env, DEFAULT_SCOPE, claims, &listed(&id), None).await?;
    }
    answer::empty(204)
}

/// There is nothing to fetch again: a policy is what was pushed last.
pub(super) async fn refresh(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_change_scope()?;
    asked.find_scope(&id, claims).await?.ok_or_else(|| no_such(&id))?;
    answer::empty(200)
}

/// A scope's policy; that of the default one where there is no such scope, as in OPAL.
pub(super) async fn policy(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_read_scope()?;
    match asked.find_scope(&id, claims).await? {
        Some(scope) => {
            let answered = policy::answer_bundle(&asked, &id, &scope.directories()).await;
            answered.or_else(|problem| answer::later(&problem, 5))
        }
        None => policy::answer_bundle(&asked, DEFAULT_SCOPE, &[]).await,
    }
}

/// A scope's base sources and what is left of its log; those of the default one where there is
/// no such scope.
pub(super) async fn data(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_read_scope()?;
    match asked.find_scope(&id, claims.clone()).await? {
        Some(scope) => data::list(&asked, &id, claims, &scope.data).await,
        None => data::answer_sources(&asked, claims).await,
    }
}

/// Has the hub of every scope refuse tokens; how many sockets that closed.
pub(super) async fn revoke_everywhere(env: &Env, revoked: &Revocation) -> Result<u32, Problem> {
    let mut closed = ask::revoke(env, DEFAULT_SCOPE, revoked.clone()).await?;
    // After that, since a scope that is made meanwhile gets what the default hub has.
    let scopes = ask::names(env, DEFAULT_SCOPE, LIST).await?;
    for some in scopes.chunks(AT_ONCE) {
        let asked = some.iter().map(|scope| ask::revoke(env, scope, revoked.clone()));
        for of_scope in join_all(asked).await {
            closed = closed.saturating_add(of_scope?);
        }
    }
    Ok(closed)
}

impl Asked<'_> {
    fn to_change_scope(&self) -> Result<(Claims, String), Problem> {
        let claims = self.authenticate_as(PeerType::Datasource)?;
        let id = self.named_scope()?;
        claims.require_change(&id)?;
        Ok((claims, id))
    }

    fn to_read_scope(&self) -> Result<(Claims, String), Problem> {
        let claims = self.authenticate()?;
        let id = self.named_scope()?;
        claims.require_scope(&id)?;
        Ok((claims, id))
    }

    async fn find_scope(&self, id: &str, claims: Claims) -> Result<Option<Scope>, Problem> {
        let env = self.caller.env;
        let found = ask::document(env, DEFAULT_SCOPE, Some(claims), &listed(id)).await?;
        found.as_deref().map(read).transpose()
    }
}

/// The name under which the default scope's hub keeps a scope.
fn listed(id: &str) -> String {
    format!("{LIST}{id}")
}

fn read(text: &RawValue) -> Result<Scope, Problem> {
    let scope = serde_json::from_str(text.get());
    scope.map_err(|error| Problem::internal(format!("a scope cannot be read: {error}")))
}

/// True if there is such a scope.
pub(super) async fn is_scope(env: &Env, id: &str) -> Result<bool, Problem> {
    let found = ask::document(env, DEFAULT_SCOPE, None, &listed(id)).await?;
    Ok(found.is_some())
}

pub(super) fn no_such(id: &str) -> Problem {
    Problem::not_found(format!("No such scope: {id}"))
}
