//! Types of facts, and which values they take (`spec/opa-and-grants.md` §4.4).
//!
//! Values are of the outside world, so digits and letters are those of ASCII, unless a type is
//! about more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64ct::{Base64, Encoding as _};
use email_address::{EmailAddress, Options};
use protocol::limits;
use regex::{Regex, RegexBuilder};
use serde::de::IgnoredAny;

/// Bytes of somebody's own expression, compiled: enough for each that a person writes.
const MAX_EXPRESSION_BYTES: usize = 64 << 10;
/// Groups in groups of one.
const MAX_EXPRESSION_DEPTH: u32 = 32;

/// A type that is always there.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub slug: &'static str,
    /// What its values look like, for people.
    pub validation: &'static str,
    check: Check,
}

/// How values are told.
#[derive(Clone, Copy, Debug)]
enum Check {
    /// The whole of it matches.
    Matches(&'static str),
    Is(fn(&str) -> bool),
}

use Check::{Is, Matches};

/// All of them.
pub const BUILT_IN: &[BuiltIn] = &[
    built_in("any", "anything", Is(|_| true)),
    built_in("ascii", "ASCII characters", Is(|value| !value.is_empty() && value.is_ascii())),
    built_in("alpha", "letters a to z, small or large", Matches("[A-Za-z]+")),
    built_in("alphanumeric", "letters a to z and digits", Matches("[A-Za-z0-9]+")),
    built_in("number", "a decimal number, such as -12.5", Matches(r"[-+]?[0-9]+(\.[0-9]+)?")),
    built_in("email", "an email address, such as ada@example.com", Is(is_email)),
    built_in("phone_number", PHONE, Is(is_phone)),
    built_in("phone", PHONE, Is(is_phone)),
    built_in("url", "an http or https address with a host", Is(is_url)),
    built_in("uuid", "8-4-4-4-12 hexadecimal digits", Is(is_uuid)),
    built_in("ip", "an IPv4 or IPv6 address", Is(|value| value.parse::<IpAddr>().is_ok())),
    built_in("ipv4", "an IPv4 address", Is(|value| value.parse::<Ipv4Addr>().is_ok())),
    built_in("ipv6", "an IPv6 address", Is(|value| value.parse::<Ipv6Addr>().is_ok())),
    built_in("hostname", "a host's name, such as www.example.com", Is(is_hostname)),
    built_in("date", "a date, such as 2027-01-31", Is(is_date)),
    built_in("datetime", "an RFC 3339 time, such as 2027-01-31T12:00:00Z", Is(is_datetime)),
    built_in("ssn", "nine digits, 123-45-6789", Matches("[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}")),
    built_in("ssnstrict", "a number that the SSA may have given, 123-45-6789", Is(is_strict_ssn)),
    built_in("credit_card", "12 to 19 digits with a right check digit", Is(is_credit_card)),
    built_in("iban", "an IBAN with right check digits", Is(is_iban)),
    built_in("json", "a JSON text", Is(|value| serde_json::from_str::<IgnoredAny>(value).is_ok())),
    built_in("base64", "padded base64", Is(|value| Base64::decode_vec(value).is_ok())),
    built_in("latitude", "degrees, -90 to 90", Is(|value| is_within(value, 90.0))),
    built_in("longitude", "degrees, -180 to 180", Is(|value| is_within(value, 180.0))),
    built_in("postal_code_us", "a ZIP code, 12345 or 12345-6789", Matches("[0-9]{5}(-[0-9]{4})?")),
];

const PHONE: &str = "7 to 15 digits, perhaps after a +, with spaces, dots, dashes or parentheses";

const fn built_in(slug: &'static str, validation: &'static str, check: Check) -> BuiltIn {
    BuiltIn { slug, validation, check }
}

/// The type of this name, if it is built in.
#[must_use]
pub fn find_built_in(slug: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|built_in| built_in.slug == slug)
}

/// Checks a value against a type that is built in; none if there is no such type.
///
/// # Errors
/// What the type's values look like.
#[must_use]
pub fn check_built_in(slug: &str, value: &str) -> Option<Result<(), String>> {
    let BuiltIn { validation, check, .. } = find_built_in(slug)?;
    let checked = check_size(value).and_then(|()| {
        let is_one = match check {
            Matches(expression) => matches_whole(expression, value)?,
            Is(check) => check(value),
        };
        if is_one { Ok(()) } else { Err(format!("a value of the type `{slug}` is {validation}")) }
    });
    Some(checked)
}

/// Checks a value against somebody's own pattern, which the whole of it must match.
///
/// # Errors
/// What the type's values look like, or what is wrong with the pattern.
pub fn check_own(pattern: &str, value: &str) -> Result<(), String> {
    check_size(value)?;
    check_pattern_size(pattern)?;
    if matches_whole(pattern, value)? {
        Ok(())
    } else {
        Err(format!("a value of this type matches `{pattern}`, the whole of it"))
    }
}

/// Checks somebody's own pattern.
///
/// # Errors
/// What is wrong with it.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    check_pattern_size(pattern)?;
    whole(pattern).map(drop)
}

fn check_size(value: &str) -> Result<(), String> {
    let (bytes, limit) = (value.len(), limits::MAX_FACT_BYTES);
    if bytes <= limit {
        return Ok(());
    }
    Err(format!("the value has {bytes} bytes, the limit is {limit}"))
}

