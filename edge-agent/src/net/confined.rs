//! Hosts that the fetch at hand may not leave, because of the secrets in it.
//!
//! Rules for secrets judge a source as it is written, and who connects reads it once more. What
//! came out of that is compared here, when [`Reach`](super::Reach) is asked about it: within one
//! fetch, and within its own task. What a library connects to by itself later is not seen.

use std::sync::Arc;

/// Says whether a host, as it is written, is one of those.
pub(crate) type Hosts = Arc<dyn Fn(&str) -> bool + Send + Sync>;

tokio::task_local! {
    static HOSTS: Hosts;
}

/// Does `work` within these hosts.
pub(crate) async fn within<F: Future>(hosts: Hosts, work: F) -> F::Output {
    HOSTS.scope(hosts, work).await
}

/// Does `work`, which carries no secret, wherever it leads.
pub(crate) fn released<T>(work: impl FnOnce() -> T) -> T {
    HOSTS.sync_scope(Arc::new(|_| true), work)
}

/// True if what is done here may be done at this host.
pub(super) fn admits(host: &str) -> bool {
    HOSTS.try_with(|hosts| hosts(host)).unwrap_or(true)
}
