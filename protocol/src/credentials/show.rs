//! A source as a stranger may see it. An agent needs an entry's `config` with all its
//! credentials; who reads the log, or hears what became of an update, does not.
//!
//! What is a credential cannot be told for sure by its name: fetchers are anybody's programs. So
//! in `config` and `callback` every string and number is hidden, and shown are only the names of
//! members, true, false, null, which fetcher it is and its HTTP method, a secret's name
//! (`${secret:NAME}`), and addresses to call back. In addresses the user, the password and the values of the query are
//! hidden.

use serde_json::Value;
use serde_json::value::RawValue;

use super::HIDDEN;
use crate::Entry;

/// Methods that are shown; what else stands there is none.
const METHODS: [&str; 7] = ["get", "post", "put", "patch", "head", "delete", "options"];
/// The member of `callback` that lists them.
const CALLBACKS: &str = "callbacks";

/// Hides every credential of an entry; its data is shown.
pub fn hide(entry: &mut Entry) {
    entry.url = address(&entry.url);
    entry.config = entry.config.as_deref().map(config);
}

/// A source's settings with every credential hidden.
#[must_use]
pub fn config(text: &RawValue) -> Box<RawValue> {
    rewrite(text, |value| {
        members(value, |name, value| match value {
            Value::String(text) if is_plain(name, &text) => text.into(),
            other => hidden(other),
        })
    })
}

/// True for what says which fetcher it is, or how it asks.
fn is_plain(name: &str, text: &str) -> bool {
    match name {
        "fetcher" => true,
        "method" => METHODS.iter().any(|method| method.eq_ignore_ascii_case(text)),
        _ => false,
    }
}

/// An update's callbacks with every credential hidden. They are addresses, each by itself or
/// first in a list with how to call it.
#[must_use]
pub fn callback(text: &RawValue) -> Box<RawValue> {
    rewrite(text, |value| {
        members(value, |name, value| match value {
            Value::Array(items) if name == CALLBACKS => {
                items.into_iter().map(one_callback).collect()
            }
            other => hidden(other),
        })
    })
}

fn rewrite(text: &RawValue, with: fn(Value) -> Value) -> Box<RawValue> {
    // What cannot be read, for instance because it is too deep, is hidden as a whole.
    let value = serde_json::from_str(text.get()).unwrap_or_else(|_| Value::from(HIDDEN));
    let shown = serde_json::value::to_raw_value(&with(value));
    shown.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn one_callback(item: Value) -> Value {
    match item {
        Value::String(url) => address(&url).into(),
        Value::Array(parts) => {
            let part = |(at, part)| match part {
                Value::String(url) if at == 0 => address(&url).into(),
                other => hidden(other),
            };
            parts.into_iter().enumerate().map(part).collect()
        }
        other => hidden(other),
    }
}

fn hidden(value: Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value,
        Value::String(text) if is_reference(&text) => text.into(),
        Value::String(_) | Value::Number(_) => HIDDEN.into(),
        Value::Array(items) => items.into_iter().map(hidden).collect(),
        object @ Value::Object(_) => members(object, |_, value| hidden(value)),
    }
}

/// An object with its members changed; what is no object is hidden.
fn members(value: Value, change: impl Fn(&str, Value) -> Value) -> Value {
    let Value::Object(members) = value else { return hidden(value) };
    let changed = members.into_iter().map(|(name, value)| {
        let value = change(&name, value);
        (name, value)
    });
    Value::Object(changed.collect())
}

/// True for a secret's name and nothing else.
fn is_reference(text: &str) -> bool {
    let name = text.strip_prefix("${secret:").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.contains(['$', '{', '}']))
}

