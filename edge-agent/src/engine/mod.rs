//! What decides: the engines behind one trait.
//!
//! | question | file |
//! |---|---|
//! | How is a real OPA filled over its REST API? | `opa/` |
//! | How does the embedded engine hold data and decide? | `regorus/` |

use futures::future::BoxFuture;
use protocol::DataPath;

use crate::{json::Json, policy::PolicyModule};

pub mod opa;
pub mod regorus;

pub use opa::OpaEngine;
pub use regorus::RegorusEngine;

/// One change of an engine's data document.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// Replaces the document at `path`, making its parents.
    Put {
        /// Where.
        path: &'a DataPath,
        /// The new document.
        data: &'a Json,
    },
    /// Applies a JSON Patch (RFC 6902): all of it, or nothing.
    Patch {
        /// What the operations' paths are relative to.
        path: &'a DataPath,
        /// The list of operations.
        operations: &'a Json,
    },
}

/// Why an engine did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It will be refused again: a 4xx, a patch on a path that is missing, a policy that
    /// does not compile.
    #[error("{0}")]
    Rejected(String),
    /// Worth another try: connection refused, 5xx, no answer in time.
    #[error("{0}")]
    Unavailable(String),
}

/// A place that the agent has written to, and the document there: none where nothing may be.
pub type OwnedDocument = (DataPath, Option<Json>);

/// Whether an engine still holds what this run of the agent put into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// Nobody else has written to it since [`Engine::restore`].
    Filled,
    /// It was restarted, emptied, or another agent filled it: it needs policies and data.
    Empty,
    /// Somebody else has written to it: policies and data may differ from ours.
    Altered,
}

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The input cannot be read.
    #[error("{0}")]
    Input(String),
    /// The policy failed: for example because a rule has two values.
    #[error("{0}")]
    Policy(String),
    /// The engine could not be asked, or answered something else than a decision.
    #[error("{0}")]
    Engine(String),
    /// The engine has no package of that name.
    #[error("the engine has no package `permit`")]
    NoPackage,
}

/// A policy engine that the agent keeps current.
pub trait Engine: Send + Sync + 'static {
    /// `regorus` or `opa`.
    fn name(&self) -> &'static str;

    /// Changes the data document; nobody sees half a write.
    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<(), EngineError>>;

    /// The document at a place of the data, if there is one. No policy is evaluated that was put
    /// by this agent: its data is read alone.
    fn read<'a>(&'a self, path: &'a DataPath) -> BoxFuture<'a, Result<Option<Json>, EngineError>>;

    /// Decides: the value of `data.permit.<rule>` for an input, none if it is undefined. Asked are
    /// the policies that this agent put, if they have a package `permit`, and else the built-in
    /// one ([`crate::enforcement`]). It may take as long as a decision may: whoever cannot wait
    /// that long stops waiting.
    fn permit<'a>(
        &'a self,
        rule: &'a [&'a str],
        input: &'a Json,
    ) -> BoxFuture<'a, Result<Option<Json>, Undecided>>;

    /// Replaces the policies that this agent put before. All are in, or the error says
    /// which one is not and why.
    fn set_policies<'a>(
        &'a self,
        modules: &'a [PolicyModule],
    ) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Replaces the policies, as [`Self::set_policies`], and the documents at these places, none
    /// of which covers another, with nothing where there is none: all of that, or nothing, if the
    /// engine refuses any of it. Where it can, it does so at one moment.
    ///
    /// # Errors
    /// [`EngineError::Rejected`]: the engine is as it was. [`EngineError::Unavailable`]: nobody
    /// knows.
    fn commit<'a>(
        &'a self,
        modules: &'a [PolicyModule],
        documents: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Makes `data.girasol.lag_seconds` this: for how long the agent has not been current. It stays
    /// whatever is written or restored.
    fn tell_lag(&self, seconds: u64) -> BoxFuture<'_, Result<(), EngineError>>;

    /// A cheap question: is the engine up, and is it still the one this agent filled?
    fn probe(&self) -> BoxFuture<'_, Result<EngineState, EngineError>>;

    /// Makes the engine hold exactly these documents at their places, whatever is there,
    /// and takes it over: nothing that was sent before by this run of the agent or by an
    /// earlier one lands after it. Called after the policies are in; data at other places
    /// stays.
    ///
    /// Returns the places whose documents the engine will never take, with its words.
    ///
    /// # Errors
    /// The engine could not be asked; it is to be called again.
    fn restore<'a>(
        &'a self,
        owned: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<Vec<(DataPath, String)>, EngineError>>;
}
