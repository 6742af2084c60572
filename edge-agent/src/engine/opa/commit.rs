//! Policies and data of one commit. OPA takes them one after the other: first the modules, then
//! all documents in one transaction. What it refuses is taken back.

use std::sync::{Arc, PoisonError};

use protocol::DataPath;

use super::{OpaEngine, patch, policies};
use crate::engine::{EngineError, OwnedDocument};
use crate::policy::PolicyModule;

impl OpaEngine {
    /// Replaces the modules, of which these may be there, and remembers those that OPA took.
    pub(super) async fn replace_policies(
        &self,
        modules: &[PolicyModule],
        there: &[PolicyModule],
    ) -> Result<(), EngineError> {
        policies::replace(&self.rest, &self.marker, modules, there).await?;
        *self.modules.lock().unwrap_or_else(PoisonError::into_inner) = modules.into();
        Ok(())
    }

    /// Replaces modules and documents, or leaves both as they were.
    pub(super) async fn put_commit(
        &self,
        modules: &[PolicyModule],
        documents: &[OwnedDocument],
    ) -> Result<(), EngineError> {
        let before = Arc::clone(&self.modules.lock().unwrap_or_else(PoisonError::into_inner));
        let modules_first = match self.replace_policies(modules, &before).await {
            Ok(()) => self.put_documents(documents).await,
            refused => refused,
        };
        let Err(EngineError::Rejected(why)) = modules_first else { return modules_first };
        self.put_back(&before, modules, &why).await?;
        if documents.is_empty() {
            return Err(EngineError::Rejected(why));
        }
        // A rule may be about to go where data was, which has to be gone by then.
        match self.put_documents(documents).await {
            Ok(()) => {}
            Err(EngineError::Rejected(_)) => return Err(EngineError::Rejected(why)),
            unknown => return unknown,
        }
        match self.replace_policies(modules, &before).await {
            // What the documents replaced only the store still has.
            Err(EngineError::Rejected(why)) => Err(EngineError::Unavailable(why)),
            other => other,
        }
    }

    /// Puts back the modules that OPA had before it refused something.
    async fn put_back(
        &self,
        before: &[PolicyModule],
        modules: &[PolicyModule],
        why: &str,
    ) -> Result<(), EngineError> {
        // What both have was not touched.
        let untouched: Vec<PolicyModule> =
            before.iter().filter(|module| modules.contains(module)).cloned().collect();
        self.replace_policies(before, &untouched).await.map_err(|error| {
            EngineError::Unavailable(format!(
                "{why}; and what was before cannot be put back: {error}"
            ))
        })
    }

    /// Replaces documents, all of them at one moment.
    async fn put_documents(&self, documents: &[OwnedDocument]) -> Result<(), EngineError> {
        if documents.is_empty() {
            return Ok(());
        }
        let mut operations = vec![];
        for (path, document) in documents {
            // Unlike a PUT, a patch does not make the parents. One that is there is left alone.
            if let Some((_, parents)) =
                path.segments().split_last().filter(|(_, it)| !it.is_empty())
            {
                let parent = DataPath::default().below(parents.iter().cloned());
                self.rest.make_object(&parent).await?;
            }
            match document {
                Some(document) => operations.push(patch::add(path, document.get())),
                // What is not there cannot be removed.
                None => operations.extend([patch::add(path, "{}"), patch::remove(path)]),
            }
        }
        self.transact(&operations.join(",")).await
    }
}
