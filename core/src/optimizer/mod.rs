//! How gradients move weights: what training from scratch and the fine-tuning of a scoring share.

mod adamw;
mod muon;

pub use adamw::{AdamW, Moments};
pub use muon::{Momentum, Muon};

use crate::llama::{Llama, WeightMut};
use crate::score::SumKey;
use burn::tensor::Tensor;

/// Replaces one buffer of weights, as named by `key`, by what `moved` makes of it. A vector comes as
/// one row, `[1, width]`; a band of a vocabulary matrix as its rows.
pub(crate) fn move_buffer(model: &mut Llama, key: SumKey, moved: impl FnOnce(Tensor<2>) -> Tensor<2>) {
    match model.weight_mut(key.tensor) {
        WeightMut::Vector(tensor) => {
            let [width] = tensor.dims();
            tensor.inplace(|weight| moved(weight.reshape([1, width])).reshape([width]));
        }
        WeightMut::Matrix(tensor) => tensor.inplace(moved),
        WeightMut::Vocabulary(matrix) => {
            if let Some((band, ..)) = matrix.bands_mut().nth(key.band) {
                band.inplace(moved);
            }
        }
    }
}
