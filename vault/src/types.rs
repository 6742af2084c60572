//! Types of facts, and which values they take (`spec/opa-and-grants.md` §4.4).
//!
//! To add a type that is always there, add a row to [`BUILT_IN`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

use base64ct::{Base64, Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use email_address::EmailAddress;
use protocol::limits;
use protocol::plane::grants::check_domain;
use regex::RegexBuilder;
use serde::de::IgnoredAny;
use speedate::{Date, DateTime};
use url::Url;
use uuid::Uuid;

/// Bytes that a pattern may take once it is compiled: what repeats a thousand times a thousand
/// things is refused.
const MAX_COMPILED_BYTES: usize = 256 << 10;
const MAX_NESTING: u32 = 32;

/// A type that is always there.
#[derive(Clone, Copy)]
pub struct BuiltIn {
    /// Its name.
    pub slug: &'static str,
    /// What its values look like, for people.
    pub validation: &'static str,
    is_valid: fn(&str) -> bool,
}

const fn of(slug: &'static str, validation: &'static str, is_valid: fn(&str) -> bool) -> BuiltIn {
    BuiltIn { slug, validation, is_valid }
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = &[
    of("any", "anything", |_| true),
    of("ascii", "ASCII characters", str::is_ascii),
    of("alpha", "letters a to z", |it| every(it, |byte| byte.is_ascii_alphabetic())),
    of("alphanumeric", "letters a to z and digits", |it| {
        every(it, |byte| byte.is_ascii_alphanumeric())
    }),
    of("number", "a decimal number, such as -12.5", is_number),
    of("email", "an email address", is_email),
    of("phone", PHONE, is_phone),
    of("phone_number", PHONE, is_phone),
    of("url", "an http or https URL with a host", is_url),
    of("hostname", "a fully qualified domain name in lower case", |it| check_domain(it).is_ok()),
    of("uuid", "a UUID with dashes", |it| it.len() == 36 && Uuid::try_parse(it).is_ok()),
    of("ip", "an IPv4 or IPv6 address", |it| IpAddr::from_str(it).is_ok()),
    of("ipv4", "an IPv4 address", |it| Ipv4Addr::from_str(it).is_ok()),
    of("ipv6", "an IPv6 address", |it| Ipv6Addr::from_str(it).is_ok()),
    of("date", "a date, such as 1815-12-10", |it| it.len() == 10 && Date::parse_str(it).is_ok()),
    of("datetime", "a time with a zone, such as 1815-12-10T12:00:00Z", |it| {
        DateTime::parse_str(it).is_ok_and(|it| it.time.tz_offset.is_some())
    }),
    of("ssn", "a social security number, such as 123-45-6789", |it| ssn(it).is_some()),
    of("ssnstrict", "a social security number that can have been given to somebody", |it| {
        ssn(it).is_some_and(|(area, group, serial)| {
            area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
        })
    }),
    of("credit_card", "a card's number of 12 to 19 digits with its check digit", is_card),
    of("iban", "an IBAN with its check digits", is_iban),
    of("latitude", "degrees from -90 to 90", |it| is_number(it) && within(it, 90.0)),
    of("longitude", "degrees from -180 to 180", |it| is_number(it) && within(it, 180.0)),
    of("postal_code_us", "a ZIP code, such as 12345 or 12345-6789", |it| {
        match it.split_once('-') {
            Some((zip, more)) => is_digits(zip, 5) && is_digits(more, 4),
            None => is_digits(it, 5),
        }
    }),
    of("json", "a JSON text", |it| serde_json::from_str::<IgnoredAny>(it).is_ok()),
    of("base64", "base64, with the plain or the URL's alphabet", |it| {
        Base64::decode_vec(it).is_ok()
            || Base64Unpadded::decode_vec(it).is_ok()
            || Base64UrlUnpadded::decode_vec(it).is_ok()
    }),
];

const PHONE: &str = "a phone number of 7 to 15 digits, such as +1 (555) 123-4567";

impl std::fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BuiltIn").field(&self.slug).finish()
    }
}

/// The built-in type of this name.
#[must_use]
pub fn built_in(slug: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|it| it.slug == slug)
}

impl BuiltIn {
    /// Checks a value.
    ///
    /// # Errors
    /// What the type's values look like.
    pub fn check(&self, value: &str) -> Result<(), String> {
        check_size(value)?;
        let fits = !value.is_empty() && (self.is_valid)(value);
        fits.then_some(()).ok_or_else(|| format!("value: give {}", self.validation))
    }
}

