//! The host's side of a run.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::cgroup::{self, Cgroup};
use super::launch::is_launchable;
use super::protocol::{
    ASKED, Entry, HOME, INSIDE_ID, Mapping, NOBODY, Request, Step, ToHost, ToRun, send, take,
};
use super::root;
use crate::program::base_env;
use crate::{
    Limits, Outcome, Program, Protection, Refusal, Runner, SandboxError, SandboxOptions, Stage, Verdict,
    python,
};

/// First kernel with all that is needed. From then on processes are counted by user namespace.
const KERNEL: (u32, u32) = (5, 14);
/// Time for what is not the program's: to set up, and to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Program search path of every run.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Runs programs without letting them reach anything. See the [crate](crate) for what they can do.
#[derive(Debug)]
pub struct Sandbox {
    launcher: PathBuf,
    entries: Vec<Entry>,
    protection: Protection,
}

impl Sandbox {
    /// A sandbox whose protections have been seen to work, by a trial run.
    ///
    /// # Errors
    /// Where one of them is missing. There is no way to go on without it.
    pub fn new(options: SandboxOptions) -> Result<Self, Refusal> {
        let kernel = check_kernel()?;
        let launcher = match options.launcher {
            Some(launcher) => launcher,
            None if is_launchable() => PathBuf::from("/proc/self/exe"),
            None => {
                return Err(Refusal {
                    missing: "launcher".into(),
                    reason: "this program's main does not begin with launch_if_asked".into(),
                    hint: None,
                });
            }
        };
        let mut entries = root::system_entries();
        for path in &options.read_only {
            entries.extend(root::extra_entries(path).map_err(|error| Refusal {
                missing: "read-only path".into(),
                reason: format!("{}: {error}", path.display()),
                hint: None,
            })?);
        }
        let cgroup = cgroup::find(&options.cgroup)?;
        let as_nobody = false;
        let protection = Protection { kernel, as_nobody, landlock: None, cgroup };
        let mut sandbox = Self { launcher, entries, protection };
        // Never started: the trial ends once all protections hold.
        let trial = Program { argv: vec!["/".into()], files: vec![], ..python("") };
        let mut run = Run::start(&sandbox, &trial, true).map_err(as_refusal)?;
        let ended = run.attend();
        run.reap();
        ended.map_err(as_refusal)?;
        let Some(Standing { landlock }) = run.standing else {
            return Err(Refusal {
                missing: "sandbox".into(),
                reason: "the trial run did not get to its program".into(),
                hint: None,
            });
        };
        sandbox.protection.landlock = landlock;
        sandbox.protection.as_nobody = run.mapping == Some(Mapping::RootAndNobody);
        Ok(sandbox)
    }

    /// What protects the host here, with the usual options.
    ///
    /// # Errors
    /// Where a protection is missing, as in [`Sandbox::new`].
    pub fn probe() -> Result<Protection, Refusal> {
        Ok(Self::new(SandboxOptions::default())?.protection)
    }

    /// What protects the host, as seen by the trial run.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Runs a program to its end, and ends all that it started. Callable from several threads at a time.
    ///
    /// # Errors
    /// Where the program has no outcome; what a program does wrong is its outcome.
    pub fn run(&self, program: &Program) -> Result<Outcome, SandboxError> {
        program.check()?;
        let mut run = Run::start(self, program, false)?;
        let ended = run.attend();
        run.reap();
        ended?;
        run.outcome()
    }
}

impl Runner for Sandbox {
    fn run(&self, program: &Program) -> Result<Outcome, SandboxError> {
        Sandbox::run(self, program)
    }
}

fn check_kernel() -> Result<String, Refusal> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL {
        let reason = format!("the kernel is {release}, before {}.{}", KERNEL.0, KERNEL.1);
        return Err(Refusal { missing: "kernel".into(), reason, hint: None });
    }
    Ok(release)
}

fn as_refusal(error: SandboxError) -> Refusal {
    match error {
        SandboxError::Refused(refusal) => refusal,
        error => {
            let mut reason = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                reason = format!("{reason}: {source}");
            }
            Refusal { missing: "sandbox".into(), reason, hint: None }
        }
    }
}

/// What usually stands in the way.
fn hint() -> Option<String> {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|found| found.trim() == value);
    let switches = [
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows userns",
        ),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    ];
    let found = switches.into_iter().find(|(path, value, _)| is(path, value)).map(|(.., hint)| hint);
    let container =
        ["/.dockerenv", "/run/.containerenv"].into_iter().any(|path| fs::exists(path).unwrap_or(false));
    let hint = found.or(container.then_some(
        "in a container, allow user namespaces and an unmasked /proc: --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
    ));
    hint.map(ToOwned::to_owned)
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> SandboxError {
    move |source| SandboxError::System { attempt, source }
}

