//! A set of policies, compiled once for every version of the data.

use std::collections::BTreeSet;

use regorus::{
    Engine,
    Value,
    languages::rego::compiler::{Compiler, CompilerError},
    // Not promised to stay, and the only way to ask which rules a module has.
    unstable::{Expr, Rule, RuleHead},
};

use super::document::{self, Refused};
use crate::policy::PolicyModule;

/// Policies that compile.
pub(super) struct Policies {
    /// An engine with the modules and without data, to be cloned.
    template: Engine,
    rules: Vec<RulePlace>,
}

/// Where a rule puts its value, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RulePlace {
    path: Vec<String>,
    file: String,
    row: u32,
}

/// What a module is written in that does not say so itself with an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Rego as it was before OPA 1.0: `allow { … }`.
    V0,
    /// Rego as it is since OPA 1.0: `allow if { … }`.
    #[default]
    V1,
}

impl Policies {
    /// No policies.
    pub(super) fn none() -> Self {
        Self { template: engine(Language::V1), rules: Vec::new() }
    }

    /// Compiles all of `modules`.
    ///
    /// # Errors
    /// File, line and reason of the first mistake.
    pub(super) fn compile(modules: &[PolicyModule], language: Language) -> Result<Self, Refused> {
        let mut template = engine(language);
        for module in modules {
            template
                .add_policy(module.id.clone(), module.rego.clone())
                .map_err(|error| one_line(&format!("{error:#}")))?;
        }
        let rules = rules(&mut template);
        check(&mut template.clone(), &rules)?;
        Ok(Self { template, rules })
    }

    /// An engine that decides by these policies on `data`.
    pub(super) fn engine(&self, data: Value) -> Result<Engine, Refused> {
        let mut engine = self.template.clone();
        engine.add_data(data).map_err(|error| one_line(&format!("{error:#}")))?;
        Ok(engine)
    }

    /// Checks that no data is where a rule puts its value: the data would hide the rule, so
    /// that whoever writes data could write decisions. OPA refuses it too, in these words.
    pub(super) fn check_data(&self, data: &Value) -> Result<(), Refused> {
        match self.rules.iter().find(|rule| document::collides(data, &rule.path)) {
            None => Ok(()),
            Some(rule) => Err(rule.conflict()),
        }
    }

    /// [`Self::check_data`] for a document that is fine and is about to get `value` at `path`.
    pub(super) fn check_put(&self, path: &[String], value: &Value) -> Result<(), Refused> {
        let collides = |rule: &&RulePlace| match rule.path.strip_prefix(path) {
            Some(rest) => document::collides(value, rest),
            None => path.starts_with(&rule.path),
        };
        self.rules.iter().find(collides).map_or(Ok(()), |rule| Err(rule.conflict()))
    }
}

impl RulePlace {
    fn conflict(&self) -> Refused {
        let Self { path, file, row } = self;
        format!("{file}:{row}: conflicting rule for data path {} found", path.join("/"))
    }
}

fn engine(language: Language) -> Engine {
    let mut engine = Engine::new();
    engine.set_rego_v0(language == Language::V0);
    // As in OPA, what a builtin cannot do is undefined.
    engine.set_strict_builtin_errors(false);
    engine.set_execution_timer_config(super::TIME_LIMIT);
    engine
}

/// The rules of all modules, as far as their paths are fixed: `p[x]` counts as `p`.
fn rules(engine: &mut Engine) -> Vec<RulePlace> {
    let modules = engine.get_modules();
    let mut found = BTreeSet::new();
    for module in modules {
        let package = fixed_path(&module.package.refr).0;
        for rule in &module.policy {
            let refr = match rule.as_ref() {
                Rule::Spec { head: RuleHead::Compr { refr, .. }, .. }
                | Rule::Spec { head: RuleHead::Set { refr, .. }, .. }
                | Rule::Spec { head: RuleHead::Func { refr, .. }, .. }
                | Rule::Default { refr, .. } => refr,
            };
            let span = refr.span();
            found.insert(RulePlace {
                path: [package.clone(), fixed_path(refr).0].concat(),
                file: span.source.get_path().clone(),
                row: span.line,
            });
        }
    }
    found.into_iter().collect()
}

