//! One piece of a tensor, from bytes that may be wrong to words.

use super::{PieceEntry, TensorEntry};
use crate::encoding::{Encoding, PackedRows};
use std::ops::Range;

/// Why the bytes of a piece were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// There are more or fewer of them.
    #[error(
        "rows {first_row} and on of {tensor} came as {found} bytes, expected {expected}; fetch them again"
    )]
    Length {
        /// Tensor name.
        tensor: String,
        /// First row of the piece.
        first_row: u64,
        /// Bytes there.
        found: u64,
        /// Bytes by the manifest.
        expected: u64,
    },
    /// They are others than those that were packed.
    #[error("rows {first_row} and on of {tensor} have hash {found}, expected {expected}; fetch them again")]
    Hash {
        /// Tensor name.
        tensor: String,
        /// First row of the piece.
        first_row: u64,
        /// BLAKE3 of the bytes.
        found: String,
        /// BLAKE3 by the manifest.
        expected: String,
    },
}

/// A piece with what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Index of its tensor.
    pub tensor: usize,
    /// Name of its tensor.
    pub name: &'a str,
    /// Its first row.
    pub first_row: u64,
    /// Number of rows.
    pub rows: u64,
    /// Elements in a row.
    pub cols: u64,
    /// What they are encoded as.
    pub encoding: Encoding,
    /// Index of its shard.
    pub shard: usize,
    /// Its bytes in the shard.
    pub range: Range<u64>,
    /// BLAKE3 of its bytes, 64 hexadecimal digits.
    pub blake3: &'a str,
}

impl<'a> Piece<'a> {
    pub(super) fn new(tensor: usize, entry: &'a TensorEntry, first_row: u64, place: &'a PieceEntry) -> Self {
        Self {
            tensor,
            name: &entry.name,
            first_row,
            rows: place.rows,
            cols: entry.cols(),
            encoding: entry.encoding,
            // An index that no usize holds is past the end of the shards, which the check refuses.
            shard: usize::try_from(place.shard).unwrap_or(usize::MAX),
            range: place.offset..place.offset.saturating_add(place.bytes),
            blake3: &place.blake3,
        }
    }

    /// Checks length and hash of its bytes.
    ///
    /// # Errors
    /// [`PieceError`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), PieceError> {
        if bytes.len() as u64 != self.range.end - self.range.start {
            return Err(self.length_error(bytes));
        }
        let found = blake3::hash(bytes).to_string();
        if found != self.blake3 {
            let (tensor, first_row) = (self.name.to_owned(), self.first_row);
            return Err(PieceError::Hash { tensor, first_row, found, expected: self.blake3.to_owned() });
        }
        Ok(())
    }

    /// Its rows, from its bytes, once length and hash are right.
    ///
    /// # Errors
    /// [`PieceError`].
    pub fn decode(&self, bytes: &[u8]) -> Result<PackedRows, PieceError> {
        self.check(bytes)?;
        self.rows(bytes, 0..self.rows)
    }

    /// Some of its rows, counted from its first, from bytes that [`Self::check`] took.
    ///
    /// # Errors
    /// [`PieceError::Length`] when there are other bytes, or fewer rows.
    pub fn rows(&self, bytes: &[u8], rows: Range<u64>) -> Result<PackedRows, PieceError> {
        PackedRows::rows_from_bytes(bytes, self.rows, self.cols, self.encoding, rows)
            .ok_or_else(|| self.length_error(bytes))
    }

    fn length_error(&self, bytes: &[u8]) -> PieceError {
        PieceError::Length {
            tensor: self.name.to_owned(),
            first_row: self.first_row,
            found: bytes.len() as u64,
            expected: self.range.end - self.range.start,
        }
    }
}
