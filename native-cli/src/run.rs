//! The directory that scoring leaves: `total/`, `languages/`, `manifest.json`.

use crate::model::read_text;
use crate::scoring::Shard;
use crate::selection::{self, ScoreFile, safetensors_in};
use anyhow::Context as _;
use codingspot_core::checkpoint::Fingerprint;
use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::score::{Estimator, FineTune};
use codingspot_core::spot::{Scope, Spot, SpotHeader, count_of};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the format of a run.
const FORMAT: u32 = 1;
/// The file that makes a directory a run.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Share of the parameters whose scores are kept for every language, percent.
pub(crate) const TOP_PERCENT: f64 = 1.0;

/// Bytes that the top of a language takes while it is collected, for `estimators` at once.
pub(crate) fn top_bytes(layout: &ParameterLayout, estimators: usize) -> u64 {
    // Twelve bytes a candidate, and room for more than are wanted.
    16 * count_of(layout.num_parameters(), TOP_PERCENT) * estimators as u64
}

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
    /// Seed of random scores.
    #[serde(default)]
    pub(crate) seed: u64,
    /// What gradients were multiplied with on the way; scores are without it.
    #[serde(default = "one")]
    pub(crate) loss_scale: f32,
    /// How the weights moved while gradients were taken; `None`: they did not.
    #[serde(default)]
    pub(crate) fine_tune: Option<FineTune>,
    /// Whether every language's scores were kept.
    #[serde(default)]
    pub(crate) keep_language_scores: bool,
    /// The part of the scoring that this run is; `None` for all of it.
    #[serde(default)]
    pub(crate) shard: Option<Shard>,
}

fn one() -> f32 {
    1.0
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
    pub(crate) fn new(model: ModelRecord, settings: ScoreSettings, languages: Vec<LanguageRecord>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, version, model, settings, languages }
    }
}

impl LanguageRecord {
    /// Adds the record of a later part of the same language.
    pub(crate) fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.sequences += other.sequences;
        self.tokens += other.tokens;
        self.seconds += other.seconds;
        self.batch_losses_nats.extend(&other.batch_losses_nats);
        self.loss_nats_per_token = self.batch_losses_nats.iter().sum::<f64>() / self.batches as f64;
    }
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) layout: ParameterLayout,
}

impl Run {
    /// Opens a run that is whole.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let run = Self::open_any(path)?;
        if let Some(Shard { index, count }) = run.manifest.settings.shard {
            anyhow::bail!(
                "{} is shard {index} of {count}; add the shards up with `codingspot merge` first",
                path.display()
            );
        }
        Ok(run)
    }

    /// Opens a run or a shard of one.
    pub(crate) fn open_any(path: &Path) -> anyhow::Result<Self> {
        let manifest_path = path.join(MANIFEST);
        if path.join(crate::scoring::PROGRESS).is_file() && !manifest_path.is_file() {
            anyhow::bail!(
                "{} is not finished; the command that began it goes on from its last checkpoint",
                path.display()
            );
        }
        let several: Vec<&str> = Estimator::ALL
            .into_iter()
            .map(Estimator::name)
            .filter(|name| path.join(name).join(MANIFEST).is_file())
            .collect();
        if !manifest_path.is_file() && !several.is_empty() {
            anyhow::bail!(
                "{} holds one run for each estimator; name one of them: {}",
                path.display(),
                several
                    .iter()
                    .map(|name| path.join(name).display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
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
