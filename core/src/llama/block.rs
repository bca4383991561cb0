//! One transformer block.

use super::attention::Past;
use super::{Attention, Mlp, RmsNorm, RotaryTable};
use crate::config::LlamaConfig;
use burn::tensor::Tensor;

/// `x += self_attn(input_layernorm(x)); x += mlp(post_attention_layernorm(x))`.
#[derive(Debug, Clone)]
pub struct Block {
    /// Attention.
    pub self_attn: Attention,
    /// Gated MLP.
    pub mlp: Mlp,
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Norm before the MLP.
    pub post_attention_layernorm: RmsNorm,
}

impl Block {
    /// `[batch, seq, hidden]` → `[batch, seq, hidden]`, f32.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        config: &LlamaConfig,
        rope: &RotaryTable,
        mask: &Tensor<4>,
        past: Option<Past<'_>>,
    ) -> Tensor<3> {
        let attended =
            self.self_attn.forward(self.input_layernorm.forward(x.clone()), config, rope, mask, past);
        let x = x + attended;
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}
