//! A set of policies, compiled once for every version of the data.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use regorus::{
    Engine,
    PolicyLengthConfig,
    Value,
    // Not promised to stay, and the only way to ask which rules a module has.
    unstable::{Module, Ref},
};

use crate::builtins::Builtins;
use crate::mistake::{Mistake, Refused, one_line};
use crate::names::{self, Checked};
use crate::program::{self, Doubts, Programs};
use crate::reference::query;
use crate::rules::{self, RulePlace};
use crate::{Language, clock, functions, nesting, outputs};

/// A decision that takes longer is given up, unless [`Policies::within`] says otherwise, so that a
/// policy that never ends costs its thread for this long and not for ever. An evaluation blocks;
/// whoever asks for one sees to it that the thread is one that may be blocked.
pub const DECISION_LIMIT: Duration = Duration::from_secs(5);
/// Looking for mistakes by evaluating is given up after so long; the rest shows in decisions.
const SEARCH_LIMIT: Duration = Duration::from_secs(1);

/// Policies that compile.
pub struct Policies {
    /// An engine with the modules and without data, to be cloned.
    template: Engine,
    /// In the order of their paths.
    rules: Vec<RulePlace>,
    /// The first names of the packages.
    roots: BTreeSet<String>,
    /// The built-in functions that are called and that the engine lacks, with the number of
    /// their arguments.
    lacking: BTreeMap<String, usize>,
    /// The rules that were asked for.
    pub(crate) programs: Programs,
    /// Why rules are not decided by programs; none if none is.
    pub(crate) doubts: Option<Doubts>,
    /// How long a decision may take.
    pub(crate) limit: Duration,
}

impl Policies {
    /// No policies.
    #[must_use]
    pub fn none() -> Self {
        Self {
            template: engine(Language::V1),
            rules: Vec::new(),
            roots: BTreeSet::new(),
            lacking: BTreeMap::new(),
            programs: Programs::default(),
            doubts: None,
            limit: DECISION_LIMIT,
        }
    }

