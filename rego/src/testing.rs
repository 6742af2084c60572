//! The tests of a set of policies: rules `test_…` in `*_test.rego`, which must be true.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regorus::{Engine, Value};

use crate::mistake::{Mistake, Refused};
use crate::policies::Policies;
use crate::reference::{fixed_path, query};
use crate::rules::{self, Names};
use crate::{clock, is_test};

/// A test that takes longer has failed.
const TEST_LIMIT: Duration = Duration::from_secs(2);
/// All tests together may take so long.
const ALL_LIMIT: Duration = Duration::from_secs(10);

/// A test, and where it is written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    file: String,
    row: u32,
    path: Vec<String>,
}

/// The functions that were called and that the engine lacks.
type Called = Arc<Mutex<BTreeSet<String>>>;

/// Runs all tests among `policies` on `data`. Rules `todo_test_…` are none, as in OPA.
///
/// # Errors
/// The tests that failed.
pub(crate) fn run(policies: &mut Policies, data: &Value) -> Result<(), Refused> {
    let tests = find(policies);
    let called = Called::default();
    let fresh = || prepare(policies, data, &called);
    let begin = clock::now();
    let mut engine = None;
    let mut mistakes = Vec::new();
    for test in &tests {
        if clock::now().saturating_sub(begin) > ALL_LIMIT {
            let seconds = ALL_LIMIT.as_secs();
            mistakes.push(test.mistake(&format!(
                "was not run: all tests before it took {seconds} seconds; give fewer, or switch \
                 POLICY_RUN_TESTS off and run them elsewhere"
            )));
            break;
        }
        let mut ready: Engine = match engine.take() {
            Some(engine) => engine,
            None => fresh()?,
        };
        let result = ready.eval_rule(query(&test.path));
        let mut lacking = mem::take(&mut *called.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = match result {
            Ok(Value::Bool(true)) => None,
            Ok(_) => Some("failed".to_owned()),
            Err(error) => {
                let why = Mistake::read(&format!("{error:#}"));
                // What it lacks it cannot replace either: `with graphql.parse as …`.
                if why.reason == "undefined rule" {
                    lacking.extend(policies.lacking().keys().cloned());
                }
                Some(format!("failed: {why}"))
            }
        };
        let Some(failed) = failed else {
            // After an error an engine is of no use, and one that lacked something is not asked.
            engine = Some(ready);
            continue;
        };
        let needs = lacking.into_iter().collect::<Vec<_>>().join(" and ");
        mistakes.push(test.mistake(&match needs.as_str() {
            "" => failed,
            needs => format!(
                "failed: it needs {needs}, which OPA has and this check lacks; run such tests \
                 with `opa test`, and leave them out here"
            ),
        }));
    }
    Refused::if_any(mistakes)
}

/// The tests of all modules, in the order of files and lines.
fn find(policies: &mut Policies) -> BTreeSet<Test> {
    let mut tests = BTreeSet::new();
    let mut known = BTreeSet::new();
    for module in policies.modules() {
        let names = Names::of(module);
        for rule in &module.policy {
            let refr = rules::head(rule);
            let span = refr.span();
            let (head, whole) = fixed_path(refr);
            let name = head.last().filter(|_| whole && head.len() == 1);
            let is_one = rules::arguments(rule).is_none()
                && name.is_some_and(|name| name.starts_with("test_"));
            let path = names.own(&head);
            if is_one && is_test(span.source.get_path()) && known.insert(path.clone()) {
                let file = span.source.get_path().clone();
                tests.insert(Test { file, row: span.line, path });
            }
        }
    }
    tests
}

/// An engine that notices when it is asked for a function that it lacks.
fn prepare(policies: &Policies, data: &Value, called: &Called) -> Result<Engine, Mistake> {
    let mut engine = policies.engine(data.clone()).map_err(|error| Mistake::read(&error))?;
    engine.set_execution_timer_config(clock::limit(TEST_LIMIT));
    for (name, arguments) in policies.lacking() {
        let (function, called) = (name.clone(), Arc::clone(called));
        let note = move |_: Vec<Value>| {
            called.lock().unwrap_or_else(PoisonError::into_inner).insert(function.clone());
            Ok(Value::Undefined)
        };
        let arguments = u8::try_from(*arguments).unwrap_or(u8::MAX);
        engine
            .add_extension(name.clone(), arguments, Box::new(note))
            .map_err(|error| Mistake::read(&format!("{error:#}")))?;
    }
    Ok(engine)
}

impl Test {
    fn mistake(&self, outcome: &str) -> Mistake {
        let name = self.path.join(".");
        let reason = format!("data.{name} {outcome}");
        Mistake { file: self.file.clone(), row: self.row, column: 0, reason }
    }
}
