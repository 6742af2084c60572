//! The control plane, which makes grants, and the data plane, where applications keep facts with
//! them (`spec/opa-and-grants.md` §4.2 to §4.4).
//!
//! Who asks is looked at first, and the hub decides whether he may, before he hears what is wrong
//! with his body: so a body that cannot be read goes to the hub as a refusal that is due.
//! Whatever is refused here is refused in the vault's shape, `{"message": …}`.

use platform::now;
use protocol::internal::{Receipts, Wait};
use protocol::plane::audits::{AuditQuery, Plane};
use protocol::plane::facts::NewFact;
use protocol::plane::{Bearer, HEADER, PlaneCall, PlaneRequest, Refusal};
use protocol::{DEFAULT_SCOPE, Problem, Seq, json, limits};
use publish::query;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use token::{MadeGrant, new_id};
use worker::{Response, console_error};

use ::grants::front::{Admission, admit};

use super::Asked;
use super::scopes::{is_scope, no_such};
use crate::routes::PlaneAction;
use crate::settings::authority;
use crate::{answer, ask};

/// Bytes of a body with a fact in it: a value may be written with six bytes a character.
const MAX_BODY_BYTES: usize = limits::MAX_FACT_BYTES * 6 + (4 << 10);

/// What a path of the planes leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Action(PlaneAction),
    /// Nothing; or nothing with this method.
    Unknown(u16),
}

/// A path without the scope before it, as grants see it; none if it is of no plane.
pub(super) fn path_of_plane(path: &str) -> Option<&str> {
    let inner = match path.strip_prefix("/scopes/") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => path,
    };
    let is_below = |root: &str| inner.strip_prefix(root).is_some_and(|it| it.starts_with('/'));
    (is_below("/api/v1") || is_below("/js/v1")).then_some(inner)
}

/// Serves a request to a plane.
pub(super) async fn serve(mut asked: Asked<'_>, target: Target) -> Result<Response, Problem> {
    match answered(&mut asked, target).await {
        Ok(response) => Ok(response),
        Err(refusal) => refuse(&refusal),
    }
}

fn refuse(refusal: &Refusal) -> Result<Response, Problem> {
    let shown = if refusal.status == 500 {
        console_error!("{refusal}");
        &Refusal::new(500, "Internal Server Error", "the operator's log says why")
    } else {
        refusal
    };
    Ok(answer::ok(&shown.body())?.with_status(shown.status))
}

async fn answered(asked: &mut Asked<'_>, target: Target) -> Result<Response, Refusal> {
    let path = asked.request.path();
    let path = path_of_plane(&path).unwrap_or_default().to_owned();
    let method = asked.request.method().to_string();
    let plane = target.plane();
    let Some(bearer) = asked.bearer(plane, &method, &path)? else {
        return Ok(answer::ok(&serde_json::json!({ "status": "OK" }))?);
    };
    let scope = asked.path_scope()?;
    if scope != DEFAULT_SCOPE && !is_scope(asked.caller.env, &scope).await? {
        // Who has no token of a scope is not told which there are.
        return Err(match bearer {
            Bearer::Master => no_such(&scope).into(),
            Bearer::Grant(_) => Refusal::unauthorized(),
        });
    }
    let (call, token, wait) = match asked.call(target).await {
        Ok(Wanted { call, token, wait }) => (Ok(call), token, wait),
        Err(refusal) => (Err(refusal), None, None),
    };
    let request = PlaneRequest { bearer, plane, method, path, call };
    let (done, receipts) = ask::plane(asked.caller.env, &scope, request, wait).await?;
    let done = done?;
    Ok(answer::ok(&Answer::of(&done.body, token, done.seq, receipts)?)?)
}

/// What is answered: what the hub says, and what it does not know.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Whole(&'a RawValue),
    More(Box<More>),
}

#[derive(Serialize)]
struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(flatten)]
    body: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(flatten)]
    receipts: Option<Receipts>,
}

