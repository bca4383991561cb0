//! `codingspot synth`.

use crate::args::SynthArgs;
use crate::atomic::NewDirectory;
use crate::output::{self, bytes, grouped};
use crate::synth::Plan;
use serde_json::json;
use std::time::Instant;

pub(crate) fn run(args: &SynthArgs) -> anyhow::Result<()> {
    let plan = Plan::new(&args.config, args.dtype, args.seed, args.max_shard_size)?;
    let new = NewDirectory::begin(&args.out, None)?;
    let started = Instant::now();
    plan.write(new.path())?;
    let seconds = started.elapsed().as_secs_f64();
    new.finish()?;
    let parameters = plan.layout.num_parameters();
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "parameters": parameters,
            "tensors": plan.layout.tensors().len(),
            "dtype": plan.dtype.name(),
            "seed": plan.weights.seed,
            "initializer_range": plan.weights.std_dev,
            "files": plan.files(),
            "bytes": plan.len_bytes(),
            "seconds": seconds,
            "bytes_per_s": plan.len_bytes() as f64 / seconds,
        }));
    }
    output::result(&format!(
        "{} random parameters in {} ({}, {} in {} files, seed {}), {seconds:.1} s\n",
        grouped(parameters),
        args.out.display(),
        plan.dtype.name(),
        bytes(plan.len_bytes()),
        plan.files().len(),
        plan.weights.seed
    ))
}
