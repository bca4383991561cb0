//! What is studied: a model on a device, texts to score on, and other texts to measure on.

use crate::bundled;
use crate::corpus::{CorpusDirectory, Sample};
use crate::device::ChosenDevice;
use crate::measure::Subset;
use crate::memory;
use crate::model::ModelDirectory;
use crate::run::{MANIFEST, ModelRecord, Run, ScoreSettings};
use crate::scoring::{PackedLanguage, ScoreJob, StoredWeights};
use anyhow::Context as _;
use codingspot_core::checkpoint::{LoadedModel, MemorySource, SafetensorsSource, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::corpus::{Document, documents_for_loss};
use codingspot_core::score::{Estimator, MemoryPlan, PlanRequest, Weights};
use codingspot_core::tokenizer::Tokenizer;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Texts by language.
#[derive(Debug)]
pub(crate) enum Texts {
    /// The half of the bundled corpus that is for scoring.
    BundledScoring,
    /// The half of the bundled corpus that is held out.
    BundledHeldOut,
    /// A corpus directory.
    Directory(CorpusDirectory),
}

impl Texts {
    /// The languages that are there.
    pub(crate) fn languages(&self) -> Vec<String> {
        match self {
            Self::BundledScoring | Self::BundledHeldOut => bundled::languages(),
            Self::Directory(directory) => directory.languages(),
        }
    }

    /// The documents of a language.
    pub(crate) fn read(&self, language: &str) -> anyhow::Result<Vec<Document>> {
        match self {
            Self::BundledScoring => Ok(Document::from_json_lines(bundled::scoring(language)?)?),
            Self::BundledHeldOut => Ok(Document::from_json_lines(bundled::held_out(language)?)?),
            Self::Directory(directory) => directory.read(language),
        }
    }
}

/// A model and its texts.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) record: ModelRecord,
    pub(crate) config: LlamaConfig,
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) loaded: LoadedModel,
    pub(crate) device: ChosenDevice,
    stored: Arc<StoredWeights>,
    pub(crate) scoring: Texts,
    pub(crate) held_out: Texts,
}

impl Subject {
    /// The bundled model and corpus.
    pub(crate) fn bundled(device: ChosenDevice) -> anyhow::Result<Self> {
        let config = LlamaConfig::from_json(bundled::CONFIG).context("the bundled config was refused")?;
        let tokenizer = Tokenizer::from_bytes(bundled::TOKENIZER, &config)?;
        let file = MemorySource::new("the bundled model", bundled::WEIGHTS);
        let source = Arc::new(pollster::block_on(SafetensorsSource::open(vec![file]))?);
        let loaded = pollster::block_on(load_model(&*source, &config, &device.device, async |_| {
            ControlFlow::Continue(())
        }))?;
        let stored = Arc::new(StoredWeights::new(source, loaded.model.layout())?);
        let config_json = bundled::CONFIG.to_owned();
        let (scoring, held_out) = (Texts::BundledScoring, Texts::BundledHeldOut);
        let name = bundled::MODEL_NAME.to_owned();
        Self::new(name, &config_json, config, Some(tokenizer), loaded, stored, device, scoring, held_out)
    }

    /// A model's directory and two corpora.
    pub(crate) fn open(
        model: &Path,
        corpus: &Path,
        held_out: &Path,
        device: ChosenDevice,
    ) -> anyhow::Result<Self> {
        let model = ModelDirectory::open_checkpoint(model)?;
        let scoring = Texts::Directory(CorpusDirectory::open(corpus)?);
        let held_out = Texts::Directory(CorpusDirectory::open(held_out)?);
        let tokenizer = model.tokenizer()?;
        let loaded = model.load(&device.device)?;
        let stored = Arc::new(StoredWeights::new(Arc::clone(&model.source), &model.layout())?);
        let ModelDirectory { name, config_json, config, .. } = model;
        Self::new(name, &config_json, config, tokenizer, loaded, stored, device, scoring, held_out)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the struct, from two places")]
    fn new(
        name: String,
        config_json: &str,
        config: LlamaConfig,
        tokenizer: Option<Tokenizer>,
        loaded: LoadedModel,
        stored: Arc<StoredWeights>,
        device: ChosenDevice,
        scoring: Texts,
        held_out: Texts,
    ) -> anyhow::Result<Self> {
        let record = ModelRecord {
            name,
            fingerprint: loaded.fingerprint,
            parameters: loaded.model.layout().num_parameters(),
            config: serde_json::from_str(config_json).context("config.json was parsed before")?,
        };
        Ok(Self { record, config, tokenizer, loaded, device, stored, scoring, held_out })
    }

    /// Settings of a scoring by the default estimator.
    pub(crate) fn settings(&self, batch_size: usize, seq_len: usize) -> ScoreSettings {
        ScoreSettings {
            estimator: Estimator::Signed,
            batch_size,
            seq_len,
            max_batches: None,
            dtype: "f32".to_owned(),
            device: self.device.name.clone(),
            seed: 0,
            loss_scale: 1.0,
            fine_tune: None,
            keep_language_scores: false,
            shard: None,
            sample: Sample::default(),
        }
    }

    /// Scores `languages` into `path`; a run that is there already, or a part of one, is gone on with.
    pub(crate) fn score(
        &self,
        path: &Path,
        languages: &[String],
        settings: &ScoreSettings,
    ) -> anyhow::Result<Run> {
        if !path.join(MANIFEST).is_file() {
            let packed = languages
                .iter()
                .map(|language| {
                    let documents = settings.sample.take(language, self.scoring.read(language)?)?;
                    PackedLanguage::new(language, &documents, self.tokenizer.as_ref(), settings)
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            let request = PlanRequest {
                batch_size: packed.iter().map(PackedLanguage::batch_size).max().unwrap_or(1),
                seq_len: packed.iter().map(PackedLanguage::seq_len).max().unwrap_or(2),
                batches: packed.iter().map(PackedLanguage::batches).max().unwrap_or(1),
                reductions: 1,
                weight_bytes: 4,
                shared_memory: self.device.name == "cpu",
                host_bytes: crate::run::top_bytes(self.loaded.model.layout(), 1),
                limit: memory::default_limit(self.device.name == "cpu"),
            };
            ScoreJob {
                path,
                config: &self.config,
                model: self.record.clone(),
                settings: settings.clone(),
                estimators: vec![settings.estimator],
                languages: packed,
                stored: Arc::clone(&self.stored),
                weights: Weights::Resident(Box::new(self.loaded.model.clone())),
                device: &self.device.device,
                plan: MemoryPlan::new(&self.config, &request)?,
                checkpoint_every: None,
            }
            .run()?;
        }
        Run::open(path)
    }

    /// Held-out documents of `languages`, at most `limit` of each, cut to `seq_len` tokens.
    pub(crate) fn subsets(
        &self,
        languages: &[String],
        seq_len: usize,
        limit: Option<usize>,
    ) -> anyhow::Result<Vec<Subset>> {
        languages
            .iter()
            .map(|language| {
                let mut documents = self.held_out.read(language)?;
                documents.truncate(limit.unwrap_or(usize::MAX));
                let rows = documents_for_loss(&documents, self.tokenizer.as_ref(), seq_len)
                    .with_context(|| format!("the held-out corpus of {language} was refused"))?;
                Ok(Subset { name: language.clone(), rows, characters: None })
            })
            .collect()
    }
}
