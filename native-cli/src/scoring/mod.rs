//! The scoring of several languages, as `score` and `demo` both run it: in bounded memory, and so
//! that it goes on where it was ended.

mod files;
mod finish;
mod merge;
mod packed;
mod state;
mod weights;

pub(crate) use merge::merge;
pub(crate) use packed::{PackedLanguage, take_shard};
pub(crate) use state::PROGRESS;
pub(crate) use weights::{PrefetchReader, StoredWeights};

use crate::output;
use crate::progress::Progress;
use crate::run::{LanguageRecord, MANIFEST, Manifest, ModelRecord, ScoreSettings};
use crate::synth::check_free_space;
use anyhow::Context as _;
use burn::tensor::DType;
use codingspot_core::Device;
use codingspot_core::config::LlamaConfig;
use codingspot_core::kernels::sums::Reduction;
use codingspot_core::layout::{Module, ParameterLayout, TensorSpec};
use codingspot_core::score::{
    Collect, Estimator, HostSums, InputSquares, MemoryPlan, Needs, Scorer, SumKey, SumPart, Sums, Weights,
    add_parts, band_elements, bands,
};
use files::{ValueReader, ValueWriter, read_vectors, write_vectors};
use finish::{FinishPaths, Finisher};
use serde::{Deserialize, Serialize};
use state::{Current, Identity, State};
use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two checkpoints, where the sums stay on the device, at least this much time passes, and
/// twenty times what writing one takes.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(60);
const CHECKPOINT_SHARE: u32 = 20;

/// One of several runs that together are one scoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// Counted from 1.
    pub(crate) index: usize,
    pub(crate) count: usize,
}

/// Everything that a scoring needs.
#[derive(Debug)]
pub(crate) struct ScoreJob<'a> {
    /// Directory of the run.
    pub(crate) path: &'a Path,
    pub(crate) config: &'a LlamaConfig,
    pub(crate) model: ModelRecord,
    /// Settings; the estimator in them is set for each of `estimators`.
    pub(crate) settings: ScoreSettings,
    pub(crate) estimators: Vec<Estimator>,
    pub(crate) languages: Vec<PackedLanguage>,
    pub(crate) stored: std::sync::Arc<StoredWeights>,
    pub(crate) weights: Weights,
    pub(crate) device: &'a Device,
    pub(crate) plan: MemoryPlan,
    /// Batches after which the sums are written to disk at the latest.
    pub(crate) checkpoint_every: Option<usize>,
}

/// What the estimators collect together.
pub(crate) fn collect(estimators: &[Estimator]) -> Collect {
    let mut reductions: Vec<Reduction> = estimators
        .iter()
        .filter_map(|estimator| match estimator.needs() {
            Needs::Gradients(reduction) => Some(reduction),
            Needs::Inputs | Needs::Nothing => None,
        })
        .collect();
    reductions.sort_unstable();
    reductions.dedup();
    Collect { reductions, inputs: estimators.iter().any(|estimator| estimator.needs() == Needs::Inputs) }
}

/// Where the run of one estimator lies: the directory itself, unless there are several.
fn estimator_path(path: &Path, estimators: &[Estimator], estimator: Estimator) -> PathBuf {
    if estimators.len() == 1 { path.to_owned() } else { path.join(estimator.name()) }
}

fn total_file(folder: &Path, estimator: Estimator) -> PathBuf {
    folder.join(format!("total-{}.safetensors", estimator.name()))
}

fn sums_file(folder: &Path, (reduction, part): SumFile) -> PathBuf {
    let name = match reduction {
        Reduction::Signed => "signed",
        Reduction::Absolute => "absolute",
        Reduction::Square => "square",
    };
    let part = match part {
        SumPart::Main => "",
        SumPart::Lookup => "-lookups",
    };
    folder.join(format!("sums-{name}{part}.safetensors"))
}

/// What one file of sums holds.
type SumFile = (Reduction, SumPart);

const INPUTS: &str = "inputs.safetensors";

