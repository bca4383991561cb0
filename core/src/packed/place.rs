//! Where each tensor of the layout lies in the buffers of a packed model.
//!
//! Matrices that read the same input lie in one buffer, so that one launch computes them: queries, keys and values; gate
//! and up. The embedding and the head are cut into bands that every GPU binds.

use super::PackedError;
use crate::config::LlamaConfig;
use crate::layout::{Module, ParameterLayout, TensorSpec};
use codingspot_pack::Encoding;

/// Largest buffer, bytes: WebGPU's default `maxStorageBufferBindingSize`.
const MAX_BUFFER_BYTES: usize = 128 << 20;

/// One buffer of a packed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// A band of the embedding.
    Embedding(usize),
    /// A band of the head.
    Head(usize),
    /// Queries', keys' and values' rows of a layer.
    Qkv(usize),
    /// Their biases.
    QkvBias(usize),
    /// The output projection.
    Output(usize),
    /// Its bias.
    OutputBias(usize),
    /// Gate's and up's rows.
    GateUp(usize),
    /// The down projection.
    Down(usize),
    /// The gain before attention.
    InputNorm(usize),
    /// The gain before the MLP.
    PostNorm(usize),
    /// The last gain.
    Norm,
}

/// A run of a tensor's elements in one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The tensor, as an index of the layout.
    pub(super) tensor: usize,
    /// The buffer.
    pub(super) slot: Slot,
    /// How it is held.
    pub(super) encoding: Encoding,
    /// The buffer's element that is the part's first.
    pub(super) base: usize,
    /// The tensor's element that is the part's first.
    pub(super) first: u64,
    /// Elements.
    pub(super) len: u64,
}

/// A buffer to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) slot: Slot,
    pub(super) encoding: Encoding,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// All buffers and where tensors lie in them.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) shapes: Vec<Shape>,
    /// In the order of tensors, those of a tensor in the order of its elements.
    pub(super) parts: Vec<Part>,
    /// By tensor, the index of its first part; one more at the end.
    first_part: Vec<usize>,
    /// Rows of a vocabulary's band, all but the last.
    pub(super) band_rows: usize,
}

impl Places {
    /// For a model whose matrices are to be held as `encoding` where their width allows it.
    pub(super) fn new(
        config: &LlamaConfig,
        layout: &ParameterLayout,
        encoding: Encoding,
    ) -> Result<Self, PackedError> {
        let hidden = config.hidden_size;
        let vocabulary_encoding = encoding.for_cols(hidden as u64);
        let band_rows = band_rows(vocabulary_encoding, hidden);
        let mut places = Self { shapes: Vec::new(), parts: Vec::new(), first_part: Vec::new(), band_rows };
        for (tensor, spec) in layout.tensors().iter().enumerate() {
            places.first_part.push(places.parts.len());
            if spec.module.is_vocabulary() {
                places.vocabulary(tensor, spec, vocabulary_encoding);
            } else {
                places.block(tensor, spec, config, encoding)?;
            }
        }
        places.first_part.push(places.parts.len());
        Ok(places)
    }

    /// The parts of a tensor.
    pub(super) fn of(&self, tensor: usize) -> std::ops::Range<usize> {
        self.first_part[tensor]..self.first_part[tensor + 1]
    }

    /// The part of a tensor's element, and the element's offset in the part.
    pub(super) fn locate(&self, tensor: usize, offset: u64) -> Option<(usize, u32)> {
        let parts = self.of(tensor);
        let first = parts.start;
        let within = self.parts[parts].iter().position(|part| offset < part.first + part.len)?;
        let part = &self.parts[first + within];
        Some((first + within, u32::try_from(offset - part.first).ok()?))
    }

    fn vocabulary(&mut self, tensor: usize, spec: &TensorSpec, encoding: Encoding) {
        let (rows, cols) = (spec.shape[0], spec.shape[1]);
        for (band, start) in (0..rows).step_by(self.band_rows).enumerate() {
            let rows = self.band_rows.min(rows - start);
            let slot =
                if spec.module == Module::EmbedTokens { Slot::Embedding(band) } else { Slot::Head(band) };
            self.shapes.push(Shape { slot, encoding, rows, cols });
            let (first, len) = (start as u64 * cols as u64, rows as u64 * cols as u64);
            self.parts.push(Part { tensor, slot, encoding, base: 0, first, len });
        }
    }

    fn block(
        &mut self,
        tensor: usize,
        spec: &TensorSpec,
        config: &LlamaConfig,
        encoding: Encoding,
    ) -> Result<(), PackedError> {
        let layer = spec.layer.unwrap_or_default();
        let query = config.num_attention_heads * config.head_dim;
        let kv = config.num_key_value_heads * config.head_dim;
        let inner = config.intermediate_size;
        let hidden = config.hidden_size;
        // Buffer, its rows, and the tensor's first row in it.
        let (slot, all_rows, row) = match spec.module {
            Module::QProj => (Slot::Qkv(layer), query + 2 * kv, 0),
            Module::KProj => (Slot::Qkv(layer), query + 2 * kv, query),
            Module::VProj => (Slot::Qkv(layer), query + 2 * kv, query + kv),
            Module::QBias => (Slot::QkvBias(layer), query + 2 * kv, 0),
            Module::KBias => (Slot::QkvBias(layer), query + 2 * kv, query),
            Module::VBias => (Slot::QkvBias(layer), query + 2 * kv, query + kv),
            Module::OProj => (Slot::Output(layer), hidden, 0),
            Module::OBias => (Slot::OutputBias(layer), hidden, 0),
            Module::GateProj => (Slot::GateUp(layer), 2 * inner, 0),
            Module::UpProj => (Slot::GateUp(layer), 2 * inner, inner),
            Module::DownProj => (Slot::Down(layer), hidden, 0),
            Module::InputLayernorm => (Slot::InputNorm(layer), hidden, 0),
            Module::PostAttentionLayernorm => (Slot::PostNorm(layer), hidden, 0),
            Module::Norm => (Slot::Norm, hidden, 0),
            Module::EmbedTokens | Module::LmHead => unreachable!("bands are made elsewhere"),
        };
        let (cols, encoding) = match *spec.shape.as_slice() {
            [_, cols] => (cols, encoding.for_cols(cols as u64)),
            _ => (1, Encoding::F32),
        };
        if encoding.has_scales() && row * (cols / codingspot_pack::BLOCK) % 2 != 0 {
            return Err(PackedError::Shape {
                what: "the number of blocks before a stacked matrix",
                found: row * (cols / codingspot_pack::BLOCK),
                expected: "an even one",
            });
        }
        if row == 0 {
            self.shapes.push(Shape { slot, encoding, rows: all_rows, cols });
        }
        self.parts.push(Part { tensor, slot, encoding, base: row * cols, first: 0, len: spec.numel() });
        Ok(())
    }
}

/// Rows of a band: as many as a buffer holds, an even number so that scale words don't straddle.
fn band_rows(encoding: Encoding, cols: usize) -> usize {
    let row_bytes = (cols / encoding.per_word()).max(1) * 4;
    ((MAX_BUFFER_BYTES / row_bytes) & !1).max(2)
}
