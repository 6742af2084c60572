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
//! | How is the hub asked, and what if it does not answer? | `ask` |
//! | How is a refusal answered? | `answer` |

// Exports the Durable Object's class.
pub use hub::Hub;

mod answer;
mod ask;
mod handlers;
pub mod routes;
mod settings;

use worker::{Context, Env, Request, Response, Result, event};

#[event(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    match handlers::serve(request, &env).await {
        Ok(response) => Ok(response),
        Err(problem) => answer::problem(&problem),
    }
}
