//! The directory that scoring leaves: `total/`, `languages/`, `manifest.json`.

use crate::corpus::{Sample, check_distinct};
use crate::model::read_text;
use crate::scoring::Shard;
use crate::selection::{self, ScoreFile, safetensors_in};
use anyhow::Context as _;
use codingspot_core::checkpoint::Fingerprint;
use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::score::{Estimator, FineTune};
use codingspot_core::spot::{Group, Ranked, Scope, Spot, SpotHeader, count_of, group_sizes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// Which documents were used.
    #[serde(default)]
    pub(crate) sample: Sample,
}

impl ScoreSettings {
    /// What decides what a score means, and not how fast it came or on what.
    fn of_scores(&self) -> Vec<(&'static str, String)> {
        let tuning = self.fine_tune.map_or("none".to_owned(), |tune| {
            format!("{} steps of {:?} at {}", tune.steps, tune.optimizer, tune.lr)
        });
        vec![
            ("the estimator", self.estimator.name().to_owned()),
            ("the batch size", self.batch_size.to_string()),
            ("the sequence length", self.seq_len.to_string()),
            ("the dtype", self.dtype.clone()),
            ("fine-tuning", tuning),
        ]
    }
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

    /// Where it is, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Names of its languages, in order.
    pub(crate) fn languages(&self) -> Vec<String> {
        self.manifest.languages.iter().map(|language| language.name.clone()).collect()
    }

    /// Whether every language's scores were kept.
    pub(crate) fn keeps_language_scores(&self) -> bool {
        self.manifest.settings.keep_language_scores
    }

    /// The languages of the run but `left_out`.
    pub(crate) fn languages_without(&self, left_out: &[String]) -> anyhow::Result<Vec<String>> {
        self.check_languages(left_out)?;
        let rest: Vec<String> =
            self.languages().into_iter().filter(|language| !left_out.contains(language)).collect();
        anyhow::ensure!(!rest.is_empty(), "nothing is left of the languages of {}", self.path.display());
        Ok(rest)
    }

    fn check_languages(&self, chosen: &[String]) -> anyhow::Result<()> {
        let all = self.languages();
        check_distinct(chosen)?;
        for language in chosen {
            anyhow::ensure!(
                all.contains(language),
                "{} has no {language}; it has {}",
                self.path.display(),
                all.join(", ")
            );
        }
        Ok(())
    }

    /// The scores of the total, or of some languages, to be added up.
    pub(crate) fn score_files(&self, languages: Option<&[String]>) -> anyhow::Result<Vec<ScoreFile>> {
        let tensors = self.layout.tensors();
        let Some(chosen) = languages else {
            return Ok(vec![ScoreFile::open(&safetensors_in(&self.path.join("total"))?, tensors)?]);
        };
        self.check_languages(chosen)?;
        let file = |name: &String| {
            let path = self.path.join("languages").join(name).join("scores.safetensors");
            anyhow::ensure!(
                path.is_file(),
                "{} is missing; per-language scores are kept with `score --keep-language-scores`",
                path.display()
            );
            ScoreFile::open(&[path], tensors)
        };
        chosen.iter().map(file).collect()
    }

    fn header(&self, choice: Choice, languages: Vec<String>) -> SpotHeader {
        let in_scope = self.layout.tensors().iter().filter(|spec| choice.scope.contains(spec.module));
        SpotHeader::new(
            &self.layout,
            self.manifest.model.fingerprint,
            choice.scope,
            choice.max_k,
            self.manifest.settings.estimator,
            languages,
        )
        .in_groups(choice.group, group_sizes(in_scope, choice.group))
    }

    /// Ranks the highest scores of the total, or of the sum of some languages.
    pub(crate) fn select(&self, choice: Choice, languages: Option<&[String]>) -> anyhow::Result<Spot> {
        let files = self.score_files(languages)?;
        let header = self.header(choice, languages.map_or_else(|| self.languages(), <[String]>::to_vec));
        let (tensors, scope) = (self.layout.tensors(), choice.scope);
        let ranked = match choice.group {
            Group::Global => {
                let count = count_of(header.parameters_in_scope, choice.max_k);
                selection::select_top(&files, tensors, scope, count)
            }
            Group::Tensor | Group::Row => {
                selection::select_in_groups(&files, tensors, scope, choice.group, choice.max_k)
            }
        };
        Ok(Spot::new(header, &ranked.with_context(|| format!("{} was refused", self.path.display()))?))
    }

