//! Where the pieces of a model's tensors go.

use super::{MAX_PIECE_BYTES, MAX_SHARD_BYTES};
use crate::encoding::{BLOCK, Encoding};

/// Why tensors can't be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A tensor is neither a vector nor a matrix.
    #[error("{tensor} has shape {shape:?}, expected one axis or two, none of them 0; it can't be packed")]
    Shape {
        /// Tensor name.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A row is longer than a piece.
    #[error(
        "a row of {tensor} has {bytes} bytes, more than the {MAX_PIECE_BYTES} of a piece; it can't be packed"
    )]
    RowTooLong {
        /// Tensor name.
        tensor: String,
        /// Bytes of a row, or of two where pieces have an even number of rows.
        bytes: u64,
    },
}

/// Where tensors go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightPlan {
    /// The tensors, in order.
    pub tensors: Vec<PlannedTensor>,
    /// Bytes of the shards.
    pub shards: Vec<u64>,
}

/// One tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// What it is encoded as.
    pub encoding: Encoding,
    /// Elements in a row.
    pub cols: u64,
    /// Its pieces, in order.
    pub pieces: Vec<PlannedPiece>,
}

/// One piece of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPiece {
    /// Its first row.
    pub first_row: u64,
    /// Number of rows.
    pub rows: u64,
    /// Index of its shard.
    pub shard: u32,
    /// First byte in the shard.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
}

/// Bytes of `rows` rows.
pub(super) fn num_bytes(encoding: Encoding, rows: u64, cols: u64) -> u64 {
    encoding.num_words(rows, cols).saturating_add(encoding.num_scale_words(rows, cols)).saturating_mul(4)
}

/// Rows that a piece must have a multiple of, so that it has an even number of blocks: no scale word
/// then belongs to two pieces.
pub(super) fn row_step(encoding: Encoding, cols: u64) -> u64 {
    if encoding.has_scales() && !(cols / BLOCK as u64).is_multiple_of(2) { 2 } else { 1 }
}

/// Lays out `tensors` (name and shape, in the model's layout order): matrices in `encoding`, or in the
/// nearest that fits their rows; vectors in f32.
///
/// # Errors
/// [`PlanError`].
pub fn plan<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a [u64])>,
    encoding: Encoding,
) -> Result<WeightPlan, PlanError> {
    let mut plan = WeightPlan { tensors: Vec::new(), shards: Vec::new() };
    for (name, shape) in tensors {
        let (rows, cols, encoding) = match *shape {
            [cols] if cols > 0 => (1, cols, Encoding::F32),
            [rows, cols] if rows > 0 && cols > 0 => (rows, cols, encoding.for_cols(cols)),
            _ => return Err(PlanError::Shape { tensor: name.to_owned(), shape: shape.to_vec() }),
        };
        let step = row_step(encoding, cols).min(rows);
        let step_bytes = num_bytes(encoding, step, cols);
        if step_bytes > MAX_PIECE_BYTES {
            return Err(PlanError::RowTooLong { tensor: name.to_owned(), bytes: step_bytes });
        }
        let rows_per_piece = step * (MAX_PIECE_BYTES / step_bytes);
        let mut pieces = Vec::new();
        let mut first_row = 0;
        while first_row < rows {
            let rows = rows_per_piece.min(rows - first_row);
            let bytes = num_bytes(encoding, rows, cols);
            if plan.shards.last().is_none_or(|used| used + bytes > MAX_SHARD_BYTES) {
                plan.shards.push(0);
            }
            let shard =
                u32::try_from(plan.shards.len() - 1).expect("a shard is not empty, and memory is finite");
            let used = plan.shards.last_mut().expect("one was pushed");
            pieces.push(PlannedPiece { first_row, rows, shard, offset: *used, bytes });
            *used += bytes;
            first_row += rows;
        }
        plan.tensors.push(PlannedTensor { encoding, cols, pieces });
    }
    Ok(plan)
}
