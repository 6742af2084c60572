//! An HTTP server of ours that can go away as a machine does.

use std::net::TcpListener;
use std::thread;

use anyhow::Result;
use axum::Router;
use tokio::sync::oneshot;

/// A server on a thread and runtime of its own: when that ends, every connection is cut, as when a
/// machine goes away. `axum::serve` alone would leave open connections served.
#[derive(Debug)]
pub(crate) struct Server {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

// === impl Server ===

impl Server {
    /// Serves `app`; `name` is the thread's.
    ///
    /// # Errors
    /// No thread could be had.
    pub(crate) fn start(name: &'static str, listener: TcpListener, app: Router) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        _ = axum::serve(listener, app) => (),
                        _ = stopped => (),
                    },
                    Err(error) => eprintln!("{name}: {error}"),
                }
            });
        })?;
        Ok(Self { stop, thread })
    }

    /// Cuts every connection, and frees the port.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}
