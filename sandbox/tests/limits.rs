//! Attempts to use more than a run may.

#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "for other tests")]
mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use codingspot_sandbox::{Build, Limits, SandboxError, Stage, Verdict, run_all};
use common::{PYTHON, attack, inside, sandbox, short, text, unprotected, with_python};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Memory that the host could still give out.
#[expect(clippy::unwrap_used, reason = "only tests call it")]
fn available() -> u64 {
    let list = fs::read_to_string("/proc/meminfo").unwrap();
    let line = list.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// What something gives, and the most memory that the host lacked meanwhile. It may not panic.
fn with_most_taken<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = available();
    let (least, done) = (AtomicU64::new(before), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                least.fetch_min(available(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = run();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, before - least.into_inner())
}

#[test]
fn an_infinite_loop_ends_at_either_limit() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack("while True: pass");
    program.limits = Limits { cpu: Duration::from_millis(500), ..short() };
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!(outcome.verdict, Verdict::CpuLimit);
    assert!((Duration::from_millis(450)..seconds(2)).contains(&outcome.cpu), "{outcome:?}");
    program.limits = Limits { wall: Duration::from_millis(500), ..short() };
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!(outcome.verdict, Verdict::TimedOut);
    assert!((Duration::from_millis(500)..seconds(2)).contains(&outcome.wall), "{outcome:?}");
    assert!(outcome.cpu > Duration::ZERO, "counted to the end: {outcome:?}");
    assert_eq!(unprotected(&program).verdict, Verdict::TimedOut);
}

#[test]
fn processor_time_counts_over_all_processes() {
    let Some(sandbox) = with_python() else { return };
    // Each process uses little, one after the other.
    let mut program = attack(
        r"
import os, time
while True:
    if os.fork() == 0:
        until = time.process_time() + 0.05
        while time.process_time() < until: pass
        os._exit(0)
    os.wait()
",
    );
    program.limits = Limits { cpu: Duration::from_millis(600), ..short() };
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!(outcome.verdict, Verdict::CpuLimit, "{outcome:?}");
}

#[test]
fn sleeping_through_all_signals_ends_in_time() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
print('asleep', flush=True)
while True: time.sleep(1000)
",
    );
    program.limits = Limits { wall: seconds(1), ..short() };
    let began = Instant::now();
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!((outcome.verdict, text(&outcome.stdout).as_str()), (Verdict::TimedOut, "asleep\n"));
    assert!(began.elapsed() < seconds(4));
    // Stopped processes too.
    program.files[0].1 = b"import os\nif os.fork(): os.kill(0, 19)\nos.kill(os.getpid(), 19)".to_vec();
    assert_eq!(sandbox.run(&program).unwrap().verdict, Verdict::TimedOut);
}

#[test]
fn processes_and_threads_are_counted() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import os, time
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        count += 1
except OSError as error:
    print(count, error.errno)
",
    );
    program.limits = Limits { processes: 16, ..short() };
    assert_eq!(inside(sandbox, &program), "16 11\n");
    program.files[0].1 = br"
import threading, time
count = 1
try:
    while True:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        count += 1
except RuntimeError:
    print(count)
"
    .to_vec();
    assert_eq!(inside(sandbox, &program), "16\n");
    // Another run's count for itself.
    let programs = vec![program; 3];
    for outcome in run_all(sandbox, &programs, NonZeroUsize::new(3).unwrap(), |_, _, _| ()) {
        assert_eq!(text(&outcome.unwrap().stdout), "16\n");
    }
}

#[test]
fn a_fork_bomb_is_contained() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import os
while True:
    try: os.fork()
    except OSError: pass
",
    );
    program.limits = Limits { wall: seconds(2), cpu: seconds(100), ..short() };
    let slowest = std::thread::scope(|scope| {
        let bomb = scope.spawn(|| sandbox.run(&program).unwrap());
        // Meanwhile the host answers.
        let mut slowest = Duration::ZERO;
        while !bomb.is_finished() {
            let began = Instant::now();
            assert!(Command::new("/bin/true").status().unwrap().success());
            slowest = slowest.max(began.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
        let outcome = bomb.join().unwrap();
        assert_eq!(outcome.verdict, Verdict::TimedOut);
        assert!(outcome.wall < seconds(4), "{outcome:?}");
        slowest
    });
    assert!(slowest < seconds(2), "{slowest:?}");
    // In a shell's words, which end by themselves here or at the limit.
    program.argv = vec!["/bin/bash".into(), "-c".into(), ":(){ :|:& };:; wait".into()];
    sandbox.run(&program).unwrap();
    assert!(inside(sandbox, &attack("print('on')")).contains("on"));
}

#[test]
fn one_process_is_denied_memory() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
held = []
try:
    while True: held.append(bytearray(10 << 20))
except MemoryError:
    print(len(held))
",
    );
    program.limits.memory_bytes = 200 << 20;
    let held: u32 = inside(sandbox, &program).trim().parse().unwrap();
    assert!((15..20).contains(&held), "{held}");
}

