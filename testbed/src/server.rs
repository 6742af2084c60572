//! An HTTP server of ours that can go away as a machine does, and come back.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::sync::oneshot;

/// A server on 127.0.0.1, on a thread and runtime of its own: when that ends, every connection is
/// cut, as when a machine goes away. `axum::serve` alone would leave open connections served.
/// Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    app: Router,
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

// === impl Server ===

impl Server {
    /// Serves `app` on a free port; `name` is the thread's.
    ///
    /// # Errors
    /// No port or thread could be had.
    pub(crate) fn start(name: &'static str, app: Router) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let running = Some(Running::start(name, listener, app.clone())?);
        Ok(Self { name, app, address, running })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes away: the port refuses connections, and open ones are cut.
    pub(crate) fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }

    /// Comes back on the same port.
    ///
    /// # Errors
    /// The port was taken by something else in the meantime.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop();
        let listener = TcpListener::bind(self.address)
            .with_context(|| format!("listening on {} again", self.address))?;
        self.running = Some(Running::start(self.name, listener, self.app.clone())?);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(name: &'static str, listener: TcpListener, app: Router) -> Result<Self> {
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
}
