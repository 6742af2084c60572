//! Handing a request to the functions, as it came, and their answer back.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Method, Response, Uri, header};
use protocol::DEFAULT_SCOPE;
use protocol::plane::{HEADER, Refusal};
use url::Url;

use crate::http::{failure, hops};

/// What of a request's headers the functions need.
const PASSED_ON: [&str; 6] = [
    HEADER,
    "content-type",
    "accept",
    "origin",
    "access-control-request-method",
    "access-control-request-headers",
];

/// What the functions have of the plane: nothing else of theirs is reached through the agent.
const ROOTS: [&str; 2] = ["/api/v1/", "/js/v1/"];

/// Headers of an answer that follow from its body as it came.
const OF_THE_BODY: [HeaderName; 2] = [header::CONTENT_LENGTH, header::CONTENT_ENCODING];

/// The functions, for one scope.
#[derive(Clone, Debug)]
pub(crate) struct Functions {
    http: reqwest::Client,
    /// What a path of the plane is appended to.
    base: String,
}

impl Functions {
    /// The functions at this address, for this scope.
    pub(crate) fn new(http: reqwest::Client, server: &Url, scope: &str) -> Self {
        Self { http, base: base(server, scope) }
    }

    /// Asks them.
    ///
    /// # Errors
    /// 404 for what is not of the plane. 502 if they do not answer: they may have done what was asked.
    pub(crate) async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, Refusal> {
        let unreachable = |error: reqwest::Error| {
            let reason = format!("{}; nothing was done here", failure(error));
            Refusal::new(502, "the functions do not answer", reason)
        };
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let address = Url::parse(&format!("{}{path}", self.base))
            .map_err(|_| Refusal::new(400, "invalid path", "it is no part of an address"))?;
        // As it is sent, where `..` and the like are gone.
        let place = address.as_str().strip_prefix(&self.base).unwrap_or_default();
        if !ROOTS.iter().any(|root| place.starts_with(root)) {
            return Err(Refusal::not_found());
        }
        let mut request = self.http.request(method, address).body(body);
        for name in PASSED_ON {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.map_err(unreachable)?;
        received(answer).await.map_err(unreachable)
    }
}

/// What a path of a scope is appended to.
pub(crate) fn base(server: &Url, scope: &str) -> String {
    let mut base = server.clone();
    if scope != DEFAULT_SCOPE
        && let Ok(mut path) = base.path_segments_mut()
    {
        path.pop_if_empty().extend(["scopes", scope]);
    }
    base.as_str().trim_end_matches('/').to_owned()
}

/// An answer in one piece, as it can be passed on.
///
/// # Errors
/// It broke off.
pub(crate) async fn received(answer: reqwest::Response) -> reqwest::Result<Response<Bytes>> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(answer.bytes().await?);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    hops::leave_out(response.headers_mut());
    OF_THE_BODY.iter().for_each(|name| drop(response.headers_mut().remove(name)));
    Ok(response)
}

/// An answer in one piece, as it is sent.
pub(crate) fn whole(response: Response<Bytes>) -> Response<Body> {
    response.map(Body::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn nothing_but_the_plane_is_reached_through_the_agent() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/base/", closed.local_addr().unwrap());
        drop(closed);
        let http = crate::http::client(Duration::from_secs(5)).unwrap();
        for scope in [DEFAULT_SCOPE, "acme"] {
            let functions = Functions::new(http.clone(), &Url::parse(&server).unwrap(), scope);
            for (uri, status) in [
                ("/api/v1/facts", 502),
                ("/js/v1/facts?a=b", 502),
                ("/api/v1", 404),
                ("/api/v12/facts", 404),
                ("/data/config", 404),
                ("/api/v1/../../data/config", 404),
                ("/api/v1/%2e%2E/%2e./data/config", 404),
                ("/", 404),
            ] {
                let uri: Uri = uri.parse().unwrap();
                let headers = HeaderMap::new();
                let asked = functions.ask(Method::OPTIONS, &uri, &headers, Bytes::new());
                assert_eq!(asked.await.unwrap_err().status, status, "{scope} {uri}");
            }
        }
    }
}
