//! Which HTTP proxy a fetch goes through: the settings' own, else the one that the environment
//! names (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`). `NO_PROXY` holds for both.

use axum::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::http::HttpError;

/// The proxies of an agent.
pub struct Proxies {
    /// Answers as the client itself does: it is the client's own code.
    matcher: Matcher,
    /// Of the settings; may hold a password.
    own: Option<String>,
}

impl Proxies {
    /// `own` is the settings' proxy, if they have one.
    pub(crate) fn new(own: Option<&str>) -> Self {
        let matcher = match own {
            Some(own) => Matcher::builder().all(own.to_owned()).no(no_proxy()).build(),
            None => Matcher::from_env(),
        };
        Self { matcher, own: own.map(str::to_owned) }
    }

    /// True if a proxy is asked for this address, and resolves its name.
    pub(crate) fn carry(&self, url: &Url) -> bool {
        let uri = url.as_str().parse::<Uri>();
        uri.is_ok_and(|uri| self.matcher.intercept(&uri).is_some())
    }

    /// The hosts of the proxies, which the operator named.
    pub(crate) fn hosts(&self) -> Vec<String> {
        // The matcher does not tell its proxies but for an address.
        let probes = ["http://proxied.invalid", "https://proxied.invalid"];
        let found = probes.map(|probe| {
            let proxy = self.matcher.intercept(&probe.parse::<Uri>().ok()?)?;
            proxy.uri().host().map(str::to_owned)
        });
        found.into_iter().flatten().collect()
    }

    /// Has a client use them.
    ///
    /// # Errors
    /// The settings' proxy cannot be used; the message does not repeat it.
    pub(crate) fn apply(
        &self,
        builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, HttpError> {
        let Some(own) = &self.own else { return Ok(builder) };
        let proxy = reqwest::Proxy::all(own.as_str())
            .map_err(|_| HttpError("fetch_proxy is not an address".to_owned()))?;
        let unproxied = reqwest::NoProxy::from_string(&no_proxy());
        Ok(builder.no_proxy().proxy(proxy.no_proxy(unproxied)))
    }
}

fn no_proxy() -> String {
    let variable = |name: &str| std::env::var(name).ok();
    variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default()
}
