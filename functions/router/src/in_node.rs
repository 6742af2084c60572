//! What the tests in Node have of the platform: its own `Request` and `Response`, and instead of
//! a hub, which only a real runtime has, one that answers as it is told.

use wasm_bindgen::{JsCast as _, JsValue};
use worker::js_sys::{Function, Object, Reflect};
use worker::{Context, Env, Method, Request, RequestInit};

pub(crate) const MASTER: &str = "the master token";
/// A key that only these tests use.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----";

/// What Node 20 lacks, and asking a hub needs.
const WITH_RESOLVERS: &str = "Promise.withResolvers ??= () => {
    const it = {};
    it.promise = new Promise((resolve) => { it.resolve = resolve; });
    return it;
};";

pub(crate) fn env() -> Env {
    let env = Object::new();
    // workerd gives null for a variable that is not set; OPAL's name is the second choice.
    for (name, value) in [
        ("GIRASOL_AUTH_MASTER_TOKEN", MASTER.into()),
        ("GIRASOL_AUTH_PRIVATE_KEY", JsValue::NULL),
        ("OPAL_AUTH_PRIVATE_KEY", PRIVATE_KEY.into()),
    ] {
        Reflect::set(&env, &name.into(), &value).unwrap();
    }
    env.unchecked_into()
}

/// An environment whose hub's `fetch`, a function of `request`, has this body.
pub(crate) fn env_with_hub(fetch: &str) -> Env {
    let namespace = format!(
        "{WITH_RESOLVERS}
        return new (class DurableObjectNamespace {{
            getByName() {{ return {{ fetch: async (request) => {{ {fetch} }} }}; }}
        }})()"
    );
    let namespace = Function::new_no_args(&namespace).call0(&JsValue::NULL).unwrap();
    let env = env();
    Reflect::set(&env, &"HUB".into(), &namespace).unwrap();
    env
}

/// The context of a request, which keeps nothing alive.
pub(crate) fn context() -> Context {
    let context = Object::new();
    let nothing = Function::new_no_args("");
    Reflect::set(&context, &"waitUntil".into(), &nothing).unwrap();
    Context::new(context.unchecked_into())
}

pub(crate) fn request(
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&str>,
) -> Request {
    let mut init = RequestInit::new();
    init.with_method(method).with_body(body.map(JsValue::from));
    let mut request = Request::new_with_init(&format!("http://girasol{path}"), &init).unwrap();
    if let Some(token) = token {
        request.headers_mut().unwrap().set("Authorization", &format!("Bearer {token}")).unwrap();
    }
    request
}
