//! Rows, roles, and the decision (`spec/opa-and-grants.md` §4.5).
//!
//! What is held is found by domain and by name, so a question looks at what is the subject's and at
//! what is its roles', and never at what is somebody else's.

mod methods;
mod shared;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::Millis;
use protocol::plane::Question;
use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject};

use crate::pattern::{Pattern, PatternError};
use methods::Methods;
use shared::Shared;

/// Links from a token to the last role that counts.
const MAX_STEPS: usize = 10;

/// The grants of a scope, or of a part of it.
#[derive(Debug, Default)]
pub struct Model {
    patterns: Shared,
    /// What is held in a domain: by the domain, then by who holds it.
    domains: HashMap<Arc<str>, Holders>,
    /// Raw rows, whose domain is a pattern.
    rows: HashMap<Arc<str>, Vec<(Arc<Pattern>, Held)>>,
    /// Where a grant is: its domain and who holds it.
    places: HashMap<Arc<str>, (Arc<str>, Arc<str>)>,
}

type Holders = HashMap<Arc<str>, Vec<Held>>;

/// A policy row of casbin as it is written, for tests of a model: no API makes one.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// A token or a role.
    pub subject: &'a str,
    /// A pattern, in casbin's syntax.
    pub domain: &'a str,
    /// A pattern, in casbin's syntax.
    pub path: &'a str,
    /// An expression, such as `(GET)|(POST)`.
    pub methods: &'a str,
    /// Whether it allows or denies.
    pub effect: Effect,
}

/// What a subject has: rows with the same methods, and roles.
#[derive(Debug)]
struct Held {
    /// The grant that it is; none for raw rows and links.
    id: Option<Arc<str>>,
    effect: Effect,
    methods: Methods,
    paths: Paths,
    roles: Box<[Arc<str>]>,
    expires_at: Option<Millis>,
}

#[derive(Debug)]
enum Paths {
    Some(Box<[Arc<Pattern>]>),
    /// One of them is no pattern, and so nobody can say what it should be about.
    Unknown,
}

impl Model {
    /// Takes a grant, in place of the one of this id.
    ///
    /// # Errors
    /// A pattern is none. Then its subject may do nothing in this domain until the grant is
    /// replaced or removed: it may have been there to deny.
    pub fn put(&mut self, grant: &Grant) -> Result<(), PatternError> {
        self.remove(&grant.id);
        let (paths, done) = match self.paths(&grant.paths, grant.path_syntax) {
            Ok(paths) => (Paths::Some(paths), Ok(())),
            Err(error) => (Paths::Unknown, Err(error)),
        };
        let id: Arc<str> = grant.id.as_str().into();
        let place = self.hold(
            &grant.domain,
            grant.subject.name(),
            Held {
                id: Some(id.clone()),
                effect: grant.eft,
                methods: Methods::named(&grant.allowed_http_methods),
                paths,
                roles: grant.roles.iter().map(|role| role.as_str().into()).collect(),
                expires_at: grant.expires_at,
            },
        );
        self.places.insert(id, place);
        done
    }

    /// Forgets the grant of this id, if it is there.
    pub fn remove(&mut self, id: &str) {
        let Some((domain, holder)) = self.places.remove(id) else { return };
        let Some(holders) = self.domains.get_mut(&domain) else { return };
        if let Some(held) = holders.get_mut(&holder) {
            held.retain(|held| held.id.as_deref() != Some(id));
            if held.is_empty() {
                holders.remove(&holder);
            }
        }
        if holders.is_empty() {
            self.domains.remove(&domain);
        }
        self.patterns.one_went();
    }

