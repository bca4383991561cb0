//! Training: a corpus and a config to a checkpoint, with everything that is needed to go on.
//!
//! A directory of a training has `config.json`, `tokenizer.json` and `model.safetensors` as any model,
//! `training.jsonl` (the log), `training.csv`, `training.json` (the outcome), and while it is unfinished
//! `checkpoint/` (weights and moments in f32, the settings, the step) and `tokens.safetensors`.

mod files;
mod held_out;
mod log;
pub(crate) mod replay;
mod settings;
mod tokens;

pub(crate) use held_out::{HeldOutLoss, mean};
pub(crate) use log::{Line, read as read_log};
pub(crate) use settings::{Settings, train_settings};
pub(crate) use tokens::Texts;

use crate::atomic::{self, NewDirectory};
use crate::model::{MAX_JSON_BYTES, MappedFile, read_text};
use crate::output;
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_core::Device;
use codingspot_core::checkpoint::{CheckpointDtype, LoadedModel, SafetensorsSource, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::llama::Llama;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_core::train::Trainer;
use held_out::HeldOut;
use log::Log;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokens::Tokens;

/// The log, in the directory of a training.
pub(crate) const LOG: &str = "training.jsonl";
/// The outcome.
pub(crate) const OUTCOME: &str = "training.json";
/// Checkpoints, each in a directory named by its step.
const CHECKPOINT: &str = "checkpoint";
/// Which of them counts, beside them: what it doesn't name is unfinished or old.
const PROGRESS: &str = "progress.json";
/// Weights in f32.
const WEIGHTS: &str = "model.safetensors";
/// The corpus as tokens.
const TOKENS: &str = "tokens.safetensors";
/// Moments.
const OPTIMIZER: &str = "optimizer.safetensors";

/// A training that is about to run.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) out: &'a Path,
    pub(crate) config: LlamaConfig,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) texts: Texts,
    pub(crate) settings: Settings,
    pub(crate) held_out: Option<PathBuf>,
    pub(crate) eval_every: u64,
    pub(crate) eval_documents: usize,
    pub(crate) checkpoint_every: u64,
    pub(crate) dtype: CheckpointDtype,
    pub(crate) deadline: Option<Instant>,
}

/// What a checkpoint says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    settings: Settings,
    step: u64,
    tokens_seen: u64,
    loss_scale: f32,
    seconds: f64,
}

/// How a training ended, or stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) settings: Settings,
    pub(crate) parameters: u64,
    pub(crate) steps: u64,
    pub(crate) tokens_seen: u64,
    pub(crate) corpus_tokens: u64,
    /// Seconds of steps and measurements, of all runs together.
    pub(crate) seconds: f64,
    /// Mean loss of the last 50 steps, nats per token.
    pub(crate) last_losses: Option<f64>,
    pub(crate) held_out: BTreeMap<String, HeldOutLoss>,
    /// Whether all steps were made.
    pub(crate) finished: bool,
    pub(crate) versions: serde_json::Value,
}

