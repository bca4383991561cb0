//! The launcher and a run's init: the two processes between the host and a program.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::thread::{Gid, Uid, UnshareFlags};

use super::protocol::{ASKED, HOME, INSIDE_ID, Mapping, Request, Step, ToHost, ToRun, receive, send, stream};
use super::{confine, root, sys, syscalls, watch};
use crate::{Limits, Verdict};

/// Time between two looks at what a run uses.
const TICK: Duration = Duration::from_millis(10);
/// Looks between two that also see memory that no process looks at any more.
const THOROUGH: u32 = 10;

/// Whether the running program can be started anew as the launcher.
static ASKS: AtomicBool = AtomicBool::new(false);

pub(super) fn is_launchable() -> bool {
    ASKS.load(Ordering::Relaxed)
}

/// Becomes the launcher where a [`Sandbox`](crate::Sandbox) started this process for it, and does not return
/// then. Has to be called first thing in `main`, before there are threads.
pub fn launch_if_asked() {
    if std::env::var_os(ASKED).is_none() {
        ASKS.store(true, Ordering::Relaxed);
        return;
    }
    // What went wrong, the host has been told; without a host nobody listens.
    let code = i32::from(launch().is_err());
    #[expect(clippy::exit, reason = "the caller's main is for another process")]
    std::process::exit(code);
}

/// Why a run can't be, and whether that has been told.
enum Stop {
    Refused { missing: &'static str, reason: String },
    NoFiles { reason: String },
    NoStart { step: usize, errno: i32 },
    HostGone,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::HostGone
    }
}

fn refused(missing: &'static str) -> impl FnOnce(io::Error) -> Stop {
    move |error| Stop::Refused { missing, reason: error.to_string() }
}

