//! Keeps the agent's token valid: `POST /token/renew` when two thirds of its life are over,
//! so that a hub that cannot be reached for a while does not cost the agent its place.
//!
//! The renewed token is kept beside the state, for the agent's owner only, with the digest
//! of the token of the settings that it came from: a token that the operator changed wins.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use url::Url;

use super::link::beside;
use crate::core::backoff::Backoff;
use crate::http;
use crate::settings::Secret;

/// The file in the data folder.
const FILE: &str = "token.json";
/// Looked at again after so long at most: clocks are set, machines sleep.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// What a token says of its life, in seconds since 1970. It is not verified here: whoever
/// the agent shows it to does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Life {
    iat: u64,
    exp: u64,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Digest of the token of the settings.
    of: String,
    token: String,
}

#[derive(Deserialize)]
struct Renewed {
    token: String,
}

/// Why there is no new token.
enum Refusal {
    /// An opal-server: there never is one.
    NoRenewal,
    Failed(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// Renews a token again and again.
pub(super) struct Renewal {
    url: Url,
    http: reqwest::Client,
    file: Option<PathBuf>,
    of: String,
    token: Secret,
}

impl Life {
    fn read(token: &Secret) -> Option<Self> {
        let claims = token.expose().split('.').nth(1)?;
        let claims = Base64UrlUnpadded::decode_vec(claims).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// Seconds until it is time to renew.
    fn left(self, now: u64) -> u64 {
        let life = self.exp.saturating_sub(self.iat);
        self.iat.saturating_add(life.saturating_mul(2) / 3).saturating_sub(now)
    }
}

impl Renewal {
    /// Finds the token to start with: the one of the settings, or the one it was renewed to.
    pub(super) fn new(
        server: &Url,
        http: reqwest::Client,
        data_dir: Option<&Path>,
        configured: &Secret,
    ) -> Self {
        let of = digest(configured);
        let file = data_dir.map(|dir| dir.join(FILE));
        let kept = file.as_deref().and_then(|file| fs::read(file).ok());
        let kept = kept.and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let token = match kept.filter(|kept| kept.of == of) {
            Some(kept) => Secret::new(kept.token),
            None => configured.clone(),
        };
        let url = beside(server, &["token", "renew"]);
        Self { url, http, file, of, token }
    }

    /// The token that is valid now.
    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    /// Renews in time, and sends each new token. Ends for a token that does not say when it
    /// ends, and with the receiver.
    pub(super) async fn run(mut self, renewed: mpsc::Sender<Secret>, seed: u64) {
        let mut backoff = Backoff::new(seed);
        loop {
            let Some(life) = Life::read(&self.token) else {
                tracing::info!(
                    "the token does not say for how long it is valid; it is not renewed"
                );
                return;
            };
            let left = Duration::from_secs(life.left(now()));
            if !left.is_zero() {
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
                continue;
            }
            match self.renew().await {
                Ok(token) => {
                    backoff.reset();
                    self.token = token.clone();
                    self.keep();
                    tracing::info!("the token was renewed");
                    if renewed.send(token).await.is_err() {
                        return;
                    }
                }
                Err(Refusal::NoRenewal) => {
                    tracing::warn!(
                        "the server renews no tokens; give a new one before this one ends"
                    );
                    return;
                }
                Err(Refusal::Failed(reason)) => {
                    let wait = backoff.next_delay();
                    tracing::warn!(%reason, retry_in_ms = wait, "the token cannot be renewed");
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<Secret, Refusal> {
        let request = self.http.post(self.url.clone()).bearer_auth(self.token.expose());
        let response = request.send().await.map_err(http::failure)?;
        let status = response.status();
        let body = response.bytes().await.map_err(http::failure)?;
        if status == reqwest::StatusCode::NOT_FOUND {
            return Err(Refusal::NoRenewal);
        }
        if !status.is_success() {
            return Err(format!("answered {status}{}", http::detail(&body)).into());
        }
        let Renewed { token } =
            serde_json::from_slice(&body).map_err(|_| "answered no token".to_owned())?;
        let token = Secret::new(token);
        // One that is to be renewed at once would be renewed for ever.
        match Life::read(&token) {
            Some(life) if life.left(now()) == 0 => {
                Err("answered a token that is old already; set the clocks right".to_owned().into())
            }
            _ => Ok(token),
        }
    }

    /// A token that cannot be kept is only lost with the process.
    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let kept = Kept { of: self.of.clone(), token: self.token.expose().to_owned() };
        if let Err(error) = write_private(file, &kept) {
            tracing::warn!(%error, "the renewed token cannot be kept in --data-dir");
        }
    }
}

/// Whole or not at all, and for its owner only.
pub(super) fn write_private(file: &Path, kept: &impl Serialize) -> std::io::Result<()> {
    let new = file.with_extension("new");
    // One that was left behind may have other rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut open = fs::OpenOptions::new();
    let mut to = open.write(true).create_new(true).mode(0o600).open(&new)?;
    to.write_all(&serde_json::to_vec(kept)?)?;
    to.sync_all()?;
    fs::rename(&new, file)
}

fn digest(token: &Secret) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(token.expose()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Secret {
        Secret::new(format!("e30.{}.c2ln", Base64UrlUnpadded::encode_string(claims.as_bytes())))
    }

    #[test]
    fn a_token_is_renewed_when_two_thirds_of_its_life_are_over() {
        let life = Life::read(&token(r#"{"iat":1000,"exp":1300,"sub":"x"}"#)).unwrap();
        assert_eq!(life.left(1_000), 200);
        assert_eq!(life.left(1_199), 1);
        assert_eq!(life.left(1_200), 0);
        assert_eq!(life.left(9_999), 0);
        for none in ["{}", "[]", r#"{"exp":5}"#] {
            assert_eq!(Life::read(&token(none)), None, "{none}");
        }
        assert_eq!(Life::read(&Secret::new("opaque".to_owned())), None);
    }

    #[test]
    fn a_renewed_token_survives_a_restart_until_the_operator_gives_another_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let server = Url::parse("http://127.0.0.1:1/base").unwrap();
        let start = |configured: &str| {
            let http = http::client(Duration::from_secs(1)).unwrap();
            Renewal::new(&server, http, Some(dir.path()), &Secret::new(configured.to_owned()))
        };
        let mut renewal = start("first");
        assert_eq!(renewal.url.as_str(), "http://127.0.0.1:1/base/token/renew");
        assert_eq!(renewal.token().expose(), "first");
        renewal.token = Secret::new("renewed".to_owned());
        renewal.keep();
        assert_eq!(start("first").token().expose(), "renewed");
        assert_eq!(start("second").token().expose(), "second");
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join(FILE), "garbage").unwrap();
        assert_eq!(start("first").token().expose(), "first");
    }
}
