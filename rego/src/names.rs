//! Mistakes in how the rules of a set of modules name each other.
//!
//! The engine finds these when it meets them in a decision, or not at all: a function that calls
//! itself overflows its stack. So they are looked for before there is a decision.
//!
//! * A function that nobody has, or that is given the wrong number of arguments.
//! * A rule that depends on itself, or over too many others on something.
//!
//! A reference counts only as far as it is fixed. What is chosen by a variable (`data.a[x]`) may
//! lead anywhere; the engine itself notices where such a reference leads back to its rule.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::Module;

use crate::Mistake;
use crate::builtins::{self, Builtins};
use crate::reference::fixed_path;
use crate::rules::{self, Names, RulePlace};
use crate::walk::{Call, Written, names_in};

/// Rules that may depend on each other in a row: the interpreter calls itself for each.
pub(crate) const MAX_CHAIN: usize = 40;

/// What all modules name.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) mistakes: Vec<Mistake>,
    /// The built-in functions that are called and that the embedded engine lacks.
    pub(crate) lacking: BTreeMap<String, usize>,
    /// Names that a call of such a function gives a value, with their files. The engine does not
    /// know this of functions that it lacks.
    pub(crate) outputs: Vec<(String, String)>,
    /// The paths of rules with a value that names what nobody declares and nobody is known by.
    pub(crate) doubtful: BTreeSet<Vec<String>>,
}

/// A place in the tree of all rules.
#[derive(Default)]
struct Node {
    children: BTreeMap<String, usize>,
    rule: Option<Rule>,
}

#[derive(Default)]
struct Rule {
    /// As its places say; none if it is no function.
    arguments: Option<usize>,
    file: String,
    row: u32,
    needs: Vec<Needed>,
}

/// What a rule depends on, or a document: by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    Rule(usize),
    /// The rule that is there, and all below.
    Document(usize),
}

struct Tree(Vec<Node>);

/// Checks the names of all modules, whose rules are `places`.
pub(crate) fn check<'m>(
    modules: impl IntoIterator<Item = &'m Module>,
    places: &[RulePlace],
    builtins: Builtins,
) -> Checked {
    let mut tree = Tree::new(places);
    let mut checked = Checked::default();
    for module in modules {
        let names = Names::of(module);
        for rule in &module.policy {
            let written = Written::of(rule);
            let path = names.own(&fixed_path(rules::head(rule)).0);
            let mut needs = Vec::new();
            for (reference, whole) in &written.references {
                let is_local =
                    reference.first().is_none_or(|name| written.declared.contains(name.as_str()));
                if !is_local && let Some(target) = names.resolve(reference) {
                    tree.find(&target, *whole, &mut needs);
                    let is_own = reference.first().is_some_and(|root| names.is_own(root));
                    let root = reference.get(..1).unwrap_or_default();
                    if is_own && written.is_plain && tree.node(&names.own(root)).is_none() {
                        checked.doubtful.insert(path.clone());
                    }
                }
            }
            for name in written.replaced.iter().map(|path| path.join(".")) {
                let takes = builtins::arguments(&name).filter(|_| !builtins::is_embedded(&name));
                checked.lacking.extend(takes.map(|takes| (name, takes)));
            }
            for call in &written.calls {
                checked.call(call, &names, &tree, builtins, &mut needs);
            }
            tree.add_needs(&path, needs);
        }
    }
    checked.mistakes.extend(tree.cycle_or_chain());
    checked
}

impl Checked {
    fn call(
        &mut self,
        call: &Call<'_>,
        names: &Names,
        tree: &Tree,
        builtins: Builtins,
        needs: &mut Vec<Needed>,
    ) {
        let name = call.function.join(".");
        let given = call.arguments.len();
        let target = names.resolve(&call.function).and_then(|path| tree.node(&path));
        let takes = if let Some(node) = target
            && let Some(arguments) = tree.arguments(node)
        {
            needs.push(Needed::Rule(node));
            Some(arguments)
        } else if call.function.first().is_some_and(|root| !names.is_imported(root))
            && builtins.have(&name)
        {
            let takes = builtins::arguments(&name);
            if let Some(takes) = takes.filter(|_| !builtins::is_embedded(&name)) {
                self.lacking.insert(name.clone(), takes);
                if given == takes + 1 {
                    let output = call.arguments.last().map(|it| names_in(it));
                    let file = call.span.source.get_path();
                    self.outputs.extend(
                        output.into_iter().flatten().map(|name| (file.clone(), name.to_owned())),
                    );
                }
            }
            takes
        } else {
            self.mistakes.push(Mistake::at(call.span, format!("undefined function {name}")));
            return;
        };
        // One more is what the result is to be equal to.
        if let Some(takes) = takes.filter(|takes| given != *takes && given != takes + 1) {
            let reason = format!("function {name} has arity {takes}, got {given} arguments");
            self.mistakes.push(Mistake::at(call.span, reason));
        }
    }
}

impl Tree {
    fn new(places: &[RulePlace]) -> Self {
        let mut tree = Self(vec![Node::default()]);
        for place in places {
            let mut at = 0;
            for segment in &place.path {
                at = tree.child(at, segment);
            }
            if let Some(node) = tree.0.get_mut(at) {
                let rule = node.rule.get_or_insert_with(|| Rule {
                    file: place.file.clone(),
                    row: place.row,
                    ..Rule::default()
                });
                rule.arguments = rule.arguments.or(place.arguments);
            }
        }
        tree
    }

