//! Tells callbacks what became of an update: OPAL's `DataUpdateReport`
//! (`spec/opal-protocol.md` §4.3, §5.9). An update names callbacks of its own; others are
//! registered, and hear of every update if the settings say so.
//!
//! A report is for strangers: the entry in it has no credential of its source, which OPAL's has.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use backon::{ExponentialBuilder, Retryable as _};
use protocol::json::reason;
use protocol::{Entry, credentials, hex};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::python_json;
use crate::core::results::{EntryReport, UpdateReport};
use crate::fetch::{FetchError, HttpFetcher, Source};
use crate::json::Json;
use crate::secrets::Secrets;
use crate::settings::Secret;

/// Tries to reach one callback, as OPAL has it.
const TRIES: usize = 5;

/// An update's `callback`: each an address, or an address with an `HttpFetcherConfig`.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    callbacks: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Report<'r> {
    update_id: Option<&'r str>,
    reports: Vec<Part<'r>>,
    policy_hash: Option<&'r str>,
    user_data: Empty,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Part<'r> {
    #[serde(serialize_with = "without_credentials")]
    entry: &'r Entry,
    fetched: bool,
    saved: bool,
    /// SHA-256 of the data, in hex.
    hash: Option<String>,
}

/// A registered callback, as OPAL's API has it.
#[derive(Clone, Deserialize)]
pub(crate) struct Registered {
    /// Its name in the register.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Where reports go.
    pub(crate) url: String,
    /// An `HttpFetcherConfig`.
    #[serde(default)]
    pub(crate) config: Option<Box<RawValue>>,
}

/// Who is told.
pub(crate) struct Callbacks {
    http: HttpFetcher,
    secrets: Secrets,
    registered: RwLock<BTreeMap<String, Registered>>,
    /// Hears of everything with the agent's own token: the server itself.
    server: Option<(String, RwLock<Secret>)>,
    reports: bool,
}

impl Callbacks {
    /// `reports` says whether registered callbacks are told. `server` is the address of the
    /// server's own callback, which is told with `token`.
    pub(super) fn new(
        http: HttpFetcher,
        secrets: Secrets,
        reports: bool,
        server: Option<String>,
        token: &Secret,
    ) -> Self {
        let server = server.map(|url| (url, RwLock::new(token.clone())));
        Self { http, secrets, registered: RwLock::default(), server, reports }
    }

    pub(super) fn set_token(&self, token: &Secret) {
        if let Some((_, held)) = &self.server {
            *held.write().unwrap_or_else(PoisonError::into_inner) = token.clone();
        }
    }

    /// Registers a callback, under its key or one that is made from what it is.
    pub(crate) fn register(&self, callback: Registered) -> Registered {
        let key = callback.key.clone().unwrap_or_else(|| {
            let config = callback.config.as_deref().map_or("", RawValue::get);
            hex(&Sha256::digest(format!("{} {config}", callback.url)))
        });
        let callback = Registered { key: Some(key.clone()), ..callback };
        let mut all = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, callback.clone());
        callback
    }

    /// Removes a callback; false if there is none of this key.
    pub(crate) fn remove(&self, key: &str) -> bool {
        self.registered.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
    }

    /// All registered callbacks, by key.
    pub(crate) fn all(&self) -> Vec<Registered> {
        let all = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Sends the report to every callback, one after the other.
    pub(super) async fn tell(&self, report: UpdateReport) {
        let UpdateReport { update_id, callback, entries } = report;
        let own = read(&callback).unwrap_or_else(|error| {
            let error = reason(&error);
            tracing::warn!(%update_id, %error, "the update's own callbacks cannot be told");
            vec![]
        });
        let addresses: Vec<Address> = own.into_iter().chain(self.registered()).collect();
        if addresses.is_empty() {
            return;
        }
        match body(Some(&update_id), &entries, None) {
            Ok(body) => self.send(&update_id, addresses, &body).await,
            Err(error) => tracing::error!(%update_id, %error, "no report can be made"),
        }
    }

    /// Tells registered callbacks which policies the engine has.
    pub(super) async fn tell_policy(&self, revision: Option<&str>) {
        let (addresses, Some(revision)) = (self.registered(), revision) else { return };
        if let Ok(body) = body(None, &[], Some(revision)) {
            self.send(revision, addresses, &body).await;
        }
    }

    fn registered(&self) -> Vec<Address> {
        if !self.reports {
            return vec![];
        }
        let server = self.server.as_ref().map(|(url, token)| {
            let token = token.read().unwrap_or_else(PoisonError::into_inner);
            let bearer = format!("Bearer {}", token.expose());
            let config = serde_json::json!({ "headers": { "authorization": bearer } });
            (url.clone(), serde_json::value::to_raw_value(&config).ok())
        });
        let registered = self.all().into_iter().map(|it| (it.url, it.config));
        server.into_iter().chain(registered).collect()
    }

    async fn send(&self, about: &str, addresses: Vec<Address>, body: &str) {
        for (url, config) in addresses {
            let callback = Source { url, config };
            let send = || self.send_once(&callback, body);
            let tries = ExponentialBuilder::new().with_jitter().with_max_times(TRIES - 1);
            let sent = send.retry(tries).when(|error: &FetchError| !error.is_permanent()).await;
            if let Err(error) = sent {
                tracing::warn!(%about, %error, "a callback was not reached");
            }
        }
    }

    async fn send_once(&self, callback: &Source, body: &str) -> Result<(), FetchError> {
        let filled = self.secrets.fill(callback).await?;
        let Source { url, config } = filled.source();
        let send = filled.confine(self.http.send(url, config.as_deref(), body));
        send.await.map_err(|error| {
            self.secrets.doubt(&filled);
            filled.hide(error)
        })
    }
}

