//! The native dialect of the socket: what hub and agent say to each other.
//!
//! JSON text frames below [`crate::limits::MAX_FRAME_BYTES`], each an object with one key
//! that names the frame: `{"hello": {…}}`. A peer ignores frames and members it does not
//! know, so that old agents and new hubs mix.
//!
//! The conversation:
//!
//! 1. The agent opens with `hello`: who it is, what it wants, its cursor.
//! 2. The hub answers `welcome`, then sends what was missed as `updates`, one batch at a
//!    time. A batch ends with `bookmark {seq}`, and the agent asks on with
//!    `resume {cursor: seq}`; or with `caught_up {seq}`, and from there on the hub pushes.
//! 3. Every delivery names in `prev` up to where there is nothing before it *in this
//!    subscription*. An agent that has received less than that has found a hole: it asks
//!    `resume` from where it is.
//! 4. `reset`, between `welcome` and the first batch, tells an agent that its cursor means
//!    nothing here (another epoch, a log that ends before it, a log whose beginning is
//!    beyond retention). The agent forgets its cursor and takes what follows: the hub
//!    replays from 0 in answer to the same `hello`, so the agent does not ask again.
//! 5. `pause {seq}` asks for a sign of life: the hub has pushed as much as it is willing to
//!    have on the way, and goes on after the agent's `resume`. So an agent that stops
//!    reading is behind in the log, and in no queue. An agent that is waiting for a replay
//!    has asked already and need not ask again.
//! 6. `confirm {seq}` asks for one `receipt`: somebody waits to know that this agent has the
//!    update. The agent answers when it is done with it, at once if it already is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Entry, Millis, Seq, digest::TopicDigests, json, topic::TopicSet};

/// The subprotocol's name in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "girasol.v1";

/// Close codes of the hub.
pub mod close {
    /// The frame could not be understood (RFC 6455: unsupported data).
    pub const BAD_FRAME: u16 = 1003;
    /// The token does not allow it, or has expired (RFC 6455: policy violation).
    pub const POLICY: u16 = 1008;
    /// A frame, or what the hub would have to keep for the socket, was over the limit
    /// (RFC 6455).
    pub const TOO_LARGE: u16 = 1009;
    /// The hub failed; come back later (RFC 6455: internal error).
    pub const INTERNAL: u16 = 1011;

    /// Bytes of a close frame's reason (RFC 6455 §5.5), less some for the platform.
    const MAX_REASON_BYTES: usize = 120;

    /// As much of a sentence as fits into a close frame.
    #[must_use]
    pub fn reason(mut sentence: String) -> String {
        if sentence.len() > MAX_REASON_BYTES {
            let fits = |at: &usize| *at <= MAX_REASON_BYTES - '…'.len_utf8();
            let end = sentence.char_indices().map(|(at, _)| at).take_while(fits).last();
            sentence.truncate(end.unwrap_or(0));
            sentence.push('…');
        }
        sentence
    }
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentFrame {
    /// First frame of a connection.
    Hello(Hello),
    /// Replaces the topics of the subscription; the answer is a replay from `cursor`.
    Subscribe {
        /// The new topics.
        topics: TopicSet,
        /// Up to where the agent has applied all of them.
        #[serde(default)]
        cursor: Seq,
    },
    /// Asks for everything after `cursor`.
    Resume {
        /// The last seq the agent has received, or applied.
        cursor: Seq,
    },
    /// An update was applied, or failed to.
    Receipt(Receipt),
    /// How the agent is, for statistics.
    Status {
        /// Up to where the agent has applied everything.
        cursor: Seq,
    },
}

/// Who an agent is and what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's name, for people: statistics and receipts show it.
    pub agent: String,
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// What to deliver.
    pub topics: TopicSet,
    /// Up to where the agent has applied everything it subscribes to.
    #[serde(default)]
    pub cursor: Seq,
    /// The epoch that the cursor belongs to, as the last `welcome` named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
}

/// An agent's word about one update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which update.
    pub seq: Seq,
    /// True if every entry took effect.
    pub applied: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the hub says. `E` is [`Entry`] for who reads a frame, and `&Entry` for who writes
/// one without copying the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubFrame<E = Entry> {
    /// Answer to `hello`.
    Welcome {
        /// The scope this socket belongs to.
        scope: String,
        /// The log's last seq.
        head: Seq,
        /// Which life of the log: cursors of another epoch mean nothing.
        epoch: String,
    },
    /// Updates in seq order.
    Updates(Vec<Delivery<E>>),
    /// A batch of a replay ended at `seq`, there is more: answer with `resume`.
    Bookmark {
        /// Everything of this subscription up to here has been sent.
        seq: Seq,
    },
    /// Nothing is pushed any more until the agent has answered with `resume`.
    Pause {
        /// The last update that was pushed.
        seq: Seq,
    },
    /// A replay ended at `seq`, which is the log's end: from here on updates are pushed.
    CaughtUp {
        /// Everything of this subscription up to here has been sent.
        seq: Seq,
        /// What has been published to each topic of the subscription up to `seq`.
        #[serde(default, skip_serializing_if = "TopicDigests::is_empty")]
        digests: TopicDigests,
    },
    /// Somebody waits for this agent's `receipt` of an update.
    Confirm {
        /// The update.
        seq: Seq,
    },
    /// The agent's cursor cannot be continued from; a replay from 0 follows without asking.
    Reset {
        /// For the agent's log.
        reason: String,
    },
    /// The agent did something that is refused; the socket closes after it.
    Error(SocketError),
}