    fn child(&mut self, at: usize, segment: &str) -> usize {
        let next = self.0.len();
        let Some(node) = self.0.get_mut(at) else { return at };
        if let Some(child) = node.children.get(segment) {
            return *child;
        }
        node.children.insert(segment.to_owned(), next);
        self.0.push(Node::default());
        next
    }

    fn node(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(0, |at, segment| self.0.get(at)?.children.get(segment).copied())
    }

    fn rule(&self, at: usize) -> Option<&Rule> {
        self.0.get(at)?.rule.as_ref()
    }

    fn arguments(&self, at: usize) -> Option<usize> {
        self.rule(at)?.arguments
    }

    /// What a reference needs: every rule on the way, and if all of it is known, what is there.
    fn find(&self, path: &[String], whole: bool, needs: &mut Vec<Needed>) {
        let mut at = 0;
        for segment in path {
            let child = self.0.get(at).and_then(|node| node.children.get(segment));
            let Some(child) = child else { return };
            at = *child;
            if self.rule(at).is_some() {
                needs.push(Needed::Rule(at));
            }
        }
        if whole {
            needs.push(Needed::Document(at));
        }
    }

    fn add_needs(&mut self, path: &[String], needs: Vec<Needed>) {
        let node = self.node(path).and_then(|at| self.0.get_mut(at));
        if let Some(rule) = node.and_then(|node| node.rule.as_mut()) {
            rule.needs.extend(needs);
        }
    }

    fn needs(&self, of: Needed) -> Vec<Needed> {
        match of {
            Needed::Rule(at) => self.rule(at).map(|rule| rule.needs.clone()).unwrap_or_default(),
            Needed::Document(at) => {
                let own = self.rule(at).map(|_| Needed::Rule(at));
                let children = self.0.get(at).map(|node| node.children.values().copied());
                let children = children.into_iter().flatten().map(Needed::Document);
                own.into_iter().chain(children).collect()
            }
        }
    }

    /// Follows what each rule needs, without calling itself: the first cycle, and the first
    /// chain that is too long.
    fn cycle_or_chain(&self) -> Vec<Mistake> {
        /// On the way, or the length of the longest chain from there.
        enum Seen {
            OnTheWay,
            Done(usize),
        }
        let mut seen: BTreeMap<Needed, Seen> = BTreeMap::new();
        let rules = (0..self.0.len()).filter(|at| self.rule(*at).is_some());
        for start in rules.map(Needed::Rule) {
            if seen.contains_key(&start) {
                continue;
            }
            let mut way = vec![(start, self.needs(start), 0_usize)];
            seen.insert(start, Seen::OnTheWay);
            while let Some((at, left, longest)) = way.last_mut() {
                let Some(next) = left.pop() else {
                    let own = usize::from(matches!(at, Needed::Rule(_)));
                    let (at, length) = (*at, *longest + own);
                    if length > MAX_CHAIN {
                        let reason = format!(
                            "rule data.{} depends on others over more than {MAX_CHAIN} steps",
                            self.path_of(at)
                        );
                        return vec![self.mistake(at, reason)];
                    }
                    way.pop();
                    seen.insert(at, Seen::Done(length));
                    if let Some((_, _, longest)) = way.last_mut() {
                        *longest = (*longest).max(length);
                    }
                    continue;
                };
                match seen.get(&next) {
                    Some(Seen::Done(length)) => *longest = (*longest).max(*length),
                    Some(Seen::OnTheWay) => {
                        let cycle = way.iter().map(|(at, ..)| *at);
                        let cycle = cycle.skip_while(|at| *at != next).chain([next]);
                        let mut rules: Vec<Needed> =
                            cycle.filter(|at| matches!(at, Needed::Rule(_))).collect();
                        // Where it began with a document, to which it leads back.
                        let Some(first) = rules.first().copied() else { return Vec::new() };
                        if rules.len() == 1 || rules.last() != Some(&first) {
                            rules.push(first);
                        }
                        let shown = rules.iter().map(|at| format!("data.{}", self.path_of(*at)));
                        let shown = shown.collect::<Vec<_>>().join(" -> ");
                        let rule = self.path_of(first);
                        let reason = format!("rule data.{rule} is recursive: {shown}");
                        return vec![self.mistake(first, reason)];
                    }
                    None => {
                        seen.insert(next, Seen::OnTheWay);
                        way.push((next, self.needs(next), 0));
                    }
                }
            }
        }
        Vec::new()
    }

    fn mistake(&self, at: Needed, reason: String) -> Mistake {
        let rule = self.rule(at.node());
        Mistake {
            file: rule.map(|rule| rule.file.clone()).unwrap_or_default(),
            row: rule.map_or(0, |rule| rule.row),
            column: 0,
            reason,
        }
    }

    /// The path of a node, with dots.
    fn path_of(&self, at: Needed) -> String {
        let mut segments = Vec::new();
        let mut below = at.node();
        // A child is made after its parent.
        for (at, node) in self.0.iter().enumerate().rev() {
            let name = node.children.iter().find(|(_, child)| **child == below);
            if let Some((name, _)) = name {
                segments.push(name.as_str());
                below = at;
            }
        }
        segments.reverse();
        segments.join(".")
    }
}

impl Needed {
    fn node(self) -> usize {
        match self {
            Self::Rule(at) | Self::Document(at) => at,
        }
    }
}
