//! Loss per language of a model and of its ablated forms.

use crate::corpus::CorpusDirectory;
use crate::progress::Progress;
use crate::results::{ORIGINAL, ResultRow};
use anyhow::Context as _;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::corpus::documents_for_loss;
use codingspot_core::eval::{document_losses, mean_loss};
use codingspot_core::llama::RotaryTable;
use codingspot_core::spot::Spot;
use codingspot_core::tokenizer::Tokenizer;
use std::ops::ControlFlow;

/// The documents of one language, as tokens.
#[derive(Debug)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) rows: Vec<Vec<u32>>,
}

/// Reads the documents of `languages`, at most `limit` of each, as tokens of at most `seq_len`.
pub(crate) fn subsets(
    corpus: &CorpusDirectory,
    languages: &[String],
    tokenizer: Option<&Tokenizer>,
    seq_len: usize,
    limit: Option<usize>,
) -> anyhow::Result<Vec<Subset>> {
    let subset = |language: &String| {
        let mut documents = corpus.read(language)?;
        documents.truncate(limit.unwrap_or(usize::MAX));
        let rows = documents_for_loss(&documents, tokenizer, seq_len)
            .with_context(|| format!("the corpus of {language} was refused"))?;
        Ok(Subset { name: language.clone(), rows })
    };
    languages.iter().map(subset).collect()
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
            let mean = mean_loss(&losses);
            results.push(ResultRow {
                task: "nll".to_owned(),
                subset: subset.name.clone(),
                variant: variant.to_owned(),
                k,
                ablated_parameters: ablated as u64,
                metric: "nats_per_token".to_owned(),
                value: mean.value.is_finite().then_some(mean.value),
                stderr: mean.stderr.filter(|stderr| stderr.is_finite()),
                n: losses.len() as u64,
                tokens: mean.tokens,
                ..ResultRow::default()
            });
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
