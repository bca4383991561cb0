//! Spot files on disk.

use crate::atomic;
use crate::model::MappedFile;
use anyhow::Context as _;
use codingspot_core::spot::Spot;
use std::path::Path;

/// Reads and checks a spot file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Spot> {
    let file = MappedFile::open(path)?;
    Spot::from_bytes(file.bytes()).with_context(|| format!("{} was refused", path.display()))
}

/// Writes a spot file.
pub(crate) fn write(path: &Path, spot: &Spot) -> anyhow::Result<()> {
    atomic::write_with(path, |file| spot.write_to(file))
}

/// Number of parameters of the top `k` percent.
pub(crate) fn prefix_len(path: &Path, spot: &Spot, k: f64) -> anyhow::Result<usize> {
    spot.prefix_len(k).with_context(|| path.display().to_string())
}
