//! Asking a model, and running the programs that it answers with.

use super::log::{Answer, AnswerLog, Sample};
use super::plan::{Question, TaskData, Work, program};
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_core::inference::{
    BatchOptions, GenerationJob, LoglikelihoodOptions, ScoredSequence, generate_batch, loglikelihoods,
};
use codingspot_core::llama::Llama;
use codingspot_core::sampling::Sampling;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_execution::Executor;
use codingspot_tasks::document::{Document, Request};
use codingspot_tasks::program::ProgramParts;
use std::ops::ControlFlow;

/// Questions whose likelihoods are computed together: what they have in common is computed once, and an interrupted
/// run loses these at most,
const CHUNK_QUESTIONS: usize = 128;
/// and their tokens, before anything is shared.
const CHUNK_TOKENS: usize = 1 << 18;
/// Programs whose verdicts are written together.
const CHUNK_PROGRAMS: usize = 32;

/// How a model is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    /// Texts for each question whose answer is a program.
    pub(crate) samples: u32,
    /// Texts at a time.
    pub(crate) batch_size: usize,
    pub(crate) share_prefixes: bool,
    /// Most tokens of a pass that reads prompts.
    pub(crate) pass_tokens: usize,
}

impl Settings {
    /// How texts of a task are drawn: greedily, unless answers are programs.
    fn sampling_of(self, data: &TaskData) -> Sampling {
        if data.task.is_code() { self.sampling } else { Sampling::GREEDY }
    }

    /// Texts for each question of a task: one, unless answers are programs.
    pub(crate) fn samples_of(self, data: &TaskData) -> u32 {
        if data.task.is_code() { self.samples } else { 1 }
    }
}

/// What takes part in asking.
pub(crate) struct Asker<'a> {
    pub(crate) model: &'a Llama,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) settings: Settings,
    pub(crate) progress: &'a mut Progress,
    /// Tokens of what is answered.
    pub(crate) done: &'a mut u64,
}

impl Asker<'_> {
    /// Asks what the log has no answer to.
    pub(crate) fn ask(
        &mut self,
        data: &TaskData,
        questions: &[Question],
        log: &mut AnswerLog,
    ) -> anyhow::Result<()> {
        let likelihoods = questions.iter().any(|question| matches!(question.work, Work::Likelihoods(_)));
        if likelihoods {
            self.likelihoods(questions, log)?
        } else {
            self.texts(data, questions, log)?
        }
        log.sync()
    }

    fn likelihoods(&mut self, questions: &[Question], log: &mut AnswerLog) -> anyhow::Result<()> {
        let options = LoglikelihoodOptions {
            share_prefixes: self.settings.share_prefixes,
            pass_tokens: self.settings.pass_tokens,
        };
        let missing: Vec<usize> =
            (0..questions.len()).filter(|place| !log.likelihoods.contains_key(place)).collect();
        let answered = |place: &usize| log.likelihoods.contains_key(place);
        *self.done +=
            (0..questions.len()).filter(answered).map(|place| questions[place].tokens()).sum::<u64>();
        let mut missing = missing.as_slice();
        while !missing.is_empty() {
            let mut tokens = 0;
            let fits = missing.iter().take(CHUNK_QUESTIONS).take_while(|&&place| {
                tokens +=
                    sequences(&questions[place]).iter().map(|sequence| sequence.input.len()).sum::<usize>();
                tokens <= CHUNK_TOKENS
            });
            let (chunk, rest) = missing.split_at(fits.count().max(1));
            missing = rest;
            let asked: Vec<ScoredSequence> =
                chunk.iter().flat_map(|&place| sequences(&questions[place])).cloned().collect();
            let (progress, before) = (&mut *self.progress, *self.done);
            let weight: u64 = chunk.iter().map(|&place| questions[place].tokens()).sum();
            let sums =
                pollster::block_on(loglikelihoods(self.model, &asked, options, async |done, total| {
                    progress.set(before + weight * done as u64 / total.max(1) as u64);
                    ControlFlow::Continue(())
                }))?
                .context("nobody cancels")?;
            let mut sums = sums.into_iter();
            let answers: Vec<(usize, Answer)> = chunk
                .iter()
                .map(|&place| {
                    let of = sums.by_ref().take(sequences(&questions[place]).len());
                    let (sums, greedy) =
                        of.map(|found| (found.sum.is_finite().then_some(found.sum), found.greedy)).unzip();
                    (place, Answer::Likelihoods { sums, greedy })
                })
                .collect();
            log.push(questions, answers)?;
            *self.done += weight;
            self.progress.set(*self.done);
        }
        Ok(())
    }

    fn texts(&mut self, data: &TaskData, questions: &[Question], log: &mut AnswerLog) -> anyhow::Result<()> {
        let samples = self.settings.samples_of(data);
        let mut jobs = Vec::new();
        let mut wanted = Vec::new();
        for (place, question) in questions.iter().enumerate() {
            let Work::Text { prompt, stop, decoding, max_tokens } = &question.work else { continue };
            for sample in 0..samples {
                if log.samples.contains_key(&(place, sample)) {
                    *self.done += question.tokens();
                    continue;
                }
                jobs.push(GenerationJob {
                    prompt: prompt.clone(),
                    max_tokens: *max_tokens,
                    stop: stop.clone(),
                    decoding: *decoding,
                    seed: seed(self.settings.seed, question, sample),
                });
                wanted.push((place, sample));
            }
        }
        if jobs.is_empty() {
            return Ok(());
        }
        // The texts of what is asked, which tokens alone don't give back to the letter.
        let documents = data.by_place()?;
        let options = BatchOptions {
            sampling: self.settings.sampling_of(data),
            sequences: self.settings.batch_size,
            pass_tokens: self.settings.pass_tokens,
            ..BatchOptions::default()
        };
        let (progress, done) = (&mut *self.progress, &mut *self.done);
        let mut failed = None;
        let generated =
            generate_batch(self.model, Some(self.tokenizer), &jobs, options, async |job, completion| {
                let (place, sample) = wanted[job];
                let question = &questions[place];
                let Some(document) = documents.get(&(question.subset.clone(), question.index)) else {
                    failed = Some(anyhow::anyhow!("document {} is gone", question.index));
                    return ControlFlow::Break(());
                };
                let text = Sample {
                    prompt: document.requests.first().map_or("", Request::context).to_owned(),
                    extracted: extract(document, &completion.text),
                    completion: completion.text,
                    end: completion.end_reason,
                    tokens: completion.ids.len() as u64,
                };
                if let Err(error) = log.push(questions, [(place, Answer::Sample { sample, text })]) {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                *done += question.tokens();
                progress.set(*done);
                ControlFlow::Continue(())
            });
        pollster::block_on(generated)?;
        failed.map_or(Ok(()), Err)
    }
}

