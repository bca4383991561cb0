//! The sandbox, of Linux's namespaces, seccomp, Landlock and rlimits.

mod cgroup;
mod confine;
mod host;
mod launch;
mod protocol;
mod root;
mod sys;
mod syscalls;
mod watch;

pub use host::Sandbox;
pub use launch::launch_if_asked;
pub(crate) use sys::limit_before_start;
