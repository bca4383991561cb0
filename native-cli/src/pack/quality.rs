//! What an encoding costs: loss of the pack's weights beside that of the checkpoint's.

use crate::corpus::CorpusDirectory;
use crate::device::ChosenDevice;
use crate::measure::{NllSettings, Subset, nll, subsets};
use crate::model::ModelDirectory;
use crate::results::ResultRow;
use anyhow::Context as _;
use codingspot_core::ablate::Replacement;
use codingspot_pack::manifest::Quality;
use serde::Serialize;
use std::path::Path;

/// Documents that run together.
const BATCH: usize = 8;

/// What losses are measured on.
#[derive(Debug)]
pub(crate) struct Texts {
    /// Name of the corpus.
    corpus: String,
    seq_len: usize,
    subsets: Vec<Subset>,
}

/// Loss of one language.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Loss {
    pub(crate) language: String,
    pub(crate) tokens: u64,
    pub(crate) nats_per_token: f64,
    pub(crate) nats_per_token_f32: f64,
}

/// Losses of every language.
#[derive(Debug)]
pub(crate) struct Losses {
    pub(crate) languages: Vec<Loss>,
}

impl Texts {
    /// Reads a corpus in the model's tokens: at most `limit` documents a language, cut to `seq_len`.
    pub(crate) fn read(
        path: &Path,
        model: &ModelDirectory,
        seq_len: usize,
        limit: Option<usize>,
    ) -> anyhow::Result<Self> {
        let corpus = CorpusDirectory::open(path)?;
        let seq_len = seq_len.min(model.config.max_position_embeddings);
        let tokenizer = model.tokenizer()?;
        let subsets = subsets(&corpus, &corpus.languages(), tokenizer.as_ref(), seq_len, limit, None)?;
        let name = path.file_name().map_or_else(|| "corpus".into(), |name| name.to_string_lossy());
        Ok(Self { corpus: name.chars().take(60).collect(), seq_len, subsets })
    }

    /// Losses of `model` and of the pack in `pack`. Memory: one of the two at a time, in f32.
    pub(super) fn measure(
        &self,
        model: &ModelDirectory,
        pack: &Path,
        device: &ChosenDevice,
    ) -> anyhow::Result<Losses> {
        let losses = |model: &ModelDirectory| {
            let mut loaded = model.load(&device.device)?;
            let settings = NllSettings { batch_size: BATCH, replacement: Replacement::Zero };
            nll(&mut loaded, &self.subsets, &[], &[], settings)
        };
        let value = |row: &ResultRow| {
            row.value.with_context(|| format!("the loss on {} is not a finite number", row.subset))
        };
        let originals = losses(model)?;
        let packed = losses(&ModelDirectory::open(pack)?)?;
        let pairs = originals.iter().zip(&packed);
        let languages = pairs.map(|(original, packed)| {
            Ok(Loss {
                language: original.subset.clone(),
                tokens: original.tokens,
                nats_per_token: value(packed)?,
                nats_per_token_f32: value(original)?,
            })
        });
        Ok(Losses { languages: languages.collect::<anyhow::Result<_>>()? })
    }
}

impl Losses {
    /// Token-weighted means over all languages.
    pub(super) fn quality(&self, texts: &Texts) -> anyhow::Result<Quality> {
        let tokens: u64 = self.languages.iter().map(|loss| loss.tokens).sum();
        anyhow::ensure!(tokens > 0, "{} has no tokens to measure on", texts.corpus);
        let mean = |nats: fn(&Loss) -> f64| {
            self.languages.iter().map(|loss| nats(loss) * loss.tokens as f64).sum::<f64>() / tokens as f64
        };
        Ok(Quality {
            corpus: texts.corpus.clone(),
            seq_len: texts.seq_len as u64,
            tokens,
            nats_per_token: mean(|loss| loss.nats_per_token),
            nats_per_token_f32: mean(|loss| loss.nats_per_token_f32),
        })
    }
}
