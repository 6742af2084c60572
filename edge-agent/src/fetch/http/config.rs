//! The `config` of an HTTP source: OPAL's `HttpFetcherConfig`
//! (`spec/opal-protocol.md` §6).

use std::collections::BTreeMap;

use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::Value;

use crate::fetch::FetchError;

/// The settings as they are written. Other members are other fetchers', or OPAL's
/// `process_data`, which only its callbacks look at.
#[derive(Deserialize)]
pub(super) struct HttpConfig {
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default = "yes")]
    is_json: bool,
}

fn yes() -> bool {
    true
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { headers: None, method: None, data: None, is_json: true }
    }
}

/// The methods a source can be asked with.
const METHODS: [(&str, Method); 6] = [
    ("get", Method::GET),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("patch", Method::PATCH),
    ("head", Method::HEAD),
    ("delete", Method::DELETE),
];

/// Headers that are the connection's own. `host` would lead a proxy, or a server of many sites,
/// elsewhere than where the address was checked for.
const CONNECTIONS_OWN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A checked configuration: what to send.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<String>,
    /// False if the answer is text, whatever it looks like.
    pub(super) is_json: bool,
}

impl HttpConfig {
    /// Checks the settings; `default` is the method if they name none.
    ///
    /// # Errors
    /// Names the member that is wrong, not what it holds.
    pub(super) fn request_or(self, default: Method) -> Result<Request, FetchError> {
        let method = match self.method {
            None => default,
            // OPAL takes lower case only.
            Some(name) => METHODS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(&name))
                .map(|(_, method)| method.clone())
                .ok_or_else(|| {
                    let known: Vec<_> = METHODS.iter().map(|(known, _)| *known).collect();
                    FetchError::permanent(format!(
                        "config.method: give one of {}",
                        known.join(", ")
                    ))
                })?,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.unwrap_or_default() {
            let (name, value) = header(&name, &value)?;
            headers.insert(name, value);
        }
        let body = match self.data {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => {
                content_type(&mut headers, "text/plain; charset=utf-8");
                Some(text)
            }
            Some(Value::Object(fields)) => {
                content_type(&mut headers, "application/x-www-form-urlencoded");
                Some(form(fields)?)
            }
            Some(_) => {
                return Err(FetchError::permanent(
                    "config.data: give an object, sent as a form, or a string, sent as it is",
                ));
            }
        };
        Ok(Request { method, headers, body, is_json: self.is_json })
    }
}

fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), FetchError> {
    if let Some(own) = CONNECTIONS_OWN.iter().find(|own| own.eq_ignore_ascii_case(name)) {
        return Err(FetchError::permanent(format!(
            "config.headers: leave out {own:?}: it is the connection's own, made of the url"
        )));
    }
    let valid = HeaderName::try_from(name).ok().zip(
        scalar(value).and_then(|text| HeaderValue::try_from(text).ok()).map(|mut value| {
            // Whatever prints headers prints "Sensitive" in its place.
            value.set_sensitive(true);
            value
        }),
    );
    // A header's name is no secret, but one with a line break in it is not a name either.
    valid.ok_or_else(|| {
        FetchError::permanent(format!(
            "config.headers: {name:?} is not a header name with a plain text value"
        ))
    })
}

fn content_type(headers: &mut HeaderMap, default: &'static str) {
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(default));
}

fn form(fields: serde_json::Map<String, Value>) -> Result<String, FetchError> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let text = scalar(&value).ok_or_else(|| {
            FetchError::permanent(format!(
                "config.data: the form field {name:?} is not a string, number or boolean; \
                 to send JSON give `data` as a string and a content-type header"
            ))
        })?;
        form.append_pair(&name, &text);
    }
    Ok(form.finish())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(config: &str) -> Result<Request, FetchError> {
        serde_json::from_str::<HttpConfig>(config).unwrap().request_or(Method::GET)
    }

    #[test]
    fn data_is_a_form_or_text() {
        for (config, content_type, body) in [
            (r#"{}"#, None, None),
            (r#"{"data":null}"#, None, None),
            (
                r#"{"data":{"a":"b c","n":1,"t":true}}"#,
                Some("application/x-www-form-urlencoded"),
                Some("a=b+c&n=1&t=true"),
            ),
            (r#"{"data":"{\"a\":1}"}"#, Some("text/plain; charset=utf-8"), Some(r#"{"a":1}"#)),
            (
                r#"{"data":"x","headers":{"content-Type":"application/json"}}"#,
                Some("application/json"),
                Some("x"),
            ),
        ] {
            let request = request(config).unwrap();
            let sent = request.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
            assert_eq!((sent, request.body.as_deref()), (content_type, body), "{config}");
        }
    }

    #[test]
    fn methods_are_known_in_any_case() {
        assert_eq!(request(r#"{"method":"post"}"#).unwrap().method, Method::POST);
        assert_eq!(request(r#"{"method":"DELETE"}"#).unwrap().method, Method::DELETE);
        let error = request(r#"{"method":"trace"}"#).err().unwrap();
        assert!(error.is_permanent());
        assert_eq!(
            error.to_string(),
            "config.method: give one of get, post, put, patch, head, delete"
        );
    }

    #[test]
    fn bad_settings_are_named_without_what_they_hold() {
        for (config, words) in [
            (r#"{"headers":{"x-key":["secret"]}}"#, "config.headers: \"x-key\""),
            (r#"{"headers":{"x-key":"secret\n"}}"#, "config.headers: \"x-key\""),
            (r#"{"headers":{"a b":"secret"}}"#, "config.headers: \"a b\""),
            (r#"{"headers":{"Host":"secret"}}"#, "config.headers: leave out \"host\""),
            (r#"{"headers":{"transfer-encoding":"secret"}}"#, "config.headers: leave out"),
            (r#"{"data":["secret"]}"#, "config.data"),
            (r#"{"data":{"f":{"a":"secret"}}}"#, "form field \"f\""),
        ] {
            let error = request(config).err().unwrap();
            assert!(error.is_permanent(), "{config}");
            let error = error.to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{config}: {error}");
        }
    }
}
