//! Requests to a hub that are made at the same time travel together.
//!
//! A hub is one object: what it can take in is bounded by how many requests reach it, and each
//! costs more than the update in it. So while an exchange with a scope's hub is under way,
//! what this isolate is asked for that scope waits, and as much of it as an exchange has room for
//! makes the next one, in the order of arrival. Who is alone is sent at once.
//!
//! On the platform an exchange belongs to the request that began it, and the others that
//! travel in it must go on in their own contexts. What is right there, and was tried under load
//! on workerd:
//!
//! * Each that waits has a promise of its own context, which the exchange's context fulfils:
//!   the platform then continues the one that waits in the context that made the promise
//!   (`handle_cross_request_promise_resolution`). Answers lie ready in memory by then. To await a
//!   promise of another's context instead works too, until there is load.
//! * That promise is of `Promise.withResolvers()`. One of `new Promise()` is made inline once V8
//!   has optimized the code, after some ten thousand requests, and then has no context:
//!   who waits for it goes on in a wrong one, where the platform refuses all I/O.
//! * A request that waits for a promise alone counts as hung and is ended. So the promise has
//!   a timer, which also ends the wait for an exchange whose context the platform has ended.
//! * Both promises, of an exchange's end and of a signal, are given to `waitUntil`: what others
//!   depend on does not end with the client who happened to ask for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::iter::repeat_with;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use platform::{Lost, Object, now};
use protocol::internal::{HubAnswer, HubAnswers};
use protocol::{Millis, Problem};
use serde_json::value::RawValue;
use wasm_bindgen::prelude::*;
use worker::js_sys::futures::{JsFuture, future_to_promise};
use worker::js_sys::{Function, Promise};
use worker::{Context, Env};

/// Requests in one exchange, at most.
const MAX_REQUESTS: usize = 64;
/// Bytes of requests in one exchange, but for a single larger one.
const MAX_BYTES: usize = 4 << 20;
/// Bytes of requests that wait for one scope's hub: a quarter of an isolate's memory.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// Milliseconds after which an exchange that was not heard of is given up: the platform has
/// ended its context. A hub holds no answer back for as long, since those that wait for
/// agents do not travel here. Shorter in tests, which wait for it.
const PATIENCE: u64 = if cfg!(test) { 200 } else { 15_000 };
/// Milliseconds after which a request is given up that waits for its turn and then for its
/// answer.
const LONGEST: u64 = 2 * PATIENCE;

/// What a request to the Worker has of the platform.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'c> {
    /// The Worker's bindings.
    pub(crate) env: &'c Env,
    /// The request's context.
    pub(crate) context: &'c Context,
}

/// What came of one request; an error if the answer is lost.
type Outcome = Result<Result<HubAnswer, Problem>, Lost>;

/// The place of one request, from when it is made until it is answered.
#[derive(Default)]
struct Seat {
    /// When it was made.
    taken: Millis,
    /// When the exchange began that it travels in; none while it waits for one.
    left: Cell<Option<Millis>>,
    /// What came of it.
    outcome: RefCell<Option<Outcome>>,
    /// Wakes who waits in this seat.
    signal: RefCell<Option<Function>>,
}

/// What waits, and what is under way, for one scope.
#[derive(Default)]
struct Traffic {
    waiting: VecDeque<(Box<RawValue>, Rc<Seat>)>,
    /// Of all that waits.
    bytes: usize,
    /// When the exchange began that is under way.
    under_way: Option<Millis>,
}

thread_local! {
    /// Of this isolate; scopes without traffic are not in here.
    static TRAFFIC: RefCell<BTreeMap<String, Traffic>> = RefCell::default();
}

#[wasm_bindgen]
extern "C" {
    /// A promise with the function that fulfils it.
    type Resolvers;

    #[wasm_bindgen(js_namespace = Promise, js_name = withResolvers)]
    fn with_resolvers() -> Resolvers;

    #[wasm_bindgen(method, getter)]
    fn promise(this: &Resolvers) -> Promise;

    #[wasm_bindgen(method, getter)]
    fn resolve(this: &Resolvers) -> Function;

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, milliseconds: u16) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// Asks a scope's hub `asked`, a `HubRequest` as JSON that is answered without delay, together
/// with what others ask it at the same time. Too many of them are refused with 503.
///
/// # Errors
/// The answer is lost.
pub(crate) async fn ask(caller: Caller<'_>, scope: &str, asked: Box<RawValue>) -> Outcome {
    let seat = match with(scope, |traffic| traffic.queue(asked, now())) {
        Ok(seat) => seat,
        Err(full) => return Ok(Err(full)),
    };
    loop {
        // In the exchange that this request begins there may be no room for itself.
        if seat.left.get().is_none() && with(scope, |traffic| traffic.is_free(now())) {
            begin(caller, scope);
        }
        let since = seat.left.get().or_else(|| with(scope, |traffic| traffic.under_way));
        seat.wait(caller.context, since.unwrap_or(seat.taken)).await;
        if let Some(outcome) = seat.outcome.take() {
            return outcome;
        }
        if seat.is_given_up(now()) {
            return Err(Lost);
        }
    }
}

