//! What each [`Action`] does: verify, call one function, answer.

use futures::StreamExt as _;
use protocol::internal::{
    CALL_PATH, HubAnswer, HubRequest, SESSION_HEADER, SOCKET_PATH, Session, hub_name,
};
use protocol::{Claims, DEFAULT_SCOPE, Millis, Problem, limits, socket::SUBPROTOCOL};
use publish::Published;
use serde_json::json;
use wasm_bindgen::JsValue;
use worker::{Date, Env, Method, Request, RequestInit, Response, Stub};

use crate::answer;
use crate::routes::{Action, Found, find};
use crate::settings::authority;

/// The Durable Object namespace's name in `wrangler.toml`.
const HUB_BINDING: &str = "HUB";
/// How many times its limit a body is read for the sake of the one who sends it.
const DRAINED_LIMITS: usize = 32;
/// A Durable Object is asked by its stub; the host of the address means nothing.
const HUB_ORIGIN: &str = "http://hub";

/// Serves one request.
pub(crate) async fn serve(mut request: Request, env: &Env) -> Result<Response, Problem> {
    match find(request.method().as_ref(), &request.path()) {
        Found::Action(Action::Health) => answer::ok(&json!({ "status": "ok" })),
        Found::Action(Action::Jwks) => answer::ok(&authority(env)?.jwks()),
        Found::Action(Action::Mint) => {
            let authority = authority(env)?;
            let body = body(&mut request, limits::MAX_SMALL_BODY_BYTES).await?;
            let authorization = header(&request, "Authorization");
            answer::ok(&authority.mint(authorization.as_deref(), &body, now())?)
        }
        Found::Action(Action::Publish) => {
            let claims = authenticate(&request, env)?;
            let body = body(&mut request, limits::MAX_UPDATE_BYTES).await?;
            let (id, update) = publish::accept(&claims, &body)?;
            match call(&hub(env, DEFAULT_SCOPE)?, &HubRequest::Append(update)).await? {
                HubAnswer::Appended { seq } => answer::ok(&Published::new(id, seq)),
                HubAnswer::State { .. } => {
                    Err(Problem::internal("the hub answered something else"))
                }
            }
        }
        Found::Action(Action::Subscribe) => subscribe(&request, env).await,
        Found::OtherMethods(methods) => {
            Err(Problem::new(405, format!("Method Not Allowed; use {}", methods.join(" or "))))
        }
        Found::Nothing => Err(Problem::not_found("Not Found")),
    }
}

async fn subscribe(request: &Request, env: &Env) -> Result<Response, Problem> {
    if !header(request, "Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(Problem::new(426, "this is a websocket: send 'Upgrade: websocket'"));
    }
    let offered = header(request, "Sec-WebSocket-Protocol").unwrap_or_default();
    if !offered.split(',').any(|name| name.trim() == SUBPROTOCOL) {
        // The door of the OPAL dialect, which names no subprotocol. The status matters: at
        // 401 or 403 OPAL's clients reconnect in a tight loop (`spec/opal-protocol.md` §0.1).
        return Err(Problem::new(
            501,
            format!(
                "the OPAL dialect is not served yet; send 'Sec-WebSocket-Protocol: {SUBPROTOCOL}'"
            ),
        ));
    }
    let session = Session { scope: DEFAULT_SCOPE.to_owned(), claims: authenticate(request, env)? };
    let platform = |error: worker::Error| Problem::internal(error.to_string());
    let init = RequestInit::new();
    let forwarded =
        Request::new_with_init(&format!("{HUB_ORIGIN}{SOCKET_PATH}"), &init).map_err(platform)?;
    let session =
        serde_json::to_string(&session).map_err(|error| Problem::internal(error.to_string()))?;
    let mut forwarded = forwarded;
    let headers = forwarded.headers_mut().map_err(platform)?;
    for (name, value) in [("Upgrade", "websocket"), (SESSION_HEADER, session.as_str())] {
        headers.set(name, value).map_err(platform)?;
    }
    hub(env, DEFAULT_SCOPE)?.fetch_with_request(forwarded).await.map_err(platform)
}

/// Verifies the caller's token.
fn authenticate(request: &Request, env: &Env) -> Result<Claims, Problem> {
    authority(env)?.authenticate(header(request, "Authorization").as_deref(), now())
}

fn hub(env: &Env, scope: &str) -> Result<Stub, Problem> {
    env.durable_object(HUB_BINDING)
        .and_then(|namespace| namespace.get_by_name(&hub_name(scope)))
        .map_err(|error| Problem::internal(error.to_string()))
}

/// Asks a hub.
async fn call(hub: &Stub, request: &HubRequest) -> Result<HubAnswer, Problem> {
    let unreachable = |_| {
        Problem::unavailable(
            "the hub did not answer; publish again with the same id, which has one effect",
        )
    };
    let body =
        serde_json::to_string(request).map_err(|error| Problem::internal(error.to_string()))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(JsValue::from(body)));
    let request = Request::new_with_init(&format!("{HUB_ORIGIN}{CALL_PATH}"), &init)
        .map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = hub.fetch_with_request(request).await.map_err(unreachable)?;
    let body = response.bytes().await.map_err(unreachable)?;
    serde_json::from_slice::<Result<HubAnswer, Problem>>(&body)
        .map_err(|error| Problem::internal(error.to_string()))?
}