#[test]
fn memory_counts_over_all_processes() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import os, time
for _ in range(30):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20)) * 90
        time.sleep(30)
time.sleep(30)
",
    );
    program.limits = Limits { memory_bytes: 200 << 20, ..short() };
    let (outcome, taken) = with_most_taken(|| sandbox.run(&program));
    let outcome = outcome.unwrap();
    assert_eq!(outcome.verdict, Verdict::MemoryLimit, "{outcome:?}");
    // Of the 2700 MB asked for. Other programs of the host take some too.
    assert!(taken < 1500 << 20, "{} MB", taken >> 20);
}

#[test]
fn memory_that_forks_share_counts_once() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import os, time
held = bytearray(os.urandom(1 << 20)) * 60
pids = []
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        time.sleep(0.5)
        os._exit(0)
    pids.append(pid)
for pid in pids: os.waitpid(pid, 0)
print('on')
",
    );
    program.limits.memory_bytes = 200 << 20;
    assert_eq!(inside(sandbox, &program), "on\n");
}

#[test]
fn memory_that_no_process_looks_at_counts() {
    let Some(sandbox) = with_python() else { return };
    // Shared pages stay where a process lets go of its view of them. In a child that hides its maps, too.
    for hides in ["pass", "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"] {
        let mut program = attack(&format!(
            r"
import ctypes, mmap, time
{hides}
held = []
for _ in range(20):
    area = mmap.mmap(-1, 50 << 20)
    for at in range(0, len(area), 4096): area[at] = 1
    area.madvise(mmap.MADV_DONTNEED)
    held.append(area)
time.sleep(30)
"
        ));
        program.limits = Limits { memory_bytes: 200 << 20, ..short() };
        let outcome = sandbox.run(&program).unwrap();
        assert_eq!(outcome.verdict, Verdict::MemoryLimit, "{hides}: {outcome:?}");
    }
}

#[test]
fn output_beyond_the_limit_ends_the_run() {
    let Some(sandbox) = with_python() else { return };
    for stream in ["stdout", "stderr"] {
        let mut program = attack(&format!("import sys\nwhile True: sys.{stream}.buffer.write(b'x' * 65536)"));
        program.limits.output_bytes = 100_000;
        let began = Instant::now();
        let outcome = sandbox.run(&program).unwrap();
        assert_eq!((outcome.verdict, outcome.truncated), (Verdict::OutputLimit, true));
        assert_eq!(outcome.stdout.len() + outcome.stderr.len(), 100_000);
        assert!(began.elapsed() < seconds(5));
        assert_eq!(unprotected(&program).verdict, Verdict::OutputLimit);
    }
    // A flood that fits the pipe is told too, though the program has ended.
    let mut program = attack("print('x' * 30000)");
    program.limits.output_bytes = 20_000;
    for _ in 0..5 {
        assert_eq!(sandbox.run(&program).unwrap().verdict, Verdict::OutputLimit);
    }
    // Just as much is no flood.
    let mut program = attack("import sys\nsys.stdout.write('x' * 60000)\nsys.stderr.write('y' * 40000)");
    program.limits.output_bytes = 100_000;
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!((outcome.verdict, outcome.truncated), (Verdict::Exited(0), false));
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (60_000, 40_000));
}

#[test]
fn files_are_limited_in_size_number_and_sum() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import errno, os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open('sparse', 'wb') as f:
    try:
        os.truncate('sparse', 1 << 40)
        print('REACHED')
    except OSError as error: print(errno.errorcode[error.errno])
total = 0
for place in ('/tmp/work', '/tmp', '/dev/shm', '/var/tmp'):
    for name in range(100):
        try:
            with open(f'{place}/flood{name}', 'wb', buffering=0) as f:
                while True: total += f.write(bytes(1 << 16))
        except OSError as error: reason = errno.errorcode[error.errno]
print(total >> 20, reason)
for place in ('/tmp/work', '/tmp', '/dev/shm'):
    for name in range(100):
        try: os.unlink(f'{place}/flood{name}')
        except OSError: pass
count = 0
try:
    while count < 1000000:
        open(f'/tmp/many{count}', 'w').close()
        count += 1
except OSError as error: print(count < 100000, errno.errorcode[error.errno])
",
    );
    program.limits.scratch_bytes = 16 << 20;
    assert_eq!(inside(sandbox, &program), "EFBIG\n15 ENOSPC\nTrue ENOSPC\n");
}

