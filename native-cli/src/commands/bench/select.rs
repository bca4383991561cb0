//! `codingspot bench select`: the highest scores of a file, beside one plain read of it.

use super::{Figures, Times, forget, len_bytes, read_plainly, temporary};
use crate::args::BenchSelectArgs;
use crate::run::Run;
use crate::selection::{self, ScoreFile, safetensors_in};
use crate::sweep::Sweep;
use crate::synth::{NewFile, check_free_space};
use codingspot_core::checkpoint::{CheckpointDtype, safetensors_head};
use codingspot_core::layout::{Module, TensorSpec};
use codingspot_core::spot::{Scope, count_of, parameters_of};
use codingspot_core::synth::{CHUNK, RandomWeights};
use serde_json::json;
use std::hint::black_box;
use std::path::Path;

/// Parameters of a tensor of the synthetic file: a large matrix of a large model.
const TENSOR: u64 = 1 << 28;

pub(super) fn run(args: &BenchSelectArgs) -> anyhow::Result<Figures> {
    let scope = Scope::from(args.scope);
    // Kept until the end: dropping it removes the file.
    let mut synthetic = None;
    let (tensors, folder) = if let Some(path) = &args.run {
        let run = Run::open(path)?;
        (run.layout.tensors().to_vec(), path.join("total"))
    } else {
        let temporary = temporary()?;
        let tensors = write_scores(temporary.path(), args.parameters)?;
        let folder = temporary.path().to_owned();
        synthetic = Some(temporary);
        (tensors, folder)
    };
    let files = safetensors_in(&folder)?;
    let scores = ScoreFile::open(&files, &tensors)?;
    let parameters = parameters_of(&tensors, scope);
    let count = count_of(parameters, args.k);

    let bytes = len_bytes(&files)?;
    let (mut select, mut plain) = (Times::of_bytes(bytes), Times::of_bytes(bytes));
    let scores = [scores];
    for _ in 0..args.repeats {
        // Alternating, so that what else the machine does falls on both.
        if args.cold {
            forget(&files)?;
        }
        plain.measure(|| read_plainly(&files))?;
        if args.cold {
            forget(&files)?;
        }
        let ranked = select.measure(|| selection::select_top(&scores, &tensors, scope, count))?;
        black_box(ranked);
    }
    drop(synthetic);
    let ratio = select.median().zip(plain.median()).map(|(select, plain)| select / plain);
    Ok(Figures {
        bench: "select",
        parameters: json!({
            "run": args.run, "scores": parameters, "k": args.k, "selected": count, "scope": scope,
            "cold": args.cold, "rayon_threads": rayon::current_num_threads(),
        }),
        others: vec![("plain_read", plain.to_json()), ("times_plain_read", json!(ratio))],
        times: select,
    })
}

/// Writes `parameters` scores: products of two normal numbers, as gradients and weights are.
fn write_scores(folder: &Path, parameters: u64) -> anyhow::Result<Vec<TensorSpec>> {
    let mut tensors = Vec::new();
    let mut start = 0;
    while start < parameters {
        let numel = TENSOR.min(parameters - start);
        let (name, shape) = (format!("scores.{:05}", tensors.len()), vec![usize::try_from(numel)?]);
        tensors.push(TensorSpec { name, shape, module: Module::UpProj, layer: None, start });
        start += numel;
    }
    check_free_space(folder, 4 * parameters)?;
    let dtype = CheckpointDtype::F32.to_safetensors();
    let described = tensors.iter().map(|spec| (spec.name.clone(), dtype, spec.shape.clone())).collect();
    let head = safetensors_head(&[("format", "pt")], described)?;
    let head_bytes = head.len() as u64;
    let file = NewFile::create(&folder.join("scores.safetensors"), head_bytes + 4 * parameters, &head)?;

    let chunk = CHUNK as u64;
    let chunks: Vec<(u32, u64)> = (0_u32..).zip((0..parameters).step_by(CHUNK)).collect();
    let sweep = Sweep::new("Writing random scores", &chunks, 1, |_| 1);
    let normal = RandomWeights { seed: 0, std_dev: 1.0 };
    sweep.run(
        || (vec![0.0; CHUNK], vec![0.0; CHUNK], Vec::new()),
        |(values, others, bytes), &(number, start)| {
            let len = usize::try_from(chunk.min(parameters - start))?;
            let (values, others) = (&mut values[..len], &mut others[..len]);
            normal.fill(0, number, false, values);
            normal.fill(1, number, false, others);
            values.iter_mut().zip(others).for_each(|(value, other)| *value = (*value * *other).abs());
            bytes.clear();
            CheckpointDtype::F32.extend_bytes(values, bytes);
            file.write_at(head_bytes + 4 * start, bytes)
        },
    )?;
    file.sync()?;
    sweep.finish();
    Ok(tensors)
}
