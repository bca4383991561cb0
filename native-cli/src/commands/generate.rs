//! `codingspot generate`.

use crate::args::{GenerateArgs, UsageError};
use crate::device;
use crate::model::ModelDirectory;
use crate::{output, spot};
use anyhow::Context as _;
use codingspot_core::ablate::Ablation;
use codingspot_core::generate::{GenerateOptions, generate};
use codingspot_tasks::chat::{Message, Role};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::{Instant, SystemTime};

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
        (Some(text), None) => {
            let tokenizer = tokenizer.as_ref().with_context(|| {
                format!(
                    "{} has no tokenizer.json, so text can't be read; give --prompt-ids",
                    args.model.display()
                )
            })?;
            if args.chat {
                // The template writes the special tokens, BOS too where the model begins with it.
                tokenizer.encode(&conversation(&model, args.system.as_deref(), text)?)?
            } else {
                tokenizer.encode_document(text)?
            }
        }
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

/// A question in the model's chat template, up to where the answer begins. The date that it may ask for is today's
/// in UTC.
fn conversation(model: &ModelDirectory, system: Option<&str>, question: &str) -> anyhow::Result<String> {
    let template = model.chat_template()?.with_context(|| {
        format!(
            "{} has no chat template (chat_template.jinja, or \"chat_template\" in tokenizer_config.json), so it is \
             no chat model; leave --chat out to complete the prompt as text",
            model.path.display()
        )
    })?;
    let system = system.map(|text| Message::new(Role::System, text));
    let messages: Vec<Message> = system.into_iter().chain([Message::new(Role::User, question)]).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let text = template.render(&messages, true, i64::try_from(now)?);
    text.with_context(|| format!("the prompt can't be put to {} as a chat", model.name))
}
