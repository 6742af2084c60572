//! The fast way to decide: a rule, with all that it needs, compiled to a program of regorus's
//! virtual machine. Data is no part of a program, so that one serves every version of the data.
//!
//! The interpreter is the measure: a rule whose program could decide otherwise has none, and a
//! program that ends with an error has decided nothing. Then the interpreter does, and says what
//! is wrong and where. Which programs are as good as their rules is in `sound.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::{
    program::Program,
    vm::{RegoVM, VmError},
};
use regorus::{Engine, Rc, Value};

use crate::decide::{DecisionError, check, defined};
use crate::policies::Policies;
use crate::{clock, query};

mod sound;

pub(crate) use sound::{Doubts, doubts};

/// Rules whose programs are kept. A policy that has more decides by the others' interpretation.
const PROGRAMS: usize = 1_024;
/// Machines that are kept for a rule, as many as may be deciding by it.
const MACHINES: usize = 64;
/// What [`Policies::run_quickly`] may take.
const QUICK: Duration = Duration::from_millis(1);
/// How often it is not tried again after it took longer.
const NOT_TRIED: u32 = 64;

/// The programs of one set of policies, by the paths of their rules.
#[derive(Default)]
pub(crate) struct Programs(RwLock<BTreeMap<Vec<String>, Arc<Compiled>>>);

/// What became of a rule that was compiled.
struct Compiled {
    /// None if it has to be interpreted.
    program: Option<Arc<Program>>,
    /// Machines that have loaded it and that nobody is using.
    idle: Mutex<Vec<RegoVM>>,
    /// How often it is still not to be tried to run it quickly.
    not_quick: AtomicU32,
}

impl Policies {
    /// Decides by the program of the rule at `path`: its value, none if that is undefined. None
    /// if there is no such rule or its program cannot: an [`Interpreter`](crate::Interpreter) has to.
    ///
    /// # Errors
    /// It takes too long.
    pub fn run(
        &self,
        path: &[String],
        data: &Value,
        input: &Value,
    ) -> Option<Result<Option<Value>, DecisionError>> {
        check(path).ok()?;
        self.compiled(path)?.run(data, input, self.limit)
    }

    /// As [`Self::run`], where nobody may be held up: None as well if it takes more than a
    /// millisecond, has done so lately, or has never been done before.
    ///
    /// # Errors
    /// As there, but for the time.
    pub fn run_quickly(
        &self,
        path: &[String],
        data: &Value,
        input: &Value,
    ) -> Option<Result<Option<Value>, DecisionError>> {
        check(path).ok()?;
        let compiled = self.known(path)?;
        if !compiled.may_be_quick() {
            return None;
        }
        match compiled.run(data, input, QUICK.min(self.limit))? {
            Err(DecisionError::TooLong) => {
                compiled.not_quick.store(NOT_TRIED, Ordering::Relaxed);
                None
            }
            decided => Some(decided),
        }
    }

    /// What became of a rule that was compiled before.
    fn known(&self, path: &[String]) -> Option<Arc<Compiled>> {
        let known = self.programs.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(path).map(Arc::clone)
    }

    /// The program of a rule, compiled when it is asked for the first time.
    fn compiled(&self, path: &[String]) -> Option<Arc<Compiled>> {
        if let Some(compiled) = self.known(path) {
            return Some(compiled);
        }
        let programs = &self.programs.0;
        let count = programs.read().unwrap_or_else(PoisonError::into_inner).len();
        if count >= PROGRAMS || !self.is_rule(path) {
            return None;
        }
        // Two may do so at one time; one of them is kept.
        let compiled = Compiled {
            program: self.program(path),
            idle: Mutex::default(),
            not_quick: AtomicU32::default(),
        };
        let mut known = programs.write().unwrap_or_else(PoisonError::into_inner);
        let kept = known.entry(path.to_vec()).or_insert_with(|| Arc::new(compiled));
        Some(Arc::clone(kept))
    }

    fn program(&self, path: &[String]) -> Option<Arc<Program>> {
        let doubts = self.doubts.as_ref()?;
        let mut engine: Engine = self.template();
        let name: Rc<str> = query(path).into();
        let policy = engine.compile_with_entrypoint(&name).ok()?;
        let program = Compiler::compile_from_policy(&policy, &[&name]).ok()?;
        sound::is_sound(&program, doubts).then_some(program)
    }
}

impl Compiled {
    /// Runs the program, if there is one and it can.
    fn run(
        &self,
        data: &Value,
        input: &Value,
        limit: Duration,
    ) -> Option<Result<Option<Value>, DecisionError>> {
        let program = self.program.as_ref()?;
        let idle = lock(&self.idle).pop();
        let mut machine = idle.unwrap_or_else(|| machine(program));
        machine.set_execution_timer_config(Some(clock::limit(limit)));
        clock::begin();
        let decided = execute(&mut machine, data.clone(), input.clone());
        if empty(&mut machine) {
            let mut idle = lock(&self.idle);
            if idle.len() < MACHINES {
                idle.push(machine);
            }
        }
        match decided {
            Ok(value) => Some(Ok(defined(value))),
            Err(VmError::TimeLimitExceeded { .. }) => Some(Err(DecisionError::given_up())),
            Err(_) => None,
        }
    }

    /// False as often as it is not to be tried.
    fn may_be_quick(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.not_quick.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err()
    }
}

fn machine(program: &Arc<Program>) -> RegoVM {
    let mut machine = RegoVM::new();
    machine.load_program(Arc::clone(program));
    machine
}

/// Runs a machine's program.
fn execute(machine: &mut RegoVM, data: Value, input: Value) -> Result<Value, VmError> {
    // What is to be limited is time.
    machine.set_max_instructions(usize::MAX);
    machine.set_input(input);
    machine.set_data(data)?;
    machine.execute_entry_point_by_index(0)
}

/// Takes all of data and input out of a machine: while it held them they could not be changed
/// where they are. False if it may still have some.
fn empty(machine: &mut RegoVM) -> bool {
    machine.set_input(Value::Undefined);
    let emptied = machine.set_data(Value::Undefined);
    // A run begins by forgetting the one before it, also one that may not take a step.
    machine.set_max_instructions(0);
    let forgotten = machine.execute_entry_point_by_index(0);
    emptied.is_ok() && matches!(forgotten, Err(VmError::InstructionLimitExceeded { .. }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