/// Reads a body of at most `limit` bytes. What is over it is read too, up to a bound, and
/// thrown away: who is still sending would otherwise find the connection reset and never
/// see the answer.
async fn body(request: &mut Request, limit: usize) -> Result<Vec<u8>, Problem> {
    let broken = |error: worker::Error| Problem::new(400, format!("the body broke off: {error}"));
    let mut chunks = match request.stream() {
        Ok(chunks) => chunks,
        // A request without a body has no stream either.
        Err(_) => return Ok(vec![]),
    };
    let (mut body, mut size) = (vec![], 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(broken)?;
        size = size.saturating_add(chunk.len());
        if size <= limit {
            body.extend_from_slice(&chunk);
        } else if size > limit.saturating_mul(DRAINED_LIMITS) {
            break;
        }
    }
    if size > limit {
        return Err(Problem::too_large(format!(
            "the body has {size} bytes or more, the limit is {limit}; publish a `url` to fetch from \
             instead of inline data, or split the update"
        )));
    }
    Ok(body)
}

fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).ok().flatten()
}

fn now() -> Millis {
    Millis(Date::now().as_millis())
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    //! In Node, with its own `Request` and `Response`: everything up to the hub, which only
    //! a real runtime has.

    use serde_json::Value;
    use wasm_bindgen::JsCast as _;
    use wasm_bindgen_test::wasm_bindgen_test;
    use worker::js_sys::{Object, Reflect};

    use super::*;

    const MASTER: &str = "the master token";
    /// A key that only these tests use.
    const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----";

    fn env() -> Env {
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

    fn request(method: Method, path: &str, token: Option<&str>, body: Option<&str>) -> Request {
        let mut init = RequestInit::new();
        init.with_method(method).with_body(body.map(JsValue::from));
        let mut request = Request::new_with_init(&format!("http://girasol{path}"), &init).unwrap();
        if let Some(token) = token {
            request
                .headers_mut()
                .unwrap()
                .set("Authorization", &format!("Bearer {token}"))
                .unwrap();
        }
        request
    }

    /// The status and body that a caller sees.
    async fn call(request: Request) -> (u16, Value) {
        let mut response = match serve(request, &env()).await {
            Ok(response) => response,
            Err(problem) => answer::problem(&problem).unwrap(),
        };
        (response.status_code(), response.json().await.unwrap())
    }

    #[wasm_bindgen_test]
    async fn both_health_paths_answer_ok() {
        for path in ["/", "/healthcheck"] {
            let answer = call(request(Method::Get, path, None, None)).await;
            assert_eq!(answer, (200, json!({"status": "ok"})));
        }
    }

    #[wasm_bindgen_test]
    async fn other_paths_and_methods_are_told_so() {
        let (status, body) = call(request(Method::Get, "/nope", None, None)).await;
        assert_eq!((status, body), (404, json!({"detail": "Not Found"})));
        let (status, body) = call(request(Method::Put, "/token", None, Some("{}"))).await;
        assert_eq!((status, body), (405, json!({"detail": "Method Not Allowed; use POST"})));
    }

    #[wasm_bindgen_test]
    async fn a_minted_token_is_one_that_the_key_set_verifies() {
        let (status, minted) =
            call(request(Method::Post, "/token", Some(MASTER), Some(r#"{"type":"client"}"#))).await;
        assert_eq!(status, 200, "{minted}");
        let token = minted["token"].as_str().unwrap();
        let (status, keys) = call(request(Method::Get, "/.well-known/jwks.json", None, None)).await;
        assert_eq!((status, keys["keys"].as_array().unwrap().len()), (200, 1));
        // A client's token is good, and still may not publish.
        let body = r#"{"entries":[{"data":{}}]}"#;
        let (status, refused) =
            call(request(Method::Post, "/data/config", Some(token), Some(body))).await;
        assert_eq!(status, 401);
        assert!(refused["detail"]["error"].as_str().unwrap().contains("datasource"), "{refused}");
    }

    #[wasm_bindgen_test]
    async fn a_body_over_the_limit_is_refused() {
        let large = "x".repeat(limits::MAX_SMALL_BODY_BYTES + 1);
        let (status, body) =
            call(request(Method::Post, "/token", Some(MASTER), Some(&large))).await;
        assert_eq!(status, 413, "{body}");
    }

    #[wasm_bindgen_test]
    async fn the_opal_dialects_door_does_not_send_clients_into_their_tight_loop() {
        let mut opal = request(Method::Get, "/ws", Some("wrong"), None);
        opal.headers_mut().unwrap().set("Upgrade", "websocket").unwrap();
        assert_eq!(call(opal).await.0, 501);
        assert_eq!(call(request(Method::Get, "/ws", None, None)).await.0, 426);
    }

    #[wasm_bindgen_test]
    async fn a_refused_token_names_the_scheme_and_a_fault_names_nothing() {
        let response = answer::problem(&Problem::unauthorized("no")).unwrap();
        assert_eq!(response.headers().get("WWW-Authenticate").unwrap().unwrap(), "Bearer");
        let mut response = answer::problem(&Problem::internal("secret cause")).unwrap();
        assert_eq!(response.status_code(), 500);
        assert!(!response.text().await.unwrap().contains("secret cause"));
    }
}
