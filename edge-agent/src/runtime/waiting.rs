//! Waiting until the agent is far enough.

use std::time::Duration;

use protocol::{Millis, Seq};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::core::Input;
use crate::core::status::Progress;

/// Whoever waits holds one.
#[derive(Clone)]
pub(crate) struct Waiting {
    progress: watch::Receiver<Progress>,
    inputs: mpsc::UnboundedSender<Input>,
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
        started: Instant,
    ) -> Self {
        Self { progress, inputs, started }
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
        let until = self.started.elapsed().saturating_add(timeout).as_millis();
        let until = Millis(u64::try_from(until).unwrap_or(u64::MAX));
        // The receiver lives as long as the process.
        let _ = self.inputs.send(Input::Wanted(wanted, until));
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For an engine that is always far enough.
    pub(crate) fn never() -> Waiting {
        waiting(Some(Seq(u64::MAX))).0
    }

    fn waiting(
        at: Option<Seq>,
    ) -> (Waiting, watch::Sender<Progress>, mpsc::UnboundedReceiver<Input>) {
        let (sender, progress) = watch::channel(Progress { at, head: None });
        let (inputs, received) = mpsc::unbounded_channel();
        (Waiting::new(progress, inputs, Instant::now()), sender, received)
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
}
