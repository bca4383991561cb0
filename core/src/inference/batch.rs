//! Texts after many prompts.

use super::KvStore;
use super::pass::{self, TokenPass, rows_of};
use crate::generate::GenerateError;
use crate::kernels::argmax;
use crate::kernels::matmul::product_nt;
use crate::kernels::span_attention::PassKind;
use crate::llama::{ForwardError, Llama, read_f32};
use crate::sampling::{Sampling, log_sum_exp};
use crate::tokenizer::{TextStream, Tokenizer, TokenizerError};
use burn::tensor::Tensor;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

/// How new tokens become a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoding {
    /// By themselves, as lm-evaluation-harness does: decoders that leave out the space at a text's beginning do so
    /// here too.
    Alone,
    /// As what follows the prompt, as bigcode-evaluation-harness does.
    AfterPrompt,
}

/// A text to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationJob {
    /// Tokens to continue. Neighbouring jobs with the same prompt compute it once.
    pub prompt: Vec<u32>,
    /// At most this many new tokens; fewer where the context ends.
    pub max_tokens: usize,
    /// Generation ends where one of these has occurred; empty ones are left out.
    pub stop: Vec<String>,
    /// How tokens become text.
    pub decoding: Decoding,
    /// Seed of the draws.
    pub seed: u64,
}

/// How jobs are run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most sequences at a time.
    pub sequences: usize,
    /// Most bytes of keys and values; one sequence runs whatever it needs.
    pub cache_bytes: usize,
    /// Most tokens of a pass that reads prompts.
    pub pass_tokens: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { sampling: Sampling::GREEDY, sequences: 32, cache_bytes: 2 << 30, pass_tokens: 1024 }
    }
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The model ended it.
    Eos,
    /// It has as many tokens as it may, or the context is full.
    Length,
    /// A stop string occurred.
    StopString,
    /// Logits were not finite: an ablated model can overflow.
    NonFinite,
}

/// A finished text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// New tokens, without the one that ended the sequence.
    pub ids: Vec<u32>,
    /// Their text as it is, with the stop string that ended it and what its last token has after that.
    pub text: String,
    /// Why it ended.
    pub end_reason: EndReason,
}

/// What the model predicts after a token.
#[derive(Debug, Clone)]
enum Prediction {
    /// The most likely token; `None` where logits are not finite.
    Greedy(Option<u32>),
    /// All logits.
    Logits(Vec<f32>),
}

impl Prediction {
    /// A token, or `None` where there is no distribution.
    fn choose(&self, sampling: Sampling, rng: &mut ChaCha8Rng) -> Option<u32> {
        match self {
            Self::Greedy(token) => *token,
            Self::Logits(logits) => log_sum_exp(logits).map(|_| sampling.draw(logits, rng)),
        }
    }
}

/// A prompt whose keys and values are in the store.
#[derive(Debug)]
struct Prompt {
    tokens: Vec<u32>,
    rows: Range<usize>,
    slot: usize,
    after: Prediction,
}

/// A text in the making.
struct Sequence<'t> {
    job: usize,
    slot: usize,
    prompt: Rc<Prompt>,
    /// Row of its first new token.
    first_row: usize,
    ids: Vec<u32>,
    text: RawText<'t>,
    rng: ChaCha8Rng,
}

/// Text so far.
struct RawText<'t> {
    /// `None` without a tokenizer.
    stream: Option<TextStream<'t>>,
    text: String,
}

impl RawText<'_> {
    /// Adds a token; whether one of `stop` has occurred now.
    fn push(&mut self, id: u32, stop: &[String]) -> Result<bool, TokenizerError> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let new = stream.push(id)?;
        if new.is_empty() {
            return Ok(false);
        }
        let longest = stop.iter().map(String::len).max().unwrap_or(0);
        let mut from = self.text.len().saturating_sub(longest);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        self.text.push_str(&new);
        Ok(stop.iter().any(|stop| !stop.is_empty() && self.text[from..].contains(stop.as_str())))
    }

    /// All of it, with what was held back.
    fn finish(self) -> Result<String, TokenizerError> {
        let rest = self.stream.map_or(Ok(String::new()), TextStream::finish)?;
        Ok(self.text + &rest)
    }
}

