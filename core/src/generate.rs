//! Streaming generation.

use crate::llama::{ForwardError, KvCache, Llama, read_f32};
use crate::sampling::{Sampling, SamplingError, argmax, log_sum_exp};
use crate::tokenizer::{TextStream, Tokenizer, TokenizerError};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Prompts are padded to a multiple of this, so that few shapes occur (the padding lies in the
/// future of every real token and is overwritten).
const PROMPT_MULTIPLE: usize = 32;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended the sequence.
    Eos,
    /// `max_tokens`, or the context is full.
    Length,
    /// A stop string occurred.
    StopString,
    /// The caller asked to stop.
    Cancelled,
}

/// Sampling settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateOptions {
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// 0 is greedy (ties go to the lower token); otherwise logits are divided by it.
    pub temperature: f64,
    /// Nucleus: the smallest set of tokens whose probability reaches this is sampled from.
    pub top_p: f64,
    /// Seed of `ChaCha8`; the same seed gives the same tokens on any platform, up to rounding of
    /// the logits.
    pub seed: u64,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 128, temperature: 0.0, top_p: 1.0, seed: 0, stop: Vec::new() }
    }
}

/// Why nothing could be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The prompt can't be run.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The prompt leaves no room.
    #[error(
        "the prompt has {prompt} tokens, the model's context is {context}: nothing can be added; shorten the prompt"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The model gave no usable distribution.
    #[error(
        "the logits after token {position} are not finite: the ablated model overflows, or the device fails"
    )]
    NonFiniteLogits {
        /// Position of the last token before them.
        position: usize,
    },
}

/// One new token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEvent {
    /// The token.
    pub id: u32,
    /// Log-probability that the model gave it, nats, before temperature and top-p.
    pub logprob: f32,
    /// Text that it completes (empty without a tokenizer or inside a character).
    pub text: String,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// New tokens, without the one that ended the sequence.
    pub ids: Vec<u32>,
    /// Log-probability of each, nats.
    pub logprobs: Vec<f32>,
    /// Their text, cut before a stop string.
    pub text: String,
    /// Why it ended.
    pub stop_reason: StopReason,
}

/// Generates after `prompt` (tokens, BOS included if wanted).
///
/// `on_token` runs after each new token; `Break` cancels. Text needs `tokenizer`. Four bytes a
/// vocabulary entry are read back per token.
///
/// # Errors
/// [`GenerateError`].
pub async fn generate(
    model: &Llama,
    tokenizer: Option<&Tokenizer>,
    prompt: &[u32],
    options: &GenerateOptions,
    mut on_token: impl AsyncFnMut(&TokenEvent) -> ControlFlow<()>,
) -> Result<Generation, GenerateError> {
    let sampling = Sampling { temperature: options.temperature, top_p: options.top_p };
    sampling.check()?;
    model.check_tokens(&[prompt])?;
    let context = model.config().max_position_embeddings;
    let room = context - prompt.len();
    if room == 0 && options.max_tokens > 0 {
        return Err(GenerateError::PromptTooLong { prompt: prompt.len(), context });
    }
    let max_tokens = options.max_tokens.min(room);
    let mut cache = KvCache::new(model, 1, prompt.len() + max_tokens);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut text = StreamedText::new(tokenizer, &options.stop);
    let mut generation = Generation {
        ids: Vec::new(),
        logprobs: Vec::new(),
        text: String::new(),
        stop_reason: StopReason::Length,
    };
    let mut logits = prefill(model, prompt, &mut cache).await?;
    while generation.ids.len() < max_tokens {
        let position = prompt.len() + generation.ids.len() - 1;
        let log_z = log_sum_exp(&logits).ok_or(GenerateError::NonFiniteLogits { position })?;
        let id = sampling.draw(&logits, &mut rng);
        if model.config().eos_token_ids.contains(&id) {
            generation.stop_reason = StopReason::Eos;
            break;
        }
        #[expect(clippy::cast_possible_truncation, reason = "reported in f32")]
        let logprob = (f64::from(logits[id as usize]) - log_z) as f32;
        generation.ids.push(id);
        generation.logprobs.push(logprob);
        let event = TokenEvent { id, logprob, text: text.push(id)? };
        if on_token(&event).await.is_break() {
            generation.stop_reason = StopReason::Cancelled;
            break;
        }
        if text.stopped {
            generation.stop_reason = StopReason::StopString;
            break;
        }
        if generation.ids.len() < max_tokens {
            let hidden = model.extend(&[id], &mut cache)?;
            logits = last_logits(model, hidden, 0).await?;
        }
    }
    generation.text = text.finish()?;
    Ok(generation)
}