/// Somebody's own type: an expression that the whole of a value must match.
#[derive(Debug)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let limit = limits::MAX_PATTERN_BYTES;
        if pattern.len() > limit {
            return Err(format!("validation: at most {limit} bytes"));
        }
        // By itself first: `a)(b` is no expression, and would be one between parentheses.
        for text in [pattern.to_owned(), format!("^(?:{pattern})$")] {
            let mut builder = RegexBuilder::new(&text);
            builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES);
            let made = builder.nest_limit(MAX_NESTING).build().map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    "validation: the expression is too large; repeat less in it".to_owned()
                }
                _ => "validation: give a regular expression, such as E[0-9]{6}; look-around and \
                      back-references are none here"
                    .to_owned(),
            })?;
            if text.len() > pattern.len() {
                return Ok(Self(made));
            }
        }
        Err("validation: give a regular expression".to_owned())
    }

    /// Checks a value.
    ///
    /// # Errors
    /// The expression that it does not match.
    pub fn check(&self, value: &str) -> Result<(), String> {
        check_size(value)?;
        if !value.is_empty() && self.0.is_match(value) {
            return Ok(());
        }
        Err("value: it does not match the type's validation; GET /api/v1/fact_types shows that"
            .to_owned())
    }
}

/// Checks a value of a type that takes anything.
///
/// # Errors
/// It is empty, or over the limit.
pub fn check_size(value: &str) -> Result<(), String> {
    let limit = limits::MAX_FACT_BYTES;
    match value.len() {
        0 => Err("value: it may not be empty".to_owned()),
        bytes if bytes > limit => Err(format!("value: {bytes} bytes, and the limit is {limit}")),
        _ => Ok(()),
    }
}

fn every(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(fits)
}

fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && every(text, |byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let are = |it: &str| !it.is_empty() && every(it, |byte| byte.is_ascii_digit());
    are(whole) && are(part)
}

fn within(text: &str, limit: f64) -> bool {
    text.parse::<f64>().is_ok_and(|it| it.abs() <= limit)
}

/// With a domain that has a dot: an address of a machine's own network is none that anybody gives.
fn is_email(text: &str) -> bool {
    EmailAddress::from_str(text).is_ok_and(|it| {
        it.domain().contains('.') && it.as_str() == text && !text.contains(['<', '>'])
    })
}

fn is_phone(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let fits = |byte: u8| byte.is_ascii_digit() || b" .-()".contains(&byte);
    (7..=15).contains(&digits)
        && every(number, fits)
        && number.starts_with(|first: char| first.is_ascii_digit() || first == '(')
        && number.len() <= 32
}

fn is_url(text: &str) -> bool {
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain
        && Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && has_host(&url))
}

/// Area, group and serial of `^\d{3}[- ]?\d{2}[- ]?\d{4}$`.
fn ssn(text: &str) -> Option<(u32, u32, u32)> {
    let (area, rest) = text.split_at_checked(3)?;
    let rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
    let (group, rest) = rest.split_at_checked(2)?;
    let serial = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
    let is_one = is_digits(area, 3) && is_digits(group, 2) && is_digits(serial, 4);
    is_one.then_some(())?;
    Some((area.parse().ok()?, group.parse().ok()?, serial.parse().ok()?))
}

/// Luhn's check, over digits in groups.
fn is_card(text: &str) -> bool {
    let plain = |byte: &u8| *byte != b' ' && *byte != b'-';
    let bytes: Vec<u8> = text.bytes().filter(plain).collect();
    let digits = bytes.iter().rev().map(|byte| u32::from(byte.wrapping_sub(b'0')));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    (12..=19).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_digit)
        && sum.is_multiple_of(10)
}

