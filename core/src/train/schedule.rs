//! The learning rate over a training.

use serde::{Deserialize, Serialize};

/// Learning rate by step: up in a line, then down to a share of its peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warmup_steps: u64,
    /// Steps in all.
    pub steps: u64,
    /// What is left of the peak at the end, as a share.
    pub final_share: f64,
    /// How it falls.
    pub decay: Decay,
}

/// How a learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Along half a cosine, from the warm-up's end to the last step (Loshchilov and Hutter 2017).
    Cosine,
    /// It stays at its peak and falls in a line over the last `steps` steps (Hu et al. 2024, "MiniCPM",
    /// there called WSD): a training can be made longer without having begun anew.
    Linear {
        /// Steps over which it falls.
        steps: u64,
    },
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let fallen = match self.decay {
            Decay::Cosine => {
                let whole = self.steps.saturating_sub(self.warmup_steps).max(1);
                let done = (step - self.warmup_steps) as f64 / whole as f64;
                0.5 - 0.5 * (std::f64::consts::PI * done.min(1.0)).cos()
            }
            Decay::Linear { steps } => {
                let start = self.steps.saturating_sub(steps);
                (step.saturating_sub(start) as f64 / steps.max(1) as f64).min(1.0)
            }
        };
        self.peak * (1.0 - (1.0 - self.final_share) * fallen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_in_a_line_and_falls_to_its_share() {
        let cosine =
            Schedule { peak: 2.0, warmup_steps: 10, steps: 110, final_share: 0.1, decay: Decay::Cosine };
        assert!((cosine.rate(0) - 0.2).abs() < 1e-12);
        assert!((cosine.rate(9) - 2.0).abs() < 1e-12);
        assert!((cosine.rate(60) - (0.1 + 1.0) / 2.0 * 2.0).abs() < 1e-12);
        assert!((cosine.rate(110) - 0.2).abs() < 1e-12);
        assert!((cosine.rate(500) - 0.2).abs() < 1e-12);
        let linear = Schedule { decay: Decay::Linear { steps: 50 }, ..cosine };
        assert!((linear.rate(59) - 2.0).abs() < 1e-12);
        assert!((linear.rate(85) - 1.1).abs() < 1e-12);
        assert!((linear.rate(110) - 0.2).abs() < 1e-12);
        for schedule in [cosine, linear] {
            assert!((10..120).all(|step| schedule.rate(step + 1) <= schedule.rate(step)));
        }
    }

    #[test]
    fn a_schedule_without_warmup_begins_at_its_peak() {
        let schedule =
            Schedule { peak: 1.0, warmup_steps: 0, steps: 0, final_share: 0.0, decay: Decay::Cosine };
        assert!((schedule.rate(0) - 1.0).abs() < 1e-12);
        assert!(schedule.rate(1).abs() < 1e-12);
    }
}
