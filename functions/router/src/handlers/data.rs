//! Updates come in, base sources and what is left of the log go out.

use platform::now;
use protocol::internal::SOURCES_DOCUMENT;
use protocol::opal::data::{SourceList, Sources};
use protocol::{Claims, DEFAULT_SCOPE, PeerType, Problem, Seq, credentials, json, limits};
use publish::Published;
use publish::scopes::{name_topics, named_by_topics};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use worker::{Response, console_log};

use super::scopes::{is_scope, no_such};
use super::{Asked, body};
use crate::answer;
use crate::ask::{self, SnapshotQuery};
use crate::settings::{self, authority};

/// Bytes of inline data in one answer. What is beyond it is fetched entry by entry.
const INLINE_BYTES: usize = 4 << 20;
/// Seconds for which the token lives that a client takes along to an external source.
const REDIRECT_SECONDS: u64 = 60;

/// Takes an update.
pub(super) async fn publish(asked: Asked<'_>) -> Result<Response, Problem> {
    let mut scope = asked.path_scope()?;
    let claims = asked.authenticate()?;
    let limit = limits::MAX_UPDATE_BYTES;
    let body = body(asked.request, limit, Problem::update_too_large).await?;
    let (id, mut update) = publish::accept(&claims, &body)?;
    if scope == DEFAULT_SCOPE
        && let Some(named) = named_by_topics(&update)
        && is_scope(asked.caller.env, named).await?
    {
        named.clone_into(&mut scope);
    }
    claims.require_change(&scope)?;
    name_topics(&scope, &mut update);
    let wait = publish::query::wait(&asked.query())?;
    let warnings = credentials::warnings(&update);
    let (seq, receipts) = ask::append(asked.caller, &scope, &id, update, claims, wait).await?;
    answer::ok(&Published::new(id, seq, receipts).warn(warnings))
}

/// Answers a client that connects: the base sources, then what is left of the log.
pub(super) async fn sources(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate()?;
    answer_sources(&asked, claims).await
}

/// The same for who has been verified.
pub(super) async fn answer_sources(asked: &Asked<'_>, claims: Claims) -> Result<Response, Problem> {
    let env = asked.caller.env;
    let kept = ask::document(env, DEFAULT_SCOPE, Some(claims.clone()), SOURCES_DOCUMENT).await?;
    let sources = match kept {
        Some(kept) => json::parse(kept.get().as_bytes())?,
        None => settings::sources(env)?,
    };
    match sources {
        Sources { external_source_url: Some(url), .. } => redirect(asked, &url),
        Sources { config, .. } => {
            list(asked, DEFAULT_SCOPE, claims, &config.unwrap_or_default()).await
        }
    }
}

