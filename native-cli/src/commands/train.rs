//! `codingspot train`.

use crate::args::{PrecisionChoice, TrainArgs, UsageError};
use crate::corpus::CorpusDirectory;
use crate::device::{self, ChosenDevice};
use crate::model::{MAX_JSON_BYTES, MAX_TOKENIZER_BYTES, ModelDirectory, read_text};
use crate::training::{Job, Outcome, Settings, Texts, mean, train_settings};
use crate::{atomic, memory, output};
use anyhow::Context as _;
use burn::tensor::DType;
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::config::LlamaConfig;
use codingspot_core::kernels::matmul;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_core::train::{Precision, random_llama, train_tokenizer};
use std::fs;
use std::time::{Duration, Instant};

pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let init = args.init.as_deref().map(ModelDirectory::open_checkpoint).transpose()?;
    let config_json = match (&init, &args.config) {
        (Some(model), _) => model.config_json.clone(),
        (None, Some(path)) => read_text(path, MAX_JSON_BYTES)?,
        (None, None) => return Err(UsageError("give --config, or --init".to_owned()).into()),
    };
    let config = LlamaConfig::from_json(&config_json)
        .context("the config was refused; expected the config.json of one Llama")?;
    anyhow::ensure!(
        args.seq_len <= config.max_position_embeddings,
        "--seq-len {} is longer than the model's context of {} tokens",
        args.seq_len,
        config.max_position_embeddings
    );
    let device = device::choose(args.device.device)?;
    let precision = precision(args.precision, &device)?;
    memory::keep_freed_memory();

    let corpus = CorpusDirectory::open(&args.corpus)?;
    let languages = args.languages.clone().unwrap_or_else(|| corpus.languages());
    crate::corpus::check_distinct(&languages)?;
    let texts = Texts::read(&corpus, &languages, args.seed)?;
    fs::create_dir_all(&args.out).with_context(|| format!("{} can't be created", args.out.display()))?;
    let tokenizer_json = tokenizer_json(args, init.as_ref(), &texts, &config)?;
    let tokenizer = Tokenizer::from_bytes(tokenizer_json.as_bytes(), &config)
        .context("the tokenizer was refused; its tokens and config.json's vocab_size have to agree")?;

    let mut tokens = blake3::Hasher::new();
    tokens.update(texts.hash.as_bytes()).update(tokenizer_json.as_bytes());
    let settings = Settings {
        train: train_settings(args, precision),
        batch_size: args.batch_size,
        accumulate: args.accumulate,
        seq_len: args.seq_len,
        seed: args.seed,
        device: device.name.clone(),
        init: init
            .as_ref()
            .map(|model| Ok::<_, anyhow::Error>(model.fingerprint()?.to_string()))
            .transpose()?,
        tokens: tokens.finalize().to_string(),
    };
    let job = Job {
        out: &args.out,
        config: config.clone(),
        tokenizer,
        texts,
        settings,
        held_out: args.held_out.clone(),
        eval_every: args.eval_every,
        eval_documents: args.eval_documents,
        checkpoint_every: args.checkpoint_every,
        dtype: args.dtype.into(),
        deadline: args.minutes.map(|minutes| started + Duration::from_secs_f64(60.0 * minutes)),
    };
    job.check(&config_json)?;
    atomic::write_file(&args.out.join("config.json"), config_json.as_bytes())?;
    atomic::write_file(&args.out.join("tokenizer.json"), tokenizer_json.as_bytes())?;
    let outcome = job.run(&device.device, || match &init {
        Some(model) => {
            let LoadedModel { model, .. } = model.load(&device.device)?;
            Ok(model)
        }
        None => Ok(random_llama(
            &config,
            args.seed,
            crate::synth::initializer_range(&config_json)?,
            &device.device,
        )),
    })?;
    if args.json {
        return output::json(&outcome);
    }
    output::result(&summary(args, &outcome))
}

/// What matrices are multiplied in.
pub(crate) fn precision(choice: PrecisionChoice, device: &ChosenDevice) -> anyhow::Result<Precision> {
    let cpu = device.name == "cpu";
    let bf16 = if cpu { matmul::multiplies_bf16() } else { device.device.supports_dtype(DType::BF16) };
    let f16 = !cpu && device.device.supports_dtype(DType::F16);
    let refuse = |name: &str| {
        let reason = format!("{} does not multiply in {name}; use --precision f32", device.name);
        Err(UsageError(reason).into())
    };
    match choice {
        PrecisionChoice::Auto | PrecisionChoice::Bf16 if bf16 => Ok(Precision::Bf16),
        PrecisionChoice::Auto | PrecisionChoice::F32 => Ok(Precision::F32),
        PrecisionChoice::F16 if f16 => Ok(Precision::F16),
        PrecisionChoice::Bf16 => refuse("bf16"),
        PrecisionChoice::F16 => refuse("f16"),
    }
}

/// The tokenizer that is asked for, that an earlier run made, or a new one.
fn tokenizer_json(
    args: &TrainArgs,
    init: Option<&ModelDirectory>,
    texts: &Texts,
    config: &LlamaConfig,
) -> anyhow::Result<String> {
    let made = args.out.join("tokenizer.json");
    let path = match (init, &args.tokenizer) {
        (Some(model), _) => model.path.join("tokenizer.json"),
        (None, Some(path)) => path.clone(),
        (None, None) => made,
    };
    if path.is_file() || init.is_some() || args.tokenizer.is_some() {
        return read_text(&path, MAX_TOKENIZER_BYTES);
    }
    output::note(&format!(
        "Training a tokenizer of {} tokens on {} documents",
        output::grouped(config.vocab_size as u64),
        output::grouped(texts.len().min(args.tokenizer_documents) as u64)
    ));
    // The iterator goes to the tokenizer's threads.
    let documents: Vec<&str> = texts.first(args.tokenizer_documents).collect();
    Ok(train_tokenizer(documents.into_iter(), config.vocab_size)?)
}

fn summary(args: &TrainArgs, outcome: &Outcome) -> String {
    let Outcome { steps, tokens_seen, seconds, parameters, held_out, .. } = outcome;
    let mut text = format!(
        "{} parameters, {} steps, {} tokens, {:.0} s ({:.0} tokens/s)",
        output::grouped(*parameters),
        output::grouped(*steps),
        output::grouped(*tokens_seen),
        seconds,
        *tokens_seen as f64 / seconds.max(1e-9)
    );
    if let Some(loss) = outcome.last_losses {
        text += &format!("; training loss {loss:.4} nats per token");
    }
    text.push('\n');
    if !held_out.is_empty() {
        text += "Held-out loss     per token  per character\n";
        for (language, loss) in held_out {
            text += &format!(
                "  {language:<15} {:>9.4}  {:>13.4}\n",
                loss.nats_per_token, loss.nats_per_character
            );
        }
        text += &format!(
            "  {:<15} {:>9.4}  {:>13.4}\n",
            "code, mean",
            mean(held_out, |loss| loss.nats_per_token),
            mean(held_out, |loss| loss.nats_per_character)
        );
    }
    let state = if outcome.finished {
        "The model is"
    } else {
        "Unfinished; the same command goes on. The model so far is"
    };
    text + &format!("{state} in {}\n", args.out.display())
}
