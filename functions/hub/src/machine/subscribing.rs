//! From an open socket to a live subscriber: hello, replay in batches, caught up.

use protocol::commit::is_policy_topic;
use protocol::internal::Session;
use protocol::planted::{Bug, planted};
use protocol::socket::{AgentFrame, Hello, HubFrame};
use protocol::{Millis, Seq, Update, limits, topic::TopicSet};

use super::{Effect, Machine, SocketId, attach, delivery, done_waiting, reset, send};
use crate::log::Log;
use crate::refusal::Refusal;

impl Machine {
    pub(super) fn opened(
        &mut self,
        socket: SocketId,
        session: Session,
        log: &dyn Log,
    ) -> Vec<Effect> {
        let revoked = log.is_revoked(&session.claims);
        self.set_scope(&session.scope);
        let attachment = self.sockets.open(socket, session);
        match self.has_scope(log) {
            Ok(true) => {}
            Ok(false) => return self.refuse(socket, Refusal::no_scope(&self.scope)),
            Err(error) => return self.refuse(socket, Refusal::storage(error)),
        }
        match revoked {
            Ok(false) => {
                let mut effects = vec![attach(socket, attachment)];
                effects.extend(self.opal_opened(socket));
                effects
            }
            Ok(true) => self.refuse(socket, Refusal::revoked()),
            Err(error) => self.refuse(socket, Refusal::storage(error)),
        }
    }

    pub(super) fn frame(
        &mut self,
        now: Millis,
        socket: SocketId,
        text: &str,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some(attachment) = self.sockets.get(socket) else {
            return Ok(vec![]);
        };
        if attachment.session.is_expired(now) {
            return Err(Refusal::expired());
        }
        if text.len() > limits::MAX_FRAME_BYTES {
            return Err(Refusal::too_large(text.len()));
        }
        let frame = AgentFrame::decode(text).map_err(Refusal::bad_frame)?;
        let agent = attachment.subscription.as_ref().map(|it| it.agent.clone());
        match (frame, agent) {
            (None | Some(AgentFrame::Status { .. }), _) => Ok(vec![]),
            (Some(AgentFrame::Hello(hello)), _) => self.hello(socket, hello, log),
            (Some(AgentFrame::Subscribe { topics, cursor }), Some(agent)) => {
                self.subscribe(socket, agent, topics)?;
                let mut effects = self.replay(socket, cursor, log)?;
                effects.extend(self.ask_for_receipts(socket));
                Ok(effects)
            }
            (Some(AgentFrame::Resume { cursor }), Some(_)) => self.replay(socket, cursor, log),
            (Some(AgentFrame::Receipt(receipt)), Some(_)) => {
                Ok(self.waits.receipt(socket, &receipt).into_iter().map(done_waiting).collect())
            }
            (Some(_), None) => Err(Refusal::bad_frame("say hello first")),
        }
    }

    fn hello(
        &mut self,
        socket: SocketId,
        hello: Hello,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let limit = limits::MAX_AGENT_NAME_BYTES;
        if hello.agent.trim().is_empty() || hello.agent.len() > limit {
            return Err(Refusal::bad_frame(format!(
                "hello.agent: give a name of 1 to {limit} bytes"
            )));
        }
        self.subscribe(socket, hello.agent, hello.topics)?;
        let scope = self.sockets.get(socket).map(|it| it.session.scope.clone()).unwrap_or_default();
        let head = log.head();
        let welcome = HubFrame::Welcome { scope, head, epoch: log.epoch().to_owned() };
        let mut effects = vec![send(vec![socket], &welcome)];
        let stranger = hello.epoch.as_deref().is_some_and(|epoch| epoch != log.epoch());
        let cursor = if stranger { Seq::ZERO } else { hello.cursor };
        if cursor != hello.cursor {
            effects.push(reset(socket, "the log was started anew since the cursor was given"));
        }
        effects.extend(self.replay(socket, cursor, log)?);
        effects.extend(self.ask_for_receipts(socket));
        Ok(effects)
    }

    /// Sets what a socket wants; it is not live until a replay has caught up.
    fn subscribe(
        &mut self,
        socket: SocketId,
        agent: String,
        topics: TopicSet,
    ) -> Result<(), Refusal> {
        if let Some(attachment) = self.sockets.get(socket) {
            let claims = &attachment.session.claims;
            // Whoever may subscribe at all gets the policy, as with `GET /policy`.
            let data = topics.iter().filter(|topic| !is_policy_topic(topic));
            claims.require_topics(data).map_err(Refusal::forbidden)?;
        }
        self.sockets.subscribe(socket, agent, topics);
        Ok(())
    }

    /// Asks a subscriber that was not there when an update was published for the receipts
    /// that somebody still waits for.
    fn ask_for_receipts(&mut self, socket: SocketId) -> Vec<Effect> {
        let Some(subscription) = self.sockets.get(socket).and_then(|it| it.subscription.clone())
        else {
            return vec![];
        };
        let is_for_it = |update: &Update| {
            update.entries.iter().any(|entry| subscription.topics.matches(&entry.topics))
        };
        let seqs = self.waits.joined(socket, &subscription.agent, is_for_it);
        seqs.into_iter().map(|seq| send(vec![socket], &HubFrame::Confirm { seq })).collect()
    }

    /// Sends one batch of what a socket has missed since `cursor`, and says how it ended.
    fn replay(
        &mut self,
        socket: SocketId,
        mut cursor: Seq,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some(subscription) = self.sockets.get(socket).and_then(|it| it.subscription.as_ref())
        else {
            return Ok(vec![]);
        };
        let topics = subscription.topics.clone();
        let mut effects = vec![];
        let (head, floor) = (log.head(), log.floor());
        if cursor > head {
            let reason = format!("cursor {cursor} is ahead of the log, which ends at {head}");
            effects.push(reset(socket, &reason));
            cursor = Seq::ZERO;
        }
        if Seq::ZERO < cursor && cursor < floor {
            let reason = format!(
                "cursor {cursor} is older than what is kept; updates up to {floor} were given up \
                 to the retention limit"
            );
            effects.push(reset(socket, &reason));
            cursor = Seq::ZERO;
        }
        let after = if planted(Bug::ReplaySkips) { cursor.next() } else { cursor };
        let records =
            log.read(Some(&topics), after, self.settings.replay_batch).map_err(Refusal::storage)?;
        let reached = records.last().map_or(cursor, |record| record.seq);
        let last = log.last_for(&topics, head.next()).map_err(Refusal::storage)?;
        let caught_up = reached >= last || planted(Bug::CaughtUpEarly);
        let end = if caught_up {
            let digests = log.digests(&topics).map_err(Refusal::storage)?;
            HubFrame::CaughtUp { seq: head, digests }
        } else {
            HubFrame::Bookmark { seq: reached }
        };
        let attachment = self.sockets.set_live(socket, caught_up);
        effects.extend(attachment.map(|it| attach(socket, it)));
        let mut prev = cursor;
        let mut deliveries = Vec::with_capacity(records.len());
        for record in &records {
            let (entries, places) = record.entries_for(Some(&topics));
            deliveries.push(delivery(record, prev, entries, places));
            prev = record.seq;
        }
        if !deliveries.is_empty() {
            effects.push(send(vec![socket], &HubFrame::Updates(deliveries)));
        }
        effects.push(send(vec![socket], &end));
        Ok(effects)
    }
}
