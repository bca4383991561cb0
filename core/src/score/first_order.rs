//! What the gradient says the loss will do: the first-order effect of removing each parameter.

use super::pass::{Collect, Residency, Scorer};
use super::sums::Sums;
use super::weights::Weights;
use super::{Estimator, ScoreError};
use crate::kernels::sums::Reduction;
use crate::llama::{ForwardError, Llama};
use std::ops::ControlFlow;

/// Contributions `θ · ∂L/∂θ` of every parameter, where L is the token-weighted mean loss (nats) of
/// `rows`, each of two tokens or more.
///
/// To first order `L(θ = 0) − L = −θ · ∂L/∂θ`: a parameter with a positive contribution is predicted
/// to lower the loss when it is removed. `visit(tensor, first, values)` gets them tensor by tensor,
/// bands of vocabulary matrices one after another, `first` being the offset of the first value.
/// `on_progress(done, total)` counts rows; on `Break` nothing is visited and the result is `false`.
///
/// Cost: one forward and one backward pass over the rows. Memory: the weights twice on the device
/// (themselves and the sums), activations of a batch, one band on the host.
///
/// # Errors
/// [`ScoreError`], or what `visit` returns.
pub async fn first_order<E: From<ScoreError>>(
    model: &Llama,
    rows: &[&[u32]],
    batch_size: usize,
    mut on_progress: impl AsyncFnMut(usize, usize) -> ControlFlow<()>,
    mut visit: impl FnMut(usize, u64, &[f32]) -> Result<(), E>,
) -> Result<bool, E> {
    let failed = |error: ForwardError| E::from(ScoreError::Forward(error));
    let seq_len = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let targets: u64 = rows.iter().map(|row| row.len().saturating_sub(1) as u64).sum();
    if targets == 0 {
        return Err(failed(ForwardError::Empty));
    }
    let collect = Collect { reductions: vec![Reduction::Signed], inputs: false };
    let residency = Residency { keep_activations: true, stream_head: false };
    let weights = Weights::Resident(Box::new(model.clone()));
    let mut scorer = Scorer::new(weights, model.config(), model.device(), seq_len, residency, &collect, 1.0)
        .with_divisor(targets);
    let mut sums = Sums::on_device(model.device());
    // Rows of similar length together, as padding costs time.
    let mut order: Vec<&[u32]> = rows.to_vec();
    order.sort_by_key(|row| row.len());
    let mut done = 0;
    for (number, batch) in order.chunks(batch_size.max(1)).enumerate() {
        scorer.pass(&[batch], &mut sums).await.map_err(|error| error.in_batch(number))?;
        done += batch.len();
        if on_progress(done, rows.len()).await.is_break() {
            return Ok(false);
        }
    }
    drop(scorer);
    let layout = model.layout();
    let mut weights: (Option<usize>, Vec<f32>) = (None, Vec::new());
    let mut first = 0;
    // Keys come in the order of tensors and bands.
    sums.read_whole(async |key, mut values| -> Result<(), E> {
        if weights.0 != Some(key.tensor) {
            weights = (Some(key.tensor), model.read_weight(key.tensor).await.map_err(failed)?);
            first = 0;
        }
        let theta = &weights.1[first..first + values.len()];
        Estimator::Signed.contribute(&mut values, theta, 1.0);
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let tensor = layout.tensors()[key.tensor].name.clone();
            return Err(ScoreError::NonFiniteScore { tensor, offset: first + index }.into());
        }
        visit(key.tensor, first as u64, &values)?;
        first += values.len();
        Ok(())
    })
    .await?;
    Ok(true)
}
