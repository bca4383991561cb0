//! The first steps of a training again, for benchmarks.

use super::files::{read_tokens, write_model, write_rows};
use super::tokens::Tokens;
use super::{CHECKPOINT, PROGRESS, Saved, Settings, TOKENS, WEIGHTS};
use crate::device::ChosenDevice;
use crate::model::{MAX_JSON_BYTES, read_text};
use anyhow::Context as _;
use codingspot_core::checkpoint::CheckpointDtype;
use codingspot_core::config::LlamaConfig;
use codingspot_core::train::{Precision, Step, Trainer, random_llama};
use std::path::{Path, PathBuf};

/// A training at its first step.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) trainer: Trainer,
    pub(crate) settings: Settings,
    config: PathBuf,
    tokens: Tokens,
    next: u64,
}

/// Opens a training that has a checkpoint and began with random weights.
pub(crate) fn open(directory: &Path, precision: Precision, device: &ChosenDevice) -> anyhow::Result<Replay> {
    let progress = directory.join(CHECKPOINT).join(PROGRESS);
    let refused = || format!("{} was refused", progress.display());
    let Saved { mut settings, .. } =
        serde_json::from_str(&read_text(&progress, MAX_JSON_BYTES)?).with_context(refused)?;
    anyhow::ensure!(
        settings.init.is_none(),
        "{} began with a checkpoint; expected a training from random weights",
        directory.display()
    );
    settings.train.precision = precision;
    settings.device.clone_from(&device.name);
    let config = directory.join("config.json");
    let config_json = read_text(&config, MAX_JSON_BYTES)?;
    let parsed =
        LlamaConfig::from_json(&config_json).with_context(|| format!("{} was refused", config.display()))?;
    let std_dev = crate::synth::initializer_range(&config_json)?;
    let model = random_llama(&parsed, settings.seed, std_dev, &device.device);
    let path = directory.join(TOKENS);
    let (_, stream) = read_tokens(&path)?.with_context(|| format!("{} is missing", path.display()))?;
    let tokens = Tokens::new(stream, settings.seq_len, settings.seed)?;
    let trainer = Trainer::new(model, settings.train, settings.seq_len);
    Ok(Replay { trainer, settings, config, tokens, next: 0 })
}

impl Replay {
    /// The sequences of the next step.
    pub(crate) fn next_rows(&mut self) -> Vec<Vec<u32>> {
        let count = self.settings.sequences_per_step() as u64;
        let first = self.next;
        self.next += count;
        (first..self.next).map(|number| self.tokens.sequence(number).to_vec()).collect()
    }

    /// One step on `rows`.
    pub(crate) fn step(&mut self, rows: &[Vec<u32>]) -> anyhow::Result<Step> {
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let batches: Vec<&[&[u32]]> = rows.chunks(self.settings.batch_size).collect();
        Ok(pollster::block_on(self.trainer.step(&batches))?)
    }
}

/// Writes config and weights, f32, as a checkpoint.
pub(crate) fn write_initial(out: &Path, training: &Replay) -> anyhow::Result<()> {
    let config = std::fs::read(&training.config)?;
    crate::atomic::write_file(&out.join("config.json"), &config)?;
    write_model(&out.join(WEIGHTS), training.trainer.model(), CheckpointDtype::F32)
}

/// Writes the sequences of all steps as `batches`, `[steps, sequences, tokens]`, U32.
pub(crate) fn write_batches(out: &Path, rows: &[Vec<u32>], per_step: usize) -> anyhow::Result<()> {
    write_rows(&out.join("batches.safetensors"), rows, per_step)
}
