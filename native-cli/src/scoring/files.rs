//! Files of one f32 value a parameter, written in any order and read in pieces.

use crate::model::MappedFile;
use crate::selection::ScoreFile;
use anyhow::Context as _;
use codingspot_core::checkpoint::CheckpointDtype;
use codingspot_core::layout::TensorSpec;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A safetensors file of f32 tensors under Hugging Face names, filled piece by piece.
#[derive(Debug)]
pub(crate) struct ValueWriter {
    file: File,
    path: PathBuf,
    /// Byte at which each tensor of the layout begins.
    starts: Vec<u64>,
}

impl ValueWriter {
    /// Creates `path` with room for `tensors`, the first of a layout, all zero.
    pub(crate) fn create(path: &Path, tensors: &[TensorSpec]) -> anyhow::Result<Self> {
        let header = header(tensors);
        let elements: u64 = tensors.iter().map(TensorSpec::numel).sum();
        let data_start = 8 + header.len() as u64;
        let create = || -> std::io::Result<File> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(header.as_bytes())?;
            file.set_len(data_start + 4 * elements)?;
            Ok(file)
        };
        let file = create().with_context(|| format!("{} can't be written", path.display()))?;
        let starts = tensors.iter().map(|tensor| data_start + 4 * tensor.start).collect();
        Ok(Self { file, path: path.to_owned(), starts })
    }

    /// Writes values from element `first` of tensor `tensor` on.
    pub(crate) fn write(&mut self, tensor: usize, first: u64, values: &[f32]) -> anyhow::Result<()> {
        let mut write = || {
            self.file.seek(SeekFrom::Start(self.starts[tensor] + 4 * first))?;
            if cfg!(target_endian = "little") {
                self.file.write_all(bytemuck::cast_slice(values))
            } else {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                self.file.write_all(&bytes)
            }
        };
        write().with_context(|| format!("{} can't be written", self.path.display()))
    }

    /// Reads elements `range` of tensor `tensor` back.
    pub(crate) fn read(&mut self, tensor: usize, range: Range<u64>) -> anyhow::Result<Vec<f32>> {
        let mut bytes = vec![0_u8; usize::try_from(4 * (range.end - range.start))?];
        let mut read = || {
            self.file.seek(SeekFrom::Start(self.starts[tensor] + 4 * range.start))?;
            self.file.read_exact(&mut bytes)
        };
        read().with_context(|| format!("{} can't be read", self.path.display()))?;
        let mut values = vec![0.0; bytes.len() / 4];
        CheckpointDtype::F32.convert(&bytes, &mut values);
        Ok(values)
    }

    /// Makes sure that everything is on the disk.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("{} can't be written", self.path.display()))
    }
}

/// The header of a file whose tensors lie in layout order without gaps, padded so that they are
/// aligned.
fn header(tensors: &[TensorSpec]) -> String {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    for tensor in tensors {
        header.insert(
            tensor.name.clone(),
            serde_json::json!({
                "dtype": "F32",
                "shape": tensor.shape,
                "data_offsets": [4 * tensor.start, 4 * (tensor.start + tensor.numel())],
            }),
        );
    }
    let mut text = serde_json::Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    text
}

/// Reads what [`ValueWriter`] wrote.
#[derive(Debug)]
pub(crate) struct ValueReader {
    file: ScoreFile,
}

impl ValueReader {
    pub(crate) fn open(path: &Path, tensors: &[TensorSpec]) -> anyhow::Result<Self> {
        Ok(Self { file: ScoreFile::open(&[path.to_owned()], tensors)? })
    }

    /// Elements `range` of tensor `tensor`.
    pub(crate) fn read(&self, tensor: usize, range: Range<u64>) -> anyhow::Result<Vec<f32>> {
        self.file.read(tensor, range)
    }
}

/// Writes a safetensors file of vectors by name.
pub(crate) fn write_vectors(path: &Path, vectors: &[(String, Vec<f32>)]) -> anyhow::Result<()> {
    use safetensors::tensor::{Dtype, TensorView};
    let bytes: Vec<Vec<u8>> = vectors
        .iter()
        .map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = vectors
        .iter()
        .zip(&bytes)
        .map(|((name, values), bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, vec![values.len()], bytes)?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    crate::atomic::write_file(path, &safetensors::serialize(views, None)?)
}

/// Reads what [`write_vectors`] wrote.
pub(crate) fn read_vectors(path: &Path) -> anyhow::Result<Vec<(String, Vec<f32>)>> {
    let file = MappedFile::open(path)?;
    let tensors = safetensors::SafeTensors::deserialize(file.bytes())
        .with_context(|| format!("{} was refused", path.display()))?;
    Ok(tensors
        .iter()
        .map(|(name, view)| {
            let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            (name.to_owned(), values.collect())
        })
        .collect())
}
