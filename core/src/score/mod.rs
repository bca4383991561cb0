//! Importance of every parameter for the languages of a corpus (paper, equations 1 to 3).
//!
//! [`Scorer`] runs batches through a model and back and adds to [`Sums`] of gradients; [`Estimator`]
//! says what sums it needs and how they become scores; [`TotalScores`] adds the languages up.
//! [`LanguageScorer`] is all of that in memory; [`MemoryPlan`] says what a model needs. The slow
//! reference for the gradients is [`WholeGraph`].

#[cfg(feature = "autodiff")]
mod backward;
mod estimator;
mod first_order;
mod language;
mod pass;
mod plan;
mod sums;
mod tune;
mod weights;

#[cfg(feature = "autodiff")]
pub use backward::WholeGraph;
pub use estimator::{Estimator, Needs, TensorPart, has_inputs};
pub use first_order::first_order;
pub use language::LanguageScorer;
pub use pass::{Collect, InputSquares, Residency, Scorer};
pub use plan::{MemoryPlan, PlanError, PlanRequest};
pub use sums::{HostSums, SumKey, SumPart, Sums, add_parts, band_elements, bands};
pub use tune::{FineTune, Optimizer};
pub use weights::{StreamedWeights, WeightReader, Weights};

use crate::checkpoint::CheckpointError;
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
    /// A gradient left the range of its type.
    #[error(
        "the gradient of {} in batch {} is not finite, or too large to be summed; nothing of this batch was kept",
        .0.tensor, .0.batch
    )]
    NonFiniteGradient(NonFinite),
    /// The weights can't be read.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// Sums outside the device can't be read or kept.
    #[error("the sums of gradients can't be kept: {0}")]
    Sums(#[source] Box<dyn std::error::Error + Send + Sync>),
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

/// Where something stopped being finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonFinite {
    /// Index of the batch within its language.
    pub batch: usize,
    /// Tensor name.
    pub tensor: String,
}

impl ScoreError {
    /// The same, its batch counted from `first` on instead of from the start of the pass.
    #[must_use]
    pub fn in_batch(self, first: usize) -> Self {
        match self {
            Self::NonFiniteLoss { batch, loss } => Self::NonFiniteLoss { batch: first + batch, loss },
            Self::NonFiniteGradient(NonFinite { batch, tensor }) => {
                Self::NonFiniteGradient(NonFinite { batch: first + batch, tensor })
            }
            other => other,
        }
    }
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
