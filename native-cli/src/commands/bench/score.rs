//! `codingspot bench score`: forward and backward passes, sums and scores, in memory, on random
//! tokens. The first batch warms up and is not timed.

use super::{BenchModel, Figures, Times};
use crate::args::BenchScoreArgs;
use crate::{device, memory};
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::score::{Estimator, LanguageScorer, MemoryPlan, Needs, PlanRequest};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

pub(super) fn run(args: &BenchScoreArgs) -> anyhow::Result<Figures> {
    let source = &args.source;
    let bench = BenchModel::open(source.model.as_deref(), source.config.as_deref(), source.dtype)?;
    let device = device::choose(args.device.device)?;
    memory::keep_freed_memory();
    let LoadedModel { model, .. } = bench.model.load(&device.device)?;
    let config = &bench.model.config;
    let estimator: Estimator = args.estimator.into();
    let request = PlanRequest {
        batch_size: args.batch_size,
        seq_len: args.seq_len,
        batches: args.repeats,
        reductions: usize::from(matches!(estimator.needs(), Needs::Gradients(_))),
        weight_bytes: 4,
        shared_memory: device.name == "cpu",
        host_bytes: 0,
        limit: u64::MAX,
    };
    let plan = MemoryPlan::new(config, &request)?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let vocabulary = u32::try_from(config.vocab_size)?;
    let batches: Vec<Vec<Vec<u32>>> = (0..=args.repeats)
        .map(|_| {
            (0..args.batch_size)
                .map(|_| (0..args.seq_len).map(|_| rng.random_range(0..vocabulary)).collect())
                .collect()
        })
        .collect();
    let mut scorer = LanguageScorer::new(&model, estimator, args.seq_len, 0);
    let mut passes = Times::default();
    let mut losses = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let batch: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        if number == 0 {
            pollster::block_on(scorer.add_batch(&batch))?;
            // What the warm-up summed is forgotten.
            scorer = LanguageScorer::new(&model, estimator, args.seq_len, 0);
        } else {
            losses.push(passes.measure(|| Ok(pollster::block_on(scorer.add_batch(&batch))?))?);
        }
    }
    let mut finish = Times::default();
    let scores = finish.measure(|| Ok(pollster::block_on(scorer.finish())?))?;
    let tokens = (args.repeats * args.batch_size * args.seq_len) as u64;
    let seconds: f64 = passes.seconds.iter().chain(&finish.seconds).sum();
    let sum: f64 = scores.scores.iter().flatten().map(|&score| f64::from(score)).sum();
    Ok(Figures {
        bench: "score",
        parameters: json!({
            "model": source.model, "config": source.config, "parameters": bench.model.layout().num_parameters(),
            "batch_size": args.batch_size, "seq_len": args.seq_len, "estimator": estimator.name(),
            "device": device.name,
        }),
        others: vec![
            ("tokens", json!(tokens)),
            ("seconds", json!(seconds)),
            ("tokens_per_s", json!(tokens as f64 / seconds)),
            ("flop_per_s", json!(tokens as f64 * plan.flops_per_token / seconds)),
            ("finish", finish.to_json()),
            ("expected_peak_bytes", json!(plan.peak_bytes)),
            ("peak_resident_bytes", json!(memory::peak_resident())),
            ("mean_loss_nats", json!(losses.iter().sum::<f64>() / losses.len() as f64)),
            ("sum_of_scores", json!(sum)),
        ],
        times: passes,
    })
}
