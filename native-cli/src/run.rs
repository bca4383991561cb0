//! The directory that scoring leaves: `total/`, `languages/`, `manifest.json`.

use crate::atomic::NewDirectory;
use crate::model::read_text;
use crate::selection::{self, ScoreFile, safetensors_in};
use anyhow::Context as _;
use codingspot_core::checkpoint::Fingerprint;
use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::score::{Estimator, LanguageScores, TotalScores};
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader, count_of, select_top};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the format of a run.
const FORMAT: u32 = 1;
/// The file that makes a directory a run.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Share of the parameters whose scores are kept for every language, percent.
const TOP_PERCENT: f64 = 1.0;
/// Longest manifest that is read, bytes.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// What was scored, on what, how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) version: String,
    pub(crate) model: ModelRecord,
    pub(crate) settings: ScoreSettings,
    pub(crate) languages: Vec<LanguageRecord>,
}

/// Which weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelRecord {
    pub(crate) name: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) parameters: u64,
    /// The model's config.json.
    pub(crate) config: serde_json::Value,
}

/// How it was scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScoreSettings {
    pub(crate) estimator: Estimator,
    pub(crate) batch_size: usize,
    pub(crate) seq_len: usize,
    pub(crate) max_batches: Option<usize>,
    pub(crate) dtype: String,
    pub(crate) device: String,
}

/// What one language gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LanguageRecord {
    pub(crate) name: String,
    pub(crate) documents: usize,
    pub(crate) batches: usize,
    pub(crate) sequences: usize,
    /// Sequences left over after the last whole batch.
    pub(crate) dropped_sequences: usize,
    pub(crate) tokens: u64,
    pub(crate) loss_nats_per_token: f64,
    pub(crate) batch_losses_nats: Vec<f64>,
    pub(crate) seconds: f64,
}

impl Manifest {
    pub(crate) fn new(model: ModelRecord, settings: ScoreSettings) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, version, model, settings, languages: Vec::new() }
    }
}

/// A run that is being written.
#[derive(Debug)]
pub(crate) struct RunWriter {
    directory: NewDirectory,
    layout: ParameterLayout,
    keep_language_scores: bool,
}

impl RunWriter {
    pub(crate) fn begin(
        path: &Path,
        layout: ParameterLayout,
        keep_language_scores: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self { directory: NewDirectory::begin(path, None)?, layout, keep_language_scores })
    }

    /// Writes one language: its top scores, their histogram, and all of them if they are kept.
    pub(crate) fn language(
        &self,
        manifest: &Manifest,
        record: &LanguageRecord,
        scores: &LanguageScores,
    ) -> anyhow::Result<()> {
        let folder = self.directory.path().join("languages").join(&record.name);
        fs::create_dir_all(&folder).with_context(|| format!("{} can't be created", folder.display()))?;
        let header = SpotHeader::new(
            &self.layout,
            manifest.model.fingerprint,
            Scope::All,
            TOP_PERCENT,
            manifest.settings.estimator,
            vec![record.name.clone()],
        );
        let count = count_of(header.parameters_in_scope, TOP_PERCENT);
        let top: Vec<Ranked> = select_top(&self.layout, Scope::All, count, |tensor, sink| {
            sink(&scores.scores[tensor]);
            Ok::<_, Infallible>(())
        })?;
        crate::spot::write(&folder.join("top.safetensors"), &Spot::new(header, &top))?;

        let mut histogram = vec![0_u64; 1 << 16];
        for score in scores.scores.iter().flatten() {
            histogram[(score.to_bits() >> 16) as usize] += 1;
        }
        let bytes: Vec<u8> = histogram.iter().flat_map(|count| count.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::U64, vec![histogram.len()], &bytes)?;
        safetensors::serialize_to_file([("counts", view)], None, &folder.join("histogram.safetensors"))?;

        let sums: Vec<(&str, f64)> = self
            .layout
            .tensors()
            .iter()
            .zip(&scores.scores)
            .map(|(spec, scores)| (spec.name.as_str(), scores.iter().map(|&s| f64::from(s)).sum()))
            .collect();
        let sums: serde_json::Map<String, serde_json::Value> =
            sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.into())).collect();
        fs::write(folder.join("tensor_sums.json"), serde_json::to_vec_pretty(&sums)?)?;
        if self.keep_language_scores {
            write_scores(&folder.join("scores.safetensors"), &self.layout, &scores.scores)?;
        }
        Ok(())
    }

    /// Writes the total and the manifest, and gives the run its name.
    pub(crate) fn finish(self, manifest: &Manifest, total: &TotalScores) -> anyhow::Result<()> {
        let folder = self.directory.path().join("total");
        fs::create_dir_all(&folder).with_context(|| format!("{} can't be created", folder.display()))?;
        write_scores(&folder.join("model.safetensors"), &self.layout, total.tensors())?;
        fs::write(self.directory.path().join(MANIFEST), serde_json::to_vec_pretty(manifest)?)?;
        self.directory.finish()
    }
}

