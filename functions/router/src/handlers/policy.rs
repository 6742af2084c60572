//! Policies: who pushes them, who fetches them.

use protocol::opal::policy::{self, Files};
use protocol::{PeerType, Problem, json, limits};
use serde::Deserialize;
use serde_json::json;
use worker::{Env, Response, console_warn};

use super::Asked;
use crate::{answer, ask, settings};

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
        None => Err(Problem::unavailable(
            "policy repo was not found; give a policy with `edge-agent policy push DIR`",
        )),
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
    let body = asked.body_of_at_most(limits::MAX_POLICY_BYTES).await?;
    let Body { files, revision } = json::parse(&body)?;
    if let Some(revision) = &revision {
        policy::check_revision(revision)?;
    }
    policy::check(&files)?;
    let env = asked.caller.env;
    let files = pass_gate(env, &scope, files)?;
    let (hash, changed) = ask::set_policy(env, &scope, claims, files, revision).await?;
    answer::ok(&json!({ "status": "ok", "hash": hash, "changed": changed }))
}

/// The files that may become a scope's policy: all of them without the tests.
///
/// It computes here and not in the scope's hub, which has others to answer meanwhile.
///
/// # Errors
/// 422 with file, line and reason of each mistake, which the log has, too.
fn pass_gate(env: &Env, scope: &str, mut files: Files) -> Result<Files, Problem> {
    rego::gate::check(&files, &settings::gate(env)).map_err(|refused| {
        console_warn!("the policy that was pushed to the scope {scope} is refused: {refused}");
        Problem::from(refused)
    })?;
    files.retain(|path, _| !rego::is_test(path));
    if files.is_empty() {
        return Err(Problem::invalid("files: give at least one that is no test"));
    }
    Ok(files)
}