/// Sends a client to whoever serves the sources. A token has to go with it in the address,
/// since clients drop the header on the way (`spec/opal-protocol.md` §2.2); it is not the
/// client's own but one for this moment.
fn redirect(asked: &Asked<'_>, url: &str) -> Result<Response, Problem> {
    let bearer = asked.authorization();
    let authority = authority(asked.caller.env)?;
    let brief = authority.brief(bearer.as_deref(), REDIRECT_SECONDS, now())?;
    let (address, fragment) = match url.split_once('#') {
        Some((address, fragment)) => (address, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let join = if address.contains('?') { '&' } else { '?' };
    answer::redirect(&format!("{address}{join}token={brief}{fragment}"))
}

/// Base sources, and what is left of a scope's log.
pub(super) async fn list(
    asked: &Asked<'_>,
    scope: &str,
    claims: Claims,
    base: &SourceList,
) -> Result<Response, Problem> {
    let env = asked.caller.env;
    let topics = publish::query::topics(&asked.query())?;
    let mut entries: Vec<Box<RawValue>> = vec![];
    for source in &base.entries {
        let mut source = source.clone();
        source.name_topics(scope);
        let is_wanted = topics.as_ref().is_none_or(|wanted| wanted.matches(&source.topics));
        if is_wanted && claims.permits_any(&source.topics) {
            entries.push(encode(&source)?);
        }
    }
    let (mut after, mut budget) = (Seq::ZERO, INLINE_BYTES);
    loop {
        let query = SnapshotQuery {
            topics: topics.clone(),
            after,
            inline_bytes: budget,
            origin: settings::origin(env).unwrap_or_else(|| asked.origin()),
        };
        let part = ask::snapshot(env, scope, claims.clone(), query).await?;
        budget = budget.saturating_sub(part.inline_bytes);
        entries.extend(part.entries);
        match part.next {
            Some(next) => after = next,
            None => break,
        }
    }
    answer::ok(&json!({ "entries": entries }))
}

fn encode(value: &impl Serialize) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(|error| Problem::internal(error.to_string()))
}

/// Sets the base sources, until somebody sets others.
pub(super) async fn set_sources(mut asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    claims.require_change(DEFAULT_SCOPE)?;
    let body = asked.body_of_at_most(limits::MAX_UPDATE_BYTES).await?;
    let sources: Sources = json::parse(&body)?;
    sources.check()?;
    claims.require_topics(sources.config.iter().flat_map(SourceList::topics))?;
    let sources = encode(&sources)?;
    ask::keep(asked.caller.env, DEFAULT_SCOPE, claims, SOURCES_DOCUMENT, Some(sources)).await?;
    answer::ok(&json!({ "status": "ok" }))
}

/// Goes back to the base sources of the settings.
pub(super) async fn unset_sources(asked: Asked<'_>) -> Result<Response, Problem> {
    let claims = asked.authenticate_as(PeerType::Datasource)?;
    claims.require_change(DEFAULT_SCOPE)?;
    ask::keep(asked.caller.env, DEFAULT_SCOPE, claims, SOURCES_DOCUMENT, None).await?;
    answer::ok(&json!({ "status": "ok" }))
}

/// The inline data of an entry that was too large for its frame. The bearer's token is the key
/// that came with its address, and the hub knows it.
pub(super) async fn fetch(asked: Asked<'_>) -> Result<Response, Problem> {
    let scope = asked.path_scope()?;
    let mut numbers = asked.named.iter().rev();
    let place = numbers.next().and_then(|text| text.parse().ok());
    let seq = numbers.next().and_then(|text| text.parse().ok());
    let (Some(seq), Some(place)) = (seq.map(Seq), place) else {
        return Err(Problem::not_found("Not Found"));
    };
    let authorization = asked.authorization().unwrap_or_default();
    let key = authorization.split_once(' ').map(|(_, key)| key.trim().to_owned());
    let key = key.filter(|key| key.len() == 64).unwrap_or_default();
    // The hub of a scope that is not there must not come to be.
    if scope != DEFAULT_SCOPE && !is_scope(asked.caller.env, &scope).await? {
        return Err(no_such(&scope));
    }
    let data = ask::fetch(asked.caller.env, &scope, (seq, place), key).await?;
    answer::ok(&data)
}

/// What a client says became of an update (`spec/opal-protocol.md` §4.3). It goes to the log of
/// the operator, without the data.
pub(super) async fn report(mut asked: Asked<'_>) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(default)]
        update_id: Option<String>,
        reports: Vec<Part>,
        #[serde(default)]
        policy_hash: Option<String>,
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(default)]
        saved: bool,
    }
    asked.authenticate()?;
    let body = asked.body_of_at_most(limits::MAX_UPDATE_BYTES).await?;
    let Report { update_id, reports, policy_hash } = json::parse(&body)?;
    let saved = reports.iter().filter(|part| part.saved).count();
    let of = reports.len();
    // Text of a stranger's: quoted, so that it can begin no line of its own.
    console_log!("report: update {update_id:?}: {saved} of {of} saved; policy {policy_hash:?}");
    answer::ok(&json!({}))
}
