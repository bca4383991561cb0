//! What the three arms wrote, and how they compare token by token.

use crate::protocol::{Arm, StopReason, TokenInfo};

/// The arms in the order in which they are shown and run.
pub const ALL: [Arm; 3] = [Arm::Original, Arm::Spot, Arm::Random];

/// The name of an arm for people.
pub fn title(arm: Arm) -> &'static str {
    match arm {
        Arm::Original => "Original",
        Arm::Spot => "Spot removed",
        Arm::Random => "Random removed",
    }
}

/// The name of an arm in test ids and classes.
pub fn id(arm: Arm) -> &'static str {
    match arm {
        Arm::Original => "arm-original",
        Arm::Spot => "arm-spot",
        Arm::Random => "arm-random",
    }
}

/// The sign of an arm, told apart without colour.
pub fn mark(arm: Arm) -> &'static str {
    match arm {
        Arm::Original => "●",
        Arm::Spot => "▲",
        Arm::Random => "■",
    }
}

/// What an arm is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArmPhase {
    /// Nothing was generated.
    #[default]
    Empty,
    /// Its turn comes.
    Waiting,
    /// Tokens come.
    Running,
    /// All of its tokens are there.
    Finished,
    /// Ended early.
    Stopped,
}

impl ArmPhase {
    /// The value of `data-arm-state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// An arm's output.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArmView {
    /// What it is doing.
    pub phase: ArmPhase,
    /// Changes when its tokens begin anew, so that a view knows.
    pub epoch: u32,
    /// The tokens, with their log-probabilities.
    pub tokens: Vec<TokenInfo>,
    /// At most this many.
    pub max_tokens: u32,
    /// Parameters that were zero.
    pub count: u64,
    /// Why it ended.
    pub stop: Option<StopReason>,
    /// Speed after the first token.
    pub tokens_per_s: Option<f64>,
    nll_sum: f64,
    /// How many of the first tokens are the original's.
    shared: usize,
    /// Sum over the shared tokens of this arm's loss less the original's.
    delta_sum: f64,
}

impl ArmView {
    /// Mean negative log-likelihood of the tokens, nats; none for an arm that was stopped.
    pub fn mean_nll(&self) -> Option<f64> {
        let counts = !self.tokens.is_empty() && self.phase != ArmPhase::Stopped;
        counts.then(|| self.nll_sum / self.tokens.len() as f64)
    }

    /// Mean over the tokens that it shares with the original of its loss less the original's, nats.
    pub fn mean_delta(&self) -> Option<f64> {
        (self.shared > 0 && self.phase != ArmPhase::Stopped).then(|| self.delta_sum / self.shared as f64)
    }

    /// The first token that is not the original's, once there is one.
    pub fn divergence(&self) -> Option<usize> {
        (self.shared < self.tokens.len()).then_some(self.shared)
    }

    /// The text.
    pub fn text(&self) -> String {
        self.tokens.iter().map(|token| token.text.as_str()).collect()
    }

    fn begin(&mut self, phase: ArmPhase) {
        *self = Self {
            phase,
            epoch: self.epoch + 1,
            max_tokens: self.max_tokens,
            count: self.count,
            ..Self::default()
        };
    }
}

/// The three arms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arms {
    views: [ArmView; 3],
    /// What they continue.
    pub prompt: String,
    /// They were computed here, not recorded.
    pub live: bool,
    /// Seed of the random control.
    pub seed: u64,
}

fn place(arm: Arm) -> usize {
    match arm {
        Arm::Original => 0,
        Arm::Spot => 1,
        Arm::Random => 2,
    }
}

impl Arms {
    /// An arm.
    pub fn get(&self, arm: Arm) -> &ArmView {
        &self.views[place(arm)]
    }

    pub(super) fn get_mut(&mut self, arm: Arm) -> &mut ArmView {
        &mut self.views[place(arm)]
    }

    /// An arm's loss on a token less the original's on the same token after the same text, nats.
    pub fn delta(&self, arm: Arm, token: usize) -> Option<f32> {
        let view = self.get(arm);
        if arm == Arm::Original || token >= view.shared {
            return None;
        }
        let original = self.get(Arm::Original).tokens.get(token)?;
        Some(original.logprob - view.tokens[token].logprob)
    }