impl ScoreJob<'_> {
    fn identity(&self) -> anyhow::Result<Identity> {
        let mut settings = serde_json::to_value(&self.settings)?;
        if let Some(settings) = settings.as_object_mut() {
            settings.insert("estimator".to_owned(), serde_json::to_value(&self.estimators)?);
        }
        Ok(Identity {
            fingerprint: self.model.fingerprint.to_string(),
            settings,
            languages: self.languages.iter().map(|l| (l.name.clone(), l.digest())).collect(),
        })
    }

    /// Scores, from the start or from the last checkpoint in `path`; returns one manifest for each
    /// estimator.
    pub(crate) fn run(self) -> anyhow::Result<Vec<Manifest>> {
        let path = self.path.to_owned();
        crate::memory::keep_freed_memory();
        // wgpu reports a lost device or memory that ran out by a panic.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run_inner()));
        outcome
            .unwrap_or_else(|panic| {
                let reason = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no reason given");
                Err(anyhow::anyhow!("the device failed: {reason}"))
            })
            .with_context(|| {
                if path.join(PROGRESS).is_file() {
                    format!(
                        "scoring ended early; the same command goes on from the last checkpoint in {}",
                        path.display()
                    )
                } else {
                    "scoring failed".to_owned()
                }
            })
    }

    /// Most bytes on disk at one time: totals before and after a language, sums before and after a
    /// checkpoint, and what is kept of every language.
    fn disk_bytes(&self, layout: &ParameterLayout) -> u64 {
        let one = 4 * layout.num_parameters();
        let (estimators, languages) = (self.estimators.len() as u64, self.languages.len() as u64);
        let copies = |several: bool| if several { 2 } else { 1 };
        let totals = if self.settings.shard.is_some() { 0 } else { estimators * copies(languages > 1) };
        let longest = self.languages.iter().map(PackedLanguage::batches).max().unwrap_or(0);
        let at_once = if self.plan.sums_resident { 1 } else { self.plan.batches_per_pass };
        let checkpoints = longest > at_once && self.settings.fine_tune.is_none();
        let sums = if checkpoints { collect(&self.estimators).reductions.len() as u64 * 2 } else { 0 };
        let every = self.settings.keep_language_scores || self.settings.shard.is_some();
        let kept = if every { estimators * languages } else { 0 };
        // The top of a language has ten bytes an entry.
        let tops = estimators * languages * 10 * layout.num_parameters() / 100;
        one * (totals + sums + kept) + tops
    }

    fn run_inner(self) -> anyhow::Result<Vec<Manifest>> {
        // The last language's corpus too, before anything is computed or written.
        for language in &self.languages {
            language
                .check(self.config)
                .with_context(|| format!("the corpus of {} was refused", language.name))?;
        }
        let layout = ParameterLayout::new(self.config);
        let mut state = State::open(self.path, self.identity()?)?;
        if state.is_new() {
            let room = check_free_space(self.path, self.disk_bytes(&layout));
            if let Err(error) = room {
                // Nothing was begun that could go on.
                state.remove()?;
                return Err(error);
            }
        }
        let done = state.done().len();
        if done > 0 || state.current().is_some() {
            let batches = state.current().map_or(0, |current| current.batch_losses_nats.len());
            output::note(&format!(
                "Going on with {}: {done} of {} languages done, {batches} batches of the next",
                self.path.display(),
                self.languages.len()
            ));
        }
        let collect = collect(&self.estimators);
        let longest = self.languages.iter().map(PackedLanguage::seq_len).max().unwrap_or(2);
        let mut scorer = Scorer::new(
            self.weights,
            self.config,
            self.device,
            longest,
            self.plan.residency(),
            &collect,
            self.settings.loss_scale,
        )
        .with_dtype(if self.settings.dtype == "f16" { DType::F16 } else { DType::F32 });
        if let Some(fine_tune) = self.settings.fine_tune {
            scorer = scorer.with_fine_tuning(fine_tune);
        }
        let passes =
            |language: &PackedLanguage| self.settings.fine_tune.map_or(language.batches(), |tune| tune.steps);
        let total: usize = self.languages.iter().map(passes).sum();
        let mut progress = Progress::new("Scoring", total as u64);
        let mut batches_done: usize =
            self.languages[..done.min(self.languages.len())].iter().map(passes).sum();
        let context = Context {
            path: self.path,
            layout: &layout,
            estimators: &self.estimators,
            reductions: &collect.reductions,
            stored: &self.stored,
            device: self.device,
            plan: &self.plan,
            settings: &self.settings,
            model: &self.model,
            checkpoint_every: self.checkpoint_every,
        };
        if collect != (Collect { reductions: Vec::new(), inputs: false }) {
            for language in self.languages.iter().skip(done) {
                progress.rename(&format!("Scoring {}", language.name));
                let mut tick = |batches: usize| {
                    batches_done += batches;
                    progress.set(batches_done as u64);
                };
                context
                    .language(&mut scorer, &mut state, language, &mut tick)
                    .with_context(|| format!("scoring {} failed", language.name))?;
            }
        }
        progress.finish();
        drop(scorer);
        context.finish(state)
    }
}

