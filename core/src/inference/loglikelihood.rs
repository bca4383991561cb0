//! How likely continuations are.

use super::KvStore;
use super::pass::{self, rows_of};
use super::tree::{Node, Step, Walk};
use crate::kernels::cross_entropy::{self, NO_TARGET};
use crate::kernels::matmul::product_nt;
use crate::llama::{ForwardError, Llama, gather_flat, read_f32};
use burn::tensor::Tensor;
use std::ops::ControlFlow;

/// Bytes of logits that exist at once, in f32.
const LOGITS_BYTES: usize = 64 << 20;

/// What a model is given, and what is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredSequence {
    /// Tokens that the model is given.
    pub input: Vec<u32>,
    /// Tokens that are scored: the last by the prediction at the last position, and so on forward. At most as many as
    /// the input.
    pub targets: Vec<u32>,
}

/// How likely a continuation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoglikelihoodSum {
    /// Sum of the natural logarithms of its tokens' probabilities; NaN where the model gave no number.
    pub sum: f64,
    /// Whether every token was the most likely one, or as likely.
    pub greedy: bool,
}

/// How sequences are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoglikelihoodOptions {
    /// Most tokens of a pass.
    pub pass_tokens: usize,
    /// Compute what sequences begin with in common once, instead of for each. The results are the same: on the CPU
    /// to the bit, on GPUs up to rounding.
    pub share_prefixes: bool,
}

impl Default for LoglikelihoodOptions {
    fn default() -> Self {
        Self { pass_tokens: 1024, share_prefixes: true }
    }
}

/// How likely the targets of each sequence are after what comes before them.
///
/// `on_progress(done, total)` counts tokens that went through the model, each shared one once; on `Break` the result is
/// `None`.
///
/// # Errors
/// [`ForwardError`]: a sequence can't be run (empty, too long, a token outside the vocabulary, more targets than inputs)
/// or the device fails.
pub async fn loglikelihoods(
    model: &Llama,
    sequences: &[ScoredSequence],
    options: LoglikelihoodOptions,
    mut on_progress: impl AsyncFnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Vec<LoglikelihoodSum>>, ForwardError> {
    let mut nodes = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        model.check_tokens(&[&sequence.input, &sequence.targets])?;
        let wanted = sequence
            .input
            .len()
            .checked_sub(sequence.targets.len())
            .ok_or(ForwardError::TooLong { found: sequence.targets.len(), limit: sequence.input.len() })?;
        nodes.push(Node { tokens: &sequence.input, wanted });
    }
    let wanted: Vec<usize> = nodes.iter().map(|node| node.wanted).collect();
    let positions = nodes.iter().map(|node| node.tokens.len()).max().unwrap_or(1);
    let mut walk = Walk::new(nodes, options.pass_tokens, options.share_prefixes);
    let mut store = KvStore::new(model, walk.rows(), positions);
    let mut sums = vec![LoglikelihoodSum { sum: 0.0, greedy: true }; sequences.len()];
    let (mut done, total) = (0, walk.tokens());
    while let Some(Step { pass, wants, keep }) = walk.step() {
        let hidden = pass::run(model, &pass, &mut store)?;
        let wants: Vec<(usize, u32, usize)> = wants
            .into_iter()
            .map(|want| {
                let target = sequences[want.sequence].targets[want.position - wanted[want.sequence]];
                (want.row, target, want.sequence)
            })
            .collect();
        predict(model, &hidden, &wants, &mut sums).await?;
        for (rows, to) in keep {
            store.move_rows(&rows, to);
        }
        done += pass.tokens.len();
        if on_progress(done, total).await.is_break() {
            return Ok(None);
        }
    }
    Ok(Some(sums))
}

/// Adds what the wanted rows of `hidden` say of their targets: `(row, target, sequence)`.
async fn predict(
    model: &Llama,
    hidden: &Tensor<2>,
    wants: &[(usize, u32, usize)],
    sums: &mut [LoglikelihoodSum],
) -> Result<(), ForwardError> {
    let mut rows: Vec<usize> = wants.iter().map(|&(row, ..)| row).collect();
    rows.sort_unstable();
    rows.dedup();
    let chunk = (LOGITS_BYTES / (4 * model.config().vocab_size)).max(64);
    for rows in rows.chunks(chunk) {
        let place = |row: usize| rows.binary_search(&row).ok();
        let wants: Vec<(usize, u32, usize)> = wants
            .iter()
            .filter_map(|&(row, target, sequence)| Some((place(row)?, target, sequence)))
            .collect();
        let found = statistics(model, &rows_of(hidden, rows, model.config().vocab_size), &wants).await?;
        for (&(row, _, sequence), logit) in wants.iter().zip(found.targets) {
            let max = f64::from(found.max[row]);
            let log_z = max + found.sum[row].ln();
            let sum = &mut sums[sequence];
            sum.sum += f64::from(logit) - log_z;
            sum.greedy &= f64::from(logit) >= max;
        }
    }
    Ok(())
}

/// What rows of logits say, over all bands of the vocabulary.
struct Statistics {
    /// Largest logit of every row.
    max: Vec<f32>,
    /// `Σ e^(logit − max)` of every row.
    sum: Vec<f64>,
    /// The logit of every wanted target.
    targets: Vec<f32>,
}

async fn statistics(
    model: &Llama,
    hidden: &Tensor<2>,
    wants: &[(usize, u32, usize)],
) -> Result<Statistics, ForwardError> {
    let [n, _] = hidden.dims();
    let head = model.lm_head.as_ref().unwrap_or(&model.embed_tokens);
    let mut found = Statistics {
        max: vec![f32::NEG_INFINITY; n],
        sum: vec![0.0; n],
        targets: vec![f32::NAN; wants.len()],
    };
    let mut first = 0;
    for band in head.bands() {
        let [width, _] = band.dims();
        let logits = product_nt(hidden, band);
        // Targets are picked below, as a row may have several.
        let of_band = cross_entropy::statistics(&logits, &vec![NO_TARGET; n], first);
        let inside: Vec<(usize, u32)> = wants
            .iter()
            .enumerate()
            .filter_map(|(i, &(row, target, _))| {
                let column = (target as usize).checked_sub(first).filter(|&column| column < width)?;
                let at = row * width + column;
                Some((i, u32::try_from(at).expect("logits at work are below 2^32")))
            })
            .collect();
        if !inside.is_empty() {
            let places: Vec<u32> = inside.iter().map(|&(_, at)| at).collect();
            let picked = read_f32(gather_flat(logits.reshape([n * width]), &places)).await?;
            for ((i, _), logit) in inside.into_iter().zip(picked) {
                found.targets[i] = logit;
            }
        }
        let (max, sum) = (read_f32(of_band.max).await?, read_f32(of_band.sum).await?);
        for (row, (max, sum)) in max.into_iter().zip(sum).enumerate() {
            let joined = found.max[row].max(max);
            let part = |sum: f64, max: f32| sum * f64::from(max - joined).exp();
            let before = if first > 0 { part(found.sum[row], found.max[row]) } else { 0.0 };
            found.sum[row] = before + part(f64::from(sum), max);
            found.max[row] = joined;
        }
        first += width;
    }
    Ok(found)
}
