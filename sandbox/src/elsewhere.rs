//! Systems other than Linux, which have no building block that this crate uses.

use crate::{Outcome, Program, Protection, Refusal, Runner, SandboxError, SandboxOptions};

fn refusal() -> Refusal {
    Refusal {
        missing: "Linux".into(),
        reason: format!("namespaces and seccomp are Linux's, and this is {}", std::env::consts::OS),
        hint: Some("run in a Linux virtual machine or container".into()),
    }
}

/// Becomes the launcher where a [`Sandbox`] started this process for it; never, on this system.
pub fn launch_if_asked() {}

/// Runs programs without letting them reach anything; not on this system.
#[derive(Debug)]
pub struct Sandbox {
    never: std::convert::Infallible,
}

impl Sandbox {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: SandboxOptions) -> Result<Self, Refusal> {
        Err(refusal())
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn probe() -> Result<Protection, Refusal> {
        Err(refusal())
    }

    /// What protects the host.
    pub fn protection(&self) -> &Protection {
        match self.never {}
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// None, as there is no such sandbox.
    pub fn run(&self, _: &Program) -> Result<Outcome, SandboxError> {
        match self.never {}
    }
}

impl Runner for Sandbox {
    fn run(&self, program: &Program) -> Result<Outcome, SandboxError> {
        Sandbox::run(self, program)
    }
}
