//! The Durable Object around the [`machine`](crate::machine): carries its effects out.
//!
//! Why this is right on the platform:
//!
//! * Every handler runs its step to the end without an await, so no other event of this
//!   object comes in between: numbers are given in the order of arrival.
//! * SQLite's writes are durable before anything that leaves the object afterwards is
//!   seen by anyone (the output gate): an answer or a frame never tells of a write that
//!   could still be lost.
//! * Updates that arrive while a commit is under way are stepped together after it, without
//!   an await in between: the platform commits them together (group commit).
//! * Hibernation is the normal state. Whatever a wake-up needs is in SQLite or in the
//!   sockets' attachments. The one timer is the object's alarm, at the end of a token or of
//!   somebody's wait, or at the turn of a periodic source; without sockets and waits there is
//!   none.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::future::join_all;
use js_sys::JsString;
use protocol::internal::{
    HubAnswer, HubAnswers, HubRequest, SCOPE_HEADER, SESSION_HEADER, SOCKET_PATH, Session,
};
use protocol::opal::data::Sources;
use protocol::opal::rpc::is_quiet_answer;
use protocol::socket::SUBPROTOCOL;
use protocol::{Millis, Problem, hex, json};
use vault::Keys;
use wasm_bindgen::prelude::*;
use worker::{
    DurableObject, Env, Request, Response, Result, ScheduledTime, State, WebSocket,
    WebSocketIncomingMessage, WebSocketPair, console_error, durable_object,
};

use crate::log::{LogError, Retention};
use crate::machine::{Attachment, Effect, Input, Machine, RequestId, Settings, SocketId};
use crate::sql_log::SqlLog;

/// The Durable Object of one scope.
#[durable_object]
#[derive(Debug)]
pub struct Hub {
    shared: Rc<Shared>,
}

/// What the handlers share with the work that outlives them.
#[derive(Debug)]
struct Shared {
    state: State,
    settings: Settings,
    /// Base sources of the Worker's variables.
    sources: Option<Sources>,
    /// What facts are sealed with.
    keys: Option<Keys>,
    inner: RefCell<std::result::Result<Inner, LogError>>,
    /// Updates that wait for the commit that is under way.
    arrived: RefCell<Vec<(RequestId, HubRequest)>>,
    is_committing: Cell<bool>,
    /// When the alarm goes off, as far as is known since the hub woke up.
    alarm: Cell<Option<Millis>>,
    requests: Cell<u64>,
}

struct Inner {
    machine: Machine,
    log: SqlLog,
    sockets: BTreeMap<SocketId, WebSocket>,
    /// Where the answers go that are still to be given.
    asked: BTreeMap<RequestId, oneshot::Sender<Answer>>,
}

type Answer = std::result::Result<HubAnswer, Problem>;

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
    fn new(state: State, env: Env) -> Self {
        let settings = Settings { retention: retention(&env), ..Settings::default() };
        let sources = sources(&env);
        let keys = facts_keys(&env);
        let woken = Inner::wake(&state, settings, sources.as_ref(), keys.as_ref());
        let inner = RefCell::new(woken);
        Self {
            shared: Rc::new(Shared {
                state,
                settings,
                sources,
                keys,
                inner,
                arrived: RefCell::default(),
                is_committing: Cell::new(false),
                alarm: Cell::new(None),
                requests: Cell::new(0),
            }),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.path() == SOCKET_PATH {
            return match self.shared.open_socket(&request) {
                Ok(response) => Ok(response),
                Err(problem) => platform::answer(&Err::<(), _>(problem)),
            };
        }
        let scope = request.headers().get(SCOPE_HEADER)?.unwrap_or_default();
        let body = request.bytes().await?;
        if let Ok(mut inner) = self.shared.awake() {
            inner.machine.set_scope(&scope);
        }
        let outcome = match serde_json::from_slice(&body) {
            Ok(asked) => self.shared.ask(asked).await,
            Err(error) => {
                Err(Problem::internal(format!("the hub cannot read what it was asked: {error}")))
            }
        };
        platform::answer(&outcome)
    }

    async fn websocket_message(
        &self,
        ws: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        if matches!(&message, WebSocketIncomingMessage::String(text) if is_quiet_answer(text)) {
            // Most of what is heard. (The platform could answer it by itself, but workerd then
            // loses sockets that are written to at the same time.)
            return Ok(());
        }
        let Some(kept) = kept(&ws) else {
            return ws.close(Some(protocol::socket::close::INTERNAL), Some("unknown socket"));
        };
        let outcome = match &message {
            WebSocketIncomingMessage::String(text) => {
                self.shared.step(Input::Text(kept.socket, text))
            }
            WebSocketIncomingMessage::Binary(_) => self.shared.step(Input::Binary(kept.socket)),
        };
        outcome.or_else(|problem| {
            ws.close(Some(protocol::socket::close::INTERNAL), Some(problem.detail))
        })
    }

    async fn websocket_close(&self, ws: WebSocket, code: usize, _: String, _: bool) -> Result<()> {
        self.shared.forget(&ws);
        // 1005 and above 1014 may be received but not sent (RFC 6455 §7.4.1).
        let code =
            u16::try_from(code).ok().filter(|code| !matches!(code, 1004..=1006 | 1015..=2999));
        // The other side is gone already: an error here changes nothing.
        let _ = ws.close(code, Some(""));
        Ok(())
    }

    async fn websocket_error(&self, ws: WebSocket, _: worker::Error) -> Result<()> {
        self.shared.forget(&ws);
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        self.shared.alarm.set(None);
        // If storage does not open, the platform tries the alarm again.
        self.shared
            .step(Input::Tick)
            .map_err(|problem| worker::Error::RustError(problem.detail))?;
        Response::empty()
    }

    async fn connect(&self, _: worker::Socket) -> Result<()> {
        Err(worker::Error::RustError("the hub does not speak plain TCP; use GET /ws".to_owned()))
    }
}