impl Job<'_> {
    /// Refuses a directory that holds another training, before anything in it is written to.
    pub(crate) fn check(&self, config_json: &str) -> anyhow::Result<()> {
        if self.saved()?.is_none() {
            return Ok(());
        }
        let path = self.out.join("config.json");
        let kept: serde_json::Value = serde_json::from_str(&read_text(&path, MAX_JSON_BYTES)?)
            .with_context(|| format!("{} was refused", path.display()))?;
        anyhow::ensure!(
            kept == serde_json::from_str::<serde_json::Value>(config_json)?,
            "{} holds a training of another config.json; give the same one, or another directory",
            self.out.display()
        );
        Ok(())
    }

    /// The checkpoint of `out`, if there is one, checked against the settings.
    fn saved(&self) -> anyhow::Result<Option<Saved>> {
        let path = self.out.join(CHECKPOINT).join(PROGRESS);
        if !path.is_file() {
            return Ok(None);
        }
        let text = read_text(&path, MAX_JSON_BYTES)?;
        let saved: Saved =
            serde_json::from_str(&text).with_context(|| format!("{} was refused", path.display()))?;
        anyhow::ensure!(
            self.settings.continues(&saved.settings),
            "{} holds a training with other settings ({}; now {}); give the same ones (only the schedule may differ), or another directory",
            self.out.display(),
            serde_json::to_string(&saved.settings)?,
            serde_json::to_string(&self.settings)?
        );
        Ok(Some(saved))
    }

    /// Trains, from `initial` or from the checkpoint of an earlier run.
    pub(crate) fn run(
        &self,
        device: &Device,
        initial: impl FnOnce() -> anyhow::Result<Llama>,
    ) -> anyhow::Result<Outcome> {
        let saved = self.saved()?;
        let Settings { train, seq_len, seed, .. } = self.settings;
        let mut trainer = match &saved {
            None => Trainer::new(initial()?, train, seq_len),
            Some(saved) => {
                let folder = self.out.join(CHECKPOINT).join(saved.step.to_string());
                let model = load_weights(&folder.join(WEIGHTS), &self.config, device)?;
                let mut trainer = Trainer::new(model, train, seq_len);
                let state = files::read_state(&folder.join(OPTIMIZER))?;
                trainer
                    .restore(saved.step, saved.loss_scale, state)
                    .with_context(|| format!("{} was refused", folder.join(OPTIMIZER).display()))?;
                output::note(&format!("Going on after step {}", output::grouped(saved.step)));
                trainer
            }
        };
        let mut tokens = Tokens::open(
            &self.out.join(TOKENS),
            &self.texts,
            &self.tokenizer,
            self.config.eos_token_ids.first().copied(),
            &self.settings.tokens,
            (seq_len, seed),
        )?;
        let held_out = self
            .held_out
            .as_deref()
            .map(|path| HeldOut::read(path, &self.tokenizer, seq_len, self.eval_documents))
            .transpose()?;
        let (mut tokens_seen, before) =
            saved.as_ref().map_or((0, 0.0), |saved| (saved.tokens_seen, saved.seconds));
        let mut log = Log::open(&self.out.join(LOG), trainer.steps())?;
        let (started, steps) = (Instant::now(), train.schedule.steps);
        let seconds = || before + started.elapsed().as_secs_f64();
        let per_step = self.settings.sequences_per_step() as u64;
        output::note(&format!(
            "{} parameters, {} tokens a step, {} steps: {:.2} passes over {} tokens",
            output::grouped(trainer.model().layout().num_parameters()),
            output::grouped(per_step * seq_len as u64),
            output::grouped(steps),
            (steps * per_step) as f64 / tokens.sequences() as f64,
            output::grouped(tokens.len() as u64)
        ));
        let mut progress = Progress::new("Training", steps).resumed(trainer.steps());
        let mut rate = Rate::default();
        let mut stopped = false;
        while trainer.steps() < steps && !stopped {
            let first = trainer.steps() * per_step;
            let rows: Vec<Vec<u32>> =
                (first..first + per_step).map(|number| tokens.sequence(number).to_vec()).collect();
            let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let batches: Vec<&[&[u32]]> = rows.chunks(self.settings.batch_size).collect();
            let began = Instant::now();
            let step = pollster::block_on(trainer.step(&batches))?;
            let took = began.elapsed();
            tokens_seen += step.tokens;
            rate.add(step.tokens, took);
            log.add(&Line::Step { step, tokens_seen, seconds: took.as_secs_f64() })?;
            progress.rename(&format!(
                "Step {} of {}: loss {:.3}, {} tokens/s",
                output::grouped(trainer.steps()),
                output::grouped(steps),
                step.loss_nats,
                output::grouped(rate.tokens_per_second())
            ));
            progress.set(trainer.steps());
            stopped = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let last = trainer.steps() == steps || stopped;
            if let Some(held_out) = &held_out
                && (last || trainer.steps().is_multiple_of(self.eval_every))
            {
                let losses = held_out.measure(trainer.model())?;
                output::note(&format!(
                    "Step {}: held-out {:.4} nats per token, {:.4} per character (mean of the code languages)",
                    output::grouped(trainer.steps()),
                    mean(&losses, |loss| loss.nats_per_token),
                    mean(&losses, |loss| loss.nats_per_character)
                ));
                log.add(&Line::HeldOut { steps: trainer.steps(), tokens_seen, held_out: losses })?;
            }
            if last || trainer.steps().is_multiple_of(self.checkpoint_every) {
                self.save(&trainer, tokens_seen, seconds())?;
                self.publish(&trainer, tokens_seen, tokens.len() as u64, seconds())?;
            }
        }
        progress.finish();
        self.publish(&trainer, tokens_seen, tokens.len() as u64, seconds())
    }

    /// Writes a checkpoint beside the last one, which counts until the new one is whole.
    fn save(&self, trainer: &Trainer, tokens_seen: u64, seconds: f64) -> anyhow::Result<()> {
        let checkpoints = self.out.join(CHECKPOINT);
        let name = trainer.steps().to_string();
        // Of an earlier run that was killed after it had written it, and before it counted.
        remove_others(&checkpoints, None, Some(&name))?;
        let new = NewDirectory::begin(&checkpoints.join(&name), None)?;
        files::write_model(&new.path().join(WEIGHTS), trainer.model(), CheckpointDtype::F32)?;
        files::write_state(&new.path().join(OPTIMIZER), &pollster::block_on(trainer.state())?)?;
        new.finish()?;
        let saved = Saved {
            settings: self.settings.clone(),
            step: trainer.steps(),
            tokens_seen,
            loss_scale: trainer.loss_scale(),
            seconds,
        };
        atomic::write_file(&checkpoints.join(PROGRESS), &serde_json::to_vec_pretty(&saved)?)?;
        remove_others(&checkpoints, Some(&name), None)
    }

    /// Writes the model as it is now, and what there is to say of it, for whoever looks while it trains.
    fn publish(
        &self,
        trainer: &Trainer,
        tokens_seen: u64,
        corpus_tokens: u64,
        seconds: f64,
    ) -> anyhow::Result<Outcome> {
        files::write_model(&self.out.join(WEIGHTS), trainer.model(), self.dtype)?;
        let lines = read_log(&self.out.join(LOG))?;
        atomic::write_file(&self.out.join("training.csv"), log::csv(&lines).as_bytes())?;
        let losses: Vec<f64> = lines
            .iter()
            .rev()
            .filter_map(|line| match line {
                Line::Step { step, .. } => Some(step.loss_nats),
                Line::HeldOut { .. } => None,
            })
            .take(50)
            .collect();
        let held_out = lines.iter().rev().find_map(|line| match line {
            Line::HeldOut { held_out, .. } => Some(held_out.clone()),
            Line::Step { .. } => None,
        });
        let outcome = Outcome {
            settings: self.settings.clone(),
            parameters: trainer.model().layout().num_parameters(),
            steps: trainer.steps(),
            tokens_seen,
            corpus_tokens,
            seconds,
            last_losses: (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64),
            held_out: held_out.unwrap_or_default(),
            finished: trainer.steps() >= self.settings.train.schedule.steps,
            versions: crate::results::versions(),
        };
        atomic::write_file(&self.out.join(OUTCOME), &serde_json::to_vec_pretty(&outcome)?)?;
        Ok(outcome)
    }
}

