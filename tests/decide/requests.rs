//! What is asked of documents: a table, most of it made from paths and inputs.

use crate::ask::Ask;

/// Documents of all kinds: rules, what is in their values, data, and what is nowhere.
const PATHS: &[&str] = &[
    "",
    "/rules",
    "/rules/allow",
    "/rules/one",
    "/rules/two",
    "/rules/object",
    "/rules/object/nested/list/2/deep",
    "/rules/object/a%20b",
    "/rules/object/a%2Fb",
    "/rules/fallback",
    "/rules/denied",
    "/rules/q",
    "/rules/q/r",
    "/rules/q/r/t",
    "/rules/partial",
    "/rules/partial/c/d",
    "/rules/partial/nobody",
    "/rules/by_number",
    "/rules/by_number/1",
    "/rules/called",
    "/rules/chain",
    "/rules/undefined",
    "/rules/uses_undefined",
    "/rules/whole_input",
    "/rules/input_x",
    "/rules/with_mock",
    "/rules/with_data",
    "/rules/false_rule",
    "/rules/null_rule",
    "/rules/nobody",
    "/sets",
    "/sets/numbers",
    "/sets/numbers/1",
    "/sets/numbers/9",
    "/sets/strings",
    "/sets/strings/a",
    "/sets/mixed",
    "/sets/nested",
    "/sets/empty",
    "/sets/of_input",
    "/sets/objects",
    "/sets/as_keys",
    "/numbers",
    "/numbers/large",
    "/numbers/by_zero",
    "/numbers/keys",
    "/numbers/power",
    "/texts",
    "/texts/html",
    "/texts/unicode",
    "/texts/has",
    "/texts/matched",
    "/roles",
    "/roles/allow",
    "/roles/reached",
    "/roles/reasons",
    "/roles/counted",
    "/broken/conflict",
    "/broken/ambiguous",
    "/broken/keyed",
    "/broken/keyed/a",
    "/broken/divides",
    "/broken/not_a_number",
    "/broken/mistyped",
    "/apart/product",
    "/apart/sum",
    "/apart/sharp",
    "/apart/f",
    "/apart/without_members",
    "/app",
    "/app/api",
    "/app/api/v1/allow",
    "/app/api/v1/path_allowed",
    "/app/api/v1/every_listed",
    "/app/api/v1/walked",
    "/app/api/v1/headers",
    "/system/health",
    "/base",
    "/base/y",
    "/base/y/1/b",
    "/base/y/2/1/0",
    "/base/y/01",
    "/base/y/-1",
    "/base/y/5",
    "/base/0",
    "/base/7/8",
    "/base/a%20b/c",
    "/base/a+b",
    "/base/a/b",
    "/base/a%2Fb",
    "/base/a%2fb",
    "/base/a.b",
    "/base/a%25b",
    "/base/%C3%BC",
    "/base/+",
    "/base/~/~1",
    "/base/nothing",
    "/base/no",
    "/base/float",
    "/base/big",
    "/base/exponent",
    "/base/empty_object",
    "/base/str/length",
    "/users/by_name/d%7Ce",
    "/users/by_name/a%20b/roles",
    "/words/one/two/three/four",
    "/words/one/two/three/four/five",
    "/nowhere",
    "/nowhere/at/all",
];

/// Inputs, as they are written.
const INPUTS: &[&str] = &[
    r#"{"x":1}"#,
    r#"{"user":"ann","action":"read","type":"document","x":2,"list":[3,1,2],"conflict":true,"name":"ann"}"#,
    r#"{"user":"bob","action":"delete","type":"folder","x":0,"list":[],"path":["users","bob"],"name":"12.5"}"#,
    r#"{"user":{"blocked":true},"tree":{"a":[1,{"b":2}]},"headers":{"X-A":"1"},"x":[1]}"#,
    r#""text""#,
    "[]",
];

/// Paths that are wrong, or are not what they seem.
const ODD_PATHS: &[&str] = &[
    "/rules/%61llow",
    "/rules%2Fallow",
    "/rules/allow/",
    "/rules//allow",
    "//rules/allow",
    "/",
    "/rules/%22x",
    "/rules/a%22b",
    "/rules/x%00",
    "/rules/x%0A",
    "/base/y/%31",
    "/base/y/1e0",
    "/base/y/0x1",
    "/base/y/99999999999999999999",
    "/base/y/9223372036854775807",
    "/base/'",
    "/base/[0]",
    "/base/$",
    "/base/*",
    "/base/_",
    "/base/input",
    "/base/a;b",
    "/base/a,b",
    "/base/a=b",
    "/base/a:b",
    "/base/a%3Fb",
    "/base/a%23b",
    "/base/%E2%82%AC",
    "/base/y/1/b/",
];

