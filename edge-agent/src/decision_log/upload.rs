//! Decisions are posted to a service: one list after the other, each until it is taken.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use tokio::sync::oneshot;
use url::Url;

use super::chunks::{Chunk, Chunks};
use super::{ServiceSettings, Shared};
use crate::core::backoff::Backoff;
use crate::http::{self, HttpError, display, failure};
use crate::runtime::seed;

/// For an answer to an upload.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether there is so much that nobody should wait.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Posts what is gathered.
pub(super) struct Uploader {
    client: reqwest::Client,
    url: Url,
    settings: ServiceSettings,
    chunks: Arc<Mutex<Chunks>>,
    shared: Arc<Shared>,
    random: fastrand::Rng,
}

impl Uploader {
    pub(super) fn new(settings: ServiceSettings, shared: Arc<Shared>) -> Result<Self, HttpError> {
        let mut url = settings.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("logs");
        }
        let chunks = Chunks::new(settings.chunk_bytes, settings.buffer_bytes);
        Ok(Self {
            client: http::client(TIMEOUT)?,
            url,
            chunks: Arc::new(Mutex::new(chunks)),
            settings,
            shared,
            random: fastrand::Rng::with_seed(seed()),
        })
    }

    /// Where what is to be posted is put.
    pub(super) fn chunks(&self) -> Arc<Mutex<Chunks>> {
        Arc::clone(&self.chunks)
    }

    /// Posts until `ending`; then what is left, once.
    pub(super) async fn run(mut self, mut ending: oneshot::Receiver<()>) {
        let mut backoff = Backoff::new(seed());
        loop {
            tokio::select! {
                () = self.due() => {}
                _ = &mut ending => break,
            }
            while let Some(chunk) = self.next() {
                if self.post(&chunk).await {
                    backoff.reset();
                    continue;
                }
                self.put_back(chunk);
                let wait = Duration::from_millis(backoff.next_delay());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = &mut ending => break,
                }
            }
        }
        while let Some(chunk) = self.next() {
            if !self.post(&chunk).await {
                break;
            }
        }
    }

    /// Returns when something is to be posted: after the delay, or when half of the room is taken.
    async fn due(&mut self) {
        let (least, most) = self.settings.delay;
        let span = most.saturating_sub(least).mul_f64(self.random.f64());
        let until = tokio::time::Instant::now() + least + span;
        while tokio::time::Instant::now() < until && !self.gathered().is_filling() {
            tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK_EVERY)).await;
        }
    }

    fn next(&self) -> Option<Chunk> {
        self.gathered().take()
    }

    fn put_back(&self, chunk: Chunk) {
        let dropped = self.gathered().put_back(chunk);
        self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn gathered(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the service took it.
    async fn post(&self, chunk: &Chunk) -> bool {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip")
            .body(chunk.body.clone());
        if let Some(token) = &self.settings.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let reason = match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                self.shared.uploaded.fetch_add(chunk.events, Ordering::Relaxed);
                return true;
            }
            Ok(answer) => format!("answered {}", answer.status().as_u16()),
            Err(error) => failure(error),
        };
        let service = display(&self.url);
        tracing::warn!("decisions wait: {service}: {reason}");
        false
    }
}
