//! Loss and gradients of one batch.

use super::ScoreError;
use crate::llama::{Llama, RotaryTable, WeightRef, read_f32};
use burn::tensor::{Gradients, Tensor};

/// Whole-graph autodiff: every activation of the batch is kept until the backward pass.
#[derive(Debug)]
pub struct WholeGraph {
    tracked: Llama,
    rope: RotaryTable,
}

impl WholeGraph {
    /// Tracks the weights of `model` (they are shared, not copied); `rope` is on the autodiff
    /// device.
    pub fn new(model: &Llama, rope: RotaryTable) -> Self {
        Self { tracked: model.tracked(), rope }
    }

    /// Mean next-token loss of `rows` in nats, and the gradient of every tensor of the layout as
    /// flat pieces (see [`WeightRef::flat_pieces`]), f32.
    ///
    /// # Errors
    /// [`ScoreError::Forward`] when the rows can't be run or the device fails.
    pub async fn loss_and_gradients(
        &self,
        rows: &[&[u32]],
    ) -> Result<(f64, Vec<Vec<Tensor<1>>>), ScoreError> {
        let loss = self.tracked.mean_loss(rows, &self.rope)?;
        let mut gradients = loss.backward();
        let by_tensor = (0..self.tracked.layout().tensors().len())
            .map(|index| take(self.tracked.weight(index), &mut gradients))
            .collect();
        let loss = read_f32(loss.inner()).await?;
        Ok((f64::from(loss[0]), by_tensor))
    }
}

fn take(weight: WeightRef<'_>, gradients: &mut Gradients) -> Vec<Tensor<1>> {
    match weight {
        WeightRef::Vector(tensor) => {
            vec![tensor.grad_remove(gradients).unwrap_or_else(|| tensor.clone().inner().zeros_like())]
        }
        WeightRef::Matrix(tensor) => vec![take_matrix(tensor, gradients)],
        WeightRef::Vocabulary(matrix) => {
            matrix.bands().iter().map(|band| take_matrix(band, gradients)).collect()
        }
    }
}

/// A band of an untied embedding that no token of the batch looked up has no gradient: zeros.
fn take_matrix(tensor: &Tensor<2>, gradients: &mut Gradients) -> Tensor<1> {
    let [rows, cols] = tensor.dims();
    tensor
        .grad_remove(gradients)
        .unwrap_or_else(|| tensor.clone().inner().zeros_like())
        .reshape([rows * cols])
}
