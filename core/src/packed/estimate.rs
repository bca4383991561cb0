//! What a packed model will need, before anything is fetched.

use super::PackedError;
use super::place::Places;
use crate::config::LlamaConfig;
use crate::kernels::packed::{MAX_ROWS, STATISTICS_WORDS};
use crate::layout::ParameterLayout;
use codingspot_pack::Encoding;

/// Bytes on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Of weights.
    pub weight_bytes: u64,
    /// Of keys, values, activations and the table of angles.
    pub context_bytes: u64,
    /// Of the largest buffer.
    pub largest_bytes: u64,
}

/// What a model of this shape needs, held as `encoding` with sequences of up to `context` tokens.
///
/// # Errors
/// [`PackedError::Shape`] when it can't be held so.
pub fn memory_needs(
    config: &LlamaConfig,
    encoding: Encoding,
    context: usize,
) -> Result<MemoryNeeds, PackedError> {
    let places = Places::new(config, &ParameterLayout::new(config), encoding)?;
    let buffers = places.shapes.iter().flat_map(|shape| {
        let (rows, cols) = (shape.rows as u64, shape.cols as u64);
        [shape.encoding.num_words(rows, cols) * 4, shape.encoding.num_scale_words(rows, cols) * 4]
    });
    let (weight_bytes, largest_weight) =
        buffers.fold((0, 0), |(sum, largest), bytes| (sum + bytes, bytes.max(largest)));
    let capacity =
        (context.clamp(1, config.max_position_embeddings).next_multiple_of(MAX_ROWS) + MAX_ROWS) as u64;
    let kv = (config.num_key_value_heads * config.head_dim) as u64;
    let cache = capacity * kv * 4;
    let rows = MAX_ROWS as u64 * 4;
    let wide = 2 * config.hidden_size
        + config.intermediate_size
        + 3 * config.num_attention_heads * config.head_dim
        + 2 * config.num_key_value_heads * config.head_dim;
    let logits = rows * config.vocab_size as u64;
    let scratch = rows * (wide + STATISTICS_WORDS) as u64 + logits + logits / MAX_ROWS as u64;
    let context_bytes =
        2 * config.num_hidden_layers as u64 * cache + scratch + capacity * config.head_dim as u64 * 4;
    Ok(MemoryNeeds { weight_bytes, context_bytes, largest_bytes: largest_weight.max(cache).max(logits) })
}
