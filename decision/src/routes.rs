//! What becomes of a request.

use std::collections::BTreeMap;

use regorus::Value;
use serde::Serialize;

use crate::reply::{self, Extras, Provenance};
use crate::{
    Asked, DATA, Decides, Decision, DecisionError, MAX_BODY_BYTES, MAX_QUERY_BYTES, Query,
    QueryError, Reply, Request, VALUES, request,
};

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Data,
    Values,
    Default,
    Query,
    Policies,
    Policy,
    Compile,
    Health,
    HealthRule,
    Config,
    Status,
}

/// A place, what is below it, and the methods that it has. Where a method that is missing is
/// answered by OPA's router, it has a body.
struct Route {
    root: &'static str,
    here: Place,
    below: Option<Place>,
    methods: &'static [&'static str],
    by_router: bool,
}

const ROUTES: &[Route] = &[
    route(DATA, Place::Data, Some(Place::Data), &["GET", "POST", "PUT", "PATCH", "DELETE"], false),
    route(VALUES, Place::Values, Some(Place::Values), &["POST"], false),
    route("/v1/query", Place::Query, None, &["GET", "POST"], false),
    route("/v1/policies", Place::Policies, Some(Place::Policy), &["GET", "PUT", "DELETE"], false),
    route("/v1/compile", Place::Compile, Some(Place::Compile), &["GET", "POST"], true),
    route("/health", Place::Health, Some(Place::HealthRule), &["GET"], true),
    route("/v1/config", Place::Config, None, &["GET"], true),
    route("/v1/status", Place::Status, None, &["GET"], true),
];

const fn route(
    root: &'static str,
    here: Place,
    below: Option<Place>,
    methods: &'static [&'static str],
    by_router: bool,
) -> Route {
    Route { root, here, below, methods, by_router }
}

/// What is at a path. The root is apart: everything is below it.
fn find(path: &str) -> Option<(Place, &'static [&'static str], bool)> {
    if path == "/" {
        return Some((Place::Default, &["GET", "POST"], true));
    }
    ROUTES.iter().find_map(|route| {
        let place = match path.strip_prefix(route.root)? {
            "" => route.here,
            below if below.starts_with('/') => route.below?,
            _ => return None,
        };
        Some((place, route.methods, route.by_router))
    })
}

/// What becomes of a request.
pub fn answer(request: Request<'_>, by: &impl Decides) -> Reply {
    let Request { method, path, query, .. } = request;
    // What ends with a slash is taken for what is there without it, if there is something.
    let known = find(path).or_else(|| find(path.strip_suffix('/')?));
    if path != "/"
        && (known.is_some() || path.contains("//"))
        && let Some(redirect) = reply::redirect(method, path, query)
    {
        return if method == "HEAD" { Reply::method_not_allowed() } else { redirect };
    }
    let Some((place, methods, by_router)) = known else { return Reply::not_found() };
    match (place, method) {
        (_, "HEAD") => return Reply::method_not_allowed(),
        (Place::Policies, "PUT" | "DELETE") => return Reply::method_not_allowed(),
        (Place::Data, "DELETE") if path == DATA => return Reply::method_not_allowed(),
        _ if methods.contains(&method) => {}
        _ if by_router => return Reply::no_such_method(),
        _ => return Reply::method_not_allowed(),
    }
    if request.body.len() > MAX_BODY_BYTES {
        return Reply::invalid_parameter("request body too large");
    }
    let asked = Query::parse(query);
    match (place, method) {
        (Place::Data | Place::Policy, "PUT" | "PATCH" | "DELETE") => by.write(&request),
        (Place::Default, "GET") => Reply::text(200, "text/html; charset=utf-8", INDEX.to_owned()),
        (Place::Data, _) => document(&request, &asked, by),
        (Place::Values | Place::Default, _) => value(&request, &asked, by),
        (Place::Query, _) => answers(&request, &asked, by),
        (Place::Policies, _) => policies(&asked, by),
        (Place::Policy, _) => policy(path, &asked, by),
        (Place::Compile, _) => Reply::not_served("partial evaluation"),
        // Here are policy and data, or nobody was asked.
        (Place::Health, _) => Reply::healthy(),
        (Place::HealthRule, _) => health(path, by),
        (Place::Config, _) => Reply::json(200, &Configured::by(by), asked.style()),
        (Place::Status, _) => Reply::refusal(500, "internal_error", "status plugin not enabled"),
    }
}

const INDEX: &str = "<html>\n<head><title>Girasol</title></head>\n<body>\n<pre>Girasol decides here, \
                     with the REST API of Open Policy Agent.</pre>\n</body>\n</html>\n";

