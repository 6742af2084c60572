//! From an update to the log, and from there to everybody it is for.
//!
//! The updates of one step are a [`Batch`]: each is checked and appended by itself, then all
//! are delivered, and the log is compacted once.

use std::collections::BTreeSet;

use protocol::internal::{HubAnswer, Wait};
use protocol::planted::{Bug, planted};
use protocol::socket::{Delivery, HubFrame};
use protocol::{Entry, Millis, Problem, Seq, Update, limits};

use super::{
    Effect, Machine, RequestId, Settings, SocketId, attach, base, delivery, done_waiting,
    notifying, send, watching,
};
use crate::compaction::{self, Position};
use crate::log::{Fingerprint, Log, LogError, Record, Retention};
use crate::refusal::Refusal;

/// What the updates of one step leave to be done at its end.
#[derive(Default)]
pub(super) struct Batch {
    /// What was appended, each with the bytes of its body.
    appended: Vec<(Record, usize)>,
    /// Parts of a commit that storage has not taken as a whole: what they are to replace is needed
    /// until then.
    unfinished: BTreeSet<Seq>,
    /// A client of the OPAL dialect that published: it is not told of what it said.
    publisher: Option<SocketId>,
    /// Who waits for agents, for which update, and with which answer.
    waiting: Vec<(RequestId, Wait, HubAnswer, (Seq, Update))>,
}

impl Machine {
    /// Appends an update; the answer to its publisher, unless that waits for agents.
    pub(super) fn append(
        &self,
        now: Millis,
        (request, update, wait): (RequestId, Update, Option<Wait>),
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<Option<HubAnswer>, Problem> {
        update.check_published()?;
        if wait.is_none() {
            let seq = batch.append(now, update, log)?;
            return Ok(Some(HubAnswer::Appended { seq, receipts: None }));
        }
        self.has_room_to_wait(batch)?;
        let seq = batch.append(now, update.clone(), log)?;
        let answer = HubAnswer::Appended { seq, receipts: None };
        Ok(batch.answer(request, answer, wait, (seq, update)))
    }

    /// Refuses one more who wants to wait, if there are too many.
    pub(super) fn has_room_to_wait(&self, batch: &Batch) -> Result<(), Problem> {
        self.waits.has_room(batch.waiting.len())
    }

    /// Delivers what was appended, makes room in the log, and has agents asked for those who wait.
    pub(super) fn finish(&mut self, now: Millis, batch: Batch, log: &mut dyn Log) -> Vec<Effect> {
        let floor = log.floor();
        let mut effects = self.conclude(now, batch, log);
        if log.floor() > floor {
            effects.extend(self.renew_policy(now, log));
            effects.extend(self.renew_plane(now, log));
            effects.extend(self.renew_directory(now, log));
        }
        effects
    }

    /// The same, whatever that makes retention give up.
    pub(super) fn conclude(&mut self, now: Millis, batch: Batch, log: &mut dyn Log) -> Vec<Effect> {
        let Batch { appended, unfinished, publisher, waiting } = batch;
        if appended.is_empty() && waiting.is_empty() {
            return vec![];
        }
        let mut effects = self.deliver(now, publisher, &appended, log);
        let whole = appended.iter().map(|(record, _)| record);
        let whole = whole.filter(|record| !unfinished.contains(&record.seq));
        compact(now, whole, self.settings.retention, log);
        effects.extend(self.told(log, |of| watching::is_about(of, &appended)));
        for (request, wait, answer, (seq, update)) in waiting {
            let subscribers: Vec<(SocketId, String)> = self
                .sockets
                .subscribers(&update)
                .map(|(socket, agent)| (socket, agent.to_owned()))
                .collect();
            let to: Vec<SocketId> = subscribers.iter().map(|(socket, _)| *socket).collect();
            if !to.is_empty() {
                effects.push(send(to, &HubFrame::Confirm { seq }));
            }
            let done = self.waits.begin(now, (request, answer), (seq, update), wait, &subscribers);
            effects.extend(done.map(done_waiting));
        }
        effects
    }

    /// Delivers records that are in the log to every live subscriber they are for: one frame to
    /// each, or several where they would not fit into one, or not into what may be on the way.
    fn deliver(
        &mut self,
        now: Millis,
        but: Option<SocketId>,
        appended: &[(Record, usize)],
        log: &dyn Log,
    ) -> Vec<Effect> {
        let Settings { replay_batch, push_window, .. } = self.settings;
        let most = replay_batch.min(self.sockets.window(push_window));
        let (mut frames, mut opal_frames) = (vec![], vec![]);
        for (audience, group) in self.sockets.groups() {
            let topics = &group.topics;
            if let Some(names) = audience.opal() {
                // It has fetched base sources when it connected, and sees to the periodic ones.
                let updates = appended.iter().filter(|(record, _)| !base::is_source(&record.id));
                let told = updates.filter_map(|(record, _)| {
                    notifying::frame(audience, names, topics, record, log)
                });
                opal_frames.extend(told.map(|frame| (group.members.clone(), frame)));
                continue;
            }
            let (mut frame, mut bytes): (Vec<Delivery<&Entry>>, _) = (vec![], 0);
            for (record, size) in appended {
                let (entries, places) = record.entries_for(Some(topics));
                if entries.is_empty() {
                    continue;
                }
                // Without the true number a subscriber must be made to ask: `seq - 1` is one
                // that only who has everything can have.
                let prev = group.last.map_or_else(|| log.last_for(topics, record.seq), Ok);
                let prev = prev.unwrap_or_else(|_| Seq(record.seq.0.saturating_sub(1)));
                let prev = if planted(Bug::PrevIsZero) { Seq::ZERO } else { prev };
                group.last = Some(record.seq);
                if bytes + size > most && !frame.is_empty() {
                    frames.push((group.members.clone(), std::mem::take(&mut frame)));
                    bytes = 0;
                }
                bytes += size;
                let forgotten = frame.pop_if(|_| planted(Bug::BatchForgotten));
                let prev = forgotten.map_or(prev, |it| it.prev);
                frame.push(delivery(record, prev, entries, places));
            }
            if !frame.is_empty() {
                frames.push((group.members.clone(), frame));
            }
        }
        let mut effects = vec![];
        for (members, updates) in frames {
            effects.extend(self.push(now, members, updates));
        }
        for (members, frame) in opal_frames {
            let members = members.into_iter().filter(|socket| Some(*socket) != but);
            effects.extend(self.push_opal(now, members, &frame));
        }
        effects
    }

    /// Those whose tokens have not ended; the others are refused.
    pub(super) fn in_time(
        &mut self,
        now: Millis,
        sockets: Vec<SocketId>,
    ) -> (Vec<SocketId>, Vec<Effect>) {
        let (late, in_time): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|socket| {
            self.sockets.get(*socket).is_none_or(|it| it.session.is_expired(now))
        });
        let refused = late.into_iter().flat_map(|it| self.refuse(it, Refusal::expired()));
        let refused = refused.collect();
        (in_time, refused)
    }

