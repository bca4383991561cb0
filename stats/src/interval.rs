//! Intervals and the quantiles that bound them.

use serde::{Deserialize, Serialize};

/// A confidence interval, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside or on an end.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// `high − low`.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Of the middle `level` of numbers in ascending order; `None` of none.
    pub(crate) fn of_sorted(sorted: &[f64], level: f64) -> Option<Self> {
        let tail = (1.0 - level) / 2.0;
        Some(Self { low: quantile(sorted, tail)?, high: quantile(sorted, 1.0 - tail)? })
    }
}

/// Whether a confidence level lies between 0 and 1, both left out (so that NaN is no level).
pub(crate) fn is_level(level: f64) -> bool {
    level > 0.0 && level < 1.0
}

/// The quantile at `share` of B numbers in ascending order: number (B + 1)·share, linear between
/// neighbours, the first or last one beyond them (type 6 of Hyndman & Fan 1996).
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let place = (sorted.len() as f64 + 1.0) * share;
    if place <= 1.0 || place.is_nan() {
        return Some(first);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 1; `as` saturates")]
    let below = place.floor() as usize;
    let (Some(&low), Some(&high)) = (sorted.get(below - 1), sorted.get(below)) else {
        return Some(last);
    };
    // Not low + (high − low)·t: that is inexact where both are equal and the difference overflows.
    let t = place.fract();
    Some(if low.total_cmp(&high).is_eq() { low } else { low * (1.0 - t) + high * t })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_type_6() {
        // Number 5·share of the four.
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.1, 1.0), (0.3, 1.5), (0.5, 3.0), (0.9, 8.0)] {
            assert!((quantile(&sorted, share).unwrap() - expected).abs() < 1e-12, "at {share}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.5), Some(3.0));
    }

    #[test]
    fn ninety_five_percent_of_39_draws_are_all() {
        let sorted: Vec<f64> = (1..=39_u32).map(f64::from).collect();
        let interval = Interval::of_sorted(&sorted, 0.95).unwrap();
        assert!((interval.low - 1.0).abs() < 1e-9 && (interval.high - 39.0).abs() < 1e-9);
        assert!(interval.contains(1.5) && !interval.contains(0.9));
        assert!((interval.width() - 38.0).abs() < 1e-9);
    }
}
