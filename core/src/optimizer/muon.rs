//! Muon: momentum whose matrices are made orthogonal.

use crate::kernels::matmul::{product_nn, product_nt};
use crate::kernels::sums::sum_of_squares;
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// Coefficients of the polynomial that one Newton-Schulz iteration applies to singular values
/// (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon>).
const POLYNOMIAL: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Iterations: singular values end between 0.7 and 1.2.
const ITERATIONS: usize = 5;
/// Root mean square of an update, which is that of AdamW's, so that both take one learning rate and one
/// weight decay (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
const UPDATE_RMS: f64 = 0.2;

/// Muon for the matrices of linear layers, one number a parameter. Embedding, head and vectors are
/// AdamW's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Muon {
    /// Share of the momentum that stays at every step.
    pub momentum: f64,
    /// What weights lose at every step, as a share of the learning rate.
    pub weight_decay: f64,
}

impl Default for Muon {
    fn default() -> Self {
        Self { momentum: 0.95, weight_decay: 0.1 }
    }
}

/// Running sum of gradients, `[rows, cols]`, f32.
pub type Momentum = Tensor<2>;

impl Muon {
    /// The weights `[rows, cols]` after a step against `gradient`, which counts `gradient_scale` times;
    /// with Nesterov's momentum. Directions are made orthogonal by products in `dtype`, F32 or BF16: they
    /// need not be exact (Jordan et al. run them in BF16).
    pub fn step(
        &self,
        weight: Tensor<2>,
        gradient: &Tensor<2>,
        momentum: &mut Option<Momentum>,
        lr: f64,
        gradient_scale: f64,
        dtype: DType,
    ) -> Tensor<2> {
        let gradient = gradient.clone() * gradient_scale;
        let sum = match momentum.take() {
            Some(sum) => sum * self.momentum + gradient.clone(),
            None => gradient.clone(),
        };
        let [rows, cols] = weight.dims();
        let direction = orthogonal(gradient + sum.clone() * self.momentum, dtype);
        *momentum = Some(sum);
        let rate = lr * UPDATE_RMS * (rows.max(cols) as f64).sqrt();
        weight * (1.0 - lr * self.weight_decay) - direction * rate
    }
}

/// About `U·Vᵀ` of the singular value decomposition `U·Σ·Vᵀ` of `x`, `[rows, cols]`: singular values
/// become about 1, directions stay.
fn orthogonal(x: Tensor<2>, dtype: DType) -> Tensor<2> {
    let [rows, cols] = x.dims();
    // The smaller side squared is what is multiplied by itself.
    let wide = rows <= cols;
    let x = if wide { x } else { x.transpose() };
    let norm = sum_of_squares(&x).sqrt() + 1e-7;
    let mut x = x / norm.reshape([1, 1]);
    let [a, b, c] = POLYNOMIAL;
    for _ in 0..ITERATIONS {
        let rounded = x.clone().cast(dtype);
        let square = product_nt(&x, &rounded);
        let polynomial = product_nn(&square, &square.clone().cast(dtype)) * c + square * b;
        x = product_nn(&polynomial, &rounded) + x * a;
    }
    if wide { x } else { x.transpose() }
}
