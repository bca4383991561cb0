//! `codingspot bench decode`: how fast a prompt is read and how fast tokens follow.

use super::{BenchModel, Figures, Times};
use crate::args::BenchDecodeArgs;
use crate::device;
use anyhow::Context as _;
use codingspot_core::generate::{GenerateOptions, generate};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Instant;

pub(super) fn run(args: &BenchDecodeArgs) -> anyhow::Result<Figures> {
    let source = &args.source;
    let mut bench = BenchModel::open(source.model.as_deref(), source.config.as_deref(), source.dtype)?;
    let context = bench.model.config.max_position_embeddings;
    anyhow::ensure!(
        args.prompt_tokens.saturating_add(args.tokens) <= context,
        "--prompt-tokens {} and --tokens {} are more than the model's context of {context} tokens",
        args.prompt_tokens,
        args.tokens
    );
    // Every repeat has the same length: no token ends the text.
    bench.model.config.eos_token_ids.clear();
    let prompt = prompt(args.prompt_tokens, bench.model.config.vocab_size);
    let device = device::choose(args.device.device)?;
    let loaded = bench.model.load(&device.device)?;
    let options = GenerateOptions { max_tokens: args.tokens, ..GenerateOptions::default() };
    let (mut whole, mut prefill, mut decode) = (Times::default(), Times::default(), Times::default());
    for repeat in 0..=args.repeats {
        let started = Instant::now();
        let mut first = None;
        pollster::block_on(generate(&loaded.model, None, &prompt, &options, async |_| {
            first.get_or_insert_with(|| started.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        }))?;
        let seconds = started.elapsed().as_secs_f64();
        let first = first.context("nothing was generated")?;
        // The first round compiles and tunes kernels.
        if repeat > 0 {
            whole.seconds.push(seconds);
            prefill.seconds.push(first);
            decode.seconds.push(seconds - first);
        }
    }
    Ok(Figures {
        bench: "decode",
        parameters: json!({
            "model": source.model, "config": source.config, "parameters": bench.model.layout().num_parameters(),
            "prompt_tokens": args.prompt_tokens, "tokens": args.tokens, "device": device.name,
        }),
        others: vec![
            // The first token comes out of the prompt's pass.
            ("prefill", part(&prefill, args.prompt_tokens)),
            ("decode", part(&decode, args.tokens - 1)),
        ],
        times: whole,
    })
}

/// Tokens from all over the vocabulary.
pub(super) fn prompt(tokens: usize, vocabulary: usize) -> Vec<u32> {
    (0..tokens).map(|place| u32::try_from((place * 7919 + 1) % vocabulary).unwrap_or(0)).collect()
}

/// The times of a part of a generation, with how many tokens it had.
pub(super) fn part(times: &Times, tokens: usize) -> Value {
    let mut part = times.to_json();
    part["tokens"] = tokens.into();
    part["tokens_per_s"] = json!(times.rate(tokens as u64));
    part
}
