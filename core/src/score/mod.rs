//! Importance of every parameter for the languages of a corpus (paper, equations 1 to 3).
//!
//! `backward` yields the loss and the gradient of every tensor for one batch, `estimator` says how
//! gradients become scores, [`LanguageScorer`] runs the batches of one language, [`TotalScores`]
//! adds the languages up. Another way to get gradients replaces `backward` alone.

#[cfg(feature = "autodiff")]
mod backward;
mod estimator;
#[cfg(feature = "autodiff")]
mod language;

#[cfg(feature = "autodiff")]
pub use backward::WholeGraph;
pub use estimator::Estimator;
#[cfg(feature = "autodiff")]
pub use language::LanguageScorer;

use crate::llama::ForwardError;

/// Why a model could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The tokens can't be run.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The loss of a batch is NaN or infinite.
    #[error(
        "the loss of batch {batch} is {loss}: the weights or the arithmetic overflow; nothing was summed"
    )]
    NonFiniteLoss {
        /// Index of the batch within its language.
        batch: usize,
        /// The loss, nats.
        loss: f64,
    },
    /// A score is NaN or infinite.
    #[error("the score of {tensor} at offset {offset} is not finite; nothing was written")]
    NonFiniteScore {
        /// Tensor name.
        tensor: String,
        /// Offset in elements.
        offset: usize,
    },
    /// There was nothing to score on.
    #[error("no batch was scored: the corpus has fewer tokens than one sequence")]
    NoBatches,
}

/// What a language's batches gave.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageScores {
    /// Mean loss of each batch, nats per target token, in order.
    pub losses_nats: Vec<f64>,
    /// Scores by tensor of the layout, row-major, f32, finite and ≥ 0.
    pub scores: Vec<Vec<f32>>,
}

/// Sum of the languages' scores (equation 3), by tensor of the layout, f32 added in the order in
/// which languages are given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TotalScores {
    scores: Vec<Vec<f32>>,
}

impl TotalScores {
    /// Adds a language.
    pub fn add(&mut self, language: &LanguageScores) {
        if self.scores.is_empty() {
            self.scores.clone_from(&language.scores);
            return;
        }
        for (total, scores) in self.scores.iter_mut().zip(&language.scores) {
            for (total, score) in total.iter_mut().zip(scores) {
                *total += score;
            }
        }
    }

    /// The sums by tensor of the layout, row-major.
    pub fn tensors(&self) -> &[Vec<f32>] {
        &self.scores
    }
}
