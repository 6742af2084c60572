//! What differs from OPA, and why. A difference that is gone fails the suite until it is no longer
//! listed here.

use crate::ask::Answer;

/// A part of requests' names ([`crate::ask::Ask::name`]), each of which is answered otherwise, and
/// why.
pub(crate) type Known = (&'static str, &'static str);

const FUNCTION: &str = "OPA checks types, and refuses to ask for a function; here it has no value";
const NUMBERS: &str = "OPA computes with more digits than a float of 64 bits has";
const LETTERS: &str = "to Go, ß has no capital letter";
const MEMBERS: &str =
    "a rule of members by a variable is undefined without any, not an empty object";
const OPERANDS: &str = "an operand that is no number is an error, not undefined";
const KEYS: &str = "a member of a rule is not looked for alone, so that another's conflict shows";
const RANGE: &str = "a number that is larger than a float of 64 bits is refused, not kept as text";
const UNICODE: &str = "half of a surrogate pair is refused, not replaced";
const STATEMENTS: &str = "what is no query is 400 here, as every other query that cannot be read";
const OUTPUT: &str = "a function has no place for its value among its arguments, or is an operator";
const UNUSED: &str = "a variable that is declared and not used is no mistake";

pub(crate) const KNOWN: &[Known] = &[
    ("/data/apart/f", FUNCTION),
    ("/data/apart/product", NUMBERS),
    ("/data/apart/sum", NUMBERS),
    ("/data/apart/sharp", LETTERS),
    ("/data/apart/without_members", MEMBERS),
    (r#"/broken/divides {"input":{"user":{"blocked""#, OPERANDS),
    (r#"/broken/divides {"user":{"blocked""#, OPERANDS),
    (r#"/broken/keyed/a {"input":{"user":"ann""#, KEYS),
    (r#"/broken/keyed/a {"user":"ann""#, KEYS),
    ("1e400", RANGE),
    (r"\ud800", UNICODE),
    ("%5Cud800", UNICODE),
    ("import%20data.a", STATEMENTS),
    (r#""import data.a""#, STATEMENTS),
    ("package%20a", STATEMENTS),
    (r#""package a""#, STATEMENTS),
    ("default%20x", STATEMENTS),
    (r#""default x"#, STATEMENTS),
    ("plus%281", OUTPUT),
    (r#""plus(1"#, OUTPUT),
    ("some%20z", UNUSED),
    (r#""some z""#, UNUSED),
];

/// True if OPA, which checks types, refuses a place that no value of a rule has, and there is nothing
/// for us: no decision in both cases.
pub(crate) fn is_no_place(opas: &Answer, ours: &Answer) -> bool {
    let refused = opas.status == 500 && opas.body.contains("rego_type_error: undefined ref");
    let nothing = match ours.status {
        200 => !ours.body.contains("\"result\""),
        status => status == 404,
    };
    refused && nothing
}
