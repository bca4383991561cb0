//! What a platform provides: bytes by range, and on top of it tensors by name.

use super::{CheckpointDtype, CheckpointError};
use std::borrow::Cow;
use std::future::Future;
use std::ops::Range;

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("{file} can't be read: {reason}")]
pub struct SourceError {
    /// File or address, as a person knows it.
    pub file: String,
    /// What went wrong.
    pub reason: String,
}

/// Random access to the bytes of one file.
pub trait ByteSource {
    /// File name or address for messages.
    fn name(&self) -> &str;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether it is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `range`, which lies inside `0..len()`; exactly as many as asked for.
    ///
    /// # Errors
    /// [`SourceError`] when they can't be had.
    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Cow<'_, [u8]>, SourceError>>;
}

impl<B: ByteSource> ByteSource for &B {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Cow<'_, [u8]>, SourceError>> {
        (**self).read(range)
    }
}

/// Where a tensor lies and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Hugging Face name.
    pub name: String,
    /// Storage type.
    pub dtype: CheckpointDtype,
    /// Shape, row-major.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Bytes of storage.
    pub fn num_bytes(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product::<u64>() * self.dtype.size_bytes()
    }
}

/// Tensors by index, read in pieces.
pub trait TensorSource {
    /// The tensors, in the order in which reading them is sequential.
    fn tensors(&self) -> &[TensorInfo];

    /// Bytes `range` of the storage of tensor `index`.
    ///
    /// # Errors
    /// [`CheckpointError::Source`] when they can't be had.
    fn read(
        &self,
        index: usize,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Cow<'_, [u8]>, CheckpointError>>;
}

/// Bytes that are in memory already: an embedded model, a test, a dropped file.
#[derive(Debug, Clone)]
pub struct MemorySource<B> {
    name: String,
    bytes: B,
}

impl<B: AsRef<[u8]>> MemorySource<B> {
    /// Wraps `bytes` under the name that messages use.
    pub fn new(name: impl Into<String>, bytes: B) -> Self {
        Self { name: name.into(), bytes }
    }
}

impl<B: AsRef<[u8]>> ByteSource for MemorySource<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    async fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, SourceError> {
        let bounds = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok())
            .and_then(|(start, end)| self.bytes.as_ref().get(start..end));
        bounds.map(Cow::Borrowed).ok_or_else(|| SourceError {
            file: self.name.clone(),
            reason: format!("bytes {}..{} are past its end ({})", range.start, range.end, self.len()),
        })
    }
}
