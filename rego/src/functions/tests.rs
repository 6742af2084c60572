//! What OPA's own cases do not show: limits, what is an error, and tokens of every kind.

use super::*;
use crate::{Builtins, DecisionError, Language, Policies};

/// The value of an expression as JSON, `undefined`, or the error.
fn evaluate(expression: &str) -> String {
    let rego = format!(
        "package a\nx := {expression}\n\
         long := concat(\"\", [sprintf(\"%999d\", [1]) | some _ in numbers.range(1, 1000)])"
    );
    let compiled = Policies::compile([("a.rego", rego.as_str())], Language::V1, Builtins::Embedded);
    let policies = compiled.unwrap_or_else(|refused| panic!("{refused}"));
    let path = ["a", "x"].map(str::to_owned);
    match policies.decide(&path, &Value::new_object(), None) {
        Ok(Some(value)) => serde_json::to_string(&value).unwrap(),
        Ok(None) => "undefined".to_owned(),
        Err(DecisionError::Evaluation { message, .. }) => message,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_would_make_much_of_little_is_an_error() {
    for (expression, value) in [
        ("count(numbers.range(1, 1000000))", "1000000"),
        ("numbers.range(1, 1e9)", "numbers.range: it makes at most 1000000 elements"),
        (
            "numbers.range(-9000000000000000000, 9000000000000000000)",
            "numbers.range: it makes at most 1000000 elements",
        ),
        ("numbers.range(1e300, 1)", "undefined"),
        (
            "numbers.range_step(1, 1000000000000, 2)",
            "numbers.range_step: it makes at most 1000000 elements",
        ),
        ("numbers.range_step(1, 1000000000000, 1000000000000)", "[1]"),
        ("numbers.range_step(0, 10, -2)", "undefined"),
        ("numbers.range_step(0, 10, 0)", "undefined"),
        ("bits.lsh(1, 4)", "16"),
        ("bits.lsh(1, 4000000000)", "bits.lsh: it shifts by at most 65536 bits"),
        ("sprintf(\"%5d|%.2f|%%9999d\", [1, 2.345])", "\"    1|2.35|%9999d\""),
        ("sprintf(\"%1000000000d\", [1])", "sprintf: a width has at most 3 digits"),
        ("sprintf(\"%0999999999d\", [1])", "sprintf: a width has at most 3 digits"),
        ("sprintf(\"%.999999999f\", [1.5])", "sprintf: a width has at most 3 digits"),
        ("count(replace(long, \" \", long))", "replace: it makes at most 67108864 bytes"),
        ("replace(\"aba\", \"a\", \"xx\")", "\"xxbxx\""),
        ("replace(\"ab\", \"\", \"-\")", "\"-a-b-\""),
        ("strings.replace_n({\"a\": \"b\", \"b\": \"cc\"}, \"ab\")", "\"cccc\""),
        (
            "strings.replace_n({sprintf(\"%c\", [i]): sprintf(\"%c%c\", [i + 1, i + 1]) | some i in numbers.range(60, 120)}, \"<\")",
            "strings.replace_n: it makes at most 67108864 bytes",
        ),
        ("regex.replace(\"aba\", \"a\", \"[$0]\")", "\"[a]b[a]\""),
        ("regex.replace(long, \".\", long)", "regex.replace: it makes at most 67108864 bytes"),
        (
            "json.marshal([long | some _ in numbers.range(1, 100)])",
            "json.marshal: it makes at most 67108864 bytes",
        ),
        (
            "sprintf(\"%v\", [[long | some _ in numbers.range(1, 100)]])",
            "sprintf: it makes at most 67108864 bytes",
        ),
        ("json.marshal({\"a\": [1]})", "\"{\\\"a\\\":[1]}\""),
        (
            "strings.any_prefix_match([sprintf(\"a%d\", [i]) | some i in numbers.range(1, 3000)], [sprintf(\"b%d\", [i]) | some i in numbers.range(1, 3000)])",
            "strings.any_prefix_match: it compares at most 5000000 pairs",
        ),
        ("strings.any_suffix_match([\"ab\", \"cd\"], [\"x\", \"d\"])", "true"),
        ("strings.any_prefix_match(\"ab\", {\"b\"})", "false"),
        ("product(numbers.range(1, 10001))", "product: it multiplies at most 10000 numbers"),
        ("product({2, 3})", "6"),
        (
            "graph.reachable_paths({i: [j | some j in numbers.range(i + 1, 24)] | some i in numbers.range(1, 23)}, [1])",
            "graph.reachable_paths: it goes at most 50000 steps, on paths of 1000",
        ),
        (
            "graph.reachable_paths({i: [i + 1] | some i in numbers.range(1, 2000)}, [1])",
            "graph.reachable_paths: it goes at most 50000 steps, on paths of 1000",
        ),
        ("graph.reachable_paths({1: {2, 3}, 2: {3, 1}, 3: []}, {1})", "[[1,2],[1,2,3],[1,3]]"),
        ("strings.count(\"cheese\", \"\")", "7"),
        ("strings.count(\"aaaa\", \"aa\")", "2"),
    ] {
        assert_eq!(evaluate(expression), value, "{expression}");
    }
}

#[cfg(feature = "std")]
#[test]
fn chance_stays_in_its_bounds() {
    for (expression, value) in [
        (
            "count({n | some i in numbers.range(1, 100); n := rand.intn(sprintf(\"%d\", [i]), 3)} - {0, 1, 2})",
            "0",
        ),
        ("count({n | some _ in numbers.range(1, 100); n := rand.intn(\"x\", -1000000)})", "1"),
        ("rand.intn(\"x\", 0)", "0"),
        ("rand.intn(1, 2)", "undefined"),
        ("rand.intn(\"x\", 1.5)", "undefined"),
    ] {
        assert_eq!(evaluate(expression), value, "{expression}");
    }
}

#[test]
fn networks_contain_and_intersect() {
    for (expression, value) in [
        ("net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")", "true"),
        ("net.cidr_contains(\"10.0.0.1/8\", \"11.1.2.3\")", "false"),
        ("net.cidr_contains(\"10.0.0.0/8\", \"10.1.0.0/16\")", "true"),
        ("net.cidr_contains(\"10.1.0.0/16\", \"10.0.0.0/8\")", "false"),
        ("net.cidr_contains(\"::/0\", \"10.0.0.1\")", "false"),
        ("net.cidr_contains(\"2001:db8::/32\", \"2001:db8::1\")", "true"),
        ("net.cidr_contains(\"10.0.0.0\", \"10.0.0.0\")", "undefined"),
        ("net.cidr_contains(\"10.0.0.0/8\", \"ten\")", "undefined"),
        ("net.cidr_intersects(\"10.0.0.0/8\", \"10.1.0.0/16\")", "true"),
        ("net.cidr_intersects(\"10.1.0.0/16\", \"10.0.0.1/8\")", "true"),
        ("net.cidr_intersects(\"10.1.0.0/16\", \"10.2.0.0/16\")", "false"),
        ("net.cidr_is_valid(\"10.0.0.0/33\")", "false"),
        ("net.cidr_is_valid(\"::1/128\")", "true"),
        (
            "net.cidr_expand(\"192.168.1.5/30\")",
            "[\"192.168.1.4\",\"192.168.1.5\",\"192.168.1.6\",\"192.168.1.7\"]",
        ),
        ("net.cidr_expand(\"::1/127\")", "[\"::\",\"::1\"]"),
    ] {
        assert_eq!(evaluate(expression), value, "{expression}");
    }
}

#[test]
fn a_network_is_not_written_out_whole() {
    assert_eq!(evaluate("count(net.cidr_expand(\"10.0.0.0/16\"))"), "65536");
    for network in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fe80::/64"] {
        let said = evaluate(&format!("net.cidr_expand(\"{network}\")"));
        assert_eq!(said, "net.cidr_expand: it makes at most 1000000 elements", "{network}");
    }
    assert_eq!(evaluate("net.cidr_expand(\"10.0.0.0/99\")"), "undefined");
}

#[test]
fn what_needs_a_network_is_an_error_and_never_a_decision() {
    for expression in [
        "http.send({\"method\": \"GET\", \"url\": \"http://a\"})",
        "net.lookup_ip_addr(\"localhost\")",
    ] {
        for expression in
            [expression.to_owned(), format!("y if not {expression}"), format!("[1 | {expression}]")]
        {
            let expression = match expression.strip_prefix("y if ") {
                Some(body) => format!("z\nz := true if {body}\ndefault z := false"),
                None => expression,
            };
            let said = evaluate(&expression);
            assert!(said.contains("the embedded engine"), "{expression}: {said}");
        }
    }
}

#[cfg(feature = "std")]
mod tokens {
    use super::*;

    const SECRET: &str = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn what_is_signed_here_verifies_here_and_with_no_other_key() {
        for (alg, key, verify) in [("ES256", EC, "verify_es256"), ("EdDSA", ED, "verify_eddsa")] {
            let header = format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\"}}");
            let token =
                evaluate(&format!("io.jwt.encode_sign({header}, {{\"sub\":\"a<b\"}}, {key})"));
            for (with, valid) in [(EC, alg == "ES256"), (ED, alg == "EdDSA"), (SECRET, false)] {
                let with = serde_json::Value::from(with).to_string();
                assert_eq!(
                    evaluate(&format!("io.jwt.{verify}({token}, {with})")),
                    valid.to_string()
                );
                let constraints = format!("{{\"cert\":{with},\"alg\":\"{alg}\"}}");
                let held = evaluate(&format!("io.jwt.decode_verify({token}, {constraints})"));
                let expected = if valid {
                    format!("[true,{header},{{\"sub\":\"a<b\"}}]")
                } else {
                    "[false,{},{}]".to_owned()
                };
                assert_eq!(held, expected, "{alg} {with}");
            }
        }
    }

    #[test]
    fn what_a_token_has_may_be_an_output() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AA";
        for (body, value) in [
            ("io.jwt.decode(t, [_, payload, _])", "\"a\""),
            ("io.jwt.decode((t) , # a, b)\n [_, payload, _] # c)\n )", "\"a\""),
            (
                "io.jwt.decode_verify(t, {\"secret\": \"s\"}, [false, _, _]); payload := {\"sub\": 1}",
                "1",
            ),
            (
                "payload := {\"sub\": [v | io.jwt.verify_hs256(t, concat(\"\", [\"s\"]), v)]}",
                "[false]",
            ),
            ("io.jwt.decode(\"no token\", [_, payload, _])", "undefined"),
            ("io.jwt.decode(\"no token\", _); payload := {\"sub\": 1}", "undefined"),
        ] {
            let found = evaluate(&format!("y\nt := \"{token}\"\ny := payload.sub if {{ {body} }}"));
            assert_eq!(found, value, "{body}");
        }
    }

    #[test]
    fn a_key_is_never_a_secret() {
        // The well known confusion: signed with the text of a public key as the secret.
        let public = serde_json::Value::from(EC).to_string();
        let token =
            evaluate("io.jwt.encode_sign({\"alg\":\"HS256\"}, {}, {\"kty\":\"oct\",\"k\":\"YQ\"})");
        assert_eq!(
            evaluate(&format!("io.jwt.decode_verify({token}, {{\"cert\":{public}}})")),
            "[false,{},{}]"
        );
        assert_eq!(
            evaluate(&format!("io.jwt.decode_verify({token}, {{\"secret\":\"a\"}})")),
            "[true,{\"alg\":\"HS256\"},{}]"
        );
        assert_eq!(
            evaluate(&format!("io.jwt.decode_verify({token}, {{\"secret\":\"b\"}})")),
            "[false,{},{}]"
        );
        let none = "eyJhbGciOiJub25lIn0.e30.";
        assert_eq!(
            evaluate(&format!("io.jwt.decode_verify(\"{none}\", {{\"secret\":\"a\"}})")),
            "[false,{},{}]"
        );
    }

    /// Tokens that another library signed, with keys in PEM and as JWK.
    const VECTORS: &str = include_str!("jwt/vectors.json");

    #[test]
    fn tokens_of_every_algorithm_verify_with_their_keys_and_no_others() {
        let vectors: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(VECTORS).unwrap();
        assert_eq!(vectors.len(), 13);
        for vector in &vectors {
            let algorithm = vector["alg"].as_str().unwrap();
            let token = vector["token"].as_str().unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            // Another first letter is another signature.
            let mut letters = signature.chars();
            let first = if letters.next() == Some('A') { 'B' } else { 'A' };
            let forged = format!("{signed}.{first}{}", letters.as_str());
            for key in vector["keys"].as_array().unwrap() {
                let constraint = if algorithm.starts_with("HS") { "secret" } else { "cert" };
                let verify = |token: &str, key: &serde_json::Value| {
                    let constraints = serde_json::json!({constraint: key, "alg": algorithm});
                    evaluate(&format!("io.jwt.decode_verify(\"{token}\", {constraints})[0]"))
                };
                assert_eq!(verify(token, key), "true", "{algorithm} {key}");
                assert_eq!(verify(&forged, key), "false", "{algorithm} {key}");
                let named =
                    format!("io.jwt.verify_{}(\"{token}\", {key})", algorithm.to_ascii_lowercase());
                assert_eq!(evaluate(&named), "true", "{named}");
                let others = vectors.iter().filter(|other| other["kind"] != vector["kind"]);
                for other in others.filter(|other| other["kind"] != "oct") {
                    let said = verify(token, &other["keys"][0]);
                    assert_eq!(said, "false", "{algorithm} by {}", other["alg"]);
                }
            }
        }
    }

    #[test]
    fn what_is_signed_by_a_private_key_verifies_with_the_public_one() {
        let vectors: Vec<serde_json::Value> = serde_json::from_str(VECTORS).unwrap();
        for vector in vectors.iter().filter(|vector| vector.get("private").is_some()) {
            let algorithm = vector["alg"].as_str().unwrap();
            let constraint = if algorithm.starts_with("HS") { "secret" } else { "cert" };
            let constraints = serde_json::json!({constraint: vector["keys"][0]});
            let said = evaluate(&format!(
                "io.jwt.decode_verify(io.jwt.encode_sign({{\"alg\":\"{algorithm}\"}}, {{\"a\": 1}}, {}), \
                 {constraints})",
                vector["private"]
            ));
            assert_eq!(said, format!("[true,{{\"alg\":\"{algorithm}\"}},{{\"a\":1}}]"));
        }
    }

    #[test]
    fn nothing_that_a_client_sends_as_a_token_is_more_than_undefined() {
        for token in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "e30.e30.e30",
            "e30.e30.",
            "bnVsbA.e30.AA",
            "\u{e9}.e30.AA",
        ] {
            for call in
                ["decode(T)", "verify_hs256(T, \"s\")", "decode_verify(T, {\"secret\":\"s\"})"]
            {
                let call = call.replace('T', &serde_json::Value::from(token).to_string());
                let said = evaluate(&format!("io.jwt.{call}"));
                let plain = ["undefined", "false", "[false,{},{}]"].contains(&said.as_str());
                assert!(
                    plain || (said.starts_with("[{}") && token.starts_with("e30.")),
                    "{call}: {said}"
                );
            }
        }
    }
}