fn sequences(question: &Question) -> &[ScoredSequence] {
    match &question.work {
        Work::Likelihoods(sequences) => sequences,
        Work::Text { .. } => &[],
    }
}

/// Seed of a sample's draws: of its own, so that a text depends on nothing else that is asked.
fn seed(seed: u64, question: &Question, sample: u32) -> u64 {
    let hash = blake3::hash(format!("{seed} {} {sample}", question.key).as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// What of a text is before its stop strings.
pub(crate) fn cut<'t>(document: &Document, text: &'t str) -> &'t str {
    match document.requests.first() {
        Some(Request::Generate { stop, cut, .. }) => cut.apply(text, stop),
        _ => text,
    }
}

/// What of a text is read.
fn extract(document: &Document, text: &str) -> String {
    let text = cut(document, text);
    program(document).map_or_else(|| text.to_owned(), |parts| parts.head.clone() + text)
}

/// Runs the programs of all texts of a task that have no verdict yet.
pub(crate) fn execute(
    executor: &Executor,
    data: &TaskData,
    questions: &[Question],
    log: &mut AnswerLog,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut missing: Vec<(usize, u32)> =
        log.samples.keys().filter(|key| !log.verdicts.contains_key(key)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    let documents = data.by_place()?;
    for (number, chunk) in missing.chunks(CHUNK_PROGRAMS).enumerate() {
        let done = number * CHUNK_PROGRAMS;
        progress.rename(&format!("{}: program {done} of {}", data.task, missing.len()));
        let mut programs: Vec<(&ProgramParts, &str)> = Vec::with_capacity(chunk.len());
        for key @ &(place, _) in chunk {
            let question = &questions[place];
            let document = documents.get(&(question.subset.clone(), question.index));
            let parts = document.and_then(|document| Some((document, program(document)?)));
            let (document, parts) =
                parts.with_context(|| format!("{}, document {}: no program", data.task, question.index))?;
            programs.push((parts, cut(document, &log.samples[key].completion)));
        }
        let verdicts = executor.run(&programs, |_| {})?;
        let answers = chunk.iter().zip(verdicts);
        let answers: Vec<(usize, Answer)> =
            answers.map(|(&(place, sample), verdict)| (place, Answer::Verdict { sample, verdict })).collect();
        log.push(questions, answers)?;
    }
    log.sync()
}
