//! What a training is asked for, as it is kept beside its checkpoints.

use crate::args::{DecayChoice, TrainArgs, TrainOptimizerChoice};
use codingspot_core::optimizer::{AdamW, Muon};
use codingspot_core::train::{Decay, Precision, Schedule, TrainSettings};
use serde::{Deserialize, Serialize};

/// Everything that decides the weights, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) train: TrainSettings,
    pub(crate) batch_size: usize,
    pub(crate) accumulate: usize,
    pub(crate) seq_len: usize,
    pub(crate) seed: u64,
    pub(crate) device: String,
    /// Fingerprint of the checkpoint that it began with; `None`: random weights.
    pub(crate) init: Option<String>,
    /// BLAKE3 of the corpus, the tokenizer and the order of texts.
    pub(crate) tokens: String,
}

impl Settings {
    /// Sequences of one step.
    pub(crate) fn sequences_per_step(&self) -> usize {
        self.batch_size * self.accumulate
    }

    /// Whether a training with `other` goes on as this one would have: all but the schedule is equal, which
    /// may be made longer.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.train.schedule = self.train.schedule;
        *self == other
    }
}

/// How to train, from the arguments.
pub(crate) fn train_settings(args: &TrainArgs, precision: Precision) -> TrainSettings {
    TrainSettings {
        adamw: AdamW {
            beta_1: args.beta1,
            beta_2: args.beta2,
            weight_decay: args.weight_decay,
            ..AdamW::default()
        },
        muon: match args.optimizer {
            TrainOptimizerChoice::Adamw => None,
            TrainOptimizerChoice::Muon => Some(Muon { weight_decay: args.weight_decay, ..Muon::default() }),
        },
        schedule: Schedule {
            peak: args.lr,
            warmup_steps: args.warmup_steps,
            steps: args.steps,
            final_share: args.final_lr,
            decay: match args.decay {
                DecayChoice::Cosine => Decay::Cosine,
                DecayChoice::Linear => {
                    Decay::Linear { steps: args.decay_steps.unwrap_or(args.steps.div_ceil(5)) }
                }
            },
        },
        clip_norm: (args.clip > 0.0).then_some(args.clip),
        precision,
    }
}