/// Removes directories of checkpoints: all but `keep`, or only `only`.
fn remove_others(checkpoints: &Path, keep: Option<&str>, only: Option<&str>) -> anyhow::Result<()> {
    if !checkpoints.is_dir() {
        return Ok(());
    }
    let failed = || format!("{} can't be tidied up", checkpoints.display());
    for entry in std::fs::read_dir(checkpoints).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let ours = name.starts_with(atomic::TEMPORARY) || name.bytes().all(|byte| byte.is_ascii_digit());
        let chosen = only.map_or(keep != Some(name), |only| only == name);
        if ours && chosen && entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).with_context(failed)?;
        }
    }
    Ok(())
}

/// The f32 weights of a checkpoint.
fn load_weights(path: &Path, config: &LlamaConfig, device: &Device) -> anyhow::Result<Llama> {
    let source = pollster::block_on(SafetensorsSource::open(vec![MappedFile::open(path)?]))?;
    let LoadedModel { model, .. } =
        pollster::block_on(load_model(&source, config, device, async |_| ControlFlow::Continue(())))
            .with_context(|| format!("{} was refused", path.display()))?;
    Ok(model)
}

/// Tokens a second over the last steps.
#[derive(Debug, Default)]
struct Rate {
    last: std::collections::VecDeque<(u64, Duration)>,
}

impl Rate {
    fn add(&mut self, tokens: u64, took: Duration) {
        self.last.push_back((tokens, took));
        if self.last.len() > 20 {
            self.last.pop_front();
        }
    }

    fn tokens_per_second(&self) -> u64 {
        let tokens: u64 = self.last.iter().map(|(tokens, _)| tokens).sum();
        let seconds: f64 = self.last.iter().map(|(_, took)| took.as_secs_f64()).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded")]
        let rate = (tokens as f64 / seconds.max(1e-9)) as u64;
        rate
    }
}