/// Generates after the prompt of every job, and hands each text over when it is finished, in the order in which they
/// are: `on_finished(job, completion)`. On `Break` it ends.
///
/// Sequences join as others end, so that the device has work until the last ones. A text depends on its own job
/// alone on the CPU, to the bit; on GPUs, rounding may depend on what ran beside it. Without a tokenizer there are no
/// texts, and no stop strings.
///
/// # Errors
/// [`GenerateError`]: settings out of range, a prompt that can't be run or leaves no room, or a device that failed. Logits
/// that are not finite end a text, with [`EndReason::NonFinite`].
pub async fn generate_batch(
    model: &Llama,
    tokenizer: Option<&Tokenizer>,
    jobs: &[GenerationJob],
    options: BatchOptions,
    mut on_finished: impl AsyncFnMut(usize, Completion) -> ControlFlow<()>,
) -> Result<(), GenerateError> {
    options.sampling.check()?;
    let context = model.config().max_position_embeddings;
    let mut slot_rows = 1;
    for job in jobs {
        model.check_tokens(&[&job.prompt])?;
        let prompt = job.prompt.len();
        if prompt >= context && job.max_tokens > 0 {
            return Err(GenerateError::PromptTooLong { prompt, context });
        }
        slot_rows = slot_rows.max(prompt + job.max_tokens.min(context - prompt));
    }
    let within = options.cache_bytes / (slot_rows * KvStore::bytes_per_row(model));
    let slots = options.sequences.min(within).min(jobs.len()).max(1);
    let store = KvStore::new(model, slots * slot_rows, slot_rows);
    let mut batch =
        Batch { model, tokenizer, jobs, options, store, slot_rows, users: vec![0; slots], current: None };
    let mut next = 0;
    let mut active: Vec<Sequence<'_>> = Vec::new();
    loop {
        let (admitted, after) = batch.admit(next).await?;
        next = after;
        let mut going = Vec::with_capacity(active.len() + admitted.len());
        let predictions = batch.step(&active).await?;
        let fresh = admitted.into_iter().map(|sequence| {
            let prediction = sequence.prompt.after.clone();
            (sequence, prediction)
        });
        for (mut sequence, prediction) in
            std::mem::take(&mut active).into_iter().zip(predictions).chain(fresh)
        {
            match batch.advance(&mut sequence, &prediction)? {
                None => going.push(sequence),
                Some(end_reason) => {
                    let Sequence { job, slot, prompt, ids, text, .. } = sequence;
                    batch.users[slot] -= 1;
                    batch.users[prompt.slot] -= 1;
                    let text = text.finish()?;
                    if on_finished(job, Completion { ids, text, end_reason }).await.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        active = going;
        if active.is_empty() && next == jobs.len() {
            return Ok(());
        }
    }
}

struct Batch<'a> {
    model: &'a Llama,
    tokenizer: Option<&'a Tokenizer>,
    jobs: &'a [GenerationJob],
    options: BatchOptions,
    store: KvStore,
    slot_rows: usize,
    /// By slot: sequences that write to it, and sequences whose prompt lies in it.
    users: Vec<usize>,
    /// The prompt that was read last.
    current: Option<Rc<Prompt>>,
}

impl<'a> Batch<'a> {
    /// Takes in jobs from `next` on while there are slots: reads their prompts, as many in a pass as it holds. Returns
    /// their sequences, and the next job.
    async fn admit(&mut self, mut next: usize) -> Result<(Vec<Sequence<'a>>, usize), GenerateError> {
        let mut admitted = Vec::new();
        while next < self.jobs.len() {
            // Prompts that the pass reads, and their jobs.
            let mut reading: Vec<(usize, usize)> = Vec::new();
            let mut pass = TokenPass::new(PassKind::Prefill);
            while let (Some(job), Some(slot)) = (self.jobs.get(next), self.users.iter().position(|&n| n == 0))
            {
                let shared = self.current.clone().filter(|prompt| {
                    reading.is_empty() && self.users[prompt.slot] > 0 && prompt.tokens == job.prompt
                });
                if let Some(prompt) = shared {
                    admitted.push(self.sequence(next, slot, prompt, slot * self.slot_rows)?);
                    next += 1;
                    continue;
                }
                // Samples of a prompt that is being read wait for it.
                let waits =
                    reading.last().is_some_and(|&(job, _)| self.jobs[job].prompt == self.jobs[next].prompt);
                let full = pass.tokens.len() + job.prompt.len() > self.options.pass_tokens;
                if waits || (full && !reading.is_empty()) {
                    break;
                }
                let first = slot * self.slot_rows;
                let mut read = 0;
                // A prompt that is longer than a pass is read in several.
                while job.prompt.len() - read > self.options.pass_tokens {
                    let mut part = TokenPass::new(PassKind::Prefill);
                    let end = read + self.options.pass_tokens.max(1);
                    part.push(&job.prompt[read..end], past(first..first + read), first + read);
                    pass::run(self.model, &part, &mut self.store)?;
                    read = end;
                }
                pass.push(&job.prompt[read..], past(first..first + read), first + read);
                reading.push((next, slot));
                // Taken, until its sequence counts itself.
                self.users[slot] = 1;
                next += 1;
            }
            if reading.is_empty() {
                break;
            }
            let ends: Vec<usize> = pass
                .segments
                .iter()
                .scan(0, |end, segment| {
                    *end += segment.len;
                    Some(*end - 1)
                })
                .collect();
            let hidden = pass::run(self.model, &pass, &mut self.store)?;
            let predictions =
                self.predict(&rows_of(&hidden, &ends, self.model.config().vocab_size), ends.len()).await?;
            for ((job, slot), after) in reading.into_iter().zip(predictions) {
                let tokens = self.jobs[job].prompt.clone();
                let first = slot * self.slot_rows;
                let rows = first..first + tokens.len();
                let own = rows.end;
                let prompt = Rc::new(Prompt { tokens, rows, slot, after });
                self.users[slot] = 0;
                self.current = Some(prompt.clone());
                admitted.push(self.sequence(job, slot, prompt, own)?);
            }
        }
        Ok((admitted, next))
    }

    fn sequence(
        &mut self,
        job: usize,
        slot: usize,
        prompt: Rc<Prompt>,
        first_row: usize,
    ) -> Result<Sequence<'a>, GenerateError> {
        self.users[slot] += 1;
        self.users[prompt.slot] += 1;
        let request = &self.jobs[job];
        let stream = |tokenizer: &'a Tokenizer| match request.decoding {
            Decoding::Alone => Ok(tokenizer.stream()),
            Decoding::AfterPrompt => tokenizer.stream_after(&request.prompt),
        };
        let stream = self.tokenizer.map(stream).transpose()?;
        let text = RawText { stream, text: String::new() };
        let rng = ChaCha8Rng::seed_from_u64(request.seed);
        Ok(Sequence { job, slot, prompt, first_row, ids: Vec::new(), text, rng })
    }

    /// What the model predicts after the last token of every sequence.
    async fn step(&mut self, active: &[Sequence<'_>]) -> Result<Vec<Prediction>, ForwardError> {
        if active.is_empty() {
            return Ok(Vec::new());
        }
        let mut pass = TokenPass::new(PassKind::Decode);
        for sequence in active {
            let (Some(&last), earlier) = (sequence.ids.last(), sequence.ids.len().saturating_sub(1)) else {
                unreachable!("a sequence that goes on has a token")
            };
            let own = sequence.first_row + earlier;
            let prompt = sequence.prompt.rows.clone();
            let rows = if prompt.end == sequence.first_row {
                past(prompt.start..own)
            } else {
                [past(prompt), past(sequence.first_row..own)].concat()
            };
            pass.push(&[last], rows, own);
        }
        let hidden = pass::run(self.model, &pass, &mut self.store)?;
        self.predict(&hidden, active.len()).await
    }

    /// Predictions of the first `n` rows of last hidden states `[≥ n, hidden]`.
    async fn predict(&self, hidden: &Tensor<2>, n: usize) -> Result<Vec<Prediction>, ForwardError> {
        let head = self.model.lm_head.as_ref().unwrap_or(&self.model.embed_tokens);
        if self.options.sampling.temperature > 0.0 {
            let mut logits: Vec<Vec<f32>> = vec![Vec::new(); n];
            for band in head.bands() {
                let [width, _] = band.dims();
                let values = read_f32(product_nt(hidden, band)).await?;
                logits.iter_mut().zip(values.chunks_exact(width)).for_each(|(row, band)| row.extend(band));
            }
            return Ok(logits.into_iter().map(Prediction::Logits).collect());
        }
        let mut best: Vec<(f32, u32)> = vec![(f32::NEG_INFINITY, 0); n];
        let mut first = 0;
        for band in head.bands() {
            let [width, _] = band.dims();
            let (max, column) = argmax::rows(&product_nt(hidden, band));
            let found = read_f32(max).await?.into_iter().zip(read_f32(column).await?);
            for (best, (max, column)) in best.iter_mut().zip(found) {
                // A NaN stays.
                if max > best.0 || max.is_nan() {
                    *best = (max, first + column as u32);
                }
            }
            first += u32::try_from(width).expect("a vocabulary is below 2^24");
        }
        let greedy = |(max, token): (f32, u32)| Prediction::Greedy(max.is_finite().then_some(token));
        Ok(best.into_iter().map(greedy).collect())
    }

    /// Adds the predicted token to a sequence; the reason where it ends.
    fn advance(
        &self,
        sequence: &mut Sequence<'_>,
        prediction: &Prediction,
    ) -> Result<Option<EndReason>, GenerateError> {
        let job = &self.jobs[sequence.job];
        let room = self.model.config().max_position_embeddings - job.prompt.len();
        let most = job.max_tokens.min(room);
        if most == 0 {
            return Ok(Some(EndReason::Length));
        }
        let Some(token) = prediction.choose(self.options.sampling, &mut sequence.rng) else {
            return Ok(Some(EndReason::NonFinite));
        };
        if self.model.config().eos_token_ids.contains(&token) {
            return Ok(Some(EndReason::Eos));
        }
        sequence.ids.push(token);
        if sequence.text.push(token, &job.stop)? {
            return Ok(Some(EndReason::StopString));
        }
        Ok((sequence.ids.len() == most).then_some(EndReason::Length))
    }
}

/// A range of rows as a list without empty ones.
fn past(rows: Range<usize>) -> Vec<Range<usize>> {
    if rows.is_empty() { Vec::new() } else { vec![rows] }
}
