//! A real OpenLDAP server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::authority::Authority;
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What all entries are below.
const ROOT: &str = "dc=example,dc=org";
const PASSWORD: &str = "a password of OpenLDAP's";
/// Where Debian has the schemas.
const SCHEMAS: &str = "/etc/ldap/schema";
/// Where Debian has what keeps entries.
const MODULES: &str = "/usr/lib/ldap";

/// An OpenLDAP server of its own on two ports of 127.0.0.1, one of them with TLS if there is an
/// authority. Who is not signed in may read all but passwords and `ou=secret`. Killed when
/// dropped.
#[derive(Debug)]
pub struct Slapd {
    process: Process,
    port: u16,
    tls_port: Option<u16>,
    folder: TempDir,
}

/// A server that is not started yet.
#[derive(Debug, Default)]
pub struct SlapdBuilder<'a> {
    authority: Option<&'a Authority>,
    options: Vec<String>,
    entries: String,
}

// === impl SlapdBuilder ===

impl<'a> SlapdBuilder<'a> {
    /// Speaks TLS too, with a certificate of this authority for `localhost` and 127.0.0.1.
    #[must_use]
    pub fn tls(mut self, authority: &'a Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// One more line of `slapd.conf`, before those of the database.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        self.options.push(line.to_owned());
        self
    }

    /// More entries, as LDIF, parted by empty lines.
    #[must_use]
    pub fn entries(mut self, ldif: &str) -> Self {
        self.entries.push_str(ldif);
        self.entries.push_str("\n\n");
        self
    }

    /// Fills the directory, starts the server and waits until it answers.
    ///
    /// # Errors
    /// OpenLDAP is missing, an entry is wrong, or it did not get ready; the message has what it
    /// wrote.
    pub async fn start(self) -> Result<Slapd> {
        let folder = own_folder("slapd")?;
        let tls = match self.authority {
            None => String::new(),
            Some(authority) => {
                let names = ["localhost", "127.0.0.1"];
                let (certificate, key) = authority.issue(folder.path(), "server", &names)?;
                format!(
                    "TLSCACertificateFile {}\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\n",
                    authority.file().display(),
                    certificate.display(),
                    key.display()
                )
            }
        };
        configure(folder.path(), &format!("{tls}{}", self.options.join("\n")))?;
        fill(folder.path(), &self.entries).await?;
        let port = free_port()?;
        let tls_port = self.authority.map(|_| free_port()).transpose()?;
        let process = spawn(folder.path(), port, tls_port)?;
        let mut server = Slapd { process, port, tls_port, folder };
        server.ready().await?;
        Ok(server)
    }
}

// === impl Slapd ===

impl Slapd {
    /// A server to be told more.
    pub fn builder<'a>() -> SlapdBuilder<'a> {
        SlapdBuilder::default()
    }

    /// `ldap://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// `ldaps://127.0.0.1:PORT`, if it has an authority.
    pub fn secure_url(&self) -> Option<String> {
        self.tls_port.map(|port| format!("ldaps://127.0.0.1:{port}"))
    }

    /// What all entries are below.
    pub fn root(&self) -> &'static str {
        ROOT
    }

    /// The name of the entry that may do everything.
    pub fn user(&self) -> String {
        format!("cn=admin,{ROOT}")
    }

    /// Its password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What the server wrote since it was started last.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Holds it, as a machine without time for it would, or lets it go on.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn hold(&mut self, held: bool) -> Result<()> {
        self.process.hold(held).await
    }

    /// Starts it again with what it had, on the same ports.
    ///
    /// # Errors
    /// Those of [`SlapdBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.process = spawn(self.folder.path(), self.port, self.tls_port)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let ready = |line: &str| line.contains("slapd starting").then_some(());
        self.process.wait_for_line(START_WITHIN, ready).await?;
        // It says so before it listens, and then says nothing more.
        let ports = [Some(self.port), self.tls_port];
        let listening = async {
            for port in ports.into_iter().flatten() {
                while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    sleep(LOOK_EVERY).await;
                }
            }
        };
        timeout(START_WITHIN, listening).await.context("slapd does not listen")
    }
}

fn configure(folder: &Path, options: &str) -> Result<()> {
    let schemas: String = ["core", "cosine", "inetorgperson"]
        .iter()
        .map(|schema| format!("include {SCHEMAS}/{schema}.schema\n"))
        .collect();
    let data = folder.join("data");
    std::fs::create_dir_all(&data)?;
    let text = format!(
        "{schemas}\
         pidfile {pid}\n\
         modulepath {MODULES}\n\
         moduleload back_mdb\n\
         {options}\n\
         database mdb\n\
         maxsize 104857600\n\
         dbnosync\n\
         suffix \"{ROOT}\"\n\
         rootdn \"cn=admin,{ROOT}\"\n\
         rootpw \"{PASSWORD}\"\n\
         directory {data}\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to dn.subtree=\"ou=secret,{ROOT}\" by users read by * none\n\
         access to * by * read\n",
        pid = folder.join("pid").display(),
        data = data.display(),
    );
    std::fs::write(file(folder), text)?;
    Ok(())
}

/// Writes entries into the directory of a server that does not run.
async fn fill(folder: &Path, entries: &str) -> Result<()> {
    let ldif = folder.join("entries.ldif");
    let top = format!("dn: {ROOT}\nobjectClass: dcObject\nobjectClass: organization\no: Example\n");
    std::fs::write(&ldif, format!("{top}dc: example\n\n{entries}"))?;
    let mut slapadd = command(Part::Slapd.find()?);
    // One program has several names, and does what it is called.
    slapadd.arg0("slapadd").arg("-q").arg("-f").arg(file(folder)).arg("-l").arg(&ldif);
    let output = slapadd.kill_on_drop(true).output().await.context("starting slapadd")?;
    if !output.status.success() {
        bail!("slapadd: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn file(folder: &Path) -> PathBuf {
    folder.join("slapd.conf")
}

fn spawn(folder: &Path, port: u16, tls_port: Option<u16>) -> Result<Process> {
    let mut listen = format!("ldap://127.0.0.1:{port}");
    if let Some(port) = tls_port {
        listen.push_str(&format!(" ldaps://127.0.0.1:{port}"));
    }
    let mut slapd = command(Part::Slapd.find()?);
    // Whoever asks for words has it stay in front.
    slapd.arg("-f").arg(file(folder)).args(["-h", &listen, "-d", "stats"]);
    Process::spawn("slapd", slapd).context("starting OpenLDAP")
}
