//! Policies: who pushes them, who fetches them.

use protocol::opal::policy::{self, Files};
use protocol::{DEFAULT_SCOPE, PeerType, Problem, json, limits};
use publish::scopes::Scope;
use serde::Deserialize;
use worker::{Response, console_warn};

use super::{Asked, repository};
use crate::{answer, ask, settings};

/// The bundle of the folders that the query names.
pub(super) async fn get(asked: Asked<'_>) -> Result<Response, Problem> {
    let folders = publish::query::all(&asked.query(), "path");
    answer_bundle(&asked, None, &folders).await
}

/// The bundle of these folders of a scope's policy, the default one's if there is none.
pub(super) async fn answer_bundle(
    asked: &Asked<'_>,
    scope: Option<&Scope>,
    folders: &[String],
) -> Result<Response, Problem> {
    let env = asked.caller.env;
    let id = scope.map_or(DEFAULT_SCOPE, |scope| &scope.scope_id);
    let claims = asked.authenticate()?;
    let base = publish::query::last(&asked.query(), "base_hash").filter(|hash| !hash.is_empty());
    match ask::policy(env, id, claims, base).await? {
        Some(policy) => answer::ok(&publish::policy::bundle(&policy, folders)?),
        None => answer::later(&repository::not_there(env, scope).await, 5),
    }
}

/// Makes what is sent the policy, if it passes the gate.
pub(super) async fn set(mut asked: Asked<'_>) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        files: Files,
        revision: Option<String>,
    }
    let scope = asked.path_scope()?;
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    claims.require_change(&scope)?;
    repository::refuse_push(&asked, &scope, &claims).await?;
    let body = asked.body_of_at_most(limits::MAX_POLICY_BYTES).await?;
    let Body { files, revision } = json::parse(&body)?;
    if let Some(revision) = &revision {
        policy::check_revision(revision)?;
    }
    let wait = publish::query::wait(&asked.query())?;
    let env = asked.caller.env;
    // It computes here and not in the scope's hub, which has others to answer meanwhile.
    let files =
        ::repository::gate::pass(files, settings::gate(env)?.as_ref()).inspect_err(|refused| {
            console_warn!("scope {scope}: the policy that was pushed is refused: {refused}");
        })?;
    let set = ask::set_policy(env, &scope, claims, files, revision, wait).await?;
    // If something was followed before, it is not what the policy is any more.
    ask::forget(env, &scope).await?;
    answer::ok(&set)
}
