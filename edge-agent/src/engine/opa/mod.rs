//! A real OPA, filled over its REST API with the statuses of
//! `spec/opa-and-grants.md` §1.10.
//!
//! | question | file |
//! |---|---|
//! | How is a call made and its answer judged? | `call.rs` |
//! | How are policies replaced? | `policies.rs` |
//! | How are policies and data replaced together? | `commit.rs` |
//! | How is a restarted OPA told from the one that was filled, and a late write refused? | `marker.rs` |
//! | Has somebody else written to it? | `metrics.rs` |
//! | How does a write become a patch? | `patch.rs` |

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use protocol::DataPath;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{Engine, EngineError, EngineState, OwnedDocument, Undecided, Write};
use crate::{enforcement, http::HttpError, json::Json, policy::PolicyModule, settings::Secret};

mod call;
mod commit;
mod marker;
mod metrics;
mod patch;
mod policies;

use call::{Body, Rest};
use marker::Marker;

/// An OPA beside the agent.
pub struct OpaEngine {
    rest: Rest,
    marker: Marker,
    /// The modules that OPA took last, to be put back.
    modules: Mutex<Arc<[PolicyModule]>>,
    /// What others had written when this agent last filled it; none if OPA does not say.
    foreign_writes: Mutex<Option<u64>>,
    /// For how long the agent has not been current, in seconds; none if nobody has said so.
    lag: Mutex<Option<u64>>,
    /// Held while OPA's writes are counted: one of ours that nobody has counted yet would be
    /// somebody else's. Of ours the lag alone is written beside the others.
    counting: tokio::sync::Mutex<()>,
}

impl OpaEngine {
    /// An OPA at `url`, asked with the bearer token `token`. Does not connect.
    ///
    /// # Errors
    /// There is no HTTP client.
    pub fn new(url: Url, token: Option<Secret>) -> Result<Self, HttpError> {
        Ok(Self {
            rest: Rest::new(url, token)?,
            marker: Marker::new(),
            modules: Mutex::default(),
            foreign_writes: Mutex::default(),
            lag: Mutex::default(),
            counting: tokio::sync::Mutex::default(),
        })
    }

    async fn put(&self, path: &DataPath, data: &Json) -> Result<(), EngineError> {
        if path.is_root() {
            return self.put_root(data).await;
        }
        let add = patch::add(path, data.get());
        if let Err(error) = self.transact(&add).await {
            let EngineError::Rejected(_) = &error else { return Err(error) };
            // Unlike a PUT, a patch does not make the parents. One that is there is left alone.
            let Some((_, parents)) = path.segments().split_last() else { return Err(error) };
            if parents.is_empty() {
                return Err(error);
            }
            self.rest.make_object(&DataPath::default().below(parents.iter().cloned())).await?;
            self.transact(&add).await?;
        }
        self.mark_again_if_touched(path).await
    }

