//! Requests to servers that are not ours.

use futures::{Stream, StreamExt as _};
use js_sys::Uint8Array;
use protocol::Problem;
use worker::worker_sys::web_sys;
use worker::{AbortSignal, Fetch, Method, Request, RequestInit, RequestRedirect, Response};

use crate::failure::Failure;

/// Milliseconds until a whole answer must be there.
const WITHIN_MS: u32 = 120_000;

/// An answer, whatever its status, that has begun.
pub(super) struct Answer {
    response: Response,
    signal: AbortSignal,
    server: &'static str,
}

/// Sends a request. Redirects are answers like others. `server` is what an error calls it.
///
/// # Errors
/// Nobody answers.
pub(super) async fn send(
    server: &'static str,
    method: &str,
    url: &str,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> Result<Answer, Failure> {
    let mut init = RequestInit::new();
    init.with_method(if method == "POST" { Method::Post } else { Method::Get });
    init.with_redirect(RequestRedirect::Manual);
    if method == "POST" {
        init.with_body(Some(Uint8Array::from(body).into()));
    }
    let request = Request::new_with_init(url, &init).and_then(|mut request| {
        let named = request.headers_mut()?;
        headers.iter().try_for_each(|(name, value)| named.set(name, value))?;
        Ok(request)
    });
    // What the platform says may repeat the address; that of a redirect may be secret.
    let request = request.map_err(|_| {
        Failure::Lasting(Problem::new(502, format!("{server} cannot be asked at its address")))
    })?;
    let signal = AbortSignal::from(web_sys::AbortSignal::timeout_with_u32(WITHIN_MS));
    let response = Fetch::Request(request).send_with_signal(&signal).await;
    let response = response.map_err(|_| down(server, &signal))?;
    Ok(Answer { response, signal, server })
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status_code()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).ok().flatten()
    }

    /// Its body, piece by piece.
    pub(super) fn body(self) -> impl Stream<Item = Result<Vec<u8>, Failure>> {
        let Self { mut response, signal, server } = self;
        // An answer without a body has no stream either.
        let pieces = futures::stream::iter(response.stream().ok()).flatten();
        let ended = signal.clone();
        let pieces = pieces.map(move |piece| piece.map_err(|_| down(server, &signal)));
        // A stream that was aborted looks like one that is over.
        pieces.chain(futures::stream::iter(std::iter::from_fn(move || {
            ended.aborted().then(|| Err(down(server, &ended)))
        })))
    }
}

fn down(server: &str, signal: &AbortSignal) -> Failure {
    let why = if signal.aborted() {
        format!("{server} took longer than {} seconds to answer", WITHIN_MS / 1_000)
    } else {
        format!("{server} cannot be reached, or its answer broke off")
    };
    Failure::Passing(Problem::unavailable(why))
}
