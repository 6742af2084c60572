use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn found(url: &str, config: &str) -> Vec<(String, String)> {
    let config = raw(config);
    find(url, Some(&config)).into_iter().map(|it| (it.path, it.value)).collect()
}

#[test]
fn a_credential_of_a_config_is_found_by_its_name_or_its_form() {
    for (config, path) in [
        (r#"{"headers":{"Authorization":"s3cret"}}"#, "config.headers.Authorization"),
        (r#"{"headers":{"X-API-Key":"s3cret"}}"#, "config.headers.X-API-Key"),
        (
            r#"{"headers":{"Ocp-Apim-Subscription-Key":"s3cret"}}"#,
            "config.headers.Ocp-Apim-Subscription-Key",
        ),
        (r#"{"headers":{"cookie":"s3cret"}}"#, "config.headers.cookie"),
        (r#"{"headers":{"private-token":"s3cret"}}"#, "config.headers.private-token"),
        (r#"{"headers":{"x-amz-signature":"s3cret"}}"#, "config.headers.x-amz-signature"),
        (r#"{"connection_params":{"password":"s3cret"}}"#, "config.connection_params.password"),
        (r#"{"connection_params":{"passwd":"s3cret"}}"#, "config.connection_params.passwd"),
        (r#"{"sslpassword":"s3cret"}"#, "config.sslpassword"),
        (r#"{"secret_access_key":"s3cret"}"#, "config.secret_access_key"),
        (r#"{"aws":{"session_token":"s3cret"}}"#, "config.aws.session_token"),
        (r#"{"account_key":"s3cret"}"#, "config.account_key"),
        (r#"{"bind_pw":"s3cret"}"#, "config.bind_pw"),
        (r#"{"auth":"s3cret"}"#, "config.auth"),
        (r#"{"auth":["me","s3cret"]}"#, "config.auth[1]"),
        (r#"{"auth":{"user":"me","value":"s3cret"}}"#, "config.auth.value"),
        (r#"{"credentials":{"a":{"b":["s3cret"]}}}"#, "config.credentials.a.b[0]"),
        (r#"{"data":{"client_secret":"s3cret"}}"#, "config.data.client_secret"),
        (r#"{"data":{"key":"s3cret"}}"#, "config.data.key"),
        (r#"{"data":"grant_type=x&client_secret=s3cret&scope=y"}"#, "config.data `client_secret`"),
        (r#"{"data":"{\"user\":\"u\",\"password\":\"s3cret\"}"}"#, "config.data.password"),
        (
            r#"{"anything":{"deep":["http://me:s3cret@h/x"]}}"#,
            "config.anything.deep[0]: the password",
        ),
        (r#"{"endpoint":"http://h/x?sig=s3cret"}"#, "config.endpoint: the parameter `sig`"),
        (r#"{"dsn":"host=h user=u password=s3cret"}"#, "config.dsn `password`"),
        (r#"{"args":["--header","Bearer s3cret"]}"#, "config.args[1]"),
    ] {
        let found = found("http://h", config);
        let [.., (at, value)] = &found[..] else { panic!("nothing in {config}") };
        assert_eq!(at, path, "{config}");
        assert!(value.contains("s3cret"), "{config}");
        let names_value = found.iter().any(|(path, _)| path.contains("s3cret"));
        assert!(!names_value, "{config}");
    }
    let number = found("", r#"{"password":12345}"#);
    assert_eq!(number, [("config.password".to_owned(), "12345".to_owned())]);
}

#[test]
fn what_a_source_is_made_of_is_no_credential() {
    for config in [
        "{}",
        "null",
        r#"{"fetcher":"PostgresFetchProvider","query":"SELECT token FROM t WHERE token='b'","dict_key":"id","fetch_key":"id","fetch_one":true}"#,
        r#"{"headers":{"accept":"application/json","content-type":"text/plain","x-tenant":"acme","idempotency-key":"7"}}"#,
        r#"{"connection_params":{"user":"u","host":"h","port":5432,"database":"d"}}"#,
        r#"{"token_url":"https://h/token","client_id":"me","token_type":"x","password_file":"/run/p"}"#,
        r#"{"key":"users/eu.json","bucket":"b","access_key_id":"AKIA1"}"#,
        r#"{"transform":"{u.id: u | some u in input.users}"}"#,
        r#"{"root":"dc=a,dc=b","search":"(uid=*)","attributes":["cn"]}"#,
        r#"{"headers":{"authorization":"Bearer ${secret:A}"},"connection_params":{"password":"${secret:B}"}}"#,
        r#"{"password":null,"use_token":true,"secret":""}"#,
    ] {
        assert_eq!(found("http://h:8080/a?page=2&sort_key=x", config), [], "{config}");
    }
}

#[test]
fn a_credential_of_an_address_is_found() {
    for (url, path, value) in [
        ("https://me:s3cret@h/p", "url: the password", "s3cret"),
        ("postgresql://u:p/w@x@h:5432/db", "url: the password", "p/w@x"),
        ("http://me:s3cret@h/a@b", "url: the password", "s3cret"),
        ("redis://:s3cret@h", "url: the password", "s3cret"),
        ("https://s3cret@h/p", "url: the user", "s3cret"),
        ("https://h/p?a=1&token=s3cret", "url: the parameter `token`", "s3cret"),
        ("https://h/p?api%5Fkey=s3cret#x", "url: the parameter `api%5Fkey`", "s3cret"),
        ("https://h/p?X-Amz-Signature=s3cret", "url: the parameter `X-Amz-Signature`", "s3cret"),
    ] {
        let expected = [(path.to_owned(), value.to_owned())];
        assert_eq!(found(url, "null"), expected, "{url}");
    }
    for url in [
        "",
        "https://h/p",
        "postgresql://helloopal@127.0.0.1:5432/helloopal",
        "https://h/p?page=2&q=a@b:c",
        "https://h/users/a@b.example",
        "https://h:8080/users/a@b.example",
        "http://[::1]:80/a",
        "https://me:${secret:PW}@h?token=${secret:T}",
        "mongodb://u:${secret:PW}@h1,h2/db",
    ] {
        assert_eq!(found(url, "null"), [], "{url}");
    }
}

#[test]
fn a_publisher_is_told_the_place_and_never_the_value() {
    let update = r#"{"entries":[
        {"url":"http://h/x","config":{"headers":{"authorization":"Bearer ${secret:A}"}}},
        {"url":"http://me:s3cret@h/x","config":{"headers":{"authorization":"Bearer s3cret"}}}],
        "callback":{"callbacks":["http://h/done?token=s3cret",
            ["http://h/2",{"headers":{"x-api-key":"s3cret"}}]]}}"#;
    let warnings = warnings(&Update::parse(update.as_bytes()).unwrap());
    let begins: Vec<_> = warnings.iter().map(|it| it.split(" is a ").next().unwrap()).collect();
    assert_eq!(
        begins,
        [
            "entries[1].url: the password",
            "entries[1].config.headers.authorization",
            "callback.callbacks[0]: the parameter `token`",
            "callback.callbacks[1][1].headers.x-api-key",
        ]
    );
    assert!(warnings.iter().all(|it| it.contains("\"${secret:NAME}\"") && !it.contains("s3cret")));
}

#[test]
fn an_update_full_of_credentials_has_a_bounded_answer() {
    let headers: Vec<_> =
        (0..100).map(|at| format!(r#""{at}-{}-token":"x""#, "n".repeat(500))).collect();
    let update = format!(
        r#"{{"entries":[{{"url":"http://h","config":{{"headers":{{{}}}}}}}]}}"#,
        headers.join(",")
    );
    let warnings = warnings(&Update::parse(update.as_bytes()).unwrap());
    assert_eq!(warnings.len(), 21);
    assert_eq!(warnings.last().unwrap(), "80 more credentials are in the update");
    assert!(warnings.iter().all(|it| it.len() < 500));
}

#[test]
fn a_name_in_place_of_a_credential_is_told_from_one_that_is_escaped() {
    for (text, named) in [
        ("${secret:A}", true),
        ("Bearer ${secret:A}", true),
        ("$${secret:A}", false),
        ("$${secret:A} ${secret:B}", true),
        ("${secret:A", false),
        ("${A}", false),
    ] {
        assert_eq!(is_named(text), named, "{text}");
    }
}

#[test]
fn percent_encoding_is_undone_where_it_is_text() {
    for (text, decoded) in [
        ("a%20b", "a b"),
        ("%C3%A9", "é"),
        ("%", "%"),
        ("%4", "%4"),
        ("%zz%41", "%zzA"),
        ("%ff", "%ff"),
    ] {
        assert_eq!(percent_decoded(text), decoded);
    }
}

#[test]
fn what_was_found_is_not_shown_by_debugging() {
    let config = raw(r#"{"password":"s3cret"}"#);
    let shown = format!("{:?}", find("http://me:s3cret@h", Some(&config)));
    assert!(shown.contains("config.password") && !shown.contains("s3cret"), "{shown}");
}
