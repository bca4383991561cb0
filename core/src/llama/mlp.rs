//! The gated MLP.

use super::linear;
use burn::tensor::{Tensor, activation::silu};

/// `down_proj(silu(gate_proj(x)) ⊙ up_proj(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: Tensor<2>,
    /// `[intermediate, hidden]`.
    pub up_proj: Tensor<2>,
    /// `[hidden, intermediate]`.
    pub down_proj: Tensor<2>,
}

impl Mlp {
    /// `[batch, seq, hidden]` → `[batch, seq, hidden]`, f32.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = silu(linear(x.clone(), &self.gate_proj));
        linear(gate * linear(x, &self.up_proj), &self.down_proj)
    }
}
