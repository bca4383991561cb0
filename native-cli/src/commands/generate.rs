//! `codingspot generate`.

use crate::args::{GenerateArgs, UsageError};
use crate::device;
use crate::model::ModelDirectory;
use crate::{output, spot};
use anyhow::Context as _;
use codingspot_core::ablate::Ablation;
use codingspot_core::generate::{GenerateOptions, generate};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;

pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let k = match (&args.spot.spot, args.k) {
        (Some(_), None) => {
            return Err(UsageError("--spot needs --k, the percentage to ablate".to_owned()).into());
        }
        (_, k) => k.unwrap_or(0.0),
    };
    let model = ModelDirectory::open(&args.model)?;
    let tokenizer = model.tokenizer()?;
    let prompt_ids = match (&args.prompt, &args.prompt_ids) {
        (_, Some(ids)) => ids.clone(),
        (Some(text), None) => tokenizer
            .as_ref()
            .with_context(|| {
                format!(
                    "{} has no tokenizer.json, so text can't be read; give --prompt-ids",
                    args.model.display()
                )
            })?
            .encode_document(text)?,
        (None, None) => return Err(UsageError("give --prompt or --prompt-ids".to_owned()).into()),
    };
    let spot = args
        .spot
        .spot
        .as_deref()
        .map(|path| Ok::<_, anyhow::Error>((path, spot::read(path)?)))
        .transpose()?;
    let count = spot.as_ref().map(|(path, spot)| spot::prefix_len(path, spot, k)).transpose()?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        seed: args.seed,
        stop: args.stop,
    };
    let device = device::choose(args.device.device)?;
    let mut loaded = model.load(&device.device)?;
    if let (Some((path, spot)), Some(count)) = (spot, count) {
        let mut ablation = pollster::block_on(Ablation::new(&loaded.model, &loaded.fingerprint, spot))
            .with_context(|| format!("{} was refused", path.display()))?;
        ablation.set(&mut loaded.model, count);
        output::note(&format!("Ablated {} parameters ({k} %)", output::grouped(count as u64)));
    }
    let stream = !args.json && tokenizer.is_some();
    let mut failed = None;
    // The first token pays for compilation and tuning, so speed counts from there.
    let mut first = None;
    let generation = pollster::block_on(generate(
        &loaded.model,
        tokenizer.as_ref(),
        &prompt_ids,
        &options,
        async |token| {
            first.get_or_insert_with(Instant::now);
            if stream && let Err(error) = output::result(&token.text) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    ))?;
    if let Some(error) = failed {
        return Err(error);
    }
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    let later = generation.ids.len().saturating_sub(1);
    let tokens_per_s = (later > 0 && seconds > 0.0).then(|| later as f64 / seconds);
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "prompt_ids": prompt_ids,
            "ids": generation.ids,
            "text": generation.text,
            "logprobs": generation.logprobs,
            "stop_reason": generation.stop_reason,
            "tokens_per_s": tokens_per_s,
            "device": device.name,
            "k": k,
            "ablated_parameters": count.unwrap_or(0),
        }));
    }
    if stream {
        output::result("\n")?;
    } else {
        let ids: Vec<String> = generation.ids.iter().map(ToString::to_string).collect();
        output::result(&format!("{}\n", ids.join(",")))?;
    }
    let speed = tokens_per_s.map_or(String::new(), |speed| format!(", {speed:.1} tokens/s after the first"));
    output::note(&format!("{} tokens{speed}", generation.ids.len()));
    Ok(())
}
