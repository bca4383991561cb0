//! Grouped-query self-attention.

use super::{RotaryTable, biased_linear};
use crate::config::LlamaConfig;
use crate::layout::Module;
use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};

/// What a masked score gets added: far below any real score, so that its weight is exactly 0 in
/// f32, and finite, because WGSL promises nothing about infinities.
const MASKED: f32 = -1e9;

/// `o_proj(softmax(q·kᵀ / √d + mask)·v)`, each projection with its bias if it has one.
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
    /// The biases.
    pub biases: AttentionBiases,
}

/// What the projections of attention add, where a model has it.
#[derive(Debug, Clone, Default)]
pub struct AttentionBiases {
    /// `[query_heads · head_dim]`.
    pub q: Option<Tensor<1>>,
    /// `[kv_heads · head_dim]`.
    pub k: Option<Tensor<1>>,
    /// `[kv_heads · head_dim]`.
    pub v: Option<Tensor<1>>,
    /// `[hidden]`.
    pub o: Option<Tensor<1>>,
}

impl AttentionBiases {
    /// The bias that `module` names, if the model has it and it is one.
    pub fn get(&self, module: Module) -> Option<&Tensor<1>> {
        match module {
            Module::QBias => self.q.as_ref(),
            Module::KBias => self.k.as_ref(),
            Module::VBias => self.v.as_ref(),
            Module::OBias => self.o.as_ref(),
            _ => None,
        }
    }

    /// The place of the bias that `module` names.
    ///
    /// # Panics
    /// When `module` is no bias.
    pub(crate) fn slot(&mut self, module: Module) -> &mut Option<Tensor<1>> {
        match module {
            Module::QBias => &mut self.q,
            Module::KBias => &mut self.k,
            Module::VBias => &mut self.v,
            Module::OBias => &mut self.o,
            _ => unreachable!("{module:?} is no bias"),
        }
    }

    /// The same biases with `f` applied to each.
    #[cfg(feature = "autodiff")]
    pub(super) fn map(&self, f: impl Fn(&Tensor<1>) -> Tensor<1>) -> Self {
        let of = |bias: &Option<Tensor<1>>| bias.as_ref().map(&f);
        Self { q: of(&self.q), k: of(&self.k), v: of(&self.v), o: of(&self.o) }
    }
}

/// Additive mask `[1, 1, queries, keys]`: query `i` stands at position `start + i` and sees the
/// keys up to its own position, the last `window` of them if there is a window.
pub(super) fn causal_mask(
    start: usize,
    queries: usize,
    keys: usize,
    window: Option<usize>,
    device: &Device,
) -> Tensor<4> {
    let sees = |at: usize, key: usize| key <= at && window.is_none_or(|window| at - key < window);
    let values: Vec<f32> = (0..queries)
        .flat_map(|i| (0..keys).map(move |j| if sees(start + i, j) { 0.0 } else { MASKED }))
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

        let AttentionBiases { q, k, v, o } = &self.biases;
        let q = rope.rotate(split(biased_linear(x.clone(), &self.q_proj, q.as_ref()), heads), start);
        let k = rope.rotate(split(biased_linear(x.clone(), &self.k_proj, k.as_ref()), kv_heads), start);
        let v = split(biased_linear(x, &self.v_proj, v.as_ref()), kv_heads);
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
        biased_linear(mixed, &self.o_proj, o.as_ref())
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