/// What the steps of a scoring share.
struct Context<'a> {
    path: &'a Path,
    layout: &'a ParameterLayout,
    estimators: &'a [Estimator],
    reductions: &'a [Reduction],
    stored: &'a StoredWeights,
    device: &'a Device,
    plan: &'a MemoryPlan,
    settings: &'a ScoreSettings,
    model: &'a ModelRecord,
    checkpoint_every: Option<usize>,
}

impl Context<'_> {
    fn language(
        &self,
        scorer: &mut Scorer,
        state: &mut State,
        language: &PackedLanguage,
        tick: &mut dyn FnMut(usize),
    ) -> anyhow::Result<()> {
        let before = state.current().cloned();
        let (mut losses, earlier) =
            before.as_ref().map_or((Vec::new(), 0.0), |c| (c.batch_losses_nats.clone(), c.seconds));
        let old = before.map(|current| state.folder(current.generation));
        let inputs = old
            .as_deref()
            .map_or(Ok(InputSquares::default()), |old| self.read_inputs(old, language, losses.len()))?;
        scorer.restore_inputs(&inputs);
        tick(losses.len());
        let started = Instant::now();
        let seconds = || earlier + started.elapsed().as_secs_f64();
        let generation = if self.plan.sums_resident {
            self.language_on_device(scorer, state, language, old, &mut losses, &seconds, tick)?
        } else {
            self.language_by_passes(scorer, state, language, old, &mut losses, &seconds, tick)?
        };
        let record = LanguageRecord {
            name: language.name.clone(),
            documents: language.documents,
            batches: losses.len(),
            sequences: losses.len() * language.batch_size,
            dropped_sequences: language.dropped,
            tokens: (losses.len() * language.batch_size * language.seq_len()) as u64,
            loss_nats_per_token: losses.iter().sum::<f64>() / losses.len() as f64,
            batch_losses_nats: losses,
            seconds: seconds(),
        };
        state.language_done(record, generation)
    }

    /// The sums stay on the device until the language is done; copies go to disk in between.
    #[expect(clippy::too_many_arguments, reason = "one step of `language`, cut off for length")]
    fn language_on_device(
        &self,
        scorer: &mut Scorer,
        state: &mut State,
        language: &PackedLanguage,
        old: Option<PathBuf>,
        losses: &mut Vec<f64>,
        seconds: &dyn Fn() -> f64,
        tick: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Option<u64>> {
        let fine_tune = self.settings.fine_tune;
        let mut sums = if fine_tune.is_some() {
            scorer.restart_fine_tuning();
            Sums::along_steps(self.device, self.reductions)
        } else {
            Sums::on_device(self.device)
        };
        let passes = self.passes(language);
        if let Some(old) = old {
            for (kind, file) in self.sum_readers(&old)? {
                let (reduction, part) = kind;
                for (tensor, spec) in self.sum_tensors(kind).iter().enumerate() {
                    for band in 0..bands(spec).len() {
                        let values = file.read(tensor, band_elements(spec, band))?;
                        sums.restore(self.layout, SumKey { reduction, tensor, band, part }, values);
                    }
                }
            }
        }
        let mut last_checkpoint = Instant::now();
        let mut took = Duration::ZERO;
        let mut since = 0;
        while losses.len() < passes {
            let batch = losses.len() % language.batches();
            let rows = language.batch(batch);
            let loss = pollster::block_on(scorer.pass(&[&rows], &mut sums)).map_err(|e| e.in_batch(batch))?;
            losses.extend(loss);
            since += 1;
            tick(1);
            let due = match self.checkpoint_every {
                Some(every) => since >= every,
                None => last_checkpoint.elapsed() > CHECKPOINT_AFTER.max(took * CHECKPOINT_SHARE),
            };
            // Moved weights are not on disk, so fine-tuning begins a language anew.
            if due && losses.len() < passes && fine_tune.is_none() {
                let begun = Instant::now();
                let generation = state.new_generation();
                let folder = state.folder(generation);
                let mut writers = self.sum_writers(&folder)?;
                pollster::block_on(sums.read_device(|key, values| -> anyhow::Result<()> {
                    let first = band_elements(&self.layout.tensors()[key.tensor], key.band).start;
                    let writer =
                        writers.get_mut(&(key.reduction, key.part)).context("a writer for every sum")?;
                    writer.write(key.tensor, first, &values)
                }))?;
                for (_, writer) in writers {
                    writer.finish()?;
                }
                self.write_inputs(scorer, &folder)?;
                state.checkpoint(Current {
                    batch_losses_nats: losses.clone(),
                    seconds: seconds(),
                    generation,
                })?;
                took = begun.elapsed();
                last_checkpoint = Instant::now();
                since = 0;
            }
        }
        let generation = state.new_generation();
        let inputs = pollster::block_on(scorer.take_inputs())?;
        let mut finishers = self.finishers(state, generation, &language.name, passes as u64)?;
        pollster::block_on(sums.read_whole(async |key, values| -> anyhow::Result<()> {
            let first = band_elements(&self.layout.tensors()[key.tensor], key.band).start;
            finish_sums(&mut finishers, self.stored, key, first, values)
        }))?;
        self.finish_language(finishers, &inputs, &language.name)?;
        Ok(Some(generation))
    }

    /// The sums visit the device once a pass, and each pass leaves a checkpoint; the last one goes
    /// straight on to scores.
    #[expect(clippy::too_many_arguments, reason = "one step of `language`, cut off for length")]
    fn language_by_passes(
        &self,
        scorer: &mut Scorer,
        state: &mut State,
        language: &PackedLanguage,
        mut old: Option<PathBuf>,
        losses: &mut Vec<f64>,
        seconds: &dyn Fn() -> f64,
        tick: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Option<u64>> {
        loop {
            let first = losses.len();
            let most = self.plan.batches_per_pass.min(self.checkpoint_every.unwrap_or(usize::MAX));
            let end = language.batches().min(first + most);
            let last = end == language.batches();
            let rows: Vec<Vec<&[u32]>> = (first..end).map(|batch| language.batch(batch)).collect();
            let batches: Vec<&[&[u32]]> = rows.iter().map(Vec::as_slice).collect();
            let generation = state.new_generation();
            let folder = state.folder(generation);
            let readers = old.as_deref().map_or(Ok(BTreeMap::new()), |old| self.sum_readers(old))?;
            let finishers = if last {
                Some(self.finishers(state, generation, &language.name, language.batches() as u64)?)
            } else {
                None
            };
            let mut host = HostFiles {
                layout: self.layout,
                stored: self.stored,
                old: readers,
                new: self.sum_writers(&folder)?,
                written: HashSet::new(),
                finishers,
            };
            let mut sums = Sums::on_host(self.device, &mut host);
            let pass = pollster::block_on(scorer.pass(&batches, &mut sums)).map_err(|e| e.in_batch(first))?;
            losses.extend(pass);
            tick(end - first);
            let HostFiles { new, finishers, .. } = host;
            if let Some(finishers) = finishers {
                let inputs = pollster::block_on(scorer.take_inputs())?;
                self.finish_language(finishers, &inputs, &language.name)?;
                for (kind, writer) in new {
                    drop(writer);
                    let scratch = sums_file(&folder, kind);
                    fs::remove_file(&scratch)
                        .with_context(|| format!("{} can't be removed", scratch.display()))?;
                }
                return Ok(Some(generation));
            }
            for (_, writer) in new {
                writer.finish()?;
            }
            self.write_inputs(scorer, &folder)?;
            state.checkpoint(Current {
                batch_losses_nats: losses.clone(),
                seconds: seconds(),
                generation,
            })?;
            old = Some(folder);
        }
    }

    /// Batches that the sums of a language are over: steps, when the weights move.
    fn passes(&self, language: &PackedLanguage) -> usize {
        self.settings.fine_tune.map_or(language.batches(), |tune| tune.steps)
    }

    /// The files that sums are in.
    fn sum_files(&self) -> Vec<SumFile> {
        let mut files: Vec<SumFile> =
            self.reductions.iter().map(|&reduction| (reduction, SumPart::Main)).collect();
        let tied = self.layout.tensors().last().is_some_and(|last| last.module == Module::Norm);
        if tied {
            files.extend(self.reductions.iter().map(|&reduction| (reduction, SumPart::Lookup)));
        }
        files
    }

    /// The tensors that such a file has.
    fn sum_tensors(&self, (_, part): SumFile) -> &[TensorSpec] {
        match part {
            SumPart::Main => self.layout.tensors(),
            // The embedding alone.
            SumPart::Lookup => &self.layout.tensors()[..1],
        }
    }

    fn sum_writers(&self, folder: &Path) -> anyhow::Result<BTreeMap<SumFile, ValueWriter>> {
        let create = |kind| ValueWriter::create(&sums_file(folder, kind), self.sum_tensors(kind));
        self.sum_files().into_iter().map(|kind| Ok((kind, create(kind)?))).collect()
    }

    fn sum_readers(&self, folder: &Path) -> anyhow::Result<BTreeMap<SumFile, ValueReader>> {
        let open = |kind| ValueReader::open(&sums_file(folder, kind), self.sum_tensors(kind));
        self.sum_files().into_iter().map(|kind| Ok((kind, open(kind)?))).collect()
    }

    /// Squares of inputs, by index of their tensor.
    fn write_inputs(&self, scorer: &mut Scorer, folder: &Path) -> anyhow::Result<()> {
        let inputs = pollster::block_on(scorer.take_inputs())?;
        if inputs.tokens > 0 {
            let vectors: Vec<(String, Vec<f32>)> = inputs
                .by_tensor
                .iter()
                .map(|(tensor, values)| (tensor.to_string(), values.clone()))
                .collect();
            write_vectors(&folder.join(INPUTS), &vectors)?;
            scorer.restore_inputs(&inputs);
        }
        Ok(())
    }

    fn read_inputs(
        &self,
        folder: &Path,
        language: &PackedLanguage,
        batches: usize,
    ) -> anyhow::Result<InputSquares> {
        let file = folder.join(INPUTS);
        if !file.is_file() {
            return Ok(InputSquares::default());
        }
        let mut by_tensor = BTreeMap::new();
        for (name, values) in read_vectors(&file)? {
            let tensor: usize = name.parse().with_context(|| format!("{} was refused", file.display()))?;
            let spec =
                self.layout.tensors().get(tensor).filter(|spec| spec.shape.last() == Some(&values.len()));
            spec.with_context(|| format!("{} is of another model", file.display()))?;
            by_tensor.insert(tensor, values);
        }
        let tokens = (batches * language.batch_size * language.seq_len()) as u64;
        Ok(InputSquares { by_tensor, tokens })
    }

    /// One finisher for each estimator that a language has scores of.
    fn finishers(
        &self,
        state: &State,
        generation: u64,
        language: &str,
        batches: u64,
    ) -> anyhow::Result<Vec<Finisher<'_>>> {
        let old = state.total_folder();
        let new = state.folder(generation);
        self.estimators
            .iter()
            .filter(|estimator| estimator.needs() != Needs::Nothing)
            .map(|&estimator| {
                let folder =
                    estimator_path(self.path, self.estimators, estimator).join("languages").join(language);
                let mut finisher = if self.settings.shard.is_some() {
                    // The totals' folder is made all the same: the checkpoint names it.
                    fs::create_dir_all(&new)
                        .with_context(|| format!("{} can't be created", new.display()))?;
                    Finisher::contributions(self.layout, estimator, &folder)?
                } else {
                    let old = old.as_deref().map(|old| total_file(old, estimator));
                    let paths = FinishPaths {
                        old_total: old.as_deref(),
                        new_total: &total_file(&new, estimator),
                        folder: Some(&folder),
                        keep_scores: self.settings.keep_language_scores,
                    };
                    Finisher::scores(self.layout, estimator, batches, &paths)?
                };
                finisher.unscale = self.settings.loss_scale.recip();
                Ok(finisher)
            })
            .collect()
    }

    fn finish_language(
        &self,
        finishers: Vec<Finisher<'_>>,
        inputs: &InputSquares,
        language: &str,
    ) -> anyhow::Result<()> {
        for mut finisher in finishers {
            if finisher.estimator.needs() == Needs::Inputs {
                finisher.without_gradients(self.stored, inputs)?;
            }
            finisher.finish(self.model.fingerprint, language)?;
        }
        Ok(())
    }

    /// Writes the totals under their final names, and the manifests, which make the run whole.
    fn finish(&self, mut state: State) -> anyhow::Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        let records = state.done().to_vec();
        for &estimator in self.estimators {
            let path = estimator_path(self.path, self.estimators, estimator);
            let languages = if estimator.needs() == Needs::Nothing { Vec::new() } else { records.clone() };
            let settings = ScoreSettings { estimator, ..self.settings.clone() };
            let manifest = Manifest::new(self.model.clone(), settings, languages);
            manifests.push(manifest.clone());
            if path.join(MANIFEST).is_file() {
                continue;
            }
            let total = path.join("total").join("model.safetensors");
            let made = if estimator.needs() == Needs::Nothing {
                Some(self.score_without_data(&mut state, estimator)?)
            } else {
                state.total_folder().map(|folder| total_file(&folder, estimator))
            };
            if let Some(made) = made.filter(|made| made.is_file()) {
                let rename = || -> std::io::Result<()> {
                    fs::create_dir_all(path.join("total"))?;
                    fs::rename(&made, &total)
                };
                rename().with_context(|| format!("{} can't be written", total.display()))?;
            }
            anyhow::ensure!(
                total.is_file() || self.settings.shard.is_some(),
                "{} was lost; remove {} and score again",
                total.display(),
                self.path.display()
            );
            crate::atomic::write_file(&path.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
        }
        state.remove()?;
        Ok(manifests)
    }

    fn score_without_data(&self, state: &mut State, estimator: Estimator) -> anyhow::Result<PathBuf> {
        let generation = state.new_generation();
        let total = total_file(&state.folder(generation), estimator);
        let paths = FinishPaths { old_total: None, new_total: &total, folder: None, keep_scores: false };
        let mut finisher = Finisher::scores(self.layout, estimator, 1, &paths)?;
        finisher.seed = self.settings.seed;
        finisher.without_gradients(self.stored, &InputSquares::default())?;
        finisher.finish(self.model.fingerprint, "")?;
        Ok(total)
    }
}

