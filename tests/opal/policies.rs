//! Policies from one git repository, followed by a real opal-server and by the functions: both hand
//! out the same bundles, and a real opal-client of the functions follows (`spec/opal-protocol.md` §2.1).

use std::sync::Arc;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Api, Functions, GitServer, Opa, OpalClient, OpalServer, Reply, Source, http_client};

use crate::behaviours::Behaviours;
use crate::support::{Stage, base_data, functions, wait_for};

/// The first commit, besides the one file that every opal-server here has.
const FILES: [(&str, &str); 16] = [
    (
        ".manifest",
        "utils/lib.rego\nz\n./app/sub/x.rego\n/app/a.rego\n../x\nnone.rego\nz/data.json\nz\n.\n",
    ),
    ("app-more/k.rego", "package k\n"),
    ("app.more/k.rego", "package k2\n"),
    ("app/a.rego", "package app.a # a comment\n"),
    ("app/data.json", "{\"x\": {\"y\": [1, 2]}}\n"),
    ("app/sub/x.rego", "package app.sub.x\n"),
    ("b.rego", "package under_score\n\nallow := true\n"),
    ("data.json", "{\"users\": {\"a\": 1}}\n"),
    ("gen/ignored.rego", "package gen\n"),
    ("old/data.json", "{\"gone\": true}\n"),
    ("other.json", "{}\n"),
    ("skip.rego", "package skip\n"),
    ("utils/lib.rego", "package utils\r\n\r\nis_lib := true\r\n"),
    ("z/.manifest", "z2.rego\n../b.rego\n.manifest\nz1.rego\n"),
    ("z/z1.rego", "package z[\"1\"]\n"),
    ("z/z2.rego", "package z2\n"),
];

/// Settings of the same names and meaning on both sides.
const SETTINGS: [(&str, &str); 1] = [("OPAL_BUNDLE_IGNORE", "gen/**, [rs]kip.rego")];

struct Parts {
    server: OpalServer,
    functions: Functions,
    /// A token that is good at both.
    token: String,
    ds: String,
    opa: Opa,
    client: OpalClient,
    first: String,
    // Asked until the functions are gone.
    _git: GitServer,
    _source: Source,
}

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let mut parts = start().await?;
    for (name, query) in [
        ("a complete bundle", ""),
        ("a folder's bundle", "?path=app"),
        ("a folder's bundle, written otherwise", "?path=/app/&path=./utils"),
        ("a bundle of folders of a folder", "?path=z&path=app/sub"),
        ("a file is no folder", "?path=b.rego"),
        ("the bundle of a folder that is not there", "?path=nowhere"),
        ("nothing new", "?base_hash=FIRST"),
        ("a revision that nobody knows", "?base_hash=ffffffffffffffffffffffffffffffffffffffff"),
    ] {
        let name = format!("the same as of an opal-server: {name}");
        behaviours.show(&name, parts.same(query)).await;
    }
    behaviours.show("opal-client has the repository's policy", parts.client_has_all()).await;
    behaviours.show("opal-client follows a commit", parts.commit()).await;
    behaviours.show("opal-client follows a rename", parts.rename()).await;
    behaviours.show("opal-client follows deletions", parts.deletions()).await;
    for (name, query) in [
        ("a change", "?base_hash=FIRST"),
        ("a change since an abbreviated hash", "?base_hash=SHORT"),
        ("a folder's change", "?base_hash=FIRST&path=app-more"),
        ("a complete bundle after changes", ""),
    ] {
        let name = format!("the same as of an opal-server: {name}");
        behaviours.show(&name, parts.same(query)).await;
    }
    behaviours.show("the same as of an opal-server: another manifest", parts.manifest()).await;
    behaviours.show("a force push is followed", parts.rewrite()).await;
    parts.client.stop().await
}

async fn start() -> Result<Parts> {
    let source = Source::start(&json!({}))?;
    source.reply_at("/base", Reply::json(&json!({"from": "base"})));
    let base = base_data(&source);
    let server = FILES
        .iter()
        .fold(OpalServer::builder().secure()?, |server, (path, text)| server.file(path, text));
    let server = SETTINGS.iter().fold(server, |server, (name, value)| server.var(name, *value));
    let server = server.start().await?;
    let git = GitServer::start()?;
    let url = git.serve("policy", server.repository());
    let plan = functions()?.var(base.0, base.1).var("OPAL_POLICY_REPO_URL", url);
    let plan = SETTINGS.iter().fold(plan, |plan, (name, value)| plan.var(*name, *value));
    let (functions, opa) = tokio::try_join!(plan.start(), Opa::start())?;
    let ds = functions.mint("datasource", json!({})).await?;
    let token = functions.mint("client", json!({})).await?;
    refresh(&functions, &ds).await?;
    let client = OpalClient::builder(functions.url(), &token, opa.url()).start().await?;
    let first = server.repository().head().await?;
    Ok(Parts { server, functions, token, ds, opa, client, first, _git: git, _source: source })
}

async fn refresh(functions: &Functions, ds: &str) -> Result<()> {
    let answer = functions.request(Method::POST, "/policy/refresh", Some(ds), None).await?;
    answer.ok().map(drop)
}

