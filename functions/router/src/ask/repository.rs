//! Asking what follows a scope's policy.

use platform::Object;
use protocol::Problem;
use protocol::repository::{
    Looked, RepositoryAnswer, RepositoryRequest, RepositoryState, Source, Why,
};
use worker::Env;

use super::unexpected;

/// Has somebody look for a scope's policy: how that ended, for who waits. `source` is what the
/// scope follows from now on; none for the default one, which follows what the settings say.
///
/// # Errors
/// What was wrong with what was found; 503 if the answer is lost.
pub(crate) async fn look(
    env: &Env,
    scope: &str,
    source: Option<Source>,
    why: Why,
    wait: bool,
) -> Result<Option<Looked>, Problem> {
    let request = RepositoryRequest::Look { source: source.map(Box::new), why, wait };
    match call_repository(env, scope, &request).await? {
        RepositoryAnswer::Noted => Ok(None),
        RepositoryAnswer::Looked(looked) => Ok(Some(looked)),
        other => Err(unexpected("a look", &other)),
    }
}

/// How the policy stands that a scope follows.
///
/// # Errors
/// 503 if the answer is lost.
pub(crate) async fn repository(env: &Env, scope: &str) -> Result<RepositoryState, Problem> {
    match call_repository(env, scope, &RepositoryRequest::State).await? {
        RepositoryAnswer::State(state) => Ok(*state),
        other => Err(unexpected("its state", &other)),
    }
}

/// A scope follows nothing any more.
///
/// # Errors
/// 503 if the answer is lost.
pub(crate) async fn forget(env: &Env, scope: &str) -> Result<(), Problem> {
    call_repository(env, scope, &RepositoryRequest::Forget).await.map(drop)
}

async fn call_repository(
    env: &Env,
    scope: &str,
    asked: &RepositoryRequest,
) -> Result<RepositoryAnswer, Problem> {
    let answer = platform::ask::<Result<_, Problem>>(env, Object::Repository, scope, asked).await;
    answer.map_err(|_| {
        Problem::unavailable(
            "what follows the policy did not answer; ask again, which does no harm",
        )
    })?
}
