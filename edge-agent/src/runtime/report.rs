//! One line in the log for each [`Report`].

use crate::core::Report;

/// Writes a report to the log, at the level it deserves.
pub(super) fn log(report: &Report) {
    match report {
        Report::Live(seq) => tracing::info!(%seq, "subscribed and caught up"),
        Report::Disconnected(reason, wait) => {
            tracing::warn!(%reason, retry_in_ms = wait, "not connected to the hub");
        }
        Report::Hole(received) => {
            tracing::warn!(%received, "an update is missing; asked for it");
        }
        Report::Reset(reason) => tracing::warn!(%reason, "the hub starts us from its beginning"),
        Report::Refused(code, message) => tracing::error!(%code, %message, "the hub refused us"),
        Report::Applied(seq, id) => tracing::info!(%seq, %id, "update applied"),
        Report::FetchFailed(seq, error, wait) => {
            tracing::warn!(%seq, %error, retry_in_ms = wait, "a source failed; the old data stays");
        }
        Report::GivenUp(seq, error) => tracing::error!(%seq, %error, "an entry is given up"),
        Report::EnginePrepared => tracing::info!("the engine has its policies"),
        Report::PoliciesSet(revision) => {
            tracing::info!(revision = revision.as_deref().unwrap_or("none"), "policies replaced");
        }
        Report::PoliciesFailed(error) => {
            tracing::error!(%error, "the newest policies are not in; the old ones stay");
        }
        Report::EngineDown(error, wait) => {
            tracing::warn!(%error, retry_in_ms = wait, "the engine does not answer");
        }
        Report::Refill => tracing::warn!("the engine was emptied; filling it again"),
        Report::Altered => {
            tracing::warn!("somebody else wrote into the engine; putting its data right");
        }
        Report::NotRestored(path, error) => {
            tracing::error!(%path, %error, "the engine refuses the data kept for this place");
        }
        Report::NotRecorded(error, wait) => {
            tracing::error!(%error, retry_in_ms = wait, "an update cannot be recorded");
        }
        Report::Diverged(difference) => {
            tracing::error!(%difference, "asking the hub for everything again");
        }
    }
}
