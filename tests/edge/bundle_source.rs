//! Policies that come from a bundle server, or from S3-compatible storage.

use std::path::Path;

use hmac::{Hmac, Mac as _};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use testbed::{Functions, FunctionsBuilder, Reply, Source, command};

use crate::following::{ask, module, text_of, until};
use crate::support::{SOON, can_run};

/// `bundle.tar.gz` with these files.
async fn bundle(files: &[(&str, &str)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let mut tar = command("tar");
    let output = tar.arg("-C").arg(folder.path()).args(["-czf", "-", "."]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn reply(bytes: Vec<u8>, etag: &str) -> Reply {
    Reply::bytes("application/gzip", bytes).header("ETag", etag)
}

/// Functions that take their policy from there, and a token.
async fn functions(
    source: &Source,
    settings: impl FnOnce(FunctionsBuilder) -> FunctionsBuilder,
) -> (Functions, String) {
    let functions = Functions::builder().unwrap();
    let functions = functions.var("OPAL_POLICY_SOURCE_TYPE", "API");
    let functions = functions.var("OPAL_POLICY_BUNDLE_URL", source.url("/policies/"));
    let functions = settings(functions).start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    (functions, token)
}

#[tokio::test]
async fn a_bundle_is_fetched_again_only_if_its_tag_has_changed() {
    if !can_run(&[]) {
        return;
    }
    let source = Source::start(&json!({})).unwrap();
    let path = "/policies/bundle.tar.gz";
    let first = module("app", 1);
    source.reply_at(path, reply(bundle(&[("app/a.rego", &first)]).await, "\"one\""));
    let (functions, token) =
        functions(&source, |it| it.var("OPAL_POLICY_BUNDLE_SERVER_TOKEN", "s3cret")).await;
    let looked = ask(&functions, Method::POST, "/policy/refresh", &token).await.ok().unwrap();
    let hash = looked["hash"].as_str().unwrap().to_owned();
    assert!(hash.len() == 40 && hash.bytes().all(|it| it.is_ascii_hexdigit()), "{hash}");
    let policy = ask(&functions, Method::GET, "/policy", &token).await.ok().unwrap();
    assert_eq!(text_of(&policy, "app/a.rego"), Some(first.as_str()));
    let received = source.received();
    assert_eq!(received[0].path, path);
    assert_eq!(received[0].header("authorization"), Some("Bearer s3cret"));

    // The webhook of a bundle server wants a token, and asks for what is other.
    source.reply_at(path, Reply::text("text/plain", "").status(304));
    let count = source.count();
    assert_eq!(functions.request(Method::POST, "/webhook", None, None).await.unwrap().status, 401);
    let heard = ask(&functions, Method::POST, "/webhook", &token).await;
    let url = source.url("/policies");
    let expected = json!({"status": "ok", "event": "webhook_trigger", "repo_url": url});
    assert_eq!(heard.body, expected);
    source.wait_for_requests(count + 1, SOON).await.unwrap();
    assert_eq!(source.received()[count].header("if-none-match"), Some("\"one\""));

    let second = module("app", 2);
    source.reply_at(path, reply(bundle(&[("app/a.rego", &second)]).await, "\"two\""));
    ask(&functions, Method::POST, "/webhook", &token).await.ok().unwrap();
    until("the second bundle", async || {
        let policy = ask(&functions, Method::GET, "/policy", &token).await.ok().unwrap();
        let is_there = text_of(&policy, "app/a.rego") == Some(second.as_str());
        is_there.then_some(()).ok_or(policy)
    })
    .await;

    // What is no bundle leaves the policy.
    source.reply_at(path, Reply::text("text/html", "<p>Sign in</p>"));
    let refused = ask(&functions, Method::POST, "/policy/refresh", &token).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    source.reply_at(path, Reply::text("text/plain", "").status(403));
    let refused = ask(&functions, Method::POST, "/policy/refresh", &token).await;
    assert_eq!(refused.status, 502, "{refused:?}");
    let policy = ask(&functions, Method::GET, "/policy", &token).await.ok().unwrap();
    assert_eq!(text_of(&policy, "app/a.rego"), Some(second.as_str()));
    let status = ask(&functions, Method::GET, "/policy/status", &token).await.ok().unwrap();
    assert!(status["error"].as_str().unwrap().contains("403"), "{status}");
    assert_eq!(status["revision"], policy["hash"]);
    assert!(!format!("{status}{}", functions.logs()).contains("s3cret"));
}

#[tokio::test]
async fn a_redirect_to_another_server_is_followed_without_the_token() {
    if !can_run(&[]) {
        return;
    }
    let (source, other) = (Source::start(&json!({})).unwrap(), Source::start(&json!({})).unwrap());
    other.reply(reply(bundle(&[("a.rego", &module("app", 1))]).await, "\"one\""));
    let away = Reply::text("text/plain", "").status(302);
    source.reply(away.header("Location", &other.url("/elsewhere")));
    let (functions, token) =
        functions(&source, |it| it.var("GIRASOL_POLICY_BUNDLE_SERVER_TOKEN", "s3cret")).await;
    ask(&functions, Method::POST, "/policy/refresh", &token).await.ok().unwrap();
    assert_eq!(source.received()[0].header("authorization"), Some("Bearer s3cret"));
    let received = other.received();
    assert_eq!(
        (received[0].path.as_str(), received[0].header("authorization")),
        ("/elsewhere", None)
    );
}

#[tokio::test]
async fn storage_of_s3s_kind_can_check_the_signature() {
    if !can_run(&[]) {
        return;
    }
    let source = Source::start(&json!({})).unwrap();
    source.reply(reply(bundle(&[("a.rego", &module("app", 1))]).await, "\"one\""));
    let (functions, token) = functions(&source, |it| {
        it.var("OPAL_POLICY_BUNDLE_SERVER_TYPE", "AWS-S3")
            .var("OPAL_POLICY_BUNDLE_SERVER_TOKEN_ID", "AKID")
            .var("OPAL_POLICY_BUNDLE_SERVER_TOKEN", "s3cret")
            .var("OPAL_POLICY_BUNDLE_SERVER_AWS_REGION", "eu-north-1")
    })
    .await;
    ask(&functions, Method::POST, "/policy/refresh", &token).await.ok().unwrap();
    let received = source.received().remove(0);
    let date = received.header("x-amz-date").unwrap();
    let (day, signed) = (&date[..8], "host;x-amz-content-sha256;x-amz-date");
    let empty = hex(&Sha256::digest(b""));
    let host = received.header("host").unwrap();
    let request = format!(
        "GET\n/policies/bundle.tar.gz\n\nhost:{host}\nx-amz-content-sha256:{empty}\n\
         x-amz-date:{date}\n\n{signed}\n{empty}"
    );
    let scope = format!("{day}/eu-north-1/s3/aws4_request");
    let request = hex(&Sha256::digest(request));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{request}");
    let key = [day, "eu-north-1", "s3", "aws4_request"]
        .iter()
        .fold(b"AWS4s3cret".to_vec(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={signed}, Signature={signature}"
    );
    assert_eq!(received.header("authorization"), Some(expected.as_str()));
    assert_eq!(received.header("x-amz-content-sha256"), Some(empty.as_str()));
    assert!(!functions.logs().to_string().contains("s3cret"));
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
