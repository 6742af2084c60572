//! What a failure says, and whether another try can help.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{ErrorPosition, SqlState};

use super::address::Address;
use crate::fetch::FetchError;
use crate::http::reason;

/// What is wrong with the query itself. A table or column that is not there may be made, a login
/// be allowed, a value be corrected; a statement without sense keeps having none.
const PERMANENT: [SqlState; 8] = [
    SqlState::SYNTAX_ERROR,
    SqlState::READ_ONLY_SQL_TRANSACTION,
    SqlState::FEATURE_NOT_SUPPORTED,
    SqlState::UNDEFINED_PARAMETER,
    SqlState::INDETERMINATE_DATATYPE,
    SqlState::AMBIGUOUS_COLUMN,
    SqlState::GROUPING_ERROR,
    SqlState::NO_ACTIVE_SQL_TRANSACTION,
];

/// What the server said, or why it said nothing. Of what the server tells besides, `DETAIL` and
/// `CONTEXT` stay away: they quote the data.
pub(super) fn explain(address: &Address, error: &Error) -> FetchError {
    let Some(said) = error.as_db_error() else {
        return address.failed(&reason(error));
    };
    let code = said.code();
    if *code == SqlState::QUERY_CANCELED {
        return address.failed("the query took longer than a fetch may");
    }
    let place = match said.position() {
        Some(ErrorPosition::Original(at)) => format!(", at character {at} of the query"),
        _ => String::new(),
    };
    let message = format!("{} (SQLSTATE {}{place})", said.message(), code.code());
    if PERMANENT.contains(code) { address.permanent(&message) } else { address.failed(&message) }
}

/// Whether the connection ended, rather than the question being wrong.
pub(super) fn is_end(error: &Error) -> bool {
    let ending = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
    ];
    match error.code() {
        Some(code) => ending.contains(code),
        None => {
            error.is_closed()
                || error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>)
        }
    }
}
