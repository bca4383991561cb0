//! Where a model's weights come from: a checkpoint's safetensors files, or a web pack.

use crate::model::MappedFile;
use crate::pack::PackSource;
use codingspot_core::checkpoint::{CheckpointError, SafetensorsSource, TensorInfo, TensorSource};
use std::borrow::Cow;
use std::ops::Range;

/// Weights on disk.
#[derive(Debug)]
pub(crate) enum Weights {
    /// As they were published.
    Checkpoint(SafetensorsSource<MappedFile>),
    /// As a page fetches them.
    Pack(Box<PackSource>),
}

impl Weights {
    /// What the tensor at `index` is stored as.
    pub(crate) fn stored_as(&self, index: usize) -> &'static str {
        match self {
            Self::Checkpoint(source) => source.tensors()[index].dtype.name(),
            Self::Pack(source) => source.manifest().tensors[index].encoding.name(),
        }
    }
}

impl TensorSource for Weights {
    fn tensors(&self) -> &[TensorInfo] {
        match self {
            Self::Checkpoint(source) => source.tensors(),
            Self::Pack(source) => source.tensors(),
        }
    }

    async fn read(&self, index: usize, range: Range<u64>) -> Result<Cow<'_, [u8]>, CheckpointError> {
        match self {
            Self::Checkpoint(source) => source.read(index, range).await,
            Self::Pack(source) => source.read(index, range).await,
        }
    }
}
