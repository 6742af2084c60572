//! Bundles for an OPA that has no agent (`spec/opa-and-grants.md` part 2).
//!
//! A bundle is made when it is asked for, from the policy and from a replay of the log; nothing
//! is kept. What it is made of, and of which moment, is in its `ETag`, so an OPA that comes with
//! one is told that nothing changed, or what did.
//!
//! * A **snapshot** is everything: the modules, one `data.json`, the manifest, signatures if
//!   there is a key for them.
//! * A **delta** is, for each place that the log's updates since touched, what is there now. It is
//!   given if only data changed, and never empty: OPA takes an empty one for a snapshot of
//!   nothing.
//!
//! The data of the policy's `data.json` files is there first, then the log's entries are applied
//! in order. The functions fetch nothing, so what an entry only has an address of is not in a
//! bundle; the manifest's metadata names those entries.
//!
//! | question | file |
//! |---|---|
//! | What can be asked for? | [`query`] |
//! | What does an `ETag` say? | [`tag`] |
//! | What does a replay of the log come to? | `replay.rs` |
//! | How is data kept of which nobody knows the shape? | `document.rs` |
//! | How is it written, so that signatures and caches agree? | `canonical.rs` |
//! | What is in a snapshot? | `snapshot.rs` |
//! | What is in a delta? | `delta.rs` |

mod canonical;
mod delta;
mod document;
pub mod query;
mod replay;
mod snapshot;
pub mod tag;

use protocol::bundle::Mark;
use protocol::internal::Policy;
use protocol::opal::policy::{DataModule, PolicyModule};
use protocol::{Problem, Seq};
use serde_json::{Value, json};

use crate::policy;
use document::{Document, Node};
use query::Recipe;
pub use replay::Replay;
use tag::Tag;

/// The type of an answer to who waits: it says that waiting is possible (§2.1).
pub const LONG_POLL_TYPE: &str = "application/vnd.openpolicyagent.bundles";
/// The type of a bundle for who does not wait.
pub const ARCHIVE_TYPE: &str = "application/gzip";
/// Entries that a manifest names because they cannot be in the bundle.
const MAX_NAMED: usize = 100;

/// What signs the list of a bundle's files: its claims in, a token out.
pub type Sign<'s> = &'s dyn Fn(Value) -> Result<String, Problem>;

/// What an OPA is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has this already, and calls it so from now on.
    Unchanged(Tag),
    /// This is what it has to activate.
    Bundle(Tag, Vec<u8>),
}

/// What a bundle is made of, once it is all there.
#[derive(Debug)]
pub struct Made<'p> {
    recipe: &'p Recipe,
    policy: Option<&'p Policy>,
    modules: Vec<PolicyModule>,
    data: Document,
    /// Places that each of the log's updates touched.
    touched: Vec<(Seq, Vec<String>)>,
    floor: Seq,
    left_out: Vec<Value>,
    left_out_count: usize,
    tag: Tag,
}

impl<'p> Made<'p> {
    /// Puts together the policy, if one is wanted, and the log's data. `mark` is the moment before
    /// they were read: what came later may be in them.
    ///
    /// # Errors
    /// 404 for a folder that is not there, 422 for a `data.json` that is no object.
    pub fn new(
        recipe: &'p Recipe,
        policy: Option<&'p Policy>,
        replay: Replay,
        mut mark: Mark,
    ) -> Result<Self, Problem> {
        let (mut modules, mut files) = (vec![], vec![]);
        if let Some(policy) = policy {
            let bundle = policy::bundle(policy, &recipe.folders)?;
            (modules, files) = (bundle.policy_modules, bundle.data_modules);
            mark.policy = policy.revision.mark(&recipe.folders);
        }
        let mut data = Document::default();
        files.sort_by_key(|file| depth(&file.path));
        for file in &files {
            merge(&mut data, file)?;
        }
        let Replay { entries, epoch, reached, floor, left_out, left_out_count, .. } = replay;
        mark.epoch = epoch.unwrap_or(mark.epoch);
        mark.seq = mark.seq.max(reached);
        let mut touched = vec![];
        for (seq, entry) in entries {
            let places = replay::apply(&mut data, entry);
            touched.extend(places.into_iter().map(|place| (seq, place)));
        }
        let roots = recipe.roots(&modules, &data);
        let tag = Tag { mark, recipe: recipe.digest(), roots: query::digest(&roots.join(",")) };
        Ok(Self { recipe, policy, modules, data, touched, floor, left_out, left_out_count, tag })
    }