    /// Compiles all of `modules`: pairs of a file's path and its text.
    ///
    /// # Errors
    /// The mistakes. Those that make a file unreadable hide the others, and of those that make
    /// an order of evaluation impossible only the first is found.
    pub fn compile<'t>(
        modules: impl IntoIterator<Item = (&'t str, &'t str)>,
        language: Language,
        builtins: Builtins,
    ) -> Result<Self, Refused> {
        let mut template = engine(language);
        let mut mistakes = Vec::new();
        for (file, text) in modules {
            let parsed = nesting::check(file, text).and_then(|()| {
                let text = outputs::written_out(text, |text| {
                    let mut reader = engine(language);
                    reader.add_policy(file.to_owned(), text.to_owned()).ok()?;
                    let module = reader.get_modules().first()?;
                    Some(outputs::edits(text, module))
                });
                let added = template.add_policy(file.to_owned(), text.into_owned());
                added.map_err(|error| in_file(file, &format!("{error:#}")))
            });
            mistakes.extend(parsed.err());
        }
        Refused::if_any(mistakes)?;

        let rules = rules::places(modules_of(&mut template));
        let packages = modules_of(&mut template).map(rules::package);
        let roots = packages.filter_map(|package| package.into_iter().next()).collect();
        let mut checked = names::check(modules_of(&mut template), &rules, builtins);
        let prepared = template.eval_query("true".to_owned(), false);
        if let Some(error) = prepared.err().map(|error| format!("{error:#}")) {
            let mistake = Mistake::read(&error);
            if !checked.gives_value(&mistake) {
                checked.mistakes.push(mistake);
            }
        }
        Refused::if_any(checked.mistakes)?;
        Refused::if_any(unsafe_values(&template, &checked.doubtful))?;
        let programs = Programs::default();
        let doubts = program::doubts(modules_of(&mut template), &rules);
        Ok(Self {
            template,
            rules,
            roots,
            lacking: checked.lacking,
            programs,
            doubts,
            limit: DECISION_LIMIT,
        })
    }

    /// The same policies, but that a decision may take so long.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.template.set_execution_timer_config(clock::limit(limit));
        Self { limit, programs: Programs::default(), ..self }
    }

    /// An engine that decides by these policies on `data`.
    ///
    /// # Errors
    /// The data is no object.
    pub fn engine(&self, data: Value) -> Result<Engine, String> {
        let mut engine = self.template.clone();
        engine.add_data(data).map_err(|error| one_line(&format!("{error:#}")))?;
        Ok(engine)
    }

    /// True if a module is in the package of this name, or in one below it.
    #[must_use]
    pub fn has_package(&self, root: &str) -> bool {
        self.roots.contains(root)
    }

    /// True if there is a rule at or below this path, seen from `data`.
    #[must_use]
    pub fn have_rules_below(&self, path: &[String]) -> bool {
        self.below(path).next().is_some()
    }

    /// Checks that no data is where a rule puts its value: the data would hide the rule, so
    /// that whoever writes data could write decisions. OPA refuses it too, in these words.
    ///
    /// # Errors
    /// The first rule that would be hidden, with its file and line.
    pub fn check_data(&self, data: &Value) -> Result<(), String> {
        self.check_put(&[], data)
    }

    /// The first rule that data would hide, if there is one.
    #[must_use]
    pub fn hidden(&self, data: &Value) -> Option<Mistake> {
        let rule = self.hidden_by(&[], data)?;
        Some(Mistake { file: rule.file.clone(), row: rule.row, column: 1, reason: rule.hidden() })
    }

    /// [`Self::check_data`] for a document that is fine and is about to get `value` at `path`.
    ///
    /// # Errors
    /// As there.
    pub fn check_put(&self, path: &[String], value: &Value) -> Result<(), String> {
        let hidden = self.hidden_by(path, value);
        hidden.map_or(Ok(()), |rule| Err(format!("{}:{}: {}", rule.file, rule.row, rule.hidden())))
    }

    /// The first rule that `value` at `path` would hide.
    pub(crate) fn hidden_by(&self, path: &[String], value: &Value) -> Option<&RulePlace> {
        // A rule above the data.
        let mut above = (0..path.len()).filter_map(|length| self.at(path.get(..length)?));
        if let Some(rule) = above.next() {
            return Some(rule);
        }
        self.below(path).find(|(_, rest)| collides(value, rest)).map(|(rule, _)| rule)
    }

    /// A rule whose path this is.
    fn at(&self, path: &[String]) -> Option<&RulePlace> {
        let first = self.rules.partition_point(|rule| rule.path.as_slice() < path);
        self.rules.get(first).filter(|rule| rule.path == path)
    }

    /// The rules at and below a path, which stand together, each with what its path has besides.
    fn below<'r>(&'r self, path: &[String]) -> impl Iterator<Item = (&'r RulePlace, &'r [String])> {
        let first = self.rules.partition_point(|rule| rule.path.as_slice() < path);
        let below = self.rules.iter().skip(first);
        below.map_while(move |rule| Some((rule, rule.path.strip_prefix(path)?)))
    }

    /// The paths of all rules' values, functions' as well.
    pub fn rule_paths(&self) -> impl Iterator<Item = &[String]> {
        self.rules.iter().map(|rule| rule.path.as_slice())
    }

    /// True if this is the place of a rule's value, that of no function, and no other rule's is
    /// below it.
    pub(crate) fn is_rule(&self, path: &[String]) -> bool {
        let mut here = self.below(path).peekable();
        let is_value =
            |(rule, rest): (&RulePlace, &[String])| rest.is_empty() && rule.arguments.is_none();
        here.peek().is_some() && here.all(is_value)
    }

    /// An engine with the modules and without data.
    pub(crate) fn template(&self) -> Engine {
        self.template.clone()
    }

    /// True if a rule gives the value at `path`, or at a place above it.
    #[must_use]
    pub fn has_rule(&self, path: &[String]) -> bool {
        (1..=path.len()).filter_map(|length| path.get(..length)).any(|it| self.at(it).is_some())
    }

    /// In the order of their paths.
    pub(crate) fn rules(&self) -> &[RulePlace] {
        &self.rules
    }

    pub(crate) fn lacking(&self) -> &BTreeMap<String, usize> {
        &self.lacking
    }

    /// The modules.
    pub(crate) fn modules(&mut self) -> impl Iterator<Item = &Module> {
        modules_of(&mut self.template)
    }
}

/// The package of a module, seen from `data`.
///
/// # Errors
/// It cannot be read.
pub fn package(file: &str, text: &str, language: Language) -> Result<Vec<String>, Refused> {
    nesting::check(file, text)?;
    let mut engine = engine(language);
    let added = engine.add_policy(file.to_owned(), text.to_owned());
    added.map_err(|error| in_file(file, &format!("{error:#}")))?;
    Ok(modules_of(&mut engine).next().map(rules::package).unwrap_or_default())
}

