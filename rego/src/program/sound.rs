//! Which programs decide as the interpreter does. regorus's compiler takes more of Rego than its
//! machine carries out in the same way; what was found to differ is refused here, by what is
//! written in the rules and by what is in the program:
//!
//! * a rule or function with two values, which is an error, is undefined or has one of them. So a
//!   program has no rule that might have two: several definitions with values that are not all
//!   the same constant, or one that is tried for each element of something;
//! * so is an object with two values for a key;
//! * arithmetic on what is no number ends the whole rule, with all that it has still to try;
//! * `every` is true of what has no elements because it is no collection;
//! * packages that are read as documents have members that are undefined;
//! * a number as a fixed index also names a member of the data: `data.a[0]` is `data.a["0"]`;
//! * functions are called with what is undefined;
//! * a package without a rule is not there;
//! * defaults that are computed, and those of functions;
//! * `f(x, _)` with a result that is undefined.
//!
//! That nothing else differs is what the suite `conformance` shows on OPA's own cases.

use std::collections::BTreeSet;

use regorus::Value;
use regorus::rvm::instructions::{
    ComprehensionMode, GuardMode, Instruction, LiteralOrRegister, LoopMode,
};
use regorus::rvm::program::{Program, RuleType};
use regorus::unstable::{BUILTINS, Expr, Module, Rule, RuleHead};

use crate::functions;
use crate::reference::fixed_path;
use crate::rules::{self, Names, RulePlace};
use crate::walk::Written;

/// What is written in rules, by their names as a program has them.
#[derive(Default)]
pub(crate) struct Doubts {
    /// Those that no program decides.
    refused: BTreeSet<String>,
    /// Those whose values are not written out.
    varying: BTreeSet<String>,
}

/// What is to be known of `modules`; none if no program decides any of their rules.
pub(crate) fn doubts<'m>(
    modules: impl IntoIterator<Item = &'m Module>,
    places: &[RulePlace],
) -> Option<Doubts> {
    let mut doubts = Doubts::default();
    for module in modules {
        let package = fixed_path(&module.package.refr).0;
        if !places.iter().any(|place| place.path.starts_with(&package)) {
            return None;
        }
        let names = Names::of(module);
        let calls_plainly = |rule: &Rule| {
            Written::of(rule).calls.iter().all(|call| {
                let function = call.function.join(".");
                let arity = BUILTINS.get(function.as_str()).map(|(_, count)| usize::from(*count));
                let arity = arity.or_else(|| {
                    let path = names.resolve(&call.function)?;
                    let at = places.partition_point(|place| place.path < path);
                    places.get(at).filter(|place| place.path == path)?.arguments
                });
                arity == Some(call.arguments.len())
            })
        };
        for rule in &module.policy {
            let (path, whole) = fixed_path(rules::head(rule));
            let is_plain = match rule.as_ref() {
                Rule::Default { args, value, .. } => args.is_empty() && is_literal(value),
                Rule::Spec { head: RuleHead::Set { .. } | RuleHead::Func { .. }, .. } => whole,
                Rule::Spec { head: RuleHead::Compr { .. }, .. } => whole,
            };
            let name = name(&names.own(&path));
            if has_varying_value(rule) {
                doubts.varying.insert(name.clone());
            }
            if !is_plain || !calls_plainly(rule) {
                doubts.refused.insert(name);
            }
        }
    }
    Some(doubts)
}

/// True of a rule or function with a value that is not written out.
fn has_varying_value(rule: &Rule) -> bool {
    let Rule::Spec {
        head: RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. },
        bodies,
        ..
    } = rule
    else {
        return false;
    };
    let values = bodies.iter().filter_map(|body| body.assign.as_ref()).chain(assign);
    values.into_iter().any(|assign| !is_literal(&assign.value))
}

/// What is written is the value.
fn is_literal(value: &Expr) -> bool {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                left.extend(items.iter().map(AsRef::as_ref));
            }
            Expr::Object { fields, .. } => {
                left.extend(fields.iter().flat_map(|(_, key, value)| [key.as_ref(), value]));
            }
            _ => return false,
        }
    }
    true
}

