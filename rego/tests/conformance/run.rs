//! One case on the engine, by interpretation and by program.

use std::collections::BTreeMap;

use rego::{Builtins, DecisionError, Policies};
use regorus::Value;

use crate::cases::{Case, Expected};
use crate::variants;

/// What the engine made of a case.
pub(crate) struct Outcome {
    /// Why it is not what OPA makes of it.
    pub(crate) failed: Option<String>,
    /// What interpretation and program make of it, if they do not agree.
    pub(crate) disagree: Option<String>,
    /// Whether there was a program.
    pub(crate) by_program: bool,
}

type Results = Result<Vec<Value>, String>;

/// Runs a case.
pub(crate) fn run(case: &Case) -> Outcome {
    let names: Vec<String> = (0..case.modules.len()).map(|n| format!("{n}.rego")).collect();
    let modules = names.iter().map(String::as_str).zip(case.modules.iter().map(String::as_str));
    let compiled = Policies::compile(modules, case.language, Builtins::Embedded)
        .map_err(|refused| refused.to_string())
        .and_then(|policies| policies.check_data(&case.data).map(|()| policies));
    let policies = match compiled {
        Ok(policies) => policies,
        Err(refused) => return judged(case, &Err(refused), None),
    };
    let input = match &case.input_term {
        None => case.input.clone(),
        Some(term) => match evaluate(&policies, Value::new_object(), &format!("x = {term}")) {
            Ok(input) => input,
            Err(why) => return judged(case, &Err(why), None),
        },
    };
    // There the interpreter is wrong, and the program is not.
    if !case.name.contains("member check set with with both key and value")
        && let Some(disagree) = variants::compare(&policies, &case.data, &input)
    {
        return Outcome { failed: None, disagree: Some(disagree), by_program: true };
    }
    let Some((path, variable)) = asked(&case.query) else {
        let results = policies.query(&case.query, case.data.clone(), Some(input));
        return judged(case, &results.map_err(|it| it.to_string()), None);
    };
    let bound = |value: Option<Value>| match value {
        Some(value) => vec![Value::from(BTreeMap::from([(Value::from(variable.as_str()), value)]))],
        None => vec![],
    };
    let interpreter = policies.interpreter(case.data.clone());
    let interpreted = interpreter.and_then(|mut it| it.decide(&path, input.clone()));
    let by_program = policies.run(&path, &case.data, &input);
    let results = |decided: Result<Option<Value>, DecisionError>| {
        decided.map(bound).map_err(|error| error.to_string())
    };
    judged(case, &results(interpreted), by_program.map(results))
}

/// The value of `x` in a query.
fn evaluate(policies: &Policies, data: Value, query: &str) -> Result<Value, String> {
    let answers = policies.query(query, data, None).map_err(|error| error.to_string())?;
    let answer = answers.first().and_then(|it| it.as_object().ok()?.get(&"x".into()).cloned());
    answer.ok_or_else(|| format!("{query} has no answer"))
}

/// The path of `data.a.b = x`, and the variable.
fn asked(query: &str) -> Option<(Vec<String>, String)> {
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    let (reference, variable) = query.trim().split_once(" = ")?;
    let path: Vec<String> =
        reference.strip_prefix("data.")?.split('.').map(str::to_owned).collect();
    (is_name(variable) && path.iter().all(|part| is_name(part)))
        .then(|| (path, variable.to_owned()))
}

fn judged(case: &Case, interpreted: &Results, by_program: Option<Results>) -> Outcome {
    // Where the interpreter is wrong, a program may be right.
    let differs = by_program.as_ref().filter(|it| {
        let agree = match (it, interpreted) {
            (Ok(one), Ok(other)) => one == other,
            (one, other) => one.is_ok() == other.is_ok(),
        };
        !agree && judge(case, it).is_err()
    });
    Outcome {
        failed: judge(case, interpreted).err(),
        disagree: differs
            .map(|it| format!("program {}, interpreter {}", show(it), show(interpreted))),
        by_program: by_program.is_some(),
    }
}

fn judge(case: &Case, results: &Results) -> Result<(), String> {
    match (&case.expected, results) {
        (Expected::Error | Expected::StrictError, Err(_)) => Ok(()),
        (Expected::StrictError, Ok(found)) if found.is_empty() => Ok(()),
        (Expected::Defined(defined), Ok(found)) if *defined != found.is_empty() => Ok(()),
        (Expected::Results(expected), Ok(found)) if same(case, expected, found) => Ok(()),
        (Expected::Error | Expected::StrictError, _) => Err(format!("no error: {}", show(results))),
        (Expected::Defined(_), _) => Err(show(results)),
        (Expected::Results(expected), _) => {
            Err(format!("expected {}, got {}", show(&Ok(expected.clone())), show(results)))
        }
    }
}

/// Compares as JSON, which has no sets, and in any order of the results.
fn same(case: &Case, expected: &[Value], found: &[Value]) -> bool {
    let plain = |values: &[Value]| {
        let mut values: Vec<Value> =
            values.iter().map(|value| plain(value, case.unordered)).collect();
        values.sort();
        values
    };
    plain(expected) == plain(found)
}

fn plain(value: &Value, sorted: bool) -> Value {
    match value {
        Value::Set(set) => {
            Value::from(set.iter().map(|element| plain(element, sorted)).collect::<Vec<_>>())
        }
        Value::Array(array) => {
            let mut all: Vec<Value> = array.iter().map(|element| plain(element, sorted)).collect();
            if sorted {
                all.sort();
            }
            Value::from(all)
        }
        Value::Object(object) => Value::from(
            object
                .iter()
                .map(|(name, member)| (plain(name, sorted), plain(member, sorted)))
                .collect::<BTreeMap<_, _>>(),
        ),
        other => other.clone(),
    }
}

fn show(results: &Results) -> String {
    match results {
        Ok(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(error) => format!("error: {error}"),
    }
}
