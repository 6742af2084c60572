//! What can be asked for: in the address, since an OPA's `resource` can carry a query, and in the
//! header `Prefer`.

use std::collections::BTreeSet;

use protocol::bundle::{Ingredients, LogData};
use protocol::opal::policy::PolicyModule;
use protocol::topic::TopicSet;
use protocol::{Claims, Problem, hex, limits};
use sha2::{Digest as _, Sha256};

use super::document::{Document, Node};
use crate::policy::plain;
use crate::query::{all, last, topics};

/// Bytes of a bundle's name.
const MAX_NAME_BYTES: usize = 128;

/// How a bundle is made. Two that are equal give the same bundle of the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// With policy (modules and `data.json` files), or not: `data=only`.
    pub policy: bool,
    /// With what is left of the log's data: `data=true`, `data=only`, or `topics`.
    pub data: bool,
    /// Of the log's data only these topics: `topics=a,b`, else those that are permitted.
    pub topics: Option<TopicSet>,
    /// Only what is in these folders, of policy: `path=a`, several times.
    pub folders: Vec<String>,
    /// What the bundle owns: `roots=a,b/c`, or `roots=auto`.
    pub roots: Roots,
    /// Of which version of the language the modules are: `rego_version=0` or `1`.
    pub rego_version: u8,
    /// Whether deltas are given: `deltas=true` or `false`; by default if bundles are not signed,
    /// since no delta is. An OPA that verifies takes one only with
    /// `allow_unsigned_delta_bundles`; one that persists takes none, and asks for it for ever.
    pub deltas: Option<bool>,
}

/// What a bundle owns of `data`. Two bundles of one OPA may not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// These; one that is empty is everything.
    Given(Vec<String>),
    /// The first segment of each package, and each member of the data.
    Auto,
}

impl Recipe {
    /// Reads a query, for the bearer with these claims.
    ///
    /// # Errors
    /// 422 naming the parameter.
    pub fn parse(query: &str, claims: &Claims) -> Result<Self, Problem> {
        let named = topics(query)?;
        let (policy, data) = match last(query, "data").as_deref() {
            // Who names topics wants data.
            None => (true, named.is_some()),
            Some("false" | "0") => (true, false),
            Some("" | "true" | "1") => (true, true),
            Some("only") => (false, true),
            Some(_) => return Err(Problem::invalid("data: give `true`, `only` or `false`")),
        };
        let topics = match (named, &claims.permitted_topics) {
            (Some(named), _) => Some(named),
            (None, Some(permitted)) => Some(TopicSet::of_any(permitted.iter().cloned())?),
            (None, None) => None,
        };
        let folders: BTreeSet<String> =
            all(query, "path").iter().map(|folder| plain(folder)).collect();
        let bytes: usize = folders.iter().map(String::len).sum();
        if folders.len() > limits::MAX_TOPICS || bytes > limits::MAX_SUBSCRIPTION_BYTES {
            return Err(Problem::invalid(format!(
                "path: at most {} folders, of {} bytes together",
                limits::MAX_TOPICS,
                limits::MAX_SUBSCRIPTION_BYTES
            )));
        }
        let roots = match last(query, "roots") {
            None if policy => Roots::Given(vec![String::new()]),
            None => Roots::Auto,
            Some(text) if text == "auto" => Roots::Auto,
            Some(text) => Roots::Given(given(&text)?),
        };
        let rego_version = match last(query, "rego_version").as_deref() {
            Some("0") => 0,
            None | Some("1") => 1,
            Some(_) => return Err(Problem::invalid("rego_version: give 0 or 1")),
        };
        let deltas = match last(query, "deltas").as_deref() {
            None => None,
            Some("false" | "0") => Some(false),
            Some("" | "true" | "1") => Some(true),
            Some(_) => return Err(Problem::invalid("deltas: give `true` or `false`")),
        };
        let topics = topics.filter(|_| data);
        let folders = if policy { folders.into_iter().collect() } else { vec![] };
        Ok(Self { policy, data, topics, folders, roots, rego_version, deltas })
    }

    /// What it is made of.
    #[must_use]
    pub fn ingredients(&self) -> Ingredients {
        Ingredients {
            policy: self.policy.then(|| self.folders.clone()),
            data: self.data.then(|| LogData { topics: self.topics.clone() }),
        }
    }

    /// Tells it from another recipe.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&format!("{self:?}"))
    }

    /// What the bundle owns, in order.
    pub(super) fn roots(&self, modules: &[PolicyModule], data: &Document) -> Vec<String> {
        if let Roots::Given(roots) = &self.roots {
            return roots.clone();
        }
        let packages = modules.iter().map(|module| {
            let package = declared_package(&module.rego);
            package.split(['.', '[']).next().unwrap_or_default().to_owned()
        });
        let members = match data.root() {
            Node::Object(members) => members.keys().cloned().collect(),
            _ => vec![],
        };
        let roots: BTreeSet<String> = packages.chain(members).collect();
        // A name that cannot be a root, or a module whose package cannot be told.
        if roots.iter().any(|root| root.is_empty() || root.contains('/')) {
            return vec![String::new()];
        }
        roots.into_iter().collect()
    }
}

fn given(text: &str) -> Result<Vec<String>, Problem> {
    let roots: BTreeSet<&str> = text.split(',').map(|root| root.trim_matches('/')).collect();
    let is_plain = |root: &&str| {
        let mut segments = root.split('/');
        root.is_empty() || segments.all(|it| !it.is_empty() && !it.chars().any(char::is_control))
    };
    if roots.len() > limits::MAX_TOPICS
        || text.len() > limits::MAX_SUBSCRIPTION_BYTES
        || !roots.iter().all(is_plain)
    {
        return Err(Problem::invalid(
            "roots: give `auto`, or places in `data` such as `app,users/eu`, or nothing for all",
        ));
    }
    Ok(roots.into_iter().map(str::to_owned).collect())
}

/// Eight hexadecimal digits that tell one text from another.
pub(super) fn digest(text: &str) -> String {
    let mut digest = hex(&Sha256::digest(text));
    digest.truncate(8);
    digest
}

/// Checks the name of a bundle, which may end as the file of one does. It says nothing about
/// what is in the bundle.
///
/// # Errors
/// 404.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let name = name.strip_suffix(".tar.gz").unwrap_or(name);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Problem::not_found(format!(
        "a bundle's name has 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` and `.`"
    )))
}

/// How an OPA wants to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// It takes a delta.
    pub delta: bool,
    /// It waits for so many seconds until there is another bundle.
    pub wait: Option<u64>,
}

impl Preference {
    /// Reads `Prefer: modes=snapshot,delta;wait=30`. OPA does not write it quite as RFC 7240 has
    /// it; what cannot be understood is not preferred.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let (mut preference, mut name) = (Self::default(), "");
        for part in header.split([';', ',']) {
            let (named, value) = part.split_once('=').unwrap_or((name, part));
            name = named.trim();
            match (name, value.trim().trim_matches('"')) {
                ("modes", "delta") => preference.delta = true,
                ("wait", seconds) => preference.wait = seconds.parse().ok().or(preference.wait),
                _ => {}
            }
        }
        preference
    }

    /// For how many milliseconds a request is held.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        self.wait.unwrap_or(0).min(limits::MAX_POLL_SECONDS).saturating_mul(1_000)
    }
}
/// The package that a module is of, without its closing brackets.
fn declared_package(rego: &str) -> &str {
    let declared = rego.lines().find_map(|line| line.strip_prefix("package "));
    declared.and_then(|behind| behind.split_whitespace().next()).unwrap_or_default()
}
