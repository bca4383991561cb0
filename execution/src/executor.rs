//! What runs programs here.

use crate::verdict::{Kind, Verdict};
use crate::{classify, python};
use codingspot_sandbox::toolchain::{Toolchain, recipe};
use codingspot_sandbox::{
    Limits, Outcome, Program, Refusal, Runner, Sandbox, SandboxError, SandboxOptions, Unprotected,
    in_parallel,
};
use codingspot_tasks::program::{Language, ProgramParts};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

/// Memory that a program may use unless another number is given, bytes.
const MEMORY: u64 = 1 << 30;

/// How programs are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorOptions {
    /// Programs at a time. More than there are processors makes slow programs time out.
    pub workers: NonZeroUsize,
    /// Without any protection. Only where the user has asked for just that.
    pub unsafe_execution: bool,
    /// Memory that a program may use, bytes. Compilers have limits of their own.
    pub memory_bytes: u64,
    /// Program to start as the sandbox's launcher, whose `main` begins with
    /// [`launch_if_asked`](codingspot_sandbox::launch_if_asked); without one, the running program.
    pub launcher: Option<PathBuf>,
}

impl Default for ExecutorOptions {
    /// As many programs at a time as there are processors, protected, 1 GiB each.
    fn default() -> Self {
        let workers = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { workers, unsafe_execution: false, memory_bytes: MEMORY, launcher: None }
    }
}

/// Why programs of a language can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("programs in {} can't be run here: {reason}", language.name())]
pub struct NotRun {
    /// The language.
    pub language: Language,
    /// What is missing, or does not work.
    pub reason: String,
}

/// Why there are no verdicts.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The sandbox lacks what it needs.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A toolchain is missing, or does not work in the sandbox.
    #[error(transparent)]
    NotRun(#[from] NotRun),
    /// A program could not be run, through no fault of its own.
    #[error("program {index} could not be run")]
    Run {
        /// Its place, counted from 0.
        index: usize,
        /// Why.
        #[source]
        source: SandboxError,
    },
}

/// What protects the host from programs, for results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The kernel's release; `None` without protection.
    pub kernel: Option<String>,
    /// Building blocks in force; none without protection.
    pub layers: Vec<String>,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(kernel) = &self.kernel else { return f.write_str("none") };
        let (mut spaces, mut others) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            match layer.strip_suffix(" namespace") {
                Some(name) => spaces.push(name),
                None => others.push(&**layer),
            }
        }
        write!(f, "namespaces ({}), {}, of Linux {kernel}", spaces.join(", "), others.join(", "))
    }
}

#[derive(Debug)]
enum Place {
    Sandbox(Sandbox),
    Unprotected(Unprotected),
}

impl Runner for Place {
    fn run(&self, program: &Program) -> Result<Outcome, SandboxError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.run(program),
            Self::Unprotected(unprotected) => unprotected.run(program),
        }
    }
}

/// What tests need besides the language.
struct Library {
    language: Language,
    /// What programs that need it have in them.
    mark: &'static str,
    /// A program that needs it and does nothing.
    hello: &'static str,
    /// What to do where that does not work.
    missing: &'static str,
}

/// The only one of MultiPL-E's tests in these languages.
const JAVATUPLES: Library = Library {
    language: Language::Java,
    mark: "org.javatuples",
    hello: "import org.javatuples.*;\n\
        class Problem { public static void main(String[] args) { Pair.with(1, 2); } }\n",
    missing: "the tests need javatuples 1.2; name its jar in CLASSPATH by its full path \
        (Debian's libjavatuples-java has it as /usr/share/java/javatuples.jar)",
};

/// Builds and runs programs, and says what became of them.
#[derive(Debug)]
pub struct Executor {
    place: Place,
    workers: NonZeroUsize,
    memory_bytes: u64,
    toolchains: [OnceLock<Result<Toolchain, NotRun>>; Language::ALL.len()],
    javatuples: OnceLock<Result<(), NotRun>>,
}

impl Executor {
    /// An executor whose protection was tried out.
    ///
    /// # Errors
    /// [`ExecutionError::Refused`] where the sandbox refuses; never of unsafe execution.
    pub fn new(options: ExecutorOptions) -> Result<Self, ExecutionError> {
        let place = if options.unsafe_execution {
            Place::Unprotected(Unprotected::at_own_risk())
        } else {
            let launcher = options.launcher;
            Place::Sandbox(Sandbox::new(SandboxOptions { launcher, ..SandboxOptions::default() })?)
        };
        Ok(Self {
            place,
            workers: options.workers,
            memory_bytes: options.memory_bytes,
            toolchains: std::array::from_fn(|_| OnceLock::new()),
            javatuples: OnceLock::new(),
        })
    }

    /// What protects the host.
    pub fn protection(&self) -> Protection {
        match &self.place {
            Place::Unprotected(_) => Protection { kernel: None, layers: Vec::new() },
            Place::Sandbox(sandbox) => {
                let found = sandbox.protection();
                let active = found.layers().into_iter().filter(|layer| layer.active);
                Protection {
                    kernel: Some(found.kernel.clone()),
                    layers: active.map(|layer| layer.name.to_owned()).collect(),
                }
            }
        }
    }

