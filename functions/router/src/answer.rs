//! Answers: JSON, and refusals in OPAL's shape.

use protocol::Problem;
use serde::Serialize;
use worker::{Response, Result, console_error};

/// A 200 with a JSON body.
pub(crate) fn ok<T: Serialize>(body: &T) -> std::result::Result<Response, Problem> {
    Response::from_json(body).map_err(|error| Problem::internal(error.to_string()))
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
