//! Settings from the Worker's variables and secrets: `GIRASOL_<NAME>`, else OPAL's name.

use std::sync::OnceLock;

use platform::setting as read;
use protocol::Problem;
use protocol::opal::data::Sources;
use protocol::repository::Source;
use publish::webhook::Webhooks;
use token::{Authority, Settings};
use worker::{Env, console_error, console_warn};

/// The isolate's authority: a Worker's variables never change while it runs, and keys are
/// slow to read.
static AUTHORITY: OnceLock<Result<Authority, String>> = OnceLock::new();

/// The authority that the settings describe.
///
/// # Errors
/// 503 that names the setting if a key cannot be read.
pub(crate) fn authority(env: &Env) -> Result<&'static Authority, Problem> {
    let made = AUTHORITY.get_or_init(|| {
        let settings = Settings {
            master_token: read(env, "AUTH_MASTER_TOKEN"),
            private_key: read(env, "AUTH_PRIVATE_KEY"),
            public_keys: read(env, "AUTH_PUBLIC_KEY"),
            bundle_signing: read(env, "BUNDLE_SIGNING"),
            bundle_signing_key: read(env, "BUNDLE_SIGNING_KEY"),
            audience: read(env, "AUTH_JWT_AUDIENCE"),
            issuer: read(env, "AUTH_JWT_ISSUER"),
        };
        let made = Authority::new(&settings).inspect_err(|error| console_error!("{error}"));
        if let Some(warning) = made.as_ref().ok().and_then(Authority::warning) {
            console_warn!("{warning}");
        }
        made.map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| Problem::unavailable(error.clone()))
}

/// What `GET /statistics` says where they are off, in OPAL's words.
pub(crate) const NO_STATISTICS: &str = "This OPAL server does not have statistics turned on. To \
    turn on, set this config var: OPAL_STATISTICS_ENABLED=true";

/// True if clients are asked who they are, and that is shown.
pub(crate) fn statistics(env: &Env) -> bool {
    let on = |value: String| matches!(value.trim().to_ascii_lowercase().as_str(), "true" | "1");
    read(env, "STATISTICS_ENABLED").is_some_and(on)
}

/// What a policy must be to get in.
///
/// # Errors
/// 503 that names the setting.
pub(crate) fn gate(env: &Env) -> Result<Option<rego::gate::Options>, Problem> {
    repository::settings::gate(&|name| read(env, name))
}

/// Where clients fetch first; nowhere if that is not set.
///
/// # Errors
/// 503 that names the setting.
pub(crate) fn sources(env: &Env) -> Result<Sources, Problem> {
    Sources::of_setting(read(env, "DATA_CONFIG_SOURCES").as_deref()).map_err(|problem| {
        Problem::unavailable(format!("the setting DATA_CONFIG_SOURCES: {}", problem.detail))
    })
}

/// What the default scope follows; none if its policy is pushed.
///
/// # Errors
/// 503 that names the setting.
pub(crate) fn source(env: &Env) -> Result<Option<Source>, Problem> {
    repository::settings::source(&|name| read(env, name))
}

/// What is expected of webhooks.
///
/// # Errors
/// 503 that names the setting.
pub(crate) fn webhooks(env: &Env) -> Result<Webhooks, Problem> {
    let setting = |name: &str| read(env, &format!("POLICY_REPO_WEBHOOK_{name}"));
    let enforce_branch =
        repository::settings::flag(&|name| read(env, name), "POLICY_REPO_WEBHOOK_ENFORCE_BRANCH")?;
    Webhooks::new(setting("SECRET"), setting("PARAMS").as_deref(), enforce_branch)
}

/// Scheme and host by which clients reach us, where the address of their requests is not it.
pub(crate) fn origin(env: &Env) -> Option<String> {
    read(env, "PUBLIC_URL").map(|url| url.trim().trim_end_matches('/').to_owned())
}

/// How many clients may begin in how much time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadLimit {
    pub(crate) most: u32,
    pub(crate) per_ms: u64,
    /// As who exceeds it is told.
    pub(crate) shown: String,
}

/// The limit for clients that begin, such as `10 per second` or `100/5 minutes`.
///
/// # Errors
/// 503 that names the setting.
pub(crate) fn load_limit(env: &Env) -> Result<Option<LoadLimit>, Problem> {
    let Some(text) = read(env, "CLIENT_LOAD_LIMIT_NOTATION") else { return Ok(None) };
    LoadLimit::parse(&text).map(Some).ok_or_else(|| {
        Problem::unavailable(
            "the setting CLIENT_LOAD_LIMIT_NOTATION: give a limit such as `10 per second` or \
             `100 per 5 minutes`",
        )
    })
}

impl LoadLimit {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase().replace('/', " per ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (most, many, unit) = match words.as_slice() {
            [most, "per", unit] => (most, "1", unit),
            [most, "per", many, unit] => (most, *many, unit),
            _ => return None,
        };
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let seconds = match unit {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "month" => 2_592_000,
            "year" => 31_104_000,
            _ => return None,
        };
        let (most, many) = (most.parse::<u32>().ok()?, many.parse::<u64>().ok()?);
        let per_ms = many.checked_mul(seconds)?.checked_mul(1_000).filter(|it| *it > 0)?;
        Some(Self { most, per_ms, shown: format!("{most} per {many} {unit}") })
    }
}

/// Which origins a browser may ask us from: all, or those that are listed.
pub(crate) fn allowed_origins(env: &Env) -> Vec<String> {
    let text = read(env, "ALLOWED_ORIGINS").unwrap_or_else(|| "*".to_owned());
    let listed = serde_json::from_str::<Vec<String>>(&text);
    listed.unwrap_or_else(|_| text.split(',').map(|origin| origin.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_opal_reads_them() {
        let read = |text: &str| LoadLimit::parse(text).map(|it| (it.most, it.per_ms, it.shown));
        assert_eq!(read("10 per second"), Some((10, 1_000, "10 per 1 second".to_owned())));
        assert_eq!(read("2/minute"), Some((2, 60_000, "2 per 1 minute".to_owned())));
        assert_eq!(read("100 per 5 Minutes"), Some((100, 300_000, "100 per 5 minute".to_owned())));
        for text in ["", "10", "ten per second", "10 per fortnight", "10 per 0 seconds", "-1/day"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