/// One f32 tensor a parameter tensor, under Hugging Face names.
fn write_scores(path: &Path, layout: &ParameterLayout, scores: &[Vec<f32>]) -> anyhow::Result<()> {
    let bytes: Vec<Vec<u8>> =
        scores.iter().map(|tensor| tensor.iter().flat_map(|score| score.to_le_bytes()).collect()).collect();
    let views = layout
        .tensors()
        .iter()
        .zip(&bytes)
        .map(|(spec, bytes)| {
            Ok((spec.name.as_str(), TensorView::new(Dtype::F32, spec.shape.clone(), bytes)?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path)
        .with_context(|| format!("{} can't be written", path.display()))
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) layout: ParameterLayout,
}

impl Run {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let manifest_path = path.join(MANIFEST);
        anyhow::ensure!(
            manifest_path.is_file(),
            "{} is not a finished run (it has no {MANIFEST}); make one with `codingspot score`",
            path.display()
        );
        let text = read_text(&manifest_path, MAX_MANIFEST_BYTES)?;
        let refused = || format!("{} was refused", manifest_path.display());
        let manifest: Manifest = serde_json::from_str(&text).with_context(refused)?;
        anyhow::ensure!(
            manifest.format == FORMAT,
            "{} has format {}, this build reads {FORMAT}; score again",
            manifest_path.display(),
            manifest.format
        );
        let config = LlamaConfig::from_json(&manifest.model.config.to_string()).with_context(refused)?;
        Ok(Self { path: path.to_owned(), layout: ParameterLayout::new(&config), manifest })
    }

    /// Selects the top `max_k` percent of the total, or of the sum of some languages.
    pub(crate) fn select(
        &self,
        scope: Scope,
        max_k: f64,
        languages: Option<&[String]>,
    ) -> anyhow::Result<Spot> {
        let all: Vec<String> = self.manifest.languages.iter().map(|language| language.name.clone()).collect();
        let tensors = self.layout.tensors();
        let (files, languages) = match languages {
            None => (vec![ScoreFile::open(&safetensors_in(&self.path.join("total"))?, tensors)?], all),
            Some(chosen) => {
                for language in chosen {
                    anyhow::ensure!(
                        all.contains(language),
                        "{} has no {language}; it has {}",
                        self.path.display(),
                        all.join(", ")
                    );
                }
                let file = |name: &String| {
                    let path = self.path.join("languages").join(name).join("scores.safetensors");
                    anyhow::ensure!(
                        path.is_file(),
                        "{} is missing; per-language scores are kept with `score --keep-language-scores`",
                        path.display()
                    );
                    ScoreFile::open(&[path], tensors)
                };
                (chosen.iter().map(file).collect::<anyhow::Result<Vec<_>>>()?, chosen.to_vec())
            }
        };
        let header = SpotHeader::new(
            &self.layout,
            self.manifest.model.fingerprint,
            scope,
            max_k,
            self.manifest.settings.estimator,
            languages,
        );
        let count = count_of(header.parameters_in_scope, max_k);
        let ranked = selection::select_top(&files, tensors, scope, count)
            .with_context(|| format!("{} was refused", self.path.display()))?;
        Ok(Spot::new(header, &ranked))
    }
}
