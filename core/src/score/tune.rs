//! Fine-tuning along which gradients are taken, as the paper does it: each step's gradient is summed
//! like a batch's, and then moves the weights. The tuned weights are dropped with the language.

use super::sums::SumKey;
use crate::llama::{Llama, WeightMut};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a gradient moves the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// AdamW with PyTorch's defaults: β 0.9 and 0.999, ε 1e-8, weight decay 0.01 (Loshchilov and
    /// Hutter 2019). Two numbers a parameter.
    #[default]
    AdamW,
    /// Stochastic gradient descent without momentum.
    Sgd,
}

/// A fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FineTune {
    /// Steps of one batch each; batches come round again when there are fewer.
    pub steps: usize,
    /// Learning rate.
    pub lr: f64,
    /// Which update.
    pub optimizer: Optimizer,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;

/// Weights on the move, and where they came from.
#[derive(Debug)]
pub(super) struct Tuner {
    settings: FineTune,
    original: Llama,
    /// First and second moments of gradients.
    moments: BTreeMap<SumKey, (Tensor<2>, Tensor<2>)>,
    step: i32,
}

impl Tuner {
    pub(super) fn new(settings: FineTune, original: Llama) -> Self {
        Self { settings, original, moments: BTreeMap::new(), step: 0 }
    }

    /// Forgets all steps; returns the weights to begin with.
    pub(super) fn restart(&mut self) -> Llama {
        self.moments.clear();
        self.step = 0;
        self.original.clone()
    }

    /// Begins a step.
    pub(super) fn begin(&mut self) {
        self.step += 1;
    }

    /// Moves one buffer of weights, as named by `key`, against its gradient `[rows, cols]`.
    pub(super) fn update(&mut self, model: &mut Llama, key: SumKey, gradient: Tensor<2>) {
        let weight = model.weight_mut(key.tensor);
        match weight {
            WeightMut::Vector(tensor) => {
                let [width] = tensor.dims();
                tensor.inplace(|weight| self.moved(key, weight.unsqueeze(), gradient).reshape([width]));
            }
            WeightMut::Matrix(tensor) => {
                tensor.inplace(|weight| self.moved(key, weight, gradient));
            }
            WeightMut::Vocabulary(matrix) => {
                if let Some((band, ..)) = matrix.bands_mut().nth(key.band) {
                    band.inplace(|weight| self.moved(key, weight, gradient));
                }
            }
        }
    }

    fn moved(&mut self, key: SumKey, weight: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
        let lr = self.settings.lr;
        match self.settings.optimizer {
            Optimizer::Sgd => weight - gradient * lr,
            Optimizer::AdamW => {
                let (first, second) = self
                    .moments
                    .remove(&key)
                    .unwrap_or_else(|| (gradient.zeros_like(), gradient.zeros_like()));
                let first = first * BETA_1 + gradient.clone() * (1.0 - BETA_1);
                let second = second * BETA_2 + gradient.square() * (1.0 - BETA_2);
                let (bias_1, bias_2) = (1.0 - BETA_1.powi(self.step), 1.0 - BETA_2.powi(self.step));
                let direction = (first.clone() / bias_1) / ((second.clone() / bias_2).sqrt() + EPSILON);
                self.moments.insert(key, (first, second));
                weight * (1.0 - lr * WEIGHT_DECAY) - direction * lr
            }
        }
    }
}
