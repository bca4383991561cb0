//! From the sums of a language to its scores, its summary on disk and the new totals.

use super::files::{ValueReader, ValueWriter};
use super::weights::StoredWeights;
use crate::run::TOP_PERCENT;
use anyhow::Context as _;
use codingspot_core::checkpoint::Fingerprint;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::score::{Estimator, InputSquares, TensorPart};
use codingspot_core::spot::{Scope, Spot, SpotHeader, StreamingTop, count_of};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};

/// Parameters that one thread works on at a time; fixed, because tensors' sums are made of these.
const CHUNK: usize = 1 << 18;
/// Parameters whose weights are in memory at once.
const PIECE: u64 = 8 << 20;

/// What finishing one language with one estimator writes.
pub(super) struct Finisher<'a> {
    pub(super) layout: &'a ParameterLayout,
    pub(super) estimator: Estimator,
    /// Batches that the sums are over.
    pub(super) batches: u64,
    /// What divides the loss scale out.
    pub(super) unscale: f32,
    pub(super) seed: u64,
    output: Output,
}

enum Output {
    /// Scores: added to the totals, and summarised.
    Scores(Box<ScoreOutput>),
    /// A shard keeps contributions, which `merge` adds up.
    Contributions(ValueWriter),
}

struct ScoreOutput {
    old_total: Option<ValueReader>,
    new_total: ValueWriter,
    /// Folder of the language, under a temporary name; `None` for scores that no language has.
    folder: Option<PathBuf>,
    kept: Option<ValueWriter>,
    top: StreamingTop,
    tensor_sums: Vec<f64>,
}

/// Where a finisher reads and writes.
pub(super) struct FinishPaths<'a> {
    /// Total of the languages before, if there were any.
    pub(super) old_total: Option<&'a Path>,
    /// Total with this language.
    pub(super) new_total: &'a Path,
    /// Folder of the language; `None` for scores that no language has.
    pub(super) folder: Option<&'a Path>,
    /// Keep every score of the language.
    pub(super) keep_scores: bool,
}

pub(super) const PARTIAL: &str = "contributions.safetensors";

