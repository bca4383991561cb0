//! `codingspot bench train`: the first steps of a training again, from its initial weights and on its
//! batches, which are written out so that another program can make the same steps.

use super::{Figures, Times};
use crate::args::BenchTrainArgs;
use crate::training::replay;
use crate::{device, memory};
use serde_json::json;

pub(super) fn run(args: &BenchTrainArgs) -> anyhow::Result<Figures> {
    let device = device::choose(args.device.device)?;
    memory::keep_freed_memory();
    let precision = crate::commands::train::precision(args.precision, &device)?;
    let mut training = replay::open(&args.training, precision, &device)?;
    replay::write_initial(&args.out, &training)?;
    let mut times = Times::default();
    let (mut losses, mut norms, mut batches, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..args.repeats {
        let rows = training.next_rows();
        let step = times.measure(|| training.step(&rows))?;
        losses.push(step.loss_nats);
        norms.push(step.gradient_norm);
        tokens += step.tokens;
        batches.extend(rows);
    }
    replay::write_batches(&args.out, &batches, training.settings.sequences_per_step())?;
    let seconds: f64 = times.seconds.iter().sum();
    Ok(Figures {
        bench: "train",
        parameters: json!({
            "training": args.training, "settings": training.settings,
            "parameters": training.trainer.model().layout().num_parameters(), "device": device.name,
        }),
        others: vec![
            ("target_tokens", json!(tokens)),
            ("seconds", json!(seconds)),
            ("tokens_per_s", json!(tokens as f64 / seconds)),
            ("tokens_per_s_by_median_step", json!(times.rate(tokens / args.repeats as u64))),
            ("losses_nats", json!(losses)),
            ("gradient_norms", json!(norms)),
            ("peak_resident_bytes", json!(memory::peak_resident())),
        ],
        times,
    })
}