impl Parts {
    /// Both answer the same to this. A refusal's `detail` counts, too.
    async fn same(&self, query: &str) -> Result<()> {
        let head = self.server.repository().head().await?;
        for (api, logs) in
            [(self.server.api(), self.server.logs()), (self.functions.api(), self.functions.logs())]
        {
            wait_for("the newest commit", logs, async || {
                let hash = self.ask(api, "").await?.1["hash"].clone();
                Ok((hash == head.as_str()).then_some(()).ok_or(hash))
            })
            .await?;
        }
        let short = self.first.get(..8).unwrap_or_default();
        let query = query.replace("FIRST", &self.first).replace("SHORT", short);
        let theirs = self.ask(self.server.api(), &query).await?;
        let ours = self.ask(self.functions.api(), &query).await?;
        ensure!(
            ours == theirs,
            "{query}: an opal-server answers\n{theirs:#?}\nwe answer\n{ours:#?}"
        );
        Ok(())
    }

    async fn ask(&self, api: &Api, query: &str) -> Result<(u16, Value)> {
        let answer = api.get(&format!("/policy{query}"), Some(&self.token)).await?;
        Ok((answer.status, answer.body))
    }

    /// Waits until OPA has exactly these modules of those in the folders that are looked at.
    async fn has_modules(&self, folder: &str, wanted: &[&str]) -> Result<()> {
        let http = http_client()?;
        let url = format!("{}/v1/policies", self.opa.url());
        wait_for(&format!("the modules {wanted:?}"), self.client.logs(), async || {
            let answer: Value = http.get(&url).send().await?.json().await?;
            let modules = answer["result"].as_array().into_iter().flatten();
            let mut ids: Vec<&str> = modules.filter_map(|module| module["id"].as_str()).collect();
            ids.retain(|id| id.starts_with(folder));
            ids.sort_unstable();
            Ok((ids == wanted).then_some(()).ok_or_else(|| json!(ids)))
        })
        .await
    }

    async fn decides(&self, path: &str, wanted: &Value) -> Result<()> {
        wait_for(&format!("the decision {path} to be {wanted}"), self.client.logs(), async || {
            let decision = self.opa.decide(path, &json!({})).await?["result"].clone();
            Ok((decision == *wanted).then_some(()).ok_or(decision))
        })
        .await
    }

    async fn client_has_all(&self) -> Result<()> {
        self.has_modules("app/", &["app/a.rego", "app/rbac.rego", "app/sub/x.rego"]).await?;
        self.has_modules("gen/", &[]).await?;
        self.has_modules("skip", &[]).await?;
        self.decides("utils/is_lib", &json!(true)).await?;
        self.decides("old", &json!({"gone": true})).await
    }

    async fn commit(&self) -> Result<()> {
        let files = [
            ("app/a.rego", "package app.a\n\nnumber := 2\n"),
            ("app/new.rego", "package app.new\n\nnumber := 3\n"),
            ("app-more/data.json", "{\"added\": 1}\n"),
            ("data.json", "{\"users\": {\"a\": 2}}\n"),
        ];
        self.server.repository().change(&files).await?;
        refresh(&self.functions, &self.ds).await?;
        self.decides("app/a/number", &json!(2)).await?;
        self.decides("app/new/number", &json!(3)).await?;
        self.decides("users/a", &json!(2)).await
    }

    async fn rename(&self) -> Result<()> {
        self.server.repository().rename("utils/lib.rego", "utils/deep/lib2.rego").await?;
        refresh(&self.functions, &self.ds).await?;
        self.has_modules("utils/", &["utils/deep/lib2.rego"]).await?;
        self.decides("utils/is_lib", &json!(true)).await
    }

    async fn deletions(&self) -> Result<()> {
        let gone = ["app/sub/x.rego", "old/data.json", "z/z1.rego"];
        self.server.repository().delete(&gone).await?;
        refresh(&self.functions, &self.ds).await?;
        self.has_modules("z/", &["z/z2.rego"]).await?;
        self.has_modules("app/sub/", &[]).await?;
        self.decides("old", &Value::Null).await
    }

    async fn manifest(&self) -> Result<()> {
        let files = [(".manifest", "b.rego\nskip.rego\ndata.json\n"), ("z/.manifest", "z2.rego\n")];
        self.server.repository().change(&files).await?;
        // A manifest alone is no change of the files that either of them counts.
        self.server.repository().change(&[("b.rego", "package b\n")]).await?;
        refresh(&self.functions, &self.ds).await?;
        self.same("").await
    }

    async fn rewrite(&self) -> Result<()> {
        let files = [("app/a.rego", "package app.a\n\nnumber := 9\n")];
        let rewritten = self.server.repository().rewrite(&files).await?;
        refresh(&self.functions, &self.ds).await?;
        self.decides("app/a/number", &json!(9)).await?;
        let ours = self.ask(self.functions.api(), "").await?.1;
        ensure!(ours["hash"] == rewritten.as_str(), "{ours}");
        self.has_modules("", &["app/a.rego"]).await
    }
}
