//! Queries that are no part of a policy.
//!
//! The engine has queries of its own, and leaves out bindings of some. So a query becomes one of a
//! single statement, a list of what its variables stand for each time that it holds, which the
//! engine evaluates as it does the body of a rule.

use std::collections::BTreeSet;

use regorus::Value;
use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Rule};

use crate::builtins::Builtins;
use crate::clock;
use crate::decide::DecisionError;
use crate::mistake::{Mistake, one_line};
use crate::policies::{Policies, engine, modules_of};
use crate::walk::Written;
use crate::{Language, names, nesting};

/// What a query's mistakes are located in.
const FILE: &str = "";
/// The lines that stand before the query, in the module that it is read as and in the list that it
/// becomes.
const LINES_BEFORE: u32 = 1;
/// What the list is called.
const ANSWERS: &str = "girasol_answers";
/// What a query may not call, as in OPA.
const SEND: [&str; 2] = ["http", "send"];

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is nothing in it.
    #[error("cannot evaluate empty query")]
    Empty,
    /// It is no Rego.
    #[error("{0}")]
    Parse(Mistake),
    /// It names what is nothing, or the engine cannot evaluate what it asks for.
    #[error("{0}")]
    Compile(Mistake),
    /// Evaluating failed.
    #[error("{0}")]
    Evaluation(DecisionError),
}

/// A query that can be read.
struct Read {
    /// Its variables, but for those of what it nests.
    variables: BTreeSet<String>,
    /// True if it is one expression that has one value, so that it is an answer whatever the value.
    is_value: bool,
}

impl Policies {
    /// The answers to a query on `data`: what its variables stand for, an object each.
    ///
    /// # Errors
    /// It cannot be read, it calls what is no function, or a rule that it asks for has no one
    /// value.
    pub fn query(
        &self,
        text: &str,
        data: Value,
        input: Option<Value>,
    ) -> Result<Vec<Value>, QueryError> {
        let is_code = |line: &&str| !line.trim_start().starts_with('#');
        if text.lines().filter(is_code).flat_map(str::chars).all(char::is_whitespace) {
            return Err(QueryError::Empty);
        }
        nesting::check(FILE, text).map_err(QueryError::Parse)?;
        let Read { variables, is_value } = self.read(text)?;
        let mut engine =
            self.engine(data).map_err(|reason| QueryError::Compile(mistake(reason)))?;
        engine.set_input(input.unwrap_or(Value::Undefined));
        clock::begin();
        let asked = if is_value { format!("\n{text}") } else { list(text, &variables) };
        let evaluated = engine.eval_query(asked, false);
        let result = evaluated.map_err(|error| mistaken(&format!("{error:#}"), lines(text)))?;
        let Some(result) = result.result.into_iter().next() else { return Ok(Vec::new()) };
        if is_value {
            let is_defined = result.expressions.iter().all(|it| it.value != Value::Undefined);
            return Ok(if is_defined { vec![Value::new_object()] } else { Vec::new() });
        }
        let answers = result.bindings.as_object().ok().and_then(|it| it.get(&ANSWERS.into()));
        let answers = answers.and_then(|it| it.as_array().ok());
        Ok(answers.map(|answers| answers.iter().cloned().collect()).unwrap_or_default())
    }

    fn read(&self, text: &str) -> Result<Read, QueryError> {
        let mut alone = engine(Language::V1);
        let module = format!("package query\nanswers if {{\n{text}\n}}");
        let added = alone.add_policy(FILE.to_owned(), module);
        let lines = lines(text);
        added.map_err(|error| {
            QueryError::Parse(moved(Mistake::read(&format!("{error:#}")), LINES_BEFORE + 1, lines))
        })?;
        let Some(query) = modules_of(&mut alone).next().and_then(only_body) else {
            // It ends the body that it was put into.
            return Err(QueryError::Parse(mistake("unexpected } token".to_owned())));
        };
        let read = Read { variables: variables(query), is_value: is_value(query) };
        let checked = names::check(modules_of(&mut alone), self.rules(), Builtins::Embedded);
        let sends = |rule: &Rule| Written::of(rule).calls.iter().any(|it| it.function == SEND);
        let rules = modules_of(&mut alone).flat_map(|module| &module.policy);
        if rules.into_iter().any(|rule| sends(rule)) {
            let reason = "unsafe built-in function calls in expression: http.send".to_owned();
            return Err(QueryError::Compile(mistake(reason)));
        }
        match checked.mistakes.into_iter().next() {
            Some(mistake) => Err(QueryError::Compile(moved(mistake, LINES_BEFORE + 1, lines))),
            None => refuse_lacking(checked.lacking.keys().next()).map(|()| read),
        }
    }
}

