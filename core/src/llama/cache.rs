//! Keys and values of the tokens so far.

use super::{Llama, RotaryTable};
use burn::tensor::{DType, Tensor};

/// Rows that attention reads are a multiple of this, so that few shapes occur (each new shape costs
/// a compilation and a tuning on a GPU).
const BUCKET: usize = 64;

/// Preallocated keys and values, `[batch, kv_heads, capacity, head_dim]` a layer, f32.
#[derive(Debug)]
pub struct KvCache {
    pub(super) layers: Vec<(Tensor<4>, Tensor<4>)>,
    pub(super) rope: RotaryTable,
    pub(super) length: usize,
    capacity: usize,
}

impl KvCache {
    /// For `batch` sequences of at most `capacity` tokens (rounded up to whole buckets).
    pub fn new(model: &Llama, batch: usize, capacity: usize) -> Self {
        let config = model.config();
        let capacity = capacity.next_multiple_of(BUCKET);
        let shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
        let device = model.device();
        let zeros = || Tensor::zeros(shape, (device, DType::F32));
        Self {
            layers: (0..config.num_hidden_layers).map(|_| (zeros(), zeros())).collect(),
            rope: RotaryTable::new(config, capacity, device),
            length: 0,
            capacity,
        }
    }

    /// Tokens in it.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all but the first `length` tokens.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Rows to read so that position `last` is among them.
    pub(super) fn bucket(&self, rows: usize) -> usize {
        rows.next_multiple_of(BUCKET).min(self.capacity)
    }
}
