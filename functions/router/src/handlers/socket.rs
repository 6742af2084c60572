//! Sockets: the dialect is the one that was offered, the hub that of the scope.

use std::collections::BTreeMap;

use platform::now;
use platform::problem as platform;
use protocol::internal::{OpalPeer, Session};
use protocol::socket::{SUBPROTOCOL, close};
use protocol::{Claims, Problem, credentials};
use worker::{Response, WebSocketPair};

use super::Asked;
use crate::{ask, settings};

/// Parameters of an address that are kept for people.
const MAX_PARAMETERS: usize = 8;
/// Bytes of such a parameter's name, and of its value. The platform keeps 16 KiB for a socket.
const MAX_PARAMETER_BYTES: usize = 128;

/// Opens a socket to a hub.
pub(super) async fn open(asked: Asked<'_>) -> Result<Response, Problem> {
    if !asked.header("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(Problem::new(426, "this is a websocket: send 'Upgrade: websocket'"));
    }
    let offered = asked.header("Sec-WebSocket-Protocol").unwrap_or_default();
    let env = asked.caller.env;
    if offered.split(',').any(|name| name.trim() == SUBPROTOCOL) {
        let claims = asked.authenticate()?;
        let scope = asked.scope(&claims)?;
        return ask::open_socket(env, &Session { scope, claims, opal: None }).await;
    }
    if !offered.trim().is_empty() {
        return Err(Problem::new(
            400,
            format!("unknown subprotocol: offer '{SUBPROTOCOL}', or none for the OPAL dialect"),
        ));
    }
    match opal_session(&asked) {
        Ok(session) => ask::open_socket(env, &session).await,
        Err(problem) if matches!(problem.status, 401 | 403) => refuse(&problem),
        Err(problem) => Err(problem),
    }
}

fn opal_session(asked: &Asked<'_>) -> Result<Session, Problem> {
    let claims = asked.authenticate()?;
    let scope = opal_scope(asked, &claims)?;
    let env = asked.caller.env;
    let peer = OpalPeer {
        host: asked.header("CF-Connecting-IP"),
        connected: now(),
        query: parameters(&asked.query()),
        origin: settings::origin(env).unwrap_or_else(|| asked.origin()),
        statistics: settings::statistics(env),
    };
    Ok(Session { scope, claims, opal: Some(peer) })
}

/// The scope of an OPAL client, which cannot name one in its address unless it is told to, and
/// names it only in its topics: the query's, or that of a token which is for one scope.
fn opal_scope(asked: &Asked<'_>, claims: &Claims) -> Result<String, Problem> {
    match (asked.query_scope(), claims.allowed_scopes.as_deref()) {
        (None, Some([only])) => {
            publish::scopes::check_name(only)?;
            Ok(only.clone())
        }
        _ => asked.scope(claims),
    }
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let fits = |(name, value): &(String, String)| {
        let fits =
            |text: &str| text.len() <= MAX_PARAMETER_BYTES && !text.chars().any(char::is_control);
        fits(name) && fits(value)
    };
    let shown = |(name, value): (String, String)| {
        let is_secret = credentials::is_parameter(&name);
        (name, if is_secret { credentials::HIDDEN.to_owned() } else { value })
    };
    publish::query::pairs(query).filter(fits).take(MAX_PARAMETERS).map(shown).collect()
}

/// Opens a socket and closes it with the reason. At a status of 401 or 403 an OPAL client
/// connects again at once and for ever; when it is closed before it could say anything, it
/// waits longer each time (`spec/opal-protocol.md` §1.8).
fn refuse(problem: &Problem) -> Result<Response, Problem> {
    let WebSocketPair { client, server } = WebSocketPair::new().map_err(platform)?;
    server.accept().map_err(platform)?;
    let reason = close::reason(problem.detail.clone());
    server.close(Some(close::POLICY), Some(reason)).map_err(platform)?;
    Response::from_websocket(client).map_err(platform)
}
