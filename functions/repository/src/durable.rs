//! The Durable Object: carries looks out.
//!
//! Why this is right on the platform:
//!
//! * While a look waits for a server, other requests come in between. So there is one look at a
//!   time ([`Turns`]), and what a look is of is compared before anything is published: a source
//!   that was changed meanwhile makes it a look of nothing.
//! * What is known is written before a look begins and when it is over, in one row. Git's
//!   objects are written as they come; what is written of a look that fails is what it says it is,
//!   and is deleted after the next one that does not.
//! * A look outlives the request that began it. If the object is moved meanwhile, the alarm
//!   begins it anew. Without a look, an interval or a failure there is no alarm.

mod http;
mod looking;
mod store;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use futures::channel::oneshot;
use git::{Server, StoreError};
use platform::{now, setting};
use protocol::internal::SCOPE_HEADER;
use protocol::repository::{Looked, RepositoryAnswer, RepositoryRequest, Source, Why};
use protocol::{DEFAULT_SCOPE, Millis, Problem};
use wasm_bindgen::JsValue;
use worker::{
    DurableObject, Env, Request, Response, Result, ScheduledTime, State, WebSocket,
    WebSocketIncomingMessage, console_error, console_log, console_warn, durable_object,
};

use self::store::Store;
use crate::record::Record;
use crate::settings;
use crate::turns::Turns;

/// The names under which the object keeps its record, and of which scope it is.
const RECORD: &str = "record";
const SCOPE: &str = "scope";

/// What follows the policy of one scope.
#[durable_object]
pub struct Repository {
    shared: Rc<Shared>,
}

/// What the handlers share with the looks that outlive them.
struct Shared {
    state: State,
    env: Env,
    /// Empty until it has opened once.
    store: OnceCell<Store>,
    turns: RefCell<Turns<oneshot::Sender<Outcome>>>,
    /// What the git server can do, and since when that is known.
    server: RefCell<Option<(Millis, Server)>>,
    /// When the alarm goes off; the outer one is none if that is not known.
    alarm: Cell<Option<Option<Millis>>>,
}

type Outcome = std::result::Result<Looked, Problem>;

