//! A pack as a checkpoint: its weights, decoded to f32.

use crate::model::MappedFile;
use anyhow::Context as _;
use codingspot_core::checkpoint::{
    CheckpointDtype, CheckpointError, Fingerprint, SourceError, TensorInfo, TensorSource,
};
use codingspot_pack::manifest::{MANIFEST, MAX_FILE_BYTES, MAX_MANIFEST_BYTES, Manifest, Piece};
use codingspot_pack::unpack_rows;
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A pack on disk, opened and checked. A piece is hashed when it is first read.
///
/// Its fingerprint is that of the checkpoint that it was made from, as the manifest says: what was packed
/// can't be hashed again from what a lossy encoding left of it. The manifest's hashes are what ties the
/// pieces to it.
#[derive(Debug)]
pub(crate) struct PackSource {
    path: PathBuf,
    manifest: Manifest,
    shards: Vec<MappedFile>,
    /// As f32, which is what they are read as.
    tensors: Vec<TensorInfo>,
    /// By tensor and piece, whether its bytes were found to be right.
    checked: Vec<Vec<AtomicBool>>,
}

impl PackSource {
    /// Whether `folder` has a manifest that a pack could have; other directories have files of its name.
    pub(crate) fn is_in(folder: &Path) -> bool {
        let manifest = read(&folder.join(MANIFEST), MAX_MANIFEST_BYTES);
        manifest.is_ok_and(|manifest| Manifest::parse(&manifest).is_ok())
    }

    /// Opens `folder`, and checks its manifest, its small files, and the sizes of its shards.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let manifest = Manifest::parse(&read(&folder.join(MANIFEST), MAX_MANIFEST_BYTES)?)
            .with_context(|| format!("{} was refused", folder.display()))?;
        for file in &manifest.files {
            let path = folder.join(&file.name);
            let found = blake3::hash(&read(&path, MAX_FILE_BYTES)?).to_string();
            anyhow::ensure!(
                found == file.blake3,
                "{} has hash {found}, expected {}; fetch or pack the model again",
                path.display(),
                file.blake3
            );
        }
        let mut shards = Vec::new();
        for shard in &manifest.shards {
            let path = folder.join(&shard.name);
            let file = MappedFile::open(&path)?;
            anyhow::ensure!(
                file.bytes().len() as u64 == shard.bytes,
                "{} has {} bytes, expected {}; fetch or pack the model again",
                path.display(),
                file.bytes().len(),
                shard.bytes
            );
            shards.push(file);
        }
        let tensors = manifest
            .tensors
            .iter()
            .map(|tensor| {
                let shape = tensor.shape.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>()?;
                Ok(TensorInfo { name: tensor.name.clone(), dtype: CheckpointDtype::F32, shape })
            })
            .collect::<anyhow::Result<_>>()?;
        let checked = manifest
            .tensors
            .iter()
            .map(|tensor| tensor.pieces.iter().map(|_| AtomicBool::new(false)).collect())
            .collect();
        Ok(Self { path: folder.to_owned(), manifest, shards, tensors, checked })
    }

    /// What is in it.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Paths of the files of weights.
    pub(crate) fn shards(&self) -> Vec<PathBuf> {
        self.manifest.shards.iter().map(|shard| self.path.join(&shard.name)).collect()
    }

    /// Fingerprint of the checkpoint that it was made from.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        Ok(self.manifest.fingerprint.parse()?)
    }

    /// Rows of a piece, counted from its first, once its bytes are known to be right.
    fn rows(&self, piece: &Piece<'_>, checked: &AtomicBool, rows: Range<u64>) -> Result<Vec<f32>, String> {
        let shard = self.shards.get(piece.shard).ok_or("its shard is missing")?;
        let place = usize::try_from(piece.range.start).ok().zip(usize::try_from(piece.range.end).ok());
        let bytes = place.and_then(|(start, end)| shard.bytes().get(start..end));
        let bytes = bytes.ok_or("its shard is too short")?;
        if !checked.load(Ordering::Relaxed) {
            piece.check(bytes).map_err(|error| error.to_string())?;
            checked.store(true, Ordering::Relaxed);
        }
        let packed = piece.rows(bytes, rows).map_err(|error| error.to_string())?;
        let cols = usize::try_from(piece.cols).map_err(|error| error.to_string())?;
        Ok(unpack_rows(&packed.words, &packed.scales, cols, piece.encoding))
    }
}

impl TensorSource for PackSource {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    async fn read(&self, index: usize, range: Range<u64>) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let cols = self.manifest.tensors[index].cols();
        let (start, end) = (range.start / 4, range.end.div_ceil(4));
        let (first_row, end_row) = (start / cols, end.div_ceil(cols));
        let mut values: Vec<f32> = Vec::new();
        for (piece, checked) in self.manifest.pieces_of(index).zip(&self.checked[index]) {
            let rows = first_row.max(piece.first_row)..end_row.min(piece.first_row + piece.rows);
            if rows.is_empty() {
                continue;
            }
            let rows = rows.start - piece.first_row..rows.end - piece.first_row;
            values.extend(
                self.rows(&piece, checked, rows)
                    .map_err(|reason| SourceError { file: self.path.display().to_string(), reason })?,
            );
        }
        let mut bytes = Vec::new();
        CheckpointDtype::F32.extend_bytes(&values, &mut bytes);
        // From the first byte of the first row to those that were asked for.
        let before = 4 * first_row * cols;
        let place = usize::try_from(range.start - before).ok().zip(usize::try_from(range.end - before).ok());
        let (from, to) = place.filter(|&(_, to)| to <= bytes.len()).ok_or_else(|| SourceError {
            file: self.path.display().to_string(),
            reason: format!(
                "bytes {}..{} of {} are past its end",
                range.start, range.end, self.tensors[index].name
            ),
        })?;
        bytes.truncate(to);
        bytes.drain(..from);
        Ok(Cow::Owned(bytes))
    }
}

/// Reads a file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = || File::open(path)?.take(limit + 1).read_to_end(&mut bytes);
    let len = { read }().with_context(|| format!("{} can't be read", path.display()))?;
    anyhow::ensure!(
        len as u64 <= limit,
        "{} has {} bytes, more than the {limit} that are read",
        path.display(),
        fs::metadata(path).map_or(len as u64, |metadata| metadata.len())
    );
    Ok(bytes)
}
