//! What an answer of the policy means. Only its `true` allows; an answer of a form that nobody
//! expects is the policy's fault, and is told as that instead of as a denial.

use std::collections::BTreeMap;

use protocol::Problem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::Resource;
use crate::json::Json;

/// The answer to one check, as Permit's SDK reads it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) allow: bool,
    result: bool,
    /// What the policy says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Box<RawValue>>,
}

/// The answers to several checks, in their order.
#[derive(Serialize)]
pub(super) struct Bulk {
    pub(super) allow: Vec<Verdict>,
}

impl Verdict {
    /// The answer where the policy has none.
    pub(super) fn denied() -> Self {
        Self::new(false, None)
    }

    fn new(allow: bool, debug: Option<Box<RawValue>>) -> Self {
        Self { allow, result: allow, debug }
    }

    /// Reads `true`, `false`, or an object with the member `allow`; without that it is denied.
    pub(super) fn read(answer: &str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Root {
            #[serde(default)]
            allow: Option<bool>,
            #[serde(default)]
            debug: Option<Box<RawValue>>,
        }
        let malformed =
            || malformed("give `data.permit.root` as an object whose `allow` is true or false");
        match answer {
            "true" => Ok(Self::new(true, None)),
            "false" => Ok(Self::denied()),
            object if object.starts_with('{') => {
                let root: Root = serde_json::from_str(object).map_err(|_| malformed())?;
                Ok(Self::new(root.allow == Some(true), root.debug))
            }
            _ => Err(malformed()),
        }
    }
}

/// The answers to so many checks.
pub(super) fn all(answer: &Json, number: usize) -> Result<Vec<Verdict>, Problem> {
    #[derive(Deserialize)]
    struct Root {
        allow: Vec<Box<RawValue>>,
    }
    let root = serde_json::from_str::<Root>(object(answer)?).ok();
    let root = root.filter(|root| root.allow.len() == number).ok_or_else(|| {
        malformed("give `data.permit.bulk` as {\"allow\": […]} with an answer for each check")
    })?;
    root.allow.iter().map(|answer| Verdict::read(answer.get())).collect()
}

/// The permissions in the answer about a user: none, if there is none.
pub(super) fn permissions(answer: Option<&Json>) -> Result<String, Problem> {
    #[derive(Deserialize)]
    struct Root<'a> {
        #[serde(borrow)]
        permissions: Option<&'a RawValue>,
    }
    let nothing = || "{}".to_owned();
    let Some(answer) = answer else { return Ok(nothing()) };
    let root = serde_json::from_str::<Root<'_>>(object(answer)?).ok();
    match root.map(|root| root.permissions.map(RawValue::get)) {
        Some(None) => Ok(nothing()),
        Some(Some(permissions)) if permissions.starts_with('{') => Ok(permissions.to_owned()),
        _ => Err(malformed("give `data.permit.user_permissions` as {\"permissions\": {…}}")),
    }
}

/// An answer that has to be an object.
pub(super) fn object(answer: &Json) -> Result<&str, Problem> {
    let text = answer.get();
    if text.starts_with('{') { Ok(text) } else { Err(malformed("it has to be an object")) }
}

/// The answer that nobody may, where the policy has none.
#[derive(Serialize)]
pub(super) struct Users<'r> {
    resource: String,
    tenant: Option<&'r str>,
    users: BTreeMap<String, Vec<()>>,
}

pub(super) fn nobody(resource: &Resource) -> Users<'_> {
    let key = resource.key.as_deref().unwrap_or("*");
    Users {
        resource: format!("{}:{key}", resource.kind),
        tenant: resource.tenant.as_deref(),
        users: BTreeMap::new(),
    }
}

fn malformed(advice: &str) -> Problem {
    Problem::internal(format!("the policy of package `permit` answered in a wrong form: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Option<bool> {
        Verdict::read(answer).ok().map(|verdict| verdict.allow)
    }

    #[test]
    fn only_true_allows() {
        for yes in ["true", r#"{"allow":true}"#, r#"{"debug":{"x":1},"allow":true}"#] {
            assert_eq!(read(yes), Some(true), "{yes}");
        }
        for no in ["false", "{}", r#"{"allow":false}"#, r#"{"allow":null}"#, r#"{"result":true}"#] {
            assert_eq!(read(no), Some(false), "{no}");
        }
        for fault in [
            "1",
            "null",
            "\"true\"",
            "[true]",
            "[]",
            r#"{"allow":"true"}"#,
            r#"{"allow":1}"#,
            r#"{"allow":{}}"#,
            r#"{"allow":[true]}"#,
            "{",
            "",
        ] {
            assert_eq!(read(fault), None, "{fault}");
        }
    }

    #[test]
    fn several_answers_are_as_many_as_checks() {
        let all = |answer: &str, number| {
            let verdicts = all(&Json::known(answer.to_owned()), number).ok();
            verdicts.map(|it| it.iter().map(|verdict| verdict.allow).collect::<Vec<_>>())
        };
        let two = r#"{"allow":[{"allow":true},false]}"#;
        assert_eq!(all(two, 2), Some(vec![true, false]));
        for (answer, number) in [
            (two, 1),
            (two, 3),
            ("{}", 0),
            ("[]", 0),
            ("[true]", 1),
            (r#"{"allow":true}"#, 1),
            (r#"{"allow":[1]}"#, 1),
            (r#"{"allow":{"0":true}}"#, 1),
        ] {
            assert_eq!(all(answer, number), None, "{answer}");
        }
    }

    #[test]
    fn permissions_are_an_object_or_a_fault() {
        let read = |answer: &str| permissions(Some(&Json::known(answer.to_owned()))).ok();
        assert_eq!(permissions(None).ok().as_deref(), Some("{}"));
        assert_eq!(read("{}").as_deref(), Some("{}"));
        assert_eq!(read(r#"{"permissions":{"a":1}}"#).as_deref(), Some(r#"{"a":1}"#));
        for fault in ["true", "[]", r#"{"permissions":[]}"#, r#"{"permissions":"x"}"#] {
            assert_eq!(read(fault), None, "{fault}");
        }
    }
}
