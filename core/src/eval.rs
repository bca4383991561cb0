//! Loss of a model on documents.

use crate::llama::{ForwardError, Llama, RotaryTable, read_f32};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

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
        let hidden = model.hidden_states(&views, rope)?;
        let [count, seq, width] = hidden.dims();
        let hidden = hidden.slice([0..count, 0..seq - 1, 0..width]).reshape([count * (seq - 1), width]);
        let targets: Vec<u32> = padded.iter().flat_map(|row| row[1..].iter().copied()).collect();
        let nll = read_f32(model.token_nll(hidden, &targets)).await?;
        for (slot, nll) in batch.iter().zip(nll.chunks(seq - 1)) {
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