/// An address without user, password, the values of its query, and its fragment. Passwords
/// are not always written as an address demands, so what precedes any `@` is hidden.
#[must_use]
pub fn address(url: &str) -> String {
    let (start, rest) = match (url.find("://"), url.rfind('@')) {
        (scheme, Some(at)) => {
            let scheme = scheme.filter(|scheme| *scheme < at).and_then(|end| url.get(..end));
            let start = scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
            (format!("{start}{HIDDEN}"), url.get(at..).unwrap_or_default())
        }
        _ => (String::new(), url),
    };
    let (rest, fragment) = split(rest, '#');
    let (path, query) = split(rest, '?');
    let mut shown = format!("{start}{path}");
    if let Some(query) = query {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => HIDDEN.to_owned(),
        });
        shown = format!("{shown}?{}", pairs.collect::<Vec<_>>().join("&"));
    }
    if fragment.is_some() { format!("{shown}#{HIDDEN}") } else { shown }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    #[test]
    fn no_credential_of_an_entry_is_shown_and_its_data_is() {
        let mut entry: Entry = serde_json::from_value(json!({
            "url": "https://user:s3cret@h:8/p?token=s3cret&page=2#s3cret",
            "config": {
                "fetcher": "HttpFetchProvider",
                "method": "post",
                "headers": {"Authorization": "Bearer s3cret", "X-Key": "${secret:KEY}"},
                "data": {"pin": 53, "deep": ["s3cret", {"x": "Bearer ${secret:A} s3cret"}]},
                "process_data": true,
                "dsn": null,
                "auth": {"method": "s3cret", "callbacks": ["s3cret"]},
            },
            "topics": ["t"], "dst_path": "/a", "save_method": "PUT", "data": {"plan": "shown"},
        }))
        .unwrap();
        hide(&mut entry);
        assert_eq!(
            serde_json::to_value(&entry).unwrap(),
            json!({
                "url": "https://****@h:8/p?token=****&page=****#****",
                "config": {
                    "fetcher": "HttpFetchProvider",
                    "method": "post",
                    "headers": {"Authorization": "****", "X-Key": "${secret:KEY}"},
                    "data": {"pin": "****", "deep": ["****", {"x": "****"}]},
                    "process_data": true,
                    "dsn": null,
                    "auth": {"method": "****", "callbacks": ["****"]},
                },
                "topics": ["t"], "dst_path": "/a", "save_method": "PUT",
                "data": {"plan": "shown"},
            })
        );
    }

    #[test]
    fn of_callbacks_the_addresses_are_shown_without_credentials() {
        let published = json!({"callbacks": [
            "http://h/done?key=s3cret",
            ["http://s3cret@h", {"headers": {"callbacks": "s3cret", "k": "s3cret"}}, "s3cret"],
            {"url": "s3cret"},
        ]});
        let shown: Value = serde_json::from_str(callback(&raw(&published)).get()).unwrap();
        assert_eq!(
            shown["callbacks"],
            json!([
                "http://h/done?key=****",
                ["http://****@h", {"headers": {"callbacks": "****", "k": "****"}}, "****"],
                {"url": "****"},
            ])
        );
    }

    #[test]
    fn addresses_of_every_kind_lose_their_credentials() {
        for (url, shown) in [
            ("", ""),
            ("http://h/a/b", "http://h/a/b"),
            ("postgresql://u:p@db:5432/x?sslkey=k", "postgresql://****@db:5432/x?sslkey=****"),
            ("http://u:p@x@h", "http://****@h"),
            ("http://h?only", "http://h?****"),
            ("http://u:p/a?s#s@h/x", "http://****@h/x"),
            ("u:p@h", "****@h"),
        ] {
            assert_eq!(address(url), shown, "{url}");
        }
    }

    #[test]
    fn what_is_too_deep_to_read_is_hidden_as_a_whole() {
        let deep = format!("{}\"s3cret\"{}", "[".repeat(500), "]".repeat(500));
        let text = RawValue::from_string(deep).unwrap();
        assert_eq!(config(&text).get(), "\"****\"");
    }

    #[test]
    fn a_method_is_shown_if_it_is_one() {
        for (method, shown) in [("get", "get"), ("PATCH", "PATCH"), ("s3cret", "****")] {
            let text = raw(&json!({ "method": method }));
            assert_eq!(config(&text).get(), format!(r#"{{"method":"{shown}"}}"#));
        }
    }
}
