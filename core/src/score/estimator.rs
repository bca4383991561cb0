//! How gradients become scores. Adding an estimator touches this file alone.

#[cfg(feature = "autodiff")]
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A definition of a parameter's score from the gradients `g_b` of `B` batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// `|1/B Σ g_b| · |θ|`: equation 2 with the loss over the whole data set.
    #[default]
    Signed,
    /// `(1/B Σ |g_b|) · |θ|`.
    Abs,
}

impl Estimator {
    /// All estimators, for help texts.
    pub const ALL: [Self; 2] = [Self::Signed, Self::Abs];

    /// Name as in commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Abs => "abs",
        }
    }

    /// Adds one batch's gradient to the running sum; both `[n]`, f32.
    #[cfg(feature = "autodiff")]
    pub(super) fn accumulate(self, sum: Tensor<1>, gradient: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Signed => sum + gradient,
            Self::Abs => sum + gradient.abs(),
        }
    }

    /// The scores from the sum over `batches` and the weights; all `[n]`, f32.
    #[cfg(feature = "autodiff")]
    pub(super) fn finish(self, sum: Tensor<1>, weight: Tensor<1>, batches: usize) -> Tensor<1> {
        let mean = sum.div_scalar(batches as f64);
        match self {
            Self::Signed => mean.abs() * weight.abs(),
            Self::Abs => mean * weight.abs(),
        }
    }
}
