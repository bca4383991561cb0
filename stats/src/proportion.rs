//! Shares of solved problems.

use crate::{Interval, interval::is_level, normal};
use serde::{Deserialize, Serialize};

/// Why a share has no interval or estimate.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ProportionError {
    /// No trials, or more successes than trials.
    #[error("{successes} of {trials} is no share")]
    Count {
        /// How many succeeded.
        successes: u32,
        /// How many there were.
        trials: u32,
    },
    /// A confidence level is not between 0 and 1.
    #[error("a confidence level of {0} is not between 0 and 1")]
    Level(f64),
    /// None, or more, are drawn than there are.
    #[error("can't draw {k} of {trials} samples")]
    Draw {
        /// How many are drawn.
        k: u32,
        /// How many there are.
        trials: u32,
    },
}

fn check(successes: u32, trials: u32) -> Result<(), ProportionError> {
    if trials == 0 || successes > trials {
        return Err(ProportionError::Count { successes, trials });
    }
    Ok(())
}

/// Confidence interval of a share, with z the normal quantile at (1 + level)/2, p = successes/trials:
/// (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n) (Wilson 1927). Sound for few trials and at 0
/// and 1, where the textbook's p ± z·σ is not.
///
/// # Errors
/// [`ProportionError::Count`] and [`ProportionError::Level`].
pub fn wilson(successes: u32, trials: u32, level: f64) -> Result<Interval, ProportionError> {
    check(successes, trials)?;
    if !is_level(level) {
        return Err(ProportionError::Level(level));
    }
    // By the tail, which stays exact near 0.
    let z = -normal::quantile((1.0 - level) / 2.0);
    let n = f64::from(trials);
    let p = f64::from(successes) / n;
    let z2 = z * z / n;
    let middle = p + z2 / 2.0;
    let half = (z2 * (p * (1.0 - p) + z2 / 4.0)).sqrt();
    let low = if successes == 0 { 0.0 } else { ((middle - half) / (1.0 + z2)).max(0.0) };
    let high = if successes == trials { 1.0 } else { ((middle + half) / (1.0 + z2)).min(1.0) };
    Ok(Interval { low, high })
}

/// What became of trials that were made twice, under one condition and under another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Successes both times.
    pub both: u32,
    /// Successes the first time alone.
    pub first: u32,
    /// Successes the second time alone.
    pub second: u32,
    /// Successes neither time.
    pub neither: u32,
}

impl Paired {
    /// Counts one trial.
    pub fn add(&mut self, first: bool, second: bool) {
        let cell = match (first, second) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.first,
            (false, true) => &mut self.second,
            (false, false) => &mut self.neither,
        };
        *cell = cell.saturating_add(1);
    }

    /// The share of successes the first time less that the second time, and its confidence interval: from the Wilson
    /// intervals of the two shares and their correlation φ, corrected for continuity (Newcombe 1998, Statistics in
    /// Medicine 17, 2635, method 10). Sound for few trials, and where all or none succeed, which a bootstrap takes
    /// for certain.
    ///
    /// # Errors
    /// [`ProportionError::Count`] of no trials or more than 2³² − 1, and [`ProportionError::Level`].
    pub fn difference(&self, level: f64) -> Result<(f64, Interval), ProportionError> {
        let cells = [self.both, self.first, self.second, self.neither];
        let trials = cells.iter().try_fold(0_u32, |sum, &cell| sum.checked_add(cell));
        let trials = trials.ok_or(ProportionError::Count { successes: u32::MAX, trials: u32::MAX })?;
        let (one, other) = (self.both + self.first, self.both + self.second);
        let (of_one, of_other) = (wilson(one, trials, level)?, wilson(other, trials, level)?);
        let n = f64::from(trials);
        let (p, q) = (f64::from(one) / n, f64::from(other) / n);
        let [both, first, second, neither] = cells.map(f64::from);
        let margins = f64::from(one) * (n - f64::from(one)) * f64::from(other) * (n - f64::from(other));
        let covariance = both * neither - first * second;
        let corrected = if covariance > 0.0 { (covariance - n / 2.0).max(0.0) } else { covariance };
        let phi = if margins > 0.0 { corrected / margins.sqrt() } else { 0.0 };
        // Rounding may take a sum of squares below 0 where the two shares go together.
        let joined = |a: f64, b: f64| (a * a - 2.0 * phi * a * b + b * b).max(0.0).sqrt();
        let low = p - q - joined(p - of_one.low, of_other.high - q);
        let high = p - q + joined(of_one.high - p, q - of_other.low);
        Ok((p - q, Interval { low: low.max(-1.0), high: high.min(1.0) }))
    }
}

