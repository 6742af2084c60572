//! What each [`Action`] does: verify, call one function, answer.
//!
//! | question | file |
//! |---|---|
//! | Tokens, health, the log, who is connected? | this one |
//! | Where do updates and base sources come in and go out? | `data.rs` |
//! | Where do policies? | `policy.rs` |
//! | How is a decision made without an agent? | `decide.rs` |
//! | How is a policy followed, and who may ask for a look? | `repository.rs` |
//! | What does an OPA without an agent fetch, and report? | `bundles.rs`, `reports.rs` |
//! | How are grants made, and facts kept with them? | `plane.rs` |
//! | Who is a user, and which roles has he? | `directory.rs` |
//! | What is a scope, and how is one made? | `scopes.rs` |
//! | Which hub does a socket get to, and in which dialect? | `socket.rs` |

mod bundles;
mod data;
mod decide;
mod directory;
mod plane;
mod policy;
mod reports;
pub(crate) mod repository;
mod scopes;
mod socket;

use futures::StreamExt as _;
use platform::now;
use protocol::{Claims, DEFAULT_SCOPE, PeerType, Problem, limits};
use publish::statistics::{Statistics, clients};
use serde_json::json;
use worker::{Request, Response};

use crate::routes::{Action, Found, find};
use crate::settings::{self, authority};
use crate::together::Caller;
use crate::{answer, ask};
use plane::Target;

/// How many times its limit a body is read for the sake of the one who sends it.
const DRAINED_LIMITS: usize = 32;
/// What is served at `/openapi.json`, and shown at `/docs`.
const OPENAPI: &str = include_str!("../../../../deploy/openapi.json");
const DOCS: &str = include_str!("../../../../deploy/docs.html");

/// One request, with what every handler needs of it.
struct Asked<'a> {
    request: &'a mut Request,
    caller: Caller<'a>,
    /// What stood in the place of the path's variables.
    named: Vec<String>,
}

/// Serves one request.
pub(crate) async fn serve(mut request: Request, caller: Caller<'_>) -> Result<Response, Problem> {
    let path = request.path();
    let of_plane = plane::path_of_plane(&path);
    // One slash at the end of a plane's path is as if it were not there.
    let routed = of_plane.and_then(|_| path.strip_suffix('/')).unwrap_or(&path);
    let (action, named) = match find(request.method().as_ref(), routed) {
        Found::Action(action, named) => (action, named),
        found if of_plane.is_some() => {
            let status = if found == Found::Nothing { 404 } else { 405 };
            let named = named_by(&path);
            let asked = Asked { request: &mut request, caller, named };
            return plane::serve(asked, Target::Unknown(status)).await;
        }
        Found::OtherMethods(methods) => {
            let methods = methods.join(" or ");
            return Err(Problem::new(405, format!("Method Not Allowed; use {methods}")));
        }
        Found::Nothing => return Err(Problem::not_found("Not Found")),
    };
    let mut asked = Asked { request: &mut request, caller, named };
    let env = caller.env;
    match action {
        Action::Health => answer::ok(&json!({ "status": "ok" })),
        Action::OpenApi => answer::text("application/json", OPENAPI),
        Action::Docs => answer::text("text/html; charset=utf-8", DOCS),
        Action::Jwks => answer::ok(&authority(env)?.jwks()),
        Action::Mint => {
            let authority = authority(env)?;
            let body = asked.small_body().await?;
            answer::ok(&authority.mint(asked.authorization().as_deref(), &body, now())?)
        }
        Action::Renew => {
            // The moment before the hub is asked is the moment of issue: what it revokes later
            // by subject is what was issued earlier.
            let bearer = asked.authorization();
            let (claims, renewal) = authority(env)?.renew(bearer.as_deref(), now())?;
            ask::check(env, DEFAULT_SCOPE, claims).await?;
            answer::ok(&renewal)
        }
        Action::Revoke => {
            let authority = authority(env)?;
            let body = asked.small_body().await?;
            let revoked = authority.revocation(asked.authorization().as_deref(), &body)?;
            let closed = scopes::revoke_everywhere(env, &revoked).await?;
            answer::ok(&json!({ "status": "ok", "revoked": revoked, "closed_sockets": closed }))
        }
        Action::Publish => data::publish(asked).await,
        Action::Sources => data::sources(asked).await,
        Action::SetSources => data::set_sources(asked).await,
        Action::UnsetSources => data::unset_sources(asked).await,
        Action::Placeholder => answer::ok(&json!({})),
        Action::Report => data::report(asked).await,
        Action::FetchData => data::fetch(asked).await,
        Action::ReadLog => asked.log().await,
        Action::Subscribe => socket::open(asked).await,
        Action::Policy => policy::get(asked).await,
        Action::SetPolicy => policy::set(asked).await,
        Action::PolicyStatus => repository::status(asked).await,
        Action::RefreshPolicy => repository::refresh(asked).await,
        Action::Webhook => repository::webhook(asked).await,
        Action::Bundle => bundles::get(asked).await,
        Action::TakeStatus => reports::take_status(asked).await,
        Action::Statuses => reports::statuses(asked).await,
        Action::TakeDecisions => reports::take_decisions(asked).await,
        Action::Decisions => reports::decisions(asked).await,
        Action::Clients => {
            let claims = asked.authenticate()?;
            let peers = ask::peers(env, &asked.scope(&claims)?, claims).await?;
            answer::ok(&clients(&peers))
        }
        Action::Statistics => answer::ok(&asked.statistics().await?),
        Action::Stats => answer::ok(&asked.statistics().await?.count()),
        Action::LoadLimit => asked.load_limit().await,
        Action::MakeScope => scopes::make(asked).await,
        Action::Scopes => scopes::list(asked).await,
        Action::Scope => scopes::show(asked).await,
        Action::DeleteScope => scopes::delete(asked).await,
        Action::RefreshScopes => scopes::refresh_all(asked).await,
        Action::RefreshScope => scopes::refresh(asked).await,
        Action::ScopePolicy => scopes::policy(asked).await,
        Action::ScopeData => scopes::data(asked).await,
        Action::Decide => decide::decide(asked).await,
        Action::DecisionHealth => decide::health(),
        Action::Directory => directory::serve(asked).await,
        Action::DirectoryIds => directory::ids(asked).await,
        Action::Plane(action) => plane::serve(asked, Target::Action(action)).await,
    }
}