/// The leading segments of a reference that are known without evaluating it, and whether
/// they are all of it.
fn fixed_path(refr: &Expr) -> (Vec<String>, bool) {
    let (parent, segment) = match refr {
        Expr::Var { value, .. } => return (text(value).into_iter().collect(), true),
        Expr::RefDot { refr, field: (_, value), .. } => (refr, text(value)),
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { value, .. } | Expr::RawString { value, .. } => (refr, text(value)),
            _ => (refr, None),
        },
        _ => return (Vec::new(), false),
    };
    let (mut path, whole) = fixed_path(parent);
    match segment {
        Some(segment) if whole => {
            path.push(segment);
            (path, true)
        }
        _ => (path, false),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_string().ok().map(ToString::to_string)
}

/// Rules that are checked together; the compiler has 255 registers.
const RULES_AT_ONCE: usize = 64;

/// Finds mistakes that would otherwise show at the first decision.
///
/// The interpreter that decides looks names up when it meets them. The compiler for
/// regorus's virtual machine looks them up at once, but knows less of Rego: of what it
/// says, an unknown function is believed, an unknown variable only if the interpreter
/// says so too, and the rest is left to the interpreter.
fn check(engine: &mut Engine, rules: &[RulePlace]) -> Result<(), Refused> {
    engine.eval_query("true".to_owned(), false).map_err(|error| one_line(&format!("{error:#}")))?;
    let names: BTreeSet<String> = rules.iter().map(|rule| super::query(&rule.path)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(compiled) =
        names.iter().find_map(|name| engine.compile_with_entrypoint(&(*name).into()).ok())
    else {
        return Ok(());
    };
    let compile = |names: &[&str]| Compiler::compile_from_policy(&compiled, names).map(drop);
    for names in names.chunks(RULES_AT_ONCE) {
        if compile(names).is_ok() {
            continue;
        }
        for name in names {
            let Err(error) = compile(&[name]) else { continue };
            match &error.error {
                CompilerError::UnknownFunction { name } => {
                    let place = error.span.as_ref().map_or_else(String::new, |span| {
                        format!("{}:{}:{}: ", span.source.get_path(), span.line, span.col)
                    });
                    return Err(format!("{place}undefined function {name}"));
                }
                CompilerError::UndefinedVariable { .. } => {
                    // A clone, because an engine is of no use after an error.
                    let evaluated = engine.clone().eval_query((*name).to_owned(), false);
                    let said = evaluated.err().map(|error| one_line(&format!("{error:#}")));
                    if let Some(said) = said.filter(|said| said.contains(" is unsafe")) {
                        return Err(said);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// `file:row:col: reason` from regorus's drawing of it.
pub(super) fn one_line(error: &str) -> String {
    let lines = || error.lines().map(str::trim);
    let place = lines().find_map(|line| line.strip_prefix("--> "));
    let reason = lines().find_map(|line| line.strip_prefix("error: "));
    match (place, reason) {
        (Some(place), Some(reason)) => {
            // The rest of such a line is the interpreter's own state.
            let reason = reason.split_once(" (path [").map_or(reason, |(words, _)| words);
            format!("{place}: {reason}")
        }
        _ => lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(rego: &str) -> Result<Policies, Refused> {
        compile_as(rego, Language::V1)
    }

    fn compile_as(rego: &str, language: Language) -> Result<Policies, Refused> {
        let module = PolicyModule { id: "a.rego".to_owned(), rego: rego.to_owned() };
        Policies::compile(&[module], language)
    }

    #[test]
    fn older_rego_is_taken_where_it_is_asked_for_and_newer_one_that_says_so() {
        let older = "package a\nallow { input.x == 1 }";
        assert!(compile_as(older, Language::V0).is_ok());
        assert!(compile_as(older, Language::V1).is_err());
        let newer = "package a\nimport rego.v1\nallow if input.x == 1";
        assert!(compile_as(newer, Language::V0).is_ok());
    }

    #[test]
    fn a_mistake_is_named_with_file_line_and_reason() {
        for (rego, words) in [
            ("", "a.rego:1:1: expecting `package`"),
            ("package a\ny := ", "a.rego:2:"),
            ("package a\nallow { 1 == 1 }", "a.rego:2:7: `if` keyword is required"),
            ("package a\n\ny := zz", "a.rego:3:6: var zz is unsafe"),
            ("package a\ny if not zz", "a.rego:2:10: use of undefined variable `zz` is unsafe"),
            ("package a\ny := nofun(1)", "undefined function nofun"),
            ("package a\ny := io.jwt.decode(\"x\")", "undefined function io.jwt.decode"),
            ("package a\ny := data.b.f(1)", "undefined function data.b.f"),
            ("package a\ny if { x > 1 }", "`x` is unsafe"),
        ] {
            let Err(refused) = compile(rego) else { panic!("{rego} compiled") };
            assert!(refused.contains(words), "{rego:?}: {refused}");
        }
    }

    #[test]
    fn rego_of_every_kind_compiles() {
        for rego in [
            "package a",
            "package a.b[\"c d\"]\nx := 1",
            "package a\nimport rego.v1\nimport data.other as o\nimport input.user\nallow if user in o.users",
            "package a\nallow if { data.a.x with data.a.x as 1 with input as {} }\nx := input.x",
            "package a\nf(x) := x + 1\nf(x) := y if { y := x }\ny := f(1)\nz := data.a.f(2)",
            "package a\ns contains x if some x in [1]\np[x] := 1 if some x in [2]\nq.r.s := 3\nq.r.t := 4",
            "package a\ndefault allow := false\nallow if every x in input.xs { x > 1 }\nallow if { some i; input.xs[i] == i }",
            "package a\nx := [y | y := input.a[_]]\nz := {k: v | some k, v in input}\nw := {v | some v in input}",
            "package a\nx := 1 if input.a else := 2 if input.b else := 3",
            "package a\nx := sprintf(\"%d\", [count(input.a)])\ny := object.get(input, [\"a\"], null)\nn := time.now_ns()",
            "package a\nx := [1, 2][_]\nv := input.a[_]\nw := data.a[i]\ny := walk_it\nwalk_it contains p if walk(input, [p, _])",
            "package a\n# METADATA\n# title: t\nallow if print(\"x\")\nallow if regex.match(`a+`, input.a)",
        ] {
            if let Err(refused) = compile(rego) {
                panic!("{rego}: {refused}");
            }
        }
    }

    #[test]
    fn rules_are_known_as_far_as_their_paths_are_fixed() {
        let rego = "package a[\"b c\"]\nallow := true\ns contains 1\np[x] := 1 if some x in [2]\n\
                    q.r[\"s t\"] := 3\nf(x) := x\ndefault z := 1";
        let policies = compile(rego).unwrap();
        let paths: Vec<String> = policies.rules.iter().map(|rule| rule.path.join("/")).collect();
        assert_eq!(
            paths,
            ["a/b c/allow", "a/b c/f", "a/b c/p", "a/b c/q/r/s t", "a/b c/s", "a/b c/z"]
        );
    }

    #[test]
    fn data_may_not_hide_a_rule() {
        let policies = compile("package a.b\n\nallow := false\nq.r := 1").unwrap();
        let segments = |path: &str| path.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
        for (path, value, conflict) in [
            ("", r#"{"a":{"b":{"other":1}}}"#, None),
            ("", r#"{"a":{"b":{"allow":true}}}"#, Some("a/b/allow")),
            ("", r#"{"a":5}"#, Some("a/b/allow")),
            ("/a", r#"{"b":{"q":{"r":2}}}"#, Some("a/b/q/r")),
            ("/a/b", r#"{"q":{"s":2}}"#, None),
            ("/a/b", r#"{"q":2}"#, Some("a/b/q/r")),
            ("/a/b/allow", "true", Some("a/b/allow")),
            ("/a/b/allow/x", "true", Some("a/b/allow")),
            ("/a/b/allowed", "true", None),
            ("/a/c", "true", None),
        ] {
            let value = Value::from_json_str(value).unwrap();
            let refused = policies.check_put(&segments(path), &value).err();
            let mut root = Value::new_object();
            let after = document::put(&mut root, &segments(path), value.clone());
            assert!(after.is_ok());
            assert_eq!(policies.check_data(&root).err(), refused, "{path}");
            match (conflict, refused) {
                (None, None) => {}
                (Some(at), Some(refused)) => assert!(
                    refused.ends_with(&format!("conflicting rule for data path {at} found"))
                        && refused.starts_with("a.rego:"),
                    "{refused}"
                ),
                (expected, found) => panic!("{path} {value}: {expected:?} {found:?}"),
            }
        }
    }
}
