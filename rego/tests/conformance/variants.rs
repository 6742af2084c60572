//! The same policies on other data and input: programs and interpretation are to agree on these,
//! too.

use std::collections::BTreeMap;

use rego::Policies;
use regorus::Value;

/// Inputs and documents that are tried with each case, at most.
const VARIANTS: usize = 24;

/// The first decision of a rule's program that is not the interpreter's. Where the interpreter
/// fails on what has no elements, a program has none, as OPA.
pub(crate) fn compare(policies: &Policies, data: &Value, input: &Value) -> Option<String> {
    let rules: Vec<Vec<String>> = policies.rule_paths().map(<[String]>::to_vec).collect();
    let pairs = [(data.clone(), Value::Undefined)]
        .into_iter()
        .chain(altered(input).into_iter().map(|input| (data.clone(), input)))
        .chain(altered(data).into_iter().map(|data| (data, input.clone())))
        .filter(|(data, _)| matches!(data, Value::Object(_)) && policies.check_data(data).is_ok());
    for (data, input) in pairs.take(VARIANTS) {
        let mut interpreter = None;
        for path in &rules {
            let Some(decided) = policies.run(path, &data, &input) else { continue };
            let mut ready =
                interpreter.take().or_else(|| policies.interpreter(data.clone()).ok())?;
            let interpreted = ready.decide(path, input.clone());
            let agree = match (&decided, &interpreted) {
                (Ok(decided), Ok(interpreted)) => decided == interpreted,
                (Ok(_), Err(error)) => {
                    error.to_string().contains("`some .. in collection` expects")
                }
                (Err(_), _) => true,
            };
            if !agree {
                return Some(format!(
                    "{path:?} with input {input} on {data}: program {decided:?}, interpreter {interpreted:?}"
                ));
            }
            interpreter = interpreted.is_ok().then_some(ready);
        }
    }
    None
}

/// Values that are a little different: without a member, with a member of another type.
fn altered(value: &Value) -> Vec<Value> {
    let others = [Value::Null, Value::Bool(false), 0.into(), "x".into(), Value::new_object()];
    let mut altered = vec![];
    match value {
        Value::Object(object) => {
            for (name, member) in object.iter() {
                let with = |member: Option<Value>| {
                    let mut map: BTreeMap<Value, Value> = object
                        .iter()
                        .map(|(name, member)| (name.clone(), member.clone()))
                        .collect();
                    match member {
                        Some(member) => map.insert(name.clone(), member),
                        None => map.remove(name),
                    };
                    Value::from(map)
                };
                altered.push(with(None));
                altered.extend(others.iter().map(|other| with(Some(other.clone()))));
                altered.extend(self::altered(member).into_iter().map(|member| with(Some(member))));
            }
        }
        Value::Array(array) => {
            for at in 0..array.len() {
                let mut all: Vec<Value> = array.iter().cloned().collect();
                all[at] = Value::Null;
                altered.push(Value::from(all.clone()));
                all.remove(at);
                altered.push(Value::from(all));
            }
        }
        _ => {}
    }
    altered
}
