//! Policies: who pushes them, who fetches them.

use protocol::opal::policy::{self, Files};
use protocol::{PeerType, Problem, json, limits};
use serde::Deserialize;
use serde_json::json;
use worker::Response;

use super::Asked;
use crate::{answer, ask};

/// The bundle of the folders that the query names.
pub(super) async fn get(asked: Asked<'_>, scope: &str) -> Result<Response, Problem> {
    let folders = publish::query::all(&asked.query(), "path");
    answer_bundle(&asked, scope, &folders).await
}

/// The bundle of these folders.
pub(super) async fn answer_bundle(
    asked: &Asked<'_>,
    scope: &str,
    folders: &[String],
) -> Result<Response, Problem> {
    let claims = asked.authenticate()?;
    let base = publish::query::last(&asked.query(), "base_hash").filter(|hash| !hash.is_empty());
    match ask::policy(asked.caller.env, scope, claims, base).await? {
        Some(policy) => answer::ok(&publish::policy::bundle(&policy, folders)?),
        None => Err(missing()),
    }
}

/// Nobody has given a policy yet.
pub(super) fn missing() -> Problem {
    Problem::unavailable(
        "policy repo was not found; give a policy with `edge-agent policy push DIR`",
    )
}

/// Makes what is sent the policy.
pub(super) async fn set(mut asked: Asked<'_>) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        files: Files,
    }
    let scope = asked.path_scope()?;
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    claims.require_change(&scope)?;
    let body = asked.body_of_at_most(limits::MAX_POLICY_BYTES).await?;
    let Body { files } = json::parse(&body)?;
    policy::check(&files)?;
    let (hash, changed) = ask::set_policy(asked.caller.env, &scope, claims, files).await?;
    answer::ok(&json!({ "status": "ok", "hash": hash, "changed": changed }))
}
