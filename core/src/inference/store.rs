//! Keys and values of any number of sequences, by rows.

use crate::kernels::span_attention::{SpanShape, move_rows, store_rows};
use crate::llama::{Llama, RotaryTable};
use burn::tensor::{DType, Tensor};
use std::ops::Range;

/// Keys and values, `[rows, kv_heads · head_dim]` each a layer, f32. Who owns which rows is the caller's to know.
#[derive(Debug)]
pub struct KvStore {
    layers: Vec<(Tensor<2>, Tensor<2>)>,
    rope: RotaryTable,
    rows: usize,
    shape: SpanShape,
}

impl KvStore {
    /// Room for `rows` tokens at positions below `positions`.
    pub fn new(model: &Llama, rows: usize, positions: usize) -> Self {
        let config = model.config();
        let width = config.num_key_value_heads * config.head_dim;
        let zeros = || Tensor::zeros([rows, width], (model.device(), DType::F32));
        Self {
            layers: (0..config.num_hidden_layers).map(|_| (zeros(), zeros())).collect(),
            rope: RotaryTable::new(config, positions, model.device()),
            rows,
            shape: SpanShape {
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                window: config.sliding_window,
            },
        }
    }

    /// Bytes of one token of `model`.
    pub fn bytes_per_row(model: &Llama) -> usize {
        let config = model.config();
        8 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    }

    /// Tokens that fit.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Positions that it has angles for.
    pub fn positions(&self) -> usize {
        self.rope.length()
    }

    pub(super) fn shape(&self) -> SpanShape {
        self.shape
    }

    pub(super) fn rope(&self) -> &RotaryTable {
        &self.rope
    }

    /// Writes a layer's new keys and values into `rows`, and returns all of that layer's.
    pub(super) fn write(
        &mut self,
        layer: usize,
        rows: &[usize],
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> (&Tensor<2>, &Tensor<2>) {
        let (keys, values) = &mut self.layers[layer];
        keys.inplace(|keys| store_rows(keys, rows, k));
        values.inplace(|values| store_rows(values, rows, v));
        (keys, values)
    }

    /// Copies `rows` to as many from `to` on, which lie before them.
    pub(super) fn move_rows(&mut self, rows: &Range<usize>, to: usize) {
        if rows.is_empty() {
            return;
        }
        for (keys, values) in &mut self.layers {
            keys.inplace(|keys| move_rows(keys, rows, to));
            values.inplace(|values| move_rows(values, rows, to));
        }
    }
}
