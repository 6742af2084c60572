//! What is written in a rule: calls, references, and the names that it declares.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, Query, Ref, Rule, RuleAssign, RuleHead, Span};

use crate::reference::fixed_path;
use crate::rules;

/// A call: `f(x)`.
pub(crate) struct Call<'m> {
    /// Where the function's name begins.
    pub(crate) span: &'m Span,
    pub(crate) function: Vec<String>,
    pub(crate) arguments: &'m [Ref<Expr>],
}

/// What a rule names. The same for the whole rule, whatever the scope: a name that is declared
/// anywhere in it counts as declared.
#[derive(Default)]
pub(crate) struct Written<'m> {
    pub(crate) calls: Vec<Call<'m>>,
    /// Each as far as it is fixed, and whether that is all of it.
    pub(crate) references: Vec<(Vec<String>, bool)>,
    /// What `with` replaces.
    pub(crate) replaced: Vec<Vec<String>>,
    /// Arguments, and what `some`, `every` and `:=` declare.
    pub(crate) declared: BTreeSet<&'m str>,
    /// True for a rule that is no function and has a value without a body.
    pub(crate) is_plain: bool,
    /// What is still to be looked into. No recursion, since a tree may be deep.
    left: Vec<&'m Expr>,
}

impl<'m> Written<'m> {
    /// Reads a rule.
    pub(crate) fn of(rule: &'m Rule) -> Self {
        let mut written = Self::default();
        for argument in rules::arguments(rule).unwrap_or_default() {
            written.declare(argument);
        }
        written.indices(rules::head(rule));
        match rule {
            Rule::Default { value, .. } => written.left.push(value),
            Rule::Spec { head, bodies, .. } => {
                written.is_plain = matches!(head, RuleHead::Compr { .. })
                    && bodies.iter().all(|body| body.query.stmts.is_empty());
                match head {
                    RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                        written.assigned(assign.as_ref());
                    }
                    RuleHead::Set { key, .. } => written.left.extend(key.as_deref()),
                }
                for body in bodies {
                    written.assigned(body.assign.as_ref());
                    written.query(&body.query);
                }
            }
        }
        while let Some(expression) = written.left.pop() {
            written.expression(expression);
        }
        written
    }

    fn assigned(&mut self, assign: Option<&'m RuleAssign>) {
        self.left.extend(assign.map(|assign| assign.value.as_ref()));
    }

    fn query(&mut self, query: &'m Query) {
        let mut queries = vec![query];
        while let Some(query) = queries.pop() {
            for statement in &query.stmts {
                for with in &statement.with_mods {
                    self.replaced.push(fixed_path(&with.refr).0);
                    self.left.push(&with.r#as);
                }
                match &statement.literal {
                    Literal::SomeVars { vars, .. } => {
                        self.declared.extend(vars.iter().map(Span::text));
                    }
                    Literal::SomeIn { key, value, collection, .. } => {
                        key.iter().for_each(|key| self.declare(key));
                        self.declare(value);
                        self.left.push(collection);
                    }
                    Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                        self.left.push(expr);
                    }
                    Literal::Every { key, value, domain, query, .. } => {
                        self.declared.extend(key.iter().chain([value]).map(Span::text));
                        self.left.push(domain);
                        queries.push(query);
                    }
                }
            }
        }
    }

    /// A pattern whose names are new ones.
    fn declare(&mut self, pattern: &'m Expr) {
        let mut patterns = vec![pattern];
        while let Some(pattern) = patterns.pop() {
            match pattern {
                Expr::Var { span, .. } => {
                    self.declared.insert(span.text());
                }
                Expr::Array { items, .. } | Expr::Set { items, .. } => {
                    patterns.extend(items.iter().map(AsRef::as_ref));
                }
                Expr::Object { fields, .. } => {
                    for (_, key, value) in fields {
                        self.left.push(key);
                        patterns.push(value);
                    }
                }
                other => self.left.push(other),
            }
        }
    }

    fn expression(&mut self, expression: &'m Expr) {
        match expression {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.references.push(fixed_path(expression));
                self.indices(expression);
            }
            Expr::Call { fcn, params, .. } => {
                let (function, _) = fixed_path(fcn);
                self.calls.push(Call { span: root(fcn).span(), function, arguments: params });
                self.left.extend(params.iter().map(AsRef::as_ref));
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                self.left.extend(items.iter().map(AsRef::as_ref));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.left.extend([key.as_ref(), value.as_ref()]);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.left.push(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.left.extend([key.as_ref(), value.as_ref()]);
                self.query(query);
            }
            Expr::UnaryExpr { expr, .. } => self.left.push(expr),
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                match op {
                    AssignOp::ColEq => self.declare(lhs),
                    AssignOp::Eq => self.left.push(lhs),
                }
                self.left.push(rhs);
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => self.left.extend([lhs.as_ref(), rhs.as_ref()]),
            Expr::Membership { key, value, collection, .. } => {
                self.left.extend(key.as_deref());
                self.left.extend([value.as_ref(), collection.as_ref()]);
            }
        }
    }

    /// The indices of a reference, and what it begins with if that is no name.
    fn indices(&mut self, refr: &'m Expr) {
        let mut at = refr;
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
            if let Expr::RefBrack { index, .. } = at {
                self.left.push(index);
            }
            at = refr;
        }
        if !matches!(at, Expr::Var { .. }) {
            self.left.push(at);
        }
    }
}

/// What a reference begins with.
fn root(refr: &Expr) -> &Expr {
    let mut at = refr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        at = refr;
    }
    at
}

/// The names in a pattern.
pub(crate) fn names_in(pattern: &Expr) -> BTreeSet<&str> {
    let mut written = Written::default();
    written.declare(pattern);
    written.declared
}
