//! For how long an answer is held, and what it says then (`spec/critical-updates.md` §6).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

/// Seconds for which an answer is held.
const WAIT: HeaderName = HeaderName::from_static("x-wait-timeout");
/// What is answered after that.
const POLICY: HeaderName = HeaderName::from_static("x-timeout-policy");

/// For how long an answer is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Not at all.
    AtOnce,
    /// No longer than this.
    Within(Duration),
    /// As long as it takes, and its caller stays.
    Endless,
}

/// What is answered if the agent did not have the write in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutPolicy {
    /// The functions' answer: the write is in the log.
    Ignore,
    /// 424.
    Fail,
}

/// How one answer is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) hold: Hold,
    pub(super) policy: TimeoutPolicy,
}

/// What became of a write here while its answer was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The engine decides by it.
    Applied,
    /// The engine refused it, or the log began anew.
    Failed,
    /// Nothing yet.
    Timeout,
    /// Nobody wanted to wait.
    NotWaited,
    /// It does not come to this agent.
    NotSubscribed,
}

// === impl Hold ===

impl Hold {
    /// A number of seconds; less than 0 is for ever.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let seconds: f64 = text.trim().parse().ok()?;
        let is_number = seconds.is_finite();
        is_number.then_some(match Duration::try_from_secs_f64(seconds) {
            Ok(Duration::ZERO) => Self::AtOnce,
            Ok(limit) => Self::Within(limit),
            // Less than 0, or more than anybody lives.
            Err(_) => Self::Endless,
        })
    }
}

// === impl TimeoutPolicy ===

impl TimeoutPolicy {
    /// `ignore` or `fail`, in any case.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let known = [("ignore", Self::Ignore), ("fail", Self::Fail)];
        let found = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
        found.map(|(_, policy)| policy)
    }
}

// === impl Wanted ===

impl Wanted {
    /// What a request wants, else what the settings say. An empty header is none.
    ///
    /// # Errors
    /// What is wrong with a header, in Permit's words.
    pub(super) fn or(self, headers: &HeaderMap) -> Result<Self, String> {
        let header = |name| {
            let text = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            text.filter(|text| !text.trim().is_empty())
        };
        let hold = header(WAIT).map_or(Ok(self.hold), |text| {
            Hold::read(&text).ok_or_else(|| {
                format!("Invalid X-Wait-timeout header, expected float, got '{text}'")
            })
        })?;
        let policy = header(POLICY).map_or(Ok(self.policy), |text| {
            TimeoutPolicy::read(&text).ok_or_else(|| {
                format!(
                    "Invalid X-Timeout-Policy header, expected one of ['ignore', 'fail'], got \
                     '{text}'"
                )
            })
        })?;
        Ok(Self { hold, policy })
    }
}

// === impl End ===

impl End {
    /// For the answer's header.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::NotWaited | Self::NotSubscribed => "not-waited",
        }
    }

    /// What is wrong with it, for who wants to know: Permit's words where it has some.
    pub(super) fn failure(self) -> Option<&'static str> {
        match self {
            Self::Applied | Self::NotWaited => None,
            Self::Failed => Some("Update was received but could not be applied"),
            Self::Timeout => Some("Timeout waiting for update to be received"),
            Self::NotSubscribed => Some(
                "The update is stored, but does not come to this agent, which has to be started \
                 with the topic policy_data",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const DEFAULTS: Wanted =
        Wanted { hold: Hold::Within(Duration::from_secs(10)), policy: TimeoutPolicy::Ignore };

    fn wanted(wait: Option<&str>, policy: Option<&str>) -> Result<Wanted, String> {
        let mut headers = HeaderMap::new();
        for (name, text) in [(WAIT, wait), (POLICY, policy)] {
            headers.extend(text.map(|text| (name, HeaderValue::from_str(text).unwrap())));
        }
        DEFAULTS.or(&headers)
    }

    #[test]
    fn seconds_are_any_number_and_less_than_none_is_for_ever() {
        for (text, hold) in [
            ("15", Hold::Within(Duration::from_secs(15))),
            ("10.0", Hold::Within(Duration::from_secs(10))),
            (" 0.25 ", Hold::Within(Duration::from_millis(250))),
            ("0", Hold::AtOnce),
            ("0.0", Hold::AtOnce),
            ("-0", Hold::AtOnce),
            ("-1", Hold::Endless),
            ("-0.5", Hold::Endless),
            ("1e300", Hold::Endless),
        ] {
            assert_eq!(wanted(Some(text), None).unwrap().hold, hold, "{text}");
        }
    }

    #[test]
    fn an_empty_header_is_none() {
        for nothing in [None, Some(""), Some("  ")] {
            assert_eq!(wanted(nothing, nothing), Ok(DEFAULTS));
        }
    }

    #[test]
    fn policies_are_two_words_in_any_case() {
        for (text, policy) in [
            ("ignore", TimeoutPolicy::Ignore),
            ("fail", TimeoutPolicy::Fail),
            ("FAIL", TimeoutPolicy::Fail),
        ] {
            assert_eq!(wanted(None, Some(text)).unwrap().policy, policy, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_in_permits_words() {
        for bad in ["soon", "nan", "inf", "-inf", "infinity", "1,5", "0x1"] {
            assert_eq!(
                wanted(Some(bad), None).unwrap_err(),
                format!("Invalid X-Wait-timeout header, expected float, got '{bad}'")
            );
        }
        assert_eq!(
            wanted(Some("0"), Some("retry")).unwrap_err(),
            "Invalid X-Timeout-Policy header, expected one of ['ignore', 'fail'], got 'retry'"
        );
    }
}
