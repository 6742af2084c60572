//! Scopes: each has a hub of its own, and the default scope's hub has the list of them.

use futures::future::join_all;
use protocol::internal::{Revocation, SCOPE_DOCUMENT};
use protocol::repository::Why;
use protocol::{Claims, DEFAULT_SCOPE, PeerType, Problem, limits};
use publish::scopes::Scope;
use serde_json::value::{RawValue, to_raw_value};
use worker::{Env, Response};

use super::repository::{self, Followed};
use super::{Asked, data, policy};
use crate::{answer, ask};

/// How the names begin under which the default scope's hub keeps the others.
const LIST: &str = "scopes/";
/// Hubs that are asked at the same time.
pub(super) const AT_ONCE: usize = 6;

/// Makes a scope, or changes it.
pub(super) async fn make(mut asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    let body = asked.body_of_at_most(limits::MAX_UPDATE_BYTES).await?;
    let scope = Scope::parse(&body)?;
    let id = scope.scope_id.clone();
    claims.require_change(&id)?;
    claims.require_topics(scope.data.topics())?;
    let text = to_raw_value(&scope).map_err(|error| Problem::internal(error.to_string()))?;
    let env = asked.caller.env;
    // In the list first: from then on a revocation reaches its hub, which gets the earlier ones.
    ask::keep(env, DEFAULT_SCOPE, claims.clone(), &listed(&id), Some(text.clone())).await?;
    let revocations = ask::revocations(env, DEFAULT_SCOPE).await?;
    ask::inherit(env, &id, revocations).await?;
    ask::keep(env, &id, claims, SCOPE_DOCUMENT, Some(text)).await?;
    match repository::source_of(env, &scope)? {
        Some(source) => {
            let is_forced = publish::query::last(&asked.query(), "force_fetch");
            let is_forced = is_forced.is_some_and(|value| value.eq_ignore_ascii_case("true"));
            let why = if is_forced { Why::Refresh } else { Why::Hint };
            ask::look(env, &id, Some(source), why, false).await?;
        }
        None => ask::forget(env, &id).await?,
    }
    answer::empty(201)
}

/// All scopes.
pub(super) async fn list(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    let scopes = all(asked.caller.env, Some(claims.clone())).await?;
    let may_see = |scope: &Scope| claims.require_change(&scope.scope_id).is_ok();
    let shown = scopes.into_iter().filter(may_see).map(Scope::shown);
    answer::ok(&shown.collect::<Vec<_>>())
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
        ask::forget(env, &id).await?;
        ask::clear(env, &id, claims.clone()).await?;
        ask::keep(env, DEFAULT_SCOPE, claims, &listed(&id), None).await?;
    }
    answer::empty(204)
}

/// Has somebody look at a scope's repository, unless its policy is the commit that is hinted at.
pub(super) async fn refresh(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_change_scope()?;
    let scope = asked.find_scope(&id, claims).await?.ok_or_else(|| no_such(&id))?;
    let env = asked.caller.env;
    // What was pushed last is not fetched again.
    let Some(source) = repository::source_of(env, &scope)? else { return answer::empty(200) };
    let hint = publish::query::last(&asked.query(), "hinted_hash");
    if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
        if ask::repository(env, &id).await?.revision.as_ref() != Some(&hint) {
            ask::look(env, &id, Some(source), Why::Hint, false).await?;
        }
    } else {
        ask::look(env, &id, Some(source), Why::Refresh, false).await?;
    }
    answer::empty(200)
}

/// Has somebody look at every scope's repository.
pub(super) async fn refresh_all(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    let env = asked.caller.env;
    let may_change = |followed: &Followed| claims.require_change(&followed.scope).is_ok();
    let all = repository::followed(env, Some(claims.clone())).await?;
    let all = all.into_iter().filter(may_change).collect();
    repository::look_at(env, all, Why::Hint).await?;
    answer::empty(200)
}

/// A scope's policy; that of the default one where there is no such scope, as in OPAL.
pub(super) async fn policy(asked: Asked<'_>) -> Result<Response, Problem> {
    let (claims, id) = asked.to_read_scope()?;
    match asked.find_scope(&id, claims).await? {
        Some(scope) => policy::answer_bundle(&asked, Some(&scope), &scope.directories()).await,
        None => policy::answer_bundle(&asked, None, &[]).await,
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

    pub(super) async fn find_scope(
        &self,
        id: &str,
        claims: Claims,
    ) -> Result<Option<Scope>, Problem> {
        let env = self.caller.env;
        let found = ask::document(env, DEFAULT_SCOPE, Some(claims), &listed(id)).await?;
        found.as_deref().map(read).transpose()
    }
}

/// The name under which the default scope's hub keeps a scope.
fn listed(id: &str) -> String {
    format!("{LIST}{id}")
}

/// Every scope but the default one.
pub(super) async fn all(env: &Env, claims: Option<Claims>) -> Result<Vec<Scope>, Problem> {
    let found = ask::documents(env, DEFAULT_SCOPE, claims, LIST).await?;
    found.values().map(|text| read(text)).collect()
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
