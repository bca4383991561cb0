//! The Llama architecture, weights in Hugging Face layout under Hugging Face names; with biases of
//! attention it is Qwen2's, with a window of attention Mistral's.
//!
//! Source: transformers `modeling_llama.py`, `modeling_qwen2.py`, `modeling_mistral.py`. Matrices stay `[d_output, d_input]`, so an offset in
//! a spot is an offset in the checkpoint's tensor, and the transposed view is the layout that
//! decoding reads fastest.

mod attention;
mod backward;
mod block;
mod cache;
mod mlp;
mod model;
mod norm;
mod rope;
mod vocabulary;
mod weight;

pub use attention::{Attention, AttentionBiases};
pub use backward::{GradientSink, InputProbe, PassShape, SavedBlock};
pub use block::Block;
pub use cache::KvCache;
pub use mlp::Mlp;
pub use model::{ForwardError, Llama, LlamaParts};
pub(crate) use model::{check_tokens, read_f32};
pub use norm::RmsNorm;
pub use rope::RotaryTable;
pub(crate) use rope::angles as rotary_angles;
pub use vocabulary::VocabularyMatrix;
pub(crate) use weight::gather_flat;
pub use weight::{Weight, WeightMut, WeightRef};

pub(crate) use vocabulary::rows_per_band as vocabulary_rows_per_band;

use burn::tensor::Tensor;

/// `x · weightᵀ` for `x` of `[batch, seq, d_input]` and `weight` of `[d_output, d_input]`.
fn linear(x: Tensor<3>, weight: &Tensor<2>) -> Tensor<3> {
    let [batch, seq, d_input] = x.dims();
    let [d_output, _] = weight.dims();
    x.reshape([batch * seq, d_input]).matmul(weight.clone().transpose()).reshape([batch, seq, d_output])
}

/// [`linear`] and a bias of `[d_output]`, where there is one.
fn biased_linear(x: Tensor<3>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<3> {
    let y = linear(x, weight);
    match bias {
        Some(bias) => y + bias.clone().unsqueeze(),
        None => y,
    }
}
