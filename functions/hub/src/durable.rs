//! The Durable Object around the [`machine`](crate::machine): carries its effects out.
//!
//! Why this is right on the platform:
//!
//! * Every handler runs its step to the end without an await, so no other event of this
//!   object comes in between: numbers are given in the order of arrival.
//! * SQLite's writes are durable before anything that leaves the object afterwards is
//!   seen by anyone (the output gate): an answer or a frame never tells of a write that
//!   could still be lost.
//! * Hibernation is the normal state. Whatever a wake-up needs is in SQLite or in the
//!   sockets' attachments; there is no timer.

use std::cell::RefCell;
use std::collections::BTreeMap;

use js_sys::JsString;
use protocol::internal::{HubRequest, SESSION_HEADER, SOCKET_PATH, Session};
use protocol::socket::SUBPROTOCOL;
use protocol::{Millis, Problem, json};
use wasm_bindgen::prelude::*;
use worker::{
    Date, DurableObject, Env, Request, Response, Result, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, console_error, durable_object,
};

use crate::log::LogError;
use crate::machine::{Attachment, Effect, Input, Machine, SocketId};
use crate::sql_log::SqlLog;

/// The Durable Object of one scope.
#[durable_object]
#[derive(Debug)]
pub struct Hub {
    state: State,
    inner: RefCell<std::result::Result<Inner, LogError>>,
}

struct Inner {
    machine: Machine,
    log: SqlLog,
    sockets: BTreeMap<SocketId, WebSocket>,
}

/// What survives hibernation with a socket.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    socket: SocketId,
    attachment: Attachment,
}

#[wasm_bindgen]
extern "C" {
    /// A websocket that takes a ready string: the frame of a broadcast is turned into one
    /// JavaScript value for all sockets, not copied for each.
    type Outlet;

    #[wasm_bindgen(method, catch, js_name = send)]
    fn send_value(this: &Outlet, frame: &JsString) -> std::result::Result<(), JsValue>;
}

impl DurableObject for Hub {
    fn new(state: State, _env: Env) -> Self {
        let inner = RefCell::new(Inner::wake(&state));
        Self { state, inner }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.path() == SOCKET_PATH {
            return match self.open_socket(&request) {
                Ok(response) => Ok(response),
                Err(problem) => answer(&Err::<(), _>(problem)),
            };
        }
        let body = request.bytes().await?;
        let outcome = json::parse::<HubRequest>(&body)
            .and_then(|asked| self.step(Input::Request(asked)))
            .and_then(|answered| answered.unwrap_or_else(|| Err(Problem::internal("no answer"))));
        answer(&outcome)
    }

    async fn websocket_message(
        &self,
        ws: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        let Some(kept) = kept(&ws) else {
            return ws.close(Some(protocol::socket::close::INTERNAL), Some("unknown socket"));
        };
        let outcome = match &message {
            WebSocketIncomingMessage::String(text) => self.step(Input::Text(kept.socket, text)),
            WebSocketIncomingMessage::Binary(_) => self.step(Input::Binary(kept.socket)),
        };
        outcome.map(|_| ()).or_else(|problem| {
            ws.close(Some(protocol::socket::close::INTERNAL), Some(problem.detail))
        })
    }

    async fn websocket_close(&self, ws: WebSocket, code: usize, _: String, _: bool) -> Result<()> {
        self.forget(&ws);
        // 1005 and above 1014 may be received but not sent (RFC 6455 §7.4.1).
        let code =
            u16::try_from(code).ok().filter(|code| !matches!(code, 1004..=1006 | 1015..=2999));
        // The other side is gone already: an error here changes nothing.
        let _ = ws.close(code, Some(""));
        Ok(())
    }

    async fn websocket_error(&self, ws: WebSocket, _: worker::Error) -> Result<()> {
        self.forget(&ws);
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        // Nothing sets an alarm; one that was left by an older version is let go.
        Response::empty()
    }

    async fn connect(&self, _: worker::Socket) -> Result<()> {
        Err(worker::Error::RustError("the hub does not speak plain TCP; use GET /ws".to_owned()))
    }
}

// === impl Hub ===

impl Hub {
    /// Runs one step and carries out what it decides. `Some` is the step's answer.
    fn step(
        &self,
        input: Input<'_>,
    ) -> std::result::Result<
        Option<std::result::Result<protocol::internal::HubAnswer, Problem>>,
        Problem,
    > {
        let mut inner = self.inner.borrow_mut();
        if inner.is_err() {
            // Storage that did not open once may open now.
            *inner = Inner::wake(&self.state);
        }
        match &mut *inner {
            Ok(inner) => Ok(inner.step(input)),
            Err(error) => {
                console_error!("the hub cannot open its log: {error}");
                Err(Problem::unavailable("the hub cannot open its storage; try again later"))
            }
        }
    }

    fn forget(&self, ws: &WebSocket) {
        if let (Some(kept), Ok(inner)) = (kept(ws), &mut *self.inner.borrow_mut()) {
            inner.step(Input::Closed(kept.socket));
            inner.sockets.remove(&kept.socket);
        }
    }

