//! Secrets that updates name and never hold: `"${secret:NAME}"` in an entry's address or
//! settings is filled in here, right before the fetch.
//!
//! Only a fetcher ever has what is filled in: the core, the store, the status and the log have the
//! source as it was published. Whoever publishes an update chooses which secret goes where, so an
//! operator can say which hosts a secret may go to ([`Rules`]); and whatever is said of a fetch
//! passes [`Filled::hide`], which takes every secret out of it.
//!
//! It never reads the agent's own settings: a name leads to `GIRASOL_SECRET_NAME`, to a file of
//! the folder, or to the command, and to nothing else.
//!
//! | question | file |
//! |---|---|
//! | What does a text name, and where may it? | `reference` |
//! | How is a secret put into an address, or into settings? | `fill` |
//! | Where is it found? | `places` |
//! | Which hosts may it go to? | [`rules`] |
//! | How is it kept out of messages? | `mask` |

mod fill;
mod mask;
mod places;
mod reference;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use protocol::credentials;

use crate::fetch::{FetchError, Source};
use crate::net::confined::{self, Hosts};
use crate::settings::Secret;
use mask::Mask;
pub(crate) use mask::{CUT, shortened};
use places::Command;
pub use rules::Rules;

/// The secrets that this agent can get at.
#[derive(Clone, Default)]
pub struct Secrets {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    variable: Variables,
    dir: Option<PathBuf>,
    command: Option<Command>,
    rules: Rules,
}

/// Where variables are looked up.
struct Variables(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Default for Variables {
    fn default() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }
}

/// A source with its secrets in it.
pub struct Filled {
    source: Source,
    mask: Mask,
    /// Where its secrets may go.
    hosts: Option<Hosts>,
    /// What the command gave, and when.
    commanded: Vec<(String, Instant)>,
}

impl Secrets {
    /// Secrets of this process's environment; of the files of `dir`; of what `command`, a
    /// program with its first arguments, prints when it is run with a name.
    #[must_use]
    pub fn new(dir: Option<PathBuf>, command: &[String], rules: Rules) -> Self {
        let variable = Variables::default();
        Self { inner: Arc::new(Inner { variable, dir, command: Command::new(command), rules }) }
    }

    /// The same with other variables.
    #[cfg(test)]
    fn with_variables(self, variables: &[(&'static str, &'static str)]) -> Self {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let variable =
            Variables(Box::new(move |name| variables.get(name).map(|value| (*value).to_owned())));
        let Ok(inner) = Arc::try_unwrap(self.inner) else { panic!("it is shared") };
        Self { inner: Arc::new(Inner { variable, ..inner }) }
    }

    /// Puts the secrets in that the source names.
    ///
    /// # Errors
    /// A reference is malformed or stands where no secret may; a secret is nowhere, cannot be
    /// read, or may not go to the source's host.
    pub async fn fill(&self, source: &Source) -> Result<Filled, FetchError> {
        let names = fill::names(source)?;
        for name in &names {
            self.inner.rules.check(name, source)?;
        }
        let hosts = self.inner.rules.hosts(names.iter(), source);
        let mut values = BTreeMap::new();
        let mut commanded = vec![];
        for name in names {
            let value = self.find(&name, &mut commanded).await?;
            values.insert(name, value);
        }
        let filled = fill::fill(source, &values)?;
        let mut mask = Mask::default();
        values.values().for_each(|value| mask.add(value.expose()));
        for found in credentials::find(&source.url, source.config.as_deref()) {
            mask.add(&found.value);
        }
        mask.add_user(&filled.url);
        Ok(Filled { source: filled, mask, hosts, commanded })
    }

    /// What was filled in may be no good any more: a command that gave some of it is asked again.
    pub fn doubt(&self, filled: &Filled) {
        if let Some(command) = &self.inner.command {
            filled.commanded.iter().for_each(|(name, since)| command.forget(name, *since));
        }
    }

    async fn find(
        &self,
        name: &str,
        commanded: &mut Vec<(String, Instant)>,
    ) -> Result<Secret, FetchError> {
        let Inner { variable, dir, command, .. } = &*self.inner;
        if let Some(value) = places::variable(name, &*variable.0) {
            return Ok(value);
        }
        if let Some(dir) = dir
            && let Some(value) = places::file(name, dir).await?
        {
            return Ok(value);
        }
        let Some(command) = command else {
            return Err(places::nowhere(name, dir.as_deref()));
        };
        let (value, since) = command.ask(name).await?;
        commanded.push((name.to_owned(), since));
        Ok(value)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Filled {
    /// The source for its fetcher, and for nobody else.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Does `work`, which connects nowhere but where the source's secrets may go.
    pub async fn confine<F: Future>(&self, work: F) -> F::Output {
        match &self.hosts {
            Some(hosts) => confined::within(Arc::clone(hosts), work).await,
            None => work.await,
        }
    }

    /// The error without any of the source's secrets.
    #[must_use]
    pub fn hide(&self, error: FetchError) -> FetchError {
        error.reworded(|message| self.mask.hide(message))
    }
}

impl std::fmt::Debug for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filled").finish_non_exhaustive()
    }
}

/// Names of secrets, each once.
type Names = BTreeSet<String>;

#[cfg(test)]
mod tests;
