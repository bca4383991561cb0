//! Grouped-query self-attention.

use super::{RotaryTable, linear};
use crate::config::LlamaConfig;
use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};

/// What a masked score gets added: far below any real score, so that its weight is exactly 0 in
/// f32, and finite, because WGSL promises nothing about infinities.
const MASKED: f32 = -1e9;

/// `o_proj(softmax(q·kᵀ / √d + mask)·v)`.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[query_heads · head_dim, hidden]`.
    pub q_proj: Tensor<2>,
    /// `[kv_heads · head_dim, hidden]`.
    pub k_proj: Tensor<2>,
    /// `[kv_heads · head_dim, hidden]`.
    pub v_proj: Tensor<2>,
    /// `[hidden, query_heads · head_dim]`.
    pub o_proj: Tensor<2>,
}

/// Additive mask `[1, 1, queries, keys]`: query `i` stands at position `start + i` and sees the
/// keys up to its own position.
pub(super) fn causal_mask(start: usize, queries: usize, keys: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..queries)
        .flat_map(|i| (0..keys).map(move |j| if j <= start + i { 0.0 } else { MASKED }))
        .collect();
    Tensor::from_data(TensorData::new(values, [1, 1, queries, keys]), (device, DType::F32))
}

/// Where the keys and values of earlier tokens are, and how many of them to read.
pub(super) struct Past<'a> {
    pub(super) keys_values: &'a mut (Tensor<4>, Tensor<4>),
    pub(super) start: usize,
    pub(super) rows: usize,
}

impl Attention {
    /// `[batch, seq, hidden]` → `[batch, seq, hidden]`, f32. `mask` is `[1, 1, seq, keys]`.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        config: &LlamaConfig,
        rope: &RotaryTable,
        mask: &Tensor<4>,
        past: Option<Past<'_>>,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let (heads, kv_heads, dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let group = heads / kv_heads;
        let split = |x: Tensor<3>, heads: usize| x.reshape([batch, seq, heads, dim]).swap_dims(1, 2);
        let start = past.as_ref().map_or(0, |past| past.start);

        let q = rope.rotate(split(linear(x.clone(), &self.q_proj), heads), start);
        let k = rope.rotate(split(linear(x.clone(), &self.k_proj), kv_heads), start);
        let v = split(linear(x, &self.v_proj), kv_heads);
        let (k, v) = match past {
            None => (k, v),
            Some(past) => past.extend(k, v),
        };
        let keys = k.dims()[2];

        // Query head h reads key head h / group, so the heads of a group lie side by side: one
        // matmul a key head, and the keys are never repeated.
        let q = (q * (dim as f64).sqrt().recip()).reshape([batch, kv_heads, group * seq, dim]);
        let scores = q.matmul(k.transpose()).reshape([batch * kv_heads, group, seq, keys]);
        let weights = softmax(scores + mask.clone(), 3);
        let mixed = weights
            .reshape([batch, kv_heads, group * seq, keys])
            .matmul(v)
            .reshape([batch, heads, seq, dim])
            .swap_dims(1, 2)
            .reshape([batch, seq, heads * dim]);
        linear(mixed, &self.o_proj)
    }
}

impl Past<'_> {
    /// Writes the new rows at `start` and returns the first `rows` rows of keys and values.
    fn extend(self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, seq, dim] = k.dims();
        let place = [0..batch, 0..heads, self.start..self.start + seq, 0..dim];
        let (keys, values) = self.keys_values;
        keys.inplace(|keys| keys.slice_assign(place.clone(), k));
        values.inplace(|values| values.slice_assign(place, v));
        (keys.clone().narrow(2, 0, self.rows), values.clone().narrow(2, 0, self.rows))
    }
}
