use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SandboxError;

/// What a run may use. A run that reaches one ends, or its calls fail; see [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time from start to end.
    pub wall: Duration,
    /// Processor time of all processes together, user and system. Counted some 10 ms apart; without that of
    /// children that ended and were not waited for, whose parent ignores them.
    pub cpu: Duration,
    /// Memory of all processes together. One process that asks for more is denied it, as is usual with
    /// `RLIMIT_DATA`; what grows beyond otherwise ends the run.
    pub memory_bytes: u64,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Standard output and standard error together.
    pub output_bytes: u64,
    /// Files in the scratch directory, `/tmp` and `/dev/shm` together; they are held in memory. Also the
    /// size of the largest. A build's counts for its run too.
    pub scratch_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(10),
            cpu: Duration::from_secs(10),
            memory_bytes: 1 << 30,
            processes: 64,
            output_bytes: 1 << 20,
            scratch_bytes: 64 << 20,
        }
    }
}

/// What comes before a run, in the same scratch directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Command and arguments.
    pub argv: Vec<String>,
    /// What it may use, instead of the run's limits.
    pub limits: Limits,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// Command and arguments; a command without a slash is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Compiler to run first. Where it does not exit with 0, the run ends with it.
    pub build: Option<Build>,
    /// Files in the directory that it starts in: name, relative and without `..`, and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// What it reads from standard input. The build gets none.
    pub stdin: Vec<u8>,
    /// Environment besides `PATH`, `HOME`, `TMPDIR`, `LANG` and `OMP_NUM_THREADS`, which it can replace.
    pub env: Vec<(String, String)>,
    /// What the run may use.
    pub limits: Limits,
    /// Directories and files that it may read, at the same paths, besides the sandbox's.
    pub extra_read_only: Vec<PathBuf>,
}

/// A Python program, run by the system's `python3` from a file `main.py`.
pub fn python(program: &str) -> Program {
    Program {
        argv: vec!["python3".into(), "main.py".into()],
        files: vec![("main.py".into(), program.into())],
        env: vec![
            ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
            ("PYTHONHASHSEED".into(), "0".into()),
            ("PYTHONIOENCODING".into(), "utf-8".into()),
        ],
        ..Program::default()
    }
}

/// Environment of every program, before its own.
#[cfg(any(unix, windows))]
pub(crate) fn base_env(path: &str, home: &str, tmp: &str) -> Vec<(String, String)> {
    [("PATH", path), ("HOME", home), ("TMPDIR", tmp), ("LANG", "C.UTF-8"), ("OMP_NUM_THREADS", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

impl Program {
    /// Checks what does not depend on the system.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        if self.argv.is_empty() || self.build.as_ref().is_some_and(|build| build.argv.is_empty()) {
            return Err(SandboxError::NoCommand);
        }
        for (name, _) in &self.files {
            let path = Path::new(name);
            let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
            if name.is_empty() || !plain || name.ends_with('/') || name.contains('\0') {
                return Err(SandboxError::FileName { name: name.clone() });
            }
        }
        Ok(())
    }
}

/// Which command a run got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The compiler's.
    Build,
    /// The program's own.
    Run,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal, which it or the kernel sent; 9 also where the host ran out of memory.
    Signalled(i32),
    /// At the limit of wall time.
    TimedOut,
    /// At the limit of processor time.
    CpuLimit,
    /// At the limit of memory. A program that was denied memory decides itself how it ends.
    MemoryLimit,
    /// At the limit of output.
    OutputLimit,
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// Whether that was the build or the run.
    pub stage: Stage,
    /// Standard output, of build and run.
    pub stdout: Vec<u8>,
    /// Standard error, of build and run.
    pub stderr: Vec<u8>,
    /// Time from start to end of the last stage.
    pub wall: Duration,
    /// Processor time of all its processes, in the last stage.
    pub cpu: Duration,
    /// Whether output beyond the limit was dropped.
    pub truncated: bool,
}

impl std::fmt::Debug for Outcome {
    /// With output as text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome")
            .field("verdict", &self.verdict)
            .field("stage", &self.stage)
            .field("stdout", &String::from_utf8_lossy(&self.stdout))
            .field("stderr", &String::from_utf8_lossy(&self.stderr))
            .field("wall", &self.wall)
            .field("cpu", &self.cpu)
            .field("truncated", &self.truncated)
            .finish()
    }
}

impl Outcome {
    /// Whether the program ran, and exited with 0.
    pub fn passed(&self) -> bool {
        self.stage == Stage::Run && self.verdict == Verdict::Exited(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_names_are_taken() {
        for (name, good) in [
            ("main.py", true),
            ("src/main.rs", true),
            ("..x", true),
            ("", false),
            ("/etc/passwd", false),
            ("../out", false),
            ("a/../../out", false),
            (".", false),
            ("a/", false),
            ("a\0b", false),
        ] {
            let program = Program { files: vec![(name.to_owned(), vec![])], ..python("") };
            assert_eq!(program.check().is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn a_program_needs_a_command() {
        let program = Program { argv: vec![], ..python("") };
        assert!(matches!(program.check(), Err(SandboxError::NoCommand)));
        let build = Some(Build { argv: vec![], limits: Limits::default() });
        assert!(matches!(Program { build, ..python("") }.check(), Err(SandboxError::NoCommand)));
    }
}
