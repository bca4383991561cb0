//! From a [`TensorSource`] to a model on a device, in bounded host memory.

use super::source::TensorSource;
use super::{CheckpointError, Fingerprint, FingerprintBuilder};
use crate::config::LlamaConfig;
use crate::layout::{ParameterLayout, TensorSpec};
use crate::llama::{Llama, LlamaParts, Weight};
use burn::tensor::Device;
use std::ops::ControlFlow;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 8 << 20;

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of weights on the device.
    pub done_bytes: u64,
    /// Bytes of weights in the checkpoint.
    pub total_bytes: u64,
}

/// A model with the fingerprint of the weights that it was loaded from.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model, weights in f32.
    pub model: Llama,
    /// Fingerprint of the stored weights.
    pub fingerprint: Fingerprint,
}

/// Loads every tensor that `config` implies, converting to f32 on the way.
///
/// Host memory holds one piece of 8 MiB and one buffer of at most 128 MiB (a norm, a matrix, or a
/// band of vocabulary rows). `on_progress` runs after each piece; `Break` cancels.
///
/// # Errors
/// [`CheckpointError`] when a tensor is missing, has another shape than the config implies, holds
/// a value that is not finite, can't be read, or when `on_progress` breaks.
pub async fn load_model<S: TensorSource>(
    source: &S,
    config: &LlamaConfig,
    device: &Device,
    mut on_progress: impl AsyncFnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<LoadedModel, CheckpointError> {
    let layout = ParameterLayout::new(config);
    check_shapes(source, &layout)?;
    // Checkpoints of tied models sometimes carry a copy of the head; what the layout doesn't name
    // is not read.
    let wanted: Vec<(usize, usize)> = source
        .tensors()
        .iter()
        .enumerate()
        .filter_map(|(stored, info)| Some((stored, layout.index_of(&info.name)?)))
        .collect();
    let total_bytes = wanted.iter().map(|(stored, _)| source.tensors()[*stored].num_bytes()).sum();
    let mut progress = LoadProgress { done_bytes: 0, total_bytes };
    let mut parts = LlamaParts::new(config, &layout);
    let mut fingerprint = FingerprintBuilder::new(layout.tensors().len());

    for (stored, index) in wanted {
        let info = &source.tensors()[stored];
        let spec = &layout.tensors()[index];
        let mut hasher = blake3::Hasher::new();
        let bands = bands(spec);
        let mut offset_bytes = 0;
        for band in bands {
            let end_bytes = offset_bytes + band.numel() as u64 * info.dtype.size_bytes();
            let mut values = Vec::with_capacity(band.numel());
            while offset_bytes < end_bytes {
                let next = (offset_bytes + PIECE_BYTES).min(end_bytes);
                let bytes = source.read(stored, offset_bytes..next).await?;
                hasher.update(&bytes);
                info.dtype.extend_f32(&bytes, &mut values);
                progress.done_bytes += next - offset_bytes;
                offset_bytes = next;
                if on_progress(progress).await.is_break() {
                    return Err(CheckpointError::Cancelled);
                }
            }
            if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
                let before = (end_bytes / info.dtype.size_bytes()) - band.numel() as u64;
                return Err(CheckpointError::NonFinite {
                    name: info.name.clone(),
                    offset: before + bad as u64,
                });
            }
            parts.push(index, Weight::upload(values, band.rows, band.cols, device));
        }
        fingerprint.set(index, &info.name, info.dtype.name(), &info.shape, &hasher);
    }
    let fingerprint = fingerprint.finish().expect("check_shapes found every tensor of the layout");
    Ok(LoadedModel { model: parts.assemble(device), fingerprint })
}

/// The fingerprint of a checkpoint's weights, without a device.
///
/// # Errors
/// [`CheckpointError`] when a tensor is missing, has another shape, or can't be read.
pub async fn fingerprint<S: TensorSource>(
    source: &S,
    layout: &ParameterLayout,
) -> Result<Fingerprint, CheckpointError> {
    check_shapes(source, layout)?;
    let mut builder = FingerprintBuilder::new(layout.tensors().len());
    for (stored, info) in source.tensors().iter().enumerate() {
        let Some(index) = layout.index_of(&info.name) else { continue };
        let mut hasher = blake3::Hasher::new();
        let mut start = 0;
        while start < info.num_bytes() {
            let end = (start + PIECE_BYTES).min(info.num_bytes());
            hasher.update(&source.read(stored, start..end).await?);
            start = end;
        }
        builder.set(index, &info.name, info.dtype.name(), &info.shape, &hasher);
    }
    Ok(builder.finish().expect("check_shapes found every tensor of the layout"))
}

/// A run of rows that becomes one device buffer; `rows` is `None` for a vector.
#[derive(Clone, Copy)]
struct Band {
    rows: Option<usize>,
    cols: usize,
}

impl Band {
    fn numel(self) -> usize {
        self.rows.unwrap_or(1) * self.cols
    }
}

fn bands(spec: &TensorSpec) -> Vec<Band> {
    match *spec.shape.as_slice() {
        [rows, cols] if spec.module.is_vocabulary() => {
            let step = crate::llama::vocabulary_rows_per_band(cols);
            (0..rows).step_by(step).map(|start| Band { rows: Some(step.min(rows - start)), cols }).collect()
        }
        [rows, cols] => vec![Band { rows: Some(rows), cols }],
        [cols] => vec![Band { rows: None, cols }],
        _ => unreachable!("the layout has vectors and matrices only"),
    }
}

pub(crate) fn check_shapes<S: TensorSource>(
    source: &S,
    layout: &ParameterLayout,
) -> Result<(), CheckpointError> {
    for spec in layout.tensors() {
        let Some(info) = source.tensors().iter().find(|info| info.name == spec.name) else {
            return Err(CheckpointError::MissingTensor {
                name: spec.name.clone(),
                expected: spec.shape.clone(),
            });
        };
        if info.shape != spec.shape {
            return Err(CheckpointError::ShapeMismatch {
                name: spec.name.clone(),
                found: info.shape.clone(),
                expected: spec.shape.clone(),
            });
        }
    }
    Ok(())
}
