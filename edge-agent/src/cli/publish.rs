//! `publish-data-update`, with the arguments of OPAL's command of that name.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Failure, call, say, warn};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A token of type datasource [env: GIRASOL_TOKEN, OPAL_CLIENT_TOKEN]
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// Address of the server [default: http://localhost:7002] [env: GIRASOL_SERVER, OPAL_SERVER_URL]
    #[arg(long, alias = "server", value_name = "URL")]
    server_url: Option<String>,
    /// Where the server takes updates
    #[arg(long, value_name = "PATH", default_value = "/data/config")]
    server_route: String,
    /// Why, for people
    #[arg(long, default_value = "")]
    reason: String,
    /// Entries, as a JSON list
    #[arg(short, long, value_name = "JSON")]
    entries: Option<String>,
    /// Where the agents fetch the data
    #[arg(long, value_name = "URL")]
    src_url: Option<String>,
    /// Who applies it; give it several times for several topics [default: policy_data]
    #[arg(short, long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// The data itself, as JSON, in place of a source
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// How the agents fetch it, as a JSON object: headers, method, fetcher …
    #[arg(long, value_name = "JSON", default_value = "{}")]
    src_config: String,
    /// Where it goes in the engine's data
    #[arg(long, value_name = "PATH", default_value = "")]
    dst_path: String,
    /// Replace what is there, or apply a JSON Patch
    #[arg(long, value_name = "METHOD", default_value = "PUT", value_parser = ["PUT", "PATCH"], ignore_case = true)]
    save_method: String,
}

/// OPAL's `DataUpdate`, as its command sends it (`spec/opal-protocol.md` §5.11).
#[derive(Serialize)]
struct Update<'a> {
    id: Option<()>,
    entries: Vec<Box<RawValue>>,
    reason: &'a str,
    callback: Callback,
}

#[derive(Serialize)]
struct Entry<'a> {
    url: &'a str,
    config: Box<RawValue>,
    topics: &'a [String],
    dst_path: &'a str,
    save_method: String,
    data: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Callback {
    callbacks: [(); 0],
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = call::route(&call::server(self.server_url.as_deref())?, &self.server_route);
        let body = self.body()?;
        let token = call::token(self.token, "TOKEN")?;
        let answer = call::send(Method::POST, &url, &token, body)?;
        say(answer.trim_end());
        warnings(&answer).iter().for_each(|warning| warn(warning));
        Ok(())
    }

    fn body(&self) -> Result<String, Failure> {
        let mut entries: Vec<Box<RawValue>> = match &self.entries {
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Failure::usage(format!("--entries: give a JSON list of entries: {error}"))
            })?,
            None => Vec::new(),
        };
        if self.src_url.is_some() || self.data.is_some() {
            let default = ["policy_data".to_owned()];
            let entry = Entry {
                url: self.src_url.as_deref().unwrap_or_default(),
                config: raw("--src-config", &self.src_config)?,
                topics: if self.topics.is_empty() { &default } else { &self.topics },
                dst_path: &self.dst_path,
                save_method: self.save_method.to_ascii_uppercase(),
                data: self.data.as_deref().map(|text| raw("--data", text)).transpose()?,
            };
            entries.push(encode(serde_json::value::to_raw_value(&entry))?);
        }
        if entries.is_empty() {
            return Err(Failure::usage("nothing to publish: give --src-url, --data or --entries")
                .hint("see `edge-agent publish-data-update --help` for examples"));
        }
        let callback = Callback { callbacks: [] };
        let update = Update { id: None, entries, reason: &self.reason, callback };
        encode(serde_json::to_string(&update))
    }
}

/// What the server would have had otherwise; an opal-server says nothing of the kind.
fn warnings(answer: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Answer {
        #[serde(default)]
        warnings: Vec<String>,
    }
    serde_json::from_str::<Answer>(answer).unwrap_or_default().warnings
}

/// JSON as it was written, so that numbers stay as they are.
fn raw(flag: &str, text: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("{flag}: this is not JSON: {error}")))
}

fn encode<T>(encoded: serde_json::Result<T>) -> Result<T, Failure> {
    encoded.map_err(|error| Failure::run(format!("the update has no JSON form: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn body(line: &[&str]) -> Result<String, Failure> {
        Line::parse_from(std::iter::once(&"publish").chain(line)).arguments.body()
    }

    #[test]
    fn the_body_is_the_one_that_opals_command_sends() {
        let line = [
            "tok",
            "--src-url",
            "http://x/y",
            "-t",
            "policy_data",
            "-t",
            "users/a",
            "--dst-path",
            "/u",
            "--data",
            r#"{"k":null}"#,
            "--reason",
            "why",
        ];
        assert_eq!(
            body(&line).unwrap(),
            r#"{"id":null,"entries":[{"url":"http://x/y","config":{},"topics":["policy_data","users/a"],"dst_path":"/u","save_method":"PUT","data":{"k":null}}],"reason":"why","callback":{"callbacks":[]}}"#
        );
    }

    #[test]
    fn what_is_sent_is_an_update_that_the_server_accepts() {
        for line in [
            &["tok", "--src-url", "http://h/x"][..],
            &["tok", "--data", r#"{"n":1.0}"#, "--save-method", "put"],
            &["tok", "--data", r#"[{"op":"remove","path":"/a"}]"#, "--save-method", "PATCH"],
            &["tok", "-e", r#"[{"url":"http://h/x"}]"#, "--src-url", "http://h/y"],
        ] {
            let body = body(line).unwrap();
            assert!(protocol::Update::parse(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn warnings_are_read_where_the_server_gives_some() {
        assert_eq!(warnings(r#"{"status":"ok","warnings":["w"]}"#), ["w"]);
        for answer in [r#"{"status":"ok"}"#, "", "ok"] {
            assert!(warnings(answer).is_empty(), "{answer}");
        }
    }

    #[test]
    fn what_is_no_json_is_named_by_its_flag() {
        for (line, words) in [
            (&["tok", "--data", "{x"][..], "--data: this is not JSON"),
            (
                &["tok", "--src-url", "http://h", "--src-config", "x"],
                "--src-config: this is not JSON",
            ),
            (&["tok", "-e", "{}"], "--entries: give a JSON list"),
            (&["tok"], "nothing to publish"),
        ] {
            let failure = body(line).unwrap_err();
            assert!(failure.code == 2 && failure.message.contains(words), "{}", failure.message);
        }
    }
}
