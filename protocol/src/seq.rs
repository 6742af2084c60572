//! Sequence numbers and points in time.

use std::fmt;

use serde::{Deserialize, Serialize};
use speedate::{DateTime, DateTimeConfig, TimestampUnit};

/// Seconds to the end of the year 9999, after which no date has four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// The hub's number of an update in its scope: 1, 2, 3 … without gaps. 0 is "before the
/// first", which is also the cursor of a subscriber that has nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first update.
    pub const ZERO: Self = Self(0);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch on the wire and in the hub; in the agent's core,
/// milliseconds of a clock that never goes back. Cores only compare and add.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus a number of milliseconds.
    #[must_use]
    pub const fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to this moment, 0 if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment in UTC as RFC 3339 has it, for people: `2027-01-31T12:00:00Z`. What is later
    /// than such a date can say is its last one.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = self.0 / 1_000;
        let (seconds, milliseconds) = match seconds > LAST_SECOND {
            true => (LAST_SECOND, 0),
            false => (seconds, self.0 % 1_000),
        };
        let microseconds = u32::try_from(milliseconds * 1_000).unwrap_or_default();
        let config =
            DateTimeConfig { timestamp_unit: TimestampUnit::Second, ..DateTimeConfig::default() };
        let seconds = i64::try_from(seconds).unwrap_or_default();
        let date = DateTime::from_timestamp_with_config(seconds, microseconds, &config);
        // Whatever is not after the last second is a date.
        date.map(|date| format!("{date}Z")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_in_utc() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_001, "1970-01-01T00:00:01.001000Z"),
            (1_801_396_800_000, "2027-01-31T12:00:00Z"),
            (30_000_000_000_000, "2920-08-30T05:20:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Millis(at).rfc3339(), text);
        }
    }
}
