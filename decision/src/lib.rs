//! OPA's REST API (`spec/opa-and-grants.md` part 1) without sockets: what a request asks, and what
//! the answer looks like, to the byte where the engine's values are OPA's. The edge agent serves it
//! for its embedded engine, and the functions at the edge.
//!
//! It has no I/O, no clock and no state; deciding is the caller's, as a closure.
//!
//! | question | file |
//! |---|---|
//! | What becomes of a request for a decision? | `lib.rs` |
//! | Which document does a path name, which switches has a query, what is the input? | [`request`] |
//! | What does an answer look like? | [`reply`] |

pub mod reply;
pub mod request;

use regorus::Value;

pub use rego::{DecisionError, Location};
pub use reply::{Reply, Style};
pub use request::Query;

/// Bytes of a request's body.
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// A request for a decision, once its body has been read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As it came: segments are decoded one by one.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: &'a str,
    /// The `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The body; empty if there is none.
    pub body: &'a [u8],
}

/// Where documents are.
pub const DATA: &str = "/v1/data";
/// Where the values themselves are.
pub const VALUES: &str = "/v0/data";

/// What is decided where no path is named: `POST /`.
#[must_use]
pub fn default_path() -> Vec<String> {
    ["system", "main"].map(str::to_owned).to_vec()
}

/// What becomes of a request below `/v1/data` or `/v0/data`, or of `POST /`.
///
/// `decide` gives the value of `data.<path>` for an input; none if it is undefined.
pub fn answer(
    request: Request<'_>,
    decide: impl FnOnce(&[String], Option<Value>) -> Result<Option<Value>, DecisionError>,
) -> Reply {
    let Request { method, path, query, content_type, body } = request;
    if path != "/"
        && let Some(redirect) = reply::redirect(path, query)
    {
        return redirect;
    }
    let is_bare = !path.starts_with(DATA);
    let query = Query::parse(query);
    let style = if query.pretty { Style::Pretty } else { Style::Compact };
    let is_post = method == "POST";
    let input = match method {
        "GET" if !is_bare => query.input.as_deref().map(request::parameter).transpose(),
        // Reading YAML takes time that grows with the square of its nesting.
        "POST" if content_type.is_some_and(|kind| kind.contains("yaml")) => {
            return Reply::invalid_parameter("YAML is not taken; send JSON");
        }
        "POST" if body.len() > MAX_BODY_BYTES => {
            return Reply::invalid_parameter("request body too large");
        }
        "POST" if is_bare => request::bare_body(body),
        "POST" => request::body(body),
        "PUT" | "PATCH" | "DELETE" if !is_bare => return Reply::written_through_girasol(),
        _ => return Reply::method_not_allowed(),
    };
    let input = match input {
        Ok(input) => input,
        Err(message) => return Reply::invalid_parameter(&message),
    };
    let warning = is_post && !is_bare && input.is_none();
    let named = match path {
        "/" => Ok(default_path()),
        path => request::segments(path),
    };
    let decided = named.and_then(|path| decide(&path, input).map(|value| (path, value)));
    match decided {
        Ok((_, value)) if !is_bare => Reply::decided(value.as_ref(), warning, style),
        Ok((_, Some(value))) => Reply::bare(&value, style),
        Ok((path, None)) => Reply::missing(&path),
        Err(error) => Reply::failed(error),
    }
}