    /// Ranks one language: from its scores where they were kept, else from the top that every run
    /// keeps of every language.
    pub(crate) fn select_language(&self, language: &str, choice: Choice) -> anyhow::Result<Spot> {
        let name = [language.to_owned()];
        self.check_languages(&name)?;
        if self.keeps_language_scores() {
            return self.select(choice, Some(&name));
        }
        if self.manifest.languages.len() == 1 {
            // The total is its scores.
            return self.select(choice, None);
        }
        anyhow::ensure!(
            choice.group == Group::Global,
            "{} kept the {TOP_PERCENT} % highest scores of {language}, which are not those of every {}; score \
             with --keep-language-scores",
            self.path.display(),
            choice.group.name()
        );
        let path = self.path.join("languages").join(language).join("top.safetensors");
        let top = crate::spot::read(&path)?;
        top.check(&self.layout, &self.manifest.model.fingerprint)
            .with_context(|| format!("{} was refused", path.display()))?;
        let header = self.header(choice, name.to_vec());
        let wanted = usize::try_from(count_of(header.parameters_in_scope, choice.max_k))?;
        let tensors = self.layout.tensors();
        let inside = |entry: &Ranked| choice.scope.contains(tensors[usize::from(entry.tensor)].module);
        let ranked: Vec<Ranked> = top.ranked(0..top.len()).filter(inside).take(wanted).collect();
        anyhow::ensure!(
            ranked.len() == wanted,
            "k = {} % of scope {} is beyond what {} kept of {language} (the {TOP_PERCENT} % highest of all \
             parameters, {} of them in this scope); score with --keep-language-scores for more",
            choice.max_k,
            choice.scope.name(),
            self.path.display(),
            top.ranked(0..top.len()).filter(inside).count()
        );
        Ok(Spot::new(header, &ranked))
    }

    /// Sum of the total scores of the tensors in `scope`, from the sums that every language keeps.
    pub(crate) fn score_mass(&self, scope: Scope) -> anyhow::Result<f64> {
        let mut mass = 0.0;
        for language in self.languages() {
            let path = self.path.join("languages").join(&language).join("tensor_sums.json");
            let text = read_text(&path, MAX_MANIFEST_BYTES)?;
            let sums: BTreeMap<String, f64> =
                serde_json::from_str(&text).with_context(|| format!("{} was refused", path.display()))?;
            for spec in self.layout.tensors().iter().filter(|spec| scope.contains(spec.module)) {
                mass += sums
                    .get(&spec.name)
                    .with_context(|| format!("{} has no sum of {}", path.display(), spec.name))?;
            }
        }
        Ok(mass)
    }

    /// Checks that scores of the two runs mean the same, whatever they were taken on.
    pub(crate) fn check_comparable(&self, other: &Self) -> anyhow::Result<()> {
        let (a, b) = (&self.manifest, &other.manifest);
        anyhow::ensure!(
            a.model.fingerprint == b.model.fingerprint,
            "{} scored {} (weights {}) and {} scored {} (weights {}); only runs of one model can be compared",
            self.path.display(),
            a.model.name,
            a.model.fingerprint.short(),
            other.path.display(),
            b.model.name,
            b.model.fingerprint.short()
        );
        let differing: Vec<String> = a
            .settings
            .of_scores()
            .into_iter()
            .zip(b.settings.of_scores())
            .filter(|((_, a), (_, b))| a != b)
            .map(|((name, a), (_, b))| {
                format!("{name} is {a} in {} and {b} in {}", self.path.display(), other.path.display())
            })
            .collect();
        anyhow::ensure!(
            differing.is_empty(),
            "the runs were scored by different settings: {}; score both alike, or say --across-settings",
            differing.join("; ")
        );
        Ok(())
    }
}

/// Which parameters compete, with whom, and how many are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub(crate) scope: Scope,
    pub(crate) group: Group,
    /// Percent.
    pub(crate) max_k: f64,
}

impl Choice {
    /// In one ranking over all tensors.
    pub(crate) fn global(scope: Scope, max_k: f64) -> Self {
        Self { scope, group: Group::Global, max_k }
    }
}
