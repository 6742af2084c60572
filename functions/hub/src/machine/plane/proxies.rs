//! Which proxies say that they are deployed, and what they do.

use protocol::Millis;
use protocol::plane::{Question, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::super::policy::{get, put};
use super::super::unanswered;
use super::{Done, Step};

/// The proxies of a domain.
const PROXIES: &str = "plane/proxies/";
/// Proxies of a scope.
const MAX_PROXIES: usize = 1_000;

/// A proxy, as it is kept.
#[derive(Serialize, Deserialize)]
struct Proxy {
    name: String,
    domain: String,
    routes: Box<RawValue>,
    /// Since when it does that.
    at: Millis,
}

impl Step<'_> {
    /// A proxy says what it does, and may ask so as often as it likes.
    pub(super) fn deploy(
        &mut self,
        name: String,
        routes: Box<RawValue>,
        question: &Question,
    ) -> Result<Done, Refusal> {
        let domain = question.domain.clone();
        let kept = format!("{PROXIES}{domain}/{name}");
        let known: Option<Proxy> = get(self.log, &kept)?;
        if known.is_none() {
            let count = self.log.count(PROXIES).map_err(unanswered)?;
            if count >= MAX_PROXIES {
                return Err(Refusal::new(
                    409,
                    "too many proxies",
                    format!("there are {count}, which is the limit; deploy under a known name"),
                ));
            }
        }
        let same = known.filter(|known| known.routes.get() == routes.get());
        let proxy = match same {
            Some(same) => same,
            None => {
                let proxy = Proxy { name, domain, routes, at: self.now };
                put(self.log, &kept, &proxy)?;
                proxy
            }
        };
        Done::shown(&proxy.shown())
    }

    /// Shows one of the grant's domain.
    pub(super) fn show_proxy(&self, name: &str, question: &Question) -> Result<Done, Refusal> {
        let kept = format!("{PROXIES}{}/{name}", question.domain);
        let proxy: Option<Proxy> = get(self.log, &kept)?;
        Done::shown(&proxy.ok_or_else(Refusal::not_found)?.shown())
    }

    /// Shows those that may be seen: a grant's own domain's.
    pub(super) fn list_proxies(&self, question: Option<&Question>) -> Result<Done, Refusal> {
        let prefix = match question {
            Some(question) => format!("{PROXIES}{}/", question.domain),
            None => PROXIES.to_owned(),
        };
        let mut shown = vec![];
        for name in self.log.names(&prefix).map_err(unanswered)? {
            shown.extend(get::<Proxy>(self.log, &name)?.as_ref().map(Proxy::shown));
        }
        Done::shown(&shown)
    }
}

impl Proxy {
    fn shown(&self) -> serde_json::Value {
        let Self { name, domain, routes, at } = self;
        json!({ "name": name, "domain": domain, "routes": routes, "deployed_at": at.rfc3339() })
    }
}
