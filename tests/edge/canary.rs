//! Nothing secret gets out: secrets are planted wherever a user can put one, everything is made to
//! happen with them that may happen, and then each output is searched for each of them.
//!
//! Not searched are the data itself, the agent's own folder, and what a source or a callback is
//! sent because it is meant for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::{Method, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Functions, OpalPeer, Part, Process, Reply, Source, command, free_port, http_client};
use tokio::time::{Instant, sleep};

use crate::support::{can_run, inline};
use search::Planted;

mod search;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const FORMATS: [&str; 2] = ["text", "json"];
/// Fetches are tried again and callbacks five times, on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(120);
/// Secrets that are planted at least.
const ENOUGH: usize = 30;

/// Where everything is.
struct Field {
    planted: Planted,
    /// Sources; what they are sent is meant for them.
    source: Source,
    /// Callbacks; they may see their own headers, and of others nothing.
    receiver: Source,
    /// An address where nobody listens.
    closed: String,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    api_key: String,
}

/// An agent at one level and in one format.
struct Watched {
    name: String,
    process: Process,
    url: String,
    _data: TempDir,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_output_at_any_level() {
    if !can_run(&[]) {
        return;
    }
    let functions = Functions::builder().unwrap().var("GIRASOL_STATISTICS_ENABLED", "true");
    let functions = functions.start().await.unwrap();
    let publisher = functions.mint("datasource", json!({})).await.unwrap();
    let mut field = Field::new(&functions, &publisher).await;
    let mut agents = vec![];
    for level in LEVELS {
        for format in FORMATS {
            agents.push(field.agent(&functions, level, format));
        }
    }
    let mut outputs: Vec<(String, String)> = vec![];
    let mut note = |name: &str, text: String| outputs.push((name.to_owned(), text));
    for agent in &agents {
        field.wait(agent, "is live", |status| status["connection"]["state"] == "live").await;
        note("GET /callbacks", field.register(agent).await);
    }

    let mut answers = vec![];
    for update in field.updates() {
        // Who waits hears of each agent why it failed.
        let wait = "/data/config?wait=all&timeout=1";
        let answer = functions.request(Method::POST, wait, Some(&publisher), Some(&update)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answers.push(answer.body);
    }
    assert!(answers.iter().any(|answer| answer["warnings"].is_array()), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.to_string().contains("\"applied\":false")));
    let head = answers.last().unwrap()["seq"].clone();
    note("the publisher's answers", Value::from(answers).to_string());
    note("publish-data-update", field.command(&functions, &publisher));
    let peer = field.opal_client(&functions).await;

    for agent in &agents {
        let tried = |status: &Value| {
            let pending = status["pending"].as_array().unwrap();
            let again = |it: &Value| it["attempts"].as_u64() >= Some(2) && it["error"].is_string();
            status["head"].as_u64() >= head.as_u64()
                && !pending.is_empty()
                && pending.iter().all(again)
        };
        field.wait(agent, "has tried everything twice", tried).await;
    }
    // Each has told three of the good update, and of another one the first of them.
    field.receiver.wait_for_requests(agents.len() * 4, PATIENCE).await.unwrap();
    for agent in agents.iter().filter(|it| !it.name.contains("error")) {
        let told = agent
            .process
            .logs()
            .wait_for(|line| line.contains("a callback was not reached").then_some(()));
        tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
    }

    for agent in &agents {
        for path in [
            "/status",
            "/healthz",
            "/healthcheck",
            "/ready",
            "/metrics",
            "/callbacks",
            "/policy-store/config",
            "/opal-server/connectivity",
        ] {
            note(&format!("{}: GET {path}", agent.name), field.ask(agent, path).await);
        }
    }
    let listener = functions.mint("listener", json!({})).await.unwrap();
    for (path, token) in [
        ("/log?after=0", &publisher),
        ("/statistics", &listener),
        ("/pubsub_client_info", &listener),
        ("/healthcheck", &listener),
    ] {
        let answer = functions.request(Method::GET, path, Some(token), None).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        note(&format!("the functions: GET {path}"), answer.body.to_string());
    }
    for received in field.receiver.received() {
        note("a callback's body", String::from_utf8(received.body).unwrap());
    }
    for format in ["table", "json", "toml"] {
        note(&format!("print-config as {format}"), field.print_config(format));
    }
    drop(peer);
    for agent in &mut agents {
        agent.process.terminate(Duration::from_secs(10)).await.unwrap();
        note(&format!("{}: the log", agent.name), agent.process.logs().lines().join("\n"));
    }
    note("workerd's log", functions.logs().lines().join("\n"));

    field.assert_that_secrets_were_sent();
    assert!(field.planted.count() >= ENOUGH, "{}", field.planted.count());
    let told: usize = outputs.iter().filter(|(_, text)| !text.is_empty()).count();
    assert!(told > agents.len() * 8, "{told} outputs");
    let leaks: Vec<_> = outputs
        .iter()
        .flat_map(|(output, text)| {
            let found = field.planted.found_in(text).into_iter();
            found.map(move |place| format!("{output} has the secret of {place}"))
        })
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

impl Field {
    async fn new(functions: &Functions, publisher: &str) -> Self {
        let mut planted = Planted::default();
        planted.add("the master token", functions.master_token());
        planted.add("the publisher's token", publisher);
        let token = functions.mint("client", json!({})).await.unwrap();
        planted.add("the agent's token", &token);
        let source = Source::start(&json!({"ok": true})).unwrap();
        let receiver = Source::start(&json!({})).unwrap();
        let closed = format!("127.0.0.1:{}", free_port().unwrap());
        let folder = TempDir::new().unwrap();
        let api_key = planted.new_at("api_key");

        let mut variables = vec![
            ("GIRASOL_TOKEN", token),
            ("GIRASOL_API_KEY", api_key.clone()),
            ("GIRASOL_OPA_TOKEN", planted.new_at("opa_token")),
            ("GIRASOL_REPORT_UPDATES", "true".to_owned()),
        ];
        for name in [
            "GIRASOL_SECRET_HEADER",
            "GIRASOL_SECRET_USER",
            "GIRASOL_SECRET_PATH",
            "GIRASOL_SECRET_QUERY",
            "GIRASOL_SECRET_FORM",
            "GIRASOL_SECRET_BODY",
            "GIRASOL_SECRET_PASSWORD",
            "GIRASOL_SECRET_CALLBACK",
            "GIRASOL_SECRET_RULED",
            "GIRASOL_SECRET_OWN",
            "GIRASOL_SECRET_UNUSED",
        ] {
            // What means something in addresses, in JSON and in a shell.
            variables.push((name, format!("a/{}\"& +", planted.new_at(name))));
        }
        let rules = json!({"RULED": {"hosts": ["db.internal"]}}).to_string();
        variables.push(("GIRASOL_SECRETS", rules));

        let files = folder.path().join("files");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("FILE"), planted.new_at("secrets_dir") + "\n").unwrap();
        variables.push(("GIRASOL_SECRETS_DIR", files.display().to_string()));
        let script = format!(
            "case $1 in\nCOMMAND) echo {} >&2; echo {} ;;\n*) echo {}; echo {} >&2; exit 1 ;;\nesac\n",
            planted.new_at("secrets_command's stderr"),
            planted.new_at("secrets_command"),
            planted.new_at("a failing secrets_command"),
            planted.new_at("a failing secrets_command's stderr"),
        );
        let program = folder.path().join("secret.sh");
        fs::write(&program, script).unwrap();
        variables.push(("GIRASOL_SECRETS_COMMAND", format!("/bin/sh {}", program.display())));
        // It says all that it was given.
        let own = json!({"canary": {"command": ["/bin/sh", "-c", "cat >&2; exit 3"]}}).to_string();
        variables.push(("GIRASOL_EXEC_FETCHERS", own));

        let callbacks = json!({"callbacks": [
            [
                receiver.url(&format!("/settings?token={}", planted.new_at("update_callbacks' query"))),
                {"headers": {
                    "authorization": format!("Bearer {}", planted.new_at("update_callbacks' header")),
                    "x-named": "${secret:CALLBACK}",
                }},
            ],
            [
                format!(
                    "http://me:{}@{closed}/?sig={}",
                    planted.new_at("update_callbacks' user"),
                    planted.new_at("update_callbacks' signature"),
                ),
                {"headers": {"x-named": "${secret:CALLBACK}"}},
            ],
        ]});
        variables.push(("GIRASOL_UPDATE_CALLBACKS", callbacks.to_string()));
        Self { planted, source, receiver, closed, folder, variables, api_key }
    }

    fn agent(&self, functions: &Functions, level: &str, format: &str) -> Watched {
        let data = TempDir::new().unwrap();
        let url = format!("127.0.0.1:{}", free_port().unwrap());
        let mut agent = command(Part::Agent.find().unwrap());
        agent.args(["run", "--server", functions.url(), "--topics", "t"]);
        agent.args(["--log-level", level, "--log-format", format, "--listen", &url]);
        agent.args(["--decision-listen", "127.0.0.1:0", "--fetch-timeout-seconds", "2"]);
        agent.arg("--data-dir").arg(data.path());
        agent.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let name = format!("the agent at {level} as {format}");
        let process = Process::spawn(&name, agent).unwrap();
        Watched { name, process, url: format!("http://{url}"), _data: data }
    }

    /// Updates in which secrets are named, or stand in so many words.
    fn updates(&mut self) -> Vec<Value> {
        let mut updates = self.good();
        let bad: Vec<Value> = self.bad_answers().into_iter().chain(self.bad_settings()).collect();
        let bad = bad.into_iter().chain(self.unreachable());
        let with_paths = bad.enumerate().map(|(at, mut entry)| {
            entry["topics"] = json!(["t"]);
            entry["dst_path"] = format!("/bad/{at}").into();
            json!({"entries": [entry]})
        });
        updates.extend(with_paths);
        updates
    }

    fn good(&mut self) -> Vec<Value> {
        let (source, receiver, planted) = (&self.source, &self.receiver, &mut self.planted);
        let with_user =
            |user: &str, path: &str| source.url(path).replace("://", &format!("://{user}@"));
        let mut new = |place: &str| planted.new_at(place);
        let named = json!({
            "url": with_user("me:${secret:USER}", "/named/${secret:PATH}?key=${secret:QUERY}"),
            "config": {"method": "post", "data": {"client_secret": "${secret:FORM}"}, "headers": {
                "x-a": "k ${secret:HEADER}", "x-file": "${secret:FILE}", "x-command": "${secret:COMMAND}",
            }},
            "topics": ["t"], "dst_path": "/good/named",
        });
        let literal = json!({
            "url": with_user(
                &format!("me:{}", new("a literal password")),
                &format!("/literal?token={}&x={}", new("a literal token"), new("a literal parameter")),
            ),
            "config": {"method": "put", "data": format!("pw {}", new("a literal body")), "headers": {
                "X-Api-Key": new("a literal key"),
                "Cookie": format!("session={}", new("a literal cookie")),
                "x-odd": new("a header of no known name"),
                "x-shown": format!("Bearer {}", new("a literal bearer")),
            }},
            "topics": ["t"], "dst_path": "/good/literal",
        });
        let callback = json!({"callbacks": [
            receiver.url(&format!("/update?token={}", new("a callback's query"))),
            [receiver.url("/update"), {"headers": {
                "x-key": new("a callback's header"), "x-named": "${secret:CALLBACK}",
            }}],
        ]});
        let mut odd = inline("t", "/odd", &json!({"a": 1}));
        odd["callback"] = json!({"callbacks": new("callbacks that are none")});
        vec![json!({"entries": [named, literal], "callback": callback}), odd]
    }

    /// Sources that repeat what they were asked, and lead astray.
    fn bad_answers(&mut self) -> Vec<Value> {
        let (source, planted, closed) = (&self.source, &mut self.planted, &self.closed);
        let mut entries = vec![];
        let mut bad = |path: &str, reply: Reply, secret: &str| {
            source.reply_at(path, reply);
            entries.push(json!({
                "url": source.url(path),
                "config": {"headers": {"authorization": format!("Bearer {secret}")}},
            }));
        };
        let mut repeated = |kind: &str, status: u16, before: &str, after: &str, path: &str| {
            let secret = planted.new_at(&format!("{path} that repeats it"));
            bad(
                path,
                Reply::text(kind, format!("{before}{secret}{after}")).status(status),
                &secret,
            );
        };
        repeated("application/json", 500, "{\"detail\":\"", "\"}", "/error");
        repeated("text/html", 401, "<b>", "</b>", "/login");
        repeated("text/html", 200, "<b>", "</b>", "/html");
        repeated("application/json", 200, "{\"a\":\"", "", "/broken");
        repeated("application/json", 200, "\"", "\"", "/bare");
        repeated("application/json", 200, "{\"a\":\"\\q", "\"}", "/escape");
        for (path, location) in [
            ("/to-closed", format!("http://me:SECRET@{closed}/?token=SECRET")),
            ("/to-metadata", "http://169.254.169.254/SECRET?x=SECRET".to_owned()),
            ("/to-file", "ftp://me:SECRET@h/?token=SECRET".to_owned()),
            ("/to-nothing", "http://[SECRET".to_owned()),
        ] {
            let secret = planted.new_at(&format!("{path}'s location"));
            let location = location.replace("/SECRET", "/").replace("SECRET", &secret);
            let reply = Reply::text("text/plain", "").status(302).header("location", &location);
            source.reply_at(path, reply);
            entries.push(json!({"url": source.url(path)}));
        }
        entries
    }

    /// Sources that nobody can ask.
    fn bad_settings(&mut self) -> Vec<Value> {
        let (source, planted) = (&self.source, &mut self.planted);
        let url = source.url("/x");
        let mut new = |place: &str| planted.new_at(place);
        vec![
            json!({"url": format!("ftp://me:{}@127.0.0.1/", new("an address of another scheme"))}),
            json!({"url": format!("http://me:{}@[bad/", new("an address that is none"))}),
            json!({"url": url, "config": {"headers": new("headers that are none")}}),
            json!({"url": url, "config": {"method": new("a method that is none")}}),
            json!({"url": url, "config": {"data": {"a": {"b": new("a form that is none")}}}}),
            json!({"url": url, "config": {"headers": {"x-a": new("a header of two lines") + "\n"}}}),
            json!({"url": url, "config": {"headers": {"x a": new("a header without a name")}}}),
            json!({"url": url, "config": {"transform": "input.missing", "headers": {"x-key": new("a source whose transform fails")}}}),
            json!({"url": url, "config": {"headers": {"x-a": "${secret:NOWHERE}", "x-b": "${secret:BODY}"}}}),
            json!({"url": url, "config": {"headers": {"x-a": "${secret:RULED}", "x-b": "${secret:BODY}"}}}),
            json!({"url": url, "config": {"headers": {"x-a": "${secret:", "x-b": "${secret:BODY}"}}}),
            json!({"url": "http://${secret:USER}/", "config": {"data": "${secret:BODY}"}}),
        ]
    }

    /// Sources of every kind where nobody listens.
    fn unreachable(&mut self) -> Vec<Value> {
        let (closed, planted) = (&self.closed, &mut self.planted);
        let mut entries = vec![
            json!({
                "url": format!("http://me:${{secret:USER}}@{closed}/${{secret:PATH}}?k=${{secret:QUERY}}"),
                "config": {"data": "${secret:BODY}", "headers": {"x-a": "${secret:HEADER}"}},
            }),
            json!({"url": format!(
                "https://me:{}@{closed}/?token={}",
                planted.new_at("an unreachable source's password"),
                planted.new_at("an unreachable source's token"),
            )}),
            json!({
                "url": "exec://canary",
                "config": {"fetcher": "exec:canary", "password": "${secret:OWN}", "args": ["${secret:OWN}"]},
            }),
        ];
        let keys = ["access_key_id", "secret_access_key", "session_token"];
        let named = keys.map(|key| (key, Value::from("${secret:PASSWORD}")));
        let literal = keys.map(|key| (key, Value::from(planted.new_at(&format!("S3's {key}")))));
        for keys in [named, literal] {
            let mut config = json!({
                "fetcher": "S3FetchProvider", "endpoint": format!("http://{closed}"),
            });
            keys.into_iter().for_each(|(key, value)| config[key] = value);
            entries.push(json!({"url": "s3://bucket/key", "config": config}));
        }
        for (fetcher, scheme, mut config) in [
            ("PostgresFetchProvider", "postgresql", json!({"query": "SELECT 1;"})),
            ("MySQLFetchProvider", "mysql", json!({"query": "SELECT 1"})),
            (
                "MongoDBFetchProvider",
                "mongodb",
                json!({"database": "d", "collection": "c", "find": {"query": {}}}),
            ),
            ("RedisFetchProvider", "redis", json!({"command": "GET a"})),
            (
                "LdapFetchProvider",
                "ldap",
                json!({"root": "dc=a", "search": "(uid=*)", "attributes": ["cn"]}),
            ),
            ("FastApiRpcFetchProvider", "ws", json!({"rpc_method_name": "m", "rpc_arguments": {}})),
        ] {
            config["fetcher"] = fetcher.into();
            let mut named = config.clone();
            named["connection_params"] = json!({"user": "me", "password": "${secret:PASSWORD}"});
            let params = format!("{fetcher}'s connection_params");
            config["connection_params"] =
                json!({"user": "me", "password": planted.new_at(&params)});
            config["secret_access_key"] = planted.new_at(&format!("{fetcher}'s key")).into();
            let password = planted.new_at(&format!("{fetcher}'s address"));
            entries.extend([
                json!({"url": format!("{scheme}://me:{password}@{closed}/d"), "config": config}),
                json!({"url": format!("{scheme}://me:${{secret:PASSWORD}}@{closed}/d"), "config": named}),
            ]);
        }
        entries
    }

    /// Registers a callback at the agent, and gives what the agent says of it.
    async fn register(&mut self, agent: &Watched) -> String {
        let callback = json!({
            "key": "canary",
            "url": self.receiver.url(&format!("/registered?token={}", self.planted.new_at("a registered callback's query"))),
            "config": {"method": "put", "headers": {
                "x-a": self.planted.new_at("a registered callback's header"), "x-named": "${secret:CALLBACK}",
            }},
        });
        let request = http_client().unwrap().post(format!("{}/callbacks", agent.url));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.api_key));
        let response = request.body(callback.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// Publishes at the command line.
    fn command(&mut self, functions: &Functions, token: &str) -> String {
        let secret = self.planted.new_at("an update that a command publishes");
        let config = json!({"headers": {"authorization": secret}}).to_string();
        let said = run(
            &[],
            &[
                "publish-data-update",
                token,
                "--server-url",
                functions.url(),
                "--src-url",
                &self.source.url("/x"),
                "-t",
                "elsewhere",
                "--src-config",
                &config,
            ],
        );
        assert!(said.contains("warning: entries[0].config.headers.authorization is"), "{said}");
        said
    }

    fn print_config(&self, format: &str) -> String {
        run(&self.variables, &["print-config", "--format", format])
    }

    /// A client of OPAL with credentials in its address.
    async fn opal_client(&mut self, functions: &Functions) -> OpalPeer {
        let token = functions.mint("client", json!({})).await.unwrap();
        self.planted.add("a client's token in its address", &token);
        let key = self.planted.new_at("a client's key in its address");
        let url = format!("{}?token={token}&api_key={key}", functions.ws_url());
        OpalPeer::connect(&url, None).await.unwrap().open().unwrap()
    }

    async fn ask(&self, agent: &Watched, path: &str) -> String {
        let request = http_client().unwrap().get(format!("{}{path}", agent.url));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.api_key));
        match request.send().await {
            Ok(response) => response.text().await.unwrap(),
            Err(_) => String::new(),
        }
    }

    async fn wait(&self, agent: &Watched, what: &str, is: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.ask(agent, "/status").await;
            if serde_json::from_str(&said).is_ok_and(|status| is(&status)) {
                return;
            }
            assert!(Instant::now() < deadline, "{} never {what}: {said}", agent.name);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Without this an agent that fills in nothing would pass.
    fn assert_that_secrets_were_sent(&self) {
        let value = |name: &str| {
            let found = self.variables.iter().find(|(variable, _)| *variable == name);
            found.unwrap().1.clone()
        };
        let all = self.source.received();
        let named = all.iter().find(|it| it.path.starts_with("/named")).unwrap();
        let header = value("GIRASOL_SECRET_HEADER");
        assert_eq!(named.header("x-a"), Some(format!("k {header}").as_str()));
        let file = fs::read_to_string(self.file("files/FILE")).unwrap();
        assert_eq!(named.header("x-file"), Some(file.trim()));
        assert!(named.header("x-command").unwrap().starts_with("cnry"));
        assert!(named.header("authorization").unwrap().starts_with("Basic "));
        assert!(named.path.contains("cnry") && !named.path.contains('$'), "{}", named.path);
        assert!(String::from_utf8_lossy(&named.body).starts_with("client_secret=a%2Fcnry"));
        let told = self.receiver.received();
        let callback = value("GIRASOL_SECRET_CALLBACK");
        for path in ["/settings", "/update", "/registered"] {
            let heard = told.iter().filter(|it| it.path.starts_with(path));
            let named = heard.filter_map(|it| it.header("x-named")).next();
            assert_eq!(named, Some(callback.trim()), "{path}");
        }
    }

    fn file(&self, path: &str) -> impl AsRef<Path> {
        self.folder.path().join(path)
    }
}

/// What a command says.
fn run(variables: &[(&'static str, String)], arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(Part::Agent.find().unwrap());
    command.args(arguments).env_clear();
    let output = command.envs(variables.iter().map(|(name, value)| (name, value))).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    String::from_utf8(said).unwrap()
}
