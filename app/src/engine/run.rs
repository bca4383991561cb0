//! Runs: arms that write, or score what is given.

use super::load::Ready;
use super::wait::{Turns, now_ms};
use super::{Stops, failure, send};
use crate::protocol::{
    Arm, Candidate, EngineError, ErrorCode, FromEngine, RequestId, RunMode, Sampling, Snippet, StopReason,
    TokenInfo,
};
use codingspot_core::kernels::packed::Compute;
use codingspot_core::packed::{GenerationEnd, MaskChange, PackedError, Scored, Step};
use codingspot_core::sampling;
use codingspot_core::tokenizer::{TextStream, Tokenizer};
use std::cell::Cell;
use std::ops::ControlFlow;

/// Least time between two messages with an arm's tokens, milliseconds.
const BATCH_EVERY_MS: f64 = 34.0;

thread_local! {
    static TOKENS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Tokens of the arm that runs.
pub(crate) fn tokens_so_far() -> Option<u32> {
    TOKENS.get()
}

/// Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// What a run asks for.
pub(crate) struct Request {
    pub(crate) prompt: String,
    pub(crate) count: u64,
    pub(crate) arms: Vec<Arm>,
    pub(crate) mode: RunMode,
    pub(crate) given: Vec<u32>,
    pub(crate) sampling: Sampling,
}

/// Tokens on their way to the page: a few messages a second, not one a token.
struct Batches<'a> {
    id: RequestId,
    arm: Arm,
    tokenizer: &'a Tokenizer,
    stream: TextStream<'a>,
    waiting: Vec<TokenInfo>,
    sent: u32,
    sent_ms: f64,
    /// When the first token was there.
    first_ms: Option<f64>,
}

impl<'a> Batches<'a> {
    fn new(id: RequestId, arm: Arm, tokenizer: &'a Tokenizer, prompt: &[u32]) -> Result<Self, EngineError> {
        let stream = tokenizer.stream_after(prompt).map_err(|error| failure(ErrorCode::Generate, error))?;
        send(&FromEngine::ArmStarted { id, arm });
        TOKENS.set(Some(0));
        Ok(Self { id, arm, tokenizer, stream, waiting: Vec::new(), sent: 0, sent_ms: 0.0, first_ms: None })
    }

    fn push(&mut self, step: &Step) {
        let now = now_ms();
        self.first_ms.get_or_insert(now);
        // A token that can't be read as text is shown as none.
        let text = self.stream.push(step.token).unwrap_or_default();
        let top = step.candidates.tokens.iter().zip(step.candidates.logprobs).map(|(&token, logprob)| {
            Candidate { token, text: self.tokenizer.decode(&[token]).unwrap_or_default(), logprob }
        });
        self.waiting.push(TokenInfo { token: step.token, text, logprob: step.logprob, top: top.collect() });
        TOKENS.set(Some(self.count()));
        if now - self.sent_ms >= BATCH_EVERY_MS {
            self.flush();
        }
    }

    fn count(&self) -> u32 {
        self.sent + u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    fn flush(&mut self) {
        if !self.waiting.is_empty() {
            let (id, arm, first) = (self.id, self.arm, self.sent);
            self.sent = self.count();
            let tokens = std::mem::take(&mut self.waiting);
            send(&FromEngine::TokenBatch { id, arm, first, tokens });
        }
        self.sent_ms = now_ms();
    }

    /// Sends what is left; the text that no later token completes goes to the last one.
    fn finish(mut self, stop: StopReason, timed: bool) {
        let stream = std::mem::replace(&mut self.stream, self.tokenizer.stream());
        if let (Some(last), Ok(rest)) = (self.waiting.last_mut(), stream.finish()) {
            last.text.push_str(&rest);
        }
        self.flush();
        let seconds = self.first_ms.map_or(0.0, |first| (now_ms() - first) / 1_000.0);
        let tokens = self.sent;
        let tokens_per_s = (timed && tokens > 1 && seconds > 0.0).then(|| f64::from(tokens - 1) / seconds);
        send(&FromEngine::ArmFinished { id: self.id, arm: self.arm, stop, tokens, tokens_per_s });
    }
}

fn generate_error(error: PackedError) -> EngineError {
    match error {
        PackedError::Device(error) => failure(ErrorCode::Device, error),
        error => failure(ErrorCode::Generate, error),
    }
}

impl<C: Compute> Ready<C> {
    /// Switches an arm's parameters off, all others on.
    pub(crate) fn set_mask(&mut self, arm: Arm, count: u64) -> Result<MaskChange, EngineError> {
        match &mut self.masks {
            Some(masks) => Ok(masks.set(&self.model, arm, count)),
            None if arm == Arm::Original || count == 0 => Ok(MaskChange {
                count: 0,
                changed: 0,
                by_tensor: vec![0; self.model.layout().tensors().len()],
            }),
            None => Err(failure(ErrorCode::Spot, "no spot is loaded; choose one first")),
        }
    }

