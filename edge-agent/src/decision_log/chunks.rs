//! Decisions on their way to a service: gzip of a JSON list each, of a bounded size, and a
//! bounded number of them. What is oldest goes when there is no room.

use std::collections::VecDeque;
use std::io::Write as _;

use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A finished list.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// The body of an upload: gzip of a JSON list.
    pub(super) body: Bytes,
    /// How many decisions are in it.
    pub(super) events: u64,
}

/// Lists that wait, and the one that grows.
pub(super) struct Chunks {
    max_chunk: usize,
    max_total: usize,
    open: Option<Open>,
    full: VecDeque<Chunk>,
    bytes: usize,
}

struct Open {
    encoder: GzEncoder<Vec<u8>>,
    events: u64,
    /// Bytes that went in since the encoder was made to say what it has.
    unseen: usize,
}

impl Chunks {
    /// `max_chunk`: bytes of one list, compressed. `max_total`: bytes of all that wait.
    pub(super) fn new(max_chunk: usize, max_total: usize) -> Self {
        Self { max_chunk, max_total, open: None, full: VecDeque::new(), bytes: 0 }
    }

    /// Takes an event; returns how many were dropped for it, which may be itself: one that does
    /// not fit into a list of its own.
    pub(super) fn push(&mut self, event: &[u8]) -> u64 {
        let mut open = self.open.take().unwrap_or_else(Open::new);
        if open.events > 0 && !open.has_room_for(event.len(), self.max_chunk) {
            self.close(std::mem::replace(&mut open, Open::new()));
        }
        open.push(event);
        if open.len() > self.max_chunk && open.events == 1 {
            return 1 + self.shed();
        }
        self.open = Some(open);
        self.shed()
    }

    /// The oldest list, finished if need be; none if there is nothing.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        if self.full.is_empty()
            && let Some(open) = self.open.take()
        {
            self.close(open);
        }
        let chunk = self.full.pop_front()?;
        self.bytes = self.bytes.saturating_sub(chunk.body.len());
        Some(chunk)
    }

    /// Puts back what could not be sent, before everything else; returns how many were dropped.
    pub(super) fn put_back(&mut self, chunk: Chunk) -> u64 {
        self.bytes += chunk.body.len();
        self.full.push_front(chunk);
        self.shed()
    }

    /// True if half of the room is taken.
    pub(super) fn is_filling(&self) -> bool {
        self.bytes > self.max_total / 2
    }

    fn close(&mut self, open: Open) {
        if let Some(chunk) = open.finish() {
            self.bytes += chunk.body.len();
            self.full.push_back(chunk);
        }
    }

    fn shed(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes > self.max_total
            && let Some(chunk) = self.full.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(chunk.body.len());
            dropped += chunk.events;
        }
        dropped
    }
}

impl Open {
    fn new() -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Self { encoder, events: 0, unseen: 0 }
    }

    /// True if an event of so many bytes surely fits: what was compressed, and the rest as it is.
    fn has_room_for(&mut self, bytes: usize, max: usize) -> bool {
        const END: usize = 64;
        if self.len() + self.unseen + bytes + END <= max {
            return true;
        }
        // What waits in the encoder is counted as it is until it is looked at.
        self.flush();
        self.len() + bytes + END <= max
    }

    fn push(&mut self, event: &[u8]) {
        let before: &[u8] = if self.events == 0 { b"[" } else { b"," };
        // Writing into memory does not fail.
        let _ = self.encoder.write_all(before).and_then(|()| self.encoder.write_all(event));
        self.events += 1;
        self.unseen += event.len() + 1;
        if self.events == 1 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let _ = self.encoder.flush();
        self.unseen = 0;
    }

    fn len(&self) -> usize {
        self.encoder.get_ref().len()
    }

    fn finish(mut self) -> Option<Chunk> {
        self.encoder.write_all(b"]").ok()?;
        let body = self.encoder.finish().ok()?;
        Some(Chunk { body: body.into(), events: self.events })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn events(chunk: &Chunk) -> Vec<serde_json::Value> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*chunk.body).read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let text: String = std::iter::repeat_with(|| random.alphanumeric()).take(bytes).collect();
        format!("\"{text}\"").into_bytes()
    }

    #[test]
    fn every_event_is_in_one_list_in_its_order() {
        let mut chunks = Chunks::new(4_096, 1 << 20);
        for number in 0..500 {
            assert_eq!(chunks.push(number.to_string().as_bytes()), 0);
            assert_eq!(chunks.push(&noise(number, 100)), 0);
        }
        let mut seen = vec![];
        while let Some(chunk) = chunks.take() {
            assert!(chunk.body.len() <= 4_096, "{}", chunk.body.len());
            let events = events(&chunk);
            assert_eq!(chunk.events, events.len() as u64);
            seen.extend(events.into_iter().filter_map(|event| event.as_u64()));
        }
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(chunks.take().is_none());
    }

    #[test]
    fn what_is_too_large_for_a_list_is_dropped_alone() {
        let mut chunks = Chunks::new(1_000, 10_000);
        assert_eq!(chunks.push(b"1"), 0);
        assert_eq!(chunks.push(&noise(1, 5_000)), 1);
        assert_eq!(chunks.push(b"2"), 0);
        let lists: Vec<_> = std::iter::from_fn(|| chunks.take()).map(|it| events(&it)).collect();
        assert_eq!(serde_json::to_string(&lists).unwrap(), "[[1],[2]]");
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut chunks = Chunks::new(1_000, 3_000);
        let dropped: u64 = (0..20).map(|number| chunks.push(&noise(number, 800))).sum();
        let left: u64 = std::iter::from_fn(|| chunks.take()).map(|chunk| chunk.events).sum();
        assert_eq!(dropped + left, 20);
        assert!((3..=5).contains(&left), "{left}");
    }

    #[test]
    fn what_was_put_back_is_the_next_one() {
        let mut chunks = Chunks::new(1_000, 10_000);
        for number in 0..3 {
            chunks.push(&noise(number, 800));
        }
        let chunk = chunks.take().unwrap();
        let body = chunk.body.clone();
        assert_eq!(chunks.put_back(chunk), 0);
        assert_eq!(chunks.take().unwrap().body, body);
        assert_ne!(chunks.take().unwrap().body, body);
    }
}
