//! The native command line of codingspot: files, devices, progress and reports around
//! [`codingspot_core`], which does the work.

mod args;
mod atomic;
mod bundled;
mod commands;
mod corpus;
mod data;
mod device;
mod evaluation;
mod hub;
mod measure;
mod memory;
mod model;
mod output;
mod overlap;
mod pack;
mod parquet;
#[cfg(test)]
#[path = "../tests/common/parquet_file.rs"]
mod parquet_file;
mod progress;
mod report;
mod results;
mod run;
mod scoring;
mod selection;
mod spot;
mod study;
mod sweep;
mod synth;
mod table;
mod training;
mod weights;

use clap::Parser as _;
use std::process::ExitCode;

/// Keeps freed memory for the next tensor of its size: the system's own gives large buffers back at
/// once, and every batch would fault its pages in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Parses the arguments, runs the command, and maps the outcome to an exit code: 0 done, 1 failed,
/// 2 wrong usage. Started by a sandbox, it is the sandbox's launcher instead, so it has to come first.
pub fn main() -> ExitCode {
    codingspot_sandbox::launch_if_asked();
    let args = args::Cli::parse();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            let usage = error.chain().any(<dyn std::error::Error>::is::<args::UsageError>);
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
