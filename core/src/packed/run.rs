//! Generating, and scoring what is given.

use super::model::Tokens;
use super::{PackedError, PackedLlama};
use crate::kernels::packed::{Candidates, Compute, MAX_ROWS, STATISTICS_WORDS};
use crate::llama::{ForwardError, check_tokens};
use crate::sampling::{Sampling, log_sum_exp};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use std::ops::ControlFlow;

/// A token that was written, or given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The token.
    pub token: u32,
    /// Its log-probability, nats, before temperature and top-p.
    pub logprob: f32,
    /// The likeliest tokens at its place.
    pub candidates: Candidates,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationEnd {
    /// The model ended the sequence.
    Eos,
    /// The limit of tokens, or the context is full.
    Length,
    /// The caller broke.
    Cancelled,
}

/// What scoring a sequence gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Scored {
    /// Of each token from the first scored one on.
    All(Vec<Step>),
    /// The caller broke.
    Cancelled,
}

impl<C: Compute> PackedLlama<C> {
    fn check(&self, tokens: &[u32]) -> Result<(), PackedError> {
        check_tokens(self.config(), &[tokens])?;
        if tokens.len() > self.context() {
            return Err(ForwardError::TooLong { found: tokens.len(), limit: self.context() }.into());
        }
        Ok(())
    }

    /// Runs all of `prompt`; the candidates after its last token, or `None` when the caller broke.
    async fn prefill(
        &self,
        prompt: &[u32],
        turn: &mut impl AsyncFnMut() -> ControlFlow<()>,
    ) -> Result<Option<Candidates>, PackedError> {
        let mut chunks = prompt.chunks(MAX_ROWS).enumerate().peekable();
        while let Some((i, chunk)) = chunks.next() {
            let last = chunks.peek().is_none();
            let read = self.pass(&Tokens::Given(chunk), i * MAX_ROWS, last.then_some(&[]));
            if let Some(read) = read {
                let rows = read.await?;
                return Ok(Some(row(&rows, chunk.len() - 1)));
            }
            self.compute().flush();
            if turn().await.is_break() {
                return Ok(None);
            }
        }
        Err(ForwardError::Empty.into())
    }

    /// Writes after `prompt` (tokens, BOS included if wanted), at most `max_tokens`.
    ///
    /// `on_token` runs after each new token, `turn` between passes of the prompt; `Break` of either cancels. At
    /// temperature 0 the device feeds itself the likeliest token, and the next pass runs while the last one's few words
    /// are read back.
    ///
    /// # Errors
    /// [`PackedError`].
    pub async fn generate(
        &self,
        prompt: &[u32],
        max_tokens: usize,
        sampling: &Sampling,
        seed: u64,
        mut turn: impl AsyncFnMut() -> ControlFlow<()>,
        mut on_token: impl AsyncFnMut(&Step) -> ControlFlow<()>,
    ) -> Result<GenerationEnd, PackedError> {
        sampling.check()?;
        self.check(prompt)?;
        let room = self.context() - prompt.len();
        let max_tokens = max_tokens.min(room);
        if max_tokens == 0 {
            return Ok(GenerationEnd::Length);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let greedy = sampling.temperature == 0.0;
        let Some(mut candidates) = self.prefill(prompt, &mut turn).await? else {
            return Ok(GenerationEnd::Cancelled);
        };
        // `next` has the first row's likeliest token, which after several rows is not the last one's.
        let mut device_has_token = prompt.len() % MAX_ROWS == 1;
        let mut several = !device_has_token;
        for written in 0..max_tokens {
            let position = prompt.len() + written;
            let end = written + 1 == max_tokens;
            if !candidates.is_finite() {
                return Err(PackedError::NonFiniteLogits { position: position - 1 });
            }
            let (token, logprob) = if greedy {
                (candidates.tokens[0], candidates.logprobs[0])
            } else {
                self.sample((prompt.len() - 1) % MAX_ROWS, several, position - 1, sampling, &mut rng).await?
            };
            let eos = self.config().eos_token_ids.contains(&token);
            let ahead = (!end && !eos).then(|| {
                let tokens =
                    if greedy && device_has_token { Tokens::Likeliest } else { Tokens::Given(&[token]) };
                self.pass(&tokens, position, Some(&[])).expect("statistics were asked for")
            });
            if eos {
                return Ok(GenerationEnd::Eos);
            }
            if on_token(&Step { token, logprob, candidates }).await.is_break() {
                return Ok(GenerationEnd::Cancelled);
            }
            if let Some(read) = ahead {
                candidates = row(&read.await?, 0);
                device_has_token = true;
                several = false;
            }
        }
        Ok(GenerationEnd::Length)
    }

    /// Draws from the logits of the last pass.
    async fn sample(
        &self,
        last_row: usize,
        several: bool,
        position: usize,
        sampling: &Sampling,
        rng: &mut ChaCha8Rng,
    ) -> Result<(u32, f32), PackedError> {
        let logits = self.logits(several).await?;
        let vocab = self.config().vocab_size;
        let start = if several { last_row * vocab } else { 0 };
        let logits = &logits[start..start + vocab];
        let log_z = log_sum_exp(logits).ok_or(PackedError::NonFiniteLogits { position })?;
        let token = sampling.draw(logits, rng);
        #[expect(clippy::cast_possible_truncation, reason = "reported in f32")]
        Ok((token, (f64::from(logits[token as usize]) - log_z) as f32))
    }

    /// Scores `tokens` from index `from` (at least 1) on: what the model gives to each of them after those before it.
    ///
    /// `on_steps` gets the steps of each pass as they come; `Break` cancels.
    ///
    /// # Errors
    /// [`PackedError`].
    pub async fn score(
        &self,
        tokens: &[u32],
        from: usize,
        mut on_steps: impl AsyncFnMut(&[Step]) -> ControlFlow<()>,
    ) -> Result<Scored, PackedError> {
        self.check(tokens)?;
        let from = from.max(1);
        let mut all = Vec::with_capacity(tokens.len().saturating_sub(from));
        // The last token is only scored, not run.
        let runs = &tokens[..tokens.len() - 1];
        for (i, chunk) in runs.chunks(MAX_ROWS).enumerate() {
            let start = i * MAX_ROWS;
            let targets = &tokens[start + 1..start + 1 + chunk.len()];
            let wanted = start + chunk.len() >= from;
            let mut steps = Vec::new();
            match self.pass(&Tokens::Given(chunk), start, wanted.then_some(targets)) {
                Some(read) => {
                    let rows = read.await?;
                    for (j, &token) in targets.iter().enumerate().filter(|(j, _)| start + j + 1 >= from) {
                        let candidates = row(&rows, j);
                        if !candidates.is_finite() {
                            return Err(PackedError::NonFiniteLogits { position: start + j });
                        }
                        steps.push(Step { token, logprob: candidates.target, candidates });
                    }
                }
                None => self.compute().flush(),
            }
            let flow = on_steps(&steps).await;
            all.append(&mut steps);
            if flow.is_break() {
                return Ok(Scored::Cancelled);
            }
        }
        Ok(Scored::All(all))
    }
}

fn row(words: &[u32], row: usize) -> Candidates {
    Candidates::from_words(&words[row * STATISTICS_WORDS..(row + 1) * STATISTICS_WORDS])
}
