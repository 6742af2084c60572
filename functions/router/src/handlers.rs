//! What each [`Action`] does: verify, call one function, answer.

use futures::StreamExt as _;
use protocol::internal::Session;
use protocol::{Claims, DEFAULT_SCOPE, Millis, Problem, limits, socket::SUBPROTOCOL};
use publish::Published;
use serde_json::json;
use worker::{Date, Env, Request, Response};

use crate::routes::{Action, Found, find};
use crate::settings::authority;
use crate::together::Caller;
use crate::{answer, ask};

/// How many times its limit a body is read for the sake of the one who sends it.
const DRAINED_LIMITS: usize = 32;

/// Serves one request.
pub(crate) async fn serve(mut request: Request, caller: Caller<'_>) -> Result<Response, Problem> {
    let env = caller.env;
    match find(request.method().as_ref(), &request.path()) {
        Found::Action(Action::Health) => answer::ok(&json!({ "status": "ok" })),
        Found::Action(Action::Jwks) => answer::ok(&authority(env)?.jwks()),
        Found::Action(Action::Mint) => {
            let authority = authority(env)?;
            let body = small_body(&mut request).await?;
            answer::ok(&authority.mint(authorization(&request).as_deref(), &body, now())?)
        }
        Found::Action(Action::Renew) => {
            // The moment before the hub is asked is the moment of issue: what it revokes later
            // by subject is what was issued earlier.
            let bearer = authorization(&request);
            let (claims, renewal) = authority(env)?.renew(bearer.as_deref(), now())?;
            ask::check(env, DEFAULT_SCOPE, claims).await?;
            answer::ok(&renewal)
        }
        Found::Action(Action::Revoke) => {
            let authority = authority(env)?;
            let body = small_body(&mut request).await?;
            let revoked = authority.revocation(authorization(&request).as_deref(), &body)?;
            let closed = ask::revoke(env, DEFAULT_SCOPE, revoked.clone()).await?;
            answer::ok(&json!({ "status": "ok", "revoked": revoked, "closed_sockets": closed }))
        }
        Found::Action(Action::Publish) => {
            let claims = authenticate(&request, env)?;
            let limit = limits::MAX_UPDATE_BYTES;
            let body = body(&mut request, limit, Problem::update_too_large).await?;
            let (id, update) = publish::accept(&claims, &body)?;
            let wait = publish::query::wait(&query(&request))?;
            let (seq, receipts) =
                ask::append(caller, DEFAULT_SCOPE, &id, update, claims, wait).await?;
            answer::ok(&Published::new(id, seq, receipts))
        }
        Found::Action(Action::ReadLog) => {
            let claims = authenticate(&request, env)?;
            let wanted = publish::query::log(&query(&request))?;
            let mut page = ask::read_log(env, DEFAULT_SCOPE, claims, wanted).await?;
            publish::inspection::hide_credentials(&mut page);
            answer::ok(&page)
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
    ask::open_socket(env, &session).await
}

/// Verifies the caller's token.
fn authenticate(request: &Request, env: &Env) -> Result<Claims, Problem> {
    authority(env)?.authenticate(authorization(request).as_deref(), now())
}

/// A body that is not an update.
async fn small_body(request: &mut Request) -> Result<Vec<u8>, Problem> {
    let limit = limits::MAX_SMALL_BODY_BYTES;
    let refuse = |bytes| {
        Problem::too_large(format!("the body has at least {bytes} bytes, the limit is {limit}"))
    };
    body(request, limit, refuse).await
}

/// Reads a body of at most `limit` bytes. What is over it is read too, up to a bound, and
/// thrown away: who is still sending would otherwise find the connection reset and never
/// see the answer.
async fn body(
    request: &mut Request,
    limit: usize,
    refuse: impl FnOnce(usize) -> Problem,
) -> Result<Vec<u8>, Problem> {
    let broken = |error: worker::Error| Problem::new(400, format!("the body broke off: {error}"));
    if announced_size(request).is_some_and(|size| size <= limit) {
        // One piece costs a fraction of a stream, which is several promises a chunk.
        let body = request.bytes().await.map_err(broken)?;
        return if body.len() > limit { Err(refuse(body.len())) } else { Ok(body) };
    }
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
    if size > limit { Err(refuse(size)) } else { Ok(body) }
}

/// The body's size, if it is announced; the platform sees to it that it is not exceeded.
fn announced_size(request: &Request) -> Option<usize> {
    header(request, "Content-Length")?.parse().ok()
}

/// What stands behind the `?` of the address.
fn query(request: &Request) -> String {
    let url = request.inner().url();
    let query = url.split_once('?').map(|(_, query)| query.to_owned());
    query.unwrap_or_default()
}

fn authorization(request: &Request) -> Option<String> {
    header(request, "Authorization")
}

fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).ok().flatten()
}

fn now() -> Millis {
    Millis(Date::now().as_millis())
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use serde_json::Value;
    use wasm_bindgen_test::wasm_bindgen_test;
    use worker::Method;

    use super::*;
    use crate::in_node::{MASTER, context, env, env_with_hub, request};

    /// The status and body that a caller sees.
    async fn call(request: Request) -> (u16, Value) {
        call_in(&env(), request).await
    }

    async fn call_in(env: &Env, request: Request) -> (u16, Value) {
        let caller = Caller { env, context: &context() };
        let mut response = match serve(request, caller).await {
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

    /// A token of this type.
    async fn token(of: &str) -> String {
        let body = format!(r#"{{"type":"{of}"}}"#);
        let (_, minted) = call(request(Method::Post, "/token", Some(MASTER), Some(&body))).await;
        minted["token"].as_str().unwrap().to_owned()
    }

    #[wasm_bindgen_test]
    async fn a_lost_answer_names_the_id_to_publish_again_with() {
        let token = token("datasource").await;
        let publish = |body: &str| request(Method::Post, "/data/config", Some(&token), Some(body));
        for fetch in ["throw new Error('secret cause')", "return new Response('<html>')"] {
            let env = env_with_hub(fetch);
            let mine = publish(r#"{"id":"mine","entries":[{"data":{}}]}"#);
            let (status, body) = call_in(&env, mine).await;
            let said = "the hub did not answer; publish again with id `mine`, which has one effect";
            assert_eq!((status, body), (503, json!({ "detail": said })));
            let (_, body) = call_in(&env, publish(r#"{"entries":[{"data":{}}]}"#)).await;
            let id = body["detail"].as_str().unwrap().split('`').nth(1).unwrap();
            assert_eq!(id.len(), 32, "{body}");
        }
    }

    #[wasm_bindgen_test]
    async fn an_upgrade_that_the_hub_refuses_is_answered_like_every_refusal() {
        let token = token("client").await;
        for (fetch, expected, words) in [
            ("throw new Error('secret cause')", 503, "connect again"),
            (
                r#"return new Response('{"Err":{"status":503,"detail":"no storage"}}', {status: 503})"#,
                503,
                "no storage",
            ),
            (
                r#"return new Response('{"Err":{"status":500,"detail":"secret cause"}}', {status: 500})"#,
                500,
                "the operator's log",
            ),
        ] {
            let mut upgrade = request(Method::Get, "/ws", Some(&token), None);
            let headers = upgrade.headers_mut().unwrap();
            headers.set("Upgrade", "websocket").unwrap();
            headers.set("Sec-WebSocket-Protocol", SUBPROTOCOL).unwrap();
            let (status, body) = call_in(&env_with_hub(fetch), upgrade).await;
            assert_eq!(status, expected, "{body}");
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.contains(words) && !detail.contains("secret cause"), "{detail}");
        }
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
