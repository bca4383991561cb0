//! A run that was recorded: what the page shows before a model is loaded, and what it saves.

use super::{State, arms};
use crate::protocol::{Arm, RunMode, Sampling, StopReason, TensorFacts, TokenInfo};
use serde::{Deserialize, Serialize};

/// Longest recording that is read, bytes.
pub const MAX_BYTES: usize = 8 << 20;
/// Version of the format.
const FORMAT: u32 = 1;
/// Most tokens of an arm that are shown.
const MAX_TOKENS: usize = 4096;

/// An arm of a recorded run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedArm {
    /// Which.
    pub arm: Arm,
    /// Why it ended.
    pub stop: StopReason,
    /// Speed when it was recorded.
    pub tokens_per_s: Option<f64>,
    /// Its tokens.
    pub tokens: Vec<TokenInfo>,
}

/// A recorded run of one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedRun {
    /// Its mode.
    pub mode: RunMode,
    /// The arms.
    pub arms: Vec<RecordedArm>,
}

/// What was recorded, and of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Version of the format.
    pub format: u32,
    /// What the model is called.
    pub model: String,
    /// Fingerprint of its weights.
    pub fingerprint: String,
    /// What computed, and how the matrices were held.
    pub computed_by: String,
    /// The spot: its name and which parameters competed.
    pub spot: String,
    /// Which parameters competed.
    pub scope: String,
    /// How many competed.
    pub parameters_in_scope: u64,
    /// How many were zero.
    pub count: u64,
    /// Seed of the random control and of sampling.
    pub seed: u64,
    /// The prompt.
    pub prompt: String,
    /// Sampling.
    pub sampling: Sampling,
    /// The runs, one for each mode.
    pub runs: Vec<RecordedRun>,
    /// Tensors of the model.
    pub tensors: Vec<TensorFacts>,
    /// How many were zero in each.
    pub by_tensor: Vec<u64>,
}

/// Reads a recording.
///
/// # Errors
/// One sentence: the text is too long, not of this form, or of another version.
pub fn read_recorded(text: &str) -> Result<Recorded, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the recorded run is longer than {MAX_BYTES} bytes"));
    }
    let recorded: Recorded =
        serde_json::from_str(text).map_err(|error| format!("the recorded run can't be read: {error}"))?;
    if recorded.format != FORMAT {
        return Err(format!("the recorded run has format {}, expected {FORMAT}", recorded.format));
    }
    let long = recorded.runs.iter().flat_map(|run| &run.arms).any(|arm| arm.tokens.len() > MAX_TOKENS);
    if long || recorded.by_tensor.len() != recorded.tensors.len() {
        return Err("the recorded run does not fit together".to_owned());
    }
    Ok(recorded)
}

impl State {
    /// A recording is there: it is shown unless something was run already.
    pub fn recording_loaded(&mut self, recorded: Recorded) {
        self.recorded = Some(recorded);
        if !self.arms.live {
            self.show_recorded();
        }
    }

    pub(super) fn show_recorded(&mut self) {
        let Some(recorded) = &self.recorded else { return };
        let run = recorded.runs.iter().find(|run| run.mode == self.mode).or_else(|| recorded.runs.first());
        self.arms.prompt.clone_from(&recorded.prompt);
        self.arms.seed = recorded.seed;
        for arm in arms::ALL {
            let Some(found) = run.and_then(|run| run.arms.iter().find(|found| found.arm == arm)) else {
                self.arms.clear(arm);
                continue;
            };
            let count = if arm == Arm::Original { 0 } else { recorded.count };
            self.arms.wait(arm, recorded.sampling.max_tokens, count);
            self.arms.start(arm);
            self.arms.push(arm, 0, found.tokens.clone());
            self.arms.finish(arm, found.stop, found.tokens_per_s);
        }
    }

    /// Where the arms on show come from: the value of `data-source`.
    pub fn source(&self) -> &'static str {
        match (self.arms.live, &self.recorded) {
            (true, _) => "live",
            (false, Some(_)) => "recorded",
            (false, None) => "none",
        }
    }

    /// What is on show as a recording, once a run here has ended.
    pub fn recording(&self) -> Option<Recorded> {
        let (model, spot, run) = (self.model.as_ref()?, self.spot.as_ref()?, self.run.as_ref()?);
        let arms = arms::ALL.map(|arm| {
            let view = self.arms.get(arm);
            view.stop.filter(|_| self.arms.live).map(|stop| RecordedArm {
                arm,
                stop,
                tokens_per_s: view.tokens_per_s,
                tokens: view.tokens.clone(),
            })
        });
        let engine = self.engine.as_ref()?;
        Some(Recorded {
            format: FORMAT,
            model: model.title.clone(),
            fingerprint: model.facts.fingerprint.clone(),
            computed_by: format!("{}, {}, {}", engine.kind(), engine.adapter, model.facts.encoding.label()),
            spot: spot.choice.label(),
            scope: spot.facts.scope.clone(),
            parameters_in_scope: spot.facts.parameters_in_scope,
            count: run.count,
            seed: spot.seed,
            prompt: run.prompt.clone(),
            sampling: run.sampling.clone(),
            runs: vec![RecordedRun { mode: run.mode, arms: arms.into_iter().collect::<Option<Vec<_>>>()? }],
            tensors: model.facts.tensors.clone(),
            by_tensor: self.mask.by_tensor.clone(),
        })
    }
}