// === impl Shared ===

impl Shared {
    /// Asks the machine, and waits for its answers.
    async fn ask(self: &Rc<Self>, asked: Vec<HubRequest>) -> HubAnswers {
        let answers = join_all(self.hand_over(asked)?).await.into_iter();
        // Dropped only with the object itself.
        let lost = || Err(Problem::internal("the hub gave no answer"));
        Ok(answers.map(|answer| answer.unwrap_or_else(|_| lost())).collect())
    }

    /// Hands requests to the machine: updates when the commit that is under way is done, others
    /// at once.
    fn hand_over(
        self: &Rc<Self>,
        asked: Vec<HubRequest>,
    ) -> std::result::Result<Vec<oneshot::Receiver<Answer>>, Problem> {
        let (mut answers, mut at_once) = (vec![], vec![]);
        let mut inner = self.awake()?;
        for asked in asked {
            let request = RequestId(self.requests.replace(self.requests.get().wrapping_add(1)));
            let (sender, answered) = oneshot::channel();
            inner.asked.insert(request, sender);
            answers.push(answered);
            if matches!(asked, HubRequest::Append { .. }) {
                self.arrived.borrow_mut().push((request, asked));
            } else {
                at_once.push((request, asked));
            }
        }
        drop(inner);
        if !at_once.is_empty() {
            self.step(Input::Requests(at_once))?;
        }
        self.commit_together();
        Ok(answers)
    }

    /// Steps what has arrived; what arrives until that is durable is stepped together.
    fn commit_together(self: &Rc<Self>) {
        if self.is_committing.replace(true) {
            return;
        }
        let shared = Rc::clone(self);
        self.state.wait_until(async move {
            loop {
                let batch = shared.arrived.take();
                if batch.is_empty() {
                    break;
                }
                if let Err(problem) = shared.step(Input::Requests(batch)) {
                    // Nobody is left to answer: what was in memory is gone, the senders with it.
                    console_error!("{problem}");
                }
                // A commit that fails ends the object, and with it everybody who waits here.
                let _ = shared.state.storage().sync().await;
            }
            shared.is_committing.set(false);
        });
    }

    /// Runs one step and carries out what it decides.
    fn step(&self, input: Input<'_>) -> std::result::Result<(), Problem> {
        self.awake()?.step(input);
        self.set_alarm();
        Ok(())
    }

    /// Sees to it that the alarm goes off when the machine wants to be called.
    fn set_alarm(&self) {
        let Ok(wanted) = self.awake().map(|inner| inner.machine.next_tick()) else { return };
        let Some(wanted) = wanted else { return };
        // One that goes off too early costs a step that does nothing.
        if self.alarm.get().is_some_and(|set| set <= wanted) {
            return;
        }
        self.alarm.set(Some(wanted));
        let storage = self.state.storage();
        // A time beyond what JavaScript counts exactly is never, as far as anybody can tell.
        let at = ScheduledTime::new(js_sys::Date::new(&JsValue::from_f64(
            wanted.0.min(8_640_000_000_000_000) as f64,
        )));
        self.state.wait_until(async move {
            if let Err(error) = storage.set_alarm(at).await {
                console_error!("no alarm can be set: {error}");
            }
        });
    }