    async fn put_root(&self, data: &Json) -> Result<(), EngineError> {
        let document = match data.get().as_bytes().first() {
            Some(b'{') => data.get().to_owned(),
            // As OPAL's client does.
            Some(b'[') => format!(r#"{{"items":{}}}"#, data.get()),
            _ => {
                return Err(EngineError::Rejected(
                    "the whole data document can only be an object or an array".to_owned(),
                ));
            }
        };
        let marked = self.marker.splice(&document, self.lag());
        self.transact(&patch::add(&DataPath::default(), &marked)).await?;
        // A publisher's own member of that name is the later one, so it wins.
        let taken = serde_json::from_str::<Taken<'_>>(&document);
        if taken.is_ok_and(|taken| taken.girasol.is_some()) { self.mark().await } else { Ok(()) }
    }

    async fn patch(&self, path: &DataPath, operations: &Json) -> Result<(), EngineError> {
        self.transact(&patch::below(path, operations.get())?).await?;
        self.mark_again_if_touched(path).await
    }

    /// Does all of these operations, a comma between each two, or none; none if OPA was
    /// filled anew since the last [`Engine::restore`]. What OPA refuses for what somebody else
    /// has made of its data is not refused: it may be right once that is put right.
    async fn transact(&self, operations: &str) -> Result<(), EngineError> {
        let comma = if operations.is_empty() { "" } else { "," };
        let body = format!("[{}{comma}{operations}]", self.marker.fence());
        let done = self.rest.data(Method::PATCH, &DataPath::default(), Body::Patch(&body)).await;
        if !matches!(done, Err(EngineError::Rejected(_))) {
            return done;
        }
        match self.probe().await? {
            EngineState::Filled => done,
            EngineState::Empty => Err(EngineError::Unavailable(
                "OPA was emptied, or filled by another agent, since it was last filled".to_owned(),
            )),
            EngineState::Altered => Err(EngineError::Unavailable(
                "somebody else has written to OPA since it was last filled".to_owned(),
            )),
        }
    }

    /// True if OPA has the marker of the last restore.
    async fn is_filled(&self) -> Result<bool, EngineError> {
        let found = self.rest.read_marker().await?;
        Ok(found.is_some_and(|found| self.marker.is_ours(&found)))
    }

    async fn mark(&self) -> Result<(), EngineError> {
        self.rest.write_marker(&self.marker).await?;
        match self.lag() {
            Some(lag) => self.write_lag(lag).await,
            None => Ok(()),
        }
    }

    fn lag(&self) -> Option<u64> {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behind the fence as every write is. If OPA was filled anew it is refused, and written with
    /// the next marker.
    async fn write_lag(&self, seconds: u64) -> Result<(), EngineError> {
        let add = patch::add(&DataPath::lag_seconds(), &seconds.to_string());
        let body = format!("[{},{add}]", self.marker.fence());
        self.rest.data(Method::PATCH, &DataPath::default(), Body::Patch(&body)).await
    }

    async fn mark_again_if_touched(&self, path: &DataPath) -> Result<(), EngineError> {
        if marker::path().overlaps(path) { self.mark().await } else { Ok(()) }
    }
}

/// The member of a root document that the marker lives in.
#[derive(Deserialize)]
struct Taken<'d> {
    #[serde(borrow, default)]
    girasol: Option<&'d RawValue>,
}

impl Engine for OpaEngine {
    fn name(&self) -> &'static str {
        "opa"
    }

    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            match write {
                Write::Put { path, data } => self.put(path, data).await,
                Write::Patch { path, operations } => self.patch(path, operations).await,
            }
        })
    }

    fn read<'a>(&'a self, path: &'a DataPath) -> BoxFuture<'a, Result<Option<Json>, EngineError>> {
        Box::pin(self.rest.read_data(path))
    }

    fn permit<'a>(
        &'a self,
        rule: &'a [&'a str],
        input: &'a Json,
    ) -> BoxFuture<'a, Result<Option<Json>, Undecided>> {
        let modules = Arc::clone(&self.modules.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move {
            // Data may be at that place, too: whoever writes data would write decisions.
            if !modules.iter().any(|module| enforcement::is_permit(&module.rego)) {
                return Err(Undecided::NoPackage);
            }
            self.rest.decide([enforcement::PACKAGE].iter().chain(rule).copied(), input).await
        })
    }

    fn set_policies<'a>(
        &'a self,
        modules: &'a [PolicyModule],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.replace_policies(modules, &[]))
    }

    fn commit<'a>(
        &'a self,
        modules: &'a [PolicyModule],
        documents: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.put_commit(modules, documents))
    }

    fn tell_lag(&self, seconds: u64) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let _counting = self.counting.lock().await;
            *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);
            self.write_lag(seconds).await
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineState, EngineError>> {
        Box::pin(async move {
            let _counting = self.counting.lock().await;
            if !self.is_filled().await? {
                return Ok(EngineState::Empty);
            }
            let foreign = self.rest.foreign_writes().await?;
            let known = *self.foreign_writes.lock().unwrap_or_else(PoisonError::into_inner);
            let altered = foreign.is_some() && known.is_some() && foreign != known;
            Ok(if altered { EngineState::Altered } else { EngineState::Filled })
        })
    }

    fn restore<'a>(
        &'a self,
        owned: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<Vec<(DataPath, String)>, EngineError>> {
        Box::pin(async move {
            // Before anything is compared or written: whoever writes meanwhile is noticed.
            let counting = self.counting.lock().await;
            let foreign = self.rest.foreign_writes().await?;
            *self.foreign_writes.lock().unwrap_or_else(PoisonError::into_inner) = foreign;
            self.marker.renew();
            self.mark().await?;
            drop(counting);
            let mut refused = Vec::new();
            for (path, data) in owned {
                let done = match data {
                    Some(data) => self.put(path, data).await,
                    None => match self.transact(&patch::remove(path)).await {
                        // There is nothing, as there should be.
                        Err(EngineError::Rejected(_)) => Ok(()),
                        other => other,
                    },
                };
                match done {
                    Err(EngineError::Rejected(why)) => refused.push((path.clone(), why)),
                    other => other?,
                }
            }
            Ok(refused)
        })
    }
}

#[cfg(test)]
mod tests;
