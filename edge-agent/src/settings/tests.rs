//! Where settings come from, what is refused, what is shown.

use std::{collections::HashMap, path::PathBuf};

use super::*;

/// Resolves with flags and variables from lists, and a file with this text.
fn resolve(
    flags: &[(&str, &str)],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Resolved, ConfigError> {
    let flags: HashMap<_, _> = flags.iter().copied().collect();
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    let dir = tempfile::tempdir().unwrap();
    let path = file.map(|text| {
        let path = dir.path().join("girasol.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    Resolved::new(&Sources {
        flag: &|name| flags.get(name).map(ToString::to_string),
        variable: &|name| variables.get(name).map(ToString::to_string),
        file: path,
    })
}

fn refusal(flags: &[(&str, &str)], variables: &[(&str, &str)], file: Option<&str>) -> ConfigError {
    resolve(flags, variables, file).err().expect("refused")
}

const TOKEN: (&str, &str) = ("GIRASOL_TOKEN", "s3cret");

#[test]
fn the_table_has_the_designs_flags_and_defaults_that_can_be_read() {
    let resolved = resolve(&[], &[TOKEN], None).unwrap();
    let settings = Settings::new(&resolved).unwrap();
    assert_eq!(settings.server.as_str(), "http://localhost:7002/");
    assert_eq!(settings.topics, ["policy_data"]);
    assert_eq!(settings.scope, "default");
    assert_eq!(settings.engine, EngineKind::Regorus);
    assert_eq!(settings.opa_url.as_str(), "http://localhost:8181/");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7766");
    assert_eq!(settings.decision_listen.to_string(), "127.0.0.1:8181");
    assert_eq!((settings.log_level, settings.log_format), (Level::INFO, LogFormat::Text));
    assert_eq!((settings.fetch_timeout_seconds, settings.fetch.max_bytes), (10, 64 << 20));
    assert!(settings.fetch.allow.is_empty() && settings.fetch.proxy.is_none());
    assert_eq!((settings.policy_dir, settings.data_dir, settings.opa_token), (None, None, None));
    assert!(!settings.agent_name.is_empty());

    let flags: Vec<_> = SETTINGS.iter().map(Setting::flag).collect();
    for flag in [
        "server",
        "token",
        "topics",
        "scope",
        "engine",
        "opa-url",
        "data-dir",
        "listen",
        "decision-listen",
    ] {
        assert!(flags.iter().any(|known| known == flag), "{flag}");
    }
    let mut names: Vec<_> = SETTINGS.iter().flat_map(Setting::variables).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a variable sets one setting");
}

#[test]
fn flags_beat_variables_beat_the_file_beats_defaults() {
    let file = Some("scope = \"file\"\n");
    let own = ("GIRASOL_SCOPE", "own");
    let opal = ("OPAL_SCOPE_ID", "opal");
    for (flags, variables, file, scope) in [
        (&[("scope", "flag")][..], &[own, opal, TOKEN][..], file, "flag"),
        (&[], &[own, opal, TOKEN], file, "own"),
        (&[], &[opal, TOKEN], file, "opal"),
        (&[], &[("GIRASOL_SCOPE", " "), ("OPAL_SCOPE_ID", ""), TOKEN], file, "file"),
        (&[], &[TOKEN], None, "default"),
    ] {
        let resolved = resolve(flags, variables, file).unwrap();
        assert_eq!(resolved.text("scope").unwrap(), scope);
    }
}

#[test]
fn the_variable_names_the_file_where_no_flag_does() {
    let missing = refusal(&[], &[("GIRASOL_CONFIG", "/nowhere/girasol.toml")], None);
    assert!(
        missing.message.starts_with("cannot read the configuration file /nowhere/"),
        "{missing}"
    );
}

#[test]
fn opals_words_are_understood() {
    let variables = [
        ("OPAL_SERVER_URL", "https://hub.example.com"),
        ("OPAL_CLIENT_TOKEN", "s3cret"),
        ("OPAL_DATA_TOPICS", "users, billing"),
        ("OPAL_POLICY_STORE_URL", "http://opa:8181"),
        ("OPAL_POLICY_STORE_AUTH_TOKEN", "s3cret"),
        ("OPAL_LOG_LEVEL", "WARNING"),
        ("OPAL_HTTP_FETCHER_TIMEOUT", "5"),
        ("OPAL_SCOPE_ID", "s1"),
        ("OPAL_POLICY_SUBSCRIPTION_DIRS", "app:utils/lib"),
        ("OPAL_POLICY_STORE_POLICY_PATHS_TO_IGNORE", "ours/**, !ours/x"),
        ("OPAL_SHOULD_REPORT_ON_DATA_UPDATES", "True"),
        ("OPAL_STATISTICS_ENABLED", "1"),
        ("OPAL_POLICY_UPDATER_ENABLED", "false"),
        ("OPAL_KEEP_ALIVE_INTERVAL", "7"),
        ("OPAL_CLIENT_API_SERVER_PORT", "7000"),
        ("OPAL_OPAL_CLIENT_STAT_ID", "me"),
        ("OPAL_SERVER_WS_URL", "wss://ws.example.com/base"),
        (
            "OPAL_DEFAULT_UPDATE_CALLBACKS",
            r#"{"callbacks":[["http://c",{"headers":{"a":"s3cret"}}]]}"#,
        ),
    ];
    let settings = Settings::new(&resolve(&[], &variables, None).unwrap()).unwrap();
    assert_eq!(settings.server.as_str(), "https://hub.example.com/");
    assert_eq!(settings.topics, ["users", "billing"]);
    assert_eq!(settings.log_level, Level::WARN);
    assert_eq!(settings.fetch_timeout_seconds, 5);
    assert_eq!(settings.opa_token, Some(Secret::new("s3cret".to_owned())));
    assert_eq!((settings.scope.as_str(), settings.agent_name.as_str()), ("s1", "me"));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7000");
    assert!(!format!("{settings:?}").contains("s3cret"));
    let opal = settings.opal;
    assert_eq!(opal.policy_dirs, ["app", "utils/lib"]);
    assert_eq!(opal.policies_to_ignore, ["ours/**", "!ours/x"]);
    assert!(opal.reports && opal.statistics && opal.data_updates && !opal.policy_updates);
    assert_eq!(opal.keep_alive_seconds, Some(7));
    assert_eq!(opal.socket_url.unwrap().as_str(), "wss://ws.example.com/base/ws");
}

#[test]
fn variables_of_opal_that_mean_nothing_here_are_found() {
    let names = ["PATH", "OPAL_SERVER_URL", "OPAL_INLINE_OPA_CONFIG", "GIRASOL_TOKEN", "OPAL_ABC"];
    assert_eq!(unfollowed(names.into_iter()), ["OPAL_ABC", "OPAL_INLINE_OPA_CONFIG"]);
}

#[test]
fn an_opal_server_without_keys_needs_no_token() {
    let settings = Settings::new(&resolve(&[("protocol", "opal")], &[], None).unwrap()).unwrap();
    assert_eq!(settings.token, Secret::new("THIS_IS_A_DEV_SECRET".to_owned()));
    for (flags, words) in [
        (&[("protocol", "soap")][..], "--protocol: give one of auto, girasol, opal"),
        (&[("scope", "a/b")], "--scope: give a name"),
        (&[("socket_url", "ftp://h")], "--socket-url: give an address such as ws://"),
        (&[("update_callbacks", "5")], "--update-callbacks: give {"),
        (&[("listen_port", "99999")], "--listen-port: give a port"),
    ] {
        assert!(refusal(flags, &[], None).to_string().starts_with(words), "{words}");
    }
}

#[test]
fn a_file_sets_everything_with_its_own_types() {
    let file = "token = \"secret\"\ntopics = [\"a\", \"b\"]\nengine = \"OPA\"\nlog_format = \"json\"\n\
                fetch_timeout_seconds = 3\npolicy_dir = \"/p\"\nlisten = \"[::1]:1\"\n";
    let settings = Settings::new(&resolve(&[], &[], Some(file)).unwrap()).unwrap();
    assert_eq!(settings.topics, ["a", "b"]);
    assert_eq!((settings.engine, settings.log_format), (EngineKind::Opa, LogFormat::Json));
    assert_eq!(settings.fetch_timeout_seconds, 3);
    assert_eq!(settings.policy_dir, Some(PathBuf::from("/p")));
}

#[test]
fn where_data_may_come_from_is_set_with_lists_sizes_and_files() {
    let file = "fetch_allow = [\"db.internal\", \"https://api.test/v1/*\"]\nfetch_max_bytes = 4096\n\
                fetch_cert_file = \"/c.pem\"\nfetch_key_file = \"/k.pem\"\n";
    let variables = [
        TOKEN,
        ("GIRASOL_FETCH_DENY", "10.0.0.0/8, *.secret.test"),
        ("GIRASOL_FETCH_PROXY", "http://me:secret@proxy:3128"),
        ("OPAL_CLIENT_SSL_CONTEXT_TRUSTED_CA_FILE", "/ca.pem"),
    ];
    let resolved = resolve(&[], &variables, Some(file)).unwrap();
    let fetch = Settings::new(&resolved).unwrap().fetch;
    assert_eq!(fetch.allow, ["db.internal", "https://api.test/v1/*"]);
    assert_eq!(
        (fetch.deny, fetch.max_bytes),
        (vec!["10.0.0.0/8".into(), "*.secret.test".into()], 4096)
    );
    assert_eq!(fetch.ca_file, Some(PathBuf::from("/ca.pem")));
    assert_eq!(fetch.key_file, Some(PathBuf::from("/k.pem")));
    assert_eq!(fetch.proxy, Some(Secret::new("http://me:secret@proxy:3128".to_owned())));
    assert!(!resolved.print(PrintFormat::Table).contains("me:secret"));

    for (text, bytes) in [("1", 1), ("64 KiB", 64 << 10), ("3mib", 3 << 20), ("2GiB", 2 << 30)] {
        let resolved = resolve(&[("fetch_max_bytes", text)], &[TOKEN], None).unwrap();
        assert_eq!(Settings::new(&resolved).unwrap().fetch.max_bytes, bytes, "{text}");
        let printed = resolved.print(PrintFormat::Toml);
        let again = Settings::new(&resolve(&[], &[TOKEN], Some(&printed)).unwrap()).unwrap();
        assert_eq!(again.fetch.max_bytes, bytes, "{printed}");
    }
    let half = [("fetch_key_file", "/k.pem")];
    let error = Settings::new(&resolve(&half, &[TOKEN], None).unwrap()).unwrap_err();
    assert!(error.message.starts_with("--fetch-key-file: fetch_cert_file and"), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_never_shown() {
    for (flags, variables, file, words) in [
        (&[("listen", "s3cret")][..], &[][..], None, "--listen: give an IP address and a port"),
        (&[("engine", "s3cret")], &[], None, "--engine: give one of regorus, opa"),
        (&[("token", " ")], &[], None, "--token: it is empty"),
        (&[], &[("GIRASOL_TOPICS", "a//secret")], None, "GIRASOL_TOPICS: "),
        (&[], &[("OPAL_LOG_LEVEL", "s3cret")], None, "OPAL_LOG_LEVEL: give one of error, warn"),
        (&[], &[("GIRASOL_SERVER", "s3cret")], None, "GIRASOL_SERVER: give an address such as"),
        (&[], &[("GIRASOL_SERVER", "ftp://h")], None, "GIRASOL_SERVER: give an address such as"),
        (&[], &[("GIRASOL_OPA_URL", "http://u:secret@h")], None, "ends up in logs"),
        (&[], &[("GIRASOL_OPA_URL", "http://h?secret")], None, "GIRASOL_OPA_URL: give the address"),
        (&[], &[("GIRASOL_FETCH_TIMEOUT_SECONDS", "0")], None, "at least 1"),
        (&[("fetch_deny", "db.internal,secret*")], &[], None, "--fetch-deny: rule 2: give a name"),
        (&[("fetch_max_bytes", "0")], &[], None, "--fetch-max-bytes: give a number of bytes"),
        (&[("fetch_max_bytes", "99999999999GiB")], &[], None, "give a number of bytes"),
        (&[("fetch_proxy", "secret:3128")], &[], None, "--fetch-proxy: give a proxy's address"),
        (&[("fetch_proxy", "socks5://secret")], &[], None, "give a proxy's address"),
        (&[], &[], Some("fetch_allow = \"secret\""), "fetch_allow: give a list of strings"),
        (&[], &[], Some("fetch_allow = [\"*\"]"), "fetch_allow: rule 1: give a name"),
        (&[], &[], Some("topics = \"a\""), "girasol.toml: topics: give a list of strings"),
        (&[], &[], Some("fetch_timeout_seconds = \"5\""), "fetch_timeout_seconds: give a number"),
        (&[], &[], Some("token = 5"), "girasol.toml: token: give a string, in quotes"),
        (&[], &[], Some("scope = \"a\"\ntoken = \"s3cret"), "girasol.toml:2: "),
    ] {
        let error = refusal(flags, variables, file).to_string();
        assert!(error.contains(words), "{error}");
        assert!(words.contains("TOPICS") || !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_listener_that_everybody_reaches_needs_a_key() {
    for (flags, variables, words) in [
        (&[("listen", "0.0.0.0:7766")][..], &[TOKEN][..], "--listen: without an api_key"),
        (&[("listen", "[::]:7766")], &[TOKEN], "--listen: without an api_key"),
        (&[], &[TOKEN, ("GIRASOL_LISTEN", "10.0.0.1:1")], "GIRASOL_LISTEN: without an api_key"),
        (
            &[],
            &[TOKEN, ("OPAL_CLIENT_API_SERVER_HOST", "0.0.0.0")],
            "OPAL_CLIENT_API_SERVER_HOST: without an api_key",
        ),
        (&[], &[TOKEN, ("OPAL_CLIENT_API_SERVER_HOST", "host")], "OPAL_CLIENT_API_SERVER_HOST: "),
    ] {
        let error = Settings::new(&resolve(flags, variables, None).unwrap()).unwrap_err();
        assert!(error.message.starts_with(words) && !error.message.contains('\n'), "{error}");
    }
    for listen in ["127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(Settings::new(&resolve(&[("listen", listen)], &[TOKEN], None).unwrap()).is_ok());
    }
    let keyed = [("listen", "0.0.0.0:7766"), ("api_key", "sesame")];
    assert!(Settings::new(&resolve(&keyed, &[TOKEN], None).unwrap()).is_ok());
    let elsewhere = [("decision_listen", "0.0.0.0:8181"), ("scope", "default")];
    assert!(Settings::new(&resolve(&elsewhere, &[TOKEN], None).unwrap()).is_ok());
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest_one() {
    for (key, name) in
        [("tokn", "token"), ("opa-url", "opa_url"), ("topic", "topics"), ("log.level", "log_level")]
    {
        let error = refusal(&[], &[], Some(&format!("{key} = \"x\"")));
        assert_eq!(error.hint, Some(format!("did you mean `{name}`?")), "{error}");
    }
}

#[test]
fn a_missing_token_says_how_to_give_and_how_to_get_one() {
    let error = Settings::new(&resolve(&[], &[], None).unwrap()).unwrap_err();
    assert!(error.message.contains("--token") && error.message.contains("GIRASOL_TOKEN"));
    assert!(error.hint.unwrap().contains("obtain-token"));
}

#[test]
fn secrets_are_never_shown() {
    let variables = [TOKEN, ("GIRASOL_OPA_TOKEN", "s3cret"), ("OPAL_SCOPE_ID", "default")];
    let resolved = resolve(&[("topics", "a,b")], &variables, None).unwrap();
    for format in [PrintFormat::Table, PrintFormat::Json, PrintFormat::Toml] {
        let printed = resolved.print(format);
        assert!(!printed.contains("s3cret") && printed.contains("****"), "{printed}");
        for origin in ["default", "GIRASOL_TOKEN", "OPAL_SCOPE_ID", "--topics", "not set"] {
            assert!(printed.contains(origin), "{origin}: {printed}");
        }
    }
    assert!(!format!("{:?}", Settings::new(&resolved).unwrap()).contains("s3cret"));
}

#[test]
fn what_is_printed_as_toml_can_be_read_again() {
    let variables = [TOKEN, ("GIRASOL_FETCH_TIMEOUT_SECONDS", "7")];
    let resolved =
        resolve(&[("topics", "a,b"), ("data_dir", "/d \"q\"")], &variables, None).unwrap();
    let printed = resolved.print(PrintFormat::Toml);
    let again = Settings::new(&resolve(&[], &[TOKEN], Some(&printed)).unwrap()).unwrap();
    assert_eq!((again.topics, again.fetch_timeout_seconds), (vec!["a".into(), "b".into()], 7));
    assert_eq!(again.data_dir, Some(PathBuf::from("/d \"q\"")));
}

#[test]
fn rules_of_secrets_are_tables_of_the_file_or_one_variable() {
    let file = "secrets_dir = \"/run/secrets\"\nsecrets_command = [\"vault\", \"kv get\"]\n\
                [secrets.DB]\nhosts = [\"db.internal\"]\n[secrets.\"*\"]\nhosts = []\n";
    let resolved = resolve(&[], &[TOKEN], Some(file)).unwrap();
    let settings = Settings::new(&resolved).unwrap().secrets;
    assert_eq!(settings.dir, Some(PathBuf::from("/run/secrets")));
    assert_eq!(settings.command, ["vault", "kv get"]);
    let rules = r#"{"DB":{"hosts":["db.internal"]},"*":{"hosts":[]}}"#;
    assert_eq!(settings.rules, crate::secrets::Rules::read(rules).unwrap());
    // What print-config writes as a file is read again as the same.
    let printed = resolved.print(PrintFormat::Toml);
    let again = Settings::new(&resolve(&[], &[TOKEN], Some(&printed)).unwrap()).unwrap().secrets;
    assert_eq!((again.rules, again.command), (settings.rules.clone(), settings.command));

    let variables = [TOKEN, ("GIRASOL_SECRETS", rules), ("GIRASOL_SECRETS_COMMAND", "vault get")];
    let settings = Settings::new(&resolve(&[], &variables, None).unwrap()).unwrap().secrets;
    assert_eq!(
        (settings.rules, settings.command),
        (crate::secrets::Rules::read(rules).unwrap(), vec!["vault".to_owned(), "get".to_owned()])
    );

    let file = "[secrets.DB]\nhost = [\"s3cret\"]\n";
    let error = refusal(&[], &[TOKEN], Some(file)).to_string();
    assert!(error.contains("secrets: DB") && !error.contains("s3cret"), "{error}");
}

#[test]
fn programs_are_tables_of_the_file_or_one_variable() {
    let file = "[exec_fetchers.billing]\ncommand = [\"python3\", \"/etc/billing.py\"]\n\
                timeout_seconds = 30\n[exec_fetchers.ldap]\ncommand = [\"/bin/ldap\"]\n";
    let resolved = resolve(&[], &[TOKEN], Some(file)).unwrap();
    let settings = Settings::new(&resolved).unwrap();
    let names: Vec<_> = settings.exec_fetchers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["billing", "ldap"]);
    // What print-config writes as a file is read again as the same.
    let printed = resolved.print(PrintFormat::Toml);
    let again = Settings::new(&resolve(&[], &[TOKEN], Some(&printed)).unwrap()).unwrap();
    assert_eq!(again.exec_fetchers, settings.exec_fetchers);

    let variable = ("GIRASOL_EXEC_FETCHERS", r#"{"one":{"command":["one"]}}"#);
    let settings = Settings::new(&resolve(&[], &[TOKEN, variable], Some(file)).unwrap()).unwrap();
    assert_eq!(settings.exec_fetchers.len(), 1);
    assert!(
        Settings::new(&resolve(&[], &[TOKEN], None).unwrap()).unwrap().exec_fetchers.is_empty()
    );

    let file = "[exec_fetchers.billing]\ncomand = [\"s3cret\"]\n";
    let error = refusal(&[], &[TOKEN], Some(file)).to_string();
    assert!(error.contains("exec_fetchers: billing.comand: there is no such key"), "{error}");
    assert!(error.contains("did you mean `command`?") && !error.contains("s3cret"), "{error}");
    let error = refusal(&[], &[TOKEN], Some("exec_fetchers = 7\n")).to_string();
    assert!(error.contains("exec_fetchers: give"), "{error}");
}

#[test]
fn facts_are_held_as_permits_variables_say() {
    let hold = |variables: &[(&str, &str)]| {
        let variables = [&[TOKEN], variables].concat();
        let resolved = resolve(&[], &variables, None)?;
        Settings::new(&resolved).map(|settings| (settings.facts.hold, settings.facts.policy))
    };
    let seconds = |seconds| Hold::Within(std::time::Duration::from_secs(seconds));
    assert_eq!(hold(&[]).unwrap(), (seconds(10), TimeoutPolicy::Ignore));
    let permits =
        [("PDP_LOCAL_FACTS_WAIT_TIMEOUT", "3"), ("PDP_LOCAL_FACTS_TIMEOUT_POLICY", "FAIL")];
    assert_eq!(hold(&permits).unwrap(), (seconds(3), TimeoutPolicy::Fail));
    for (text, expected) in [("0", Hold::AtOnce), ("-1", Hold::Endless)] {
        let variable = ("GIRASOL_LOCAL_FACTS_WAIT_TIMEOUT", text);
        assert_eq!(hold(&[variable]).unwrap().0, expected);
    }
    for bad in ["soon", "nan"] {
        let refused = hold(&[("PDP_LOCAL_FACTS_WAIT_TIMEOUT", bad)]).unwrap_err();
        assert!(refused.message.starts_with("PDP_LOCAL_FACTS_WAIT_TIMEOUT: "), "{refused}");
    }
    let file = "local_facts_wait_timeout = 0.5\ntoken = \"t\"";
    let settings = Settings::new(&resolve(&[], &[], Some(file)).unwrap()).unwrap();
    assert_eq!(settings.facts.hold, Hold::Within(std::time::Duration::from_millis(500)));
}

#[test]
fn a_token_for_facts_is_lent_to_who_shows_a_key_only() {
    let facts = ("GIRASOL_FACTS_TOKEN", "s3cret-facts");
    let refused = Settings::new(&resolve(&[], &[TOKEN, facts], None).unwrap()).unwrap_err();
    assert!(refused.message.contains("GIRASOL_API_KEY"), "{refused}");
    assert!(!refused.message.contains("s3cret"), "{refused}");
    let key = ("GIRASOL_API_KEY", "k");
    assert!(Settings::new(&resolve(&[], &[TOKEN, facts, key], None).unwrap()).is_ok());
}