    /// Arms one after the other; whether all came to their end.
    pub(crate) async fn run(
        &mut self,
        id: RequestId,
        request: &Request,
        stops: &Stops,
        lost_at: &Cell<Option<u32>>,
    ) -> Result<bool, EngineError> {
        let prompt = self
            .tokenizer
            .encode_document(&request.prompt)
            .map_err(|error| failure(ErrorCode::Generate, error))?;
        if prompt.len() >= self.model.context() {
            let text = format!(
                "the prompt has {} tokens, the page runs sequences of {}; shorten it",
                prompt.len(),
                self.model.context()
            );
            return Err(failure(ErrorCode::Generate, text));
        }
        let mut given = request.given.clone();
        let mut given_stop = StopReason::Length;
        for &arm in &request.arms {
            self.set_mask(arm, request.count)?;
            let writes = request.mode == RunMode::OwnText || arm == Arm::Original;
            let done = if writes {
                let ended = self.write(id, arm, &prompt, &request.sampling, stops, lost_at).await?;
                let Some((tokens, stop)) = ended else { return Ok(false) };
                if arm == Arm::Original {
                    (given, given_stop) = (tokens, stop);
                }
                true
            } else {
                self.score_given(id, arm, &prompt, &given, given_stop, stops, lost_at).await?
            };
            if !done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn write(
        &self,
        id: RequestId,
        arm: Arm,
        prompt: &[u32],
        sampling: &Sampling,
        stops: &Stops,
        lost_at: &Cell<Option<u32>>,
    ) -> Result<Option<(Vec<u32>, StopReason)>, EngineError> {
        let mut batches = Batches::new(id, arm, &self.tokenizer, prompt)?;
        let mut tokens = Vec::new();
        let turns = Turns::default();
        let go = async || {
            turns.take().await;
            if stops.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let how = sampling::Sampling { temperature: sampling.temperature, top_p: sampling.top_p };
        let max = sampling.max_tokens as usize;
        let ended = self
            .model
            .generate(prompt, max, &how, sampling.seed, go, async |step| {
                tokens.push(step.token);
                batches.push(step);
                turns.take().await;
                let lost = lost_at.get().is_some_and(|at| batches.count() >= at);
                if lost || stops.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await
            .map_err(generate_error)?;
        let stop = match ended {
            GenerationEnd::Eos => StopReason::Eos,
            GenerationEnd::Length => StopReason::Length,
            GenerationEnd::Cancelled => {
                batches.flush();
                return self.lost_or_stopped(lost_at);
            }
        };
        batches.finish(stop, true);
        Ok(Some((tokens, stop)))
    }

    /// For tests of a device that is lost: says so, once.
    fn lost_or_stopped<T>(&self, lost_at: &Cell<Option<u32>>) -> Result<Option<T>, EngineError> {
        match (lost_at.get(), tokens_so_far()) {
            (Some(at), Some(tokens)) if tokens >= at => {
                lost_at.set(None);
                Err(failure(ErrorCode::Device, "the device was lost"))
            }
            _ => Ok(None),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what an arm is given")]
    async fn score_given(
        &self,
        id: RequestId,
        arm: Arm,
        prompt: &[u32],
        given: &[u32],
        stop: StopReason,
        stops: &Stops,
        lost_at: &Cell<Option<u32>>,
    ) -> Result<bool, EngineError> {
        let mut batches = Batches::new(id, arm, &self.tokenizer, prompt)?;
        if !given.is_empty() {
            let all: Vec<u32> = prompt.iter().chain(given).copied().collect();
            let turns = Turns::default();
            let scored = self
                .model
                .score(&all, prompt.len(), async |steps| {
                    for step in steps {
                        batches.push(step);
                    }
                    turns.take().await;
                    let lost = lost_at.get().is_some_and(|at| batches.count() >= at);
                    if lost || stops.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .await
                .map_err(generate_error)?;
            if scored == Scored::Cancelled {
                batches.flush();
                return Ok(self.lost_or_stopped::<()>(lost_at)?.is_some());
            }
        }
        batches.finish(stop, false);
        Ok(true)
    }

    /// The loss of each arm on texts, by language; whether all came to their end.
    pub(crate) async fn languages(
        &mut self,
        id: RequestId,
        snippets: &[Snippet],
        count: u64,
        arms: &[Arm],
        stops: &Stops,
    ) -> Result<bool, EngineError> {
        let turns = Turns::default();
        for &arm in arms {
            self.set_mask(arm, count)?;
            for texts in snippets.chunk_by(|a, b| a.language == b.language) {
                let mut means = Vec::new();
                let (mut sum, mut tokens) = (0.0, 0_u32);
                for Snippet { text, .. } in texts {
                    let mut ids = self
                        .tokenizer
                        .encode_document(text)
                        .map_err(|error| failure(ErrorCode::Generate, error))?;
                    ids.truncate(self.model.context());
                    if ids.len() < 2 {
                        continue;
                    }
                    let scored = self.model.score(&ids, 1, async |_| {
                        turns.take().await;
                        if stops.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    let Scored::All(steps) = scored.await.map_err(generate_error)? else { return Ok(false) };
                    let nll: f64 = steps.iter().map(|step| -f64::from(step.logprob)).sum();
                    means.push(nll / steps.len() as f64);
                    sum += nll;
                    tokens += u32::try_from(steps.len()).unwrap_or(u32::MAX);
                }
                send(&FromEngine::LanguageNll {
                    id,
                    arm,
                    language: texts[0].language.clone(),
                    mean: sum / f64::from(tokens.max(1)),
                    half_width: half_width(&means),
                    tokens,
                });
            }
        }
        Ok(true)
    }
}

/// Half the width of the 95 % interval of a mean.
fn half_width(values: &[f64]) -> Option<f64> {
    let n = values.len();
    let t = T_95.get(n.checked_sub(2)?).copied().unwrap_or(1.96);
    let mean = values.iter().sum::<f64>() / n as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    Some(t * (variance / n as f64).sqrt())
}
