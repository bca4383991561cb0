//! From rows of tensors, in any order, to a packed model.

use super::PackedError;
use super::model::{Layer, PackedLlama, Weights};
use super::place::{Places, Shape, Slot};
use crate::checkpoint::{CheckpointError, Fingerprint, FingerprintBuilder, LoadProgress, TensorSource};
use crate::config::LlamaConfig;
use crate::kernels::packed::{Compute, Heads, MAX_ROWS, PackedMatrix};
use crate::layout::ParameterLayout;
use codingspot_pack::{BLOCK, Encoding, PackedRows, pack_rows};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 8 << 20;

/// A packed model while its rows arrive.
#[derive(Debug)]
pub struct PackedLoader<C: Compute> {
    compute: C,
    config: LlamaConfig,
    layout: ParameterLayout,
    encoding: Encoding,
    places: Places,
    buffers: HashMap<Slot, PackedMatrix<C::Buffer>>,
    /// By tensor, rows that are there (they come in order).
    rows: Vec<usize>,
    context: usize,
}

impl<C: Compute> PackedLoader<C> {
    /// Reserves all buffers. `context` is the longest sequence, at most the config's.
    ///
    /// # Errors
    /// [`PackedError::Shape`].
    pub fn new(
        compute: C,
        config: &LlamaConfig,
        encoding: Encoding,
        context: usize,
    ) -> Result<Self, PackedError> {
        if config.head_dim % 2 != 0 {
            return Err(PackedError::Shape {
                what: "head_dim",
                found: config.head_dim,
                expected: "an even one",
            });
        }
        let layout = ParameterLayout::new(config);
        let places = Places::new(config, &layout, encoding)?;
        let buffers = places
            .shapes
            .iter()
            .map(|&Shape { slot, encoding, rows, cols }| {
                let size = |words: u64| {
                    usize::try_from(words).ok().ok_or(PackedError::Shape {
                        what: "a matrix",
                        found: rows,
                        expected: "fewer rows",
                    })
                };
                let (rows_, cols_) = (rows as u64, cols as u64);
                let words = compute.reserve(size(encoding.num_words(rows_, cols_))?);
                let scales = compute.reserve(size(encoding.num_scale_words(rows_, cols_))?.max(1));
                Ok((slot, PackedMatrix { encoding, rows, cols, words, scales }))
            })
            .collect::<Result<HashMap<_, _>, PackedError>>()?;
        let rows = vec![0; layout.tensors().len()];
        let context = context.clamp(1, config.max_position_embeddings);
        Ok(Self { compute, config: config.clone(), layout, encoding, places, buffers, rows, context })
    }

    /// The layout that tensors are named by.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// How tensor `index` is held.
    pub fn encoding_of(&self, index: usize) -> Encoding {
        self.places.parts[self.places.of(index).start].encoding
    }

    /// Rows that a piece of at most `bytes` unpacked bytes has: an even number of blocks, if it is not the whole tensor.
    fn rows_of(cols: usize, bytes: u64) -> usize {
        ((usize::try_from(bytes).unwrap_or(usize::MAX) / 4 / cols) & !1).max(2)
    }

    /// Puts the next rows of tensor `index` in place; a vector is rows of one column.
    ///
    /// # Errors
    /// [`PackedError::Rows`] when they are not the next ones, are more than there are, or are cut inside a scale word.
    pub fn push(&mut self, index: usize, packed: &PackedRows, encoding: Encoding) -> Result<(), PackedError> {
        let spec = &self.layout.tensors()[index];
        let refuse = |reason: String| PackedError::Rows { name: spec.name.clone(), reason };
        let (all_rows, cols) = match *spec.shape.as_slice() {
            [rows, cols] => (rows, cols),
            [rows] => (rows, 1),
            _ => unreachable!("the layout has vectors and matrices only"),
        };
        let expected = self.encoding_of(index);
        if encoding != expected {
            return Err(refuse(format!("it is held as {}, expected {}", encoding.name(), expected.name())));
        }
        let row_words = (cols / encoding.per_word()).max(1);
        let row_blocks = if encoding.has_scales() { cols / BLOCK } else { 0 };
        let rows = packed.words.len() / row_words;
        let first = self.rows[index];
        if rows * row_words != packed.words.len() || rows == 0 || first + rows > all_rows {
            return Err(refuse(format!(
                "{} words are not the next rows of {cols} columns; {first} of {all_rows} rows are there",
                packed.words.len()
            )));
        }
        if packed.scales.len() != (rows * row_blocks).div_ceil(2) || first * row_blocks % 2 != 0 {
            return Err(refuse("its scales are not those of whole rows".to_owned()));
        }
        let mut row = first;
        while row < first + rows {
            let (part, offset) = self
                .places
                .locate(index, row as u64 * cols as u64)
                .ok_or_else(|| refuse("too many rows".to_owned()))?;
            let part = &self.places.parts[part];
            let place = (part.base + offset as usize) / cols;
            let end = (usize::try_from((part.first + part.len) / cols as u64).unwrap_or(usize::MAX))
                .min(first + rows);
            let (from, to) = (row - first, end - first);
            let matrix = &self.buffers[&part.slot];
            self.compute.write(
                &matrix.words,
                place * row_words,
                &packed.words[from * row_words..to * row_words],
            );
            if row_blocks > 0 {
                let scales = &packed.scales[from * row_blocks / 2..(to * row_blocks).div_ceil(2)];
                self.compute.write(&matrix.scales, place * row_blocks / 2, scales);
            }
            row = end;
        }
        self.rows[index] += rows;
        Ok(())
    }

