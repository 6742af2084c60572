//! Answers: JSON, and refusals in OPAL's shape.

use protocol::Problem;
use serde::Serialize;
use worker::{Response, Result, console_error};

use platform::problem as platform;

/// A 200 with a JSON body.
pub(crate) fn ok<T: Serialize>(body: &T) -> std::result::Result<Response, Problem> {
    Response::from_json(body).map_err(|error| Problem::internal(error.to_string()))
}

/// A 200 with a text that never changes.
pub(crate) fn text(content_type: &str, body: &str) -> std::result::Result<Response, Problem> {
    let response = Response::ok(body).map_err(platform)?;
    response.headers().set("Content-Type", content_type).map_err(platform)?;
    Ok(response)
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> std::result::Result<Response, Problem> {
    Response::empty().map(|response| response.with_status(status)).map_err(platform)
}

/// Sends the caller to another address, with the same method.
pub(crate) fn redirect(location: &str) -> std::result::Result<Response, Problem> {
    let response = empty(307)?;
    response.headers().set("Location", location).map_err(platform)?;
    Ok(response)
}

/// A refusal that ends by itself: a 503 says when to ask again.
pub(crate) fn later(refused: &Problem, seconds: u32) -> std::result::Result<Response, Problem> {
    if refused.status != 503 {
        return Err(refused.clone());
    }
    let response = problem(refused).map_err(platform)?;
    response.headers().set("Retry-After", &seconds.to_string()).map_err(platform)?;
    Ok(response)
}

/// A refusal. What went wrong inside is logged here, and the caller hears only that it did.
pub(crate) fn problem(problem: &Problem) -> Result<Response> {
    let shown = if problem.status == 500 {
        console_error!("{problem}");
        &Problem::internal("the function failed; the operator's log says why")
    } else {
        problem
    };
    let response = Response::from_json(&shown.body())?.with_status(shown.status);
    if shown.status == 401 {
        response.headers().set("WWW-Authenticate", "Bearer")?;
    }
    Ok(response)
}
