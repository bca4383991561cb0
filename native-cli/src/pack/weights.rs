//! Weights of a checkpoint, encoded and hashed piece by piece by every core.

use crate::model::ModelDirectory;
use crate::sweep::Sweep;
use anyhow::Context as _;
use codingspot_core::checkpoint::{CheckpointError, TensorSource as _};
use codingspot_core::layout::ParameterLayout;
use codingspot_pack::manifest::{PieceEntry, PlannedPiece, ShardEntry, TensorEntry, WeightPlan};
use codingspot_pack::{Encoding, PackedRows, pack_rows};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::OnceLock;

/// Elements that are encoded at a time: they stay in a core's cache.
const CHUNK: u64 = 1 << 16;
/// Largest finite half.
const MAX_HALF: f32 = 65504.0;

/// A piece with what it is of.
#[derive(Debug)]
struct Piece {
    /// Index in the layout.
    tensor: usize,
    encoding: Encoding,
    cols: u64,
    place: PlannedPiece,
    /// BLAKE3 of its bytes, once it is written.
    hash: OnceLock<String>,
}

/// Name of the shard with this index.
fn shard_name(index: usize) -> String {
    format!("weights-{:05}.bin", index + 1)
}

/// Writes the shards of `plan` into `folder`. Memory: a piece and its bytes for each thread.
pub(super) fn write(
    model: &ModelDirectory,
    layout: &ParameterLayout,
    plan: &WeightPlan,
    folder: &Path,
) -> anyhow::Result<(Vec<ShardEntry>, Vec<TensorEntry>)> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (tensor, planned) in plan.tensors.iter().enumerate() {
        let (encoding, cols) = (planned.encoding, planned.cols);
        let of = planned.pieces.iter();
        pieces.extend(of.map(|&place| Piece { tensor, encoding, cols, place, hash: OnceLock::new() }));
    }
    let shards: Vec<ShardEntry> = plan
        .shards
        .iter()
        .enumerate()
        .map(|(index, &bytes)| ShardEntry { name: shard_name(index), bytes })
        .collect();
    let sweep = Sweep::new("Packing weights", &pieces, 1, |piece| piece.place.bytes);
    sweep.run(Vec::new, |bytes, piece| {
        bytes.clear();
        encode(model, layout, piece)?.extend_bytes(bytes);
        // Each thread has a piece of its own, so that nobody has set this before.
        piece.hash.get_or_init(|| blake3::hash(bytes).to_string());
        let path = folder.join(&shards[piece.place.shard as usize].name);
        write_at(&path, piece.place.offset, bytes)
            .with_context(|| format!("{} can't be written", path.display()))
    })?;
    for shard in &shards {
        let path = folder.join(&shard.name);
        let sync = || File::open(&path)?.sync_all();
        sync().with_context(|| format!("{} can't be written", path.display()))?;
    }
    sweep.finish();

    let mut tensors: Vec<TensorEntry> = layout
        .tensors()
        .iter()
        .zip(&plan.tensors)
        .map(|(spec, planned)| TensorEntry {
            name: spec.name.clone(),
            shape: spec.shape.iter().map(|&d| d as u64).collect(),
            encoding: planned.encoding,
            pieces: Vec::with_capacity(planned.pieces.len()),
        })
        .collect();
    for piece in pieces {
        let PlannedPiece { rows, shard, offset, bytes, .. } = piece.place;
        let blake3 = piece.hash.into_inner().context("a piece was left out")?;
        tensors[piece.tensor].pieces.push(PieceEntry { rows, shard, offset, bytes, blake3 });
    }
    Ok((shards, tensors))
}

fn write_at(path: &Path, place: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
    file.seek(SeekFrom::Start(place))?;
    file.write_all(bytes)
}

/// Reads and encodes the rows of a piece.
fn encode(model: &ModelDirectory, layout: &ParameterLayout, piece: &Piece) -> anyhow::Result<PackedRows> {
    let spec = &layout.tensors()[piece.tensor];
    let (cols, encoding) = (piece.cols, piece.encoding);
    let stored = model.source.tensors().iter().position(|info| info.name == spec.name);
    let stored = stored.filter(|&stored| model.source.tensors()[stored].shape == spec.shape);
    let stored = stored.ok_or_else(|| CheckpointError::MissingTensor {
        name: spec.name.clone(),
        expected: spec.shape.clone(),
    })?;
    let info = &model.source.tensors()[stored];
    let size = info.dtype.size_bytes();
    // An even number of rows has an even number of blocks, so that scales of chunks fill whole words.
    let step = (CHUNK / cols).max(2) & !1;
    let mut packed = PackedRows::default();
    let mut values = Vec::new();
    let (mut row, end) = (piece.place.first_row, piece.place.first_row + piece.place.rows);
    while row < end {
        let next = (row + step).min(end);
        let bytes = pollster::block_on(model.source.read(stored, row * cols * size..next * cols * size))?;
        values.clear();
        info.dtype.extend_f32(&bytes, &mut values);
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            return Err(CheckpointError::NonFinite {
                name: spec.name.clone(),
                offset: row * cols + bad as u64,
            }
            .into());
        }
        if encoding == Encoding::F16 && values.iter().any(|value| value.abs() > MAX_HALF) {
            anyhow::bail!(
                "{} has weights beyond {MAX_HALF}, which f16 can't hold; take another --encoding",
                spec.name
            );
        }
        let chunk = pack_rows(&values, usize::try_from(cols)?, encoding);
        packed.words.extend(chunk.words);
        packed.scales.extend(chunk.scales);
        row = next;
    }
    Ok(packed)
}