impl<'a> Answer<'a> {
    fn of(
        body: &'a RawValue,
        token: Option<String>,
        seq: Option<Seq>,
        receipts: Option<Receipts>,
    ) -> Result<Self, Problem> {
        if token.is_none() && seq.is_none() && receipts.is_none() {
            return Ok(Self::Whole(body));
        }
        let mut body: Map<String, Value> = serde_json::from_str(body.get())
            .map_err(|_| Problem::internal("the hub's answer is no object"))?;
        if seq.is_some() {
            body.remove("seq");
        }
        Ok(Self::More(Box::new(More { token, body, seq, receipts })))
    }
}

/// What is asked of the hub.
struct Wanted {
    call: PlaneCall,
    /// The token of a grant that is made.
    token: Option<String>,
    wait: Option<Wait>,
}

impl From<PlaneCall> for Wanted {
    fn from(call: PlaneCall) -> Self {
        Self { call, token: None, wait: None }
    }
}

impl Target {
    fn plane(self) -> Plane {
        use PlaneAction as Is;
        match self {
            Self::Action(
                Is::CreateGrant
                | Is::Grants
                | Is::Grant
                | Is::DeleteGrant
                | Is::Audits
                | Is::Reseal,
            ) => Plane::Control,
            Self::Action(Is::Deploy | Is::Deployment | Is::Deployments) => Plane::Proxy,
            _ => Plane::Data,
        }
    }
}

