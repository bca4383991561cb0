//! One file a command.

mod ablate;
mod bench;
mod combine;
mod demo;
mod eval;
mod execute;
mod fetch;
mod fetch_data;
mod generate;
mod inspect;
mod merge;
mod overlap;
mod pack;
mod report;
mod score;
mod select;
mod serve;
mod split;
mod study;
mod synth;
pub(crate) mod train;

use crate::args::{Cli, Command};

/// Runs what was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::FetchData(args) => fetch_data::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Generate(args) => generate::run(args),
        Command::Score(args) => score::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Select(args) => select::run(&args),
        Command::Combine(args) => combine::run(&args),
        Command::Overlap(args) => overlap::run(&args),
        Command::Study(args) => study::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Execute(args) => execute::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Split(args) => split::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
