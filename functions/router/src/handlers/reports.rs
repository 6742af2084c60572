//! What an OPA without an agent reports, and who reads it (`spec/opa-and-grants.md` §2.6).

use protocol::bundle::{Report, Reported};
use protocol::{Claims, Problem, limits};
use publish::report;
use serde_json::json;
use worker::Response;

use super::Asked;
use crate::{answer, ask};

/// Takes a status.
pub(super) async fn take_status(asked: Asked<'_>) -> Result<Response, Problem> {
    take(asked, report::status).await
}

/// Takes decisions.
pub(super) async fn take_decisions(asked: Asked<'_>) -> Result<Response, Problem> {
    take(asked, report::decisions).await
}

async fn take(
    mut asked: Asked<'_>,
    read: fn(Option<String>, &[u8]) -> Result<Report, Problem>,
) -> Result<Response, Problem> {
    let (scope, claims) = bearer(&asked)?;
    let names = usize::from(asked.is_scoped());
    let partition = asked.named.get(names).cloned();
    let body = asked.body_of_at_most(limits::MAX_REPORT_BYTES).await?;
    let encoding = asked.header("Content-Encoding");
    let report = read(partition, &report::text(encoding.as_deref(), body)?)?;
    ask::report(asked.caller.env, &scope, claims, report).await?;
    answer::ok(&json!({}))
}

/// The last status of each OPA.
pub(super) async fn statuses(asked: Asked<'_>) -> Result<Response, Problem> {
    show(asked, Reported::Statuses).await
}

/// The newest decisions.
pub(super) async fn decisions(asked: Asked<'_>) -> Result<Response, Problem> {
    let most = report::limit(&asked.query())?;
    show(asked, Reported::Decisions(most)).await
}

async fn show(asked: Asked<'_>, which: Reported) -> Result<Response, Problem> {
    let (scope, claims) = bearer(&asked)?;
    report::require_reader(&claims)?;
    let shown = ask::reported(asked.caller.env, &scope, claims, which).await?;
    answer::ok(&json!({ "result": shown }))
}

fn bearer(asked: &Asked<'_>) -> Result<(String, Claims), Problem> {
    let scope = asked.path_scope()?;
    let claims = asked.authenticate()?;
    claims.require_scope(&scope)?;
    Ok((scope, claims))
}
