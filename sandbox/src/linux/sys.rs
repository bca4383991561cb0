//! The few system calls that no crate offers safely.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::fd::{AsFd, AsRawFd as _};
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// `MOUNT_ATTR_RDONLY`.
pub(super) const READ_ONLY: u64 = 1;
/// `MOUNT_ATTR_NOSUID`.
pub(super) const NO_SUID: u64 = 2;
/// `MOUNT_ATTR_NODEV`.
pub(super) const NO_DEV: u64 = 4;
/// `MOUNT_ATTR_NOEXEC`.
pub(super) const NO_EXEC: u64 = 8;

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds attributes to a mount, and with `recursive` to those beneath it.
#[expect(unsafe_code, reason = "no crate wraps mount_setattr")]
pub(super) fn mount_setattr(mount: impl AsFd, set: u64, recursive: bool) -> io::Result<()> {
    let attr = MountAttr { set, clear: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string, and the kernel only reads the struct, whose size it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor but the three standard ones. For a process that has opened none yet.
#[expect(unsafe_code, reason = "closes descriptors by number")]
pub(super) fn close_inherited() -> io::Result<()> {
    // SAFETY: called first thing, so that nothing in this process owns any of them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has every signal do what it does by itself: what the caller ignores, its programs need not.
#[expect(unsafe_code, reason = "no crate resets handlers safely")]
pub(super) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: installs no handler. Fails for the two signals that can't be ignored anyway, and for the
        // C library's own.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Moves this process to new namespaces.
#[expect(unsafe_code, reason = "unsafe for a flag that is never among them")]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: descriptors stay shared.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Splits this process, which has one thread, in two: gives the parent its child, and the child none.
#[expect(unsafe_code, reason = "no crate offers a safe fork")]
pub(super) fn fork() -> io::Result<Option<Pid>> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("{threads} threads run already, where one may")));
    }
    // SAFETY: there is no other thread that could hold a lock, so that all may be called in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends every other process of the PID namespace, of which this one is the init.
#[expect(unsafe_code, reason = "no crate wraps a signal to every process")]
pub(super) fn kill_all_others() {
    assert!(rustix::process::getpid().is_init(), "only an init may end all others");
    // SAFETY: no memory is involved. An error means that there is none.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Processor time of the descendants that were waited for.
#[expect(unsafe_code, reason = "rustix has no getrusage")]
pub(super) fn children_cpu() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes the struct; zeroed, it is valid also if it doesn't.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let of = |time: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Has `confine` run in the command's process before the command starts there.
#[expect(unsafe_code, reason = "std marks it so, as the process may be a copy of one with threads")]
pub(super) fn before_start(
    command: &mut Command,
    confine: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: used by a run's init only, which has one thread, so that the copy may call anything.
    unsafe { command.pre_exec(confine) };
}

/// Has limits apply to the command's process; does nothing but system calls in it.
#[expect(unsafe_code, reason = "std marks it so, as the process may be a copy of one with threads")]
pub(crate) fn limit_before_start(command: &mut Command, limits: Vec<(rustix::process::Resource, u64)>) {
    // SAFETY: allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            for &(resource, most) in &limits {
                let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
                rustix::process::setrlimit(resource, limit)?;
            }
            Ok(())
        });
    }
}

/// A file in memory with these bytes, at its start, which nothing can change.
pub(super) fn sealed(bytes: &[u8]) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::io::{Seek as _, Write as _};
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}
