//! Safetensors files of a training.

use crate::atomic::write_with;
use crate::model::MappedFile;
use anyhow::Context as _;
use codingspot_core::checkpoint::{CheckpointDtype, SafetensorsSource, TensorSource as _, safetensors_head};
use codingspot_core::layout::ParameterLayout;
use codingspot_core::llama::Llama;
use codingspot_core::train::StateBuffer;
use safetensors::{Dtype, SafeTensors};
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// Name of the tensor of a stream of tokens, and of what it is made of.
const TOKENS: &str = "tokens";
const MADE_OF: &str = "made_of";

/// Writes a model's weights as transformers does, tensors ordered by name.
pub(crate) fn write_model(path: &Path, model: &Llama, dtype: CheckpointDtype) -> anyhow::Result<()> {
    let layout: &ParameterLayout = model.layout();
    let mut order: Vec<usize> = (0..layout.tensors().len()).collect();
    order.sort_by_key(|&index| &layout.tensors()[index].name);
    let specs = order.iter().map(|&index| &layout.tensors()[index]);
    let described = specs.map(|spec| (spec.name.clone(), dtype.to_safetensors(), spec.shape.clone()));
    let head = safetensors_head(&[("format", "pt")], described.collect())?;
    let mut tensors = Vec::with_capacity(order.len());
    for index in order {
        let values = pollster::block_on(model.read_weight(index))?;
        let mut bytes = Vec::new();
        dtype.extend_bytes(&values, &mut bytes);
        tensors.push(bytes);
    }
    write_with(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&head)?;
        tensors.iter().try_for_each(|bytes| file.write_all(bytes))?;
        file.flush()
    })
}

/// Writes the state of an optimizer.
pub(crate) fn write_state(path: &Path, state: &[StateBuffer]) -> anyhow::Result<()> {
    let described = state.iter().map(|buffer| (buffer.name.clone(), Dtype::F32, buffer.shape.to_vec()));
    let head = safetensors_head(&[], described.collect())?;
    write_with(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&head)?;
        state.iter().try_for_each(|buffer| file.write_all(bytemuck::cast_slice(&buffer.values)))?;
        file.flush()
    })
}

/// Reads the state of an optimizer.
pub(crate) fn read_state(path: &Path) -> anyhow::Result<Vec<StateBuffer>> {
    let refused = || format!("{} was refused", path.display());
    let file = MappedFile::open(path)?;
    let source = pollster::block_on(SafetensorsSource::open(vec![file])).with_context(refused)?;
    let read = |(stored, info): (usize, &codingspot_core::checkpoint::TensorInfo)| {
        let [rows, cols] = *info.shape.as_slice() else {
            anyhow::bail!("{} has shape {:?}; expected rows and columns", info.name, info.shape);
        };
        let bytes = pollster::block_on(source.read(stored, 0..info.num_bytes()))?;
        let mut values = Vec::new();
        info.dtype.extend_f32(&bytes, &mut values);
        Ok(StateBuffer { name: info.name.clone(), shape: [rows, cols], values })
    };
    source.tensors().iter().enumerate().map(read).collect::<anyhow::Result<_>>().with_context(refused)
}

/// Writes tokens, under a hash of what they are made of.
pub(crate) fn write_u32(path: &Path, made_of: &str, tokens: &[u32]) -> anyhow::Result<()> {
    let described = vec![(TOKENS.to_owned(), Dtype::U32, vec![tokens.len()])];
    let head = safetensors_head(&[(MADE_OF, made_of)], described)?;
    write_with(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&head)?;
        file.write_all(bytemuck::cast_slice(tokens))?;
        file.flush()
    })
}

/// Reads tokens and what they were made of; `None` where there are none.
pub(crate) fn read_tokens(path: &Path) -> anyhow::Result<Option<(String, Vec<u32>)>> {
    if !path.is_file() {
        return Ok(None);
    }
    let refused = || format!("{} was refused; remove it, and it is made again", path.display());
    let file = MappedFile::open(path)?;
    let (_, metadata) = SafeTensors::read_metadata(file.bytes()).with_context(refused)?;
    let made_of = metadata.metadata().as_ref().and_then(|map| map.get(MADE_OF)).cloned().unwrap_or_default();
    let tensors = SafeTensors::deserialize(file.bytes()).with_context(refused)?;
    let tensor = tensors.tensor(TOKENS).with_context(refused)?;
    anyhow::ensure!(tensor.dtype() == Dtype::U32, refused());
    let (words, _) = tensor.data().as_chunks::<4>();
    Ok(Some((made_of, words.iter().map(|word| u32::from_le_bytes(*word)).collect())))
}

/// Writes rows of one length, `per_step` of them a step, as `batches`, `[steps, per_step, length]`.
pub(crate) fn write_rows(path: &Path, rows: &[Vec<u32>], per_step: usize) -> anyhow::Result<()> {
    let length = rows.first().map_or(0, Vec::len);
    let shape = vec![rows.len() / per_step.max(1), per_step, length];
    let head = safetensors_head(&[], vec![("batches".to_owned(), Dtype::U32, shape)])?;
    write_with(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&head)?;
        rows.iter().try_for_each(|row| file.write_all(bytemuck::cast_slice(row)))?;
        file.flush()
    })
}
