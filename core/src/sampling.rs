//! Choosing a token by its logits.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy (ties go to the lower token); otherwise logits are divided by it.
    pub temperature: f64,
    /// Nucleus: the smallest set of tokens whose probability reaches this is sampled from.
    pub top_p: f64,
}

impl Sampling {
    /// The most likely token each time.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0 };
}

/// A setting is out of range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{name} is {found}, expected {expected}")]
pub struct SamplingError {
    /// Setting.
    pub name: &'static str,
    /// Value found.
    pub found: f64,
    /// What would be right.
    pub expected: &'static str,
}

/// `log Σ exp(logits)` in f64; `None` when a logit is NaN or +∞.
pub(crate) fn log_sum_exp(logits: &[f32]) -> Option<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    (max.is_finite() && sum.is_finite()).then(|| f64::from(max) + sum.ln())
}

/// The most likely token; ties go to the lower one.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    u32::try_from(best).expect("a vocabulary is below 2^24")
}

impl Sampling {
    /// Checks both settings.
    ///
    /// # Errors
    /// [`SamplingError`] names the one that is out of range.
    pub fn check(self) -> Result<(), SamplingError> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(SamplingError {
                name: "temperature",
                found: self.temperature,
                expected: "a finite number, 0 or more",
            });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(SamplingError {
                name: "top-p",
                found: self.top_p,
                expected: "a number above 0, at most 1",
            });
        }
        Ok(())
    }

    /// A token by its logits `[vocab]`, which have to be finite.
    pub fn draw(self, logits: &[f32], rng: &mut ChaCha8Rng) -> u32 {
        if self.temperature == 0.0 {
            return argmax(logits);
        }
        let max = f64::from(logits[argmax(logits) as usize]);
        let mut weights: Vec<(u32, f64)> = (0..)
            .zip(logits)
            .map(|(id, &logit)| (id, ((f64::from(logit) - max) / self.temperature).exp()))
            .collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut nucleus = 0.0;
        let keep = weights
            .iter()
            .position(|(_, weight)| {
                nucleus += weight;
                nucleus >= self.top_p * total
            })
            .map_or(weights.len(), |last| last + 1);
        weights.truncate(keep);
        let kept: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random::<f64>() * kept;
        for &(id, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        weights.last().map_or(0, |(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(argmax(&[0.0, 2.0, 2.0]), 1);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let draws = |top_p: f64| -> Vec<u32> {
            let sampling = Sampling { temperature: 1.0, top_p };
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let mut ids: Vec<u32> = (0..400).map(|_| sampling.draw(&logits, &mut rng)).collect();
            ids.sort_unstable();
            ids
        };
        let distinct = |mut ids: Vec<u32>| {
            ids.dedup();
            ids
        };
        assert_eq!(distinct(draws(0.4)), [0]);
        assert_eq!(distinct(draws(0.6)), [0, 1]);
        let all = draws(1.0);
        let share = all.iter().filter(|&&id| id == 0).count();
        // Binomial(400, 0.5): 200 ± 10 is one standard deviation, so ± 50 is five.
        assert!((150..=250).contains(&share), "{share} of 400");
        assert_eq!(distinct(all), [0, 1, 2]);
    }

    #[test]
    fn logits_that_are_not_finite_are_noticed() {
        assert!(log_sum_exp(&[0.0, f32::NAN]).is_none());
        assert!(log_sum_exp(&[0.0, f32::INFINITY]).is_none());
        let log_z = log_sum_exp(&[0.0, 0.0]).unwrap();
        assert!((log_z - 2_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, 0.0), (1.0, 1.5), (1.0, f64::NAN)] {
            assert!(Sampling { temperature, top_p }.check().is_err());
        }
    }
}
