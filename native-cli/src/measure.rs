//! Loss per language of a model and of its ablated forms.

use crate::corpus::CorpusDirectory;
use crate::progress::Progress;
use crate::results::{ORIGINAL, ResultRow};
use anyhow::Context as _;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::corpus::{Document, documents_for_loss};
use codingspot_core::eval::{DocumentLoss, Estimate, document_losses, mean_loss};
use codingspot_core::llama::RotaryTable;
use codingspot_core::spot::Spot;
use codingspot_core::tokenizer::Tokenizer;
use std::ops::ControlFlow;

/// Metric of a loss by tokens.
pub(crate) const PER_TOKEN: &str = "nats_per_token";
/// Metric of the same loss by characters, which does not depend on the tokenizer.
pub(crate) const PER_CHARACTER: &str = "nats_per_character";

/// The documents of one language, as tokens.
#[derive(Debug)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) rows: Vec<Vec<u32>>,
    /// Characters that the targets of each row stand for, where losses by character are asked for.
    pub(crate) characters: Option<Vec<u64>>,
}

/// Reads the documents of `languages`, at most `limit` of each, as tokens of at most `seq_len`.
///
/// With `characters` every document is cut to as many characters first, so that models of different
/// tokenizers are measured on the same texts.
pub(crate) fn subsets(
    corpus: &CorpusDirectory,
    languages: &[String],
    tokenizer: Option<&Tokenizer>,
    seq_len: usize,
    limit: Option<usize>,
    characters: Option<usize>,
) -> anyhow::Result<Vec<Subset>> {
    let subset = |language: &String| {
        let mut documents = corpus.read(language)?;
        documents.truncate(limit.unwrap_or(usize::MAX));
        if let Some(characters) = characters {
            documents.iter_mut().for_each(|document| cut(document, characters));
        }
        let refused = || format!("the corpus of {language} was refused");
        let rows = documents_for_loss(&documents, tokenizer, seq_len).with_context(refused)?;
        let characters =
            characters.map(|_| row_characters(&rows, tokenizer)).transpose().with_context(refused)?;
        Ok(Subset { name: language.clone(), rows, characters })
    };
    languages.iter().map(subset).collect()
}

/// Cuts a text to `characters`.
fn cut(document: &mut Document, characters: usize) {
    if let Document::Text(text) = document
        && let Some((end, _)) = text.char_indices().nth(characters)
    {
        text.truncate(end);
    }
}

/// Characters that the targets of each row stand for.
pub(crate) fn row_characters(rows: &[Vec<u32>], tokenizer: Option<&Tokenizer>) -> anyhow::Result<Vec<u64>> {
    let tokenizer = tokenizer.context("characters need a tokenizer.json; the model has none")?;
    let bos = usize::from(tokenizer.bos().is_some());
    rows.iter().map(|row| Ok((tokenizer.decode(&row[bos.max(1)..])?.chars().count() as u64).max(1))).collect()
}

/// A set of parameters that is measured at several k.
#[derive(Debug)]
pub(crate) struct Arm {
    /// `spot` or `random:SEED`.
    pub(crate) variant: String,
    pub(crate) spot: Spot,
}

/// How documents are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NllSettings {
    /// Documents that run together.
    pub(crate) batch_size: usize,
    /// What takes the place of ablated parameters.
    pub(crate) replacement: Replacement,
}

/// Measures every subset: the original once, then each arm at each k above 0. The model is left as
/// it was.
pub(crate) fn nll(
    loaded: &mut LoadedModel,
    subsets: &[Subset],
    arms: &[Arm],
    ks: &[f64],
    settings: NllSettings,
) -> anyhow::Result<Vec<ResultRow>> {
    let longest = subsets.iter().flat_map(|s| s.rows.iter().map(Vec::len)).max().unwrap_or(2);
    let rope = RotaryTable::new(loaded.model.config(), longest, loaded.model.device());
    let above_zero: Vec<f64> = ks.iter().copied().filter(|&k| k > 0.0).collect();
    let passes = 1 + arms.len() * above_zero.len();
    let documents: u64 = subsets.iter().map(|subset| subset.rows.len() as u64).sum();
    let mut progress = Progress::new("Measuring", documents * passes as u64);
    let mut done = 0;
    let mut results = Vec::new();

    let mut pass = |loaded: &LoadedModel, variant: &str, k: f64, ablated: usize| -> anyhow::Result<()> {
        progress.rename(&if k > 0.0 {
            format!("Measuring {variant}, k = {k} %")
        } else {
            "Measuring the original".into()
        });
        for subset in subsets {
            let losses = pollster::block_on(document_losses(
                &loaded.model,
                &subset.rows,
                settings.batch_size,
                &rope,
                async |rows, _| {
                    progress.set(done + rows as u64);
                    ControlFlow::Continue(())
                },
            ))?;
            let Some(losses) = losses else { continue };
            done += subset.rows.len() as u64;
            let mut row = |metric: &str, mean: Estimate, tokens: u64| {
                results.push(ResultRow {
                    task: "nll".to_owned(),
                    subset: subset.name.clone(),
                    variant: variant.to_owned(),
                    k,
                    ablated_parameters: ablated as u64,
                    metric: metric.to_owned(),
                    value: mean.value.is_finite().then_some(mean.value),
                    stderr: mean.stderr.filter(|stderr| stderr.is_finite()),
                    n: losses.len() as u64,
                    tokens,
                    ..ResultRow::default()
                });
            };
            let mean = mean_loss(&losses);
            row(PER_TOKEN, mean, mean.tokens);
            if let Some(characters) = &subset.characters {
                // The same nats, by characters in the place of tokens.
                let by_character: Vec<DocumentLoss> = losses
                    .iter()
                    .zip(characters)
                    .map(|(loss, &characters)| DocumentLoss { nats: loss.nats, tokens: characters })
                    .collect();
                row(PER_CHARACTER, mean_loss(&by_character), mean.tokens);
            }
        }
        Ok(())
    };
    pass(loaded, ORIGINAL, 0.0, 0)?;
    for arm in arms {
        let counts = above_zero.iter().map(|&k| arm.spot.prefix_len(k)).collect::<Result<Vec<_>, _>>()?;
        let mut ablation = pollster::block_on(Ablation::with_replacement(
            &loaded.model,
            &loaded.fingerprint,
            arm.spot.clone(),
            settings.replacement,
        ))?;
        for (&k, count) in above_zero.iter().zip(counts) {
            ablation.set(&mut loaded.model, count);
            pass(loaded, &arm.variant, k, count)?;
        }
        ablation.set(&mut loaded.model, 0);
    }
    progress.finish();
    Ok(results)
}
