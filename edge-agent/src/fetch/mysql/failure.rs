//! What went wrong, in words of ours where the library's or the server's would show too much.

use mysql_async::{DriverError, Error, IoError, ServerError};

use crate::fetch::FetchError;
use crate::fetch::endpoint::Endpoint;

/// Why a question has no answer.
pub(super) enum Failure {
    /// The connection is of no use any more.
    Broken(FetchError),
    /// The server said so.
    Said(FetchError),
}

/// What the server's errors are when their kind (SQLSTATE) does not tell.
const CODES: [(u16, Kind); 15] = [
    (1044, Kind::Rights),  // database access denied
    (1045, Kind::Login),   // access denied
    (1142, Kind::Rights),  // table access denied
    (1143, Kind::Rights),  // column access denied
    (1203, Kind::Passing), // too many connections of this user
    (1226, Kind::Passing), // resource limit of this user
    (1227, Kind::Rights),  // privilege missing
    (1251, Kind::Login),   // login of an unknown kind
    (1295, Kind::Query),   // not a statement that can be prepared
    (1370, Kind::Rights),  // routine access denied
    (1698, Kind::Login),   // access denied without a password
    (1792, Kind::Write),   // in a transaction that only reads
    (1836, Kind::Write),   // server that only reads
    (1969, Kind::Time),    // MariaDB's limit of time
    (3024, Kind::Time),    // MySQL's limit of time
];

/// Beginnings of SQLSTATE that are the query's fault: data, cardinality, syntax.
const QUERY: [&str; 4] = ["0A", "21", "22", "42"];

#[derive(Clone, Copy)]
enum Kind {
    Login,
    Rights,
    Query,
    Write,
    Time,
    Passing,
}

/// An error of the library for people.
pub(super) fn failure(endpoint: &Endpoint, error: &Error) -> Failure {
    match error {
        Error::Server(error) => Failure::Said(said(endpoint, error)),
        Error::Io(IoError::Tls(error)) => {
            Failure::Broken(endpoint.failed(&format!("no TLS: {error}")))
        }
        Error::Io(IoError::Io(error)) if is_too_large(error) => {
            Failure::Said(endpoint.permanent("a row is larger than a fetch may bring"))
        }
        Error::Io(IoError::Io(error)) if is_of_tls(error) => {
            Failure::Broken(endpoint.failed(&format!("no TLS: {error}")))
        }
        Error::Io(IoError::Io(error)) => {
            let text = error.to_string();
            let words = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
            Failure::Broken(endpoint.failed(&format!("cannot connect, or not any longer: {words}")))
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Failure::Said(endpoint.failed("the server has no TLS"))
        }
        Error::Driver(DriverError::PacketTooLarge) => {
            Failure::Said(endpoint.permanent("a row is larger than a fetch may bring"))
        }
        // The rest can hold values.
        Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            Failure::Broken(endpoint.failed("the connection broke off"))
        }
    }
}

/// Its type is a library's that we do not name.
fn is_too_large(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Other && error.to_string().contains("larger than")
}

fn is_of_tls(error: &std::io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<rustls::Error>())
}

fn said(endpoint: &Endpoint, error: &ServerError) -> FetchError {
    let ServerError { code, message, state } = error;
    let listed = CODES.iter().find(|(known, _)| known == code).map(|(_, kind)| *kind);
    let kind = listed.unwrap_or_else(|| {
        let is_query = QUERY.iter().any(|beginning| state.starts_with(beginning));
        if is_query { Kind::Query } else { Kind::Passing }
    });
    match kind {
        // The server would name the user and its host.
        Kind::Login => endpoint.failed("refuses the user or the password"),
        Kind::Rights => endpoint.failed("refuses this user what the query asks for"),
        Kind::Query => {
            let message = without_query(message);
            endpoint.permanent(&format!("config.query: {message} ({code})"))
        }
        Kind::Write => endpoint.permanent("config.query: it does more than read"),
        Kind::Time => endpoint.failed("the query took longer than a fetch may"),
        Kind::Passing => endpoint.failed(&format!("{message} ({code})")),
    }
}

/// Of `… near '…' at line 1` the query itself, which can hold what is not for all, is left out.
fn without_query(message: &str) -> String {
    match (message.split_once(" near '"), message.rsplit_once(" at line ")) {
        (Some((before, _)), Some((_, line))) => format!("{before} at line {line}"),
        (Some((before, _)), None) => before.to_owned(),
        (None, _) => message.to_owned(),
    }
}
