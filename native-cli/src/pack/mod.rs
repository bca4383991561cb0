//! Web packs on disk: written from a checkpoint, and read as one.

mod catalogue;
mod files;
mod quality;
mod source;
mod spots;
mod weights;

pub(crate) use catalogue::{Listed, list};
pub(crate) use quality::{Losses, Texts};
pub(crate) use source::PackSource;
pub(crate) use spots::NamedSpot;

use crate::atomic::NewDirectory;
use crate::device::ChosenDevice;
use crate::model::ModelDirectory;
use crate::synth::check_free_space;
use anyhow::Context as _;
use codingspot_core::checkpoint::{CheckpointDtype, TensorSource as _};
use codingspot_core::layout::ParameterLayout;
use codingspot_pack::Encoding;
use codingspot_pack::manifest::{FORMAT, MANIFEST, Manifest, plan};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Models below this are packed in f16: they are quick to fetch as they are.
const SMALL: u64 = 100_000_000;
/// Models below this keep f32 where the checkpoint has it.
const TINY: u64 = 20_000_000;

/// The encoding for a model of this size and storage.
pub(crate) fn default_encoding(model: &ModelDirectory, layout: &ParameterLayout) -> Encoding {
    let single = model.source.tensors().iter().any(|info| info.dtype == CheckpointDtype::F32);
    match layout.num_parameters() {
        0..TINY if single => Encoding::F32,
        0..SMALL => Encoding::F16,
        _ => Encoding::Q4,
    }
}

/// A pack to be written.
#[derive(Debug)]
pub(crate) struct Packing<'a> {
    /// From what.
    pub(crate) model: &'a ModelDirectory,
    /// Under what name.
    pub(crate) name: String,
    /// As what.
    pub(crate) encoding: Encoding,
    /// With which spots.
    pub(crate) spots: Vec<NamedSpot>,
    /// Measured on what, where it is.
    pub(crate) texts: Option<(Texts, ChosenDevice)>,
}

/// A pack that was written.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) manifest: Manifest,
    /// Losses by language, where they were measured.
    pub(crate) losses: Option<Losses>,
    /// Time of encoding, hashing and writing the weights.
    pub(crate) seconds: f64,
}

impl Packing<'_> {
    /// Writes it. Memory: some 20 MB a thread, and a spot in levels; a model at a time where losses are
    /// measured.
    pub(crate) fn write(self, out: &Path) -> anyhow::Result<Packed> {
        let layout = self.model.layout();
        let shapes: Vec<(&str, Vec<u64>)> = layout
            .tensors()
            .iter()
            .map(|spec| (spec.name.as_str(), spec.shape.iter().map(|&d| d as u64).collect()))
            .collect();
        let plan = plan(shapes.iter().map(|(name, shape)| (*name, shape.as_slice())), self.encoding)?;
        // A scoring has a manifest.json of its own, and must not go for it.
        let new = NewDirectory::begin(out, PackSource::is_in(out).then_some(MANIFEST))?;
        check_free_space(new.path(), plan.shards.iter().sum())?;
        // Spots that belong to other weights are refused before anything long is begun.
        let fingerprint = self.model.fingerprint()?;
        for spot in &self.spots {
            spot.check(&layout, &fingerprint)?;
        }
        let files = files::copy(&self.model.path, new.path())?;
        let started = Instant::now();
        let (shards, tensors) = weights::write(self.model, &layout, &plan, new.path())?;
        let seconds = started.elapsed().as_secs_f64();
        let spots =
            self.spots.into_iter().map(|spot| spot.write(new.path())).collect::<anyhow::Result<Vec<_>>>()?;
        let total_bytes = files.iter().map(|file| file.bytes).sum::<u64>()
            + spots.iter().map(|spot| spot.bytes).sum::<u64>()
            + shards.iter().map(|shard| shard.bytes).sum::<u64>();
        let mut manifest = Manifest {
            format: FORMAT,
            name: self.name,
            fingerprint: fingerprint.to_string(),
            encoding: self.encoding,
            files,
            shards,
            tensors,
            quality: None,
            spots,
            total_bytes,
        };
        let write_manifest = |manifest: &Manifest| {
            let path = new.path().join(MANIFEST);
            fs::write(&path, manifest.to_bytes()?)
                .with_context(|| format!("{} can't be written", path.display()))
        };
        write_manifest(&manifest)?;
        let mut losses = None;
        if let Some((texts, device)) = self.texts {
            // Measured from the files that were just written, which reads and checks them all.
            let measured = texts.measure(self.model, new.path(), &device)?;
            manifest.quality = Some(measured.quality(&texts)?);
            losses = Some(measured);
            write_manifest(&manifest)?;
        }
        new.finish()?;
        Ok(Packed { manifest, losses, seconds })
    }
}
