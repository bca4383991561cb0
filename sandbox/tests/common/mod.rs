//! What the tests share.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "only tests call it")]

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use codingspot_sandbox::{
    Limits, Outcome, Program, Runner as _, Sandbox, SandboxOptions, Unprotected, python,
};

/// Python of the system, at the same place inside and outside.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// The sandbox, where this system has what it needs; else the test that asks is skipped, and says so.
pub(crate) fn sandbox() -> Option<&'static Sandbox> {
    static SANDBOX: OnceLock<Option<Sandbox>> = OnceLock::new();
    let made = SANDBOX.get_or_init(|| {
        let launcher = Some(env!("CARGO_BIN_EXE_codingspot-sandbox-launcher").into());
        match Sandbox::new(SandboxOptions { launcher, ..SandboxOptions::default() }) {
            Ok(sandbox) => Some(sandbox),
            Err(refusal) => {
                println!("skipped: {refusal}");
                assert!(std::env::var_os("CODINGSPOT_SANDBOX_REQUIRED").is_none(), "{refusal}");
                None
            }
        }
    });
    made.as_ref()
}

/// The sandbox, where there is also a Python for attacks to be written in.
pub(crate) fn with_python() -> Option<&'static Sandbox> {
    if !Path::new(PYTHON).exists() {
        println!("skipped: no {PYTHON}");
        return None;
    }
    sandbox()
}

/// Limits that no attack is meant to use up.
pub(crate) fn short() -> Limits {
    Limits { wall: Duration::from_secs(10), cpu: Duration::from_secs(8), ..Limits::default() }
}

/// A Python program with the system's Python.
pub(crate) fn attack(source: &str) -> Program {
    let mut program = python(source);
    program.argv[0] = PYTHON.into();
    program.limits = short();
    program
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What an attack prints in the sandbox; it has to end well.
pub(crate) fn inside(sandbox: &Sandbox, program: &Program) -> String {
    let outcome = sandbox.run(program).unwrap();
    assert!(outcome.passed(), "{outcome:?}");
    text(&outcome.stdout)
}

/// What the same attack prints without protection, to show that it would work.
pub(crate) fn outside(program: &Program) -> String {
    text(&unprotected(program).stdout)
}

pub(crate) fn unprotected(program: &Program) -> Outcome {
    Unprotected::at_own_risk().run(program).unwrap()
}
