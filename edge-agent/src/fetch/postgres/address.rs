//! Where a database is, and who we are there: PostgreSQL's own form of address, and the
//! `connection_params` that replace parts of it.
//!
//! An address comes with an update, so it can name no file and no socket of this machine, and
//! what it says is never repeated but for hosts, port and database.

use std::str::FromStr as _;

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use url::{Url, form_urlencoded};

use super::tls::Mode;
use crate::fetch::endpoint::ConnectionParams;
use crate::fetch::{FetchError, Means};

const FORM: &str = "postgresql://USER@HOST:PORT/DATABASE (a password with special characters goes \
                    into config.connection_params.password, or is percent-encoded)";
const PORT: u16 = 5432;
/// What servers show in their lists of connections, unless the address says otherwise.
const APPLICATION: &str = "girasol";

/// A checked address.
#[derive(Default)]
pub(super) struct Address {
    /// In the order in which they are tried.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) mode: Mode,
    user: String,
    password: Option<String>,
    database: String,
    application: Option<String>,
    options: Option<String>,
}

/// What an address may say after its `?`.
#[derive(Clone, Copy)]
enum Parameter {
    SslMode,
    User,
    Password,
    Database,
    Host,
    Port,
    Application,
    Options,
    /// Only with this value.
    Only(&'static str),
    /// Says how to do something that is done in a way of our own.
    Ignored,
    /// Why it may not be given.
    Refused(&'static str),
}

const FILES: &str = "the agent's own settings name the files for TLS (fetch_ca_file)";

/// The parameters; others are not PostgreSQL's.
const PARAMETERS: [(&str, Parameter); 24] = [
    ("application_name", Parameter::Application),
    ("channel_binding", Parameter::Ignored),
    ("client_encoding", Parameter::Ignored),
    ("connect_timeout", Parameter::Ignored),
    ("database", Parameter::Database),
    ("dbname", Parameter::Database),
    ("fallback_application_name", Parameter::Ignored),
    ("gssencmode", Parameter::Ignored),
    ("host", Parameter::Host),
    ("hostaddr", Parameter::Refused("a host is connected to where its name leads")),
    ("keepalives", Parameter::Ignored),
    ("keepalives_count", Parameter::Ignored),
    ("keepalives_idle", Parameter::Ignored),
    ("keepalives_interval", Parameter::Ignored),
    ("options", Parameter::Options),
    ("password", Parameter::Password),
    ("port", Parameter::Port),
    ("sslcert", Parameter::Refused(FILES)),
    ("sslkey", Parameter::Refused(FILES)),
    ("sslmode", Parameter::SslMode),
    ("sslpassword", Parameter::Refused(FILES)),
    ("sslrootcert", Parameter::Refused(FILES)),
    ("target_session_attrs", Parameter::Only("any")),
    ("user", Parameter::User),
];

impl Address {
    /// Reads `postgresql://user:password@host:port,host:port/database?sslmode=…`.
    ///
    /// # Errors
    /// It is none, or says something that is not for it to say.
    pub(super) fn new(url: &str, params: ConnectionParams) -> Result<Self, FetchError> {
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let is_ours = ["postgresql://", "postgres://"].iter().any(|begin| url.starts_with(begin));
        // What the library finds wrong it repeats, and that can be a part of the password.
        let wrong = || FetchError::permanent(format!("url: it is no address; give {FORM}"));
        if !is_ours {
            return Err(wrong());
        }
        let read = Config::from_str(url).map_err(|_| wrong())?;
        let password = read.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let mut address = Self {
            hosts: hosts(&read)?,
            user: read.get_user().unwrap_or_default().to_owned(),
            password,
            database: read.get_dbname().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        let (mut host, mut port) = (None, None);
        for (name, value) in form_urlencoded::parse(encoded_pluses(query).as_bytes()) {
            let value = value.into_owned();
            let known = PARAMETERS.iter().find(|(known, _)| *known == name);
            let Some((name, parameter)) = known else {
                let known = PARAMETERS.map(|(name, _)| name).join(", ");
                let message = format!("url: it has an unknown parameter; there are {known}");
                return Err(FetchError::permanent(message));
            };
            let refused = |why| Err(FetchError::permanent(format!("url: {name}: {why}")));
            match parameter {
                Parameter::SslMode => match Mode::named(&value) {
                    Some(mode) => address.mode = mode,
                    None => return refused(format!("give one of {}", Mode::names())),
                },
                Parameter::User => address.user = value,
                Parameter::Password => address.password = Some(value),
                Parameter::Database => address.database = value,
                Parameter::Host => host = Some(value),
                Parameter::Port => match value.parse() {
                    Ok(number) => port = Some(number),
                    Err(_) => return refused("give one number".to_owned()),
                },
                Parameter::Application => address.application = Some(value),
                Parameter::Options => address.options = Some(value),
                Parameter::Only(only) if value == *only => {}
                Parameter::Only(only) => return refused(format!("only `{only}` is known")),
                Parameter::Ignored => {}
                Parameter::Refused(why) => return refused((*why).to_owned()),
            }
        }
        address.replace_host(host, port)?;
        address.replace_host(params.host, params.port.map(|port| port.0))?;
        if address.hosts.is_empty() {
            address.hosts.push(("localhost".to_owned(), PORT));
        }
        address.user = params.user.unwrap_or(address.user);
        address.password = params.password.or(address.password);
        address.database = params.db.map(|name| name.0).unwrap_or(address.database);
        if address.user.is_empty() {
            return Err(FetchError::permanent(format!("url: it names no user; give {FORM}")));
        }
        if address.database.is_empty() {
            address.database.clone_from(&address.user);
        }
        Ok(address)
    }

    fn replace_host(&mut self, host: Option<String>, port: Option<u16>) -> Result<(), FetchError> {
        if let Some(host) = host {
            let port = port.or_else(|| self.hosts.first().map(|(_, port)| *port)).unwrap_or(PORT);
            self.hosts = vec![(named(&host)?, port)];
        } else if let Some(port) = port {
            if self.hosts.is_empty() {
                self.hosts.push(("localhost".to_owned(), port));
            }
            self.hosts.iter_mut().for_each(|(_, own)| *own = port);
        }
        Ok(())
    }

    /// Whether it may be connected to, as far as the address itself tells.
    ///
    /// # Errors
    /// One of the hosts may not be.
    pub(super) fn check(&self, means: &Means) -> Result<(), FetchError> {
        for (host, port) in &self.hosts {
            let url = Url::parse(&self.shown_at(host, *port));
            let url = url.map_err(|_| self.permanent("its host is none"))?;
            let refused = |refused| self.permanent(&format!("{refused}"));
            means.reach.check(&url).map_err(refused)?;
        }
        Ok(())
    }

    /// What the library is to say at the beginning of a connection.
    pub(super) fn login(&self) -> Config {
        let mut config = Config::new();
        config.user(&self.user).dbname(&self.database).ssl_mode(self.mode.negotiated());
        config.application_name(self.application.as_deref().unwrap_or(APPLICATION));
        if let Some(password) = &self.password {
            config.password(password);
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        config
    }

    /// What tells two connections apart. It holds the password: it is not for people.
    pub(super) fn identity(&self) -> String {
        let Self { hosts, mode, user, password, database, application, options } = self;
        format!("{:?}", (hosts, mode, user, password, database, application, options))
    }

    /// An error worth another try, that names the address.
    pub(super) fn failed(&self, message: &str) -> FetchError {
        FetchError::new(format!("{}: {message}", self.shown()))
    }

    /// An error for good, that names the address.
    pub(super) fn permanent(&self, message: &str) -> FetchError {
        FetchError::permanent(format!("{}: {message}", self.shown()))
    }

    /// The address for people: hosts and database.
    fn shown(&self) -> String {
        let hosts: Vec<_> =
            self.hosts.iter().map(|(host, port)| format!("{}:{port}", bracketed(host))).collect();
        format!("postgresql://{}/{}", hosts.join(","), self.database)
    }

    fn shown_at(&self, host: &str, port: u16) -> String {
        format!("postgresql://{}:{port}/{}", bracketed(host), self.database)
    }
}

/// The library's rules for addresses keep a `+`, those for forms do not.
fn encoded_pluses(query: &str) -> String {
    query.replace('+', "%2B")
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The hosts with their ports.
fn hosts(read: &Config) -> Result<Vec<(String, u16)>, FetchError> {
    let port = |index| read.get_ports().get(index).copied().unwrap_or(PORT);
    let host = |(index, host): (usize, &Host)| match host {
        Host::Tcp(name) => Ok((named(name)?, port(index))),
        Host::Unix(_) => Err(socket()),
    };
    read.get_hosts().iter().enumerate().map(host).collect()
}

fn named(host: &str) -> Result<String, FetchError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare {
        "" => Ok("localhost".to_owned()),
        path if path.starts_with(['/', '@']) => Err(socket()),
        name => Ok(name.to_owned()),
    }
}

/// Nothing could say which sockets a publisher may have connected to.
fn socket() -> FetchError {
    FetchError::permanent("url: a Unix socket is not connected to; give a host, such as localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, params: &str) -> Result<Address, FetchError> {
        Address::new(url, serde_json::from_str(params).unwrap())
    }

    #[test]
    fn an_address_says_where_and_who_and_params_replace_its_parts() {
        for (url, params, shown, user, password) in [
            ("postgresql://u@h/d", "{}", "postgresql://h:5432/d", "u", None),
            ("postgres://u:p%40x@h:7", "{}", "postgresql://h:7/u", "u", Some("p@x")),
            (
                "postgresql://u@a:1,b:2,[::1]/d",
                "{}",
                "postgresql://a:1,b:2,[::1]:5432/d",
                "u",
                None,
            ),
            (
                "postgresql:///d?user=u&password=a+b",
                "{}",
                "postgresql://localhost:5432/d",
                "u",
                Some("a+b"),
            ),
            ("postgresql://u@h:7/d?host=i", "{}", "postgresql://i:7/d", "u", None),
            (
                "postgresql://u:p@h:7/d",
                r#"{"database":"e","user":"v","password":"q","host":"i","port":"8"}"#,
                "postgresql://i:8/e",
                "v",
                Some("q"),
            ),
            ("postgresql://u@/d", r#"{"port":9}"#, "postgresql://localhost:9/d", "u", None),
        ] {
            let read = read(url, params).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(read.shown(), shown, "{url}");
            assert_eq!((read.user.as_str(), read.password.as_deref()), (user, password), "{url}");
        }
    }

    #[test]
    fn sslmode_has_the_names_that_postgresql_has() {
        assert_eq!(read("postgresql://u@h", "{}").unwrap().mode, Mode::Prefer);
        for (name, mode) in
            [("disable", Mode::Disable), ("require", Mode::Require), ("verify-full", Mode::Verify)]
        {
            let url = format!("postgresql://u@h/d?sslmode={name}&connect_timeout=3");
            assert_eq!(read(&url, "{}").unwrap().mode, mode);
        }
        let error = read("postgresql://u@h/d?sslmode=on", "{}").err().unwrap().to_string();
        assert!(error.starts_with("url: sslmode: give one of disable, allow"), "{error}");
    }

    #[test]
    fn what_an_address_may_not_say_is_refused_without_showing_it() {
        for (url, params, words) in [
            ("hidden", "{}", "url: it is no address; give postgresql://"),
            ("mysql://u:hidden@h/d", "{}", "url: it is no address"),
            ("postgresql://u:hidden@h:x/d", "{}", "url: it is no address"),
            ("postgresql://u:p?hidden@h/d", "{}", "url: it is no address"),
            ("postgresql://h/hidden", "{}", "url: it names no user"),
            ("postgresql://u@%2Fhidden/d", "{}", "url: a Unix socket is not connected to"),
            ("postgresql://u@h/d?host=/hidden", "{}", "url: a Unix socket is not connected to"),
            ("postgresql://u@h/d", r#"{"host":"/hidden"}"#, "url: a Unix socket"),
            ("postgresql://u@h/d?sslrootcert=/hidden", "{}", "url: sslrootcert: the agent's own"),
            ("postgresql://u@h/d?hostaddr=1.2.3.4", "{}", "url: hostaddr: a host is connected to"),
            ("postgresql://u@h/d?target_session_attrs=read-write", "{}", "url: target_session"),
        ] {
            let error = read(url, params).err().unwrap_or_else(|| panic!("{url}"));
            assert!(error.is_permanent(), "{url}");
            let error = error.to_string();
            assert!(error.starts_with(words) && !error.contains("hidden"), "{url}: {error}");
        }
    }
}
