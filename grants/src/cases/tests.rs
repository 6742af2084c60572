use serde_json::{Value, json};

use super::*;

const CASES: &str = include_str!("../../tests/cases.json");

fn case() -> Value {
    json!({
        "id": "1",
        "title": "t reads",
        "level": "http",
        "grants": [{"name": "t", "domain": "a.example", "allowed_http_methods": ["GET"]}],
        "request": {"token": "t", "domain": "a.example", "method": "GET", "path": "/x?q=//"},
        "expect": "allow",
        "status": 200
    })
}

/// The file with one case, changed.
fn read(change: impl FnOnce(&mut Value)) -> Result<File, String> {
    let mut file = json!({"format": 1, "cases": [case()]});
    change(&mut file);
    File::read(file.to_string().as_bytes())
}

fn run(change: impl FnOnce(&mut Value)) -> Outcome {
    read(|file| change(&mut file["cases"][0])).unwrap().cases[0].run()
}

#[test]
fn all_decided_cases_come_out_as_decided() {
    let file = File::read(CASES.as_bytes()).unwrap();
    let outcomes: Vec<_> = file.cases.iter().map(Case::run).collect();
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| !outcome.is_expected()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(outcomes.len(), 46);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.expected.status.is_some()).count(), 4);
}

#[test]
fn a_case_that_comes_out_otherwise_is_not_expected() {
    assert!(run(|_| ()).is_expected());
    let outcome = run(|case| case["status"] = json!(204));
    assert!(!outcome.is_expected());
    assert_eq!(outcome.got.to_string(), "allow (200)");
    let outcome = run(|case| case["request"]["method"] = json!("PUT"));
    assert!(!outcome.is_expected());
    assert_eq!(outcome.got.to_string(), "deny (401)");
}

#[test]
fn the_level_of_http_has_the_front_before_the_model() {
    for (path, status) in [("/x//y", 400), ("/x%2Fy", 400), ("/x/", 200), ("/x%20y", 200)] {
        let outcome = run(|case| case["request"]["path"] = json!(path));
        assert_eq!(outcome.got.status, Some(status), "{path}");
    }
    let outcome = run(|case| case["request"]["raw_token"] = json!("v1:a.example:other"));
    assert_eq!(outcome.got.status, Some(401));
}

#[test]
fn grants_are_read_in_casbins_syntax_unless_they_say_otherwise() {
    let ask = |syntax: Value| {
        run(|case| {
            case["grants"][0]["paths"] = json!(["/a.c"]);
            case["grants"][0]["path_syntax"] = syntax;
            case["request"]["path"] = json!("/abc");
        })
    };
    assert_eq!(ask(Value::Null).got.verdict, Verdict::Allow);
    assert_eq!(ask(json!("casbin")).got.verdict, Verdict::Allow);
    assert_eq!(ask(json!("safe")).got.verdict, Verdict::Deny);
}

#[test]
fn a_case_may_have_denials_and_roles_as_grants() {
    let outcome = run(|case| {
        case["grants"][0]["roles"] = json!(["blocked"]);
        let denial = json!({"role": "blocked", "domain": "a.example", "eft": "deny",
            "allowed_http_methods": ["*"], "paths": ["/x"]});
        case["grants"].as_array_mut().unwrap().push(denial);
    });
    assert_eq!(outcome.got.verdict, Verdict::Deny);
}

#[test]
fn a_pattern_that_is_none_is_told() {
    let outcome = run(|case| case["grants"][0]["paths"] = json!(["/a("]));
    assert_eq!(outcome.got.verdict, Verdict::Deny);
    assert!(outcome.broken[0].contains("`/a(`"), "{:?}", outcome.broken);
}

#[test]
fn a_file_that_is_wrong_is_refused_with_the_place() {
    type Change = fn(&mut Value);
    let wrong: [(Change, &[&str]); 12] = [
        (|file| file["format"] = json!(2), &["format", "2 is not known"]),
        (|file| file["case"] = json!([]), &["unknown field `case`"]),
        (|file| file["cases"] = json!([]), &["cases", "at least one"]),
        (|file| file["cases"][0]["expects"] = json!("allow"), &["cases[0]", "`expects`"]),
        (|file| file["cases"][0]["expect"] = json!("maybe"), &["cases[0].expect", "`maybe`"]),
        (
            |file| file["cases"][0]["grants"][0]["path"] = json!([]),
            &["cases[0].grants[0]", "`path`"],
        ),
        (
            |file| file["cases"][0]["grants"][0]["allowed_http_methods"] = json!([]),
            &["cases[0] (1): grants[0].allowed_http_methods", "at least one"],
        ),
        (
            |file| file["cases"][0]["grants"][0]["role"] = json!("r"),
            &["cases[0] (1): grants[0]", "a name, or the role"],
        ),
        (
            |file| file["cases"][0]["policies"] = json!([["t", "*", "/x", ".*"]]),
            &["cases[0].policies[0]", "length 4"],
        ),
        (|file| file["cases"][0]["level"] = json!("model"), &["cases[0] (1)", "status"]),
        (
            |file| {
                file["cases"][0]["level"] = json!("model");
                file["cases"][0]["status"] = Value::Null;
                file["cases"][0]["request"]["token"] = Value::Null;
            },
            &["request.token"],
        ),
        (|file| file["cases"] = json!([case(), case()]), &["cases[1] (1)", "this id"]),
    ];
    for (change, words) in wrong {
        let refused = read(change).unwrap_err();
        assert!(words.iter().all(|word| refused.contains(word)), "{words:?}: {refused}");
    }
    for text in ["", "{", "nonsense", "{\"format\":1,\"cases\":[]} x"] {
        let refused = File::read(text.as_bytes()).unwrap_err();
        assert!(refused.starts_with("not JSON"), "{refused}");
    }
}
