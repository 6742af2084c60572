//! A value of MySQL or MariaDB becomes JSON by the type of its column.
//!
//! | type | JSON |
//! |---|---|
//! | integers, `YEAR`, `BIT` | the number, also beyond 64 bits of sign |
//! | `DECIMAL` | the number with the digits it has |
//! | `FLOAT`, `DOUBLE` | the shortest number that reads back as the same |
//! | `BOOL` | `0` or `1`: it is `TINYINT(1)` |
//! | `DATE` | `2024-05-01` |
//! | `DATETIME` | `2024-05-01T12:30:00.5` |
//! | `TIMESTAMP` | `2024-05-01T12:30:00.5+00:00` |
//! | `TIME` | `-12:30:00.5`; hours may be more than 24 |
//! | `JSON` | the document itself; of MariaDB, which keeps it as text, only where `json_columns` says so |
//! | `BINARY`, `BLOB`, geometry, other bytes that are no text | base64 |
//! | everything else (text, `ENUM`, `SET`, `UUID`, …) | text |

use std::fmt::Write as _;

use base64ct::{Base64, Encoding as _};
use mysql_async::consts::ColumnType;
use mysql_async::{Column, Value};
use serde::de::IgnoredAny;

use crate::fetch::rows::{write_number, write_string};

/// The character set of what is not text.
const BINARY: u16 = 63;

/// How the values of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Decimal,
    Bits,
    Json,
    Date,
    DateTime,
    /// A moment, told in the session's time zone, which is UTC.
    Timestamp,
    Bytes,
    Text,
}

/// Text that is said to be JSON and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Form {
    /// The form of a column's values; numbers say themselves what they are.
    pub(super) fn of(column: &Column) -> Self {
        match column.column_type() {
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Self::Decimal,
            ColumnType::MYSQL_TYPE_BIT => Self::Bits,
            ColumnType::MYSQL_TYPE_JSON => Self::Json,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Self::Date,
            ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => Self::DateTime,
            ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => Self::Timestamp,
            ColumnType::MYSQL_TYPE_GEOMETRY => Self::Bytes,
            _ if column.character_set() == BINARY => Self::Bytes,
            _ => Self::Text,
        }
    }

    /// Appends a value to a JSON text.
    ///
    /// # Errors
    /// It does not have this form.
    pub(super) fn write(self, text: &mut String, value: &Value) -> Result<(), Malformed> {
        match value {
            Value::NULL => text.push_str("null"),
            Value::Int(number) => put(text, format_args!("{number}")),
            Value::UInt(number) => put(text, format_args!("{number}")),
            Value::Float(number) => float(text, number),
            Value::Double(number) => float(text, number),
            Value::Bytes(bytes) => self.bytes(text, bytes)?,
            Value::Date(year, month, day, hour, minute, second, micros) => {
                put(text, format_args!("\"{year:04}-{month:02}-{day:02}"));
                if self != Self::Date {
                    put(text, format_args!("T{hour:02}:{minute:02}:{second:02}"));
                    fraction(text, *micros);
                }
                text.push_str(if self == Self::Timestamp { "+00:00\"" } else { "\"" });
            }
            Value::Time(negative, days, hours, minutes, seconds, micros) => {
                let hours = days.saturating_mul(24).saturating_add(u32::from(*hours));
                let sign = if *negative { "-" } else { "" };
                put(text, format_args!("\"{sign}{hours:02}:{minutes:02}:{seconds:02}"));
                fraction(text, *micros);
                text.push('"');
            }
        }
        Ok(())
    }

    fn bytes(self, text: &mut String, bytes: &[u8]) -> Result<(), Malformed> {
        match (self, std::str::from_utf8(bytes)) {
            (Self::Bits, _) => {
                let number = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                put(text, format_args!("{number}"));
            }
            (Self::Bytes, _) | (_, Err(_)) => write_string(text, &Base64::encode_string(bytes)),
            (Self::Decimal, Ok(digits)) => write_number(text, without_zeros(digits)),
            (Self::Json, Ok(json)) => {
                // What is not JSON here would not stay inside of this value.
                serde_json::from_str::<IgnoredAny>(json).map_err(|_| Malformed)?;
                text.push_str(json);
            }
            (_, Ok(plain)) => write_string(text, plain),
        }
        Ok(())
    }
}

/// Digits as JSON has them: `ZEROFILL` puts zeros before.
fn without_zeros(digits: &str) -> &str {
    let trimmed = digits.trim_start_matches('0');
    match digits.len().checked_sub(trimmed.len()) {
        None | Some(0) => digits,
        // One zero stays before a point, or alone.
        Some(zeros) if !trimmed.starts_with(|first: char| first.is_ascii_digit()) => {
            digits.get(zeros - 1..).unwrap_or(digits)
        }
        Some(_) => trimmed,
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = text.write_fmt(what);
}

/// JSON has no number for what is not finite; nor has MySQL.
fn float(text: &mut String, number: &impl serde::Serialize) {
    text.push_str(serde_json::to_string(number).as_deref().unwrap_or("null"));
}

fn fraction(text: &mut String, micros: u32) {
    if micros > 0 {
        let digits = format!("{micros:06}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, value: &Value) -> Result<String, Malformed> {
        let mut text = String::new();
        form.write(&mut text, value).map(|()| text)
    }

    #[test]
    fn values_keep_every_digit_and_moments_are_iso() {
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        for (form, value, expected) in [
            (Form::Text, Value::NULL, "null"),
            (Form::Text, Value::Int(i64::MIN), "-9223372036854775808"),
            (Form::Text, Value::UInt(u64::MAX), "18446744073709551615"),
            (Form::Text, Value::Float(0.1), "0.1"),
            (Form::Text, Value::Double(1e300), "1e+300"),
            (
                Form::Decimal,
                bytes("123456789012345678901234567890.50"),
                "123456789012345678901234567890.50",
            ),
            (Form::Decimal, bytes("00012.50"), "12.50"),
            (Form::Decimal, bytes("000.50"), "0.50"),
            (Form::Decimal, bytes("0000"), "0"),
            (Form::Decimal, bytes("-0.5"), "-0.5"),
            (Form::Bits, Value::Bytes(vec![1, 2]), "258"),
            (Form::Bits, Value::Bytes(vec![255; 8]), "18446744073709551615"),
            (Form::Json, bytes(r#"{"a": 1.50}"#), r#"{"a": 1.50}"#),
            (Form::Date, Value::Date(2024, 5, 1, 0, 0, 0, 0), "\"2024-05-01\""),
            (Form::DateTime, Value::Date(2024, 5, 1, 0, 0, 0, 0), "\"2024-05-01T00:00:00\""),
            (
                Form::DateTime,
                Value::Date(2024, 5, 1, 12, 30, 0, 500_000),
                "\"2024-05-01T12:30:00.5\"",
            ),
            (
                Form::Timestamp,
                Value::Date(2024, 5, 1, 12, 30, 0, 1),
                "\"2024-05-01T12:30:00.000001+00:00\"",
            ),
            (Form::Text, Value::Time(true, 2, 3, 4, 5, 0), "\"-51:04:05\""),
            (Form::Bytes, bytes("text"), "\"dGV4dA==\""),
            (Form::Text, Value::Bytes(vec![255]), "\"/w==\""),
            (Form::Text, bytes("a\"b"), r#""a\"b""#),
        ] {
            assert_eq!(written(form, &value).as_deref(), Ok(expected), "{value:?}");
        }
        assert_eq!(written(Form::Json, &bytes("1}, {")), Err(Malformed));
    }
}
