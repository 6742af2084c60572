//! What an update may not ask a server to do, whatever the agent's user may do there: to write,
//! and to run code.

use mongodb::bson::{Bson, Document};

use crate::fetch::FetchError;

/// Operators and stages that do, wherever they stand.
const REFUSED: [(&str, &str); 5] = [
    ("$out", "writes"),
    ("$merge", "writes"),
    ("$where", "runs code"),
    ("$function", "runs code"),
    ("$accumulator", "runs code"),
];

/// Looks through a part of a query, of which `at` is the name.
///
/// # Errors
/// It has something that is refused.
pub(super) fn check(at: &str, document: &Document) -> Result<(), FetchError> {
    document.iter().try_for_each(|(key, value)| {
        match REFUSED.iter().find(|(name, _)| name == key) {
            Some((name, why)) => Err(refuse(at, name, why)),
            None => check_value(at, value),
        }
    })
}

/// The same for a value.
///
/// # Errors
/// It has something that is refused.
pub(super) fn check_value(at: &str, value: &Bson) -> Result<(), FetchError> {
    match value {
        Bson::Document(document) => check(at, document),
        Bson::Array(items) => items.iter().try_for_each(|item| check_value(at, item)),
        Bson::JavaScriptCode(_) | Bson::JavaScriptCodeWithScope(_) => {
            Err(refuse(at, "$code", "runs code"))
        }
        _ => Ok(()),
    }
}

fn refuse(at: &str, name: &str, why: &str) -> FetchError {
    FetchError::permanent(format!("config.{at}: `{name}` {why}; an update may only read"))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn what_writes_or_runs_code_is_refused_wherever_it_stands() {
        for (document, name) in [
            (doc! { "$out": "there" }, "$out"),
            (doc! { "$facet": { "a": [{ "$merge": { "into": "there" } }] } }, "$merge"),
            (doc! { "$lookup": { "pipeline": [{ "$out": "there" }] } }, "$out"),
            (doc! { "$or": [{ "a": 1 }, { "$where": "while (true) {}" }] }, "$where"),
            (
                doc! { "$expr": { "$function": { "body": "", "args": [], "lang": "js" } } },
                "$function",
            ),
            (doc! { "$group": { "_id": 1, "a": { "$accumulator": {} } } }, "$accumulator"),
            (doc! { "a": Bson::JavaScriptCode("f()".to_owned()) }, "$code"),
        ] {
            let error = check("find.query", &document).expect_err(name);
            assert!(error.is_permanent());
            let error = error.to_string();
            assert!(error.starts_with(&format!("config.find.query: `{name}` ")), "{error}");
        }
        for document in [
            doc! { "a": { "$in": ["$out", "$where"] }, "out": 1, "where": { "merge": 1 } },
            doc! { "$group": { "_id": "$a", "n": { "$sum": 1 } } },
        ] {
            assert_eq!(check("find.query", &document), Ok(()));
        }
    }
}
