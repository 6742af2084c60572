//! A network that fails: a TCP proxy between two parts that cuts, stops and swallows on demand, and
//! counts what passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUFFER_BYTES: usize = 16 << 10;

/// Passes TCP connections on to one address of this machine. Cut when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Network {
    weather: watch::Sender<Weather>,
    opened: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// What happens to connections, which are numbered from 1 in the order of their arrival.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Nothing passes, nothing is lost.
    frozen: bool,
    /// Connections up to this number are cut.
    cut: u64,
    /// What is sent on connections up to this number is lost.
    swallowed: u64,
    /// New connections are closed at once.
    refusing: bool,
    /// Nothing comes back over websockets, nothing is lost.
    sockets_held: bool,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy on a free port of 127.0.0.1 for what listens on `port` there.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let network = Arc::new(Network {
            weather: watch::Sender::default(),
            opened: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, port, Arc::clone(&network)));
        Ok(Self { address, network, accepting })
    }

    /// `http://127.0.0.1:PORT`, the proxy's own.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections came so far.
    pub fn connections(&self) -> u64 {
        self.network.opened.load(Ordering::Relaxed)
    }

    /// Bytes that went from who connected to what is behind the proxy.
    pub fn bytes_up(&self) -> u64 {
        self.network.up.load(Ordering::Relaxed)
    }

    /// Bytes that came back.
    pub fn bytes_down(&self) -> u64 {
        self.network.down.load(Ordering::Relaxed)
    }

    /// Ends every open connection, wherever it is in what it says.
    pub fn cut(&self) {
        let opened = self.connections();
        self.network.weather.send_modify(|weather| weather.cut = opened);
    }

    /// From now on nothing passes, in either direction, and nothing is lost, until
    /// [`Proxy::thaw`]. The proxy stops reading, so that who sends finds its buffers full in time.
    pub fn freeze(&self) {
        self.network.weather.send_modify(|weather| weather.frozen = true);
    }

    /// Lets pass what has waited.
    pub fn thaw(&self) {
        self.network.weather.send_modify(|weather| weather.frozen = false);
    }

    /// From now on nothing that is sent over websockets comes to who opened them, and nothing is
    /// lost, until [`Proxy::release_sockets`]; requests are answered.
    pub fn hold_sockets(&self) {
        self.network.weather.send_modify(|weather| weather.sockets_held = true);
    }

    /// Lets pass what websockets have held back.
    pub fn release_sockets(&self) {
        self.network.weather.send_modify(|weather| weather.sockets_held = false);
    }

    /// Loses everything that is sent from now on over the connections open now, and keeps them
    /// open at both ends, as when a machine between them forgets them. New ones work.
    pub fn half_open(&self) {
        let opened = self.connections();
        self.network.weather.send_modify(|weather| weather.swallowed = opened);
    }

    /// Closes new connections at once, or no longer does; open ones stay.
    pub fn refuse(&self, refusing: bool) {
        self.network.weather.send_modify(|weather| weather.refusing = refusing);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, port: u16, network: Arc<Network>) {
    while let Ok((near, _)) = listener.accept().await {
        let number = network.opened.fetch_add(1, Ordering::Relaxed) + 1;
        if !network.weather.borrow().refusing {
            tokio::spawn(connect(near, port, number, Arc::clone(&network)));
        }
    }
}

async fn connect(near: TcpStream, port: u16, number: u64, network: Arc<Network>) {
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    // A proxy that gathers bytes would add a delay that is not the parts' own.
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let is_socket = AtomicBool::new(false);
    let way = |is_up| Way { number, is_up, is_socket: &is_socket, network: &network };
    let (up, down) = (pass(near_in, far_out, way(true)), pass(far_in, near_out, way(false)));
    let mut weather = network.weather.subscribe();
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        _ = weather.wait_for(|weather| weather.cut >= number) => {}
    }
}

/// One direction of a connection.
struct Way<'c> {
    number: u64,
    is_up: bool,
    /// True once somebody has asked for a websocket on this connection.
    is_socket: &'c AtomicBool,
    network: &'c Network,
}

impl Way<'_> {
    fn is_held(&self, weather: &Weather) -> bool {
        let is_pushed_to = !self.is_up && self.is_socket.load(Ordering::Relaxed);
        weather.frozen || weather.sockets_held && is_pushed_to
    }

    fn passes(&self, bytes: &[u8]) {
        if !self.is_up {
            self.network.down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            return;
        }
        self.network.up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let asks = |part: &[u8]| part.eq_ignore_ascii_case(b"upgrade: websocket");
        if bytes.split(|byte| *byte == b'\n').any(|line| asks(line.trim_ascii())) {
            self.is_socket.store(true, Ordering::Relaxed);
        }
    }
}