    /// How many grants there are, raw rows aside.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Takes a raw row.
    ///
    /// # Errors
    /// One of its patterns is none. Then its subject may do nothing in any domain.
    pub fn row(&mut self, row: &Row<'_>) -> Result<(), PatternError> {
        let read = |model: &mut Self| {
            let domain = model.patterns.get(row.domain, PathSyntax::Casbin)?;
            let path = model.patterns.get(row.path, PathSyntax::Casbin)?;
            Ok((domain, path, Methods::Expression(Pattern::methods(row.methods)?)))
        };
        let (domain, paths, methods, done) = match read(self) {
            Ok((domain, path, methods)) => (domain, Paths::Some([path].into()), methods, Ok(())),
            Err(error) => {
                let everywhere = self.patterns.get("*", PathSyntax::Casbin)?;
                (everywhere, Paths::Unknown, Methods::All, Err(error))
            }
        };
        let effect = row.effect;
        let held = Held { id: None, effect, methods, paths, roles: [].into(), expires_at: None };
        self.rows.entry(row.subject.into()).or_default().push((domain, held));
        done
    }

    /// Takes a raw link: in this domain the member has the role.
    pub fn link(&mut self, member: &str, role: &str, domain: &str) {
        let held = Held {
            id: None,
            effect: Effect::Allow,
            methods: Methods::All,
            paths: Paths::Some([].into()),
            roles: [role.into()].into(),
            expires_at: None,
        };
        self.hold(domain, member, held);
    }

    /// True if some grant allows it at this moment and none denies it.
    #[must_use]
    pub fn allows(&self, now: Millis, question: &Question) -> bool {
        let here = self.domains.get(question.domain.as_str());
        let mut is_allowed = false;
        let mut names = vec![question.subject.as_str()];
        let mut seen = HashSet::new();
        for _ in 0..=MAX_STEPS {
            let mut roles = Vec::new();
            for name in names {
                let rows = self.rows.get(name).into_iter().flatten();
                let rows = rows.filter(|(domain, _)| domain.matches(&question.domain));
                let held = here.and_then(|here| here.get(name)).into_iter().flatten();
                for held in held.chain(rows.map(|(_, held)| held)) {
                    if held.is_over(now) {
                        continue;
                    }
                    match held.effect_on(question) {
                        Some(Effect::Deny) => return false,
                        Some(Effect::Allow) => is_allowed = true,
                        None => {}
                    }
                    roles.extend(held.roles.iter().map(|it| &**it).filter(|it| seen.insert(*it)));
                }
            }
            if roles.is_empty() {
                break;
            }
            names = roles;
        }
        is_allowed
    }

    /// The roles that this subject has in a domain, directly and whether or not they are over: who
    /// loads a part of the grants loads those of the roles next.
    #[must_use]
    pub fn roles_of(&self, subject: &Subject, domain: &str) -> Vec<String> {
        let held = self.domains.get(domain).and_then(|here| here.get(subject.name()));
        let roles = held.into_iter().flatten().flat_map(|held| held.roles.iter());
        let mut roles: Vec<String> = roles.map(ToString::to_string).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    fn paths(
        &mut self,
        paths: &[String],
        syntax: PathSyntax,
    ) -> Result<Box<[Arc<Pattern>]>, PatternError> {
        paths.iter().map(|path| self.patterns.get(path, syntax)).collect()
    }

    fn hold(&mut self, domain: &str, holder: &str, held: Held) -> (Arc<str>, Arc<str>) {
        let domain = match self.domains.get_key_value(domain) {
            Some((known, _)) => known.clone(),
            None => domain.into(),
        };
        let holders = self.domains.entry(domain.clone()).or_default();
        let holder = match holders.get_key_value(holder) {
            Some((known, _)) => known.clone(),
            None => holder.into(),
        };
        holders.entry(holder.clone()).or_default().push(held);
        (domain, holder)
    }
}

impl Held {
    fn is_over(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What it says to this; none if it is about something else.
    fn effect_on(&self, question: &Question) -> Option<Effect> {
        let Paths::Some(paths) = &self.paths else { return Some(Effect::Deny) };
        let is_about = self.methods.have(&question.method)
            && paths.iter().any(|path| path.matches(&question.path));
        is_about.then_some(self.effect)
    }
}

#[cfg(test)]
mod tests;