/// Why the hub refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketError {
    /// A word for programs: `bad_frame`, `too_large`, `forbidden`, `expired`, `revoked`,
    /// `internal`.
    pub code: String,
    /// A sentence that names the fix.
    pub message: String,
    /// Seconds to wait before the next try; absent if a new try cannot help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// One update as a subscriber receives it: only the entries that are for it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Delivery<E = Entry> {
    /// The update's number.
    pub seq: Seq,
    /// This subscription has nothing between `prev` and `seq`: a subscriber that has
    /// received everything up to `prev` misses nothing.
    pub prev: Seq,
    /// The publisher's id of the update.
    pub id: String,
    /// When the hub accepted it.
    pub at: Millis,
    /// The publisher's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The entries whose topics match the subscription, in the publisher's order, without
    /// those that a later update has made unnecessary.
    pub entries: Vec<E>,
    /// The place of each of `entries` in the update as it was published, from 0: with `seq`
    /// it names the entry for ever, whatever else was left out.
    pub places: Vec<u32>,
    /// Who wants to hear of the result (`spec/opal-protocol.md` §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Box<RawValue>>,
}

impl<E: fmt::Debug> fmt::Debug for Delivery<E> {
    /// Without its callbacks, which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("seq", &self.seq)
            .field("prev", &self.prev)
            .field("id", &self.id)
            .field("at", &self.at)
            .field("reason", &self.reason)
            .field("entries", &self.entries)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// Frames this version knows; others are from a newer peer.
const AGENT_FRAMES: [&str; 5] = ["hello", "subscribe", "resume", "receipt", "status"];
const HUB_FRAMES: [&str; 8] =
    ["welcome", "updates", "bookmark", "pause", "caught_up", "confirm", "reset", "error"];

impl AgentFrame {
    /// Reads a frame; `None` for one that this version does not know.
    ///
    /// # Errors
    /// A message for the sender if the text is not a frame at all.
    pub fn decode(text: &str) -> Result<Option<Self>, String> {
        decode(text, &AGENT_FRAMES)
    }

    /// The frame as text.
    ///
    /// # Errors
    /// Only if memory for it cannot be had.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl HubFrame {
    /// Reads a frame; `None` for one that this version does not know.
    ///
    /// # Errors
    /// A message for the log if the text is not a frame at all.
    pub fn decode(text: &str) -> Result<Option<Self>, String> {
        decode(text, &HUB_FRAMES)
    }
}

impl<E: Serialize> HubFrame<E> {
    /// The frame as text.
    ///
    /// # Errors
    /// Only if memory for it cannot be had.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

fn decode<'t, T: Deserialize<'t>>(text: &'t str, known: &[&str]) -> Result<Option<T>, String> {
    let error = match serde_json::from_str(text) {
        Ok(frame) => return Ok(Some(frame)),
        Err(error) => error,
    };
    // Only what failed is looked at again: an object whose one key is a name we do not know.
    let keys =
        serde_json::from_str::<std::collections::BTreeMap<String, serde::de::IgnoredAny>>(text);
    match keys {
        Ok(keys) if keys.len() == 1 && !keys.keys().any(|key| known.contains(&key.as_str())) => {
            Ok(None)
        }
        _ => Err(format!("not a frame of {SUBPROTOCOL}: {}", json::reason(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_an_object_with_one_key() {
        let resume = AgentFrame::Resume { cursor: Seq(7) };
        assert_eq!(resume.encode().unwrap(), r#"{"resume":{"cursor":7}}"#);
        assert_eq!(AgentFrame::decode(r#"{"resume":{"cursor":7}}"#).unwrap(), Some(resume));
    }

    #[test]
    fn unknown_members_and_frames_are_ignored() {
        let frame = AgentFrame::decode(r#"{"resume":{"cursor":7,"new":1}}"#).unwrap();
        assert_eq!(frame, Some(AgentFrame::Resume { cursor: Seq(7) }));
        assert_eq!(AgentFrame::decode(r#"{"from_the_future":[]}"#).unwrap(), None);
    }

    #[test]
    fn a_reason_fits_into_a_close_frame() {
        assert_eq!(close::reason("short".to_owned()), "short");
        let long = close::reason("ü".repeat(100));
        assert!(long.len() <= 120 && long.len() > 115 && long.ends_with("ü…"), "{long}");
    }

    #[test]
    fn what_is_not_a_frame_is_an_error() {
        for text in
            ["", "1", "[]", "{}", "{\"resume\":{}}", "{\"hello\":{\"agent\":\"a\",\"topics\":[]}}"]
        {
            assert!(AgentFrame::decode(text).is_err(), "{text}");
        }
        for cursor in ["-1", "\"7\"", "1.5", "null", "99999999999999999999999"] {
            let text = format!("{{\"resume\":{{\"cursor\":{cursor}}}}}");
            assert!(AgentFrame::decode(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn inline_data_travels_verbatim() {
        let text = r#"{"updates":[{"seq":2,"prev":1,"id":"u","at":5,"entries":[{"url":"","topics":["t"],"dst_path":"/x","save_method":"PUT","data":{"b":1.0,"a":12345678901234567890123}}],"places":[0]}]}"#;
        let frame = HubFrame::decode(text).unwrap().unwrap();
        assert_eq!(frame.encode().unwrap(), text);
    }
}
