//! The built-in policy, and when it is left out.

use crate::policy::PolicyModule;

/// The package that is asked.
pub(crate) const PACKAGE: &str = "permit";
/// What the built-in policy is called where it stands among others.
pub(crate) const POLICY_ID: &str = "girasol/permit.rego";
/// Its text.
pub(crate) const POLICY: &str = include_str!("permit.rego");

/// The built-in policy, for an engine that has to be given it.
pub(crate) fn module() -> PolicyModule {
    PolicyModule { id: POLICY_ID.to_owned(), rego: POLICY.to_owned() }
}

/// True for a module of the package.
pub(crate) fn is_permit(rego: &str) -> bool {
    rego::package_root(rego) == Some(PACKAGE)
}

/// Leaves the built-in policy out of `modules` if another one is in its package: both together
/// would allow what either does.
pub(crate) fn give_way(modules: &mut Vec<PolicyModule>) {
    let is_built_in = |module: &PolicyModule| module.id == POLICY_ID && module.rego == POLICY;
    if modules.iter().any(|module| !is_built_in(module) && is_permit(&module.rego)) {
        modules.retain(|module| !is_built_in(module));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_gives_way_to_another_one_and_to_nothing_else() {
        let module =
            |id: &str, rego: &str| PolicyModule { id: id.to_owned(), rego: rego.to_owned() };
        let ids = |others: &[PolicyModule]| {
            let mut modules = [&[super::module()], others].concat();
            give_way(&mut modules);
            modules.into_iter().map(|module| module.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[]), [POLICY_ID]);
        assert_eq!(ids(&[module("a", "package permitted")]), [POLICY_ID, "a"]);
        assert_eq!(ids(&[module("a", "package permit")]), ["a"]);
        assert_eq!(ids(&[module("a", "# mine\npackage permit.root")]), ["a"]);
    }
}