/// Queries of a URL: switches, wrong ones too.
const SWITCHES: &[&str] = &[
    "pretty",
    "pretty=true",
    "pretty=TRUE",
    "pretty=false",
    "pretty=1",
    "pretty=",
    "pretty&pretty=false",
    "pretty=false&pretty",
    "pretty=false&pretty=true",
    "metrics",
    "metrics=true",
    "metrics=false",
    "metrics=no",
    "provenance",
    "provenance=true&pretty",
    "provenance=false",
    "provenance&metrics",
    "provenance&metrics&pretty",
    "strict-builtin-errors=false",
    "explain=off",
    "explain=nonsense",
    "explain",
    "instrument=false",
    "unknown=1",
    "input=%7B%22x%22%3A1%7D&input=%7B%22x%22%3A6%7D",
    "input=%7B%22x%22%3A6%7D&input=%7B%22x%22%3A1%7D",
    "%70retty",
    "pretty;metrics",
    "=",
    "&&",
];

/// Bodies that are wrong, or are not what they seem.
const ODD_BODIES: &[&str] = &[
    "",
    " \n",
    "{}",
    "null",
    "true",
    "1",
    "\"text\"",
    "[1]",
    "[]",
    "{",
    "}",
    "{\"input\":",
    "{\"input\":}",
    "{\"input\":{\"x\":1}",
    "{\"input\":{\"x\":1}} trailing",
    "{\"input\":{\"x\":1}}{\"input\":{\"x\":6}}",
    "{\"input\":null}",
    "{\"input\":{\"x\":1},\"input\":{\"x\":6}}",
    "{\"input\":{\"x\":6,\"x\":1}}",
    "{\"in\\u0070ut\":{\"x\":1}}",
    "{\"Input\":{\"x\":1}}",
    "{\"INPUT\":{\"x\":1}}",
    "{\"input\":{\"x\":1.0}}",
    "{\"input\":{\"x\":1e0}}",
    "{\"input\":{\"x\":0.1e1}}",
    "{\"input\":{\"x\":01}}",
    "{\"input\":{\"x\":+1}}",
    "{\"input\":{\"x\":NaN}}",
    "{\"input\":{\"x\":1,}}",
    "{'input':{}}",
    "{\"input\":{\"x\":\"\\ud800\"}}",
    "{\"input\":{\"x\":\"\\u00e9\\n\"}}",
    "{\"input\":{\"x\":\"tab\there\"}}",
    "{\"input\":false}",
    "{\"input\":0}",
    "{\"input\":\"\"}",
    "{\"input\":[{\"x\":1}]}",
    "{\"other\":1}",
    "{\"input\":{\"x\":123456789012345678901234567890}}",
    "{\"input\":{\"x\":1e400}}",
    "{\"input\":{\"x\":-0}}",
    "{\"input\":{\"x\":1.10}}",
    "{\"input\":{\"x\":100000000000000000000.0}}",
    "\u{feff}{}",
    "// comment\n{}",
];

/// All of them, without those of queries.
pub(crate) fn all() -> Vec<Ask> {
    let mut all = of_paths();
    all.extend(odd());
    all.extend(elsewhere());
    all
}

/// Every path with every input that says something about it.
fn of_paths() -> Vec<Ask> {
    let mut asks = vec![];
    for (number, path) in PATHS.iter().enumerate() {
        let (v1, v0) = (format!("/v1/data{path}"), format!("/v0/data{path}"));
        asks.push(Ask::get(v1.as_str()));
        asks.push(Ask::new("POST", v1.as_str()));
        asks.push(Ask::new("POST", v0.as_str()));
        let is_data =
            ["/base", "/users", "/words", "/nowhere"].iter().any(|it| path.starts_with(it));
        // Data is the same for all inputs.
        let is_data = is_data || path.starts_with("/apart");
        let (from, count) = if is_data { (number % INPUTS.len(), 1) } else { (0, 9) };
        let inputs = INPUTS.iter().skip(from).take(count);
        for input in inputs {
            asks.push(Ask::post(v1.as_str(), format!("{{\"input\":{input}}}")));
            asks.push(Ask::post(v0.as_str(), *input));
        }
        let input: String = escaped(INPUTS[number % INPUTS.len()]);
        asks.push(Ask::get(format!("{v1}?input={input}&pretty")));
    }
    asks
}

