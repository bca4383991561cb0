//! `codingspot score`.

use crate::args::{DtypeChoice, OptimizerChoice, ScoreArgs, UsageError};
use crate::corpus::{CorpusDirectory, Sample, check_distinct};
use crate::memory;
use crate::model::ModelDirectory;
use crate::run::{Manifest, ModelRecord, ScoreSettings};
use crate::scoring::{PackedLanguage, PrefetchReader, ScoreJob, StoredWeights, collect, take_shard};
use crate::{device, output};
use anyhow::Context as _;
use burn::tensor::DType;
use codingspot_core::score::{
    Estimator, FineTune, MemoryPlan, Needs, Optimizer, PlanRequest, StreamedWeights, Weights,
};
use std::sync::Arc;
use std::time::Instant;

pub(crate) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let estimators: Vec<Estimator> = {
        let mut estimators: Vec<Estimator> = Vec::new();
        for &choice in &args.estimator {
            let estimator = choice.into();
            if !estimators.contains(&estimator) {
                estimators.push(estimator);
            }
        }
        estimators
    };
    let needs_data = estimators.iter().any(|estimator| estimator.needs() != Needs::Nothing);
    if args.shard.is_some() && estimators.iter().any(|e| !matches!(e.needs(), Needs::Gradients(_))) {
        return Err(UsageError(
            "--shard splits sums over gradients; score magnitude, random and wanda without it".to_owned(),
        )
        .into());
    }
    let model = ModelDirectory::open_checkpoint(&args.model)?;
    let context = model.config.max_position_embeddings;
    anyhow::ensure!(
        args.seq_len <= context,
        "--seq-len {} is longer than the model's context of {context} tokens",
        args.seq_len
    );
    let device = device::choose(args.device.device)?;
    let half = args.dtype == DtypeChoice::F16;
    if half && (device.name == "cpu" || !device.device.supports_dtype(DType::F16)) {
        return Err(UsageError(format!("{} computes in f32 only; use --dtype f32", device.name)).into());
    }
    let fine_tune = args.fine_tune_steps.zip(args.lr).map(|(steps, lr)| FineTune {
        steps,
        lr,
        optimizer: match args.optimizer {
            OptimizerChoice::Adamw => Optimizer::AdamW,
            OptimizerChoice::Sgd => Optimizer::Sgd,
        },
    });
    if fine_tune.is_some() && (half || args.shard.is_some()) {
        return Err(UsageError(
            "fine-tuning runs in f32 and in one piece: not with --dtype f16 or --shard".to_owned(),
        )
        .into());
    }
    let settings = ScoreSettings {
        estimator: estimators[0],
        batch_size: args.batch_size,
        seq_len: args.seq_len,
        max_batches: args.max_batches,
        dtype: if half { "f16" } else { "f32" }.to_owned(),
        device: device.name.clone(),
        seed: args.seed,
        loss_scale: args.loss_scale.unwrap_or(if half { HALF_LOSS_SCALE } else { 1.0 }),
        fine_tune,
        keep_language_scores: args.keep_language_scores,
        shard: args.shard,
        sample: Sample { shuffle: args.shuffle, part: args.part },
    };
    let languages = if needs_data { languages(args, &model, &settings)? } else { Vec::new() };

    let collected = collect(&estimators);
    let shared_memory = device.name == "cpu";
    let request = PlanRequest {
        batch_size: languages.iter().map(PackedLanguage::batch_size).max().unwrap_or(1),
        seq_len: languages.iter().map(PackedLanguage::seq_len).max().unwrap_or(2),
        batches: languages.iter().map(PackedLanguage::batches).max().unwrap_or(1),
        reductions: collected.reductions.len(),
        weight_bytes: if half { 2 } else { 4 },
        shared_memory,
        host_bytes: crate::run::top_bytes(&model.layout(), estimators.len())
            + fine_tune.map_or(0, |tune| tuning_bytes(tune, model.layout().num_parameters())),
        limit: args.memory_limit.unwrap_or_else(|| memory::default_limit(shared_memory)),
    };
    let plan = MemoryPlan::new(&model.config, &request)?;
    if fine_tune.is_some() && !(plan.weights_resident && plan.sums_resident) {
        anyhow::bail!(
            "fine-tuning holds weights, their originals, optimizer state and sums at once, which does not fit {}; \
             raise --memory-limit, or use --optimizer sgd, or a smaller model",
            output::bytes(request.limit)
        );
    }
    let tokens: u64 = languages.iter().map(PackedLanguage::tokens).sum();
    if needs_data {
        let flops = memory::measure_flops(&device.device);
        output::note(memory::describe(&plan, &model.config, &request, Some((tokens, flops))).trim_end());
    }

    let stored = Arc::new(StoredWeights::new(Arc::clone(&model.source), &model.layout())?);
    let (weights, fingerprint) = if plan.weights_resident && needs_data {
        let loaded = model.load(&device.device)?;
        let dtype = if half { DType::F16 } else { DType::F32 };
        (Weights::Resident(Box::new(loaded.model.with_matrices_in(dtype))), loaded.fingerprint)
    } else {
        let fingerprint = model.fingerprint()?;
        let reader = Box::new(PrefetchReader::new(Arc::clone(&stored)));
        let streamed = StreamedWeights::new(
            &model.config,
            &device.device,
            if half { DType::F16 } else { DType::F32 },
            reader,
        )?;
        (Weights::Streamed(streamed), fingerprint)
    };
    let record = ModelRecord {
        name: model.name.clone(),
        fingerprint,
        parameters: model.layout().num_parameters(),
        config: serde_json::from_str(&model.config_json).context("config.json was parsed before")?,
    };
    let manifests = ScoreJob {
        path: &args.out,
        config: &model.config,
        model: record,
        settings,
        estimators,
        languages,
        stored,
        weights,
        device: &device.device,
        plan,
        checkpoint_every: args.checkpoint_every,
    }
    .run()?;
    if args.json {
        return if let [manifest] = manifests.as_slice() {
            output::json(manifest)
        } else {
            output::json(&manifests)
        };
    }
    // All estimators saw the same batches.
    let seen = manifests.iter().max_by_key(|manifest| manifest.languages.len());
    if let Some(manifest) = seen.filter(|manifest| !manifest.languages.is_empty()) {
        output::result(&table(manifest))?;
        let dropped: usize = manifest.languages.iter().map(|l| l.dropped_sequences).sum();
        if dropped > 0 {
            output::note(&format!(
                "{dropped} sequences were left out: they don't fill a batch, or --max-batches cut them"
            ));
        }
    }
    let seconds: f64 = seen.map_or(0.0, |manifest| manifest.languages.iter().map(|l| l.seconds).sum());
    let speed = if seconds > 0.0 {
        format!(": {:.0} tokens/s while scoring", tokens as f64 / seconds)
    } else {
        String::new()
    };
    output::note(&format!("Wrote {} in {:.1} s{speed}", args.out.display(), started.elapsed().as_secs_f64()));
    Ok(())
}

