//! Settings from the Worker's variables and secrets: `GIRASOL_<NAME>`, else OPAL's name.

use std::sync::OnceLock;

use protocol::Problem;
use token::{Authority, Settings};
use worker::js_sys::Reflect;
use worker::{Env, console_error};

/// The isolate's authority: a Worker's variables never change while it runs, and keys are
/// slow to read.
static AUTHORITY: OnceLock<Result<Authority, String>> = OnceLock::new();

/// The authority that the settings describe.
///
/// # Errors
/// 503 that names the setting if a key cannot be read.
pub(crate) fn authority(env: &Env) -> Result<&'static Authority, Problem> {
    let made = AUTHORITY.get_or_init(|| {
        let settings = Settings {
            master_token: read(env, "AUTH_MASTER_TOKEN"),
            private_key: read(env, "AUTH_PRIVATE_KEY"),
            public_keys: read(env, "AUTH_PUBLIC_KEY"),
            audience: read(env, "AUTH_JWT_AUDIENCE"),
            issuer: read(env, "AUTH_JWT_ISSUER"),
        };
        Authority::new(&settings).map_err(|error| {
            console_error!("{error}");
            error.to_string()
        })
    });
    made.as_ref().map_err(|error| Problem::unavailable(error.clone()))
}

/// Variables and secrets are both plain strings of the environment. It is not asked through
/// [`Env::var`], which throws where workerd gives `null` for a variable that is not set.
fn read(env: &Env, name: &str) -> Option<String> {
    ["GIRASOL", "OPAL"].iter().find_map(|prefix| {
        let value = Reflect::get(env, &format!("{prefix}_{name}").into()).ok()?.as_string()?;
        Some(value).filter(|value| !value.trim().is_empty())
    })
}
