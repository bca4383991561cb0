//! Fine-tuning along which gradients are taken, as the paper does it: each step's gradient is summed
//! like a batch's, and then moves the weights. The tuned weights are dropped with the language.

use super::sums::SumKey;
use crate::llama::Llama;
use crate::optimizer::{AdamW, Moments, move_buffer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a gradient moves the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// [`AdamW`] with PyTorch's defaults: β 0.9 and 0.999, ε 1e-8, weight decay 0.01.
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

/// Weights on the move, and where they came from.
#[derive(Debug)]
pub(super) struct Tuner {
    settings: FineTune,
    original: Llama,
    moments: BTreeMap<SumKey, Option<Moments>>,
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
        let lr = self.settings.lr;
        match self.settings.optimizer {
            Optimizer::Sgd => move_buffer(model, key, |weight| weight - gradient * lr),
            Optimizer::AdamW => {
                let moments = self.moments.entry(key).or_default();
                move_buffer(model, key, |weight| {
                    AdamW::default().step(weight, &gradient, moments, self.step, lr, 1.0)
                });
            }
        }
    }
}
