//! Handing a request to the application and its answer back: bodies flow through unless somebody
//! has taken them apart, and what is about one connection stays there (RFC 9110 §7.6.1).

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::headers;
use super::vault::Undone;
use crate::http::hops;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The application.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    client: Client<HttpConnector, Body>,
    /// What a path is appended to.
    base: String,
    /// Its own name, for requests that have none.
    host: String,
    timeout: Duration,
}

impl Upstream {
    /// The application at this `http` address; its answer begins within `timeout`.
    pub(super) fn new(url: &Url, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let base = url.as_str().trim_end_matches('/').to_owned();
        Self { client, base, host: url.authority().to_owned(), timeout }
    }

    /// Makes the headers of a request from `peer` those that it is sent with. Its `Host` stays.
    ///
    /// # Errors
    /// 400 for headers that could be read in two ways.
    pub(super) fn settle(&self, parts: &mut Parts, peer: SocketAddr) -> Result<(), Undone> {
        let host = parts.uri.authority().map_or(&*self.host, |it| it.as_str());
        headers::settle(&mut parts.headers, host, peer)
    }

    /// Sends it a request, of which the headers are settled.
    ///
    /// # Errors
    /// 502 if it cannot be reached, 504 if it does not answer in time.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Undone> {
        let undone = |status, message: &str| Undone { status, message: message.to_owned() };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| undone(400, "the path is no part of an address"))?;
        *request.uri_mut() = uri;
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(mut response)) => {
                hops::leave_out(response.headers_mut());
                Ok(response.map(Body::new))
            }
            Ok(Err(_)) => Err(undone(502, "the application cannot be reached")),
            Err(_) => Err(undone(504, "the application does not answer in time")),
        }
    }
}
