use std::io;

/// Why no program can be run safely here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't run programs safely here: {missing}: {reason}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct Refusal {
    /// The protection that can't be had.
    pub missing: String,
    /// What went wrong with it.
    pub reason: String,
    /// What may help.
    pub hint: Option<String>,
}

/// Why a program was not run, or its run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A protection is missing. The program did not start.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file's name is empty, absolute, or has `.` or `..` in it.
    #[error("a file of a program can't be named {name:?}")]
    FileName {
        /// The name.
        name: String,
    },
    /// A program has no command.
    #[error("a program's command is empty")]
    NoCommand,
    /// A command's program does not start, usually as it isn't installed.
    #[error("can't start {command:?}")]
    Start {
        /// The program's name.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program's files don't fit in its scratch directory, or can't be written.
    #[error("can't write a program's files: {reason}")]
    Files {
        /// Why.
        reason: String,
    },
    /// A path to be read by programs is missing.
    #[error("can't let programs read {path:?}")]
    ReadOnly {
        /// The path.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The run ended without a verdict, as when the kernel ran out of memory and chose the run's init.
    #[error("a run was lost: {reason}")]
    Lost {
        /// What is known.
        reason: String,
    },
    /// The system failed.
    #[error("can't {attempt}")]
    System {
        /// What was tried.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
