//! Checkpoints: bytes from anywhere → named tensors → a model on a device.
//!
//! `ByteSource` is the one thing that a platform provides (a mapped file, HTTP ranges, a `File` in
//! the browser). Everything above it is the same code natively and in a tab, and treats what it
//! reads as hostile: lengths are checked before anything is allocated.

mod dtype;
mod fingerprint;
mod load;
mod safetensors;
mod source;

pub use dtype::CheckpointDtype;
pub use fingerprint::{Fingerprint, FingerprintBuilder, FingerprintParseError};
pub(crate) use load::check_shapes;
pub use load::{LoadProgress, LoadedModel, fingerprint, load_model};
pub use safetensors::{SafetensorsSource, ShardIndex, safetensors_head};
pub use source::{ByteSource, MemorySource, SourceError, TensorInfo, TensorSource};

/// Why a checkpoint could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The bytes could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file holds a pointer to the weights instead of the weights.
    #[error(
        "{file} is a Git LFS pointer, not weights: fetch the real file (`git lfs pull`, or download it from the hub)"
    )]
    LfsPointer {
        /// File name.
        file: String,
    },
    /// The file ends before its header says that it does.
    #[error("{file} is truncated: {found} bytes, its header needs {expected}; fetch it again")]
    Truncated {
        /// File name.
        file: String,
        /// Bytes there.
        found: u64,
        /// Bytes that the header promises.
        expected: u64,
    },
    /// The file has bytes that its header does not account for.
    #[error("{file} has {found} bytes, its header accounts for {expected}: not a whole safetensors file")]
    TrailingBytes {
        /// File name.
        file: String,
        /// Bytes there.
        found: u64,
        /// Bytes that the header promises.
        expected: u64,
    },
    /// The header is not that of a safetensors file.
    #[error("{file} is not a safetensors file: {reason}")]
    Header {
        /// File name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `model.safetensors.index.json` is malformed or disagrees with the shards.
    #[error("{file}: {reason}")]
    Index {
        /// File name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two shards hold a tensor of one name.
    #[error("tensor {name} is in {first} and again in {second}")]
    DuplicateTensor {
        /// Tensor name.
        name: String,
        /// First file.
        first: String,
        /// Second file.
        second: String,
    },
    /// The model needs a tensor that no file has.
    #[error("tensor {name} of shape {expected:?} is missing from the checkpoint")]
    MissingTensor {
        /// Tensor name.
        name: String,
        /// Its shape by the config.
        expected: Vec<usize>,
    },
    /// A tensor's shape is not the one that config.json implies.
    #[error("tensor {name} has shape {found:?}, config.json implies {expected:?}")]
    ShapeMismatch {
        /// Tensor name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the config.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that is not read here.
    #[error("tensor {name} is stored as {found}, expected F32, F16 or BF16")]
    UnsupportedDtype {
        /// Tensor name.
        name: String,
        /// Type in the file.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("tensor {name} holds a value that is not finite at offset {offset}: the file is damaged")]
    NonFinite {
        /// Tensor name.
        name: String,
        /// Offset in elements.
        offset: u64,
    },
    /// The caller asked to stop.
    #[error("loading was cancelled")]
    Cancelled,
}