    /// Sends one frame of updates to those that are still live.
    fn push(
        &mut self,
        now: Millis,
        members: BTreeSet<SocketId>,
        updates: Vec<Delivery<&Entry>>,
    ) -> Vec<Effect> {
        let live = members.into_iter().filter(|socket| self.sockets.is_live(*socket)).collect();
        let (to, mut effects) = self.in_time(now, live);
        let Some(seq) = updates.last().map(|it| it.seq).filter(|_| !to.is_empty()) else {
            return effects;
        };
        let frame = HubFrame::Updates(updates).encode().unwrap_or_default();
        let over = self.sockets.pushed(&to, frame.len(), self.settings.push_window);
        effects.push(Effect::Send(to, frame));
        if !over.is_empty() {
            for socket in &over {
                let attachment = self.sockets.set_live(*socket, false);
                effects.extend(attachment.map(|it| attach(*socket, it)));
            }
            effects.push(send(over, &HubFrame::Pause { seq }));
        }
        effects
    }
}

impl Batch {
    /// What a client of the OPAL dialect publishes.
    pub(super) fn of(publisher: SocketId) -> Self {
        Self { publisher: Some(publisher), ..Self::default() }
    }

    /// Storage refused the rest of a commit whose first part has this number.
    pub(super) fn unfinished(&mut self, first: Seq) {
        let parts = self.appended.iter().map(|(record, _)| record.seq);
        self.unfinished.extend(parts.filter(|seq| *seq >= first));
    }

    /// The answer to a request that appended an update, unless that waits for agents.
    pub(super) fn answer(
        &mut self,
        request: RequestId,
        answer: HubAnswer,
        wait: Option<Wait>,
        awaited: (Seq, Update),
    ) -> Option<HubAnswer> {
        let Some(wait) = wait else { return Some(answer) };
        self.waiting.push((request, wait, answer, awaited));
        None
    }

    /// Checks an update by its id and appends it if it is new; the number it has.
    pub(super) fn append(
        &mut self,
        now: Millis,
        update: Update,
        log: &mut dyn Log,
    ) -> Result<Seq, Problem> {
        let id = update.id.clone().ok_or_else(|| Problem::invalid("id: missing"))?;
        let body =
            serde_json::to_string(&update).map_err(|error| Problem::internal(error.to_string()))?;
        if body.len() > limits::MAX_UPDATE_BYTES {
            // Defaults were written out; what is stored must still fit into a frame.
            return Err(Problem::update_too_large(body.len()));
        }
        // A fact can be guessed from a hash of it. Its id is the hub's own, and used once.
        let is_fact = id.starts_with(Update::FACT_ID);
        let fingerprint = Fingerprint::of(if is_fact { &id } else { &body });
        let refused = |_: LogError| {
            Problem::unavailable("the hub's storage refused; nothing was stored, publish it again")
        };
        let known = log.find(&id).map_err(refused)?.filter(|_| !planted(Bug::AppendedTwice));
        match known {
            Some((seq, known)) if known == fingerprint || planted(Bug::BodyIgnored) => Ok(seq),
            Some((seq, _)) => Err(Problem::conflict(format!(
                "id `{id}` was published before with other content, as number {seq}; choose \
                 another id"
            ))),
            None => {
                let next = log.head().next();
                let next = if planted(Bug::NumberLeftOut) { next.next() } else { next };
                let record = Record::new(next, id, now, update);
                log.append(&record, &body, &fingerprint).map_err(refused)?;
                self.appended.push((record, body.len()));
                Ok(next)
            }
        }
    }
}

/// Drops what records make unnecessary, and what is beyond retention. What storage does not do
/// now is only space, and the next update's turn.
fn compact<'r>(
    now: Millis,
    appended: impl Iterator<Item = &'r Record>,
    retention: Retention,
    log: &mut dyn Log,
) {
    let dropped = appended.filter_map(|record| compaction::superseded(log, record).ok());
    let dropped: BTreeSet<Position> = dropped.flatten().collect();
    if !dropped.is_empty() {
        let _ = log.drop_entries(&dropped);
    }
    let _ = log.retain(now, retention);
}
