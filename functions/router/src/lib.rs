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
//! | What is the hub asked, and what if it does not answer? | `ask` |
//! | How do many ask it at the same time? | `together` |
//! | How is it reached? | `exchange` |
//! | How is a refusal answered? | `answer` |
//! | Which pages may a browser ask us from? | `cors` |

// Exports the Durable Object's class.
pub use hub::Hub;

mod answer;
mod ask;
mod cors;
mod exchange;
mod handlers;
pub mod routes;
mod settings;
mod together;

#[cfg(all(test, target_arch = "wasm32"))]
mod in_node;

use together::Caller;
use worker::{Context, Env, Request, Response, Result, event};

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
    let response = match handlers::serve(request, Caller { env: &env, context: &context }).await {
        Ok(response) => response,
        Err(problem) => answer::problem(&problem)?,
    };
    origin.allow(response)
}
