//! Handing a request to the application and its answer back: bodies flow through unless somebody
//! has taken them apart, and what is about one connection stays there (RFC 9110 §7.6.1).

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use protocol::plane::HEADER;
use url::Url;

use super::vault::Undone;

/// Headers that are about a connection, besides those that `Connection` names.
const OF_A_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The application.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    client: Client<HttpConnector, Body>,
    /// What a path is appended to.
    base: String,
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
        Self { client, base, timeout }
    }

    /// Sends it a request, which came from `peer`. The request's `Host` stays.
    ///
    /// # Errors
    /// 502 if it cannot be reached, 504 if it does not answer in time.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Undone> {
        let undone = |status, message: &str| Undone { status, message: message.to_owned() };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| undone(400, "the path is no part of an address"))?;
        *request.uri_mut() = uri;
        clean(request.headers_mut());
        // The grant's token is the proxy's business.
        request.headers_mut().remove(HEADER);
        tell_of(request.headers_mut(), peer);
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(mut response)) => {
                clean(response.headers_mut());
                Ok(response.map(Body::new))
            }
            Ok(Err(_)) => Err(undone(502, "the application cannot be reached")),
            Err(_) => Err(undone(504, "the application does not answer in time")),
        }
    }
}

/// Leaves out what is about one connection.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    OF_A_CONNECTION.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Says who asked, after what others before said.
fn tell_of(headers: &mut HeaderMap, peer: SocketAddr) {
    const FOR: &str = "x-forwarded-for";
    let before = headers.get(FOR).and_then(|it| it.to_str().ok());
    let address = peer.ip().to_canonical();
    let forwarded = before.map_or_else(|| address.to_string(), |it| format!("{it}, {address}"));
    if let Ok(value) = HeaderValue::from_str(&forwarded) {
        headers.insert(FOR, value);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry("x-forwarded-host").or_insert(host);
    }
    headers.entry("x-forwarded-proto").or_insert(HeaderValue::from_static("http"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_a_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("content-type", "text/plain"),
            ("authorization", "Bearer x"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        clean(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "content-type"]);
    }

    #[test]
    fn the_application_is_told_who_asked() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        headers.insert("host", HeaderValue::from_static("shop.example.com"));
        tell_of(&mut headers, "10.0.0.1:4711".parse().unwrap());
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 10.0.0.1");
        assert_eq!(headers["x-forwarded-host"], "shop.example.com");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }
}
