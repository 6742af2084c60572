//! The Durable Object: reads the log on, and decides.
//!
//! Why this is right on the platform: what is read of the log is put aside until its head is
//! reached, and then taken without an await in between, so a decision sees whole commits and never
//! half of a page. Those who find it too old wait for one reading, which began after they came if
//! one that was under way had begun before.

use std::cell::RefCell;
use std::collections::BTreeMap;

use decision::{Reply, Request as Asked};
use futures::lock::Mutex;
use platform::{Object, now, setting};
use protocol::internal::{HubAnswer, HubAnswers, HubRequest, LogPage, SCOPE_HEADER};
use protocol::{Claims, Millis, Problem, limits};
// What the platform's macro writes names it.
use wasm_bindgen as _;
use worker::{
    DurableObject, Env, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object,
};

use crate::follower::Follower;
use crate::reading::Step;
use crate::settings::Settings;
use crate::{DecideRequest, Decided};

/// Bearers whose tokens are known to be good, at most; then all are checked again.
const MAX_KNOWN: usize = 1_000;

/// Decides for one scope.
#[durable_object]
pub struct Decider {
    env: Env,
    state: RefCell<Option<Current>>,
    /// Held by who reads on.
    reading: Mutex<()>,
}

struct Current {
    settings: Settings,
    follower: Follower,
    /// Before this moment nothing newer was in the log.
    read_at: Option<Millis>,
    /// When the hub last said that a token is good, by its claims.
    good: BTreeMap<String, Millis>,
}

type Outcome<T> = std::result::Result<T, Problem>;

impl DurableObject for Decider {
    fn new(_: State, env: Env) -> Self {
        Self { env, state: RefCell::default(), reading: Mutex::new(()) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let scope = request.headers().get(SCOPE_HEADER)?.unwrap_or_default();
        let outcome = match serde_json::from_slice(&request.bytes().await?) {
            Ok(asked) => self.decide(&scope, &asked).await,
            Err(error) => Err(Problem::internal(format!("the request cannot be read: {error}"))),
        };
        platform::answer(&outcome)
    }

    async fn alarm(&self) -> Result<Response> {
        Response::empty()
    }

    async fn websocket_message(&self, _: WebSocket, _: WebSocketIncomingMessage) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(&self, _: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(&self, _: WebSocket, _: worker::Error) -> Result<()> {
        Ok(())
    }

    async fn connect(&self, _: worker::Socket) -> Result<()> {
        Err(worker::Error::RustError("there is no plain TCP here".to_owned()))
    }
}

impl Decider {
    async fn decide(&self, scope: &str, asked: &DecideRequest) -> Outcome<Decided> {
        let came = now();
        if !self.is_good_enough(came, asked)? {
            let _turn = self.reading.lock().await;
            // Somebody else may have read on since: what counts is that it began after this came.
            if !self.is_good_enough(came, asked)? {
                self.read_on(scope, &asked.claims).await?;
            }
        }
        self.with(|current| {
            let at = current.follower.at();
            let age = current.read_at.map_or(0, |read_at| now().since(read_at));
            if at < asked.at_least {
                let wanted = asked.at_least;
                let message = format!("the log is at {at} and has no {wanted} yet");
                return Decided::new(Reply::refusal(503, "not_yet", &message), at, age);
            }
            let request = Asked {
                method: &asked.method,
                path: &asked.path,
                query: &asked.query,
                content_type: asked.content_type.as_deref(),
                if_none_match: None,
                body: asked.body.as_bytes(),
                is_checked: false,
            };
            Decided::new(current.follower.answer(request), at, age)
        })
    }

    /// True if nothing has to be read for this request.
    fn is_good_enough(&self, came: Millis, asked: &DecideRequest) -> Outcome<bool> {
        self.with(|current| {
            let Some(read_at) = current.read_at else { return false };
            let max_age = current.settings.max_age_ms;
            let is_new = came.since(read_at) <= max_age;
            let checked = current.good.get(&token(&asked.claims));
            let is_known = checked.is_some_and(|at| came.since(*at) <= max_age);
            is_new && is_known && current.follower.at() >= asked.at_least
        })
    }

    /// Reads the log up to its head. That the hub answers says that the bearer may ask.
    async fn read_on(&self, scope: &str, claims: &Claims) -> Outcome<()> {
        let began = now();
        let (topics, mut reading) =
            self.with(|current| (current.settings.topics.clone(), current.follower.reading()))?;
        let read = loop {
            let bytes = Some(limits::BUNDLE_PAGE_BYTES);
            let (claims, topics) = (claims.clone(), Some(topics.clone()));
            let after = reading.after();
            let page = self.ask(scope, HubRequest::Read { claims, topics, after, bytes }).await?;
            reading = match reading.add(page) {
                Step::More(reading) => reading,
                Step::Done(read) => break read,
                Step::CutOff => self.with(|current| {
                    current.forget();
                    current.follower.reading()
                })?,
            };
        };
        self.with(|current| {
            current.follower.take(read);
            current.read_at = Some(began);
            if current.good.len() >= MAX_KNOWN {
                current.good.clear();
            }
            current.good.insert(token(claims), began);
        })
    }

    async fn ask(&self, scope: &str, request: HubRequest) -> Outcome<LogPage> {
        let lost = || Problem::unavailable("the hub did not answer; ask again");
        let answers = platform::ask::<HubAnswers>(&self.env, Object::Hub, scope, &[request]).await;
        match answers.map_err(|_| lost())??.pop().ok_or_else(lost)?? {
            HubAnswer::Log(page) => Ok(page),
            other => Err(Problem::internal(format!("a hub answered a read with {other:?}"))),
        }
    }

    /// Does something with the state, between two awaits.
    fn with<T>(&self, work: impl FnOnce(&mut Current) -> T) -> Outcome<T> {
        let mut state = self.state.borrow_mut();
        let current = match &mut *state {
            Some(current) => current,
            none => {
                let settings = Settings::new(&|name| setting(&self.env, name))?;
                none.insert(Current::new(settings))
            }
        };
        Ok(work(current))
    }
}

impl Current {
    fn new(settings: Settings) -> Self {
        let follower = Follower::new(settings.language, settings.max_bytes);
        Self { settings, follower, read_at: None, good: BTreeMap::new() }
    }

    fn forget(&mut self) {
        self.follower = Follower::new(self.settings.language, self.settings.max_bytes);
        self.read_at = None;
    }
}

/// What tells one token from another.
fn token(claims: &Claims) -> String {
    serde_json::to_string(claims).unwrap_or_default()
}
