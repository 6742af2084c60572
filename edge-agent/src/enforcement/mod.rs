//! May this user do this? The enforcement calls of Permit's PDP (`spec/critical-updates.md` §8) and
//! AuthZEN's evaluations, on the agent's own API.
//!
//! Each call is a question to package `permit` in the engine: the policy's own package, or the
//! built-in one. Nothing but the engine's `true` allows anything: what is undefined is denied, and
//! what went wrong is answered with a status and no decision.
//!
//! | question | file |
//! |---|---|
//! | What does the built-in policy allow? | `permit.rego` |
//! | When does it give way? | `policy.rs` |
//! | How is the engine asked, and what becomes of its failures? | `ask.rs` |
//! | What may a body look like? | `request.rs` |
//! | What does an answer of the policy mean? | `verdict.rs` |
//! | How is AuthZEN spoken? | `authzen.rs` |
//! | Who has which role? | `assignments.rs` |

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use protocol::Problem;

use crate::engine::Engine;
use crate::json::Json;
use crate::runtime::waiting::Waiting;

mod ask;
mod assignments;
mod authzen;
mod policy;
mod request;
mod verdict;

pub(crate) use authzen::echo;
pub(crate) use policy::{PACKAGE, POLICY, POLICY_ID, give_way, is_permit, module};
use verdict::Verdict;

/// What the routes work with.
pub(crate) struct Enforcement {
    engine: Arc<dyn Engine>,
    waiting: Waiting,
}

type Shared = State<Arc<Enforcement>>;

impl Enforcement {
    pub(crate) fn new(engine: Arc<dyn Engine>, waiting: Waiting) -> Self {
        Self { engine, waiting }
    }
}

/// The routes that everybody may ask, and those that need the key.
pub(crate) fn routers(enforcement: Enforcement) -> (Router, Router) {
    let open =
        Router::new().route("/.well-known/authzen-configuration", get(authzen::configuration));
    let guarded = Router::new()
        .route("/allowed", post(allowed))
        .route("/allowed/bulk", post(bulk))
        .route("/user-permissions", post(user_permissions))
        .route("/authorized_users", post(authorized_users))
        .route("/local/role_assignments", get(assignments::list))
        .route("/access/v1/evaluation", post(authzen::evaluation))
        .route("/access/v1/evaluations", post(authzen::evaluations))
        .route("/access/v1/search/{kind}", post(authzen::search))
        .with_state(Arc::new(enforcement));
    (open, guarded)
}

async fn allowed(State(shared): Shared, headers: HeaderMap, body: Body) -> Response {
    respond(async {
        let check = request::check(&request::text(body).await?)?;
        let verdict = shared.verdict(&headers, check).await?;
        Ok(Answer(verdict).into_response())
    })
    .await
}

async fn bulk(State(shared): Shared, headers: HeaderMap, body: Body) -> Response {
    respond(async {
        let (checks, number) = request::checks(&request::text(body).await?)?;
        let allow = shared.verdicts(&headers, checks, number).await?;
        Ok(Answer(verdict::Bulk { allow }).into_response())
    })
    .await
}

async fn user_permissions(State(shared): Shared, headers: HeaderMap, body: Body) -> Response {
    respond(async {
        let question = request::permissions(&request::text(body).await?)?;
        let answer = shared.ask(&headers, &ask::USER_PERMISSIONS, question).await?;
        Ok(whole(verdict::permissions(answer.as_ref())?))
    })
    .await
}

async fn authorized_users(State(shared): Shared, headers: HeaderMap, body: Body) -> Response {
    respond(async {
        let (question, resource) = request::users(&request::text(body).await?)?;
        let answer = shared.ask(&headers, &ask::AUTHORIZED_USERS, question).await?;
        match answer {
            Some(answer) => Ok(whole(verdict::object(&answer)?.to_owned())),
            None => Ok(Answer(verdict::nobody(&resource)).into_response()),
        }
    })
    .await
}

impl Enforcement {
    /// Asks about one check.
    async fn verdict(&self, headers: &HeaderMap, check: Json) -> Result<Verdict, Problem> {
        let answer = self.ask(headers, &ask::ROOT, check).await?;
        answer.map_or_else(|| Ok(Verdict::denied()), |answer| Verdict::read(answer.get()))
    }

    /// Asks about several checks, all of them at one moment of the data.
    async fn verdicts(
        &self,
        headers: &HeaderMap,
        checks: Json,
        number: usize,
    ) -> Result<Vec<Verdict>, Problem> {
        let answer = self.ask(headers, &ask::BULK, checks).await?;
        match answer {
            Some(answer) => verdict::all(&answer, number),
            None => Ok((0..number).map(|_| Verdict::denied()).collect()),
        }
    }
}

/// What an attempt comes to.
async fn respond(attempt: impl Future<Output = Result<Response, Problem>>) -> Response {
    attempt.await.unwrap_or_else(|problem| refuse(&problem))
}

fn refuse(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Answer(problem.body())).into_response()
}

/// JSON text as it is.
fn whole(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests;
