//! `codingspot score`.

use crate::args::ScoreArgs;
use crate::corpus::CorpusDirectory;
use crate::model::ModelDirectory;
use crate::run::{Manifest, ModelRecord, RunWriter, ScoreSettings};
use crate::scoring::{PackedLanguage, score_languages};
use crate::{device, output};
use anyhow::Context as _;
use std::time::Instant;

pub(crate) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let corpus = CorpusDirectory::open(&args.corpus)?;
    let languages = match &args.languages {
        Some(languages) => languages.clone(),
        None => corpus.code_languages()?,
    };
    let model = ModelDirectory::open(&args.model)?;
    let context = model.config.max_position_embeddings;
    anyhow::ensure!(
        args.seq_len <= context,
        "--seq-len {} is longer than the model's context of {context} tokens",
        args.seq_len
    );
    let tokenizer = model.tokenizer()?;
    // Begun before the weights are loaded, so that a name that is taken fails at once.
    let writer = RunWriter::begin(&args.out, model.layout(), args.keep_language_scores)?;
    let documents = languages
        .iter()
        .map(|language| Ok((language.as_str(), corpus.read(language)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let device = device::choose(args.device.device)?;
    let loaded = model.load(&device.device)?;
    let name = model.path.file_name().unwrap_or(model.path.as_os_str());
    let mut manifest = Manifest::new(
        ModelRecord {
            name: name.to_string_lossy().into_owned(),
            fingerprint: loaded.fingerprint,
            parameters: loaded.model.layout().num_parameters(),
            config: serde_json::from_str(&model.config_json).context("config.json was parsed before")?,
        },
        ScoreSettings {
            estimator: args.estimator.into(),
            batch_size: args.batch_size,
            seq_len: args.seq_len,
            max_batches: args.max_batches,
            dtype: "f32".to_owned(),
            device: device.name,
        },
    );
    let packed = documents
        .iter()
        .map(|(name, documents)| PackedLanguage::new(name, documents, tokenizer.as_ref(), &manifest))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let total = score_languages(&loaded, &packed, &mut manifest, &writer)?;
    writer.finish(&manifest, &total)?;
    if args.json {
        return output::json(&manifest);
    }
    let tokens: u64 = manifest.languages.iter().map(|language| language.tokens).sum();
    let seconds: f64 = manifest.languages.iter().map(|language| language.seconds).sum();
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
    output::result(&text)?;
    let dropped: usize = manifest.languages.iter().map(|l| l.dropped_sequences).sum();
    if dropped > 0 {
        output::note(&format!(
            "{dropped} sequences were left out: they don't fill a batch, or --max-batches cut them"
        ));
    }
    output::note(&format!(
        "Wrote {} in {:.1} s: {:.0} tokens/s while scoring",
        args.out.display(),
        started.elapsed().as_secs_f64(),
        tokens as f64 / seconds
    ));
    Ok(())
}
