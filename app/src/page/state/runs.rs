//! Runs of the arms: which have to run, and what is kept of them.

use super::{ArmPhase, Command, Pending, Phase, Settings, State, send};
use crate::protocol::{Arm, RunMode, Sampling, StopReason, ToEngine, TokenInfo};
use std::collections::VecDeque;

/// How many originals are remembered.
const REMEMBERED: usize = 8;

/// What the arms on show were made of, so that an arm can run again alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) prompt: String,
    pub(super) sampling: Sampling,
    pub(super) mode: RunMode,
    pub(super) count: u64,
    pub(super) spot: Option<(String, u64)>,
}

/// What decides what the original writes.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    model: String,
    encoding: &'static str,
    prompt: String,
    sampling: Sampling,
}

#[derive(Debug, Clone)]
struct Original {
    key: Key,
    tokens: Vec<TokenInfo>,
    stop: StopReason,
    tokens_per_s: Option<f64>,
}

/// The last originals, the newest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Originals {
    entries: VecDeque<Original>,
}

impl Originals {
    fn get(&self, key: &Key) -> Option<&Original> {
        self.entries.iter().find(|entry| entry.key == *key)
    }

    fn put(&mut self, entry: Original) {
        self.entries.retain(|other| other.key != entry.key);
        self.entries.push_back(entry);
        while self.entries.len() > REMEMBERED {
            self.entries.pop_front();
        }
    }
}

impl State {
    fn key(&self, prompt: &str, sampling: &Sampling) -> Option<Key> {
        let facts = &self.model.as_ref()?.facts;
        let (model, encoding) = (facts.fingerprint.clone(), facts.encoding.label());
        Some(Key { model, encoding, prompt: prompt.to_owned(), sampling: sampling.clone() })
    }

    /// Runs the arms.
    pub fn generate(&mut self, prompt: String, settings: &Settings) -> Vec<Command> {
        if !self.can_generate() {
            return Vec::new();
        }
        match settings.sampling() {
            Ok(sampling) => {
                self.alert = None;
                self.seed = sampling.seed;
                let control = self.draw_control_again();
                if !control.is_empty() {
                    self.after_spot = Some((prompt, sampling));
                    return control;
                }
                self.start_run(prompt, sampling)
            }
            Err(problem) => {
                self.refuse(problem);
                Vec::new()
            }
        }
    }

    /// Takes the other mode; the arms run again where they have run.
    pub fn choose_mode(&mut self, mode: RunMode) -> Vec<Command> {
        if self.mode == mode {
            return Vec::new();
        }
        self.mode = mode;
        if !self.arms.live {
            self.show_recorded();
            return Vec::new();
        }
        if matches!(self.pending, Some(Pending::Run(_))) {
            self.rerun = true;
            return self.send_stop();
        }
        self.run_ablated_again()
    }

    pub(super) fn start_run(&mut self, prompt: String, sampling: Sampling) -> Vec<Command> {
        let has_spot = self.spot.is_some();
        let count = if has_spot { self.count } else { 0 };
        let known = self.key(&prompt, &sampling).and_then(|key| self.originals.get(&key)).cloned();
        self.arms.live = true;
        self.arms.prompt.clone_from(&prompt);
        self.arms.seed = self.spot.as_ref().map_or(sampling.seed, |spot| spot.seed);
        let mut arms = Vec::new();
        let mut given = Vec::new();
        self.arms.wait(Arm::Original, sampling.max_tokens, 0);
        match known {
            Some(known) => {
                if self.mode == RunMode::SameText {
                    given = known.tokens.iter().map(|token| token.token).collect();
                }
                self.arms.start(Arm::Original);
                self.arms.push(Arm::Original, 0, known.tokens);
                self.arms.finish(Arm::Original, known.stop, known.tokens_per_s);
            }
            None => arms.push(Arm::Original),
        }
        for arm in [Arm::Spot, Arm::Random] {
            if has_spot {
                self.arms.wait(arm, sampling.max_tokens, count);
                arms.push(arm);
            } else {
                self.arms.clear(arm);
            }
        }
        let spot = self.spot.as_ref().map(|spot| (spot.choice.key(), spot.seed));
        self.run =
            Some(Run { prompt: prompt.clone(), sampling: sampling.clone(), mode: self.mode, count, spot });
        if arms.is_empty() {
            self.phase = Phase::Ready;
            return Vec::new();
        }
        let id = self.next_id();
        self.pending = Some(Pending::Run(id));
        self.phase = Phase::Generating;
        vec![send(ToEngine::Generate { id, prompt, count, arms, mode: self.mode, given, sampling })]
    }

