//! Decisions at the edge, as an OPA answers them.

use ::decide::{DecideRequest, Decided, settings};
use decision::{MAX_BODY_BYTES, Reply};
use platform::{Object, setting};
use protocol::{Problem, Seq};
use worker::{Env, Response};

use super::Asked;

/// Which update a decision must have seen.
const AT_LEAST: &str = "X-Girasol-At-Least";
/// Everything up to which update a decision has seen.
const SEQ: &str = "X-Girasol-Seq";
/// So many seconds ago there was nothing newer.
const AGE: &str = "X-Girasol-Age";

/// `GET /health`.
pub(super) fn health() -> Result<Response, Problem> {
    respond(Decided::from(Reply::healthy()))
}

/// `GET` and `POST` below `/v1/data` and of `/v1/query`, `POST` below `/v0/data`, and `POST /`.
pub(super) async fn decide(mut asked: Asked<'_>) -> Result<Response, Problem> {
    let scope = asked.path_scope()?;
    let claims = asked.authenticate()?;
    claims.require_scope(&scope)?;
    let at_least = match asked.header(AT_LEAST) {
        None => Seq::ZERO,
        Some(text) => text.trim().parse().map(Seq).map_err(|_| {
            let hint = "give the `seq` that a publish answered, such as 17";
            Problem::new(400, format!("header {AT_LEAST}: {hint}"))
        })?,
    };
    let body = match asked.body_of_at_most(MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(problem) if problem.status == 413 => {
            return respond(Decided::from(Reply::invalid_parameter("request body too large")));
        }
        Err(problem) => return Err(problem),
    };
    // What is no text is no JSON, and is told so.
    let body = String::from_utf8_lossy(&body).into_owned();
    let env = asked.caller.env;
    let path = asked.request.path();
    let path = match asked.is_scoped() {
        true => path.splitn(4, '/').nth(3).map_or_else(String::new, |rest| format!("/{rest}")),
        false => path,
    };
    let location = location(env, &asked)?;
    let request = DecideRequest {
        claims,
        method: asked.request.method().to_string(),
        path,
        query: asked.query(),
        content_type: asked.header("Content-Type"),
        body,
        at_least,
    };
    let decided =
        platform::ask::<Result<Decided, Problem>>(env, Object::Decider(location), &scope, &request)
            .await;
    let lost = |_| Problem::unavailable("what decides did not answer; ask again");
    respond(decided.map_err(lost)??)
}

fn location(env: &Env, asked: &Asked<'_>) -> Result<Option<&'static str>, Problem> {
    let continent = asked.request.cf().and_then(worker::Cf::continent);
    settings::location(&|name| setting(env, name), continent.as_deref())
}

fn respond(decided: Decided) -> Result<Response, Problem> {
    let Decided { status, content_type, location, body, seq, age_ms } = decided;
    let response = Response::ok(body).map_err(platform::problem)?.with_status(status);
    let headers = response.headers();
    headers.delete("Content-Type").map_err(platform::problem)?;
    #[expect(clippy::cast_precision_loss, reason = "ages are not of thousands of years")]
    let age = format!("{:.3}", age_ms as f64 / 1_000.0);
    let named = [
        ("Content-Type", content_type),
        ("Location", location),
        (SEQ, Some(seq.to_string())),
        (AGE, Some(age)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            headers.set(name, &value).map_err(platform::problem)?;
        }
    }
    Ok(response)
}
