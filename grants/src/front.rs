//! What stands before the model: which requests are refused, and what the model is asked
//! (`spec/opa-and-grants.md` §4.3).

use protocol::plane::{Question, Refusal};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The health check needs no token.
    Health,
    /// This is to be asked of the model.
    Ask(Question),
}

/// Looks at a request: its method, its path as it came (percent-encoded, without query), and the
/// value of the token's header.
///
/// # Errors
/// In this order: 400 without a token, 401 for what is no token, 400 for a path that router and
/// model could read in two ways or that is too long.
pub fn admit(_method: &str, _path: &str, _token: Option<&str>) -> Result<Admission, Refusal> {
    Err(Refusal::unauthorized())
}