/// Hands the sums of one buffer to the estimators that are made of them.
fn finish_sums(
    finishers: &mut [Finisher<'_>],
    stored: &StoredWeights,
    key: SumKey,
    first: u64,
    values: Vec<f32>,
) -> anyhow::Result<()> {
    let mut wanted: Vec<&mut Finisher<'_>> = finishers
        .iter_mut()
        .filter(|finisher| finisher.estimator.needs() == Needs::Gradients(key.reduction))
        .collect();
    if let Some(finisher) = wanted.pop() {
        finisher.sums(stored, key.tensor, first, values)?;
    }
    Ok(())
}

/// Sums in files: those of the last checkpoint, and those that this pass writes.
struct HostFiles<'a> {
    layout: &'a ParameterLayout,
    stored: &'a StoredWeights,
    old: BTreeMap<SumFile, ValueReader>,
    new: BTreeMap<SumFile, ValueWriter>,
    /// What this pass has written and is not done with.
    written: HashSet<SumKey>,
    /// In the last pass of a language: where its sums go at once.
    finishers: Option<Vec<Finisher<'a>>>,
}

impl HostSums for HostFiles<'_> {
    fn load(&mut self, key: SumKey) -> Result<Option<Vec<f32>>, Box<dyn Error + Send + Sync>> {
        let range = band_elements(&self.layout.tensors()[key.tensor], key.band);
        if self.written.contains(&key)
            && let Some(new) = self.new.get_mut(&(key.reduction, key.part))
        {
            return Ok(Some(new.read(key.tensor, range)?));
        }
        Ok(match self.old.get(&(key.reduction, key.part)) {
            Some(old) => Some(old.read(key.tensor, range)?),
            None => None,
        })
    }

    fn store(&mut self, key: SumKey, sums: Vec<f32>, last: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
        let first = band_elements(&self.layout.tensors()[key.tensor], key.band).start;
        if last && let Some(finishers) = &mut self.finishers {
            return Ok(finish_sums(finishers, self.stored, key, first, sums)?);
        }
        let new = self.new.get_mut(&(key.reduction, key.part)).ok_or("there is no file for these sums")?;
        new.write(key.tensor, first, &sums)?;
        self.written.insert(key);
        Ok(())
    }
    fn complete(&mut self, key: SumKey) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.finishers.is_none() {
            return Ok(());
        }
        let mut sums = self.load(key)?.ok_or("these sums were never stored")?;
        if let Some(lookups) = self.load(key.lookup())? {
            add_parts(&mut sums, &lookups);
        }
        self.store(key, sums, true)
    }
}
