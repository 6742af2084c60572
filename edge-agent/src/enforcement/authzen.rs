//! AuthZEN's Authorization API 1.0: evaluations of the same policy. A subject of the type `user`
//! is the user of that key. The tenant is `tenant` in the context, or else in the resource's
//! properties; without either it is the instance's own. What the caller sent is there for a policy
//! of somebody's own as `input.authzen`.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use protocol::Problem;
use protocol::json::parse_confidential;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::verdict::Verdict;
use super::{Enforcement, Shared, request, respond};
use crate::json::Json;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The type of the subjects that are users.
const USER: &str = "user";

type Members = BTreeMap<String, Box<RawValue>>;

/// A subject or a resource.
#[derive(Clone, Deserialize, Serialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<Members>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Action {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<Members>,
}

/// What is to be evaluated, as far as it is said.
#[derive(Deserialize)]
struct Evaluation {
    subject: Option<Entity>,
    resource: Option<Entity>,
    action: Option<Action>,
    context: Option<Members>,
}

/// Several of them, and what those that do not say it have in common.
#[derive(Deserialize)]
struct Evaluations {
    subject: Option<Entity>,
    resource: Option<Entity>,
    action: Option<Action>,
    context: Option<Members>,
    evaluations: Option<Vec<Evaluation>>,
    options: Option<Options>,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    evaluations_semantic: Semantic,
}

/// Up to where several are answered.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Semantic {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// The policy's input.
#[derive(Serialize)]
struct Input<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<AsUser<'e>>,
    action: &'e str,
    resource: AsResource<'e>,
    context: &'e Members,
    authzen: Sent<'e>,
}

#[derive(Serialize)]
struct AsUser<'e> {
    key: &'e str,
    attributes: &'e Members,
}

#[derive(Serialize)]
struct AsResource<'e> {
    #[serde(rename = "type")]
    kind: &'e str,
    key: &'e str,
    tenant: Option<&'e RawValue>,
    attributes: &'e Members,
}

#[derive(Serialize)]
struct Sent<'e> {
    subject: &'e Entity,
    resource: &'e Entity,
    action: &'e Action,
    context: &'e Members,
}

/// Where everything is. Asked without a key: it says nothing but addresses.
pub(super) async fn configuration(headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| host.parse::<Authority>().is_ok()) else {
        return super::refuse(&Problem::new(
            400,
            "send a Host header: the addresses are made of it",
        ));
    };
    let url = format!("http://{host}");
    Answer(json!({
        "policy_decision_point": url,
        "access_evaluation_endpoint": format!("{url}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{url}/access/v1/evaluations"),
    }))
    .into_response()
}

pub(super) async fn evaluation(State(shared): Shared, headers: HeaderMap, body: Body) -> Response {
    respond(async { shared.evaluate(&headers, body).await.map_err(malformed) }).await
}

pub(super) async fn evaluations(State(shared): Shared, headers: HeaderMap, body: Body) -> Response {
    respond(async { shared.evaluate_all(&headers, body).await.map_err(malformed) }).await
}

impl Enforcement {
    async fn evaluate(&self, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
        let asked: Evaluation = parse_confidential(request::text(body).await?.as_bytes())?;
        let verdict = self.verdict(headers, asked.input()?).await?;
        Ok(Answer(decision(&verdict)).into_response())
    }

    async fn evaluate_all(&self, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
        let asked: Evaluations = parse_confidential(request::text(body).await?.as_bytes())?;
        let Evaluations { subject, resource, action, context, evaluations, options } = asked;
        let common = Evaluation { subject, resource, action, context };
        let evaluations = evaluations.unwrap_or_default();
        if evaluations.is_empty() {
            // As if it had been asked by itself.
            let verdict = self.verdict(headers, common.input()?).await?;
            return Ok(Answer(decision(&verdict)).into_response());
        }
        let number = evaluations.len();
        let mut checks = Vec::with_capacity(number);
        for (index, evaluation) in evaluations.into_iter().enumerate() {
            let input = evaluation.or(&common).input().map_err(|problem| Problem {
                detail: format!("evaluations[{index}]: {}", problem.detail),
                ..problem
            })?;
            checks.push(input.get().to_owned());
        }
        let checks = Json::known(format!(r#"{{"checks":[{}]}}"#, checks.join(",")));
        let mut verdicts = self.verdicts(headers, checks, number).await?;
        let last = match options.unwrap_or_default().evaluations_semantic {
            Semantic::ExecuteAll => None,
            Semantic::DenyOnFirstDeny => verdicts.iter().position(|verdict| !verdict.allow),
            Semantic::PermitOnFirstPermit => verdicts.iter().position(|verdict| verdict.allow),
        };
        // All were asked at one moment; what comes after the one that settles it is not told.
        verdicts.truncate(last.map_or(number, |last| last + 1));
        let decisions: Vec<_> = verdicts.iter().map(decision).collect();
        Ok(Answer(json!({ "evaluations": decisions })).into_response())
    }
}

/// The optional part of the API that no policy here answers.
pub(super) async fn search() -> Response {
    let advice = "searches are not supported; ask /access/v1/evaluations, /user-permissions or \
                  /authorized_users";
    super::refuse(&Problem::new(501, advice))
}

/// Gives back the caller's `X-Request-ID`, whatever the answer is.
pub(crate) async fn echo(request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn decision(verdict: &Verdict) -> serde_json::Value {
    json!({ "decision": verdict.allow })
}

/// AuthZEN has one status for a body that is wrong in any way.
fn malformed(problem: Problem) -> Problem {
    if problem.status == 422 { Problem { status: 400, ..problem } } else { problem }
}

impl Evaluation {
    /// This one, with the common parts where it says nothing.
    fn or(self, common: &Self) -> Self {
        Self {
            subject: self.subject.or_else(|| common.subject.clone()),
            resource: self.resource.or_else(|| common.resource.clone()),
            action: self.action.or_else(|| common.action.clone()),
            context: self.context.or_else(|| common.context.clone()),
        }
    }

    /// What the policy is asked.
    fn input(&self) -> Result<Json, Problem> {
        let missing = |name: &str| Problem::new(400, format!("missing field `{name}`"));
        let subject = self.subject.as_ref().ok_or_else(|| missing("subject"))?;
        let resource = self.resource.as_ref().ok_or_else(|| missing("resource"))?;
        let action = self.action.as_ref().ok_or_else(|| missing("action"))?;
        let none = Members::new();
        let context = self.context.as_ref().unwrap_or(&none);
        let attributes = resource.properties.as_ref().unwrap_or(&none);
        let tenant = [context, attributes].into_iter().find_map(|members| {
            members.get("tenant").map(|tenant| &**tenant).filter(|it| it.get() != "null")
        });
        if tenant.is_some_and(|tenant| !tenant.get().starts_with('"')) {
            return Err(Problem::new(400, "`tenant` has to be a string"));
        }
        let input = Input {
            user: (subject.kind == USER).then(|| AsUser {
                key: &subject.id,
                attributes: subject.properties.as_ref().unwrap_or(&none),
            }),
            action: &action.name,
            resource: AsResource { kind: &resource.kind, key: &resource.id, tenant, attributes },
            context,
            authzen: Sent { subject, resource, action, context },
        };
        serde_json::to_string(&input)
            .map(Json::known)
            .map_err(|error| Problem::internal(error.to_string()))
    }
}