impl RulePlace {
    /// What is wrong with data that hides it.
    pub(crate) fn hidden(&self) -> String {
        format!("conflicting rule for data path {} found", self.path.join("/"))
    }
}

impl Checked {
    /// True for a name that is said to be unknown, and that gets its value from a function that
    /// the engine does not know.
    fn gives_value(&self, mistake: &Mistake) -> bool {
        self.outputs.iter().any(|(file, name)| {
            *file == mistake.file && mistake.reason.contains(&format!("`{name}` is unsafe"))
        })
    }
}

pub(crate) fn engine(language: Language) -> Engine {
    let mut engine = Engine::new();
    functions::install(&mut engine);
    engine.set_rego_v0(language == Language::V0);
    // As in OPA, what a builtin cannot do is undefined.
    engine.set_strict_builtin_errors(false);
    engine.set_execution_timer_config(clock::limit(DECISION_LIMIT));
    // Ours are those of `protocol::limits`: OPA has none, and what it loads is not to fail here.
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: NonZeroUsize::MAX,
        max_lines: NonZeroUsize::MAX,
    });
    engine
}

pub(crate) fn modules_of(engine: &mut Engine) -> impl Iterator<Item = &Module> {
    engine.get_modules().iter().map(Ref::as_ref)
}

/// A mistake that regorus found in a file.
fn in_file(file: &str, drawn: &str) -> Mistake {
    let mistake = Mistake::read(drawn);
    if mistake.file.is_empty() { Mistake { file: file.to_owned(), ..mistake } } else { mistake }
}

/// Values that name what is nothing. The engine notices when it evaluates them; that a name is
/// unknown to us is only a reason to let it.
fn unsafe_values<'p>(
    template: &Engine,
    doubtful: impl IntoIterator<Item = &'p Vec<String>>,
) -> Vec<Mistake> {
    let begin = clock::now();
    let mut found = Vec::new();
    let mut engine: Option<Engine> = None;
    for path in doubtful {
        if clock::now().saturating_sub(begin) > SEARCH_LIMIT {
            break;
        }
        let evaluated = engine
            .get_or_insert_with(|| {
                let mut engine = template.clone();
                engine.set_execution_timer_config(clock::limit(SEARCH_LIMIT));
                engine
            })
            .eval_rule(query(path));
        if let Err(error) = evaluated {
            // After an error an engine is of no use.
            engine = None;
            let mistake = Mistake::read(&format!("{error:#}"));
            found.extend(Some(mistake).filter(|mistake| mistake.reason.contains(" is unsafe")));
        }
    }
    found
}

/// True if there is data at `path`, or something on the way that is no object: a rule of
/// that path and the data would then be two answers to one question.
fn collides(root: &Value, path: &[String]) -> bool {
    let mut at = root;
    for segment in path {
        let Value::Object(object) = at else { return true };
        match object.get(&Value::from(segment.as_str())) {
            Some(member) => at = member,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(rego: &str) -> Result<Policies, String> {
        compile_as(rego, Language::V1)
    }

    fn compile_as(rego: &str, language: Language) -> Result<Policies, String> {
        let compiled = Policies::compile([("a.rego", rego)], language, Builtins::Embedded);
        compiled.map_err(|refused| refused.to_string())
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
            (
                "package a\ny := crypto.x509.parse_certificates(\"x\")",
                "undefined function crypto.x509.parse_certificates",
            ),
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
            "package a\n\ndefault allow = false\nx = true",
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
            let root = segments(path).iter().rev().fold(value.clone(), |value, segment| {
                Value::from(BTreeMap::from([(Value::from(segment.as_str()), value)]))
            });
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

    #[test]
    fn data_at_or_across_a_rules_path_collides_with_it() {
        for (data, collision) in [
            ("{}", false),
            (r#"{"a":{}}"#, false),
            (r#"{"a":{"c":1}}"#, false),
            (r#"{"a":{"b":null}}"#, true),
            (r#"{"a":{"b":{"c":1}}}"#, true),
            (r#"{"a":5}"#, true),
            (r#"{"a":[]}"#, true),
        ] {
            assert_eq!(
                collides(&Value::from_json_str(data).unwrap(), &["a".to_owned(), "b".to_owned()]),
                collision,
                "{data}"
            );
        }
    }
}