/// A rule's name as a program has it, if all parts of it are plain names.
fn name(path: &[String]) -> String {
    path.iter().fold("data".to_owned(), |name, part| name + "." + part)
}

/// True if the program decides as the interpreter does.
pub(super) fn is_sound(program: &Program, doubts: &Doubts) -> bool {
    let rules_are = program.rule_infos.iter().all(|rule| {
        let one_value = rule.definitions.len() <= 1 || rule.early_exit_on_first_success;
        let is_known = !rule.name.contains('[') && !doubts.refused.contains(&rule.name);
        let kind = match rule.rule_type {
            RuleType::Complete => one_value,
            RuleType::PartialSet => true,
            RuleType::PartialObject => false,
        };
        kind && is_known
    });
    // A machine knows regorus's functions alone, and ours take the places of some.
    let functions_are = program.builtin_info_table.iter().all(|it| !functions::have(&it.name));
    rules_are
        && functions_are
        && Reader::new(program, doubts).is_some_and(|mut reader| reader.all_sound())
}

/// Reads a program from its first instruction to its last. The compiler writes a body's
/// instructions in the order of its statements, and gives each intermediate value a register of
/// its own.
struct Reader<'p> {
    program: &'p Program,
    doubts: &'p Doubts,
    instructions: Vec<Instruction>,
    /// Registers that have a value where the reader is.
    defined: [bool; 256],
    /// Registers that have held the data document, in any rule.
    data: [bool; 256],
    /// Registers that have held a number that is written in a rule.
    numbers: [bool; 256],
    /// Whether the rule that is read has one value, which is not written out.
    varying: bool,
    comprehensions: usize,
}

impl<'p> Reader<'p> {
    fn new(program: &'p Program, doubts: &'p Doubts) -> Option<Self> {
        let instructions = program.instructions.clone();
        let (mut data, mut numbers) = ([false; 256], [false; 256]);
        for instruction in &instructions {
            match instruction {
                Instruction::LoadData { dest } => *data.get_mut(usize::from(*dest))? = true,
                Instruction::Load { dest, literal_idx } if is_number(program, *literal_idx)? => {
                    *numbers.get_mut(usize::from(*dest))? = true;
                }
                _ => {}
            }
        }
        Some(Self {
            program,
            doubts,
            instructions,
            defined: [false; 256],
            data,
            numbers,
            varying: false,
            comprehensions: 0,
        })
    }

    fn all_sound(&mut self) -> bool {
        let instructions = std::mem::take(&mut self.instructions);
        instructions.iter().all(|instruction| self.is_sound(instruction).unwrap_or(false))
    }