fn tell(host: &mut UnixStream, stop: Stop) -> io::Result<()> {
    let message = match stop {
        Stop::Refused { missing, reason } => ToHost::Refused { missing: missing.to_owned(), reason },
        Stop::NoFiles { reason } => ToHost::NoFiles { reason },
        Stop::NoStart { step, errno } => ToHost::NoStart { step, errno },
        Stop::HostGone => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    send(host, &message)
}

fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

fn launch() -> io::Result<()> {
    die_with_parent()?;
    sys::close_inherited()?;
    // What the caller's terminal, signals and file modes are is not for its programs.
    rustix::process::setsid()?;
    sys::reset_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut host = stream(socket);
    // Fails, as it has to, where the host is gone by now or there never was one.
    let request: Request = receive(&mut host)?;
    match start(&mut host, &request) {
        Ok(init) => {
            rustix::process::waitpid(Some(init), WaitOptions::empty())?;
            let cpu_nanos = nanos(sys::children_cpu());
            send(&mut host, &ToHost::Gone { cpu_nanos })
        }
        Err(stop) => tell(&mut host, stop),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Enters the namespaces and starts the init. Gives the init to the launcher; the init doesn't return.
fn start(host: &mut UnixStream, request: &Request) -> Result<Pid, Stop> {
    if request.version != env!("CARGO_PKG_VERSION") {
        let reason = format!("it is of version {}, not {}", env!("CARGO_PKG_VERSION"), request.version);
        return Err(Stop::Refused { missing: "launcher", reason });
    }
    // Should the host run out of memory, a run goes first.
    fs::write("/proc/self/oom_score_adj", "1000").map_err(refused("/proc"))?;
    sys::unshare(
        UnshareFlags::NEWUSER
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP,
    )
    .map_err(refused("namespaces"))?;
    die_with_parent().map_err(refused("namespaces"))?;
    send(host, &ToHost::Unshared)?;
    let ToRun::Mapped(mapping) = receive(host)? else { return Err(Stop::HostGone) };
    rustix::system::sethostname(b"sandbox")
        .map_err(io::Error::from)
        .map_err(refused("privileges in the user namespace"))?;
    if let Some(init) = sys::fork().map_err(refused("PID namespace"))? {
        send(host, &ToHost::Init { pid: init.as_raw_nonzero().get() })?;
        return Ok(init);
    }
    let told = match run(host, request, mapping) {
        Ok(()) => Ok(()),
        Err(stop) => tell(host, stop),
    };
    #[expect(clippy::exit, reason = "ends the init, and with it the namespace")]
    std::process::exit(i32::from(told.is_err()));
}

/// The init: sets the sandbox up, then runs the steps.
fn run(host: &mut UnixStream, request: &Request, mapping: Mapping) -> Result<(), Stop> {
    die_with_parent().map_err(refused("PID namespace"))?;
    let ToRun::Go = receive(host)? else { return Err(Stop::HostGone) };
    root::enter(&request.entries, request.scratch_bytes).map_err(refused("mount namespace"))?;
    confine::bar_capabilities().map_err(refused("no capabilities"))?;
    become_user(mapping).map_err(refused("user namespace"))?;
    confine::drop_capabilities().map_err(refused("no capabilities"))?;
    // The program, which is the same user, may not look into this process. Changing users had undone the
    // signal.
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    hidden.map_err(io::Error::from).and_then(|()| die_with_parent()).map_err(refused("PID namespace"))?;
    root::write_files(Path::new(HOME), &request.files)
        .map_err(|error| Stop::NoFiles { reason: error.to_string() })?;
    let filter = syscalls::filter().map_err(refused("seccomp"))?;
    for (index, step) in request.steps.iter().enumerate() {
        let is_last = index + 1 == request.steps.len();
        let stdin = if is_last { request.stdin.as_slice() } else { &[] };
        let verdict = run_step(host, (request, mapping), (index, step), stdin, &filter)?;
        if verdict != Some(Verdict::Exited(0)) {
            break;
        }
    }
    Ok(())
}

fn become_user(mapping: Mapping) -> io::Result<()> {
    if mapping == Mapping::RootAndNobody {
        let (uid, gid) = (Uid::from_raw(INSIDE_ID), Gid::from_raw(INSIDE_ID));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    let ids = [rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()];
    let groups = [rustix::process::getgid().as_raw(), rustix::process::getegid().as_raw()];
    if ids != [INSIDE_ID; 2] || groups != [INSIDE_ID; 2] {
        return Err(io::Error::other(format!("users are {ids:?} and {groups:?}, not {INSIDE_ID}")));
    }
    Ok(())
}

/// What the program's process says before the program starts: `+` and Landlock's version, or what failed.
fn confined(
    limits: Limits,
    (mapping, probe): (Mapping, bool),
    filter: seccompiler::BpfProgram,
    mut said: io::PipeWriter,
) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    move || {
        let result = confine::confine(&limits, mapping, &filter).map_err(|error| error.to_string());
        let result = result.and_then(|version| {
            if probe {
                confine::self_test().map_err(|name| format!("{name} does not hold"))?;
            }
            Ok(version)
        });
        match result {
            Ok(version) => said.write_all(format!("+{}", version.unwrap_or(0)).as_bytes()),
            Err(reason) => {
                said.write_all(reason.as_bytes())?;
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
    }
}

/// Runs one step to its end, and ends what it left. Gives no verdict of a probe.
fn run_step(
    host: &mut UnixStream,
    (request, mapping): (&Request, Mapping),
    (index, step): (usize, &Step),
    stdin: &[u8],
    filter: &seccompiler::BpfProgram,
) -> Result<Option<Verdict>, Stop> {
    let broken = || refused("processes");
    let input =
        if stdin.is_empty() { File::open("/dev/null") } else { sys::sealed(stdin) }.map_err(broken())?;
    let (mut says, said) = io::pipe().map_err(broken())?;
    let (name, arguments) = step.argv.split_first().expect("the host checks that there is a command");
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(request.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(HOME).stdin(Stdio::from(input));
    sys::before_start(&mut command, confined(step.limits, (mapping, request.probe), filter.clone(), said));
    let before = sys::children_cpu();
    let began = Instant::now();
    let child = command.spawn();
    // The command holds the writing end.
    drop(command);
    let mut word = String::new();
    says.read_to_string(&mut word).map_err(broken())?;
    let Some(version) = word.strip_prefix('+') else {
        let reason = if word.is_empty() { format!("{:?}", child.err()) } else { word };
        return Err(Stop::Refused { missing: "confinement of programs", reason });
    };
    if index == 0 {
        let landlock = version.parse().ok().filter(|version| *version != 0);
        send(host, &ToHost::Ready { landlock })?;
    }
    if request.probe {
        return Ok(None);
    }
    let child =
        child.map_err(|error| Stop::NoStart { step: index, errno: error.raw_os_error().unwrap_or(0) })?;
    let child = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)).expect("a child has an ID");
    send(host, &ToHost::Started { step: index })?;
    let verdict = watch_over(child, step, before).map_err(broken())?;
    let wall_nanos = nanos(began.elapsed());
    // Nothing may live on into the next step, or be missing in the time.
    sys::kill_all_others();
    while rustix::process::wait(WaitOptions::empty()).is_ok() {}
    let cpu = sys::children_cpu().saturating_sub(before);
    send(host, &ToHost::Ended { verdict, wall_nanos, cpu_nanos: nanos(cpu) })?;
    Ok(Some(verdict))
}

fn verdict_of(status: WaitStatus, cpu: Duration, limit: Duration) -> Verdict {
    let signal = status.terminating_signal();
    match (signal, status.exit_status()) {
        (Some(signal), _) if signal == Signal::XCPU.as_raw() => Verdict::CpuLimit,
        (Some(signal), _) if signal == Signal::KILL.as_raw() && cpu >= limit => Verdict::CpuLimit,
        (Some(signal), _) => Verdict::Signalled(signal),
        (None, code) => Verdict::Exited(code.unwrap_or(-1)),
    }
}

/// Waits for the step's first process, reaps the orphans meanwhile, and watches what all use.
fn watch_over(child: Pid, step: &Step, before: Duration) -> io::Result<Verdict> {
    let limits = &step.limits;
    let ending = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
    let proc = Path::new("/proc");
    let mut next = Instant::now() + TICK;
    let mut looks = 0;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&ending, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == child {
                let cpu = sys::children_cpu().saturating_sub(before);
                return Ok(verdict_of(status, cpu, limits.cpu));
            }
        }
        if Instant::now() < next {
            continue;
        }
        let began = Instant::now();
        looks += 1;
        let usage = watch::usage(proc);
        if usage.cpu + sys::children_cpu().saturating_sub(before) > limits.cpu {
            return Ok(Verdict::CpuLimit);
        }
        if watch::exceeds(proc, &usage, limits.memory_bytes, looks % THOROUGH == 0) {
            return Ok(Verdict::MemoryLimit);
        }
        // A look takes longer the more processes there are; at most a tenth of the time goes to looking.
        let now = Instant::now();
        next = now + TICK.max((now - began) * 9);
    }
}
