//! A client for one purpose: the same request again and again over one connection, without
//! building or parsing more than that takes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::super::report::Times;

/// A request's bytes, and what must be in the answer to it.
pub(super) struct Ask {
    bytes: Vec<u8>,
    expected: &'static str,
}

/// One connection.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

/// How decisions went.
pub(super) struct Load {
    /// From a request to its answer.
    pub(super) times: Times,
    /// Decisions a second, of all connections together.
    pub(super) per_second: f64,
}

impl Ask {
    /// `POST path` of `body`; `token` goes into `Authorization`.
    pub(super) fn post(
        path: &str,
        token: Option<&str>,
        body: &str,
        expected: &'static str,
    ) -> Self {
        let token = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {token}Content-Length: {length}\r\n\r\n{body}"
        );
        Self { bytes: text.into_bytes(), expected }
    }
}

impl Connection {
    /// Connects to `http://HOST:PORT`.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address).await.with_context(|| format!("at {url}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: Vec::new() })
    }

    /// Sends a request and reads the answer, which must be a 200 with what is expected in it.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<()> {
        self.stream.get_mut().write_all(&ask.bytes).await?;
        let body = self.read().await?;
        if !String::from_utf8_lossy(&body).contains(ask.expected) {
            bail!("{:?} is not in the answer {}", ask.expected, String::from_utf8_lossy(&body));
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Vec<u8>> {
        let (mut length, mut is_chunked, mut is_first) = (0, false, true);
        loop {
            let line = self.read_line().await?;
            if is_first && !line.contains(" 200 ") {
                bail!("the answer begins with {line}");
            }
            is_first = false;
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "" => break,
                "content-length" => length = value.trim().parse()?,
                "transfer-encoding" => is_chunked = true,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        while is_chunked {
            let length = usize::from_str_radix(self.read_line().await?.trim(), 16)?;
            let mut chunk = vec![0; length];
            self.stream.read_exact(&mut chunk).await?;
            self.read_line().await?;
            body.append(&mut chunk);
            is_chunked = length > 0;
        }
        Ok(body)
    }

    async fn read_line(&mut self) -> Result<String> {
        use tokio::io::AsyncBufReadExt as _;
        self.line.clear();
        if self.stream.read_until(b'\n', &mut self.line).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(String::from_utf8_lossy(&self.line).trim_end().to_owned())
    }
}

/// Asks over so many connections for so long, after a tenth of that that does not count.
pub(super) async fn load(
    url: &str,
    asks: &[Ask],
    connections: usize,
    lasting: Duration,
) -> Result<Load> {
    let begins = Instant::now() + lasting / 10;
    let ends = begins + lasting;
    let clients = (0..connections).map(|client| async move {
        let mut connection = Connection::open(url).await?;
        let mut times = Vec::new();
        for ask in asks.iter().cycle().skip(client * asks.len() / connections) {
            let began = Instant::now();
            if began >= ends {
                break;
            }
            connection.ask(ask).await?;
            if began >= begins {
                times.push(began.elapsed());
            }
        }
        Ok::<_, anyhow::Error>(times)
    });
    let times: Vec<_> = try_join_all(clients).await?.into_iter().flatten().collect();
    #[expect(clippy::cast_precision_loss, reason = "a benchmark has fewer than 2^52 rounds")]
    let per_second = times.len() as f64 / lasting.as_secs_f64();
    Ok(Load { times: Times::new(times), per_second })
}