/// A part of a request, measured.
struct Times<'b, B> {
    by: &'b B,
    began: u64,
    parts: BTreeMap<&'static str, u64>,
}

impl<'b, B: Decides> Times<'b, B> {
    fn begin(by: &'b B) -> Self {
        Self { by, began: by.nanoseconds(), parts: BTreeMap::new() }
    }

    fn part<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let began = self.by.nanoseconds();
        let done = work();
        self.parts.insert(name, self.by.nanoseconds().saturating_sub(began));
        done
    }

    fn evaluation(&self) -> u64 {
        self.parts.get(EVALUATION).copied().unwrap_or_default()
    }

    fn end(mut self) -> BTreeMap<&'static str, u64> {
        let all = self.by.nanoseconds().saturating_sub(self.began);
        self.parts.insert("timer_server_handler_ns", all);
        self.parts
    }
}

/// OPA's names.
const INPUT: &str = "timer_rego_input_parse_ns";
const EVALUATION: &str = "timer_rego_query_eval_ns";

fn not_yaml(request: &Request<'_>) -> Result<(), Reply> {
    // Reading YAML takes time that grows with the square of its nesting.
    match request.content_type.is_some_and(|kind| kind.contains("yaml")) {
        true => Err(Reply::invalid_parameter("YAML is not taken; send JSON")),
        false => Ok(()),
    }
}

/// What all of data is without what rules the decision point itself: OPA leaves that out, too.
fn without_system(mut data: Value) -> Value {
    if let Ok(members) = data.as_object_mut() {
        members.remove(&Value::from("system"));
    }
    data
}

/// A path, its value, and the decision's id.
type Decided = (Vec<String>, Option<Value>, Option<String>);

/// Decides, and tells who keeps decisions.
fn decided<B: Decides>(
    path: Result<Vec<String>, DecisionError>,
    input: Option<Value>,
    times: &mut Times<'_, B>,
) -> Result<Decided, Reply> {
    let by = times.by;
    let kept = input.clone();
    let named = path.as_deref().map(|path| path.join("/")).unwrap_or_default();
    let decision = path.and_then(|path| {
        let value = times.part(EVALUATION, || by.decide(&path, input))?;
        Ok(if path.is_empty() { (path, value.map(without_system)) } else { (path, value) })
    });
    let error = decision.as_ref().err().map(Reply::failed);
    let id = by.decided(&Decision {
        asked: Asked::Path(&named),
        input: kept.as_ref(),
        result: decision.as_ref().ok().and_then(|(_, value)| value.as_ref()),
        error: error.as_ref(),
        evaluation_ns: times.evaluation(),
    });
    match (decision, error) {
        (Ok((path, value)), _) => Ok((path, value, id)),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(Reply::failed(&error)),
    }
}

/// `/v1/data`.
fn document(request: &Request<'_>, query: &Query, by: &impl Decides) -> Reply {
    let mut times = Times::begin(by);
    let is_post = request.method == "POST";
    if let Some(what) = query.not_served() {
        return Reply::not_served(what);
    }
    if let (true, Err(refused)) = (is_post, not_yaml(request)) {
        return refused;
    }
    let input = times.part(INPUT, || match is_post {
        true => request::body(request.body, request.is_checked),
        false => query.last("input").map(request::parameter).transpose(),
    });
    let input = match input {
        Ok(input) => input,
        Err(message) => return Reply::invalid_parameter(&message),
    };
    let warning = is_post && input.is_none();
    let (value, decision_id) = match decided(request::segments(request.path), input, &mut times) {
        Ok((_, value, id)) => (value, id),
        Err(refused) => return refused,
    };
    let extras = Extras {
        decision_id,
        provenance: query.is_on("provenance").then(|| Provenance::of(by.revision())),
        metrics: query.metrics().then(|| times.end()),
    };
    Reply::decided(value.as_ref(), warning, &extras, query.style())
}

/// `/v0/data`, and `POST /`.
fn value(request: &Request<'_>, query: &Query, by: &impl Decides) -> Reply {
    if let Err(refused) = not_yaml(request) {
        return refused;
    }
    let input = match request::bare_body(request.body) {
        Ok(input) => input,
        Err(message) => return Reply::invalid_parameter(&message),
    };
    let path = match request.path {
        "/" => Ok(by.default_decision()),
        path => request::segments(path),
    };
    match decided(path, input, &mut Times::begin(by)) {
        Ok((_, Some(value), _)) => Reply::bare(&value, query.style()),
        Ok((path, None, _)) => Reply::missing(&path, by.has_rule(&path)),
        Err(refused) => refused,
    }
}

