//! Functions that need a network. A policy may name them, so that it can be shared with an OPA;
//! a decision that comes to one is an error.

use regorus::Value;

use super::{Failure, Row};

pub(super) const TABLE: &[Row] =
    &[Row("http.send", 1, http_send), Row("net.lookup_ip_addr", 1, lookup_ip_addr)];

fn http_send(_: &[Value]) -> Result<Value, Failure> {
    Err(Failure::Error(
        "the embedded engine sends no requests; publish what is asked for as data, or run the \
         agent with --engine opa"
            .to_owned(),
    ))
}

fn lookup_ip_addr(_: &[Value]) -> Result<Value, Failure> {
    Err(Failure::Error(
        "the embedded engine looks up no names; publish the addresses as data, or run the agent \
         with --engine opa"
            .to_owned(),
    ))
}