    /// What the hub has in memory. Storage that did not open once may open now.
    fn awake(&self) -> std::result::Result<RefMut<'_, Inner>, Problem> {
        let mut inner = self.inner.borrow_mut();
        if inner.is_err() {
            let (sources, keys) = (self.sources.as_ref(), self.keys.as_ref());
            *inner = Inner::wake(&self.state, self.settings, sources, keys);
        }
        RefMut::filter_map(inner, |inner| inner.as_mut().ok()).map_err(|inner| {
            if let Err(error) = &*inner {
                console_error!("the hub cannot open its log: {error}");
            }
            Problem::unavailable("the hub cannot open its storage; try again later")
        })
    }

    fn forget(&self, ws: &WebSocket) {
        if let (Some(kept), Ok(mut inner)) = (kept(ws), self.awake()) {
            inner.step(Input::Closed(kept.socket));
            inner.sockets.remove(&kept.socket);
        }
    }

    fn open_socket(&self, request: &Request) -> std::result::Result<Response, Problem> {
        let platform = |error: worker::Error| Problem::internal(error.to_string());
        let session = request.headers().get(SESSION_HEADER).map_err(platform)?.unwrap_or_default();
        let session: Session = json::parse(session.as_bytes())?;
        let is_opal = session.opal.is_some();
        let socket = SocketId(random()?);
        // Before the socket is accepted: waking collects every socket there is anew.
        let mut inner = self.awake()?;
        let pair = WebSocketPair::new().map_err(platform)?;
        self.state.accept_web_socket(&pair.server);
        inner.sockets.insert(socket, pair.server);
        inner.step(Input::Opened(socket, Box::new(session)));
        drop(inner);
        self.set_alarm();
        let response = Response::from_websocket(pair.client).map_err(platform)?;
        if !is_opal {
            response.headers().set("Sec-WebSocket-Protocol", SUBPROTOCOL).map_err(platform)?;
        }
        Ok(response)
    }
}

// === impl Inner ===

impl Inner {
    /// Everything as it was before the object slept.
    fn wake(
        state: &State,
        settings: Settings,
        sources: Option<&Sources>,
        keys: Option<&Keys>,
    ) -> std::result::Result<Self, LogError> {
        let epoch = random().map_err(|problem| LogError(problem.detail))?;
        let log =
            SqlLog::open(state.storage().sql(), &format!("{epoch:x}"), &secret()?, keys.cloned())?;
        let mut inner = Self {
            machine: Machine::new(settings),
            log,
            sockets: BTreeMap::new(),
            asked: BTreeMap::new(),
        };
        inner.machine.set_facts_keys(keys.cloned());
        if let Some(sources) = sources {
            inner.machine.set_default_sources(sources.clone());
        }
        for ws in state.get_websockets() {
            if let Some(Kept { socket, attachment }) = kept(&ws) {
                inner.machine.restore(socket, attachment);
                inner.sockets.insert(socket, ws);
            }
        }
        Ok(inner)
    }

    fn step(&mut self, input: Input<'_>) {
        let now = platform::now();
        for effect in self.machine.step(now, input, &mut self.log) {
            match effect {
                Effect::Answer(request, outcome) => {
                    if let Some(asked) = self.asked.remove(&request) {
                        // Who asked may have gone away.
                        let _ = asked.send(outcome);
                    }
                }
                Effect::Send(to, frame) => self.send(&to, &frame),
                Effect::Attach(socket, attachment) => {
                    if let Err(error) = self.attach(socket, *attachment) {
                        console_error!("a socket's subscription cannot be kept: {error}");
                        // It is refused and gone: what follows for it in this step is not sent.
                        self.step(Input::Unkept(socket));
                    }
                }
                Effect::Close(socket, code, reason) => {
                    if let Some(ws) = self.sockets.remove(&socket) {
                        // It may have closed by itself meanwhile.
                        let _ = ws.close(Some(code), Some(reason));
                    }
                }
            }
        }
    }