    /// Runs the ablated arms of the last run again when count, spot or mode are others now; the original is known.
    pub(super) fn run_ablated_again(&mut self) -> Vec<Command> {
        let now = self.spot.as_ref().map(|spot| (spot.choice.key(), spot.seed));
        let finished = |arm: Arm| self.arms.get(arm).phase == ArmPhase::Finished;
        let fresh = |run: &Run| {
            run.count == self.count
                && run.spot == now
                && run.mode == self.mode
                && finished(Arm::Spot)
                && finished(Arm::Random)
        };
        if now.is_none() || self.pending.is_some() {
            return Vec::new();
        }
        let Some(run) = self.run.clone().filter(|run| !fresh(run)) else { return Vec::new() };
        self.start_run(run.prompt, run.sampling)
    }

    /// Goes on after a stop: what has finished is kept.
    pub fn continue_run(&mut self) -> Vec<Command> {
        match self.run.clone().filter(|_| self.can_generate()) {
            Some(run) => {
                let mut commands = self.apply_mask();
                commands.extend(self.start_run(run.prompt, run.sampling));
                commands
            }
            None => Vec::new(),
        }
    }

    /// Whether a stopped run can go on.
    pub fn can_continue(&self) -> bool {
        self.phase == Phase::Stopped && self.run.is_some() && self.can_generate()
    }

    /// Stops what runs.
    pub fn stop(&mut self) -> Vec<Command> {
        self.rerun = false;
        self.send_stop()
    }

    pub(super) fn send_stop(&mut self) -> Vec<Command> {
        let Some(pending) = self.pending.filter(|pending| pending.can_stop()) else { return Vec::new() };
        if std::mem::replace(&mut self.stopping, true) {
            return Vec::new();
        }
        let id = pending.id();
        vec![send(ToEngine::StopRun { id }), Command::WatchStop(id)]
    }

    pub(super) fn arm_started(&mut self, arm: Arm) {
        match self.pending {
            Some(Pending::Run(_)) => self.arms.start(arm),
            Some(Pending::Tests(_)) => self.tests.arm_started(),
            _ => {}
        }
    }

    pub(super) fn tokens(&mut self, arm: Arm, first: u32, tokens: Vec<TokenInfo>) {
        match self.pending {
            Some(Pending::Run(_)) => self.arms.push(arm, first as usize, tokens),
            Some(Pending::Tests(_)) => self.tests.tokens(&tokens),
            _ => {}
        }
    }

    pub(super) fn arm_finished(
        &mut self,
        arm: Arm,
        stop: StopReason,
        tokens_per_s: Option<f64>,
    ) -> Vec<Command> {
        self.speed = tokens_per_s.or(self.speed);
        match self.pending {
            Some(Pending::Run(_)) => {
                self.arms.finish(arm, stop, tokens_per_s);
                if arm == Arm::Original
                    && let Some(run) = &self.run
                    && let Some(key) = self.key(&run.prompt, &run.sampling)
                {
                    let tokens = self.arms.get(arm).tokens.clone();
                    self.originals.put(Original { key, tokens, stop, tokens_per_s });
                }
                Vec::new()
            }
            Some(Pending::Tests(_)) => self.tests.arm_finished(arm),
            _ => Vec::new(),
        }
    }

    pub(super) fn run_ended(&mut self, whole: bool) -> Vec<Command> {
        let pending = self.pending;
        let rerun = self.rerun;
        let phase = if whole { Phase::Ready } else { Phase::Stopped };
        self.settle(phase);
        match pending {
            Some(Pending::Run(_)) if rerun => {
                let mut commands = self.apply_mask();
                commands.extend(self.run_ablated_again());
                commands
            }
            Some(Pending::Tests(_)) => {
                if whole {
                    self.next_test()
                } else {
                    self.tests.interrupt();
                    Vec::new()
                }
            }
            Some(_) | None => Vec::new(),
        }
    }
}
