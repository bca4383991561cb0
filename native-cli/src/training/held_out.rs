//! Loss on texts that a training does not see.

use crate::corpus::CorpusDirectory;
use crate::measure::{row_characters, subsets};
use codingspot_core::corpus::CODE_LANGUAGES;
use codingspot_core::eval::{document_losses, mean_loss};
use codingspot_core::llama::{Llama, RotaryTable};
use codingspot_core::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Documents that run together.
const BATCH: usize = 8;

/// Loss of one language.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldOutLoss {
    /// Mean, nats per token.
    pub(crate) nats_per_token: f64,
    /// The same nats by characters of the text, which does not depend on the tokenizer.
    pub(crate) nats_per_character: f64,
}

/// Held-out documents as tokens.
#[derive(Debug)]
pub(crate) struct HeldOut {
    /// Name, rows, and characters that the targets of the rows stand for.
    languages: Vec<(String, Vec<Vec<u32>>, u64)>,
    rope_len: usize,
}

impl HeldOut {
    /// The first `documents` of every language in `path`, cut to `seq_len` tokens.
    pub(crate) fn read(
        path: &Path,
        tokenizer: &Tokenizer,
        seq_len: usize,
        documents: usize,
    ) -> anyhow::Result<Self> {
        let corpus = CorpusDirectory::open(path)?;
        let subsets = subsets(&corpus, &corpus.languages(), Some(tokenizer), seq_len, Some(documents), None)?;
        let mut languages = Vec::with_capacity(subsets.len());
        for subset in subsets {
            let characters = row_characters(&subset.rows, Some(tokenizer))?.iter().sum();
            languages.push((subset.name, subset.rows, characters));
        }
        let rope_len = languages.iter().flat_map(|(_, rows, _)| rows.iter().map(Vec::len)).max().unwrap_or(2);
        Ok(Self { languages, rope_len })
    }

    /// Losses by language.
    pub(crate) fn measure(&self, model: &Llama) -> anyhow::Result<BTreeMap<String, HeldOutLoss>> {
        let rope = RotaryTable::new(model.config(), self.rope_len, model.device());
        let mut losses = BTreeMap::new();
        for (name, rows, characters) in &self.languages {
            let go_on = async |_, _| ControlFlow::Continue(());
            let found = pollster::block_on(document_losses(model, rows, BATCH, &rope, go_on))?;
            let found = found.unwrap_or_default();
            let nats: f64 = found.iter().map(|loss| loss.nats).sum();
            let nats_per_token = mean_loss(&found).value;
            losses.insert(
                name.clone(),
                HeldOutLoss { nats_per_token, nats_per_character: nats / *characters as f64 },
            );
        }
        Ok(losses)
    }
}

/// Mean over the ten languages of the paper that are there; over all where none is.
pub(crate) fn mean(losses: &BTreeMap<String, HeldOutLoss>, of: impl Fn(&HeldOutLoss) -> f64) -> f64 {
    let code: Vec<f64> = losses
        .iter()
        .filter(|(name, _)| CODE_LANGUAGES.contains(&name.as_str()))
        .map(|(_, l)| of(l))
        .collect();
    let values = if code.is_empty() { losses.values().map(of).collect() } else { code };
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