impl<'a> Finisher<'a> {
    pub(super) fn scores(
        layout: &'a ParameterLayout,
        estimator: Estimator,
        batches: u64,
        paths: &FinishPaths<'_>,
    ) -> anyhow::Result<Self> {
        let old_total = paths.old_total.map(|path| ValueReader::open(path, layout.tensors())).transpose()?;
        let new_total = ValueWriter::create(paths.new_total, layout.tensors())?;
        let folder = paths.folder.map(temporary);
        if let Some(folder) = &folder {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .with_context(|| format!("{} can't be removed", folder.display()))?;
            }
            fs::create_dir_all(folder).with_context(|| format!("{} can't be created", folder.display()))?;
        }
        let kept = match (&folder, paths.keep_scores) {
            (Some(folder), true) => {
                Some(ValueWriter::create(&folder.join("scores.safetensors"), layout.tensors())?)
            }
            _ => None,
        };
        let count = if folder.is_some() { count_of(layout.num_parameters(), TOP_PERCENT) } else { 0 };
        let output = ScoreOutput {
            old_total,
            new_total,
            folder,
            kept,
            top: StreamingTop::new(count),
            tensor_sums: vec![0.0; layout.tensors().len()],
        };
        Ok(Self {
            layout,
            estimator,
            batches,
            unscale: 1.0,
            seed: 0,
            output: Output::Scores(Box::new(output)),
        })
    }

    pub(super) fn contributions(
        layout: &'a ParameterLayout,
        estimator: Estimator,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let writer = ValueWriter::create(&folder.join(PARTIAL), layout.tensors())?;
        let output = Output::Contributions(writer);
        Ok(Self { layout, estimator, batches: 0, unscale: 1.0, seed: 0, output })
    }

    /// Sums over gradients of parameters `first..` of a tensor.
    pub(super) fn sums(
        &mut self,
        weights: &StoredWeights,
        tensor: usize,
        first: u64,
        mut sums: Vec<f32>,
    ) -> anyhow::Result<()> {
        let mut at = first;
        for piece in sums.chunks_mut(PIECE as usize) {
            let theta = weights.read(tensor, at..at + piece.len() as u64)?;
            self.estimator.contribute(piece, &theta, self.unscale);
            at += piece.len() as u64;
        }
        self.contribution(tensor, first, sums)
    }

    /// Contributions of parameters `first..` of a tensor.
    pub(super) fn contribution(
        &mut self,
        tensor: usize,
        first: u64,
        mut values: Vec<f32>,
    ) -> anyhow::Result<()> {
        match &mut self.output {
            Output::Contributions(writer) => writer.write(tensor, first, &values),
            Output::Scores(_) => {
                self.estimator.score(&mut values, self.batches);
                self.add_scores(tensor, first, values)
            }
        }
    }

    /// Scores every parameter without gradients.
    pub(super) fn without_gradients(
        &mut self,
        weights: &StoredWeights,
        inputs: &InputSquares,
    ) -> anyhow::Result<()> {
        for (tensor, spec) in self.layout.tensors().iter().enumerate() {
            let rms = inputs.rms(tensor);
            let mut first = 0;
            while first < spec.numel() {
                let end = spec.numel().min(first + PIECE);
                let theta = weights.read(tensor, first..end)?;
                let mut values = vec![0.0_f32; theta.len()];
                values.par_chunks_mut(CHUNK).zip(theta.par_chunks(CHUNK)).enumerate().for_each(
                    |(chunk, (values, theta))| {
                        let offset = first + (chunk * CHUNK) as u64;
                        let part = TensorPart {
                            weights: theta,
                            offset,
                            position: spec.start + offset,
                            input_rms: rms.as_deref(),
                            seed: self.seed,
                        };
                        self.estimator.score_without_gradients(&part, values);
                    },
                );
                self.add_scores(tensor, first, values)?;
                first = end;
            }
        }
        Ok(())
    }

    fn add_scores(&mut self, tensor: usize, first: u64, mut scores: Vec<f32>) -> anyhow::Result<()> {
        let Output::Scores(output) = &mut self.output else {
            anyhow::bail!("a shard has no scores of {}", self.estimator.name());
        };
        let name = &self.layout.tensors()[tensor].name;
        let sums: Vec<f64> = scores
            .par_chunks(CHUNK)
            .map(|scores| scores.iter().map(|&score| f64::from(score)).sum())
            .collect();
        output.tensor_sums[tensor] += sums.into_iter().sum::<f64>();
        let number = u16::try_from(tensor).context("a layout has fewer than 65536 tensors")?;
        let offset = u32::try_from(first).context("a tensor has fewer than 2^32 parameters")?;
        output.top.add(number, offset, &scores).map_err(|bad| {
            anyhow::anyhow!(
                "the score of {name} at offset {} is not finite; nothing was written",
                first + bad.index as u64
            )
        })?;
        if let Some(kept) = &mut output.kept {
            kept.write(tensor, first, &scores)?;
        }
        if let Some(old) = &output.old_total {
            let old = old.read(tensor, first..first + scores.len() as u64)?;
            scores
                .par_chunks_mut(CHUNK)
                .zip(old.par_chunks(CHUNK))
                .for_each(|(scores, old)| scores.iter_mut().zip(old).for_each(|(score, old)| *score += old));
        }
        output.new_total.write(tensor, first, &scores)
    }

    /// Writes the summary of the language and makes sure that everything is on the disk.
    pub(super) fn finish(self, fingerprint: Fingerprint, language: &str) -> anyhow::Result<()> {
        match self.output {
            Output::Contributions(writer) => writer.finish(),
            Output::Scores(output) => {
                let ScoreOutput { new_total, folder, kept, top, tensor_sums, .. } = *output;
                new_total.finish()?;
                if let Some(kept) = kept {
                    kept.finish()?;
                }
                let Some(folder) = folder else { return Ok(()) };
                let languages = vec![language.to_owned()];
                let header = SpotHeader::new(
                    self.layout,
                    fingerprint,
                    Scope::All,
                    TOP_PERCENT,
                    self.estimator,
                    languages,
                );
                let (ranked, histogram) = top.finish();
                let spot = Spot::new(header, &ranked);
                drop(ranked);
                crate::spot::write(&folder.join("top.safetensors"), &spot)?;
                drop(spot);
                let counts = histogram.counts();
                let bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
                let view = TensorView::new(Dtype::U64, vec![counts.len()], &bytes)?;
                let bytes = safetensors::serialize([("counts", view)], None)?;
                crate::atomic::write_file(&folder.join("histogram.safetensors"), &bytes)?;
                let sums: serde_json::Map<String, serde_json::Value> = self
                    .layout
                    .tensors()
                    .iter()
                    .zip(tensor_sums)
                    .map(|(spec, sum)| (spec.name.clone(), sum.into()))
                    .collect();
                crate::atomic::write_file(
                    &folder.join("tensor_sums.json"),
                    &serde_json::to_vec_pretty(&sums)?,
                )?;
                let name = folder.with_file_name(language);
                let rename = || -> std::io::Result<()> {
                    if name.exists() {
                        fs::remove_dir_all(&name)?;
                    }
                    fs::rename(&folder, &name)
                };
                rename().with_context(|| format!("{} can't be written", name.display()))
            }
        }
    }
}

/// The temporary name of a language's folder.
fn temporary(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.unfinished"))
}
