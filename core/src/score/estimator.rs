//! How gradients, weights and activations become scores. Adding an estimator touches this file
//! (and, if it needs another sum over gradients, `kernels::sums`).

use crate::kernels::sums::Reduction;
use crate::layout::Module;
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A definition of a parameter's score, from the gradients `g_b` of `B` batches or without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// `|1/B Σ g_b| · |θ|`: equation 2 with the loss over the whole data set.
    #[default]
    Signed,
    /// `(1/B Σ |g_b|) · |θ|`.
    Abs,
    /// `(1/B Σ g_b²) · θ²`: the diagonal of the empirical Fisher information, batch by batch.
    Fisher,
    /// `|θ|`: no data at all.
    Magnitude,
    /// Uniform in `[0, 1)` by a seed and the parameter's position: no data, no weights.
    Random,
    /// `|W_ij| · √(1/n Σ_t x_tj²)` for the linear layers of blocks, `x` what they read at `n` tokens
    /// (Sun et al. 2024, "A Simple and Effective Pruning Approach for Large Language Models"); 0
    /// for embeddings, head, norms and biases.
    Wanda,
}

/// What has to be collected over the batches of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A sum over gradients.
    Gradients(Reduction),
    /// Squares of what linear layers read: forward passes only.
    Inputs,
    /// Nothing: the weights and their positions suffice.
    Nothing,
}

impl Estimator {
    /// All estimators, for help texts.
    pub const ALL: [Self; 6] =
        [Self::Signed, Self::Abs, Self::Fisher, Self::Magnitude, Self::Random, Self::Wanda];

    /// Name as in commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Abs => "abs",
            Self::Fisher => "fisher",
            Self::Magnitude => "magnitude",
            Self::Random => "random",
            Self::Wanda => "wanda",
        }
    }

    /// What it collects.
    pub fn needs(self) -> Needs {
        match self {
            Self::Signed => Needs::Gradients(Reduction::Signed),
            Self::Abs => Needs::Gradients(Reduction::Absolute),
            Self::Fisher => Needs::Gradients(Reduction::Square),
            Self::Wanda => Needs::Inputs,
            Self::Magnitude | Self::Random => Needs::Nothing,
        }
    }

    /// Turns a sum over gradients into the contribution of its parameters, in place: the sum times
    /// θ, |θ| or θ². Contributions of parts of a corpus add up; [`Self::score`] comes after.
    ///
    /// `scale` divides the loss scale out (1 without; it is a power of two, so that is exact).
    pub fn contribute(self, sums: &mut [f32], weights: &[f32], scale: f32) {
        debug_assert_eq!(sums.len(), weights.len());
        pieces(sums, |first, sums| {
            let pairs = sums.iter_mut().zip(&weights[first..]);
            match self {
                Self::Signed => pairs.for_each(|(sum, weight)| *sum = *sum * scale * weight),
                Self::Abs => pairs.for_each(|(sum, weight)| *sum = *sum * scale * weight.abs()),
                Self::Fisher => {
                    pairs.for_each(|(sum, weight)| *sum = *sum * (scale * scale) * (weight * weight));
                }
                Self::Magnitude | Self::Random | Self::Wanda => {}
            }
        });
    }

    /// Turns contributions of `batches` batches into scores, in place.
    pub fn score(self, contributions: &mut [f32], batches: u64) {
        let batches = batches as f32;
        pieces(contributions, |_, values| {
            values.iter_mut().for_each(|value| *value = value.abs() / batches);
        });
    }

    /// Scores without gradients of the `out.len()` parameters from `offset` on in a tensor.
    pub fn score_without_gradients(self, tensor: &TensorPart<'_>, out: &mut [f32]) {
        match self {
            Self::Magnitude => {
                out.iter_mut().zip(tensor.weights).for_each(|(out, weight)| *out = weight.abs());
            }
            Self::Random => uniform(tensor.seed, tensor.position, out),
            Self::Wanda => match tensor.input_rms {
                Some(rms) => {
                    let cols = rms.len();
                    let first = usize::try_from(tensor.offset % cols as u64).expect("below cols");
                    let rms = rms.iter().cycle().skip(first);
                    for ((out, weight), rms) in out.iter_mut().zip(tensor.weights).zip(rms) {
                        *out = weight.abs() * rms;
                    }
                }
                None => out.fill(0.0),
            },
            Self::Signed | Self::Abs | Self::Fisher => unreachable!("scores come from gradients"),
        }
    }
}

/// Calls `work(first, piece)` for pieces of `values`, in parallel where core may use threads.
fn pieces(values: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync + Send) {
    const PIECE: usize = 1 << 18;
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        values.par_chunks_mut(PIECE).enumerate().for_each(|(piece, values)| work(piece * PIECE, values));
    }
    #[cfg(not(feature = "rayon"))]
    {
        values.chunks_mut(PIECE).enumerate().for_each(|(piece, values)| work(piece * PIECE, values));
    }
}

/// A run of parameters to score without gradients.
#[derive(Debug, Clone, Copy)]
pub struct TensorPart<'a> {
    /// Its weights, f32.
    pub weights: &'a [f32],
    /// Offset of the first in its tensor.
    pub offset: u64,
    /// Position of the first in the model.
    pub position: u64,
    /// Root mean square of each input of a linear layer, `[d_input]`; `None` for other tensors.
    pub input_rms: Option<&'a [f32]>,
    /// Seed of random scores.
    pub seed: u64,
}

/// Whether Wanda defines scores for tensors of this module.
pub fn has_inputs(module: Module) -> bool {
    !module.is_norm() && !module.is_bias() && !module.is_vocabulary()
}

/// Random numbers of a position depend on seed and position alone, however the tensor is cut:
/// word `p` of the `ChaCha8` stream belongs to position `p`.
fn uniform(seed: u64, position: u64, out: &mut [f32]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_word_pos(u128::from(position));
    for out in out {
        // The upper 24 bits: every value is an exact f32 below 1.
        *out = (rng.next_u32() >> 8) as f32 / 16_777_216.0;
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn random_scores_depend_on_the_position_alone() {
        let mut whole = [0.0; 100];
        uniform(7, 1000, &mut whole);
        let mut part = [0.0; 13];
        uniform(7, 1037, &mut part);
        assert_eq!(part, whole[37..50]);
        assert!(whole.iter().all(|value| (0.0..1.0).contains(value)));
        uniform(8, 1037, &mut part);
        assert_ne!(part, whole[37..50]);
    }

    #[test]
    fn wanda_multiplies_columns() {
        let weights = [1.0, -2.0, 3.0, 4.0];
        let part = TensorPart {
            weights: &weights,
            offset: 5,
            position: 0,
            input_rms: Some(&[1.0, 10.0, 100.0]),
            seed: 0,
        };
        let mut out = [0.0; 4];
        Estimator::Wanda.score_without_gradients(&part, &mut out);
        assert_eq!(out, [100.0, 2.0, 30.0, 400.0]);
    }
}