    fn send(&self, to: &[SocketId], frame: &str) {
        let sockets = to.iter().filter_map(|socket| self.sockets.get(socket));
        broadcast(sockets.map(outlet), frame);
    }

    /// Fails if the platform does not keep as much for a socket.
    fn attach(&self, socket: SocketId, attachment: Attachment) -> Result<()> {
        let Some(ws) = self.sockets.get(&socket) else {
            return Ok(());
        };
        // As text: the platform limits an attachment's size, not its shape.
        ws.serialize_attachment(serde_json::to_string(&Kept { socket, attachment })?)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("sockets", &self.sockets.len()).finish_non_exhaustive()
    }
}

/// Sends one text to each. One that cannot be sent to is closing: its close event follows,
/// and its agent resumes from its cursor.
fn broadcast<'o>(outlets: impl Iterator<Item = &'o Outlet>, frame: &str) {
    let frame = JsString::from(frame);
    for outlet in outlets {
        let _ = outlet.send_value(&frame);
    }
}

fn outlet(ws: &WebSocket) -> &Outlet {
    let ws: &worker::worker_sys::web_sys::WebSocket = ws.as_ref();
    ws.unchecked_ref()
}

/// The base sources of the Worker's variables; none if they cannot be read, which the router
/// says to whoever asks for them.
fn sources(env: &Env) -> Option<Sources> {
    let text = platform::setting(env, "DATA_CONFIG_SOURCES");
    let sources = Sources::of_setting(text.as_deref());
    sources.inspect_err(|problem| console_error!("DATA_CONFIG_SOURCES: {problem}")).ok()
}

/// What facts are sealed with, from the Worker's secrets; none if that is not set or cannot be read.
fn facts_keys(env: &Env) -> Option<Keys> {
    let keys = Keys::parse(&platform::setting(env, "FACTS_KEYS")?);
    keys.inspect_err(|error| console_error!("GIRASOL_FACTS_KEYS: {error}")).ok()
}

/// How much of the log is kept, from the Worker's variables.
fn retention(env: &Env) -> Retention {
    let number = |name: &str| {
        let number = platform::variable(env, name)?.trim().parse::<u64>().ok();
        if number.is_none() {
            console_error!("{name}: give a number; the default is used");
        }
        number
    };
    let default = Retention::default();
    Retention {
        max_bytes: number("GIRASOL_LOG_MAX_BYTES").unwrap_or(default.max_bytes),
        max_age: number("GIRASOL_LOG_MAX_AGE_SECONDS").map(|it| it.saturating_mul(1_000)),
    }
}

fn kept(ws: &WebSocket) -> Option<Kept> {
    let text = ws.deserialize_attachment::<String>().ok().flatten()?;
    serde_json::from_str(&text).ok()
}

/// A text that nobody can guess.
fn secret() -> std::result::Result<String, LogError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| LogError(error.to_string()))?;
    Ok(hex(&bytes))
}

/// A number that JavaScript keeps exactly.
fn random() -> std::result::Result<u64, Problem> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes) >> 11)
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use js_sys::{Array, Function, Object, Reflect};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    /// An object with a `send` of this body.
    fn outlet(body: &str) -> Outlet {
        let outlet = Object::new();
        let send = Function::new_with_args("frame", body);
        Reflect::set(&outlet, &"send".into(), &send).unwrap();
        Reflect::set(&outlet, &"sent".into(), &Array::new()).unwrap();
        outlet.unchecked_into()
    }

    #[wasm_bindgen_test]
    fn a_broadcast_reaches_every_socket_though_one_throws() {
        let outlets = [
            outlet("this.sent.push(frame)"),
            outlet("throw new Error('closed')"),
            outlet("this.sent.push(frame)"),
        ];
        let frame = "{\"updates\":[\"é世🌻\"]}";
        broadcast(outlets.iter(), frame);
        let sent = outlets.each_ref().map(|outlet| {
            let sent = Reflect::get(outlet, &"sent".into()).unwrap().unchecked_into::<Array>();
            sent.iter().map(|value| value.as_string().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(sent, [vec![frame.to_owned()], vec![], vec![frame.to_owned()]]);
    }

    #[wasm_bindgen_test]
    fn names_of_sockets_are_numbers_that_javascript_keeps() {
        let id = random().unwrap();
        assert!(id <= 9_007_199_254_740_991 && random().unwrap() != id);
    }
}
