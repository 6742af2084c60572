//! What grants mean, said once more: on what the log has at their places, and without a thought
//! for speed, to compare what the hub and the agents allow with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The domains of all runs.
pub(crate) const DOMAINS: [&str; 2] = ["a.example.com", "b.example.com"];
/// What tokens and roles are called, and which of them are roles.
pub(crate) const SUBJECTS: [(&str, bool); 4] =
    [("t0", false), ("t1", false), ("r0", true), ("r1", true)];
/// The paths that somebody may ask for.
const PATHS: [&str; 2] = ["/a/x", "/b"];
/// The methods that somebody may ask with.
const METHODS: [&str; 2] = ["GET", "POST"];
/// The patterns that grants have, with the paths that they are for.
pub(crate) const PATTERNS: [(&str, &[&str]); 3] =
    [("*", &PATHS), ("/a/*", &["/a/x"]), ("/b", &["/b"])];

/// Who asks for what: token, domain, path and method.
pub(crate) type Wanted = (&'static str, &'static str, &'static str, &'static str);

/// Everything that can be asked for.
pub(crate) fn all_wanted() -> impl Iterator<Item = Wanted> {
    let tokens = SUBJECTS.iter().filter(|(_, is_role)| !is_role).map(|(name, _)| *name);
    tokens.flat_map(|token| {
        DOMAINS.into_iter().flat_map(move |domain| {
            PATHS.into_iter().flat_map(move |path| {
                METHODS.into_iter().map(move |method| (token, domain, path, method))
            })
        })
    })
}

/// Grants as the log has them, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Permissions(BTreeMap<String, Value>);

impl Permissions {
    /// What the log says at a grant's place: a grant, or nothing once it is revoked.
    pub(crate) fn take(&mut self, id: &str, said: &Value) {
        if *said == json!({}) {
            self.0.remove(id);
        } else {
            self.0.insert(id.to_owned(), said.clone());
        }
    }

    /// The ids of a grant and of all that were added to it.
    pub(crate) fn with_added(&self, id: &str) -> BTreeSet<String> {
        let goes = |(at, grant): &(&String, &Value)| *at == id || grant["added_to"] == id;
        self.0.iter().filter(goes).map(|(at, _)| at.clone()).collect()
    }

    /// True if a grant allows it at this moment, and none denies it.
    pub(crate) fn allow(&self, now: u64, wanted: Wanted) -> bool {
        let about = self.about(now, wanted);
        about.iter().any(|grant| grant["eft"] == "allow")
            && about.iter().all(|grant| grant["eft"] != "deny")
    }

    /// The same whatever denies it.
    pub(crate) fn may_allow(&self, now: u64, wanted: Wanted) -> bool {
        self.about(now, wanted).iter().any(|grant| grant["eft"] == "allow")
    }

    /// The grants that are about this.
    fn about(&self, now: u64, (token, domain, path, method): Wanted) -> Vec<&Value> {
        let is_over = |grant: &Value| grant["expires_at"].as_u64().is_some_and(|end| end <= now);
        let here = self.0.values().filter(|it| it["domain"] == domain && !is_over(it));
        let here: Vec<&Value> = here.collect();
        let mut subjects = vec![json!({"token": token})];
        // One role may lead to the other.
        for _ in SUBJECTS {
            let theirs = here.iter().filter(|grant| subjects.contains(&grant["subject"]));
            let roles = theirs.flat_map(|grant| texts(&grant["roles"]));
            let roles: Vec<Value> = roles.map(|role| json!({"role": role})).collect();
            subjects.extend(roles);
        }
        let is_about = |grant: &&Value| {
            let methods: Vec<&str> = texts(&grant["allowed_http_methods"]).collect();
            let is_for = |pattern: &str| {
                PATTERNS.iter().any(|(known, paths)| *known == pattern && paths.contains(&path))
            };
            subjects.contains(&grant["subject"])
                && (methods.contains(&"*") || methods.contains(&method))
                && texts(&grant["paths"]).any(is_for)
        };
        here.into_iter().filter(is_about).collect()
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(subject: &Value, path: &str, eft: &str, roles: &[&str]) -> Value {
        json!({
            "domain": DOMAINS[0], "subject": subject, "allowed_http_methods": ["GET"],
            "paths": [path], "eft": eft, "roles": roles, "expires_at": 10,
        })
    }

    #[test]
    fn a_role_of_a_role_counts_and_what_denies_comes_first() {
        let mut permissions = Permissions::default();
        let get = |path| ("t0", DOMAINS[0], path, "GET");
        let role = |name: &str| json!({"role": name});
        permissions.take("g1", &grant(&json!({"token": "t0"}), "/b", "allow", &["r0"]));
        permissions.take("g2", &grant(&role("r0"), "/b", "allow", &["r1"]));
        assert!(!permissions.allow(0, get("/a/x")));
        permissions.take("g3", &grant(&role("r1"), "*", "allow", &[]));
        assert!(permissions.allow(0, get("/a/x")) && permissions.allow(0, get("/b")));
        permissions.take("g4", &grant(&role("r1"), "/a/*", "deny", &[]));
        assert!(!permissions.allow(0, get("/a/x")) && permissions.may_allow(0, get("/a/x")));
        permissions.take("g4", &json!({}));
        assert!(permissions.allow(0, get("/a/x")));
        assert!(!permissions.allow(10, get("/a/x")), "they are over");
        assert!(!permissions.allow(0, ("t0", DOMAINS[0], "/b", "POST")));
        assert!(!permissions.allow(0, ("t1", DOMAINS[0], "/b", "GET")));
        assert!(!permissions.allow(0, ("t0", DOMAINS[1], "/b", "GET")));
    }
}