/// A function that the engine does not have would be undefined, and no answer is one, too.
fn refuse_lacking(function: Option<&String>) -> Result<(), QueryError> {
    let Some(name) = function else { return Ok(()) };
    let reason = format!("undefined function {name}: the embedded engine does not have it");
    Err(QueryError::Compile(mistake(reason)))
}

/// A mistake in the query as a whole.
fn mistake(reason: String) -> Mistake {
    Mistake { file: FILE.to_owned(), row: 1, column: 1, reason }
}

/// How many lines a query has.
fn lines(text: &str) -> u32 {
    text.lines().count().max(1).try_into().unwrap_or(u32::MAX)
}

/// The query whose one variable is the list of answers.
fn list(text: &str, variables: &BTreeSet<String>) -> String {
    let members: Vec<String> = variables.iter().map(|name| format!("\"{name}\": {name}")).collect();
    format!("{ANSWERS} := [{{{}}} |\n{text}\n]", members.join(", "))
}

/// What the engine says of a query: a mistake in it, or an evaluation that failed.
fn mistaken(drawn: &str, lines: u32) -> QueryError {
    const ABOUT_NAMES: &[&str] =
        &["unsafe", "undefined", "could not find function", "used before definition", "expects"];
    let mistake = Mistake::read(drawn);
    let is_about_names = ABOUT_NAMES.iter().any(|words| mistake.reason.contains(words));
    if mistake.file == "<query.rego>" && is_about_names {
        let mistake = Mistake { file: FILE.to_owned(), ..mistake };
        return QueryError::Compile(moved(mistake, LINES_BEFORE, lines));
    }
    QueryError::Evaluation(DecisionError::of_text(&one_line(drawn)))
}

/// A mistake at its line in the query, which has so many.
fn moved(mistake: Mistake, before: u32, lines: u32) -> Mistake {
    let row = mistake.row.saturating_sub(before).clamp(1, lines);
    Mistake { row, ..mistake }
}

/// The body of the module's only rule.
fn only_body(module: &Module) -> Option<&Query> {
    match module.policy.as_slice() {
        [rule] => match rule.as_ref() {
            Rule::Spec { bodies, .. } => match bodies.as_slice() {
                [body] => Some(&body.query),
                _ => None,
            },
            Rule::Default { .. } => None,
        },
        _ => None,
    }
}

/// True for one expression that is no comparison with what is to be found, and names nothing that
/// stands for several things.
fn is_value(query: &Query) -> bool {
    let [statement] = query.stmts.as_slice() else { return false };
    let Literal::Expr { expr, .. } = &statement.literal else { return false };
    let is_assigned = matches!(expr.as_ref(), Expr::AssignExpr { .. });
    let mut found = Found::default();
    found.statements(query);
    !is_assigned && found.variables.is_empty() && !found.has_wildcard
}

fn variables(query: &Query) -> BTreeSet<String> {
    let mut found = Found::default();
    found.statements(query);
    found.variables
}

/// The variables of a query that are not those of comprehensions and of `every`.
#[derive(Default)]
struct Found {
    variables: BTreeSet<String>,
    has_wildcard: bool,
}

