//! AdamW.

use crate::kernels::adamw::{Coefficients, step};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// `AdamW` (Loshchilov and Hutter 2019), two numbers a parameter. The default is that of `PyTorch`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Share of the first moment that stays at every step.
    pub beta_1: f64,
    /// Share of the second moment that stays at every step.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// What weights lose at every step, as a share of the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// First and second moments of the gradients of a buffer, `[rows, cols]` each, f32.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Running mean of gradients.
    pub first: Tensor<2>,
    /// Running mean of their squares.
    pub second: Tensor<2>,
}

impl Moments {
    /// Zeros, for weights of the shape of `gradient`.
    pub fn zeros_like(gradient: &Tensor<2>) -> Self {
        Self { first: gradient.zeros_like(), second: gradient.zeros_like() }
    }
}

impl AdamW {
    /// The weights `[rows, cols]` after step `number` (from 1) against `gradient`, which counts
    /// `gradient_scale` times.
    pub fn step(
        &self,
        weight: Tensor<2>,
        gradient: &Tensor<2>,
        moments: &mut Option<Moments>,
        number: i32,
        lr: f64,
        gradient_scale: f64,
    ) -> Tensor<2> {
        let Moments { first, second } = moments.take().unwrap_or_else(|| Moments::zeros_like(gradient));
        let numbers = Coefficients {
            beta_1: self.beta_1 as f32,
            beta_2: self.beta_2 as f32,
            gradient_scale: gradient_scale as f32,
            keep: (1.0 - lr * self.weight_decay) as f32,
            rate: (lr / (1.0 - self.beta_1.powi(number))) as f32,
            root_scale: (1.0 - self.beta_2.powi(number)).sqrt().recip() as f32,
            epsilon: self.epsilon as f32,
        };
        let [weight, first, second] = step(weight, first, second, gradient, numbers);
        *moments = Some(Moments { first, second });
        weight
    }
}