    /// The model, once all rows are there.
    ///
    /// # Errors
    /// [`PackedError::Rows`] with the first tensor that is not whole.
    pub fn finish(self) -> Result<PackedLlama<C>, PackedError> {
        let Self { compute, config, layout, encoding, places, mut buffers, rows, context } = self;
        for (spec, rows) in layout.tensors().iter().zip(rows) {
            if rows != spec.shape[0] {
                let reason = format!("{rows} of its {} rows came", spec.shape[0]);
                return Err(PackedError::Rows { name: spec.name.clone(), reason });
            }
        }
        let heads = Heads {
            query: config.num_attention_heads,
            kv: config.num_key_value_heads,
            dim: config.head_dim,
            capacity: context.next_multiple_of(MAX_ROWS) + MAX_ROWS,
        };
        let mut take = |slot: Slot| buffers.remove(&slot);
        let made = "every tensor of the layout has a buffer";
        let cache = || compute.reserve(heads.kv * heads.capacity * heads.dim);
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Layer {
                input_norm: take(Slot::InputNorm(layer)).expect(made).words,
                qkv: take(Slot::Qkv(layer)).expect(made),
                qkv_bias: take(Slot::QkvBias(layer)).map(|bias| bias.words),
                output: take(Slot::Output(layer)).expect(made),
                output_bias: take(Slot::OutputBias(layer)).map(|bias| bias.words),
                post_norm: take(Slot::PostNorm(layer)).expect(made).words,
                gate_up: take(Slot::GateUp(layer)).expect(made),
                down: take(Slot::Down(layer)).expect(made),
                keys: cache(),
                values: cache(),
            })
            .collect();
        let norm = take(Slot::Norm).expect(made).words;
        let bands = |of: fn(usize) -> Slot, take: &mut dyn FnMut(Slot) -> Option<PackedMatrix<C::Buffer>>| {
            (0..).map_while(|band| take(of(band))).collect::<Vec<_>>()
        };
        let embedding = bands(Slot::Embedding, &mut take);
        let head = (!config.tie_word_embeddings).then(|| bands(Slot::Head, &mut take));
        let weights = Weights { embedding, layers, norm, head };
        Ok(PackedLlama::new(compute, config, layout, encoding, places, weights, heads, context))
    }
}

/// Loads a checkpoint, packing each piece of 8 MiB as it comes; `on_progress` runs after each, and `Break` cancels.
///
/// # Errors
/// [`LoadError`].
pub async fn load_checkpoint<C: Compute, S: TensorSource>(
    mut loader: PackedLoader<C>,
    source: &S,
    mut on_progress: impl AsyncFnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<(PackedLlama<C>, Fingerprint), LoadError> {
    let layout = loader.layout.clone();
    crate::checkpoint::check_shapes(source, &layout)?;
    let wanted: Vec<(usize, usize)> = source
        .tensors()
        .iter()
        .enumerate()
        .filter_map(|(stored, info)| Some((stored, layout.index_of(&info.name)?)))
        .collect();
    let total_bytes = wanted.iter().map(|(stored, _)| source.tensors()[*stored].num_bytes()).sum();
    let mut progress = LoadProgress { done_bytes: 0, total_bytes };
    let mut fingerprint = FingerprintBuilder::new(layout.tensors().len());
    for (stored, index) in wanted {
        let info = &source.tensors()[stored];
        let (rows, cols) = match *info.shape.as_slice() {
            [rows, cols] => (rows, cols),
            _ => (info.shape.iter().product(), 1),
        };
        let encoding = loader.encoding_of(index);
        let mut hasher = blake3::Hasher::new();
        let step = PackedLoader::<C>::rows_of(cols, PIECE_BYTES);
        for start in (0..rows).step_by(step) {
            let end = (start + step).min(rows);
            let row_bytes = cols as u64 * info.dtype.size_bytes();
            let bytes = source.read(stored, start as u64 * row_bytes..end as u64 * row_bytes).await?;
            hasher.update(&bytes);
            let mut values = Vec::with_capacity((end - start) * cols);
            info.dtype.extend_f32(&bytes, &mut values);
            drop(bytes);
            if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
                let offset = start as u64 * cols as u64 + bad as u64;
                return Err(CheckpointError::NonFinite { name: info.name.clone(), offset }.into());
            }
            loader.push(index, &pack_rows(&values, cols, encoding), encoding)?;
            progress.done_bytes += (end - start) as u64 * row_bytes;
            if on_progress(progress).await.is_break() {
                return Err(CheckpointError::Cancelled.into());
            }
        }
        fingerprint.set(index, &info.name, info.dtype.name(), &info.shape, &hasher);
    }
    let fingerprint = fingerprint.finish().expect("check_shapes found every tensor of the layout");
    Ok((loader.finish()?, fingerprint))
}

/// Why a checkpoint did not become a packed model.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The packed form.
    #[error(transparent)]
    Packed(#[from] PackedError),
}
