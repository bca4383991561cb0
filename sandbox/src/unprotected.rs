//! Running without protection.

use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::base_env;
use crate::{Limits, Outcome, Program, Runner, SandboxError, Stage, Verdict};

/// Runs programs with limits on time and output, on Linux also on memory, but **without any protection**:
/// they can read and write what the caller can, reach the network, and leave processes behind. Only for
/// callers whose user has asked for just that.
///
/// Files are kept in a temporary directory, without limit; programs are looked up in the caller's `PATH`.
/// Processor time is neither limited over all processes nor known.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Unprotected;

impl Unprotected {
    /// The caller takes the risk.
    pub fn at_own_risk() -> Self {
        Self
    }
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> SandboxError {
    move |source| SandboxError::System { attempt, source }
}

fn write_files(home: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    for (name, content) in files {
        let path = home.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn limit(command: &mut Command, limits: &Limits) {
    use rustix::process::Resource;
    let limits = vec![
        (Resource::Cpu, limits.cpu.as_secs() + 1),
        (Resource::Data, limits.memory_bytes),
        (Resource::Fsize, limits.scratch_bytes),
        (Resource::Core, 0),
    ];
    crate::system::limit_before_start(command, limits);
}

#[cfg(not(target_os = "linux"))]
fn limit(_: &mut Command, _: &Limits) {}

#[cfg(unix)]
fn in_own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn in_own_group(_: &mut Command) {}

/// Ends the program, and on Linux its process group.
fn kill(child: &mut Child) {
    #[cfg(target_os = "linux")]
    {
        let group = rustix::process::Pid::from_child(child);
        // Fails only where all have ended by themselves.
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap_or_default();
    }
    child.kill().unwrap_or_default();
}

fn verdict_of(status: std::process::ExitStatus) -> Verdict {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        #[cfg(target_os = "linux")]
        if signal == rustix::process::Signal::XCPU.as_raw() {
            return Verdict::CpuLimit;
        }
        return Verdict::Signalled(signal);
    }
    Verdict::Exited(status.code().unwrap_or(-1))
}

/// Output so far, of one stream.
#[derive(Default)]
struct Sink {
    bytes: Mutex<Vec<u8>>,
    closed: AtomicBool,
}

/// What the readers of both streams share.
struct Flood {
    room: AtomicU64,
    over: AtomicBool,
}

/// Reads a stream to its end, in a thread of its own: another process may hold it open for ever.
fn drain(mut from: impl Read + Send + 'static, sink: Arc<Sink>, flood: Arc<Flood>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let take = |room: u64| Some(room.saturating_sub(read as u64));
            let room = flood.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
            let kept = read.min(usize::try_from(room).unwrap_or(usize::MAX));
            sink.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..kept]);
            if kept < read {
                flood.over.store(true, Ordering::Relaxed);
                break;
            }
        }
        sink.closed.store(true, Ordering::Release);
    });
}

struct Ended {
    verdict: Verdict,
    wall: Duration,
}

fn step(
    argv: &[String],
    limits: &Limits,
    program: &Program,
    (home, stdin): (&Path, &[u8]),
    (sinks, flood): (&[Arc<Sink>; 2], &Arc<Flood>),
) -> Result<Ended, SandboxError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let here = home.to_string_lossy();
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir(home).env_clear();
    command.envs(base_env(&path, &here, &here)).envs(program.env.iter().map(|(name, value)| (name, value)));
    #[cfg(windows)]
    command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    in_own_group(&mut command);
    limit(&mut command, limits);
    let start = |source| SandboxError::Start { command: argv[0].clone(), source };
    let mut child = command.spawn().map_err(start)?;
    let began = Instant::now();
    let input = stdin.to_vec();
    if let Some(mut pipe) = child.stdin.take() {
        // A program need not read what it is given.
        thread::spawn(move || pipe.write_all(&input).unwrap_or_default());
    }
    for sink in sinks {
        sink.closed.store(false, Ordering::Relaxed);
    }
    if let Some(stdout) = child.stdout.take() {
        drain(stdout, Arc::clone(&sinks[0]), Arc::clone(flood));
    }
    if let Some(stderr) = child.stderr.take() {
        drain(stderr, Arc::clone(&sinks[1]), Arc::clone(flood));
    }
    let verdict = loop {
        if flood.over.load(Ordering::Relaxed) {
            break Verdict::OutputLimit;
        }
        if let Some(status) = child.try_wait().map_err(system("wait for a program"))? {
            break verdict_of(status);
        }
        if began.elapsed() >= limits.wall {
            break Verdict::TimedOut;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let wall = began.elapsed();
    kill(&mut child);
    child.wait().map_err(system("wait for a program"))?;
    // What a process that left the group still holds open, does not close.
    let patience = Instant::now() + Duration::from_millis(500);
    while sinks.iter().any(|sink| !sink.closed.load(Ordering::Acquire)) && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
    }
    let over = flood.over.load(Ordering::Relaxed);
    Ok(Ended { verdict: if over { Verdict::OutputLimit } else { verdict }, wall })
}

impl Runner for Unprotected {
    fn run(&self, program: &Program) -> Result<Outcome, SandboxError> {
        program.check()?;
        let home = tempfile::tempdir().map_err(system("make a temporary directory"))?;
        write_files(home.path(), &program.files)
            .map_err(|error| SandboxError::Files { reason: error.to_string() })?;
        let sinks = [Arc::new(Sink::default()), Arc::new(Sink::default())];
        let room = program.build.iter().map(|build| build.limits.output_bytes);
        let room = room.chain([program.limits.output_bytes]).max().unwrap_or(0);
        let flood = Arc::new(Flood { room: AtomicU64::new(room), over: AtomicBool::new(false) });
        let shared = (&sinks, &flood);
        let mut stage = Stage::Run;
        let mut ended = None;
        if let Some(build) = &program.build {
            let built = step(&build.argv, &build.limits, program, (home.path(), &[]), shared)?;
            if built.verdict != Verdict::Exited(0) {
                (stage, ended) = (Stage::Build, Some(built));
            }
        }
        let Ended { verdict, wall } = match ended {
            Some(ended) => ended,
            None => step(&program.argv, &program.limits, program, (home.path(), &program.stdin), shared)?,
        };
        let [stdout, stderr] =
            sinks.map(|sink| std::mem::take(&mut *sink.bytes.lock().unwrap_or_else(PoisonError::into_inner)));
        let truncated = flood.over.load(Ordering::Relaxed);
        Ok(Outcome { verdict, stage, stdout, stderr, wall, cpu: Duration::ZERO, truncated })
    }
}
