//! Runs programs that a model has written, without letting them reach anything.
//!
//! | Part | What it is for |
//! |---|---|
//! | [`Sandbox`] | Runs programs cut off from the network, the files and the processes of the host |
//! | [`Unprotected`] | Runs them with limits only; for an explicit request, never as a fallback |
//! | [`run_all`] | Many programs at a time, through either |
//! | [`toolchain`] | How a source file of each language is built and run, and what is installed |
//!
//! A [`Sandbox`] needs Linux 5.14 with user namespaces and seccomp; where one is missing it refuses, with a
//! [`Refusal`] that says which. It needs no privileges; started as root, programs run as `nobody`.
//!
//! Nothing here forks a process that has threads: the calling program starts itself anew, and
//! [`launch_if_asked`], which has to come first in its `main`, notices and becomes the launcher.
//!
//! ```no_run
//! use codingspot_sandbox::{Sandbox, SandboxOptions, launch_if_asked, python};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     launch_if_asked();
//!     let sandbox = Sandbox::new(SandboxOptions::default())?;
//!     let outcome = sandbox.run(&python("print(6 * 7)"))?;
//!     assert!(outcome.passed() && outcome.stdout == b"42\n");
//!     Ok(())
//! }
//! ```
//!
//! What a program can see and do, and which layer sees to it:
//!
//! | | Allowed | By |
//! |---|---|---|
//! | Files | System directories to read, `/tmp` to write; it starts in `/tmp/work` | mount namespace, Landlock |
//! | Network | None, not even loopback; only pairs of connected sockets | network namespace, seccomp, Landlock |
//! | Processes | Its own | PID namespace, Landlock |
//! | Privileges | None, nor ways to gain any | user namespace, no new privileges, seccomp |
//! | Kernel | What common language runtimes call | seccomp's list of allowed calls |
//! | Resources | [`Limits`] | rlimits, size of the scratch, a watcher, cgroup where delegated |
//! | Lifetime | Until the run ends, however it ends | its init dies, and with it the PID namespace |

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
use elsewhere as system;

mod error;
mod pool;
mod program;
mod protection;
pub mod toolchain;
mod unprotected;

pub use error::{Refusal, SandboxError};
pub use pool::{Runner, in_parallel, run_all};
pub use program::{Build, Limits, Outcome, Program, Stage, Verdict, python};
pub use protection::{Layer, Protection};
pub use system::{Sandbox, launch_if_asked};
pub use unprotected::Unprotected;

use std::path::PathBuf;

/// How a [`Sandbox`] is set up.
#[derive(Debug, Clone, Default)]
pub struct SandboxOptions {
    /// Program to start as the launcher, whose `main` begins with [`launch_if_asked`]; without one, the
    /// running program.
    pub launcher: Option<PathBuf>,
    /// Directories and files that every program may read, at the same paths, besides the system's.
    pub read_only: Vec<PathBuf>,
    /// Where runs get their cgroups.
    pub cgroup: CgroupChoice,
}

/// Where runs get their cgroups, whose limits on memory and processes count exactly, kernel memory included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CgroupChoice {
    /// Beneath or beside the caller's own cgroup, where cgroup v2 lets it; else none.
    #[default]
    Auto,
    /// In this directory of a cgroup v2 hierarchy; a sandbox refuses where that fails.
    Within(PathBuf),
    /// None.
    Off,
}
