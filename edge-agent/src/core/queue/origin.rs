//! Who is asked for a source's data: the places among the fetches are given by that.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fetch::Source;

/// What fetchers' settings may say of it. Whatever else they hold does not matter here.
#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    fetcher: Option<Value>,
    #[serde(default)]
    connection_params: Option<Value>,
}

/// A name for the one who is asked: the same for all users and databases of a server, another
/// one for each server and for each program. It holds nothing of who asks.
pub(super) fn of(source: &Source) -> Arc<str> {
    let settings = source.config.as_deref().map(RawValue::get);
    let settings: Settings =
        settings.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let fetcher = settings.fetcher.as_ref().and_then(Value::as_str).unwrap_or_default();
    if fetcher.starts_with("exec:") {
        return fetcher.into();
    }
    let (scheme, server) = server(&source.url);
    // A host among the parameters is stronger than the address, as it is for the drivers.
    let named = |name: &str| match settings.connection_params.as_ref()?.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if let Some(host) = named("host") {
        let port = named("port").unwrap_or_default();
        return format!("{fetcher} {}:{port}", host.to_lowercase()).into();
    }
    if server.is_empty() {
        return format!("{fetcher} {scheme}").into();
    }
    format!("{scheme}://{}", server.to_lowercase()).into()
}

/// An address's scheme and server, without the user's name and password. What is no address is a
/// server's name up to its first `/`.
fn server(url: &str) -> (String, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    (scheme.to_lowercase(), server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str, config: Option<&str>) -> String {
        let config = config.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        of(&Source { url: url.to_owned(), config }).to_string()
    }

    #[test]
    fn a_server_is_the_same_whoever_asks_it_for_whatever() {
        for (url, expected) in [
            ("http://h/a/b?c", "http://h"),
            ("http://h?c=http://other/", "http://h"),
            ("HTTP://H:8080#x", "http://h:8080"),
            ("http://user:pass@h/", "http://h"),
            ("http://u%40ser:p@ss@h:1/", "http://h:1"),
            ("postgresql://one@db:5432/x", "postgresql://db:5432"),
            ("postgresql://two:${secret:PW}@db:5432/y", "postgresql://db:5432"),
            ("mongodb://u:p@a:1,b:2/db?ssl=true", "mongodb://a:1,b:2"),
            ("http://[::1]:80/", "http://[::1]:80"),
            ("s3://bucket/key", "s3://bucket"),
            ("${secret:ADDRESS}", "://${secret:address}"),
            ("", " "),
        ] {
            assert_eq!(origin(url, None), expected, "{url}");
        }
    }

    #[test]
    fn settings_may_say_who_is_asked() {
        let postgres = |host: &str, password: &str| {
            let config = serde_json::json!({"fetcher": "PostgresFetchProvider", "query": "SELECT",
                "connection_params": {"host": host, "port": 5432, "password": password}});
            origin("postgresql://u@elsewhere/", Some(&config.to_string()))
        };
        assert_eq!(postgres("DB", "one"), "PostgresFetchProvider db:5432");
        assert_eq!(postgres("db", "two"), postgres("db", "one"));
        assert_ne!(postgres("other", "one"), postgres("db", "one"));
        let exec = |name: &str| {
            origin("http://the.same/", Some(&format!(r#"{{"fetcher":"exec:{name}"}}"#)))
        };
        assert_eq!(exec("one"), "exec:one");
        assert_ne!(exec("one"), exec("two"));
    }

    #[test]
    fn settings_that_nobody_understands_leave_the_address() {
        for config in ["null", "[1]", "7", r#"{"fetcher":7,"connection_params":[{"host":"x"}]}"#] {
            assert_eq!(origin("http://h/x", Some(config)), "http://h", "{config}");
        }
    }
}
