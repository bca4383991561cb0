//! `codingspot bench decode --packed`: the same, of packed weights and by the kernels that the page has, and how long it
//! takes to switch parameters off.

use super::decode::{part, prompt};
use super::{BenchModel, Figures, Times};
use crate::args::BenchDecodeArgs;
use crate::device;
use anyhow::Context as _;
use codingspot_core::checkpoint::Fingerprint;
use codingspot_core::kernels::packed::{Compute, Cpu, Gpu};
use codingspot_core::packed::{Mask, PackedLlama, PackedLoader, RankingBuilder, load_checkpoint};
use codingspot_core::sampling::Sampling;
use codingspot_core::score::Estimator;
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader};
use codingspot_pack::Encoding;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

pub(super) fn run(args: &BenchDecodeArgs) -> anyhow::Result<Figures> {
    let source = &args.source;
    let mut bench = BenchModel::open(source.model.as_deref(), source.config.as_deref(), source.dtype)?;
    bench.model.config.eos_token_ids.clear();
    let encoding: Encoding = args.packed.context("--packed names an encoding")?.into();
    let device = device::choose(args.device.device)?;
    let software = device.name.contains("software");
    match Gpu::of(&device.device, software) {
        Some(gpu) => measure(args, &bench, encoding, &device.name, gpu),
        None => measure(args, &bench, encoding, &device.name, Cpu),
    }
}

fn measure<C: Compute>(
    args: &BenchDecodeArgs,
    bench: &BenchModel,
    encoding: Encoding,
    device: &str,
    compute: C,
) -> anyhow::Result<Figures> {
    let config = &bench.model.config;
    let context = args.prompt_tokens.saturating_add(args.tokens);
    anyhow::ensure!(
        context <= config.max_position_embeddings,
        "--prompt-tokens {} and --tokens {} are more than the model's context of {} tokens",
        args.prompt_tokens,
        args.tokens,
        config.max_position_embeddings
    );
    let started = Instant::now();
    let loader = PackedLoader::new(compute, config, encoding, context)?;
    let go = async |_| ControlFlow::Continue(());
    let (model, _) = pollster::block_on(load_checkpoint(loader, &*bench.model.source, go))?;
    let load_s = started.elapsed().as_secs_f64();
    let prompt = prompt(args.prompt_tokens, config.vocab_size);
    let (mut whole, mut prefill, mut decode) = (Times::default(), Times::default(), Times::default());
    for repeat in 0..=args.repeats {
        let started = Instant::now();
        let mut first = None;
        let turn = async || ControlFlow::Continue(());
        pollster::block_on(model.generate(&prompt, args.tokens, &Sampling::GREEDY, 0, turn, async |_| {
            first.get_or_insert_with(|| started.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        }))?;
        let seconds = started.elapsed().as_secs_f64();
        let first = first.context("nothing was generated")?;
        // The first round compiles kernels.
        if repeat > 0 {
            whole.seconds.push(seconds);
            prefill.seconds.push(first);
            decode.seconds.push(seconds - first);
        }
    }
    let mask = args.mask.map(|count| moves(&model, count)).transpose()?;
    Ok(Figures {
        bench: "decode",
        parameters: json!({
            "model": args.source.model, "config": args.source.config, "packed": encoding.name(),
            "parameters": bench.model.layout().num_parameters(), "prompt_tokens": args.prompt_tokens,
            "tokens": args.tokens, "device": device, "load_s": load_s,
        }),
        others: vec![
            ("prefill", part(&prefill, args.prompt_tokens)),
            ("decode", part(&decode, args.tokens - 1)),
            ("mask", mask.unwrap_or(Value::Null)),
        ],
        times: whole,
    })
}

/// Seconds to move a random spot of `count` parameters from nothing to several counts, until the device has done it.
fn moves<C: Compute>(model: &PackedLlama<C>, count: u64) -> anyhow::Result<Value> {
    let layout = model.layout();
    let parameters = layout.num_parameters();
    anyhow::ensure!(count <= parameters / 2, "--mask {count} is more than half of {parameters} parameters");
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut positions = BTreeSet::new();
    while (positions.len() as u64) < count {
        positions.insert(rng.random_range(0..parameters));
    }
    let mut ranked = Vec::with_capacity(positions.len());
    for position in positions {
        let (tensor, offset) = layout.locate(position).context("a position of the model")?;
        ranked.push(Ranked { score: 0.0, tensor: u16::try_from(tensor)?, offset: u32::try_from(offset)? });
    }
    let fingerprint: Fingerprint = "00".repeat(32).parse()?;
    let header = SpotHeader::new(layout, fingerprint, Scope::All, 100.0, Estimator::Signed, Vec::new());
    let spot = Spot::new(header, &ranked);
    let mut mask = Mask::new(model, RankingBuilder::ranks(model, &spot)?);
    // A pass ends when all before it has.
    let wait = || pollster::block_on(model.score(&[0, 0], 1, async |_| ControlFlow::Continue(())));
    wait()?;
    let started = Instant::now();
    wait()?;
    let pass = started.elapsed().as_secs_f64();
    let mut steps = Vec::new();
    for divisor in [1_000, 100, 10, 1] {
        for target in [count / divisor, 0] {
            let started = Instant::now();
            let change = mask.set(model, target);
            let asked = started.elapsed().as_secs_f64();
            wait()?;
            let seconds = (started.elapsed().as_secs_f64() - pass).max(asked);
            steps.push(json!({"changed": change.changed, "asked_s": asked, "seconds": seconds}));
        }
    }
    Ok(json!({"parameters": count, "moves": steps}))
}