/// What gradients are multiplied with in f16, so that small ones don't vanish.
const HALF_LOSS_SCALE: f32 = 1024.0;

/// Bytes of the originals of the weights that move, and of the optimizer's state.
fn tuning_bytes(tune: FineTune, parameters: u64) -> u64 {
    let copies = match tune.optimizer {
        Optimizer::AdamW => 3,
        Optimizer::Sgd => 1,
    };
    4 * copies * parameters
}

/// Reads, packs and cuts the corpus; of a shard, its part.
fn languages(
    args: &ScoreArgs,
    model: &ModelDirectory,
    settings: &ScoreSettings,
) -> anyhow::Result<Vec<PackedLanguage>> {
    let path = args.corpus.as_deref().ok_or_else(|| {
        UsageError("--corpus is needed: a directory with LANG.jsonl or LANG.jsonl.gz".to_owned())
    })?;
    let corpus = CorpusDirectory::open(path)?;
    let names = match &args.languages {
        Some(languages) => languages.clone(),
        None => corpus.code_languages()?,
    };
    check_distinct(&names)?;
    let tokenizer = model.tokenizer()?;
    let languages = names
        .iter()
        .map(|name| {
            let documents = settings.sample.take(name, corpus.read(name)?)?;
            PackedLanguage::new(name, &documents, tokenizer.as_ref(), settings)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let Some(shard) = args.shard else { return Ok(languages) };
    let mine = take_shard(languages, shard);
    anyhow::ensure!(
        !mine.is_empty(),
        "shard {} of {} has nothing to score: there are fewer batches than shards",
        shard.index,
        shard.count
    );
    Ok(mine)
}

fn table(manifest: &Manifest) -> String {
    let mut text = format!("{:<12} {:>8} {:>10} {:>12}\n", "language", "batches", "tokens", "nats/token");
    for l in &manifest.languages {
        text += &format!(
            "{:<12} {:>8} {:>10} {:>12.4}\n",
            l.name,
            l.batches,
            output::grouped(l.tokens),
            l.loss_nats_per_token
        );
    }
    text
}
