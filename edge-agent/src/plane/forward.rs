//! Handing a request to the functions, as it came, and their answer back.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Method, Response, Uri, header};
use protocol::DEFAULT_SCOPE;
use protocol::plane::{HEADER, Refusal};
use url::Url;

use crate::http::failure;

/// What of a request's headers the functions need.
const PASSED_ON: [&str; 6] = [
    HEADER,
    "content-type",
    "accept",
    "origin",
    "access-control-request-method",
    "access-control-request-headers",
];

/// Headers of an answer that are about the connection it came by, or that follow from its body.
const LEFT_OUT: [HeaderName; 5] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

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
        let mut base = server.clone();
        if scope != DEFAULT_SCOPE
            && let Ok(mut path) = base.path_segments_mut()
        {
            path.pop_if_empty().extend(["scopes", scope]);
        }
        Self { http, base: base.as_str().trim_end_matches('/').to_owned() }
    }

    /// Asks them.
    ///
    /// # Errors
    /// 502 if they do not answer: they may have done what was asked.
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
        let mut request = self.http.request(method, address).body(body);
        for name in PASSED_ON {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.map_err(unreachable)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(answer.bytes().await.map_err(unreachable)?);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        LEFT_OUT.iter().for_each(|name| drop(response.headers_mut().remove(name)));
        Ok(response)
    }
}

/// The body of an answer in one piece.
pub(super) fn whole(response: Response<Bytes>) -> Response<Body> {
    response.map(Body::from)
}
