//! Cgroups (v2) for runs, where the system has delegated some to the caller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::{CgroupChoice, Limits, Refusal};

/// Number of the next run's cgroup.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Where the v2 hierarchy is mounted, and the caller's own cgroup in it, from `/proc/self/mountinfo` and
/// `/proc/self/cgroup`.
fn own(mountinfo: &str, cgroup: &str) -> Option<(PathBuf, PathBuf)> {
    let mount = mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        // Only where the hierarchy's top is mounted do the paths agree.
        (kind.starts_with("cgroup2 ") && fields.next()? == "/").then(|| fields.next().map(PathBuf::from))?
    })?;
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some((mount.clone(), mount.join(path)))
}

/// A run's cgroup. Removed with all its processes when dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one with limits.
    ///
    /// # Errors
    /// Where it can't be made, or has no control over memory and processes.
    pub(super) fn new(within: &Path, limits: &Limits) -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = within.join(format!("codingspot-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { path };
        // Files in the scratch directory are memory here.
        let memory = limits.memory_bytes.saturating_add(limits.scratch_bytes);
        group.set("memory.max", &memory.to_string())?;
        group.set("pids.max", &(u64::from(limits.processes) + 2).to_string())?;
        // Absent without swap, or on older kernels.
        group.set("memory.swap.max", "0").or_else(absent)?;
        group.set("memory.oom.group", "1").or_else(absent)?;
        Ok(group)
    }

    fn set(&self, name: &str, value: &str) -> io::Result<()> {
        // The kernel makes the files; one that it hasn't made is not to appear.
        let mut file = fs::OpenOptions::new().write(true).open(self.path.join(name))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }

    /// Moves a process in, with all that it will start.
    pub(super) fn add(&self, pid: Pid) -> io::Result<()> {
        self.set("cgroup.procs", &pid.as_raw_nonzero().to_string())
    }

    /// Whether the kernel has ended processes as they exceeded the memory.
    pub(super) fn exceeded_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The run is over, and its processes with it; the kernel may notice a little later.
        let began = Instant::now();
        while fs::remove_dir(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
            && began.elapsed() < Duration::from_secs(1)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Where runs can have cgroups.
///
/// # Errors
/// Where a directory that was asked for has none to offer.
pub(super) fn find(choice: &CgroupChoice) -> Result<Option<PathBuf>, Refusal> {
    let limits = Limits::default();
    match choice {
        CgroupChoice::Off => Ok(None),
        CgroupChoice::Within(path) => match Cgroup::new(path, &limits) {
            Ok(_) => Ok(Some(path.clone())),
            Err(error) => Err(Refusal {
                missing: "cgroup".into(),
                reason: format!("{}: {error}", path.display()),
                hint: Some("it has to be writable, with memory and pids in cgroup.subtree_control".into()),
            }),
        },
        CgroupChoice::Auto => {
            let read = |path| fs::read_to_string(path).unwrap_or_default();
            let Some((top, own)) = own(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) else {
                return Ok(None);
            };
            // Usually the caller's own can't have others within, as it has processes.
            let places = [Some(own.as_path()), own.parent().filter(|parent| parent.starts_with(&top))];
            let works = |path: &&Path| {
                // Processes can only be moved by who may write to the cgroup that has both.
                let may = rustix::fs::access(path.join("cgroup.procs"), rustix::fs::Access::WRITE_OK);
                may.is_ok() && Cgroup::new(path, &limits).is_ok()
            };
            Ok(places.into_iter().flatten().find(works).map(Path::to_owned))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_in_the_second_hierarchy() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 1 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let found = own(mounts, "4:memory:/a\n0::/user.slice/x.scope\n");
        let top = PathBuf::from("/sys/fs/cgroup/unified");
        assert_eq!(found, Some((top.clone(), top.join("user.slice/x.scope"))));
        assert_eq!(own(mounts, "4:memory:/a\n"), None);
        assert_eq!(own("30 1 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw\n", "0::/x\n"), None);
        assert_eq!(own("31 1 0:27 /inner /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/x\n"), None);
    }

    #[test]
    fn a_directory_that_controls_nothing_is_refused() {
        let plain = tempfile::tempdir().unwrap();
        let refusal = find(&CgroupChoice::Within(plain.path().to_owned())).unwrap_err();
        assert_eq!(refusal.missing, "cgroup");
        assert_eq!(fs::read_dir(plain.path()).unwrap().count(), 0, "nothing is left");
    }
}
