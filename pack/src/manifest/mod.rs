//! `manifest.json`: what a pack holds, piece by piece, with hashes.
//!
//! A pack is a directory of flat files: the manifest, the model's small files (`config.json`,
//! `tokenizer.json`, …), shards of weights, and spots in levels. A *piece* is a run of whole rows of one
//! tensor: its words, then the words of its scales ([`crate::encoding`]), little endian. Pieces lie in
//! the shards without gaps, in the order of tensors and rows, so that who reads the shards from the
//! front gets the pieces in order, and each can be used once its own hash is checked.

mod check;
mod piece;
mod plan;

pub use piece::{Piece, PieceError};
pub use plan::{PlanError, PlannedPiece, PlannedTensor, WeightPlan, plan};

use crate::encoding::Encoding;
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const FORMAT: u32 = 1;
/// Name of the manifest in its directory.
pub const MANIFEST: &str = "manifest.json";
/// Longest manifest, bytes.
pub const MAX_MANIFEST_BYTES: u64 = 8 << 20;
/// Longest shard, bytes: what a browser keeps as one entry of its cache.
pub const MAX_SHARD_BYTES: u64 = 32 << 20;
/// Longest piece, bytes: what a loader holds at once.
pub const MAX_PIECE_BYTES: u64 = 8 << 20;
/// Longest small file or spot, bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than any manifest.
    #[error(
        "{MANIFEST} has {bytes} bytes, more than the {MAX_MANIFEST_BYTES} that are read: it is no pack's"
    )]
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// It is not the JSON of a manifest.
    #[error("{MANIFEST} is not that of a pack: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error("{MANIFEST} has format {found}, this build reads {FORMAT}; pack the model again")]
    Version {
        /// Version in the file.
        found: u32,
    },
    /// What it says does not fit together.
    #[error("{MANIFEST}: {place} is {found}, expected {expected}; fetch or pack the model again")]
    Invalid {
        /// Of what.
        place: String,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
}

/// The part of a manifest that every version has.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// What a pack holds.
///
/// One that [`Manifest::parse`] returns has been checked: sizes add up, names are plain and distinct,
/// tensors are whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// What the model is called.
    pub name: String,
    /// Fingerprint of the checkpoint that it was made from, 64 hexadecimal digits.
    pub fingerprint: String,
    /// What matrices are encoded as, unless their rows don't fit it.
    pub encoding: Encoding,
    /// The model's small files; `config.json` is one of them.
    pub files: Vec<FileEntry>,
    /// The files of weights.
    pub shards: Vec<ShardEntry>,
    /// The tensors in the model's layout order.
    pub tensors: Vec<TensorEntry>,
    /// What the encoding costs, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Spots of the model.
    #[serde(default)]
    pub spots: Vec<SpotEntry>,
    /// Bytes of all files but the manifest.
    pub total_bytes: u64,
}

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its bytes, 64 hexadecimal digits.
    pub blake3: String,
}

/// A file of weights, whose pieces have the hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Hugging Face name.
    pub name: String,
    /// Shape, row-major: two axes, or one for a vector.
    pub shape: Vec<u64>,
    /// What its elements are encoded as.
    pub encoding: Encoding,
    /// Its rows, cut.
    pub pieces: Vec<PieceEntry>,
}

/// Where a piece lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceEntry {
    /// Number of rows.
    pub rows: u64,
    /// Index in [`Manifest::shards`].
    pub shard: u32,
    /// First byte in the shard.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
    /// BLAKE3 of its bytes, 64 hexadecimal digits.
    pub blake3: String,
}

/// Loss on a corpus, of the pack's weights and of the checkpoint's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Name of the corpus.
    pub corpus: String,
    /// Longest sequence, tokens.
    pub seq_len: u64,
    /// Target tokens.
    pub tokens: u64,
    /// Loss of the pack's weights.
    pub nats_per_token: f64,
    /// Loss of the checkpoint's weights.
    pub nats_per_token_f32: f64,
}

/// A spot in levels ([`crate::levels`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpotEntry {
    /// What it is called.
    pub name: String,
    /// Its file in the directory.
    pub file: String,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub blake3: String,
    /// The largest k that it holds, percent.
    pub max_k: f64,
    /// Number of parameters that competed: 100 %.
    pub parameters_in_scope: u64,
    /// Number of parameters that it ranks.
    pub len: u64,
    /// Which parameters competed: `all`, `no-norm`, `no-embedding` or `blocks`.
    pub scope: String,
    /// Languages whose scores were added.
    pub languages: Vec<String>,
    /// For a control, what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// For a set made of others, how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<String>,
}

impl TensorEntry {
    /// Rows: 1 for a vector.
    pub fn rows(&self) -> u64 {
        if let [rows, _] = self.shape[..] { rows } else { 1 }
    }

    /// Elements in a row.
    pub fn cols(&self) -> u64 {
        self.shape.last().copied().unwrap_or(0)
    }

    /// Elements; saturating.
    pub fn numel(&self) -> u64 {
        self.rows().saturating_mul(self.cols())
    }
}

impl Manifest {
    /// Parses a manifest, trusting nothing in it.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { bytes: bytes.len() as u64 });
        }
        let Versioned { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ManifestError::Version { found: format });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        check::check(&manifest)?;
        Ok(manifest)
    }

    /// The manifest's bytes, checked as [`Self::parse`] checks them.
    ///
    /// # Errors
    /// [`ManifestError`] when no reader would take it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        check::check(self)?;
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { bytes: bytes.len() as u64 });
        }
        Ok(bytes)
    }

    /// The pieces in order: of tensors, of rows, and of bytes in the shards.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        (0..self.tensors.len()).flat_map(|tensor| self.pieces_of(tensor))
    }

    /// The pieces of one tensor, in order.
    ///
    /// # Panics
    /// When there is no tensor of this index.
    pub fn pieces_of(&self, tensor: usize) -> impl Iterator<Item = Piece<'_>> {
        let entry = &self.tensors[tensor];
        entry.pieces.iter().scan(0, move |next_row, place| {
            let first_row = *next_row;
            *next_row += place.rows;
            Some(Piece::new(tensor, entry, first_row, place))
        })
    }

    /// Parameters of all tensors.
    pub fn num_parameters(&self) -> u64 {
        self.tensors.iter().map(TensorEntry::numel).fold(0, u64::saturating_add)
    }

    /// Bytes of the shards.
    pub fn weight_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).fold(0, u64::saturating_add)
    }

    /// The small file of this name.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The spot of this name.
    pub fn spot(&self, name: &str) -> Option<&SpotEntry> {
        self.spots.iter().find(|spot| spot.name == name)
    }
}

/// Whether `text` can name a file of a pack: one segment of a path or an address, of letters, digits,
/// `.`, `_` and `-`, that does not begin with a dot.
pub fn is_file_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.bytes().all(plain)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