    /// Programs at a time.
    pub fn workers(&self) -> NonZeroUsize {
        self.workers
    }

    fn toolchain(&self, language: Language) -> Result<&Toolchain, NotRun> {
        let place = Language::ALL.iter().position(|other| *other == language);
        let slot = &self.toolchains[place.expect("all languages are among all languages")];
        let find = || {
            let not_run = |reason| NotRun { language, reason };
            let recipe =
                recipe(language.code()).ok_or_else(|| not_run("there is no recipe for it".into()))?;
            let found = Toolchain::detect(recipe).map_err(|missing| not_run(missing.to_string()))?;
            found.try_out(&self.place).map_err(|missing| not_run(missing.to_string()))?;
            Ok(found)
        };
        slot.get_or_init(find).as_ref().map_err(Clone::clone)
    }

    /// Version of a language's compiler or interpreter, as it tells it. Each language is tried out once.
    ///
    /// # Errors
    /// Where the toolchain is missing, or does not work under this protection.
    pub fn language(&self, language: Language) -> Result<&str, NotRun> {
        Ok(&self.toolchain(language)?.version)
    }

    /// Whether these programs' languages, and the libraries that their tests need, are there.
    ///
    /// # Errors
    /// Where one is missing, or does not work under this protection.
    pub fn check<'p>(&self, programs: impl IntoIterator<Item = &'p ProgramParts>) -> Result<(), NotRun> {
        for parts in programs {
            let toolchain = self.toolchain(parts.language)?;
            if parts.language == JAVATUPLES.language && parts.head.contains(JAVATUPLES.mark) {
                let try_out = || {
                    let limits = self.limits(parts.language);
                    let outcome = self.place.run(&toolchain.program(JAVATUPLES.hello, limits));
                    if outcome.is_ok_and(|outcome| toolchain.passed(&outcome)) {
                        return Ok(());
                    }
                    Err(NotRun { language: JAVATUPLES.language, reason: JAVATUPLES.missing.to_owned() })
                };
                self.javatuples.get_or_init(try_out).clone()?;
            }
        }
        Ok(())
    }

    /// What a program may use. More processor time than wall time, as it may have threads.
    fn limits(&self, language: Language) -> Limits {
        let wall = language.time_limit();
        let cpu = 2 * wall + Duration::from_secs(1);
        Limits { wall, cpu, memory_bytes: self.memory_bytes, ..Limits::default() }
    }

    /// Runs the program of every completion, which is taken as it is: it has to be cut at its stop strings. Verdicts
    /// are in the programs' order; `progress` gets the number of programs done, from any thread but one at a time.
    ///
    /// # Errors
    /// [`ExecutionError::NotRun`] before anything is run, [`ExecutionError::Run`] where the system fails; what a
    /// program does wrong is its verdict.
    pub fn run(
        &self,
        programs: &[(&ProgramParts, &str)],
        mut progress: impl FnMut(usize) + Send,
    ) -> Result<Vec<Verdict>, ExecutionError> {
        self.check(programs.iter().map(|(parts, _)| *parts))?;
        let failed = AtomicBool::new(false);
        let work = |index: usize| {
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let (parts, completion) = programs[index];
            let verdict = self.verdict(parts, completion);
            failed.fetch_or(verdict.is_err(), Ordering::Relaxed);
            Some(verdict)
        };
        let verdicts = in_parallel(programs.len(), self.workers, work, |done, _, _| progress(done));
        // What is missing comes after an error or beside it.
        let found = verdicts.into_iter().enumerate().filter_map(|(index, verdict)| Some((index, verdict?)));
        found
            .map(|(index, verdict)| verdict.map_err(|source| ExecutionError::Run { index, source }))
            .collect()
    }

    fn verdict(&self, parts: &ProgramParts, completion: &str) -> Result<Verdict, SandboxError> {
        let toolchain = self.toolchain(parts.language).expect("checked before");
        let limits = self.limits(parts.language);
        if parts.language == Language::Python {
            let (program, token) =
                python::program(toolchain, parts, completion, limits).map_err(|error| {
                    SandboxError::System {
                        attempt: "draw a token",
                        source: std::io::Error::other(error.to_string()),
                    }
                })?;
            return Ok(match self.run_again(&program)? {
                Some(outcome) => python::verdict(&outcome, &token),
                None => lost(),
            });
        }
        let source = parts.program(completion);
        let Some(outcome) = self.run_again(&toolchain.program(&source, limits))? else { return Ok(lost()) };
        classify::verdict(parts.language, toolchain, &outcome, || {
            let Some(check) = toolchain.check_program(&source, limits) else { return Ok(true) };
            Ok(self.run_again(&check)?.is_none_or(|outcome| outcome.passed()))
        })
    }

    /// Runs a program, once more where its run was lost, as the host may have been short of memory for a moment.
    /// `None` where it was lost again.
    fn run_again(&self, program: &Program) -> Result<Option<Outcome>, SandboxError> {
        for _ in 0..2 {
            match self.place.run(program) {
                Err(SandboxError::Lost { .. }) => (),
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

fn lost() -> Verdict {
    Verdict::new(Kind::OutOfResources, "its run was lost twice, as where memory runs out", 0.0)
}