/// `/v1/query`.
fn answers(request: &Request<'_>, query: &Query, by: &impl Decides) -> Reply {
    let mut times = Times::begin(by);
    let asked = match request.method {
        "GET" => match query.last("q") {
            Some(text) => Ok((text.to_owned(), None)),
            None => return Reply::invalid_parameter("missing parameter 'q'"),
        },
        _ => request::query_body(request.body, request.is_checked),
    };
    let (text, input) = match asked {
        Ok(asked) => asked,
        Err(message) => return Reply::invalid_parameter(&message),
    };
    if let Some(what) = query.not_served() {
        return Reply::not_served(what);
    }
    if text.len() > MAX_QUERY_BYTES {
        let message = format!("a query has at most {MAX_QUERY_BYTES} bytes; make a rule of it");
        return Reply::invalid_parameter(&message);
    }
    let kept = input.clone();
    let answered = times.part(EVALUATION, || by.query(&text, input));
    let error = answered.as_ref().err().map(Reply::unanswered);
    let result = answered.as_ref().ok().map(|answers| Value::from(answers.clone()));
    // What cannot be read has been asked of nobody.
    let is_asked = matches!(answered, Ok(_) | Err(QueryError::Evaluation(_)));
    let decision = Decision {
        asked: Asked::Query(&text),
        input: kept.as_ref(),
        result: result.as_ref(),
        error: error.as_ref(),
        evaluation_ns: times.evaluation(),
    };
    // OPA has the id in its log alone.
    let _ = is_asked.then(|| by.decided(&decision));
    match (answered, error) {
        (Ok(answers), _) => {
            let metrics = query.metrics().then(|| times.end());
            let extras = Extras { metrics, ..Extras::default() };
            Reply::answers(&answers, &extras, query.style())
        }
        (Err(_), Some(error)) => error,
        (Err(error), None) => Reply::unanswered(&error),
    }
}

/// A policy. OPA has its syntax tree, too, which is another one here.
#[derive(Serialize)]
struct Policy {
    id: String,
    raw: String,
}

#[derive(Serialize)]
struct Found<T> {
    result: T,
}

fn policies(query: &Query, by: &impl Decides) -> Reply {
    let result: Vec<Policy> =
        by.modules().into_iter().map(|(id, raw)| Policy { id, raw }).collect();
    Reply::json(200, &Found { result }, query.style())
}

fn policy(path: &str, query: &Query, by: &impl Decides) -> Reply {
    let Some(id) = policy_id(path) else { return Reply::invalid_parameter("bad policy id") };
    match by.modules().into_iter().find(|(it, _)| *it == id) {
        Some((id, raw)) => Reply::json(200, &Found { result: Policy { id, raw } }, query.style()),
        None => Reply::not_there(&format!("policy id \"{id}\"")),
    }
}

/// The id of the policy that a path below `/v1/policies` names; none if it is no text.
#[must_use]
pub fn policy_id(path: &str) -> Option<String> {
    let below = path.strip_prefix("/v1/policies/").unwrap_or_default();
    request::decoded(below).map(|segments| segments.join("/"))
}

/// `/health/{rule}`: what `data.system.health` says.
fn health(path: &str, by: &impl Decides) -> Reply {
    let below = path.strip_prefix("/health").unwrap_or_default();
    let Some(below) = request::decoded(below) else {
        return Reply::invalid_parameter("invalid path: failed to parse query");
    };
    let path = [["system", "health"].map(str::to_owned).to_vec(), below].concat();
    let input = Value::from_json_str(r#"{"plugin_state":{},"plugins_ready":true}"#).ok();
    let asked = reply::reference(&path);
    match by.decide(&path, input) {
        Ok(Some(Value::Bool(true))) => Reply::healthy(),
        Ok(Some(_)) => {
            Reply::unhealthy(&format!("health check ({asked}) returned unexpected value"))
        }
        Ok(None) => Reply::unhealthy(&format!("health check ({asked}) was undefined")),
        Err(error) => Reply::unhealthy(&error.to_string()),
    }
}

/// What is configured, as far as it is anybody's business: OPA's members.
#[derive(Serialize)]
struct Configured {
    result: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    default_authorization_decision: &'static str,
    default_decision: String,
    labels: BTreeMap<&'static str, &'static str>,
}

impl Configured {
    fn by(by: &impl Decides) -> Self {
        Self {
            result: Configuration {
                default_authorization_decision: "/system/authz/allow",
                default_decision: format!("/{}", by.default_decision().join("/")),
                labels: BTreeMap::from([("version", env!("CARGO_PKG_VERSION"))]),
            },
        }
    }
}
