//! What the functions need of the Workers platform: the Worker's variables, and exchanges with
//! its Durable Objects.
//!
//! It decides nothing. What is asked and answered is in [`protocol::internal`] and
//! [`protocol::repository`].
//!
//! | question | file |
//! |---|---|
//! | How is a Durable Object asked, and how does it answer? | `lib.rs` |
//! | What is a variable of the Worker? | [`variable`] |
//! | What time is it? | [`now`] |

use std::fmt::Display;

use protocol::internal::{CALL_PATH, SCOPE_HEADER, decider_name, hub_name};
use protocol::repository::repository_name;
use protocol::{Millis, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use worker::js_sys::{Reflect, Uint8Array};
use worker::{Date, Env, Method, Request, RequestInit, Response, console_error};

/// A Durable Object is asked by its stub; the host of the address means nothing.
const ORIGIN: &str = "http://object";

/// The classes of Durable Objects. Each scope has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// The topic hub.
    Hub,
    /// What follows the repository of the scope's policy.
    Repository,
    /// What decides for the scope, one at each of these locations; wherever it is asked from first
    /// without any.
    Decider(Option<&'static str>),
}

impl Object {
    /// The namespace's name in `wrangler.toml`.
    const fn binding(self) -> &'static str {
        match self {
            Self::Hub => "HUB",
            Self::Repository => "REPOSITORY",
            Self::Decider(_) => "DECIDER",
        }
    }

    fn name(self, scope: &str) -> String {
        match self {
            Self::Hub => hub_name(scope),
            Self::Repository => repository_name(scope),
            Self::Decider(location) => decider_name(scope, location),
        }
    }
}

/// There is no answer that can be read: the object may have done what it was asked, or not. Why
/// is in the operator's log.
#[derive(Clone, Copy, Debug)]
pub struct Lost;

/// Asks a scope's object `asked`, and reads its answer.
///
/// # Errors
/// The answer is lost.
pub async fn ask<A: DeserializeOwned>(
    env: &Env,
    object: Object,
    scope: &str,
    asked: &(impl Serialize + ?Sized),
) -> Result<A, Lost> {
    let body = serde_json::to_vec(asked).map_err(|error| lost(object, error))?;
    let mut init = RequestInit::new();
    // Bytes: the platform would turn a string into UTF-16 and back.
    init.with_method(Method::Post).with_body(Some(Uint8Array::from(&*body).into()));
    let request = request(CALL_PATH, &init).map_err(|error| lost(object, error))?;
    decode(object, fetch(env, object, scope, request).await?).await
}

/// A request to an object.
///
/// # Errors
/// Only what the platform refuses.
pub fn request(path: &str, init: &RequestInit) -> Result<Request, Problem> {
    Request::new_with_init(&format!("{ORIGIN}{path}"), init).map_err(problem)
}

/// Sends a request to a scope's object.
///
/// # Errors
/// The answer is lost.
pub async fn fetch(
    env: &Env,
    object: Object,
    scope: &str,
    mut request: Request,
) -> Result<Response, Lost> {
    let stub = env.durable_object(object.binding()).and_then(|namespace| {
        let name = object.name(scope);
        match object {
            Object::Decider(Some(location)) => {
                namespace.id_from_name(&name)?.get_stub_with_location_hint(location)
            }
            _ => namespace.get_by_name(&name),
        }
    });
    let stub = stub.map_err(|error| lost(object, error))?;
    let named = request.headers_mut().and_then(|headers| headers.set(SCOPE_HEADER, scope));
    named.map_err(|error| lost(object, error))?;
    stub.fetch_with_request(request).await.map_err(|error| lost(object, error))
}

/// Reads what an object answered.
///
/// # Errors
/// It cannot be read.
pub async fn decode<A: DeserializeOwned>(
    object: Object,
    mut response: Response,
) -> Result<A, Lost> {
    let body = response.bytes().await.map_err(|error| lost(object, error))?;
    serde_json::from_slice(&body).map_err(|error| lost(object, error))
}

/// Something for an object as JSON.
///
/// # Errors
/// Only if memory for it cannot be had.
pub fn encode<T: Serialize>(value: &T) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(|error| Problem::internal(error.to_string()))
}

/// An object's answer, with the status of a refusal.
///
/// # Errors
/// Only what the platform refuses.
pub fn answer<T: Serialize>(outcome: &Result<T, Problem>) -> worker::Result<Response> {
    let status = outcome.as_ref().err().map_or(200, |problem| problem.status);
    Ok(Response::from_json(outcome)?.with_status(status))
}

/// What the platform refuses is our fault.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
#[must_use]
pub fn problem(error: worker::Error) -> Problem {
    Problem::internal(error.to_string())
}

/// The time. It stands still between two awaits: the platform moves it with what comes from outside.
#[must_use]
pub fn now() -> Millis {
    Millis(Date::now().as_millis())
}

/// A variable or secret of the Worker by its whole name; none if it is not set or blank.
///
/// Both are plain strings of the environment. It is not asked through [`Env::var`], which throws
/// where workerd gives `null` for a variable that is not set.
#[must_use]
pub fn variable(env: &Env, name: &str) -> Option<String> {
    let value = Reflect::get(env, &name.into()).ok()?.as_string()?;
    Some(value).filter(|value| !value.trim().is_empty())
}

/// A setting: the variable `GIRASOL_<name>`, else `OPAL_<name>`.
#[must_use]
pub fn setting(env: &Env, name: &str) -> Option<String> {
    ["GIRASOL", "OPAL"].iter().find_map(|prefix| variable(env, &format!("{prefix}_{name}")))
}

fn lost(object: Object, cause: impl Display) -> Lost {
    console_error!("the answer of {object:?} was lost: {cause}");
    Lost
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;
    use worker::js_sys::Object;
    use worker::wasm_bindgen::{JsCast as _, JsValue};

    use super::*;

    #[wasm_bindgen_test]
    fn a_refusal_travels_with_its_status() {
        let response = answer(&Err::<(), _>(Problem::conflict("taken"))).unwrap();
        assert_eq!(response.status_code(), 409);
    }

    #[wasm_bindgen_test]
    fn our_name_of_a_setting_goes_before_opals_and_null_is_no_value() {
        let env = Object::new();
        for (name, value) in [
            ("GIRASOL_A", JsValue::NULL),
            ("OPAL_A", "opals".into()),
            ("GIRASOL_B", "ours".into()),
            ("OPAL_B", "opals".into()),
            ("GIRASOL_C", " ".into()),
        ] {
            Reflect::set(&env, &name.into(), &value).unwrap();
        }
        let env: Env = env.unchecked_into();
        assert_eq!(setting(&env, "A").as_deref(), Some("opals"));
        assert_eq!(setting(&env, "B").as_deref(), Some("ours"));
        assert_eq!((setting(&env, "C"), setting(&env, "D")), (None, None));
    }
}
