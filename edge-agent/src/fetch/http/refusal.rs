//! Answers without data: what they mean, and when to ask again.

use std::time::{Duration, SystemTime};

use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

use super::ask::header;
use crate::fetch::FetchError;

/// A source that wants to be left alone for longer is asked again after this.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What to do about a status.
const ADVICE: [(u16, &str); 8] = [
    (304, "config.headers has an If-None-Match, which asks for no data"),
    (401, "are there credentials in config.headers, and are they still valid?"),
    (403, "the credentials in config.headers do not allow this"),
    (404, "is url right?"),
    (405, "is config.method right?"),
    (407, "the proxy wants credentials; give them in the agent's fetch_proxy"),
    (410, "is url right?"),
    (415, "is the content-type in config.headers right?"),
];

/// What the source said. Nothing of its body, which may repeat what it was sent.
pub(super) fn of(shown: &str, response: &Response) -> FetchError {
    let status = response.status();
    let advice = ADVICE.iter().find(|(of, _)| *of == status.as_u16());
    let wait = wait(status, response.headers(), SystemTime::now());
    let hint = match (advice, wait) {
        (Some((_, advice)), _) => format!("; {advice}"),
        (None, Some(wait)) => format!("; it wants to be asked again in {} s", wait.as_secs()),
        (None, None) if status.is_redirection() => "; it does not say where to go".to_owned(),
        (None, None) => String::new(),
    };
    let error = FetchError::new(format!("{shown} answered {status}{hint}"));
    match wait {
        Some(wait) => error.retry_after(wait),
        None => error,
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
fn wait(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = header(headers, RETRY_AFTER)?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that is over means now.
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_seconds_or_a_date_and_only_of_who_is_busy() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (status, text, seconds) in [
            (429, "30", Some(30)),
            (503, " 7 ", Some(7)),
            (503, "0", Some(0)),
            (429, "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            (429, "Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            (429, "Sun Nov  6 08:50:37 1994", Some(60)),
            (429, "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            (429, "18446744073709551615", Some(86_400)),
            (429, "Thu, 06 Nov 2994 08:49:37 GMT", Some(86_400)),
            (429, "soon", None),
            (429, "-5", None),
            (429, "1.5", None),
            (500, "30", None),
            (301, "30", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(wait(status, &headers, now), expected, "{status} {text}");
        }
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), now), None);
    }
}
