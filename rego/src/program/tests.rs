//! Rules that programs decide, rules that they must not, and what a machine keeps of a decision.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Builtins, Language, Policies};

use super::*;

fn compile(rego: &str) -> Policies {
    let rego = format!("package a\n{rego}");
    let modules = [("a.rego", rego.as_str())];
    let compiled = Policies::compile(modules, Language::V1, Builtins::Embedded);
    compiled.unwrap_or_else(|refused| panic!("{refused}"))
}

fn value(json: &str) -> Value {
    Value::from_json_str(json).unwrap()
}

fn path() -> Vec<String> {
    ["a", "x"].map(str::to_owned).to_vec()
}

#[test]
fn common_rules_are_decided_by_programs() {
    let (data, input) = (
        value(r#"{"roles":{"u":["r"]},"grants":{"r":[{"do":"read"}]}}"#),
        value(r#"{"user":"u","do":"read","path":"/a/b"}"#),
    );
    for (rego, decided) in [
        ("default x := false\nx if input.user in {\"u\", \"v\"}", "true"),
        ("default x := false\nx if input.user == \"v\"\nx if input.user == \"w\"", "false"),
        (
            "x if { some r in data.roles[input.user]; some g in data.grants[r]; g.do == input.do }",
            "true",
        ),
        ("x contains r if some r in data.roles[input.user]", "[\"r\"]"),
        ("x if { some n; data.roles.u[n] == \"r\" }", "true"),
        ("x := {r | some r in data.roles[input.user]}", "[\"r\"]"),
        ("x if not y\ny if input.user == \"v\"", "true"),
        ("x if { startswith(input.path, \"/a\"); f(input.user) }\nf(u) if u == \"u\"", ""),
        ("x if { input.user = u; f(u) }\nf(u) if u == \"u\"", "true"),
        (
            "x := {\"allowed\": y, \"of\": input.user}\ndefault y := false\ny if input.user == \"v\"",
            r#"{"allowed":false,"of":"u"}"#,
        ),
    ] {
        let found = compile(rego).run(&path(), &data, &input);
        let found = found.map(|it| it.unwrap().unwrap_or(Value::Undefined).to_string());
        assert_eq!(found.unwrap_or_default(), decided, "{rego}");
    }
}

#[test]
fn rules_that_a_program_would_decide_otherwise_are_interpreted() {
    for rego in [
        "x := 1 if input.a\nx := 2 if input.b",
        "x := y if some y in input.ys",
        "x[k] := v if some k, v in input",
        "x := {k: v | some k, v in input}",
        "x := input.a + 1",
        "x if every y in input.ys { y > 1 }",
        "x if f(input.missing)\nf(_) := true",
        "default f(_) := 1\nf(y) := y if y > 1\nx := f(0)",
        "default x := [1 | true]\nx if input.a",
        "x if json.unmarshal(input.a, _)",
        "x := data.list[0]",
        "x if y with input as {}\ny if input.a",
    ] {
        let policies = compile(rego);
        assert!(policies.run(&path(), &value("{}"), &Value::Undefined).is_none(), "{rego}");
    }
    let other = Policies::compile(
        [("a.rego", "package a\nx := data.b"), ("b.rego", "package b\ny := 1")],
        Language::V1,
        Builtins::Embedded,
    );
    let other = other.unwrap_or_else(|it| panic!("{it}"));
    assert!(other.run(&path(), &value("{}"), &Value::Undefined).is_none());
    let functions = compile("x(y) := y");
    assert!(functions.run(&path(), &value("{}"), &Value::Undefined).is_none());
    for other in
        [vec![], vec!["a".to_owned()], vec!["b".to_owned()], vec!["a".to_owned(), "y".to_owned()]]
    {
        assert!(compile("x := 1").run(&other, &value("{}"), &Value::Undefined).is_none());
    }
}

#[test]
fn a_machine_keeps_nothing_of_a_decision() {
    let policies = compile("x contains u if { some u, _ in data.users; u != input.u }");
    let (data, input) = (value(r#"{"users":{"a":1,"b":2}}"#), value(r#"{"u":"b"}"#));
    let count = |value: &Value| match value {
        Value::Object(object) => Rc::strong_count(object),
        _ => 0,
    };
    for _ in 0..3 {
        let decided = policies.run(&path(), &data, &input).unwrap().unwrap();
        assert_eq!(decided, Some(BTreeSet::from([Value::from("a")]).into()));
        assert_eq!((count(&data), count(&input)), (1, 1));
        let users = data.as_object().unwrap().get(&"users".into()).unwrap();
        assert_eq!(count(users), 1);
    }
    // And another's data is not seen.
    let decided = policies.run(&path(), &value("{}"), &input).unwrap().unwrap();
    assert_eq!(decided, Some(BTreeSet::<Value>::new().into()));
}

#[test]
fn a_decision_that_takes_too_long_is_given_up_by_program_and_interpreter() {
    // As deep as it needs to be to go on for ever.
    let every = "some a in l; some b in l; some c in l; some d in l; some e in l";
    let list = (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let rego = format!(
        "l := [{list}]\nx if {{ {every}; [a, b, c, d] == e }}\ny if {{ {every}; a + b + c + d == 0 - e - 1 }}"
    );
    let policies = compile(&rego).within(Duration::from_millis(50));
    let decided = policies.run(&path(), &value("{}"), &Value::Undefined);
    assert_eq!(decided, Some(Err(DecisionError::TooLong)));
    let path = ["a", "y"].map(str::to_owned);
    assert!(policies.run(&path, &value("{}"), &Value::Undefined).is_none());
    assert_eq!(policies.decide(&path, &value("{}"), None), Err(DecisionError::TooLong));
}

#[test]
fn what_takes_no_time_is_run_where_nobody_may_be_held_up() {
    let every = "some a in l; some b in l; some c in l; some d in l; some e in l";
    let list = (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let rego = format!("l := [{list}]\nx := input.n\nslow if {{ {every}; [a, b, c, d] == e }}");
    let policies = compile(&rego).within(Duration::from_millis(50));
    let (data, input) = (value("{}"), value(r#"{"n":1}"#));
    assert!(policies.run_quickly(&path(), &data, &input).is_none(), "it is not compiled here");
    let decided = policies.run(&path(), &data, &input);
    assert_eq!(decided, Some(Ok(Some(Value::from(1)))));
    assert_eq!(policies.run_quickly(&path(), &data, &input), decided);

    let slow = ["a", "slow"].map(str::to_owned);
    assert_eq!(policies.run(&slow, &data, &input), Some(Err(DecisionError::TooLong)));
    let tries = (0..=NOT_TRIED).filter(|_| {
        let begin = std::time::Instant::now();
        assert!(policies.run_quickly(&slow, &data, &input).is_none());
        begin.elapsed() >= QUICK
    });
    assert_eq!(tries.count(), 1, "what took longer once is not tried again at once");
}
