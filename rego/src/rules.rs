//! The rules of all modules, by the place where each puts its value.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Import, Module, Rule, RuleHead};

use crate::reference::fixed_path;

/// Where a rule puts its value, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RulePlace {
    /// Segments below `data`, as far as they are fixed: `p[x]` counts as `p`.
    pub(crate) path: Vec<String>,
    pub(crate) file: String,
    /// From 1.
    pub(crate) row: u32,
    /// The arguments that it takes, if it is a function.
    pub(crate) arguments: Option<usize>,
}

/// What the names of one module stand for.
pub(crate) struct Names {
    package: Vec<String>,
    /// What each import's name stands for: a path below `data`, or none for one below `input`.
    imports: BTreeMap<String, Option<Vec<String>>>,
}

/// The rules of `modules` in the order of their paths.
pub(crate) fn places<'m>(modules: impl IntoIterator<Item = &'m Module>) -> Vec<RulePlace> {
    let mut found = BTreeSet::new();
    for module in modules {
        let names = Names::of(module);
        for rule in &module.policy {
            let refr = head(rule);
            let span = refr.span();
            found.insert(RulePlace {
                path: names.own(&fixed_path(refr).0),
                file: span.source.get_path().clone(),
                row: span.line,
                arguments: arguments(rule).map(<[_]>::len),
            });
        }
    }
    found.into_iter().collect()
}

/// The path of a module's package, seen from `data`.
pub(crate) fn package(module: &Module) -> Vec<String> {
    Names::of(module).package
}

/// What stands before a rule's value and body.
pub(crate) fn head(rule: &Rule) -> &Expr {
    match rule {
        Rule::Spec { head: RuleHead::Compr { refr, .. }, .. }
        | Rule::Spec { head: RuleHead::Set { refr, .. }, .. }
        | Rule::Spec { head: RuleHead::Func { refr, .. }, .. }
        | Rule::Default { refr, .. } => refr,
    }
}

/// The arguments of a function; none for another rule.
pub(crate) fn arguments(rule: &Rule) -> Option<&[regorus::unstable::Ref<Expr>]> {
    match rule {
        Rule::Spec { head: RuleHead::Func { args, .. }, .. } => Some(args),
        Rule::Default { args, .. } if !args.is_empty() => Some(args),
        _ => None,
    }
}

impl Names {
    pub(crate) fn of(module: &Module) -> Self {
        let imports = module.imports.iter().filter_map(import).collect();
        Self { package: fixed_path(&module.package.refr).0, imports }
    }

    /// The place of a rule of this module.
    pub(crate) fn own(&self, path: &[String]) -> Vec<String> {
        [&self.package, path].concat()
    }

    /// The path below `data` that a reference stands for; none if that is not below `data`, as
    /// with `input`.
    pub(crate) fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let (root, rest) = path.split_first()?;
        match (root.as_str(), self.imports.get(root)) {
            ("data", _) => Some(rest.to_vec()),
            ("input", _) => None,
            (_, Some(imported)) => Some([imported.as_deref()?, rest].concat()),
            (_, None) => Some(self.own(path)),
        }
    }

    /// True if the name can only be that of something in the module's own package.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        !matches!(name, "data" | "input") && !self.is_imported(name)
    }

    /// True if the name is one that an import gives.
    pub(crate) fn is_imported(&self, name: &str) -> bool {
        self.imports.contains_key(name)
    }
}

/// An import's name, and what it stands for; none for `rego.v1` and `future.keywords`.
fn import(import: &Import) -> Option<(String, Option<Vec<String>>)> {
    let (path, _) = fixed_path(&import.refr);
    let (root, rest) = path.split_first()?;
    let target = match root.as_str() {
        "data" => Some(rest.to_vec()),
        "input" => None,
        _ => return None,
    };
    let name = import.r#as.as_ref().map(|name| name.text().to_owned());
    Some((name.or_else(|| path.last().cloned())?, target))
}
