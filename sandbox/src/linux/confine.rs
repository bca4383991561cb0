//! What a program's process takes upon itself before the program starts in it.

use std::io;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::BpfProgram;

use super::protocol::Mapping;
use crate::Limits;

/// Files that a process may have open.
const OPEN_FILES: u64 = 512;
/// Stack of a first thread, as is usual.
const STACK_BYTES: u64 = 8 << 20;

/// Gives up the ways to regain a capability. Takes some capabilities itself.
pub(super) fn bar_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for bit in 0..64 {
        // The kernel knows fewer than 64, in a row.
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => (),
            Err(rustix::io::Errno::INVAL) if bit > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives up every capability.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Resources that the kernel limits for each process.
fn rlimits(limits: &Limits, mapping: Mapping) -> Vec<(Resource, u64, u64)> {
    // Counted in whole seconds; the watcher counts more finely, and over all processes.
    let seconds = limits.cpu.as_secs() + 1;
    // The kernel counts the init too, and the launcher where it is the same user.
    let processes = u64::from(limits.processes) + if mapping == Mapping::Own { 2 } else { 1 };
    vec![
        (Resource::Cpu, seconds, seconds + 1),
        // Memory that is private and can be written. The address space is not limited, as runtimes reserve
        // much more of it than they use.
        (Resource::Data, limits.memory_bytes, limits.memory_bytes),
        (Resource::Stack, STACK_BYTES, STACK_BYTES.max(limits.memory_bytes)),
        (Resource::Fsize, limits.scratch_bytes, limits.scratch_bytes),
        (Resource::Nproc, processes, processes),
        (Resource::Nofile, OPEN_FILES, OPEN_FILES),
        (Resource::Memlock, 1 << 20, 1 << 20),
        (Resource::Core, 0, 0),
        (Resource::Msgqueue, 0, 0),
        (Resource::Sigpending, 1024, 1024),
        (Resource::Nice, 0, 0),
        (Resource::Rtprio, 0, 0),
    ]
}

/// Limits files, TCP and signals through Landlock, as far as the kernel has it. Gives its version.
fn landlock() -> io::Result<Option<u32>> {
    // The newest version that the tests have seen.
    let abi = ABI::V7;
    let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let beneath = |path: &str, access: BitFlags<AccessFs>| {
        PathFd::new(path).map(|fd| PathBeneath::new(fd, access)).map_err(io::Error::other)
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?
        .add_rule(beneath("/", read)?)
        .map_err(io::Error::other)?
        .add_rule(beneath("/tmp", AccessFs::from_all(abi))?)
        .map_err(io::Error::other)?
        .add_rule(beneath("/dev", device | read)?)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(io::Error::other)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some((effective_abi as u32).min(abi as u32)),
        _ => None,
    })
}

/// Confines this process, and all that it starts. Gives Landlock's version.
pub(super) fn confine(limits: &Limits, mapping: Mapping, filter: &BpfProgram) -> io::Result<Option<u32>> {
    // A session of its own has no terminal.
    rustix::process::setsid()?;
    let version = landlock()?;
    for (resource, soft, hard) in rlimits(limits, mapping) {
        // Raising a limit is not for this process; the host's lower one stays.
        let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        setrlimit(resource, Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) })?;
    }
    rustix::thread::set_no_new_privs(true)?;
    seccompiler::apply_filter(filter).map_err(io::Error::other)?;
    Ok(version)
}

/// Checks from within that the confinement holds; tells what doesn't.
pub(super) fn self_test() -> Result<(), &'static str> {
    use rustix::thread::SecureComputingMode;
    let nothing = CapabilitySet::empty();
    let held = rustix::thread::capabilities(None).map_err(|_error| "capabilities can't be read")?;
    let mode = rustix::thread::secure_computing_mode();
    let checks = [
        (rustix::process::getppid().is_some_and(rustix::process::Pid::is_init), "PID namespace"),
        (held.permitted == nothing && held.effective == nothing, "no capabilities"),
        (rustix::thread::no_new_privs() == Ok(true), "no new privileges"),
        (mode == Ok(SecureComputingMode::Filter), "seccomp"),
        (std::net::UdpSocket::bind("127.0.0.1:0").is_err(), "no sockets"),
        (super::sys::unshare(rustix::thread::UnshareFlags::NEWUSER).is_err(), "no further namespaces"),
        (std::fs::metadata("/root").is_err() && std::fs::metadata("/home").is_err(), "mount namespace"),
        (
            std::fs::write("/escaped", "").is_err() && std::fs::write("/usr/escaped", "").is_err(),
            "read-only root",
        ),
        (std::fs::write("/tmp/kept", "").is_ok(), "scratch directory"),
    ];
    for (holds, name) in checks {
        if !holds {
            return Err(name);
        }
    }
    Ok(())
}