/// Log-probabilities, nats, that the model gives to each of `continuation` after `prompt`, and
/// whether each is the most likely token (forced decoding through the same cached path as
/// [`generate`]).
///
/// # Errors
/// [`GenerateError`].
pub async fn forced_decode(
    model: &Llama,
    prompt: &[u32],
    continuation: &[u32],
) -> Result<Vec<(f32, u32)>, GenerateError> {
    model.check_tokens(&[prompt, continuation])?;
    let mut cache = KvCache::new(model, 1, prompt.len() + continuation.len());
    let mut logits = prefill(model, prompt, &mut cache).await?;
    let mut out = Vec::with_capacity(continuation.len());
    for (i, &id) in continuation.iter().enumerate() {
        let position = prompt.len() + i - 1;
        let log_z = log_sum_exp(&logits).ok_or(GenerateError::NonFiniteLogits { position })?;
        #[expect(clippy::cast_possible_truncation, reason = "reported in f32")]
        let logprob = (f64::from(logits[id as usize]) - log_z) as f32;
        out.push((logprob, argmax(&logits)));
        if i + 1 < continuation.len() {
            let hidden = model.extend(&[id], &mut cache)?;
            logits = last_logits(model, hidden, 0).await?;
        }
    }
    Ok(out)
}

/// Logits `[vocab]` after the last token of `prompt`, which fills the cache.
async fn prefill(model: &Llama, prompt: &[u32], cache: &mut KvCache) -> Result<Vec<f32>, ForwardError> {
    let padded = prompt.len().next_multiple_of(PROMPT_MULTIPLE);
    let padded = padded.min(model.config().max_position_embeddings).min(cache.capacity());
    let mut tokens = prompt.to_vec();
    tokens.resize(padded, 0);
    let hidden = model.extend(&tokens, cache)?;
    cache.truncate(prompt.len());
    last_logits(model, hidden, prompt.len() - 1).await
}

async fn last_logits(
    model: &Llama,
    hidden: burn::tensor::Tensor<3>,
    row: usize,
) -> Result<Vec<f32>, ForwardError> {
    let width = hidden.dims()[2];
    let hidden = hidden.slice([0..1, row..row + 1, 0..width]).reshape([1, width]);
    read_f32(model.logits(hidden)).await
}

/// Text so far, cut at stop strings. What may be the start of a stop string is held back.
struct StreamedText<'a> {
    stream: Option<TextStream<'a>>,
    stop: &'a [String],
    text: String,
    /// Bytes of `text` that were handed out.
    given: usize,
    stopped: bool,
}

impl<'a> StreamedText<'a> {
    fn new(tokenizer: Option<&'a Tokenizer>, stop: &'a [String]) -> Self {
        Self { stream: tokenizer.map(Tokenizer::stream), stop, text: String::new(), given: 0, stopped: false }
    }

    fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        let Some(stream) = &mut self.stream else { return Ok(String::new()) };
        let new = stream.push(id)?;
        self.text.push_str(&new);
        let cut = self.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| self.text.find(s.as_str())).min();
        if let Some(cut) = cut {
            self.text.truncate(cut);
            self.stopped = true;
        }
        let safe = if self.stopped { self.text.len() } else { self.text.len() - self.held_back() };
        let given = self.text.get(self.given..safe).unwrap_or_default().to_owned();
        self.given = self.given.max(safe);
        Ok(given)
    }

    /// Length of the longest end of the text that begins a stop string.
    fn held_back(&self) -> usize {
        let longest = |stop: &String| {
            (1..stop.len())
                .rev()
                .filter(|&len| stop.is_char_boundary(len))
                .find(|&len| self.text.ends_with(&stop[..len]))
                .unwrap_or(0)
        };
        self.stop.iter().map(longest).max().unwrap_or(0)
    }

    fn finish(self) -> Result<String, TokenizerError> {
        let mut text = self.text;
        if let (Some(stream), false) = (self.stream, self.stopped) {
            text.push_str(&stream.finish()?);
        }
        Ok(text)
    }
}