#[test]
fn the_programs_files_fit_or_are_refused() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack("print(open('a/b/data').read(3), oct(__import__('os').stat('a').st_mode))");
    program.files.push(("a/b/data".into(), b"abcdef".to_vec()));
    assert_eq!(inside(sandbox, &program), "abc 0o40755\n");
    program.files.push(("big".into(), vec![0; 2 << 20]));
    program.limits.scratch_bytes = 1 << 20;
    assert!(matches!(sandbox.run(&program), Err(SandboxError::Files { .. })));
    program.files = vec![("main.py".into(), vec![]), ("main.py/x".into(), vec![])];
    assert!(matches!(sandbox.run(&program), Err(SandboxError::Files { .. })));
}

#[test]
fn a_missing_command_is_an_error_and_not_a_verdict() {
    let Some(sandbox) = sandbox() else { return };
    let mut program = attack("");
    program.argv = vec!["no-such-command".into()];
    let Err(SandboxError::Start { command, source }) = sandbox.run(&program) else { panic!("starts") };
    assert_eq!((command.as_str(), source.kind()), ("no-such-command", std::io::ErrorKind::NotFound));
    program.build = Some(Build { argv: vec!["no-such-compiler".into()], limits: short() });
    let Err(SandboxError::Start { command, .. }) = sandbox.run(&program) else { panic!("starts") };
    assert_eq!(command, "no-such-compiler");
    program.extra_read_only = vec!["/no/such/path".into()];
    assert!(matches!(sandbox.run(&program), Err(SandboxError::ReadOnly { .. })));
}

#[test]
fn ends_are_told_apart() {
    let Some(sandbox) = with_python() else { return };
    for (source, verdict) in [
        ("pass", Verdict::Exited(0)),
        ("raise SystemExit(7)", Verdict::Exited(7)),
        ("assert False", Verdict::Exited(1)),
        ("import os; os.abort()", Verdict::Signalled(6)),
        ("import os; os.kill(os.getpid(), 11)", Verdict::Signalled(11)),
        ("import os; os.kill(os.getpid(), 9)", Verdict::Signalled(9)),
    ] {
        let program = attack(source);
        let outcome = sandbox.run(&program).unwrap();
        assert_eq!((outcome.verdict, outcome.stage), (verdict, Stage::Run), "{source}");
        assert_eq!(outcome.passed(), verdict == Verdict::Exited(0));
        assert_eq!(unprotected(&program).verdict, verdict, "{source}");
    }
}

#[test]
fn a_build_comes_first_and_may_fail() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack("print(open('made').read())");
    let build = |source: &str| {
        Some(Build {
            argv: vec![PYTHON.into(), "-c".into(), source.into()],
            limits: Limits { cpu: seconds(1), ..short() },
        })
    };
    // What a build leaves running ends before the run.
    program.build = build(
        "import os, time\nopen('made', 'w').write('built')\nif os.fork() == 0: time.sleep(2); open('made', 'w')",
    );
    let run = std::mem::replace(
        &mut program.files[0].1,
        b"import os\nprint(open('made').read(), sum(pid.isdigit() for pid in os.listdir('/proc')))".to_vec(),
    );
    assert_eq!(inside(sandbox, &program), "built 2\n");
    program.files[0].1 = run;
    assert_eq!(text(&unprotected(&program).stdout), "built\n");
    program.build = build("raise SystemExit(3)");
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!((outcome.verdict, outcome.stage, outcome.passed()), (Verdict::Exited(3), Stage::Build, false));
    assert_eq!(unprotected(&program).stage, Stage::Build);
    program.build = build("while True: pass");
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!((outcome.verdict, outcome.stage), (Verdict::CpuLimit, Stage::Build));
}

#[test]
fn many_programs_run_at_a_time() {
    let Some(sandbox) = with_python() else { return };
    let programs: Vec<_> = (0..164).map(|n| attack(&format!("print({n} * {n})"))).collect();
    let workers = std::thread::available_parallelism().unwrap();
    let began = Instant::now();
    let outcomes = run_all(sandbox, &programs, workers, |_, _, _| ());
    println!("164 programs with {workers} workers: {:?}", began.elapsed());
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(text(&outcome.unwrap().stdout), format!("{}\n", n * n));
    }
}

#[test]
fn a_run_costs_little() {
    let Some(sandbox) = sandbox() else { return };
    let mut program = attack("");
    program.argv = vec!["/bin/true".into()];
    let median = |run: &dyn Fn()| {
        let mut times: Vec<_> = (0..21)
            .map(|_| {
                let began = Instant::now();
                run();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[10]
    };
    let with = median(&|| assert!(sandbox.run(&program).unwrap().passed()));
    let without = median(&|| assert!(Command::new("/bin/true").status().unwrap().success()));
    println!("/bin/true in the sandbox: {with:?}; without: {without:?}");
    assert!(with < without + Duration::from_millis(50), "{with:?}");
}