/// Makes an exchange of what waits.
fn begin(Caller { env, context }: Caller<'_>, scope: &str) {
    let began = now();
    let (asked, seats): (Vec<_>, Vec<_>) =
        with(scope, |traffic| traffic.board(began)).into_iter().unzip();
    let (env, of) = (env.clone(), scope.to_owned());
    let exchange = future_to_promise(AssertUnwindSafe(async move {
        let answers = platform::ask(&env, Object::Hub, &of, &asked).await;
        end(&of, began, &seats, answers);
        Ok(JsValue::UNDEFINED)
    }));
    keep_alive(context, &exchange);
}

/// An exchange has ended: hands out what came of it, and has somebody begin the next.
fn end(scope: &str, began: Millis, seats: &[Rc<Seat>], answers: Result<HubAnswers, Lost>) {
    let outcomes = match answers {
        Ok(Ok(answers)) => answers.into_iter().map(Ok).collect(),
        Ok(Err(problem)) => vec![Ok(Err(problem)); seats.len()],
        Err(Lost) => vec![],
    };
    for (seat, outcome) in seats.iter().zip(outcomes.into_iter().chain(repeat_with(|| Err(Lost)))) {
        seat.outcome.replace(Some(outcome));
        seat.wake();
    }
    let next = TRAFFIC.with_borrow_mut(|all| {
        let traffic = all.get_mut(scope)?;
        // One that was given up has a successor.
        traffic.under_way.take_if(|it| *it == began);
        let next = traffic.waiting.front().map(|(_, seat)| Rc::clone(seat));
        if traffic.under_way.is_none() && next.is_none() {
            all.remove(scope);
        }
        next
    });
    if let Some(next) = next {
        next.wake();
    }
}

impl Seat {
    /// Waits for a signal, or until this seat, or the exchange that began then, is given up.
    async fn wait(&self, context: &Context, began: Millis) {
        let now = now();
        let rest = PATIENCE.saturating_sub(now.since(began));
        let rest = rest.min(LONGEST.saturating_sub(now.since(self.taken)));
        let resolvers = with_resolvers();
        let (signal, fulfil) = (resolvers.promise(), resolvers.resolve());
        let timer = set_timeout(&fulfil, u16::try_from(rest).unwrap_or(u16::MAX));
        self.signal.replace(Some(fulfil));
        keep_alive(context, &signal);
        // It is never rejected.
        let _ = JsFuture::from(signal).await;
        clear_timeout(&timer);
    }

    /// Wakes who waits here, if somebody does.
    fn wake(&self) {
        if let Some(signal) = self.signal.take() {
            // It does not throw.
            let _ = signal.call0(&JsValue::UNDEFINED);
        }
    }

    /// True if nobody waits here any longer, or has reason to.
    fn is_given_up(&self, now: Millis) -> bool {
        self.left.get().is_some_and(|left| is_given_up(left, now)) || self.is_late(now)
    }

    fn is_late(&self, now: Millis) -> bool {
        now.since(self.taken) >= LONGEST
    }
}

impl Traffic {
    /// Adds a request to those that wait.
    ///
    /// # Errors
    /// There are too many; one is always let in.
    fn queue(&mut self, asked: Box<RawValue>, now: Millis) -> Result<Rc<Seat>, Problem> {
        let bytes = self.bytes.saturating_add(asked.get().len());
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return Err(Problem::unavailable(
                "more is being published than the hub can take; nothing was stored, publish it \
                 again",
            ));
        }
        self.bytes = bytes;
        let seat = Rc::new(Seat { taken: now, ..Seat::default() });
        self.waiting.push_back((asked, Rc::clone(&seat)));
        Ok(seat)
    }

    /// True if an exchange may begin.
    fn is_free(&self, now: Millis) -> bool {
        self.under_way.is_none_or(|began| is_given_up(began, now))
    }

    /// Takes as many of those who wait as fit into one exchange, in the order of arrival. What
    /// nobody waits for any longer is not sent: it could undo what was published meanwhile.
    fn board(&mut self, now: Millis) -> Vec<(Box<RawValue>, Rc<Seat>)> {
        self.waiting.retain(|(_, seat)| !seat.is_late(now));
        let mut bytes = 0_usize;
        let fits = |(asked, _): &&(Box<RawValue>, Rc<Seat>)| {
            bytes = bytes.saturating_add(asked.get().len());
            bytes <= MAX_BYTES
        };
        let fitting = self.waiting.iter().take(MAX_REQUESTS).take_while(fits).count();
        let boarding = fitting.max(1).min(self.waiting.len());
        self.under_way = Some(now);
        let boarded: Vec<_> = self.waiting.drain(..boarding).collect();
        boarded.iter().for_each(|(_, seat)| seat.left.set(Some(now)));
        self.bytes = self.waiting.iter().map(|(asked, _)| asked.get().len()).sum();
        boarded
    }
}

fn is_given_up(began: Millis, now: Millis) -> bool {
    now.since(began) >= PATIENCE
}

/// Keeps a request's context until a promise is fulfilled.
fn keep_alive(context: &Context, promise: &Promise) {
    // Refused only after the request's end.
    let _ = context.as_ref().wait_until(promise);
}

fn with<T>(scope: &str, work: impl FnOnce(&mut Traffic) -> T) -> T {
    TRAFFIC.with_borrow_mut(|all| match all.get_mut(scope) {
        Some(traffic) => work(traffic),
        None => work(all.entry(scope.to_owned()).or_default()),
    })
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests;
