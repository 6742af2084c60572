//! Waiting until the agent is far enough, and until one update has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::socket::Receipt;
use protocol::{Millis, Seq};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::core::Input;
use crate::core::status::Progress;

/// After how long the hub is asked on behalf of who waits for an update, and how often: what it
/// pushes is mostly there before.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Whoever waits holds one.
#[derive(Clone)]
pub(crate) struct Waiting {
    progress: watch::Receiver<Progress>,
    inputs: mpsc::UnboundedSender<Input>,
    awaited: mpsc::UnboundedSender<Awaited>,
    /// When the core's clock began.
    started: Instant,
}

/// The time was up before the agent was far enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is at {at}, {lag} behind {wanted}, and did not get there in time; wait longer, \
         or see /status for what holds it up", at = self.at())]
pub(crate) struct Behind {
    /// What was waited for.
    pub(crate) wanted: Seq,
    /// How far the agent was at the end.
    pub(crate) progress: Progress,
    /// How many updates it may have been behind.
    pub(crate) lag: u64,
}

impl Behind {
    fn at(&self) -> Seq {
        self.progress.at.unwrap_or(Seq::ZERO)
    }
}

impl Waiting {
    pub(super) fn new(
        progress: watch::Receiver<Progress>,
        inputs: mpsc::UnboundedSender<Input>,
        awaited: mpsc::UnboundedSender<Awaited>,
        started: Instant,
    ) -> Self {
        Self { progress, inputs, awaited, started }
    }

    /// Waits until an update has ended at this agent, for as long as that takes: in the engine,
    /// superseded by a newer one that is, or refused. Others that wait for their sources do not
    /// hold it up.
    pub(crate) async fn ended(&self, seq: Seq) -> Receipt {
        let (to, mut ended) = oneshot::channel();
        // Both receivers live as long as the process.
        let _ = self.awaited.send(Awaited { seq, to });
        loop {
            tokio::select! {
                // Nobody is there to tell only while the process ends, and this with it.
                Ok(receipt) = &mut ended => return receipt,
                () = tokio::time::sleep(ASK_EVERY) => self.want(seq, ASK_EVERY),
            }
        }
    }

    /// Waits as [`Waiting::at_least`] does, for as long as it takes. The hub is asked again only
    /// while somebody waits.
    pub(crate) async fn reached(&self, wanted: Seq) {
        while self.at_least(wanted, ASK_EVERY).await.is_err() {}
    }

    /// Has the hub asked whether there is anything for us up to `seq`.
    fn want(&self, seq: Seq, patience: Duration) {
        let until = self.started.elapsed().saturating_add(patience).as_millis();
        let until = Millis(u64::try_from(until).unwrap_or(u64::MAX));
        // The receiver lives as long as the process.
        let _ = self.inputs.send(Input::Wanted(seq, until));
    }

    /// How far the agent is now.
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits until everything up to `wanted` that is for this agent has taken effect, and
    /// the engine answers; 0 waits for the engine only.
    pub(crate) async fn at_least(
        &self,
        wanted: Seq,
        timeout: Duration,
    ) -> Result<Progress, Behind> {
        let mut progress = self.progress.clone();
        let is_there = |progress: &Progress| progress.at.is_some_and(|at| at >= wanted);
        let now = *progress.borrow();
        if is_there(&now) {
            return Ok(now);
        }
        self.want(wanted, timeout);
        let reached = tokio::time::timeout(timeout, progress.wait_for(is_there)).await;
        match reached {
            Ok(Ok(progress)) => Ok(*progress),
            Ok(Err(_)) | Err(_) => {
                let progress = *self.progress.borrow();
                let at = progress.at.unwrap_or(Seq::ZERO);
                Err(Behind { wanted, progress, lag: wanted.0.saturating_sub(at.0) })
            }
        }
    }
}

/// Somebody waits for an update.
pub(super) struct Awaited {
    seq: Seq,
    to: oneshot::Sender<Receipt>,
}

/// Those who wait for updates, held by who owns the core.
#[derive(Default)]
pub(super) struct Awaiting(BTreeMap<Seq, Vec<oneshot::Sender<Receipt>>>);

impl Awaiting {
    /// One more, who is told at once if the update has ended already.
    pub(super) fn add(&mut self, awaited: Awaited, receipt: impl Fn(Seq) -> Option<Receipt>) {
        let Awaited { seq, to } = awaited;
        match receipt(seq) {
            // Who asked may have gone away.
            Some(receipt) => drop(to.send(receipt)),
            None => self.0.entry(seq).or_default().push(to),
        }
    }

    /// Tells those whose updates have ended, and forgets those who have gone away.
    pub(super) fn tell(&mut self, receipt: impl Fn(Seq) -> Option<Receipt>) {
        self.0.retain(|seq, waiting| {
            waiting.retain(|to| !to.is_closed());
            let ended = if waiting.is_empty() { None } else { receipt(*seq) };
            let Some(receipt) = ended else { return !waiting.is_empty() };
            for to in waiting.drain(..) {
                // Who asked may have gone away.
                let _ = to.send(receipt.clone());
            }
            false
        });
    }