    fn open_socket(&self, request: &Request) -> std::result::Result<Response, Problem> {
        let platform = |error: worker::Error| Problem::internal(error.to_string());
        let session = request.headers().get(SESSION_HEADER).map_err(platform)?.unwrap_or_default();
        let session: Session = json::parse(session.as_bytes())?;
        let socket = SocketId(random()?);
        let pair = WebSocketPair::new().map_err(platform)?;
        self.state.accept_web_socket(&pair.server);
        if let Ok(inner) = &mut *self.inner.borrow_mut() {
            inner.sockets.insert(socket, pair.server);
        }
        self.step(Input::Opened(socket, session))?;
        let response = Response::from_websocket(pair.client).map_err(platform)?;
        response.headers().set("Sec-WebSocket-Protocol", SUBPROTOCOL).map_err(platform)?;
        Ok(response)
    }
}

// === impl Inner ===

impl Inner {
    /// Everything as it was before the object slept.
    fn wake(state: &State) -> std::result::Result<Self, LogError> {
        let epoch = random().map_err(|problem| LogError(problem.detail))?;
        let log = SqlLog::open(state.storage().sql(), &format!("{epoch:x}"))?;
        let mut inner = Self { machine: Machine::default(), log, sockets: BTreeMap::new() };
        for ws in state.get_websockets() {
            if let Some(Kept { socket, attachment }) = kept(&ws) {
                inner.machine.restore(socket, attachment);
                inner.sockets.insert(socket, ws);
            }
        }
        Ok(inner)
    }

    fn step(
        &mut self,
        input: Input<'_>,
    ) -> Option<std::result::Result<protocol::internal::HubAnswer, Problem>> {
        let now = Millis(Date::now().as_millis());
        let mut answer = None;
        for effect in self.machine.step(now, input, &mut self.log) {
            match effect {
                Effect::Answer(outcome) => answer = Some(outcome),
                Effect::Send(to, frame) => self.send(&to, &frame),
                Effect::Attach(socket, attachment) => self.attach(socket, attachment),
                Effect::Close(socket, code, reason) => {
                    if let Some(ws) = self.sockets.remove(&socket) {
                        // It may have closed by itself meanwhile.
                        let _ = ws.close(Some(code), Some(reason));
                    }
                }
            }
        }
        answer
    }

    fn send(&self, to: &[SocketId], frame: &str) {
        let frame = JsString::from(frame);
        for ws in to.iter().filter_map(|socket| self.sockets.get(socket)) {
            // A socket that cannot be sent to is closing: its close event follows, and its
            // agent resumes from its cursor.
            let _ = AsRef::<JsValue>::as_ref(
                AsRef::<worker::worker_sys::web_sys::WebSocket>::as_ref(ws),
            )
            .unchecked_ref::<Outlet>()
            .send_value(&frame);
        }
    }

    fn attach(&self, socket: SocketId, attachment: Attachment) {
        let Some(ws) = self.sockets.get(&socket) else {
            return;
        };
        // As text: the platform limits an attachment's size, not its shape.
        let kept = serde_json::to_string(&Kept { socket, attachment });
        let written =
            kept.map_err(worker::Error::from).and_then(|kept| ws.serialize_attachment(kept));
        if let Err(error) = written {
            console_error!("a socket's subscription cannot be kept: {error}");
            let _ = ws.close(Some(protocol::socket::close::POLICY), Some("subscription too large"));
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("sockets", &self.sockets.len()).finish_non_exhaustive()
    }
}

fn kept(ws: &WebSocket) -> Option<Kept> {
    let text = ws.deserialize_attachment::<String>().ok().flatten()?;
    serde_json::from_str(&text).ok()
}

/// A number that JavaScript keeps exactly.
fn random() -> std::result::Result<u64, Problem> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes) >> 11)
}

fn answer<T: serde::Serialize>(outcome: &std::result::Result<T, Problem>) -> Result<Response> {
    let status = outcome.as_ref().err().map_or(200, |problem| problem.status);
    Ok(Response::from_json(outcome)?.with_status(status))
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use js_sys::{Array, Function, Object, Reflect};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test]
    fn a_broadcast_hands_every_socket_the_same_string() {
        let sent = Array::new();
        let outlet = Object::new();
        let push = Function::new_with_args("frame", "this.sent.push(frame)");
        Reflect::set(&outlet, &"sent".into(), &sent).unwrap();
        Reflect::set(&outlet, &"send".into(), &push).unwrap();
        let frame = JsString::from("{\"caught_up\":{\"seq\":1}}");
        for _ in 0..2 {
            outlet.unchecked_ref::<Outlet>().send_value(&frame).unwrap();
        }
        assert_eq!(sent.length(), 2);
        assert!(
            sent.iter()
                .all(|value| value.as_string().as_deref() == Some("{\"caught_up\":{\"seq\":1}}"))
        );
    }

    #[wasm_bindgen_test]
    fn a_socket_that_throws_is_an_error_and_not_a_panic() {
        let outlet = Object::new();
        let throw = Function::new_no_args("throw new Error('closed')");
        Reflect::set(&outlet, &"send".into(), &throw).unwrap();
        assert!(outlet.unchecked_ref::<Outlet>().send_value(&JsString::from("x")).is_err());
    }

    #[wasm_bindgen_test]
    fn names_of_sockets_are_numbers_that_javascript_keeps() {
        let id = random().unwrap();
        assert!(id <= 9_007_199_254_740_991 && random().unwrap() != id);
    }

    #[wasm_bindgen_test]
    fn a_refusal_travels_with_its_status() {
        let response = answer(&Err::<(), _>(Problem::conflict("taken"))).unwrap();
        assert_eq!(response.status_code(), 409);
    }
}
