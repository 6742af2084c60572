//! What a client of the OPAL dialect is told: one `notify` for a connection and an update,
//! however many of its topics that matches.

use protocol::Millis;
use protocol::limits::MAX_FRAME_BYTES;
use protocol::opal::data::WireEntry;
use protocol::opal::policy::PolicyUpdateMessage;
use protocol::opal::rpc::{self, Notify, QUIET_CALL, SIGN_CALL};
use protocol::opal::topics::internal;
use protocol::topic::TopicSet;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Effect, Machine, SocketId, attach};
use crate::log::{Log, Record};
use crate::reference;
use crate::sockets::{Audience, OpalAudience};

/// What a reference takes of a frame, roughly, besides the address that it leads to.
const REFERENCE_BYTES: usize = 256;

/// OPAL's `DataUpdate`.
#[derive(Serialize)]
struct WireUpdate<'u> {
    id: &'u str,
    entries: Vec<WireEntry<'u>>,
    reason: Option<&'u str>,
    callback: Callback<'u>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Callback<'u> {
    Given(&'u RawValue),
    None { callbacks: [(); 0] },
}

/// The frame that tells an audience of a record; none if it is not for it.
pub(super) fn frame(
    audience: &Audience,
    names: &OpalAudience,
    topics: &TopicSet,
    record: &Record,
    log: &dyn Log,
) -> Option<Notify> {
    let (entries, places) = record.data_for(Some(topics));
    let topic = audience.topic_of(&entries)?;
    let entries = entries.into_iter().map(|entry| WireEntry::new(&names.scope, entry));
    let mut update = WireUpdate {
        id: &record.id,
        entries: entries.collect(),
        reason: record.update.reason.as_deref(),
        callback: match record.update.callback.as_deref() {
            Some(given) => Callback::Given(given),
            None => Callback::None { callbacks: [] },
        },
    };
    let name = format!("{:032x}", record.seq.0);
    let frame = rpc::notify(topic, &update, &name);
    if frame.bytes() <= MAX_FRAME_BYTES {
        return Some(frame);
    }
    // The largest first, until the rest fits.
    let mut left = frame.bytes();
    let mut by_size: Vec<_> = update.entries.iter_mut().zip(places).collect();
    by_size.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.inline_bytes()));
    for (entry, place) in by_size {
        let freed = entry.inline_bytes();
        if left <= MAX_FRAME_BYTES || freed == 0 {
            break;
        }
        reference::refer(log, &names.scope, &names.origin, (record.seq, place), entry);
        left = left.saturating_sub(freed) + REFERENCE_BYTES + names.origin.len();
    }
    Some(rpc::notify(topic, &update, &name))
}

impl Machine {
    /// Pushes one frame to clients of the OPAL dialect. Whoever has much on the way is asked for
    /// a sign of life with it.
    pub(super) fn push_opal(
        &mut self,
        now: Millis,
        members: impl IntoIterator<Item = SocketId>,
        frame: &Notify,
    ) -> Vec<Effect> {
        let (live, lagging): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|socket| self.sockets.is_live(*socket));
        lagging.into_iter().for_each(|socket| self.sockets.misses(socket));
        let (to, mut effects) = self.in_time(now, live);
        if to.is_empty() {
            return effects;
        }
        let (bytes, window) = (frame.bytes(), self.settings.push_window);
        let (asked, quiet): (Vec<_>, Vec<_>) = to
            .iter()
            .copied()
            .partition(|socket| self.sockets.is_half_full(*socket, bytes, window));
        let over = self.sockets.pushed(&to, bytes, window);
        for (to, call) in [(quiet, QUIET_CALL), (asked, SIGN_CALL)] {
            if !to.is_empty() {
                effects.push(Effect::Send(to, frame.named(call)));
            }
        }
        for socket in over {
            let attachment = self.sockets.lags(socket);
            effects.extend(attachment.map(|it| attach(socket, it)));
        }
        effects
    }

    /// Tells something to whoever has subscribed to one of the topics, but for one socket. It is
    /// in no log.
    pub(super) fn tell(
        &mut self,
        now: Millis,
        but: Option<SocketId>,
        topics: &[String],
        data: &(impl Serialize + ?Sized),
    ) -> Vec<Effect> {
        let topics: Vec<&str> = topics.iter().map(|topic| internal(&self.scope, topic)).collect();
        let name = format!("{:032x}", now.0);
        let mut frames = vec![];
        for (audience, group) in self.sockets.groups().filter(|(it, _)| it.opal().is_some()) {
            if let Some(topic) = audience.topic_among(topics.iter().copied()) {
                let members = group.members.iter().copied().filter(|socket| Some(*socket) != but);
                let frame = rpc::notify(topic, &data, &name);
                frames.push((members.collect::<Vec<_>>(), frame));
            }
        }
        let frames = frames.into_iter();
        frames.flat_map(|(members, frame)| self.push_opal(now, members, &frame)).collect()
    }

    /// Tells the subscribers of the folders in which a policy changed.
    pub(super) fn tell_policy(&mut self, now: Millis, change: &PolicyUpdateMessage) -> Vec<Effect> {
        let topics: Vec<String> = change.topics().collect();
        self.tell(now, None, &topics, change)
    }
}
