//! Loss of a model on documents.

use crate::kernels::cross_entropy::{self, NO_TARGET};
use crate::kernels::matmul::product_nt;
use crate::llama::{ForwardError, Llama, PassShape, RotaryTable, check_tokens, read_f32};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Bytes of logits that exist at once, in f32.
const LOGITS_BYTES: usize = 64 << 20;

/// Loss of one document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DocumentLoss {
    /// Sum of the negative log-likelihood of its targets, nats.
    pub nats: f64,
    /// Number of targets.
    pub tokens: u64,
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Nats per target token.
    pub value: f64,
    /// Standard error over documents; `None` with fewer than two.
    pub stderr: Option<f64>,
    /// Targets.
    pub tokens: u64,
}

/// Losses of `rows` (each of two tokens or more, at most `rope.length()`), in their order.
///
/// Rows of similar length run together, padded at the end to the longest: causal attention keeps
/// padding out of every real token. `on_progress(done, total)` runs after each batch; on `Break`
/// the result is `None`.
///
/// # Errors
/// [`ForwardError`] when a row can't be run or the device fails.
pub async fn document_losses(
    model: &Llama,
    rows: &[Vec<u32>],
    batch_size: usize,
    rope: &RotaryTable,
    mut on_progress: impl AsyncFnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Vec<DocumentLoss>>, ForwardError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| rows[i].len());
    let mut losses = vec![DocumentLoss { nats: 0.0, tokens: 0 }; rows.len()];
    let mut done = 0;
    for batch in order.chunks(batch_size.max(1)) {
        let longest = batch.iter().map(|&i| rows[i].len()).max().unwrap_or(0);
        let padded: Vec<Vec<u32>> = batch
            .iter()
            .map(|&i| {
                let mut row = rows[i].clone();
                row.resize(longest, 0);
                row
            })
            .collect();
        let views: Vec<&[u32]> = padded.iter().map(Vec::as_slice).collect();
        let nll = token_losses(model, &views, rope).await?;
        for (slot, nll) in batch.iter().zip(nll.chunks(longest)) {
            let real = &nll[..rows[*slot].len() - 1];
            losses[*slot] = DocumentLoss {
                nats: real.iter().map(|&nats| f64::from(nats)).sum(),
                tokens: real.len() as u64,
            };
        }
        done += batch.len();
        if on_progress(done, rows.len()).await.is_break() {
            return Ok(None);
        }
    }
    Ok(Some(losses))
}

/// Negative log-likelihood in nats of the token after each position of `rows`, all of one length, row
/// after row; what stands at the last position of a row has no meaning.
///
/// Runs through the kernels of scoring, which on a CPU are several times as fast as the composed
/// forward pass of generation.
///
/// # Errors
/// [`ForwardError`] when the rows can't be run or the device fails.
pub async fn token_losses(
    model: &Llama,
    rows: &[&[u32]],
    rope: &RotaryTable,
) -> Result<Vec<f32>, ForwardError> {
    check_tokens(model.config(), rows)?;
    let seq = rows[0].len();
    if seq > rope.length() {
        return Err(ForwardError::TooLong { found: seq, limit: rope.length() });
    }
    if rows.iter().any(|row| row.len() != seq) {
        return Err(ForwardError::Empty);
    }
    let shape = PassShape::new(model.config(), rows.len(), rope, seq);
    let embedded = model.embed_tokens.lookup(&rows.concat(), model.device());
    let x = model.layers.iter().fold(embedded, |x, block| block.forward_saving(&x, &shape, &mut ()).0);
    let hidden = model.norm.rows(&x);
    let targets: Vec<u32> = rows.iter().flat_map(|row| row[1..].iter().copied().chain([NO_TARGET])).collect();
    let head = model.lm_head.as_ref().unwrap_or(&model.embed_tokens);
    let chunk = (LOGITS_BYTES / (4 * model.config().vocab_size)).max(64);
    let nll = (0..targets.len())
        .step_by(chunk)
        .map(|start| {
            let len = chunk.min(targets.len() - start);
            let hidden = hidden.clone().narrow(0, start, len);
            let mut first_row = 0;
            let parts = head
                .bands()
                .iter()
                .map(|band| {
                    let logits = product_nt(&hidden, band);
                    let part = cross_entropy::statistics(&logits, &targets[start..start + len], first_row);
                    first_row += band.dims()[0];
                    part
                })
                .collect();
            let (lse, target) = cross_entropy::log_sum_exp(parts);
            lse - target
        })
        .collect();
    read_f32(Tensor::<1>::cat(nll, 0)).await
}

/// Token-weighted mean loss. The standard error is that of a ratio estimator over documents
/// (Cochran, Sampling Techniques, 2.11), as tokens of one document are not independent.
pub fn mean_loss(losses: &[DocumentLoss]) -> Estimate {
    let tokens: u64 = losses.iter().map(|loss| loss.tokens).sum();
    let value = losses.iter().map(|loss| loss.nats).sum::<f64>() / tokens as f64;
    let n = losses.len() as f64;
    let stderr = (losses.len() > 1).then(|| {
        let squares: f64 = losses.iter().map(|loss| (loss.nats - value * loss.tokens as f64).powi(2)).sum();
        (n / (n - 1.0) * squares).sqrt() / tokens as f64
    });
    Estimate { value, stderr, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_is_weighted_by_tokens() {
        let losses = [DocumentLoss { nats: 3.0, tokens: 1 }, DocumentLoss { nats: 9.0, tokens: 5 }];
        let mean = mean_loss(&losses);
        assert!((mean.value - 2.0).abs() < 1e-12);
        // Residuals are +1 and −1: √(2/1 · 2) / 6.
        assert!((mean.stderr.unwrap() - 2.0 / 6.0).abs() < 1e-12);
        assert_eq!(mean_loss(&losses[..1]).stderr, None);
    }
}