    /// None if the instruction names what is not there.
    fn is_sound(&mut self, instruction: &Instruction) -> Option<bool> {
        use Instruction as I;
        let tables = &self.program.instruction_data;
        match *instruction {
            I::RuleInit { rule_index, .. } => {
                let rule = self.program.rule_infos.get(usize::from(rule_index))?;
                self.varying = rule.rule_type == RuleType::Complete
                    && self.doubts.varying.contains(&rule.name);
                self.comprehensions = 0;
                self.defined = [false; 256];
                let arguments = rule.function_info.as_ref().map_or(0, |it| it.param_names.len());
                // The first is the result; arguments are defined, since calls see to it.
                self.defined.iter_mut().skip(1).take(arguments).for_each(|it| *it = true);
            }
            I::Load { dest, .. }
            | I::LoadTrue { dest }
            | I::LoadFalse { dest }
            | I::LoadNull { dest }
            | I::LoadBool { dest, .. }
            | I::LoadData { dest }
            | I::ArrayNew { dest }
            | I::SetNew { dest } => self.set(dest, true)?,
            I::Move { dest, src } => {
                let defined = self.get(src)?;
                self.set(dest, defined)?;
            }
            I::Not { dest, .. } => self.set(dest, true)?,
            I::Guard { register, mode: GuardMode::Condition | GuardMode::NotUndefined } => {
                self.set(register, true)?;
            }
            I::AssertEq { left, right } => {
                self.set(left, true)?;
                self.set(right, true)?;
            }
            I::LoopStart { params_index } => {
                let params = tables.loop_params.get(usize::from(params_index))?;
                let several = params.mode == LoopMode::ForEach && self.comprehensions == 0;
                if params.mode == LoopMode::Every || (self.varying && several) {
                    return Some(false);
                }
                self.set(params.key_reg, true)?;
                self.set(params.value_reg, true)?;
            }
            I::ComprehensionBegin { params_index } => {
                let params = tables.comprehension_begin_params.get(usize::from(params_index))?;
                if matches!(params.mode, ComprehensionMode::Object) {
                    return Some(false);
                }
                self.comprehensions += 1;
            }
            I::ComprehensionEnd {} => self.comprehensions = self.comprehensions.saturating_sub(1),
            I::FunctionCall { params_index } => {
                let params = tables.function_call_params.get(usize::from(params_index))?;
                for argument in params.arg_registers() {
                    if !self.get(*argument)? {
                        return Some(false);
                    }
                }
                self.set(params.dest, false)?;
            }
            I::IndexLiteral { dest, container, literal_idx } => {
                if self.is_data(container)? && is_number(self.program, literal_idx)? {
                    return Some(false);
                }
                self.set(dest, false)?;
            }
            I::ChainedIndex { params_index } => {
                let params = tables.chained_index_params.get(usize::from(params_index))?;
                if self.is_data(params.root)? {
                    for component in &params.path_components {
                        if self.is_written_number(component)? {
                            return Some(false);
                        }
                    }
                }
                self.set(params.dest, false)?;
            }
            I::BuiltinCall { params_index } => {
                let params = tables.builtin_call_params.get(usize::from(params_index))?;
                self.set(params.dest, false)?;
            }
            I::ObjectCreate { params_index } => {
                let dest = tables.object_create_params.get(usize::from(params_index))?.dest;
                self.set(dest, false)?;
            }
            I::ArrayCreate { params_index } => {
                let dest = tables.array_create_params.get(usize::from(params_index))?.dest;
                self.set(dest, false)?;
            }
            I::SetCreate { params_index } => {
                let dest = tables.set_create_params.get(usize::from(params_index))?.dest;
                self.set(dest, false)?;
            }
            I::Index { dest, container, key } => {
                if self.is_data(container)?
                    && self.is_written_number(&LiteralOrRegister::Register(key))?
                {
                    return Some(false);
                }
                self.set(dest, false)?;
            }
            I::LoadInput { dest }
            | I::CallRule { dest, .. }
            | I::Contains { dest, .. }
            | I::Count { dest, .. }
            | I::Eq { dest, .. }
            | I::Ne { dest, .. }
            | I::Lt { dest, .. }
            | I::Le { dest, .. }
            | I::Gt { dest, .. }
            | I::Ge { dest, .. } => self.set(dest, false)?,
            I::Guard { mode: GuardMode::Not, .. }
            | I::Return { .. }
            | I::ObjectSet { .. }
            | I::ArrayPush { .. }
            | I::SetAdd { .. }
            | I::LoopNext { .. }
            | I::DestructuringSuccess {}
            | I::RuleReturn {}
            | I::Halt {}
            | I::ComprehensionYield { .. } => {}
            // Documents of packages, arithmetic, what other languages than Rego are compiled to.
            _ => return Some(false),
        }
        Some(true)
    }

    fn get(&self, register: u8) -> Option<bool> {
        self.defined.get(usize::from(register)).copied()
    }

    fn set(&mut self, register: u8, defined: bool) -> Option<()> {
        *self.defined.get_mut(usize::from(register))? = defined;
        Some(())
    }

    fn is_data(&self, register: u8) -> Option<bool> {
        self.data.get(usize::from(register)).copied()
    }

    fn is_written_number(&self, key: &LiteralOrRegister) -> Option<bool> {
        match key {
            LiteralOrRegister::Literal(literal) => is_number(self.program, *literal),
            LiteralOrRegister::Register(it) => self.numbers.get(usize::from(*it)).copied(),
        }
    }
}

fn is_number(program: &Program, literal: u16) -> Option<bool> {
    Some(matches!(program.literals.get(usize::from(literal))?, Value::Number(_)))
}