fn check_pattern_size(pattern: &str) -> Result<(), String> {
    let (bytes, limit) = (pattern.len(), limits::MAX_PATTERN_BYTES);
    if bytes <= limit {
        return Ok(());
    }
    Err(format!("the pattern has {bytes} bytes, the limit is {limit}"))
}

// === expressions ===

fn matches_whole(expression: &str, value: &str) -> Result<bool, String> {
    whole(expression).map(|expression| expression.is_match(value))
}

/// An expression that matches whole texts. The engine takes time in the length of a text, whatever
/// the expression is; the limits are for memory.
fn whole(expression: &str) -> Result<Regex, String> {
    // By itself first, or `a)|(b` would be one.
    build(expression)?;
    build(&format!(r"\A(?:{expression})\z"))
}

fn build(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .size_limit(MAX_EXPRESSION_BYTES)
        .dfa_size_limit(MAX_EXPRESSION_BYTES)
        .nest_limit(MAX_EXPRESSION_DEPTH)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the pattern is too large; repeat less, and write [0-9] in place of \\d".to_owned()
            }
            error => {
                let said = error.to_string();
                // What the engine prints before that is the expression, on several lines.
                let why = said.rsplit("error: ").next().unwrap_or_default().trim();
                format!("the pattern is no regular expression: {why}")
            }
        })
}

// === checks ===

fn is_email(value: &str) -> bool {
    let plain =
        Options::default().with_required_tld().without_display_text().without_domain_literal();
    EmailAddress::parse_with_options(value, plain).is_ok()
}

/// As E.164 has it, or as people write it.
fn is_phone(value: &str) -> bool {
    let number = value.strip_prefix('+').unwrap_or(value);
    let count = number.bytes().filter(u8::is_ascii_digit).count();
    let is_part = |byte: u8| byte.is_ascii_digit() || b" .-()".contains(&byte);
    (7..=15).contains(&count) && number.bytes().all(is_part)
}

/// The parser forgives what this does not: spaces around, tabs inside, one slash or none.
fn is_url(value: &str) -> bool {
    let lower = value.get(..8).unwrap_or(value).to_ascii_lowercase();
    let begins = lower.starts_with("http://") || lower.starts_with("https://");
    let is_plain = |it: char| !it.is_whitespace() && !it.is_control() && it != '\\';
    begins
        && value.chars().all(is_plain)
        && url::Url::parse(value).is_ok_and(|url| url.host_str().is_some_and(|it| !it.is_empty()))
}

fn is_uuid(value: &str) -> bool {
    const HYPHENATED: usize = 36;
    value.len() == HYPHENATED && uuid::Uuid::try_parse(value).is_ok()
}

fn is_hostname(value: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = value.rsplit('.').next().unwrap_or_default();
    value.len() <= limits::MAX_DOMAIN_BYTES
        && value.split('.').all(is_label)
        // Otherwise it is meant to be an address.
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(value: &str) -> bool {
    speedate::Date::parse_str_rfc3339(value).is_ok()
}

fn is_datetime(value: &str) -> bool {
    value.is_ascii() && speedate::DateTime::parse_str_rfc3339(value).is_ok()
}

/// OPV's expression for this looks ahead, which no engine in linear time does, so it refuses all.
fn is_strict_ssn(value: &str) -> bool {
    let is_shaped = matches_whole("[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}", value);
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    let ((area, rest), serial_at) = (digits.split_at_checked(3).unwrap_or_default(), 2);
    let (group, serial) = rest.split_at_checked(serial_at).unwrap_or_default();
    is_shaped == Ok(true)
        && !matches!(area, "000" | "666")
        && !area.starts_with('9')
        && group != "00"
        && serial != "0000"
}

/// With the check digit of Luhn's formula (ISO/IEC 7812-1).
fn is_credit_card(value: &str) -> bool {
    let digits = || value.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits()
        .rev()
        .zip(0..)
        .map(|(digit, at)| match at % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    matches_whole("[0-9]([ -]?[0-9]){11,18}", value) == Ok(true)
        && digits().any(|digit| digit != 0)
        && sum.is_multiple_of(10)
}

/// ISO 13616: what follows the check digits, the country, and these are a number that leaves 1 of
/// 97, letters being 10 to 35.
fn is_iban(value: &str) -> bool {
    let plain = value.replace(' ', "");
    let Some((head, account)) = plain.split_at_checked(4) else { return false };
    let numbers = account.bytes().chain(head.bytes()).map(|byte| match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'A'..=b'Z' => Some(u32::from(byte - b'A') + 10),
        _ => None,
    });
    let rest = numbers.into_iter().try_fold(0, |rest, number| {
        let number = number?;
        Some((rest * if number > 9 { 100 } else { 10 } + number) % 97)
    });
    rest == Some(1) && matches_whole("[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", &plain) == Ok(true)
}

fn is_within(value: &str, most: f64) -> bool {
    matches_whole(r"[-+]?[0-9]{1,3}(\.[0-9]+)?", value) == Ok(true)
        && value.parse::<f64>().is_ok_and(|degrees| degrees.abs() <= most)
}

#[cfg(test)]
mod tests;