/// Passes bytes on until their end, which it passes on too.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, way: Way<'_>) {
    let mut weather = way.network.weather.subscribe();
    let mut buffer = vec![0; BUFFER_BYTES];
    let swallowed = |weather: &Weather| weather.swallowed >= way.number;
    loop {
        // The sender lives as long as `network`.
        let _ = weather.wait_for(|weather| !way.is_held(weather)).await;
        let read = from.read(&mut buffer).await;
        let now = weather.wait_for(|weather| !way.is_held(weather)).await.map(|it| *it);
        let lost = now.is_ok_and(|weather| swallowed(&weather));
        match read.ok().and_then(|bytes| buffer.get(..bytes)).filter(|bytes| !bytes.is_empty()) {
            Some(_) if lost => {}
            Some(bytes) => {
                if to.write_all(bytes).await.is_err() {
                    break;
                }
                way.passes(bytes);
            }
            // The other end does not hear of this end's end; it stays until it is cut.
            None if lost => std::future::pending().await,
            None => break,
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const A_WHILE: Duration = Duration::from_millis(100);

    /// A server that says everything back, and a proxy before it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::start(port).await.unwrap()
    }

    async fn said_back(socket: &mut TcpStream, word: &[u8; 4]) -> bool {
        socket.write_all(word).await.unwrap();
        heard(socket, word).await
    }

    async fn heard(socket: &mut TcpStream, word: &[u8; 4]) -> bool {
        let mut answer = [0; 4];
        match timeout(A_WHILE, socket.read_exact(&mut answer)).await {
            Ok(read) => read.is_ok() && answer == *word,
            Err(_) => false,
        }
    }

    #[tokio::test]
    async fn bytes_pass_and_are_counted() {
        let proxy = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut socket, b"abcd").await);
        assert!(said_back(&mut socket, b"efgh").await);
        assert_eq!((proxy.connections(), proxy.bytes_up(), proxy.bytes_down()), (1, 8, 8));
    }

    #[tokio::test]
    async fn what_a_frozen_proxy_holds_back_comes_after_it_thaws() {
        let proxy = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut socket, b"abcd").await);
        proxy.freeze();
        assert!(!said_back(&mut socket, b"efgh").await);
        proxy.thaw();
        assert!(heard(&mut socket, b"efgh").await);
    }

    #[tokio::test]
    async fn what_is_pushed_over_websockets_is_held_and_what_is_asked_for_is_answered() {
        let proxy = echo().await;
        let mut pushed = TcpStream::connect(proxy.address).await.unwrap();
        let asking = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        pushed.write_all(asking).await.unwrap();
        pushed.read_exact(&mut [0; 40]).await.unwrap();
        proxy.hold_sockets();
        assert!(!said_back(&mut pushed, b"abcd").await);
        let mut asked = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut asked, b"abcd").await);
        proxy.release_sockets();
        assert!(heard(&mut pushed, b"abcd").await);
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_not_later_ones() {
        let proxy = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut socket, b"abcd").await);
        proxy.cut();
        assert!(!matches!(timeout(SOON, socket.read(&mut [0])).await.unwrap(), Ok(1)));
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut socket, b"abcd").await);
    }

    #[tokio::test]
    async fn a_half_open_connection_is_open_and_silent_for_ever() {
        let proxy = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut socket, b"abcd").await);
        proxy.half_open();
        assert!(!said_back(&mut socket, b"efgh").await);
        assert!(timeout(A_WHILE, socket.read(&mut [0])).await.is_err(), "it is still open");
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut socket, b"abcd").await);
    }

    #[tokio::test]
    async fn a_refusing_proxy_closes_new_connections_only() {
        let proxy = echo().await;
        let mut old = TcpStream::connect(proxy.address).await.unwrap();
        assert!(said_back(&mut old, b"abcd").await);
        proxy.refuse(true);
        let mut new = TcpStream::connect(proxy.address).await.unwrap();
        assert!(!matches!(timeout(SOON, new.read(&mut [0])).await.unwrap(), Ok(1)));
        assert!(said_back(&mut old, b"abcd").await);
    }
}
