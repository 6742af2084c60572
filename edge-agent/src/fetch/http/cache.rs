//! Data of sources that say by an `ETag` which version it is: asked again, they need not send
//! what is here. It is kept compressed, and what nobody asked for the longest goes first.
//!
//! A source is its address and its settings with the secrets filled in, so that nobody is
//! answered with what other credentials were given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::ask::header;
use crate::fetch::Source;
use crate::json::Json;

/// Bytes that are kept in all.
const MAX_BYTES: usize = 16 << 20;
/// What an entry takes besides its data.
const OVERHEAD: usize = 256;
/// From here on, compressing is not done between other tasks.
const LARGE: usize = 256 << 10;
/// Fast; JSON is small even so.
const LEVEL: i32 = 1;

/// A source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(source: &Source) -> Self {
        let config = source.config.as_deref().map_or("", RawValue::get);
        let mut hash = Sha256::new();
        // An address has no line breaks once it was read.
        hash.update(source.url.trim());
        hash.update(b"\n");
        hash.update(config);
        Self(hash.finalize().into())
    }
}

/// Data, and how to ask whether it is still the same.
#[derive(Clone)]
pub(super) struct Kept {
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) etag: HeaderValue,
    compressed: Arc<[u8]>,
    len: usize,
}

impl Kept {
    /// The data.
    ///
    /// # Errors
    /// Memory is broken.
    pub(super) fn data(&self) -> Result<Json, String> {
        let text = zstd::bulk::decompress(&self.compressed, self.len).ok();
        let text = text.and_then(|text| String::from_utf8(text).ok());
        text.map(Json::known).ok_or_else(|| "is unchanged, but what was kept is broken".to_owned())
    }

    fn size(&self) -> usize {
        self.compressed.len() + self.etag.len() + self.url.as_str().len() + OVERHEAD
    }
}

/// The version of an answer; nothing if it must not be kept.
pub(super) fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    let control = header(headers, CACHE_CONTROL).unwrap_or("");
    let forbidden =
        control.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-store"));
    headers.get(ETAG).filter(|_| !forbidden).cloned()
}

/// What is kept, the latest used last.
#[derive(Default)]
pub(super) struct Cache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    kept: VecDeque<(Key, Kept)>,
    bytes: usize,
}

impl Cache {
    pub(super) fn get(&self, key: &Key) -> Option<Kept> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.take(key)?;
        entries.put(*key, entry.clone());
        Some(entry)
    }

    pub(super) async fn keep(&self, key: Key, url: Url, etag: HeaderValue, data: &Json) {
        let len = data.get().len();
        let compressed = if len > LARGE {
            let data = data.clone();
            let compressing = tokio::task::spawn_blocking(move || compress(&data));
            compressing.await.ok().flatten()
        } else {
            compress(data)
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.take(&key);
        if let Some(compressed) = compressed {
            entries.put(key, Kept { url, etag, compressed, len });
        }
    }
}

fn compress(data: &Json) -> Option<Arc<[u8]>> {
    zstd::bulk::compress(data.get().as_bytes(), LEVEL).ok().map(Into::into)
}

impl Entries {
    fn take(&mut self, key: &Key) -> Option<Kept> {
        let at = self.kept.iter().position(|(known, _)| known == key)?;
        let (_, entry) = self.kept.remove(at)?;
        self.bytes -= entry.size();
        Some(entry)
    }

    fn put(&mut self, key: Key, entry: Kept) {
        let size = entry.size();
        if size > MAX_BYTES {
            return;
        }
        while self.bytes + size > MAX_BYTES {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            self.bytes -= oldest.size();
        }
        self.bytes += size;
        self.kept.push_back((key, entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str, config: &str) -> Key {
        let config = Some(RawValue::from_string(config.to_owned()).unwrap());
        Key::of(&Source { url: url.to_owned(), config })
    }

    /// Text that does not get smaller.
    fn noise(len: usize, seed: u64) -> Json {
        let mut state = seed;
        let text = (0..len).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'#' + u8::try_from((state >> 33) % 56).unwrap())
        });
        Json::known(text.collect())
    }

    async fn keep(cache: &Cache, key: Key, data: &Json) {
        let url = Url::parse("http://h/").unwrap();
        cache.keep(key, url, HeaderValue::from_static("\"1\""), data).await;
    }

    #[test]
    fn other_settings_are_another_source() {
        let base = key("http://h/", "{}");
        assert!(base == key("http://h/", "{}"));
        assert!(base != key("http://h/", r#"{"headers":{"authorization":"b"}}"#));
        assert!(base != key("http://h/2", "{}"));
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_never_takes_more_than_the_limit() {
        let cache = Cache::default();
        let keys: Vec<_> = (0..12).map(|it| key(&format!("http://h/{it}"), "{}")).collect();
        let data: Vec<_> = (0..12).map(|it| noise(2 << 20, it)).collect();
        for (at, data) in data.iter().enumerate() {
            keep(&cache, keys[at], data).await;
            // The first one is asked for again and again.
            assert!(cache.get(&keys[0]).is_some());
            assert!(cache.0.lock().unwrap().bytes <= MAX_BYTES);
        }
        let held: Vec<_> = keys.iter().map(|key| cache.get(key).is_some()).collect();
        assert!(held[0] && held[11] && !held[1], "{held:?}");
        for at in [0, 11] {
            assert!(cache.get(&keys[at]).unwrap().data().unwrap() == data[at]);
        }
    }

    #[tokio::test]
    async fn what_is_larger_than_everything_is_not_kept_and_replaces_nothing_else() {
        let cache = Cache::default();
        let (small, large) = (key("http://small/", "{}"), key("http://large/", "{}"));
        keep(&cache, small, &noise(1 << 10, 1)).await;
        keep(&cache, large, &noise(24 << 20, 2)).await;
        assert!(cache.get(&large).is_none() && cache.get(&small).is_some());
    }

    #[test]
    fn an_answer_that_must_not_be_kept_has_no_version() {
        let mut headers = HeaderMap::new();
        assert!(etag(&headers).is_none());
        headers.insert(ETAG, HeaderValue::from_static("W/\"1\""));
        assert!(etag(&headers).is_some());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, No-Store"));
        assert!(etag(&headers).is_none());
    }
}
