//! Publishers that wait until agents have an update.

use std::collections::BTreeMap;

use protocol::internal::{AgentReceipt, HubAnswer, Quorum, Receipts, Wait};
use protocol::planted::{Bug, planted};
use protocol::socket::Receipt;
use protocol::{Millis, Problem, Seq, Update};

use crate::machine::RequestId;
use crate::sockets::SocketId;

/// Publishers that may wait at one time.
const MAX_WAITING: usize = 10_000;

/// One publisher.
#[derive(Debug)]
struct Waiting {
    /// What it is answered, but for the receipts.
    answer: HubAnswer,
    seq: Seq,
    /// What it published, to find out for whom that is.
    update: Update,
    deadline: Millis,
    quorum: Quorum,
    /// Who was asked.
    asked: Vec<Asked>,
    receipts: Vec<AgentReceipt>,
}

#[derive(Debug)]
struct Asked {
    agent: String,
    /// The socket on which it is to answer.
    socket: SocketId,
    answered: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Waits(BTreeMap<RequestId, Waiting>);

/// An answer that can be given.
pub(crate) type Done = (RequestId, HubAnswer);

impl Waits {
    /// Refuses if there are too many already, with so many more that are about to begin.
    pub(crate) fn has_room(&self, more: usize) -> Result<(), Problem> {
        if self.0.len().saturating_add(more) < MAX_WAITING {
            return Ok(());
        }
        Err(Problem::unavailable(format!(
            "{MAX_WAITING} publishers are waiting already; publish without `wait`"
        )))
    }

    /// A publisher waits for these subscribers of its update; for none of them that is over
    /// at once.
    pub(crate) fn begin(
        &mut self,
        now: Millis,
        (request, answer): (RequestId, HubAnswer),
        (seq, update): (Seq, Update),
        wait: Wait,
        subscribers: &[(SocketId, String)],
    ) -> Option<Done> {
        let asked = subscribers.iter().map(|(socket, agent)| Asked {
            agent: agent.clone(),
            socket: *socket,
            answered: false,
        });
        let waiting = Waiting {
            answer,
            seq,
            update,
            deadline: now.plus(wait.timeout_ms),
            quorum: wait.agents,
            asked: asked.collect(),
            receipts: vec![],
        };
        self.0.insert(request, waiting);
        self.end_if_complete(request)
    }

    /// The updates that this new or renewed subscriber is to be asked about. It takes the
    /// place of the socket that its agent had before.
    pub(crate) fn joined(
        &mut self,
        socket: SocketId,
        agent: &str,
        is_for_it: impl Fn(&Update) -> bool,
    ) -> Vec<Seq> {
        let mut seqs = vec![];
        for waiting in self.0.values_mut().filter(|it| is_for_it(&it.update)) {
            let known = waiting.asked.iter().position(|it| it.socket == socket);
            let before = || waiting.asked.iter().position(|it| it.agent == agent && !it.answered);
            match known.or_else(before).and_then(|at| waiting.asked.get_mut(at)) {
                Some(asked) if asked.answered => continue,
                Some(asked) => asked.socket = socket,
                None if waiting.quorum == Quorum::All => continue,
                None => {
                    let agent = agent.to_owned();
                    waiting.asked.push(Asked { agent, socket, answered: false });
                }
            }
            seqs.push(waiting.seq);
        }
        seqs
    }

    /// An agent said what became of an update.
    pub(crate) fn receipt(&mut self, socket: SocketId, receipt: &Receipt) -> Vec<Done> {
        let mut touched = vec![];
        for (request, waiting) in &mut self.0 {
            if waiting.seq != receipt.seq {
                continue;
            }
            let mut asked = waiting.asked.iter_mut();
            if let Some(asked) = asked.find(|it| it.socket == socket && !it.answered) {
                asked.answered = true;
                let (agent, receipt) = (asked.agent.clone(), receipt.clone());
                waiting.receipts.push(AgentReceipt { agent, receipt });
                touched.push(*request);
            }
        }
        touched.into_iter().filter_map(|request| self.end_if_complete(request)).collect()
    }

    /// When the first deadline is.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.0.values().map(|waiting| waiting.deadline).min()
    }

    /// Those whose time is up.
    pub(crate) fn over(&mut self, now: Millis) -> Vec<Done> {
        let over = self.0.iter().filter(|(_, waiting)| waiting.deadline <= now);
        let over: Vec<RequestId> = over.map(|(request, _)| *request).collect();
        over.into_iter().filter_map(|request| self.end(request)).collect()
    }

    fn end_if_complete(&mut self, request: RequestId) -> Option<Done> {
        if self.0.get(&request)?.is_complete() { self.end(request) } else { None }
    }

    fn end(&mut self, request: RequestId) -> Option<Done> {
        let waiting = self.0.remove(&request)?;
        let (complete, expected) = (waiting.is_complete(), waiting.expected());
        let expected = u32::try_from(expected).unwrap_or(u32::MAX);
        let said = Receipts { complete, expected, receipts: waiting.receipts };
        let mut answer = waiting.answer;
        if let HubAnswer::Appended { receipts, .. }
        | HubAnswer::PolicySet { receipts, .. }
        | HubAnswer::Plane { receipts, .. }
        | HubAnswer::Directory { receipts, .. } = &mut answer
        {
            *receipts = Some(said);
        }
        Some((request, answer))
    }
}

impl Waiting {
    fn expected(&self) -> usize {
        match self.quorum {
            Quorum::All => self.asked.len(),
            Quorum::AtLeast(agents) => usize::try_from(agents).unwrap_or(usize::MAX),
        }
    }

    fn is_complete(&self) -> bool {
        let early = usize::from(planted(Bug::AnsweredEarly));
        self.receipts.len() + early >= self.expected()
    }
}
