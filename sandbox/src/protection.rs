use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What protects the host from programs, as found by a trial run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The kernel's release.
    pub kernel: String,
    /// Whether programs run as `nobody`, since the caller is root, rather than as the caller's own user.
    pub as_nobody: bool,
    /// Version of Landlock's interface in force, where the kernel has it.
    pub landlock: Option<u32>,
    /// Cgroup in which runs get theirs, where one is delegated.
    pub cgroup: Option<PathBuf>,
}

/// One building block of the protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// What it keeps from programs.
    pub against: &'static str,
    /// Whether runs are refused without it.
    pub required: bool,
    /// Whether it is in force.
    pub active: bool,
}

impl Protection {
    /// Every building block, and whether it is in force.
    pub fn layers(&self) -> Vec<Layer> {
        let required = [
            ("user namespace", "privileges of the host"),
            ("mount namespace", "the host's files"),
            ("PID namespace", "the host's processes, and outliving the run"),
            ("network namespace", "every network, and the host's abstract sockets"),
            ("IPC namespace", "the host's shared memory and message queues"),
            ("UTS namespace", "the host's name"),
            ("cgroup namespace", "the host's cgroups"),
            ("no new privileges", "privileges through set-user-ID programs"),
            ("no capabilities", "privileges within its namespaces"),
            ("seccomp", "system calls beyond those of common runtimes"),
            ("rlimits", "memory, processes, processor time, files without end"),
            ("watcher", "memory and processor time beyond the limits, over all processes"),
        ];
        let layer = |name, against, required, active| Layer { name, against, required, active };
        let mut layers: Vec<_> =
            required.into_iter().map(|(name, against)| layer(name, against, true, true)).collect();
        layers.push(layer(
            "Landlock",
            "files, TCP and signals, a second time",
            false,
            self.landlock.is_some(),
        ));
        layers.push(layer("cgroup", "kernel memory beyond the limits", false, self.cgroup.is_some()));
        layers
    }
}