fn odd() -> Vec<Ask> {
    let mut asks = vec![];
    for path in ODD_PATHS {
        asks.push(Ask::get(format!("/v1/data{path}")));
        asks.push(Ask::post(format!("/v1/data{path}?pretty"), r#"{"input":{"x":1}}"#));
        asks.push(Ask::post(format!("/v0/data{path}"), r#"{"x":1}"#));
    }
    for switches in SWITCHES {
        for path in ["/v1/data/rules/chain", "/v1/data/rules/undefined"] {
            asks.push(Ask::get(format!("{path}?{switches}")));
            asks.push(Ask::post(format!("{path}?{switches}"), r#"{"input":{"x":2}}"#));
        }
        asks.push(Ask::post(format!("/v0/data/rules/object?{switches}"), "{}"));
    }
    for body in ODD_BODIES {
        asks.push(Ask::post("/v1/data/rules/whole_input", *body));
        asks.push(Ask::post("/v1/data/rules/chain", *body));
        asks.push(Ask::post("/v0/data/rules/whole_input", *body));
        asks.push(Ask::post("/", *body));
        let parameter = escaped(body);
        asks.push(Ask::get(format!("/v1/data/rules/whole_input?input={parameter}")));
        asks.push(Ask::post("/v1/query", *body));
    }
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"]
    {
        let ask = Ask::post("/v1/data/rules/allow", r#"{"input":{"x":1}}"#);
        asks.push(ask.header("content-type", kind));
    }
    asks
}

/// What is not below `/v1/data`, and what no method does.
fn elsewhere() -> Vec<Ask> {
    let mut asks = vec![];
    for path in [
        "/health",
        "/health/",
        "/health?bundles",
        "/health?bundle=true",
        "/health?plugins",
        "/health?plugins&exclude-plugin=bundle",
        "/health/live",
        "/health/dead",
        "/health/odd",
        "/health/nobody",
        "/health/plugins",
        "/health/a/b",
        "/nowhere",
        "/v1",
        "/v1/",
        "/v2/data",
        "/v1/nothing",
        "/v1/data2",
        "/v1/status",
        "/v1/policies?pretty",
        "/v1/policies/nobody",
        "/v1/policies/a/b.rego",
    ] {
        asks.push(Ask::get(path));
    }
    for path in [
        "/v1/data",
        "/v1/data/rules/allow",
        "/v0/data",
        "/v0/data/rules/allow",
        "/v1/query",
        "/v1/policies",
        "/v1/policies/x.rego",
        "/health",
        "/health/live",
        "/",
        "/v1/config",
        "/v1/status",
        "/v1/compile",
        "/nowhere",
    ] {
        // Below it is something in OPA, so that it is led there before anything else is said.
        let methods = if path == "/v1/compile" {
            &["OPTIONS", "TRACE"][..]
        } else {
            &["HEAD", "OPTIONS", "TRACE"]
        };
        for &method in methods {
            asks.push(Ask::new(method, path));
        }
    }
    for (method, path) in [
        ("GET", "/v0/data/rules/allow"),
        ("PUT", "/v0/data/rules"),
        ("DELETE", "/v0/data/rules"),
        ("PATCH", "/v0/data"),
        ("DELETE", "/v1/data"),
        ("PUT", "/v1/query"),
        ("DELETE", "/v1/query"),
        ("PUT", "/v1/policies"),
        ("POST", "/v1/policies"),
        ("DELETE", "/v1/policies"),
        ("POST", "/v1/policies/x"),
        ("PATCH", "/v1/policies/x"),
        ("POST", "/health"),
        ("PUT", "/"),
        ("DELETE", "/"),
        ("POST", "/v1/config"),
        ("POST", "/v1/status"),
        ("PUT", "/nowhere"),
    ] {
        asks.push(Ask::new(method, path));
    }
    for body in
        ["", "{}", r#"{"name":"ann"}"#, r#"{"name":[1,{"a":"<"}]}"#, "5", "[", r#"{"name":null}"#]
    {
        asks.push(Ask::post("/", body));
        asks.push(Ask::post("/?pretty", body));
    }
    asks
}

/// As a parameter of a URL.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let byte =
        |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}
