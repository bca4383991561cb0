//! All batches of one language.

use super::{Estimator, LanguageScores, ScoreError, WholeGraph};
use crate::llama::{Llama, RotaryTable, read_f32};
use burn::tensor::Tensor;

/// Runs the batches of one language and turns gradients into scores.
#[derive(Debug)]
pub struct LanguageScorer {
    engine: WholeGraph,
    model: Llama,
    estimator: Estimator,
    accumulators: Vec<Vec<Tensor<1>>>,
    losses_nats: Vec<f64>,
}

impl LanguageScorer {
    /// For batches of sequences of `seq_len` tokens. Costs one accumulator of the model's size.
    pub fn new(model: &Llama, estimator: Estimator, seq_len: usize) -> Self {
        let rope = RotaryTable::new(model.config(), seq_len, &model.device().clone().autodiff());
        let accumulators = (0..model.layout().tensors().len())
            .map(|index| {
                model.weight(index).flat_pieces().into_iter().map(|piece| piece.zeros_like()).collect()
            })
            .collect();
        Self {
            engine: WholeGraph::new(model, rope),
            model: model.clone(),
            estimator,
            accumulators,
            losses_nats: Vec::new(),
        }
    }

    /// One forward and one backward pass over `rows`, all of one length; returns their mean loss
    /// in nats.
    ///
    /// # Errors
    /// [`ScoreError::Forward`], or [`ScoreError::NonFiniteLoss`] before anything is summed.
    pub async fn add_batch(&mut self, rows: &[&[u32]]) -> Result<f64, ScoreError> {
        let batch = self.losses_nats.len();
        let (loss, gradients) = self.engine.loss_and_gradients(rows).await?;
        if !loss.is_finite() {
            return Err(ScoreError::NonFiniteLoss { batch, loss });
        }
        for (accumulated, gradients) in self.accumulators.iter_mut().zip(gradients) {
            for (accumulated, gradient) in accumulated.iter_mut().zip(gradients) {
                accumulated.inplace(|sum| self.estimator.accumulate(sum, gradient));
            }
        }
        self.losses_nats.push(loss);
        Ok(loss)
    }

    /// The scores of all batches so far.
    ///
    /// # Errors
    /// [`ScoreError::NoBatches`], [`ScoreError::NonFiniteScore`], or a device that failed.
    pub async fn finish(self) -> Result<LanguageScores, ScoreError> {
        let batches = self.losses_nats.len();
        if batches == 0 {
            return Err(ScoreError::NoBatches);
        }
        let mut scores = Vec::with_capacity(self.accumulators.len());
        for (index, accumulated) in self.accumulators.into_iter().enumerate() {
            let weights = self.model.weight(index).flat_pieces();
            let mut tensor = Vec::new();
            for (sum, weight) in accumulated.into_iter().zip(weights) {
                tensor.extend(read_f32(self.estimator.finish(sum, weight, batches)).await?);
            }
            if let Some(offset) = tensor.iter().position(|score| !score.is_finite()) {
                let name = self.model.layout().tensors()[index].name.clone();
                return Err(ScoreError::NonFiniteScore { tensor: name, offset });
            }
            scores.push(tensor);
        }
        Ok(LanguageScores { losses_nats: self.losses_nats, scores })
    }
}
