//! What the tests share.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on fails or says so")]
#![allow(dead_code, clippy::allow_attributes, reason = "not every test needs all of it")]

use codingspot_execution::{Executor, ExecutorOptions, Verdict};
use codingspot_tasks::document::{Dataset, Document, Options, Target};
use codingspot_tasks::program::{Language, ProgramParts};
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An executor, where this system has what the sandbox needs; else the test that asks is skipped, and says so.
pub(crate) fn executor_of(workers: NonZeroUsize) -> Option<Executor> {
    let launcher = Some(env!("CARGO_BIN_EXE_codingspot-execution-launcher").into());
    match Executor::new(ExecutorOptions { launcher, workers, ..ExecutorOptions::default() }) {
        Ok(executor) => Some(executor),
        Err(refusal) => {
            println!("skipped: {refusal}");
            assert!(std::env::var_os("CODINGSPOT_SANDBOX_REQUIRED").is_none(), "{refusal}");
            None
        }
    }
}

/// One with the usual options, which the tests of a file share.
pub(crate) fn executor() -> Option<&'static Executor> {
    static EXECUTOR: OnceLock<Option<Executor>> = OnceLock::new();
    EXECUTOR.get_or_init(|| executor_of(ExecutorOptions::default().workers)).as_ref()
}

/// The executor, where it also runs programs of this language.
pub(crate) fn with(language: Language) -> Option<&'static Executor> {
    let executor = executor()?;
    match executor.language(language) {
        Ok(_) => Some(executor),
        Err(not_run) => {
            println!("skipped: {not_run}");
            None
        }
    }
}

pub(crate) fn documents(data: &Dataset) -> Vec<Document> {
    data.documents(&Options::default()).unwrap().map(|document| document.unwrap()).collect()
}

pub(crate) fn parts(document: &Document) -> &ProgramParts {
    let Target::Program(parts) = &document.target else { panic!("no program") };
    parts
}

/// The verdicts on one program and several completions of it.
pub(crate) fn verdicts(executor: &Executor, parts: &ProgramParts, completions: &[&str]) -> Vec<Verdict> {
    let programs: Vec<_> = completions.iter().map(|completion| (parts, *completion)).collect();
    let mut seen = 0;
    let verdicts = executor.run(&programs, |done| seen = done).unwrap();
    assert_eq!(seen, completions.len());
    verdicts
}

/// Where the full sets are, or a message and nothing.
pub(crate) fn bench() -> Option<PathBuf> {
    let shared = std::env::var_os("CODINGSPOT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let bench = shared.join("data/bench");
    if bench.is_dir() {
        return Some(bench);
    }
    println!("skipped: {} is not there (set CODINGSPOT_SHARED)", bench.display());
    None
}

pub(crate) fn read(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}