/// What a run's sandbox has.
struct Standing {
    /// Landlock's version, where the kernel has it.
    landlock: Option<u32>,
}

/// A run under way.
struct Run<'a> {
    program: &'a Program,
    stages: Vec<(Stage, Limits)>,
    launcher: Child,
    control: UnixStream,
    /// Read from the control socket, not yet a whole message.
    inbox: Vec<u8>,
    cgroup: Option<Cgroup>,
    /// The init, whose end is that of all.
    init: Option<OwnedFd>,
    mapping: Option<Mapping>,
    /// What it has, once the sandbox stands.
    standing: Option<Standing>,
    stage: usize,
    started: Option<Instant>,
    deadline: Instant,
    /// Verdict of the last stage that ended, or of the host.
    verdict: Option<Verdict>,
    /// Whether the host has ended the run.
    killed: bool,
    wall: Duration,
    cpu: Duration,
    gone: bool,
    output: [Vec<u8>; 2],
    truncated: bool,
    failure: Option<SandboxError>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.reap();
    }
}

impl<'a> Run<'a> {
    fn start(sandbox: &Sandbox, program: &'a Program, probe: bool) -> Result<Self, SandboxError> {
        let mut entries = sandbox.entries.clone();
        for path in &program.extra_read_only {
            let extra = root::extra_entries(path)
                .map_err(|source| SandboxError::ReadOnly { path: path.clone(), source })?;
            entries.extend(extra);
        }
        let mut env = base_env(PATH, HOME, "/tmp");
        env.extend(program.env.iter().cloned());
        let run_step = Step { argv: program.argv.clone(), limits: program.limits };
        let mut steps = vec![run_step];
        let mut stages = vec![(Stage::Run, program.limits)];
        if let Some(build) = &program.build {
            steps.insert(0, Step { argv: build.argv.clone(), limits: build.limits });
            stages.insert(0, (Stage::Build, build.limits));
        }
        let most = |of: fn(&Limits) -> u64| stages.iter().map(|(_, limits)| of(limits)).max().unwrap_or(0);
        let scratch_bytes = most(|limits| limits.scratch_bytes);
        let request = Request {
            version: env!("CARGO_PKG_VERSION").into(),
            probe,
            entries,
            files: program.files.clone(),
            stdin: program.stdin.clone(),
            env,
            steps,
            scratch_bytes,
        };
        let largest = Limits {
            memory_bytes: most(|limits| limits.memory_bytes),
            processes: stages.iter().map(|(_, limits)| limits.processes).max().unwrap_or(0),
            scratch_bytes,
            ..program.limits
        };
        let within = sandbox.protection.cgroup.as_ref();
        let cgroup = within.map(|within| Cgroup::new(within, &largest)).transpose();
        let cgroup = cgroup.map_err(system("make a cgroup"))?;

        let (control, theirs) = UnixStream::pair().map_err(system("make a pair of sockets"))?;
        control.set_write_timeout(Some(PATIENCE)).map_err(system("limit a socket's time"))?;
        let mut command = Command::new(&sandbox.launcher);
        command.arg0("codingspot-sandbox").env_clear().env(ASKED, "1").current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let launcher = command.spawn().map_err(system("start the launcher"))?;
        // Its ends of the sockets are held by the launcher alone.
        drop(command);
        let mut run = Self {
            program,
            stages,
            launcher,
            control,
            inbox: Vec::new(),
            cgroup,
            init: None,
            mapping: None,
            standing: None,
            stage: 0,
            started: None,
            deadline: Instant::now() + PATIENCE,
            verdict: None,
            killed: false,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            gone: false,
            output: [Vec::new(), Vec::new()],
            truncated: false,
            failure: None,
        };
        if let Some(cgroup) = &run.cgroup {
            cgroup.add(run.launcher_pid()).map_err(system("put a run into its cgroup"))?;
        }
        send(&mut run.control, &request).map_err(system("tell the launcher what to run"))?;
        run.control.set_nonblocking(true).map_err(system("set up a socket"))?;
        Ok(run)
    }

    fn launcher_pid(&self) -> Pid {
        Pid::from_child(&self.launcher)
    }

    /// Ends all processes of the run. What remains to be read, stays.
    fn kill(&mut self) {
        self.killed = true;
        self.deadline = Instant::now() + PATIENCE;
        // Fails only where it has ended by itself.
        let ended = match &self.init {
            Some(init) => rustix::process::pidfd_send_signal(init, Signal::KILL).map_err(io::Error::from),
            // The init, if there is one yet, goes with the launcher.
            None => self.launcher.kill(),
        };
        ended.unwrap_or_default();
    }

