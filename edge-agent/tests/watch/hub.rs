//! A hub as far as a publisher sees it: it accepts an update once, refuses another body under the
//! same id, and applies what it accepts to a document, as strictly as the agents do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use protocol::{SaveMethod, Update};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Nothing here takes this long unless it is broken.
const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Hub {
    pub(crate) url: String,
    state: Arc<Mutex<Accepted>>,
    changed: watch::Receiver<usize>,
}

#[derive(Default)]
pub(crate) struct Accepted {
    bodies: HashMap<String, String>,
    /// Every update that was applied, in order.
    pub(crate) updates: Vec<Update>,
    /// Requests that brought an update that was there already.
    pub(crate) repeated: usize,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
    pub(crate) document: Value,
    /// Whether requests are refused for now; how many were.
    pub(crate) is_away: bool,
    pub(crate) refused: usize,
}

type Shared = (Arc<Mutex<Accepted>>, Arc<watch::Sender<usize>>);

impl Hub {
    pub(crate) async fn start() -> Self {
        let state = Accepted { document: json!({}), ..Accepted::default() };
        let state = Arc::new(Mutex::new(state));
        let (sender, changed) = watch::channel(0);
        let shared: Shared = (Arc::clone(&state), Arc::new(sender));
        let router = Router::new()
            .route("/data/config", post(take))
            .layer(DefaultBodyLimit::max(2_000_000))
            .with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/data/config", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, state, changed }
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Accepted) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// Waits until what the hub has is so.
    pub(crate) async fn wait(&self, what: &str, mut is_so: impl FnMut(&Accepted) -> bool) {
        let mut changed = self.changed.clone();
        let waiting = changed.wait_for(|_| is_so(&self.state.lock().unwrap()));
        if tokio::time::timeout(SOON, waiting).await.is_err() {
            let (document, faults) = self.look(|it| (it.document.clone(), it.faults.clone()));
            let mut document = document.to_string();
            document.truncate(2_000);
            panic!("{what}: not in {SOON:?}: {document} {faults:?}");
        }
    }

    /// Waits until the document is this, and nothing went wrong on the way.
    pub(crate) async fn becomes(&self, document: &Value) {
        self.wait(&document.to_string(), |it| it.document == *document).await;
        self.look(|it| assert!(it.faults.is_empty(), "{:?}", it.faults));
    }
}

async fn take(State((state, changed)): State<Shared>, body: String) -> (StatusCode, String) {
    let answer = state.lock().unwrap().take(&body);
    changed.send_modify(|count| *count += 1);
    answer
}

impl Accepted {
    fn take(&mut self, body: &str) -> (StatusCode, String) {
        if self.is_away {
            self.refused += 1;
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let update = match Update::parse(body.as_bytes()) {
            Ok(update) => update,
            Err(problem) => {
                self.faults.push(problem.to_string());
                return (StatusCode::UNPROCESSABLE_ENTITY, problem.to_string());
            }
        };
        let id = update.id.clone().unwrap();
        match self.bodies.get(&id) {
            Some(known) if known == body => self.repeated += 1,
            Some(_) => {
                self.faults.push(format!("{id} has another body"));
                return (StatusCode::CONFLICT, String::new());
            }
            None => {
                for entry in &update.entries {
                    if let Err(fault) = apply(&mut self.document, entry) {
                        self.faults.push(format!("{id}: {fault}"));
                    }
                }
                self.bodies.insert(id, body.to_owned());
                self.updates.push(update);
            }
        }
        (StatusCode::OK, json!({"status": "ok", "seq": self.updates.len()}).to_string())
    }
}

fn apply(document: &mut Value, entry: &protocol::Entry) -> Result<(), String> {
    let data: Value = serde_json::from_str(entry.inline().unwrap().get()).unwrap();
    let place = entry.dst_path.segments();
    if entry.save_method == SaveMethod::Put {
        let mut at = document;
        for segment in place {
            at = &mut at[segment.as_str()];
        }
        *at = data;
        return Ok(());
    }
    for operation in data.as_array().unwrap() {
        let pointer = operation["path"].as_str().unwrap().split('/').skip(1);
        let pointer = pointer.map(|it| it.replace("~1", "/").replace("~0", "~"));
        let mut path: Vec<String> = place.iter().cloned().chain(pointer).collect();
        let last = path.pop().unwrap();
        let mut at = &mut *document;
        for segment in &path {
            at = at.get_mut(segment.as_str()).ok_or_else(|| format!("no {segment}"))?;
        }
        let members = at.as_object_mut().ok_or("no object")?;
        match operation["op"].as_str() {
            Some("add") => drop(members.insert(last, operation["value"].clone())),
            Some("remove") => drop(members.remove(&last).ok_or_else(|| format!("no {last}"))?),
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(())
}