/// ISO 13616: the first four moved to the end, letters as numbers, modulo 97.
fn is_iban(text: &str) -> bool {
    let plain: String = text.chars().filter(|it| *it != ' ').collect();
    let Some((head, account)) = plain.split_at_checked(4) else { return false };
    let (country, check) = head.split_at_checked(2).unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    let is_form = (15..=34).contains(&plain.len())
        && every(country, |byte| byte.is_ascii_uppercase())
        && is_digits(check, 2)
        && every(account, fits);
    let remainder = account.chars().chain(head.chars()).try_fold(0_u32, |sum, it| {
        let value = it.to_digit(36)?;
        let shift = if value > 9 { 100 } else { 10 };
        Some((sum * shift + value) % 97)
    });
    is_form && remainder == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_types_take_what_they_say_and_nothing_else() {
        let long = format!("{}@example.com", "a".repeat(65));
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("any", &["x", "ü", " "], &[""]),
            ("ascii", &["a b~"], &["ü"]),
            ("alpha", &["abC"], &["a1", "ä"]),
            ("alphanumeric", &["a1"], &["a 1"]),
            ("number", &["1", "-12.5", "+0"], &["1e5", ".", "1.", "NaN", "٣"]),
            (
                "email",
                &["ada@example.com", "a.b+c@x.example.org"],
                &["ada", "ada@", "@x.org", "a@b", "Ada <a@b.org>", &long],
            ),
            (
                "phone",
                &["+1 (555) 123-4567", "5551234567"],
                &["+1", "555-CALL-NOW", "+1234567890123456", "٣٣٣٣٣٣٣٣"],
            ),
            ("phone_number", &["0301 234567"], &["--------"]),
            (
                "url",
                &["https://example.com/a?b", "http://127.0.0.1:80"],
                &[
                    "example.com",
                    "ftp://example.com",
                    "https://",
                    "javascript:alert(1)",
                    "http://a b",
                ],
            ),
            ("hostname", &["www.example.com"], &["www", "WWW.example.com"]),
            (
                "uuid",
                &["0f4c1a52-1111-4222-8333-123456789abc"],
                &["0f4c", "0f4c1a52111142228333123456789abc"],
            ),
            ("ip", &["127.0.0.1", "::1"], &["127.0.0.1:80", "300.1.1.1"]),
            ("ipv4", &["10.0.0.1"], &["::1"]),
            ("ipv6", &["::1"], &["10.0.0.1"]),
            ("date", &["1815-12-10"], &["1815-13-10", "10.12.1815", "1815-12-10T00:00:00Z"]),
            (
                "datetime",
                &["1815-12-10T12:00:00Z", "2026-01-01T00:00:00+02:00"],
                &["2026-01-01", "2026-01-01T00:00:00"],
            ),
            (
                "ssn",
                &["123-45-6789", "123456789", "000 00 0000"],
                &["123-45-678", "123-45-67890", "a23-45-6789", "123--45-6789"],
            ),
            (
                "ssnstrict",
                &["123-45-6789"],
                &["000-45-6789", "666-45-6789", "900-45-6789", "123-00-6789", "123-45-0000"],
            ),
            (
                "credit_card",
                &["4111 1111 1111 1111", "378282246310005"],
                &["4111111111111112", "0", "4111x11111111111"],
            ),
            (
                "iban",
                &["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
                &["DE89370400440532013001", "GB82", "ÄÖ82WEST12345698765432"],
            ),
            ("latitude", &["-90", "48.1"], &["90.1", "1e1", "inf"]),
            ("longitude", &["180", "-0.5"], &["181"]),
            ("postal_code_us", &["12345", "12345-6789"], &["1234", "12345-678"]),
            ("json", &["{}", "1"], &["{", "{} {}"]),
            ("base64", &["aGk=", "aGk", "_-8"], &["a", "&&&&"]),
        ];
        for (slug, right, wrong) in cases {
            let of = built_in(slug).unwrap();
            for value in *right {
                assert_eq!(of.check(value), Ok(()), "{slug}: {value}");
            }
            for value in *wrong {
                let error = of.check(value).unwrap_err();
                let is_shown = value.len() > 3 && error.contains(value);
                assert!(!is_shown || of.validation.contains(value), "{slug}: {error}");
            }
        }
        assert_eq!(cases.len(), BUILT_IN.len());
        assert!(built_in("nope").is_none());
    }

    #[test]
    fn an_own_pattern_matches_the_whole_value() {
        let pattern = Pattern::new("E[0-9]{6}|x").unwrap();
        assert_eq!(pattern.check("E123456"), Ok(()));
        for wrong in ["E1234567", "aE123456", "E123456\n", "xx", ""] {
            assert!(pattern.check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_or_too_large_is_refused() {
        for bad in ["(", "a)(b", "(?=x)", "(a{1000}){1000}", &"(".repeat(2_000), &"x".repeat(2_000)]
        {
            assert!(Pattern::new(bad).unwrap_err().starts_with("validation: "), "{bad}");
        }
    }

    #[test]
    fn a_value_over_the_limit_is_refused_by_every_type() {
        let large = "a".repeat(limits::MAX_FACT_BYTES + 1);
        assert!(built_in("any").unwrap().check(&large).unwrap_err().contains("limit"));
        assert!(Pattern::new("a*").unwrap().check(&large).unwrap_err().contains("limit"));
    }
}