/// The scope that a path names, where it leads to nothing else.
fn named_by(path: &str) -> Vec<String> {
    let scope = path.strip_prefix("/scopes/").and_then(|rest| rest.split('/').next());
    scope.and_then(publish::query::decode).into_iter().collect()
}

impl Asked<'_> {
    /// Verifies the caller's token.
    fn authenticate(&self) -> Result<Claims, Problem> {
        authority(self.caller.env)?.authenticate(self.authorization().as_deref(), now())
    }

    /// Verifies the caller's token, and that it has this role.
    fn authenticate_as(&self, role: PeerType) -> Result<Claims, Problem> {
        let claims = self.authenticate()?;
        claims.require(role)?;
        Ok(claims)
    }

    /// The scope that the path names.
    fn named_scope(&self) -> Result<String, Problem> {
        let scope = self.named.first().cloned().unwrap_or_default();
        publish::scopes::check_name(&scope)?;
        Ok(scope)
    }

    /// True if the path names a scope.
    fn is_scoped(&self) -> bool {
        self.request.path().starts_with("/scopes/")
    }

    /// The scope that the path names; the default one for a path without any.
    fn path_scope(&self) -> Result<String, Problem> {
        if self.is_scoped() { self.named_scope() } else { Ok(DEFAULT_SCOPE.to_owned()) }
    }

    /// The scope that the query names.
    fn query_scope(&self) -> Option<String> {
        publish::query::last(&self.query(), "scope")
    }

    /// The scope that the query names, if the bearer may read it; else the default one.
    fn scope(&self, claims: &Claims) -> Result<String, Problem> {
        let Some(scope) = self.query_scope() else { return Ok(DEFAULT_SCOPE.to_owned()) };
        publish::scopes::check_name(&scope)?;
        claims.require_scope(&scope)?;
        Ok(scope)
    }

    async fn log(&self) -> Result<Response, Problem> {
        let scope = self.path_scope()?;
        let claims = self.authenticate()?;
        claims.require_scope(&scope)?;
        let wanted = publish::query::log(&self.query())?;
        let mut page = ask::read_log(self.caller.env, &scope, claims, wanted).await?;
        publish::inspection::hide_credentials(&mut page);
        answer::ok(&page)
    }

    async fn statistics(&self) -> Result<Statistics, Problem> {
        let claims = self.authenticate()?;
        let env = self.caller.env;
        if !settings::statistics(env) {
            return Err(Problem::new(501, settings::NO_STATISTICS));
        }
        let scope = self.scope(&claims)?;
        let peers = ask::peers(env, &scope, claims).await?;
        let policy = repository::state(env, &scope).await?;
        Ok(Statistics::new(&peers, &format!("hub:{scope}"), policy))
    }

    /// Lets a client begin, or has it wait (`spec/opal-protocol.md` §2).
    async fn load_limit(&self) -> Result<Response, Problem> {
        let claims = self.authenticate()?;
        let env = self.caller.env;
        match settings::load_limit(env)? {
            None => ask::check(env, DEFAULT_SCOPE, claims).await?,
            Some(limit) => ask::admit(env, claims, limit).await?,
        }
        answer::ok(&())
    }

    /// Scheme and host by which the caller reached us.
    fn origin(&self) -> String {
        let url = self.request.inner().url();
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let end = url.get(after_scheme..).and_then(|rest| rest.find(['/', '?', '#']));
        url.get(..end.map_or(url.len(), |end| after_scheme + end)).unwrap_or_default().to_owned()
    }

    fn authorization(&self) -> Option<String> {
        self.header("Authorization")
    }

    fn header(&self, name: &str) -> Option<String> {
        header(self.request, name)
    }

    /// What stands behind the `?` of the address.
    fn query(&self) -> String {
        let url = self.request.inner().url();
        let query = url.split_once('?').map(|(_, query)| query.to_owned());
        query.unwrap_or_default()
    }

    /// A body that is neither an update nor a policy.
    async fn small_body(&mut self) -> Result<Vec<u8>, Problem> {
        self.body_of_at_most(limits::MAX_SMALL_BODY_BYTES).await
    }

    async fn body_of_at_most(&mut self, limit: usize) -> Result<Vec<u8>, Problem> {
        let refuse = |bytes| {
            Problem::too_large(format!("the body has at least {bytes} bytes, the limit is {limit}"))
        };
        body(self.request, limit, refuse).await
    }
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

fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).ok().flatten()
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use protocol::socket::SUBPROTOCOL;
    use serde_json::Value;
    use wasm_bindgen_test::wasm_bindgen_test;
    use worker::{Env, Method};

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
    async fn a_socket_is_asked_for_as_one_and_in_a_dialect_that_there_is() {
        assert_eq!(call(request(Method::Get, "/ws", None, None)).await.0, 426);
        let mut other = request(Method::Get, "/ws", None, None);
        let headers = other.headers_mut().unwrap();
        headers.set("Upgrade", "websocket").unwrap();
        headers.set("Sec-WebSocket-Protocol", "other.v9").unwrap();
        assert_eq!(call(other).await.0, 400);
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