    /// The arm is to run: `max_tokens` at most, with `count` parameters zero.
    pub(super) fn wait(&mut self, arm: Arm, max_tokens: u32, count: u64) {
        let view = self.get_mut(arm);
        view.begin(ArmPhase::Waiting);
        view.max_tokens = max_tokens;
        view.count = count;
    }

    /// Nothing of the arm is shown.
    pub(super) fn clear(&mut self, arm: Arm) {
        let view = self.get_mut(arm);
        view.begin(ArmPhase::Empty);
        view.count = 0;
    }

    pub(super) fn start(&mut self, arm: Arm) {
        self.get_mut(arm).begin(ArmPhase::Running);
    }

    /// Appends tokens; `first` is how many there must be before. What does not fit on is left out.
    pub(super) fn push(&mut self, arm: Arm, first: usize, tokens: Vec<TokenInfo>) {
        if self.get(arm).tokens.len() != first {
            return;
        }
        for token in tokens {
            let at = self.get(arm).tokens.len();
            let original = match arm {
                Arm::Original => None,
                Arm::Spot | Arm::Random => {
                    self.get(Arm::Original).tokens.get(at).map(|token| (token.token, token.logprob))
                }
            };
            let view = self.get_mut(arm);
            view.nll_sum -= f64::from(token.logprob);
            let same = arm == Arm::Original || original.is_some_and(|(id, _)| id == token.token);
            if same && view.shared == at {
                view.shared += 1;
                view.delta_sum += original.map_or(0.0, |(_, logprob)| f64::from(logprob - token.logprob));
            }
            view.tokens.push(token);
        }
    }

    pub(super) fn finish(&mut self, arm: Arm, stop: StopReason, tokens_per_s: Option<f64>) {
        let view = self.get_mut(arm);
        view.phase = ArmPhase::Finished;
        view.stop = Some(stop);
        view.tokens_per_s = tokens_per_s;
    }

    /// What has not ended won't.
    pub(super) fn interrupt(&mut self) {
        for view in &mut self.views {
            if matches!(view.phase, ArmPhase::Waiting | ArmPhase::Running) {
                view.phase = ArmPhase::Stopped;
            }
        }
    }

    /// The arm that was stopped while it ran, or else before.
    pub fn stopped(&self) -> Option<&ArmView> {
        self.views.iter().find(|view| view.phase == ArmPhase::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(token: u32, logprob: f32) -> TokenInfo {
        TokenInfo { token, text: format!("t{token}"), logprob, top: Vec::new() }
    }

    #[test]
    fn differences_end_where_texts_part() {
        let mut arms = Arms::default();
        arms.push(Arm::Original, 0, vec![token(1, -0.5), token(2, -0.5), token(3, -0.5)]);
        arms.push(Arm::Spot, 0, vec![token(1, -1.5), token(9, -0.1), token(3, -0.2)]);
        assert_eq!(arms.delta(Arm::Spot, 0), Some(1.0));
        assert_eq!([arms.delta(Arm::Spot, 1), arms.delta(Arm::Spot, 2)], [None, None]);
        assert_eq!(arms.get(Arm::Spot).divergence(), Some(1));
        assert_eq!(arms.get(Arm::Spot).mean_delta(), Some(1.0));
        assert_eq!(arms.get(Arm::Original).divergence(), None);
        assert_eq!(arms.get(Arm::Original).text(), "t1t2t3");
    }

    #[test]
    fn a_longer_text_parts_at_the_end_of_the_original() {
        let mut arms = Arms::default();
        arms.push(Arm::Original, 0, vec![token(1, -0.5)]);
        arms.push(Arm::Random, 0, vec![token(1, -0.5), token(2, -0.5)]);
        assert_eq!(arms.get(Arm::Random).divergence(), Some(1));
        assert_eq!(arms.get(Arm::Random).mean_delta(), Some(0.0));
    }

    #[test]
    fn batches_that_do_not_fit_on_are_left_out_and_stopped_arms_have_no_mean() {
        let mut arms = Arms::default();
        arms.start(Arm::Original);
        arms.push(Arm::Original, 0, vec![token(1, -2.0)]);
        arms.push(Arm::Original, 5, vec![token(1, -2.0)]);
        assert_eq!(arms.get(Arm::Original).tokens.len(), 1);
        assert_eq!(arms.get(Arm::Original).mean_nll(), Some(2.0));
        arms.interrupt();
        assert_eq!(arms.get(Arm::Original).mean_nll(), None);
        assert_eq!(arms.stopped().map(|arm| arm.tokens.len()), Some(1));
    }
}
