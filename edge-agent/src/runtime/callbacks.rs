//! Tells an update's callbacks what became of it: OPAL's `DataUpdateReport`
//! (`spec/opal-protocol.md` §4.3).

use backon::{ExponentialBuilder, Retryable as _};
use protocol::Entry;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::python_json;
use crate::core::results::{EntryReport, UpdateReport};
use crate::fetch::{FetchError, HttpFetcher};
use crate::json::Json;

/// Tries to reach one callback, as OPAL has it.
const TRIES: usize = 5;

/// An update's `callback`: each an address, or an address with an `HttpFetcherConfig`.
#[derive(Deserialize)]
struct Callbacks {
    #[serde(default)]
    callbacks: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Report<'r> {
    update_id: &'r str,
    reports: Vec<Part<'r>>,
    policy_hash: Option<&'r str>,
    user_data: Empty,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Part<'r> {
    entry: &'r Entry,
    fetched: bool,
    saved: bool,
    /// SHA-256 of the data, in hex.
    hash: Option<String>,
}

/// Sends the report to every callback, one after the other.
pub(super) async fn tell(http: &HttpFetcher, report: UpdateReport) {
    let UpdateReport { update_id, callback, entries } = report;
    let callbacks = match read(&callback) {
        Ok(callbacks) => callbacks,
        Err(error) => {
            tracing::warn!(%update_id, %error, "the update's callbacks cannot be told");
            return;
        }
    };
    if callbacks.is_empty() {
        return;
    }
    let body = match body(&update_id, &entries) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%update_id, %error, "no report can be made");
            return;
        }
    };
    for (url, config) in callbacks {
        let send = || http.send(&url, config.as_deref(), &body);
        let tries = ExponentialBuilder::new().with_jitter().with_max_times(TRIES - 1);
        let sent = send.retry(tries).when(|error: &FetchError| !error.is_permanent()).await;
        if let Err(error) = sent {
            tracing::warn!(%update_id, %error, "a callback was not reached");
        }
    }
}

/// An address with its settings.
type Address = (String, Option<Box<RawValue>>);

fn read(callback: &RawValue) -> Result<Vec<Address>, serde_json::Error> {
    let Callbacks { callbacks } = serde_json::from_str(callback.get())?;
    let read = |text: Box<RawValue>| match serde_json::from_str::<String>(text.get()) {
        Ok(url) => Ok((url, None)),
        Err(_) => serde_json::from_str::<Address>(text.get()),
    };
    callbacks.into_iter().map(read).collect()
}

fn body(update_id: &str, entries: &[EntryReport]) -> Result<String, serde_json::Error> {
    let parts = entries.iter().map(|entry| Part {
        entry: &entry.entry,
        fetched: entry.data.is_some(),
        saved: entry.saved,
        hash: entry.data.as_ref().map(hash),
    });
    let reports = parts.collect();
    serde_json::to_string(&Report { update_id, reports, policy_hash: None, user_data: Empty {} })
}

/// The hash that OPAL's client gives for the same data.
fn hash(data: &Json) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(python_json::dumps(data.get()));
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn callbacks_are_addresses_with_or_without_settings() {
        let read = read(&raw(
            r#"{"callbacks":["http://a/1",["http://b/2",{"method":"put"}],["http://c/3",null]]}"#,
        ));
        let read: Vec<_> = read
            .unwrap()
            .into_iter()
            .map(|(url, config)| (url, config.map(|config| config.get().to_owned())))
            .collect();
        assert_eq!(
            read,
            [
                ("http://a/1".to_owned(), None),
                ("http://b/2".to_owned(), Some(r#"{"method":"put"}"#.to_owned())),
                ("http://c/3".to_owned(), None),
            ]
        );
        assert!(super::read(&raw("{}")).unwrap().is_empty());
        assert!(super::read(&raw(r#"{"callbacks":[5]}"#)).is_err());
    }

    #[test]
    fn the_hash_is_opals() {
        // `spec/opal-protocol.md` §4.3.
        let opals = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(hash(&raw("{ }").into()), opals);
    }
}
