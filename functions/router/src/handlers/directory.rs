//! The directory: users, tenants, roles, instances and relationships, asked for as Permit's facts
//! are (`spec/critical-updates.md` §3, §7).
//!
//! The project and the environment in the path are whatever the caller takes them for: a scope
//! has one of each. Who asks is looked at first, and a request that cannot be read travels to the
//! hub as the refusal that is due, as for the planes.

use ::directory::ScopeIds;
use platform::now;
use protocol::directory::{DirectoryRequest, Refusal, SEQ_HEADER, UPDATE_HEADER};
use protocol::internal::Receipts;
use protocol::{Claims, DEFAULT_SCOPE, PeerType, Problem, limits};
use publish::query;
use worker::Response;

use super::Asked;
use super::scopes::{is_scope, no_such};
use crate::settings::authority;
use crate::{answer, ask};

/// The header of an answer that says how many agents have what was written, of how many that were
/// waited for: `2/3`.
const APPLIED_HEADER: &str = "X-Girasol-Applied";

/// The ids by which Permit's SDKs call a scope.
pub(super) async fn ids(asked: Asked<'_>) -> Result<Response, Problem> {
    let scope = asked.path_scope()?;
    if let Some(claims) = asked.directory_claims()? {
        claims.require_scope(&scope)?;
        ask::check(asked.caller.env, DEFAULT_SCOPE, claims).await?;
    }
    if scope != DEFAULT_SCOPE && !is_scope(asked.caller.env, &scope).await? {
        return Err(no_such(&scope));
    }
    answer::ok(&ScopeIds::of(&scope))
}

/// Serves a request to the directory.
pub(super) async fn serve(mut asked: Asked<'_>) -> Result<Response, Problem> {
    let scope = asked.path_scope()?;
    let method = match asked.request.method().as_ref() {
        // The platform leaves the body of an answer to HEAD out.
        "HEAD" => "GET".to_owned(),
        other => other.to_owned(),
    };
    let is_change = method != "GET";
    let claims = asked.directory_claims()?;
    if let Some(claims) = &claims {
        if is_change {
            claims.require(PeerType::Datasource)?;
            claims.require_change(&scope)?;
        } else {
            claims.require_scope(&scope)?;
        }
    }
    // The hub of a scope that is not there must not come to be.
    if scope != DEFAULT_SCOPE && !is_scope(asked.caller.env, &scope).await? {
        return Err(no_such(&scope));
    }
    let query = asked.query();
    let wait = query::wait(&query)?.filter(|_| is_change);
    let body = match is_change {
        true => asked.body_of_at_most(limits::MAX_UPDATE_BYTES).await?,
        false => vec![],
    };
    let rest = asked.named.last().map(String::as_str).unwrap_or_default();
    let call = match query::segments(rest) {
        Some(segments) => ::directory::read(&method, &segments, &query, &body),
        None => {
            Err(Refusal::of_path("key", "it is not UTF-8 once its percent escapes are decoded"))
        }
    };
    let id = publish::new_id()?;
    let request = DirectoryRequest { claims, id, is_change, call };
    let (done, receipts) = ask::directory(asked.caller.env, &scope, request, wait).await?;
    let done = match done {
        Ok(done) => done,
        Err(refusal) => return refused(&refusal),
    };
    let response = match &done.body {
        Some(body) => answer::ok(body)?.with_status(done.status),
        None => answer::empty(done.status)?,
    };
    let seq = done.seq.map(|seq| (SEQ_HEADER, seq.to_string()));
    let id = done.id.map(|id| (UPDATE_HEADER, id));
    let applied = receipts.map(|it| (APPLIED_HEADER, applied(&it)));
    for (name, value) in seq.into_iter().chain(id).chain(applied) {
        response.headers().set(name, &value).map_err(platform::problem)?;
    }
    Ok(response)
}

fn refused(refusal: &Refusal) -> Result<Response, Problem> {
    if let Refusal::Other(problem) = refusal {
        // As every other one of this kind.
        return Err(problem.clone());
    }
    Ok(answer::ok(&refusal.body())?.with_status(refusal.status()))
}

fn applied(Receipts { expected, receipts, .. }: &Receipts) -> String {
    let applied = receipts.iter().filter(|it| it.receipt.applied).count();
    format!("{applied}/{expected}")
}

impl Asked<'_> {
    /// Who asks: a token's claims, or none for the master token, which may everything here.
    fn directory_claims(&self) -> Result<Option<Claims>, Problem> {
        let authorization = self.authorization();
        let authority = authority(self.caller.env)?;
        let refused = match authority.authenticate(authorization.as_deref(), now()) {
            Ok(claims) => return Ok(Some(claims)),
            Err(refused) => refused,
        };
        match authority.require_master(authorization.as_deref()) {
            Ok(()) => Ok(None),
            Err(_) => Err(refused),
        }
    }
}