impl Asked<'_> {
    /// Who asks; none for the health check, which anybody may ask for.
    fn bearer(&self, plane: Plane, method: &str, path: &str) -> Result<Option<Bearer>, Refusal> {
        let token = self.header(HEADER);
        if plane == Plane::Control && token.is_none() {
            let Some(authorization) = self.authorization() else {
                return Err(Refusal::new(
                    400,
                    "missing key in request header",
                    format!(
                        "send the master token as `Authorization: Bearer …`, or a grant's as {HEADER}"
                    ),
                ));
            };
            let master = authority(self.caller.env)?.require_master(Some(&authorization));
            return match master {
                Ok(()) => Ok(Some(Bearer::Master)),
                Err(problem) if problem.status == 401 => {
                    Err(Refusal::new(401, "Unauthorized", problem.detail))
                }
                Err(problem) => Err(problem.into()),
            };
        }
        Ok(match admit(method, path, token.as_deref())? {
            Admission::Health => None,
            Admission::Ask(question) => Some(Bearer::Grant(question)),
        })
    }

    /// The variable of the path, other than the scope.
    fn named_thing(&self) -> String {
        self.named.last().cloned().unwrap_or_default()
    }

    /// A parameter of the query; none if it is empty.
    fn parameter(&self, name: &str) -> Option<String> {
        query::last(&self.query(), name).filter(|value| !value.is_empty())
    }

    async fn plane_body<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, Refusal> {
        let body = self.body_of_at_most(MAX_BODY_BYTES).await?;
        json::parse_confidential(&body).map_err(|problem| Refusal::validation(problem.detail))
    }

    fn wait(&self) -> Result<Option<Wait>, Refusal> {
        query::wait(&self.query()).map_err(|problem| Refusal::validation(problem.detail))
    }

    async fn call(&mut self, target: Target) -> Result<Wanted, Refusal> {
        use PlaneAction as Is;
        let action = match target {
            Target::Action(action) => action,
            Target::Unknown(404) => return Err(Refusal::not_found()),
            Target::Unknown(status) => return Err(Refusal::new(status, "Method Not Allowed", "")),
        };
        let call = match action {
            Is::Health => return Err(Refusal::not_found()),
            Is::CreateGrant => {
                let body = self.small_body().await?;
                let MadeGrant { grant, token } = token::make_grant(&body, now())?;
                let call = PlaneCall::CreateGrant(Box::new(grant));
                return Ok(Wanted { call, token, wait: self.wait()? });
            }
            Is::Grants => PlaneCall::Grants { domain: self.parameter("domain") },
            Is::Grant => PlaneCall::Grant { id: self.named_thing() },
            Is::DeleteGrant => {
                let call = PlaneCall::DeleteGrant { id: self.named_thing() };
                return Ok(Wanted { call, token: None, wait: self.wait()? });
            }
            Is::Audits => {
                PlaneCall::Audits(AuditQuery::read(|name| query::last(&self.query(), name))?)
            }
            Is::Reseal => PlaneCall::Reseal,
            Is::CreateFact | Is::CreatePublicFact => {
                let mut fact: NewFact = self.plane_body().await?;
                if action == Is::CreatePublicFact {
                    fact.scope_custom_id.clear();
                }
                check_custom_id(&fact.scope_custom_id)?;
                let (id, scope_id) = (new_id("fact")?, new_id("scope")?);
                let call = PlaneCall::CreateFact { id, scope_id, fact };
                return Ok(Wanted { call, token: None, wait: self.wait()? });
            }
            Is::Facts => {
                let scope_custom_id = self.parameter("scope_custom_id").ok_or_else(|| {
                    Refusal::validation("scope_custom_id: name the scope in the query")
                })?;
                PlaneCall::Facts { scope_custom_id }
            }
            Is::Fact => PlaneCall::Fact { id: self.named_thing() },
            Is::DeleteFact => {
                let call = PlaneCall::DeleteFact { id: self.named_thing() };
                return Ok(Wanted { call, token: None, wait: self.wait()? });
            }
            Is::CreateFactScope => {
                #[derive(Deserialize)]
                struct NewScope {
                    // The vault's own code calls it `type`.
                    #[serde(alias = "type")]
                    custom_id: String,
                }
                let NewScope { custom_id } = self.plane_body().await?;
                if custom_id.is_empty() {
                    return Err(Refusal::validation("custom_id: it may not be empty"));
                }
                check_custom_id(&custom_id)?;
                PlaneCall::CreateScope { id: new_id("scope")?, custom_id }
            }
            Is::FactScope => {
                let custom_id = self
                    .parameter("custom_id")
                    .ok_or_else(|| Refusal::validation("custom_id: name the scope in the query"))?;
                PlaneCall::Scope { custom_id }
            }
            Is::CreateFactType => {
                #[derive(Deserialize)]
                struct NewType {
                    slug: String,
                    #[serde(default)]
                    validation: Option<String>,
                }
                let NewType { slug, validation } = self.plane_body().await?;
                let validation = validation.filter(|pattern| !pattern.is_empty());
                PlaneCall::CreateFactType { id: new_id("type")?, slug, validation }
            }
            Is::FactTypes => {
                let built_in = self.parameter("builtin").map(|text| match text.as_str() {
                    "true" | "1" => Ok(true),
                    "false" | "0" => Ok(false),
                    _ => Err(Refusal::validation("builtin: give true or false")),
                });
                let built_in = built_in.transpose()?;
                PlaneCall::FactTypes { slug: self.parameter("slug"), built_in }
            }
            Is::Deploy => {
                let name = self.named_thing();
                let is_name = |it: u8| it.is_ascii_alphanumeric() || b"_.-".contains(&it);
                if name.len() > limits::MAX_SLUG_BYTES || !name.bytes().all(is_name) {
                    return Err(Refusal::validation(
                        "a proxy's name has 1 to 64 letters, digits, `_`, `.` or `-`",
                    ));
                }
                let routes: Map<String, Value> = self.plane_body().await?;
                let routes = to_raw_value(&routes).map_err(|_| Refusal::validation("the body"))?;
                PlaneCall::Deploy { name, routes }
            }
            Is::Deployment => PlaneCall::Deployment { name: self.named_thing() },
            Is::Deployments => PlaneCall::Deployments,
        };
        Ok(call.into())
    }
}

fn check_custom_id(id: &str) -> Result<(), Refusal> {
    let limit = limits::MAX_CUSTOM_ID_BYTES;
    if id.len() > limit || id.chars().any(char::is_control) {
        return Err(Refusal::validation(format!(
            "scope_custom_id: at most {limit} bytes, without control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_that_grants_see_has_no_scope() {
        for (path, seen) in [
            ("/api/v1/facts", Some("/api/v1/facts")),
            ("/scopes/acme/api/v1/facts/x", Some("/api/v1/facts/x")),
            ("/scopes/acme/js/v1/facts", Some("/js/v1/facts")),
            ("/api/v1/", Some("/api/v1/")),
            ("/api/v1", None),
            ("/api/v12/facts", None),
            ("/scopes/acme", None),
            ("/scopes/api/v1/facts", None),
            ("/data/config", None),
        ] {
            assert_eq!(path_of_plane(path), seen, "{path}");
        }
    }
}
