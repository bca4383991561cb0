//! How a program of another language than Python ended, from its exit and its words.

use crate::verdict::{Kind, Verdict};
use codingspot_sandbox::toolchain::Toolchain;
use codingspot_sandbox::{Outcome, SandboxError, Stage, Verdict as Ended};
use codingspot_tasks::program::Language;

/// `SIGABRT`, by which `assert` of C ends a program.
const ABORT: i32 = 6;

/// What failed assertions of MultiPL-E's tests write.
fn assertion_marks(language: Language) -> &'static [&'static str] {
    match language {
        // Bash's only end the program, and Python has its driver.
        Language::Bash | Language::Python => &[],
        Language::CSharp => &["DefaultTraceListener.Fail"],
        Language::Cpp => &["Assertion `"],
        Language::Go => &["--- FAIL: "],
        Language::Java => &["java.lang.AssertionError"],
        Language::JavaScript | Language::TypeScript => &["AssertionError [ERR_ASSERTION]"],
        Language::Julia => &["Test Failed"],
        Language::Ruby => &["Failure: "],
        Language::Rust => &["assertion failed: ", "assertion `"],
    }
}

/// What other errors write in the words of [`assertion_marks`].
fn is_assertion(language: Language, line: &str, all: &str) -> bool {
    assertion_marks(language).iter().any(|mark| line.contains(mark))
        // A test that panics is a failed one to Go.
        && !(language == Language::Go && all.lines().any(|line| line.starts_with("panic: ")))
}

/// What runtimes write where they are denied memory.
const MEMORY_MARKS: [&str; 7] = [
    "java.lang.OutOfMemoryError",
    "JavaScript heap out of memory",
    "std::bad_alloc",
    "memory allocation of ",
    "runtime: out of memory",
    "OutOfMemoryError()",
    "NoMemoryError",
];

/// A verdict that follows from the exit alone: limits and signals.
pub(crate) fn without_words(outcome: &Outcome) -> Option<Verdict> {
    let wall_s = outcome.wall.as_secs_f64();
    let (kind, why) = match outcome.verdict {
        Ended::TimedOut | Ended::CpuLimit => (Kind::TimedOut, String::new()),
        Ended::MemoryLimit => (Kind::OutOfResources, "more memory than it may use".to_owned()),
        Ended::OutputLimit => (Kind::OutOfResources, "more output than it may write".to_owned()),
        Ended::Signalled(signal) => (Kind::Crashed, signal_name(signal)),
        Ended::Exited(_) => return None,
    };
    Some(Verdict::new(kind, &why, wall_s))
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        31 => " (SIGSYS)",
        _ => "",
    };
    format!("signal {signal}{name}")
}

/// The line that says most: one that begins with an error's name, else one that has the word in it, else the first.
fn telling_line(text: &str) -> &str {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_name = |line: &&str| {
        let name = line.split([':', ' ', '[']).next().unwrap_or_default();
        name.ends_with("Error") || name.ends_with("Exception") || name == "error"
    };
    let has_word = |line: &&str| ["rror", "xception", "panic"].iter().any(|word| line.contains(word));
    lines().find(is_name).or_else(|| lines().find(has_word)).or_else(|| lines().next()).unwrap_or_default()
}

/// The verdict on a program that ran or did not get so far. `parses` asks the interpreter, which is done for
/// failed programs only.
pub(crate) fn verdict(
    language: Language,
    toolchain: &Toolchain,
    outcome: &Outcome,
    parses: impl FnOnce() -> Result<bool, SandboxError>,
) -> Result<Verdict, SandboxError> {
    let wall_s = outcome.wall.as_secs_f64();
    if toolchain.passed(outcome) {
        return Ok(Verdict::new(Kind::Passed, "", wall_s));
    }
    let [stderr, stdout] = [&outcome.stderr, &outcome.stdout].map(|bytes| String::from_utf8_lossy(bytes));
    let said = [&*stderr, "\n", &*stdout].concat();
    let run = outcome.stage == Stage::Run;
    let is_exit = matches!(outcome.verdict, Ended::Exited(_) | Ended::Signalled(ABORT));
    if run && is_exit {
        if let Some(line) = said.lines().find(|line| is_assertion(language, line, &said)) {
            return Ok(Verdict::new(Kind::WrongResult, line, wall_s));
        }
        if let Some(line) = said.lines().find(|line| MEMORY_MARKS.iter().any(|mark| line.contains(mark))) {
            return Ok(Verdict::new(Kind::OutOfResources, line, wall_s));
        }
    }
    if let Some(verdict) = without_words(outcome) {
        return Ok(verdict);
    }
    let why = telling_line(&said);
    if !run {
        return Ok(Verdict::new(Kind::SyntaxError, why, wall_s));
    }
    if !parses()? {
        return Ok(Verdict::new(Kind::SyntaxError, why, wall_s));
    }
    let Ended::Exited(code) = outcome.verdict else {
        return Ok(Verdict::new(Kind::Crashed, why, wall_s));
    };
    // `set -e` before the tests: one that does not hold ends the program, without a word.
    let kind = if language == Language::Bash && code == 1 { Kind::WrongResult } else { Kind::Exception };
    let exit = format!("exit code {code}");
    Ok(Verdict::new(kind, if why.is_empty() || kind == Kind::WrongResult { &exit } else { why }, wall_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_most_is_found() {
        for (text, expected) in [
            (
                "/tmp/work/main.js:3\n  throw new Error('x')\n\nReferenceError: foo\n  at x",
                "ReferenceError: foo",
            ),
            (
                "# command-line-arguments\n./main_test.go:3:13: undefined: y",
                "./main_test.go:3:13: undefined: y",
            ),
            ("main.cpp: In function\nmain.cpp:1:2: error: x", "main.cpp:1:2: error: x"),
            ("\n\n", ""),
        ] {
            assert_eq!(telling_line(text), expected);
        }
    }

    #[test]
    fn a_test_that_panics_is_no_failed_assertion() {
        let go = |all: &str| is_assertion(Language::Go, "--- FAIL: TestX (0.00s)", all);
        assert!(go("--- FAIL: TestX (0.00s)\n    x_test.go:9: 1 is not 2"));
        assert!(!go("--- FAIL: TestX (0.00s)\npanic: index out of range [recovered]"));
    }
}
