//! `LdapFetchProvider`: a search in a directory, whose entries are the data.
//!
//! | question | file |
//! |---|---|
//! | What can the settings say? | `config` |
//! | How is a connection made? | `connection` |
//! | What of a server's answers is read at all? | `gate` |
//! | What JSON is an entry? | `entry` |

use futures::future::BoxFuture;
use ldap3::adapters::PagedResults;
use ldap3::{LdapError, SearchOptions};

use super::endpoint::{ConnectionParams, Endpoint, Scheme};
use super::idle::Idle;
use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::json::Json;
use config::{LdapConfig, Search};
use connection::{Connection, OVERHEAD};
use entry::{Entries, Unfit};

mod config;
mod connection;
mod entry;
mod gate;

const SCHEMES: [Scheme; 2] = [
    Scheme { name: "ldap", port: 389, tls: false },
    Scheme { name: "ldaps", port: 636, tls: true },
];

/// Entries of one page: servers give no more than some hundreds at once.
const PAGE: i32 = 500;

/// The community's `LdapFetchProvider`.
pub struct LdapFetcher {
    means: Means,
    idle: Idle<Connection>,
}

/// Why a search has no answer.
enum Failure {
    /// The connection is of no use any more.
    Broken(FetchError),
    /// The server said so, or another connection would bring the same.
    Said(FetchError),
}

// === impl LdapFetcher ===

impl LdapFetcher {
    /// Connects with `means`.
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means, idle: Idle::default() }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let (search, params) = settings_of::<LdapConfig>(source)?.checked()?;
        let url = params.url.as_deref().unwrap_or(&source.url);
        let login = ConnectionParams::login(params.user, params.password);
        let endpoint = Endpoint::new(url, Some(login), &SCHEMES)?;
        endpoint.check(&self.means)?;
        let root = search.root.as_ref().or(endpoint.database.as_ref()).ok_or_else(|| {
            FetchError::permanent("config.root: give the entry below which to search")
        })?;
        let start_tls = params.start_tls == Some(true);
        let identity = format!("{start_tls} {}", endpoint.identity());
        if let Some(kept) = self.idle.take(&identity) {
            match self.search(&endpoint, kept, root, &search).await {
                // It may have been dead for long; the server may not.
                Err(Failure::Broken(_)) => self.idle.forget(&identity),
                done => return self.keep(done, identity),
            }
        }
        let fresh = Connection::new(&endpoint, &self.means, start_tls).await?;
        let done = self.search(&endpoint, fresh, root, &search).await;
        self.keep(done, identity)
    }

    fn keep(
        &self,
        done: Result<(Connection, Json), Failure>,
        identity: String,
    ) -> Result<Json, FetchError> {
        match done {
            Ok((connection, json)) => {
                self.idle.put(identity, connection);
                Ok(json)
            }
            Err(Failure::Broken(error) | Failure::Said(error)) => Err(error),
        }
    }

    /// Searches, page by page, and writes entries down as they come.
    async fn search(
        &self,
        endpoint: &Endpoint,
        mut connection: Connection,
        root: &str,
        search: &Search,
    ) -> Result<(Connection, Json), Failure> {
        let limit = self.means.max_bytes;
        connection.allowance.set(limit.saturating_add(OVERHEAD));
        match self.read(endpoint, &mut connection, root, search).await {
            Ok(json) => Ok((connection, json)),
            Err(Some(error)) => Err(Failure::Said(error)),
            Err(None) => {
                let error = connection.broken(endpoint, limit);
                let judged = connection.is_judged();
                Err(if judged { Failure::Said(error) } else { Failure::Broken(error) })
            }
        }
    }

    /// The data; of an error the connection knows more where it is `None`.
    async fn read(
        &self,
        endpoint: &Endpoint,
        connection: &mut Connection,
        root: &str,
        search: &Search,
    ) -> Result<Json, Option<FetchError>> {
        let gone = |_: LdapError| None;
        let limit = self.means.max_bytes;
        let seconds = i32::try_from(self.means.timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        let attributes: Vec<&str> = search.attributes.iter().map(String::as_str).collect();
        let ldap = connection.ldap.with_search_options(SearchOptions::new().timelimit(seconds));
        let mut found = ldap
            .streaming_search_with(
                PagedResults::new(PAGE),
                root,
                search.scope,
                &search.filter,
                attributes,
            )
            .await
            .map_err(gone)?;
        let mut entries = Entries::new(limit);
        while let Some(entry) = found.next().await.map_err(gone)? {
            // Where else to look is for nobody to follow: it would be out of the publisher's word.
            if entry.is_ref() || entry.is_intermediate() {
                continue;
            }
            entries.push(entry).map_err(|unfit| match unfit {
                Unfit::Malformed => endpoint.failed("answered what is not LDAP"),
                Unfit::TooLarge => {
                    endpoint.failed(&format!("answered more than the limit of {limit} bytes"))
                }
            })?;
        }
        match found.finish().await.rc {
            0 => Ok(entries.finish()),
            code => Err(Some(refusal(endpoint, code))),
        }
    }
}

impl Fetcher for LdapFetcher {
    fn name(&self) -> &'static str {
        "LdapFetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.fetch(source))
    }
}

/// What a server's results mean (RFC 4511 §4.1.9), and whether asking again is of no use.
const RESULTS: [(u32, bool, &str); 18] = [
    (3, false, "the search took longer than a fetch may"),
    (4, true, "the server gives no more entries at once: narrow config.search, or raise its limit"),
    (7, false, "refuses this way of signing in"),
    (8, false, "wants a stronger way of signing in, such as with TLS"),
    (10, true, "answered with a referral, which is not followed: give that server's address"),
    (11, true, "the search is more than the server allows: narrow it"),
    (13, false, "wants TLS: give ldaps://…, or config.connection_params.start_tls"),
    (18, true, "config.search: the server cannot match so"),
    (21, true, "config.search: the server cannot read a value in it"),
    (32, true, "config.root: there is no such entry"),
    (34, true, "config.root: it is not the name of an entry"),
    (48, false, "refuses this way of signing in"),
    (49, false, "refuses the user or the password"),
    (50, false, "refuses this user what the search asks for"),
    (51, false, "is busy"),
    (52, false, "is not available"),
    (53, false, "is not willing to answer"),
    (87, true, "config.search: the server cannot read it"),
];

fn refusal(endpoint: &Endpoint, code: u32) -> FetchError {
    match RESULTS.iter().find(|(known, ..)| *known == code) {
        Some((_, true, words)) => endpoint.permanent(words),
        Some((_, false, words)) => endpoint.failed(words),
        None => endpoint.failed(&format!("refuses the search with result {code}")),
    }
}