    /// Tells all that their updates never take effect.
    pub(super) fn give_up(&mut self, why: &str) {
        let failed = |seq| Receipt { seq, applied: false, error: Some(why.to_owned()) };
        self.tell(|seq| Some(failed(seq)));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For an engine that is always far enough.
    pub(crate) fn never() -> Waiting {
        waiting(Some(Seq(u64::MAX))).0
    }

    /// Whose updates end as the answer to a number says, and never where it is none.
    pub(crate) fn ending(become_of: impl Fn(Seq) -> Option<Receipt> + Send + 'static) -> Waiting {
        let (_, progress) = watch::channel(Progress::default());
        let (inputs, _) = mpsc::unbounded_channel();
        let (awaited, mut asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut awaiting = Awaiting::default();
            while let Some(awaited) = asked.recv().await {
                awaiting.add(awaited, &become_of);
            }
        });
        Waiting::new(progress, inputs, awaited, Instant::now())
    }

    /// For an engine that has nothing yet; as long as what comes with it is kept.
    pub(crate) fn not_yet() -> (Waiting, impl Sized) {
        let (waiting, progress, inputs) = waiting(None);
        (waiting, (progress, inputs))
    }

    fn waiting(
        at: Option<Seq>,
    ) -> (Waiting, watch::Sender<Progress>, mpsc::UnboundedReceiver<Input>) {
        let (sender, progress) = watch::channel(Progress { at, head: None });
        let (inputs, received) = mpsc::unbounded_channel();
        let (awaited, _) = mpsc::unbounded_channel();
        (Waiting::new(progress, inputs, awaited, Instant::now()), sender, received)
    }

    #[tokio::test]
    async fn who_is_there_does_not_wait_and_nobody_is_asked() {
        let (waiting, _progress, mut inputs) = waiting(Some(Seq(5)));
        assert!(waiting.at_least(Seq(5), Duration::ZERO).await.is_ok());
        assert!(inputs.try_recv().is_err());
    }

    #[tokio::test]
    async fn waiting_ends_when_the_agent_is_there() {
        let (waiting, progress, mut inputs) = waiting(Some(Seq(5)));
        let reached =
            tokio::spawn(async move { waiting.at_least(Seq(7), Duration::from_secs(60)).await });
        assert!(matches!(inputs.recv().await, Some(Input::Wanted(Seq(7), _))));
        progress.send(Progress { at: Some(Seq(6)), head: None }).unwrap();
        progress.send(Progress { at: None, head: None }).unwrap();
        progress.send(Progress { at: Some(Seq(9)), head: None }).unwrap();
        assert_eq!(reached.await.unwrap().unwrap().at, Some(Seq(9)));
    }

    #[tokio::test]
    async fn when_time_is_up_the_lag_is_told() {
        let (waiting, _progress, _inputs) = waiting(Some(Seq(5)));
        let behind = waiting.at_least(Seq(7), Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(behind.lag, 2);
        assert!(behind.to_string().starts_with("the agent is at 5, 2 behind 7"), "{behind}");
    }

    fn receipt(seq: Seq, applied: bool) -> Receipt {
        Receipt { seq, applied, error: None }
    }

    /// Somebody who waits for an update, and the end of theirs.
    fn awaited(seq: u64) -> (Awaited, oneshot::Receiver<Receipt>) {
        let (to, ended) = oneshot::channel();
        (Awaited { seq: Seq(seq), to }, ended)
    }

    #[tokio::test]
    async fn an_update_that_has_ended_already_is_told_at_once() {
        let waiting = ending(|seq| Some(receipt(seq, seq == Seq(5))));
        assert_eq!(waiting.ended(Seq(5)).await, receipt(Seq(5), true));
        assert_eq!(waiting.ended(Seq(6)).await, receipt(Seq(6), false));
    }

    #[test]
    fn those_who_wait_for_an_update_are_told_when_it_has_ended_and_no_others() {
        let mut awaiting = Awaiting::default();
        let mut ended = vec![];
        for seq in [5, 5, 7] {
            let (awaited, end) = awaited(seq);
            awaiting.add(awaited, |_| None);
            ended.push(end);
        }
        awaiting.tell(|seq| (seq == Seq(5)).then(|| receipt(seq, true)));
        assert_eq!(ended[0].try_recv(), Ok(receipt(Seq(5), true)));
        assert_eq!(ended[1].try_recv(), Ok(receipt(Seq(5), true)));
        assert!(ended[2].try_recv().is_err());
        awaiting.give_up("the log began anew");
        let given_up = ended[2].try_recv().unwrap();
        assert_eq!(
            (given_up.applied, given_up.error.as_deref()),
            (false, Some("the log began anew"))
        );
        assert!(awaiting.0.is_empty());
    }

    #[test]
    fn nobody_is_kept_who_has_gone_away() {
        let mut awaiting = Awaiting::default();
        let (awaited, ended) = awaited(5);
        awaiting.add(awaited, |_| None);
        drop(ended);
        awaiting.tell(|_| None);
        assert!(awaiting.0.is_empty());
    }

    #[tokio::test]
    async fn who_waits_without_limit_is_told_when_the_agent_is_there() {
        let (waiting, progress, mut inputs) = waiting(Some(Seq(5)));
        let reached = tokio::spawn(async move { waiting.reached(Seq(7)).await });
        assert!(matches!(inputs.recv().await, Some(Input::Wanted(Seq(7), _))));
        assert!(matches!(inputs.recv().await, Some(Input::Wanted(Seq(7), _))), "asked again");
        progress.send(Progress { at: Some(Seq(7)), head: None }).unwrap();
        reached.await.unwrap();
    }

    #[tokio::test]
    async fn the_hub_is_asked_about_an_update_that_does_not_come() {
        let (waiting, _progress, mut inputs) = waiting(None);
        let asking = tokio::spawn(async move { waiting.ended(Seq(7)).await });
        assert!(matches!(inputs.recv().await, Some(Input::Wanted(Seq(7), _))));
        asking.abort();
    }
}