/// An address with its settings, which may name secrets.
pub(crate) type Address = (String, Option<Box<RawValue>>);

pub(crate) fn read(callback: &RawValue) -> Result<Vec<Address>, serde_json::Error> {
    let Named { callbacks } = serde_json::from_str(callback.get())?;
    let read = |text: Box<RawValue>| match serde_json::from_str::<String>(text.get()) {
        Ok(url) => Ok((url, None)),
        Err(_) => serde_json::from_str::<Address>(text.get()),
    };
    callbacks.into_iter().map(read).collect()
}

fn body(
    update_id: Option<&str>,
    entries: &[EntryReport],
    policy_hash: Option<&str>,
) -> Result<String, serde_json::Error> {
    let parts = entries.iter().map(|entry| Part {
        entry: &entry.entry,
        fetched: entry.data.is_some(),
        saved: entry.saved,
        hash: entry.data.as_ref().map(hash),
    });
    let reports = parts.collect();
    serde_json::to_string(&Report { update_id, reports, policy_hash, user_data: Empty {} })
}

fn without_credentials<S: Serializer>(entry: &Entry, to: S) -> Result<S::Ok, S::Error> {
    let mut entry = entry.clone();
    credentials::show::hide(&mut entry);
    entry.serialize(to)
}

/// The hash that OPAL's client gives for the same data.
fn hash(data: &Json) -> String {
    hex(&Sha256::digest(python_json::dumps(data.get())))
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
    fn a_callback_is_registered_once_and_told_only_if_the_settings_say_so() {
        let with = |reports| {
            let means = crate::fetch::Means::standard(std::time::Duration::from_secs(1)).unwrap();
            let server = Some("http://s/data/callback_report".to_owned());
            let token = Secret::new("t1".to_owned());
            Callbacks::new(HttpFetcher::new(means), Secrets::default(), reports, server, &token)
        };
        let callback = |key: Option<&str>| Registered {
            key: key.map(str::to_owned),
            url: "http://c/1".to_owned(),
            config: Some(raw(r#"{"headers":{"x":"y"}}"#)),
        };
        let callbacks = with(true);
        let key = callbacks.register(callback(None)).key.unwrap();
        assert_eq!(callbacks.register(callback(None)).key, Some(key.clone()));
        assert_eq!(callbacks.register(callback(Some("k"))).key.as_deref(), Some("k"));
        assert_eq!(callbacks.all().len(), 2);
        callbacks.set_token(&Secret::new("t2".to_owned()));
        let told = callbacks.registered();
        let config = told[0].1.as_ref().unwrap().get();
        assert_eq!((told.len(), config), (3, r#"{"headers":{"authorization":"Bearer t2"}}"#));
        assert!(callbacks.remove(&key) && !callbacks.remove(&key));
        let quiet = with(false);
        quiet.register(callback(None));
        assert!(quiet.registered().is_empty());
    }

    #[test]
    fn the_report_of_a_policy_names_its_revision() {
        let expected = r#"{"update_id":null,"reports":[],"policy_hash":"r1","user_data":{}}"#;
        assert_eq!(body(None, &[], Some("r1")).unwrap(), expected);
    }

    #[test]
    fn a_report_has_the_entry_without_credentials_and_with_its_data() {
        let entry: Entry = serde_json::from_str(
            r#"{"url":"http://me:s3cret@h/x","config":{"headers":{"x":"s3cret"}},"data":{"a":1}}"#,
        )
        .unwrap();
        let report = EntryReport { place: 0, entry, data: None, saved: false };
        let body = body(Some("u"), &[report], None).unwrap();
        assert!(!body.contains("s3cret"), "{body}");
        assert!(
            body.contains(r#""url":"http://****@h/x","config":{"headers":{"x":"****"}}"#),
            "{body}"
        );
        assert!(body.contains(r#""data":{"a":1}"#), "{body}");
    }

    #[test]
    fn the_hash_is_opals() {
        // `spec/opal-protocol.md` §4.3.
        let opals = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(hash(&raw("{ }").into()), opals);
    }
}
