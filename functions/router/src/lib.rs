//! The Worker: the only crate that becomes a WebAssembly module.
//!
//! It finds the [route](routes), verifies the caller's token, and hands over to a
//! function. It decides nothing else, and it is the only place that knows all functions.
//!
//! | question | file |
//! |---|---|
//! | Which paths are there, and who may use them? | [`routes`] |
//! | What does a path do? | `handlers` |
//! | Where do settings come from? | `settings` |
//! | What are hub and repository asked, and what if they do not answer? | `ask` |
//! | How do many ask it at the same time? | `together` |
//! | How is a refusal answered? | `answer` |
//! | Which pages may a browser ask us from? | `cors` |

// Exports the Durable Objects' classes.
pub use decide::Decider;
pub use hub::Hub;
pub use repository::Repository;

mod answer;
mod ask;
mod cors;
mod handlers;
pub mod routes;
mod settings;
mod together;

#[cfg(all(test, target_arch = "wasm32"))]
mod in_node;

use together::Caller;
use worker::{Context, Env, Request, Response, Result, ScheduleContext, ScheduledEvent, event};

#[event(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    let origin = cors::Origin::of(&request, &env);
    if let Some(preflight) = origin.preflight(&request)? {
        return Ok(preflight);
    }
    handlers::repository::start(&env, &context);
    let response = match handlers::serve(request, Caller { env: &env, context: &context }).await {
        Ok(response) => response,
        Err(problem) => answer::problem(&problem)?,
    };
    origin.allow(response)
}

/// Each minute, by `wrangler.toml`. Where nobody calls this, the repository's alarm does it all
/// after the first request.
#[event(scheduled)]
async fn scheduled(_: ScheduledEvent, env: Env, _: ScheduleContext) {
    handlers::repository::tick(&env).await;
}