impl Found {
    fn statements(&mut self, query: &Query) {
        let mut left: Vec<&Expr> = Vec::new();
        for statement in &query.stmts {
            left.extend(statement.with_mods.iter().map(|with| with.r#as.as_ref()));
            match &statement.literal {
                Literal::SomeVars { vars, .. } => {
                    vars.iter().for_each(|name| self.variable(name.text()));
                }
                Literal::SomeIn { key, value, collection, .. } => {
                    left.extend(key.as_deref());
                    left.extend([value.as_ref(), collection.as_ref()]);
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => left.push(expr),
                Literal::Every { domain, .. } => left.push(domain),
            }
        }
        while let Some(expression) = left.pop() {
            self.expression(expression, &mut left);
        }
    }

    fn variable(&mut self, name: &str) {
        match name {
            "input" | "data" => {}
            "_" => self.has_wildcard = true,
            name => drop(self.variables.insert(name.to_owned())),
        }
    }

    fn expression<'e>(&mut self, expression: &'e Expr, left: &mut Vec<&'e Expr>) {
        match expression {
            Expr::Var { span, .. } => self.variable(span.text()),
            Expr::RefDot { refr, .. } => left.push(refr),
            Expr::RefBrack { refr, index, .. } => left.extend([refr.as_ref(), index.as_ref()]),
            // The function's name is none of them.
            Expr::Call { params, .. } => left.extend(params.iter().map(AsRef::as_ref)),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                left.extend(items.iter().map(AsRef::as_ref));
            }
            Expr::Object { fields, .. } => {
                let both = |(_, key, value): &'e (_, _, _)| [as_expr(key), as_expr(value)];
                left.extend(fields.iter().flat_map(both));
            }
            Expr::UnaryExpr { expr, .. } => left.push(expr),
            Expr::AssignExpr { op: AssignOp::Eq | AssignOp::ColEq, lhs, rhs, .. }
            | Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => left.extend([lhs.as_ref(), rhs.as_ref()]),
            Expr::Membership { key, value, collection, .. } => {
                left.extend(key.as_deref());
                left.extend([value.as_ref(), collection.as_ref()]);
            }
            Expr::ArrayCompr { .. }
            | Expr::SetCompr { .. }
            | Expr::ObjectCompr { .. }
            | Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
        }
    }
}

fn as_expr(expression: &regorus::unstable::Ref<Expr>) -> &Expr {
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "package a\none := 1\nno := false\ns contains x if some x in [3, 1, 2]\n\
                          f(x) := x + 1\nconflict := 1\nconflict := 2 if input.x";

    fn ask(query: &str) -> String {
        let policies =
            Policies::compile([("a.rego", POLICY)], Language::V1, Builtins::Embedded).unwrap();
        let data = Value::from_json_str(r#"{"d":{"k":["v","w"]}}"#).unwrap();
        match policies.query(query, data, Some(Value::from_json_str(r#"{"x":1}"#).unwrap())) {
            Ok(answers) => serde_json::to_string(&answers).unwrap(),
            Err(QueryError::Empty) => "empty".to_owned(),
            Err(QueryError::Parse(mistake)) => format!("parse {}", mistake.row),
            Err(QueryError::Compile(mistake)) => format!("compile {}", mistake.row),
            Err(QueryError::Evaluation(error)) => format!("failed {error}"),
        }
    }

    #[test]
    fn an_answer_has_what_each_variable_stands_for() {
        for (query, answers) in [
            ("x := 1; y := x + 1", r#"[{"x":1,"y":2}]"#),
            ("data.d[k][i] = v", r#"[{"i":0,"k":"k","v":"v"},{"i":1,"k":"k","v":"w"}]"#),
            ("some x in [1, 2, 3]; x > 1", r#"[{"x":2},{"x":3}]"#),
            ("data.a.s[_]", "[{},{},{}]"),
            ("x := [y | some y in data.a.s] # all", r#"[{"x":[1,2,3]}]"#),
            ("input.x = x", r#"[{"x":1}]"#),
            ("x := data.a.f(1)", r#"[{"x":2}]"#),
            ("x := 1\nx == 1", r#"[{"x":1}]"#),
        ] {
            assert_eq!(ask(query), answers, "{query}");
        }
    }

    #[test]
    fn an_expression_alone_is_an_answer_if_it_has_a_value() {
        for (query, answers) in [
            ("1 == 2", "[{}]"),
            ("data.a.no", "[{}]"),
            ("data.a.nobody", "[]"),
            ("not true", "[]"),
            ("not false", "[{}]"),
            ("every x in [1, 2] { x > 1 }", "[]"),
            ("true; false", "[]"),
            ("x := 1; x == 2", "[]"),
        ] {
            assert_eq!(ask(query), answers, "{query}");
        }
    }

    #[test]
    fn what_is_no_query_says_why() {
        for (query, why) in [
            ("", "empty"),
            (" # nothing\n", "empty"),
            ("x :=", "parse 1"),
            ("x := 1\ny :=", "parse 2"),
            ("true ]; y := [1", "parse 1"),
            ("true } other if { true", "parse 1"),
            ("x > 1", "compile 1"),
            ("nobody(1)", "compile 1"),
            ("true\ndata.a.f(1, 2, 3)", "compile 2"),
            ("http.send({}, x)", "compile 1"),
        ] {
            assert_eq!(ask(query), why, "{query}");
        }
        assert!(ask("data.a.conflict").starts_with("failed "));
    }
}