impl DurableObject for Repository {
    fn new(state: State, env: Env) -> Self {
        Self {
            shared: Rc::new(Shared {
                state,
                env,
                store: OnceCell::new(),
                turns: RefCell::default(),
                server: RefCell::default(),
                alarm: Cell::new(None),
            }),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let scope = request.headers().get(SCOPE_HEADER)?.unwrap_or_default();
        let outcome = match serde_json::from_slice(&request.bytes().await?) {
            Ok(asked) => self.shared.answer(&scope, asked).await,
            Err(error) => Err(Problem::internal(format!("the request cannot be read: {error}"))),
        };
        platform::answer(&outcome)
    }

    async fn alarm(&self) -> Result<Response> {
        self.shared.alarm.set(Some(None));
        // An error would have the platform call again at once; what failed is in the record.
        if let Err(problem) = self.shared.wake().await {
            console_error!("{problem}");
        }
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

// === impl Shared ===

impl Shared {
    async fn answer(
        self: &Rc<Self>,
        scope: &str,
        asked: RepositoryRequest,
    ) -> std::result::Result<RepositoryAnswer, Problem> {
        match asked {
            RepositoryRequest::State => {
                let state = self.with(|record| record.state())?;
                Ok(RepositoryAnswer::State(Box::new(state)))
            }
            RepositoryRequest::Forget => {
                self.follow(None)?;
                Ok(RepositoryAnswer::Noted)
            }
            RepositoryRequest::Look { source, why, wait } => {
                self.store()?.write(SCOPE, scope).map_err(unstored)?;
                match source {
                    Some(source) => self.follow(Some(*source))?,
                    None => self.follow_settings(scope)?,
                }
                let Some(answer) = self.look_because(why, wait)? else {
                    return Ok(RepositoryAnswer::Noted);
                };
                // Dropped only with the object itself.
                let lost = |_| Problem::unavailable("the look was interrupted; ask again");
                answer.await.map_err(lost)?.map(RepositoryAnswer::Looked)
            }
        }
    }

    /// Time has passed.
    async fn wake(self: &Rc<Self>) -> std::result::Result<(), Problem> {
        let scope = self.scope()?;
        self.follow_settings(&scope)?;
        if let Some(answer) = self.look_because(Why::Clock, true)? {
            // What was wrong is in the record.
            let _ = answer.await;
        }
        Ok(())
    }

    /// Has a look begin, if there is to be one: how it ended, for who waits.
    fn look_because(
        self: &Rc<Self>,
        why: Why,
        wait: bool,
    ) -> std::result::Result<Option<oneshot::Receiver<Outcome>>, Problem> {
        let (is_followed, is_wanted) =
            self.with(|record| (record.source().is_some(), record.is_wanted(why, now())))?;
        if !is_followed && why != Why::Clock && wait {
            return Err(not_followed());
        }
        if !(is_followed && is_wanted) {
            return Ok(None);
        }
        let (sender, answer) = oneshot::channel();
        self.turns.borrow_mut().ask(wait.then_some(sender), why == Why::Refresh);
        self.begin();
        Ok(wait.then_some(answer))
    }

    /// Looks as long as somebody wants a look.
    fn begin(self: &Rc<Self>) {
        let shared = Rc::clone(self);
        self.state.wait_until(async move {
            loop {
                let Some(is_thorough) = shared.turns.borrow_mut().begin() else { return };
                let Some(outcome) = shared.look(is_thorough).await else {
                    shared.turns.borrow_mut().again();
                    continue;
                };
                let answered = shared.turns.borrow_mut().end();
                for asker in answered {
                    // Who asked may have gone away.
                    let _ = asker.send(outcome.clone());
                }
            }
        });
    }

    /// One look; none if something else is followed by now.
    async fn look(&self, is_thorough: bool) -> Option<Outcome> {
        let begun = self.with(|record| {
            record.begin(now());
            record.source().cloned()
        });
        let source = match begun {
            Ok(Some(source)) => source,
            Ok(None) => {
                let ended = self.with(Record::dropped);
                return Some(ended.and_then(|()| Err(not_followed())));
            }
            Err(problem) => return Some(Err(problem)),
        };
        let found = self.find(&source, is_thorough).await;
        let ended = self.with(|record| {
            if record.source() != Some(&source) {
                record.dropped();
                return None;
            }
            match found {
                Ok(Some(looked)) => Some(Ok(record.published(now(), looked))),
                Ok(None) => None,
                Err(failure) => Some(Err(record.failed(failure))),
            }
        });
        let outcome = match ended {
            Ok(outcome) => outcome?,
            Err(problem) => Err(problem),
        };
        let (scope, url) = (self.scope().unwrap_or_default(), source.place.url());
        match &outcome {
            Ok(Looked { hash, changed: true, .. }) => {
                console_log!("scope {scope}: {url}: the policy is {hash} now");
            }
            Ok(_) => {}
            Err(problem) => console_warn!("scope {scope}: {url}: {problem}; the policy stays"),
        }
        Some(outcome)
    }

    /// Follows what the settings say, which is about the default scope only.
    fn follow_settings(&self, scope: &str) -> std::result::Result<(), Problem> {
        if scope != DEFAULT_SCOPE {
            return Ok(());
        }
        self.follow(settings::source(&|name| setting(&self.env, name))?)
    }

    fn follow(&self, source: Option<Source>) -> std::result::Result<(), Problem> {
        if self.with(|record| record.follow(source))? {
            self.server.take();
            self.store()?.forget_objects().map_err(unstored)?;
        }
        Ok(())
    }

    /// Reads or changes the record, and sees to it that the alarm goes off when it says. It runs
    /// without an await, so nothing else of this object comes in between.
    fn with<T>(&self, act: impl FnOnce(&mut Record) -> T) -> std::result::Result<T, Problem> {
        let store = self.store()?;
        let before = match store.read(RECORD).map_err(unstored)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| {
                Problem::internal(format!("the record cannot be read: {error}"))
            })?,
            None => Record::default(),
        };
        let mut record = before.clone();
        let came_of_it = act(&mut record);
        if record != before {
            let text = serde_json::to_string(&record)
                .map_err(|error| Problem::internal(error.to_string()))?;
            store.write(RECORD, &text).map_err(unstored)?;
        }
        self.set_alarm(record.alarm());
        Ok(came_of_it)
    }

    fn set_alarm(&self, wanted: Option<Millis>) {
        if self.alarm.replace(Some(wanted)) == Some(wanted) {
            return;
        }
        let storage = self.state.storage();
        self.state.wait_until(async move {
            let done = match wanted {
                Some(at) => {
                    let at = js_sys::Date::new(&JsValue::from_f64(at.0 as f64));
                    storage.set_alarm(ScheduledTime::new(at)).await
                }
                None => storage.delete_alarm().await,
            };
            if let Err(error) = done {
                console_error!("no alarm can be set: {error}");
            }
        });
    }

    fn store(&self) -> std::result::Result<Store, Problem> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let store = Store::open(self.state.storage().sql()).map_err(unstored)?;
        Ok(self.store.get_or_init(|| store).clone())
    }

    /// Of which scope this is, as it was told.
    fn scope(&self) -> std::result::Result<String, Problem> {
        Ok(self.store()?.read(SCOPE).map_err(unstored)?.unwrap_or_default())
    }
}

fn not_followed() -> Problem {
    Problem::not_found(
        "no repository is followed: set POLICY_REPO_URL, give the scope a `policy` with a URL of \
         http or https, or push with `edge-agent policy push`",
    )
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn unstored(error: StoreError) -> Problem {
    console_error!("{error}");
    Problem::unavailable("the storage of the policy's repository does not answer; try again later")
}