/// Unbiased estimate of the chance that one of `k` samples solves a problem, of which `correct` of
/// `samples` do: 1 − C(n − c, k)/C(n, k) = 1 − Π (1 − c/(n − i)) over i < k (Chen et al. 2021, eq. 1).
/// Mean over problems is pass@k. Cost: min(c, k) factors.
///
/// # Errors
/// [`ProportionError::Count`] and [`ProportionError::Draw`].
pub fn pass_at_k(samples: u32, correct: u32, k: u32) -> Result<f64, ProportionError> {
    check(correct, samples)?;
    if k == 0 || k > samples {
        return Err(ProportionError::Draw { k, trials: samples });
    }
    if k > samples - correct {
        // Too few wrong ones to fill a draw.
        return Ok(1.0);
    }
    // k and c are interchangeable.
    let (few, many) = (k.min(correct), k.max(correct));
    let mut ln_fail = 0.0;
    for i in 0..few {
        ln_fail += (-f64::from(many) / f64::from(samples - i)).ln_1p();
        if ln_fail < -40.0 {
            return Ok(1.0);
        }
    }
    // Not −0 where none is right.
    Ok(0.0 - ln_fail.exp_m1())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::overlap::Hypergeometric;
    use proptest::prelude::*;

    #[test]
    fn wilson_gives_known_intervals() {
        // Table I of Newcombe 1998, method 3, to its four digits.
        for (x, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
            (20, 20, 0.8389, 1.0),
        ] {
            let interval = wilson(x, n, 0.95).unwrap();
            assert!((interval.low - low).abs() < 5e-5, "{interval:?}");
            assert!((interval.high - high).abs() < 5e-5, "{interval:?}");
        }
    }

    #[test]
    fn wilson_covers() {
        // Coverage by the exact binomial: Wilson's oscillates about the level.
        for percent in [5.0, 30.0, 50.0] {
            let p: f64 = percent / 100.0;
            let mut covered = 0.0;
            let mut pmf = (1.0 - p).powi(100);
            for x in 0..=100 {
                if wilson(x, 100, 0.95).unwrap().contains(p) {
                    covered += pmf;
                }
                pmf *= f64::from(100 - x) / f64::from(x + 1) * p / (1.0 - p);
            }
            assert!((covered - 0.95).abs() < 0.03, "{covered}");
        }
    }

    #[test]
    fn paired_differences_have_known_intervals() {
        // Newcombe 1998, table II, method 10; the third is of Fagerland, Lydersen & Laake 2014.
        for (cells, difference, low, high) in [
            ((36, 12, 2, 0), 0.2, 0.0569, 0.3404),
            ((36, 14, 0, 0), 0.28, 0.1528, 0.4167),
            ((1, 1, 7, 12), -0.2857, -0.5069, -0.0256),
        ] {
            let (both, first, second, neither) = cells;
            let paired = Paired { both, first, second, neither };
            let (found, interval) = paired.difference(0.95).unwrap();
            assert!((found - difference).abs() < 5e-5, "{found}");
            assert!((interval.low - low).abs() < 5e-5 && (interval.high - high).abs() < 5e-5, "{interval:?}");
            // The other way round.
            let (turned, other) = Paired { first: second, second: first, ..paired }.difference(0.95).unwrap();
            assert!((turned + found).abs() < 1e-15);
            assert!((other.low + interval.high).abs() < 1e-12 && (other.high + interval.low).abs() < 1e-12);
        }
        // All and none: no certainty.
        let mut lost = Paired::default();
        (0..20).for_each(|_| lost.add(true, false));
        let (found, interval) = lost.difference(0.95).unwrap();
        assert!((found - 1.0).abs() < 1e-15 && (interval.low - 0.7721).abs() < 5e-5 && interval.high <= 1.0);
        assert!(Paired::default().difference(0.95).is_err());
        let large = Paired { both: u32::MAX, first: 1, ..Paired::default() };
        assert!(large.difference(0.95).is_err());
    }

    #[test]
    fn pass_at_k_gives_known_values() {
        for (n, c, k, expected) in [
            (10, 3, 1, 0.3),
            (5, 2, 2, 0.7),
            (4, 4, 2, 1.0),
            (4, 0, 3, 0.0),
            (10, 8, 3, 1.0),
            (200, 1, 100, 0.5),
        ] {
            assert!((pass_at_k(n, c, k).unwrap() - expected).abs() < 1e-15, "{n} {c} {k}");
        }
        assert!(pass_at_k(4, 0, 3).unwrap().is_sign_positive());
        // Where 1 − product would have lost most digits.
        let tiny = pass_at_k(u32::MAX, 1, 1).unwrap();
        assert!((tiny * f64::from(u32::MAX) - 1.0).abs() < 1e-15);
        assert!((pass_at_k(u32::MAX, 1 << 31, 1 << 30).unwrap() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn impossible_shares_are_refused() {
        assert_eq!(wilson(1, 0, 0.95), Err(ProportionError::Count { successes: 1, trials: 0 }));
        assert_eq!(wilson(3, 2, 0.95), Err(ProportionError::Count { successes: 3, trials: 2 }));
        for level in [0.0, 1.0, -1.0, 95.0] {
            assert_eq!(wilson(1, 2, level), Err(ProportionError::Level(level)));
        }
        assert!(wilson(1, 2, f64::NAN).is_err());
        assert_eq!(pass_at_k(4, 1, 0), Err(ProportionError::Draw { k: 0, trials: 4 }));
        assert_eq!(pass_at_k(4, 1, 5), Err(ProportionError::Draw { k: 5, trials: 4 }));
        assert!(pass_at_k(0, 0, 0).is_err());
    }

    proptest! {
        #[test]
        fn pass_at_k_is_hypergeometric(n in 1..200_u32, c in 0..200_u32, k in 1..200_u32) {
            let (c, k) = (c.min(n), k.min(n));
            let none = Hypergeometric::new(n.into(), c.into(), k.into()).unwrap().ln_pmf(0).exp();
            prop_assert!((pass_at_k(n, c, k).unwrap() - (1.0 - none)).abs() < 1e-12);
        }

        #[test]
        fn paired_intervals_hold_the_difference(cells in prop::array::uniform4(0..200_u32), level in 0.01..0.999_f64) {
            let [both, first, second, neither] = cells;
            prop_assume!(cells.iter().sum::<u32>() > 0);
            let (found, interval) = Paired { both, first, second, neither }.difference(level).unwrap();
            prop_assert!(interval.low <= found + 1e-12 && found <= interval.high + 1e-12);
            prop_assert!(interval.low >= -1.0 && interval.high <= 1.0);
        }

        #[test]
        fn wilson_contains_the_share(x in 0..1000_u32, more in 0..1000_u32, level in 0.01..0.999_f64) {
            let n = x + more + 1;
            let interval = wilson(x, n, level).unwrap();
            prop_assert!(interval.contains(f64::from(x) / f64::from(n)));
            prop_assert!(interval.low >= 0.0 && interval.high <= 1.0);
        }
    }
}
