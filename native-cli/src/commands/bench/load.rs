//! `codingspot bench load`: from a checkpoint to a device, beside one plain read of its files.

use super::{BenchModel, Figures, Times, forget, len_bytes, read_plainly};
use crate::args::BenchLoadArgs;
use crate::device;
use crate::model::ModelDirectory;
use anyhow::Context as _;
use serde_json::json;

pub(super) fn run(args: &BenchLoadArgs) -> anyhow::Result<Figures> {
    let source = &args.source;
    let bench = BenchModel::open(source.model.as_deref(), source.config.as_deref(), source.dtype)?;
    let device = device::choose(args.device.device)?;
    let files = &bench.model.shards;
    let bytes = len_bytes(files)?;
    let (mut load, mut plain) = (Times::of_bytes(bytes), Times::of_bytes(bytes));
    for _ in 0..args.repeats {
        // Alternating, so that what else the machine does falls on both.
        if args.cold {
            forget(files)?;
        }
        plain.measure(|| read_plainly(files))?;
        if args.cold {
            forget(files)?;
        }
        let loaded = load.measure(|| {
            let loaded = ModelDirectory::open(&bench.model.path)?.load(&device.device)?;
            device.device.sync().context("the device failed")?;
            Ok(loaded)
        })?;
        drop(loaded);
    }
    let ratio = load.median().zip(plain.median()).map(|(load, plain)| load / plain);
    Ok(Figures {
        bench: "load",
        parameters: json!({
            "model": source.model, "config": source.config, "parameters": bench.model.layout().num_parameters(),
            "device": device.name, "cold": args.cold,
        }),
        others: vec![("plain_read", plain.to_json()), ("times_plain_read", json!(ratio))],
        times: load,
    })
}