    /// The answer for who has `known`, `None` for who has nothing that can be told apart, and
    /// takes a delta if `takes_delta`.
    ///
    /// # Errors
    /// 413 for more data than can be bundled; what `sign` refuses.
    pub fn answer(
        mut self,
        known: Option<&Tag>,
        takes_delta: bool,
        sign: Option<Sign<'_>>,
    ) -> Result<Answer, Problem> {
        if known == Some(&self.tag) {
            return Ok(Answer::Unchanged(self.tag));
        }
        let known = known.filter(|known| takes_delta && known.leads_to(&self.tag, self.floor));
        if let Some(known) = known {
            let since = self.touched.iter().filter(|(seq, _)| *seq > known.mark.seq);
            let since: Vec<&[String]> = since.map(|(_, place)| place.as_slice()).collect();
            match delta::changes(&mut self.data, since) {
                // What came since is about other things.
                Some(changes) if changes.is_empty() => {
                    return Ok(Answer::Unchanged(self.tag));
                }
                Some(changes) => {
                    let bytes = delta::write(&self.manifest(), &changes)?;
                    return Ok(Answer::Bundle(self.tag, bytes));
                }
                None => {}
            }
        }
        let bytes = snapshot::write(&self.manifest(), &self.modules, &self.data, sign)?;
        Ok(Answer::Bundle(self.tag, bytes))
    }

    fn manifest(&self) -> Value {
        let name = self.policy.map(|policy| policy.revision.hash.as_str());
        let mark = &self.tag.mark;
        let data = self.recipe.data.then(|| format!("{}/{}", mark.epoch, mark.seq));
        let revision: Vec<&str> = name.into_iter().chain(data.as_deref()).collect();
        let mut about = json!({});
        if let Value::Object(about) = &mut about {
            about.extend(name.map(|name| ("policy".to_owned(), name.into())));
            if self.recipe.data {
                about.insert("seq".to_owned(), mark.seq.0.into());
            }
            if self.left_out_count > 0 {
                about.insert("left_out".to_owned(), self.left_out.clone().into());
                about.insert("left_out_count".to_owned(), self.left_out_count.into());
            }
        }
        let mut manifest = json!({
            "revision": revision.join("/"),
            "roots": self.recipe.roots(&self.modules, &self.data),
            "metadata": { "girasol": about },
        });
        if let Value::Object(manifest) = &mut manifest
            && !self.modules.is_empty()
        {
            manifest.insert("rego_version".to_owned(), self.recipe.rego_version.into());
        }
        manifest
    }
}

fn depth(folder: &str) -> usize {
    if folder == "." { 0 } else { folder.split('/').count() }
}

/// Puts a file's data at its folder. Where two files say something of one place, the one that is
/// deeper in the tree counts.
fn merge(data: &mut Document, file: &DataModule) -> Result<(), Problem> {
    let folder: Vec<String> = match file.path.as_str() {
        "." => vec![],
        path => path.split('/').map(str::to_owned).collect(),
    };
    let merged = data.merge(&folder, &file.data);
    merged.map_err(|reason| {
        let at = if folder.is_empty() { String::new() } else { format!("{}/", file.path) };
        Problem::invalid(format!("policy: `{at}data.json` {reason}; push it again"))
    })
}

#[cfg(test)]
mod tests;
