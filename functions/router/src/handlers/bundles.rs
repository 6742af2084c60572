//! Bundles for an OPA without an agent (`spec/opa-and-grants.md` part 2): what is asked for, who
//! waits, what is answered.

use protocol::{Claims, Problem, Seq};
use publish::bundle::query::{Preference, Recipe, check_name};
use publish::bundle::tag::Tag;
use publish::bundle::{ARCHIVE_TYPE, Answer, LONG_POLL_TYPE, Made, Replay};
use worker::Response;

use platform::problem as platform;

use super::{Asked, repository};
use crate::settings::authority;
use crate::{answer, ask};

/// A bundle, or that it is the one that the caller has.
pub(super) async fn get(asked: Asked<'_>) -> Result<Response, Problem> {
    let scope = asked.path_scope()?;
    let claims = asked.authenticate()?;
    claims.require_scope(&scope)?;
    check_name(asked.named.last().map_or("", String::as_str))?;
    let recipe = Recipe::parse(&asked.query(), &claims)?;
    let preference = Preference::parse(&asked.header("Prefer").unwrap_or_default());
    let known = asked.header("If-None-Match").and_then(|header| Tag::parse(&header));
    let made = make(&asked, &scope, claims, &recipe, known.as_ref(), preference).await?;
    respond(&made, preference)
}

async fn make(
    asked: &Asked<'_>,
    scope: &str,
    claims: Claims,
    recipe: &Recipe,
    known: Option<&Tag>,
    preference: Preference,
) -> Result<Answer, Problem> {
    let env = asked.caller.env;
    // What was made in another way is another bundle, of whichever moment.
    let same = known.filter(|known| known.recipe == recipe.digest());
    // Who asks only for the head of the answer does not wait.
    let waits = asked.request.method().as_ref() != "HEAD";
    let wait_ms = if waits { preference.wait_ms() } else { 0 };
    let moment = same.map(|known| known.mark.clone());
    let mark =
        ask::watch(env, scope, claims.clone(), recipe.ingredients(), moment, wait_ms).await?;
    if let Some(same) = same.filter(|same| same.mark == mark) {
        return Ok(Answer::Unchanged(same.clone()));
    }
    let policy = match recipe.policy {
        true => {
            let policy = ask::policy(env, scope, claims.clone(), None).await?;
            if policy.is_none() {
                let scope = asked.find_scope(scope, claims).await?;
                return Err(repository::not_there(env, scope.as_ref()).await);
            }
            policy
        }
        false => None,
    };
    let mut replay = Replay::default();
    let mut after = recipe.data.then_some(Seq::ZERO);
    while let Some(from) = after {
        let page = ask::replay(env, scope, claims.clone(), recipe.topics.clone(), from).await?;
        after = replay.take(page)?;
    }
    let authority = authority(env)?;
    let sign = |claims| authority.sign_bundle(claims);
    let sign = authority.signs_bundles().then_some(&sign as publish::bundle::Sign<'_>);
    let takes_delta = preference.delta && recipe.deltas.unwrap_or(sign.is_none());
    Made::new(recipe, policy.as_deref(), replay, mark)?.answer(same, takes_delta, sign)
}

/// The type says that the caller may wait: without it an OPA that does goes back to asking
/// periodically.
fn respond(made: &Answer, preference: Preference) -> Result<Response, Problem> {
    let (tag, response) = match made {
        Answer::Unchanged(tag) => (tag, answer::empty(304)?),
        Answer::Bundle(tag, bytes) => (tag, Response::from_bytes(bytes.clone()).map_err(platform)?),
    };
    let content_type = if preference.wait.is_some() { LONG_POLL_TYPE } else { ARCHIVE_TYPE };
    let headers = response.headers();
    // It is for the bearer alone, and nobody between may make other bytes of it.
    for (name, value) in [
        ("Content-Type", content_type),
        ("ETag", tag.to_string().as_str()),
        ("Cache-Control", "private, no-cache, no-transform"),
    ] {
        headers.set(name, value).map_err(platform)?;
    }
    Ok(response)
}