    /// Waits for the launcher, which waits for the init, with which all other processes end.
    fn reap(&mut self) {
        if !self.gone {
            self.kill();
        }
        // The launcher can't be stuck, but where it isn't ours: the init is dead or waits for the host.
        self.control.shutdown(std::net::Shutdown::Both).unwrap_or_default();
        let began = Instant::now();
        while let Ok(None) = self.launcher.try_wait() {
            if began.elapsed() > PATIENCE / 6 {
                self.launcher.kill().unwrap_or_default();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Ends the run with a verdict of the host.
    fn end(&mut self, verdict: Verdict) {
        if self.verdict.is_none() || self.started.is_some() {
            self.verdict = Some(verdict);
            self.wall = self.started.map_or(Duration::ZERO, |started| started.elapsed());
            self.kill();
        }
    }

    /// Reads what the run writes, and hears what it says, until all is closed.
    fn attend(&mut self) -> Result<(), SandboxError> {
        let (stdout, stderr) = (self.launcher.stdout.take(), self.launcher.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            unreachable!("both were asked for");
        };
        let mut streams = [Some(OwnedFd::from(stdout)), Some(OwnedFd::from(stderr))];
        let mut listening = true;
        let mut buffer = vec![0; 1 << 16];
        while listening || streams.iter().any(Option::is_some) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if self.killed || self.started.is_none() {
                    let reason = "it does not answer, and does not end".into();
                    return Err(SandboxError::Lost { reason });
                }
                self.end(Verdict::TimedOut);
                continue;
            }
            let ready = self.wait(&streams, listening, left)?;
            if ready[0] {
                listening = self.hear(&mut buffer)?;
            }
            for (index, stream) in streams.iter_mut().enumerate() {
                let Some(open) = stream.as_ref().filter(|_| ready[index + 1]) else { continue };
                match rustix::io::read(open, &mut buffer[..]) {
                    Ok(0) => *stream = None,
                    Ok(read) => self.keep(index, &buffer[..read]),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => (),
                    Err(error) => return Err(system("read a run's output")(error.into())),
                }
            }
            if self.gone {
                // What of the pipes is not the run's end, is not the run's.
                listening = false;
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Waits for a message, standard output or standard error.
    fn wait(
        &self,
        streams: &[Option<OwnedFd>; 2],
        listening: bool,
        left: Duration,
    ) -> Result<[bool; 3], SandboxError> {
        let control: Option<BorrowedFd<'_>> = listening.then(|| self.control.as_fd());
        let all =
            [control, streams[0].as_ref().map(|fd| fd.as_fd()), streams[1].as_ref().map(|fd| fd.as_fd())];
        let mut ready = [false; 3];
        let mut indices = Vec::with_capacity(3);
        let mut fds = Vec::with_capacity(3);
        for (index, fd) in all.into_iter().enumerate() {
            if let Some(fd) = fd {
                indices.push(index);
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        // Rounded up, so that the deadline has passed afterwards.
        let timeout = Timespec::try_from(left + Duration::from_millis(1));
        let timeout = timeout.map_err(|error| system("wait for a run")(io::Error::other(error)))?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(system("wait for a run")(error.into())),
        }
        for (index, fd) in indices.into_iter().zip(&fds) {
            ready[index] = !fd.revents().is_empty();
        }
        Ok(ready)
    }

    /// Keeps output up to the limit, and ends the run beyond it.
    fn keep(&mut self, index: usize, bytes: &[u8]) {
        let limit = self.stages[self.stage].1.output_bytes;
        let held = (self.output[0].len() + self.output[1].len()) as u64;
        let room = usize::try_from(limit.saturating_sub(held)).unwrap_or(usize::MAX);
        self.output[index].extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.truncated = true;
            if !self.killed {
                self.end(Verdict::OutputLimit);
            }
        }
    }

    /// Hears messages. Gives whether there may be more.
    fn hear(&mut self, buffer: &mut [u8]) -> Result<bool, SandboxError> {
        match self.control.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => self.inbox.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                return Ok(true);
            }
            // The launcher has ended without reading all that it was told.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(system("hear from a run")(error)),
        }
        while let Some(message) = take(&mut self.inbox).map_err(system("understand a run"))? {
            self.obey(message)?;
        }
        Ok(true)
    }

    fn obey(&mut self, message: ToHost) -> Result<(), SandboxError> {
        match message {
            ToHost::Unshared => {
                let mapping = map_users(self.launcher_pid()).map_err(|error| Refusal {
                    missing: "user namespace".into(),
                    reason: format!("its users can't be set: {error}"),
                    hint: hint(),
                })?;
                self.mapping = Some(mapping);
                send(&mut self.control, &ToRun::Mapped(mapping)).map_err(system("answer the launcher"))?;
            }
            ToHost::Init { pid } => {
                let pid =
                    Pid::from_raw(pid).ok_or_else(|| SandboxError::Lost { reason: "no init".into() })?;
                // It lives, as it waits for the answer.
                let init = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
                self.init = Some(init.map_err(system("get hold of a run"))?);
                if !self.killed {
                    send(&mut self.control, &ToRun::Go).map_err(system("answer a run"))?;
                }
            }
            ToHost::Ready { landlock } => self.standing = Some(Standing { landlock }),
            ToHost::Started { step } if step < self.stages.len() => {
                self.stage = step;
                if !self.killed {
                    let now = Instant::now();
                    (self.started, self.deadline) = (Some(now), now + self.stages[step].1.wall);
                    self.verdict = None;
                }
            }
            ToHost::Ended { verdict, wall_nanos, cpu_nanos } => {
                if !self.killed {
                    // On a busy host, word of the start may come as late as that of the end.
                    self.wall = Duration::from_nanos(wall_nanos);
                    self.started = None;
                    self.verdict = Some(verdict);
                    self.cpu = Duration::from_nanos(cpu_nanos);
                    self.deadline = Instant::now() + PATIENCE;
                }
            }
            ToHost::Gone { cpu_nanos } => {
                self.gone = true;
                if self.killed {
                    self.cpu = Duration::from_nanos(cpu_nanos);
                }
            }
            ToHost::Refused { missing, reason } => {
                let hint = hint().filter(|_| missing.contains("namespace"));
                self.failure = Some(Refusal { missing, reason, hint }.into());
            }
            ToHost::NoFiles { reason } => self.failure = Some(SandboxError::Files { reason }),
            ToHost::NoStart { step, errno } => {
                let build = self.program.build.as_ref().filter(|_| step == 0).map(|build| &build.argv);
                let command = build.unwrap_or(&self.program.argv)[0].clone();
                let source = io::Error::from_raw_os_error(errno);
                self.failure = Some(SandboxError::Start { command, source });
            }
            ToHost::Started { .. } => {
                return Err(SandboxError::Lost { reason: "it runs what it was not told to".into() });
            }
        }
        Ok(())
    }

    fn outcome(mut self) -> Result<Outcome, SandboxError> {
        let mut verdict = self.verdict.filter(|_| self.killed || self.started.is_none());
        if self.cgroup.as_ref().is_some_and(Cgroup::exceeded_memory) {
            verdict = Some(Verdict::MemoryLimit);
        }
        let Some(verdict) = verdict else {
            let reason = "its init was ended from outside, as when memory runs out".into();
            return Err(SandboxError::Lost { reason });
        };
        // Also where it ended before the host had read it all.
        let verdict = if self.truncated { Verdict::OutputLimit } else { verdict };
        let [stdout, stderr] = std::mem::take(&mut self.output);
        let stage = self.stages[self.stage].0;
        let (wall, cpu, truncated) = (self.wall, self.cpu, self.truncated);
        Ok(Outcome { verdict, stage, stdout, stderr, wall, cpu, truncated })
    }
}

/// Gives the launcher's user namespace its users: for root one without rights on the host, else the caller.
fn map_users(launcher: Pid) -> io::Result<Mapping> {
    let proc = PathBuf::from(format!("/proc/{}", launcher.as_raw_nonzero()));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if uid == 0 {
        let both = |own: u32| format!("0 {own} 1\n{INSIDE_ID} {NOBODY} 1\n");
        let mapped = fs::write(proc.join("uid_map"), both(uid))
            .and_then(|()| fs::write(proc.join("gid_map"), both(gid)));
        let is_host_root =
            || fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains(&u32::MAX.to_string()));
        match mapped {
            Ok(()) => return Ok(Mapping::RootAndNobody),
            // The kernel does not limit the processes of root.
            Err(error) if is_host_root() => return Err(error),
            // Root of a namespace with one user is the user who made it.
            Err(_) => (),
        }
    }
    fs::write(proc.join("uid_map"), format!("{INSIDE_ID} {uid} 1\n"))?;
    fs::write(proc.join("setgroups"), "deny")?;
    fs::write(proc.join("gid_map"), format!("{INSIDE_ID} {gid} 1\n"))?;
    Ok(Mapping::Own)
}
