//! Cross-origin requests of browsers: the origins of the setting, all of them by default, with
//! credentials, every method and every header, as OPAL has it (`spec/opal-protocol.md` §2).

use worker::{Env, Request, Response, Result};

use crate::settings::allowed_origins;

/// For how many seconds a browser may remember an answer to its question.
const MAX_AGE: &str = "600";
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// Where a browser says that a request comes from, if that may ask us.
pub(crate) struct Origin(Option<String>);

impl Origin {
    /// The origin of a request.
    pub(crate) fn of(request: &Request, env: &Env) -> Self {
        let origin = request.headers().get("Origin").ok().flatten();
        Self(origin.filter(|origin| {
            allowed_origins(env).iter().any(|allowed| allowed == "*" || allowed == origin)
        }))
    }

    /// The answer to a browser that asks first whether it may ask.
    pub(crate) fn preflight(&self, request: &Request) -> Result<Option<Response>> {
        let asks = request.headers().get("Access-Control-Request-Method")?.is_some();
        if request.method().as_ref() != "OPTIONS" || !asks {
            return Ok(None);
        }
        if self.0.is_none() {
            return Response::error("Disallowed CORS origin", 400).map(Some);
        }
        let response = Response::empty()?.with_status(200);
        let headers = response.headers();
        headers.set("Access-Control-Allow-Methods", METHODS)?;
        headers.set("Access-Control-Max-Age", MAX_AGE)?;
        if let Some(wanted) = request.headers().get("Access-Control-Request-Headers")? {
            headers.set("Access-Control-Allow-Headers", &wanted)?;
        }
        self.allow(response).map(Some)
    }

    /// Lets the page read the answer. An open socket has no headers to add to.
    pub(crate) fn allow(&self, response: Response) -> Result<Response> {
        if let Some(origin) = self.0.as_ref().filter(|_| response.status_code() != 101) {
            let headers = response.headers();
            headers.set("Access-Control-Allow-Origin", origin)?;
            headers.set("Access-Control-Allow-Credentials", "true")?;
            headers.append("Vary", "Origin")?;
        }
        Ok(response)
    }
}
