//! A real OPA, filled over its REST API with the statuses of
//! `spec/opa-and-grants.md` §1.10.
//!
//! | question | file |
//! |---|---|
//! | How is a call made and its answer judged? | `call.rs` |
//! | How are policies replaced? | `policies.rs` |
//! | How is a restarted OPA told from the one that was filled? | `marker.rs` |

use futures::future::BoxFuture;
use protocol::DataPath;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{Engine, EngineError, EngineState, Write};
use crate::{http::HttpError, policy::PolicyModule, settings::Secret};

mod call;
mod marker;
mod patch;
mod policies;

use call::{Body, Rest};
use marker::Marker;

/// An OPA beside the agent.
pub struct OpaEngine {
    rest: Rest,
    marker: Marker,
}

impl OpaEngine {
    /// An OPA at `url`, asked with the bearer token `token`. Does not connect.
    ///
    /// # Errors
    /// There is no HTTP client.
    pub fn new(url: Url, token: Option<Secret>) -> Result<Self, HttpError> {
        Ok(Self { rest: Rest::new(url, token)?, marker: Marker::new() })
    }

    async fn put(&self, path: &DataPath, data: &RawValue) -> Result<(), EngineError> {
        if !path.is_root() {
            self.rest.data(Method::PUT, path, Body::Json(data.get())).await?;
            return self.mark_again_if_touched(path).await;
        }
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
        let marked = self.marker.splice(&document);
        self.rest.data(Method::PUT, path, Body::Json(&marked)).await?;
        // A publisher's own member of that name is the later one, so it wins.
        let taken = serde_json::from_str::<Taken<'_>>(&document);
        if taken.is_ok_and(|taken| taken.girasol.is_some()) { self.mark().await } else { Ok(()) }
    }

    async fn patch(&self, path: &DataPath, operations: &RawValue) -> Result<(), EngineError> {
        let operations = patch::for_opa(operations.get());
        self.rest.data(Method::PATCH, path, Body::Patch(&operations)).await?;
        self.mark_again_if_touched(path).await
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

    fn set_policies<'a>(
        &'a self,
        modules: &'a [PolicyModule],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(policies::replace(&self.rest, &self.marker, modules))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineState, EngineError>> {
        Box::pin(async move {
            let found = self.rest.read_marker().await?;
            let ours = found.is_some_and(|found| self.marker.is_ours(&found));
            Ok(if ours { EngineState::Filled } else { EngineState::Empty })
        })
    }

    fn mark(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.rest.write_marker(&self.marker))
    }
}

#[cfg(test)]
mod tests;
