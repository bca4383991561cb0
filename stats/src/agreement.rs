//! How well a predicted rise of the loss agrees with the measured one.

use crate::rank;
use serde::{Deserialize, Serialize};

/// Why predictions can't be compared with measurements.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AgreementError {
    /// Doses, predictions and measurements are not equally many.
    #[error("{doses} doses, {predicted} predictions and {measured} measurements")]
    Length {
        /// Doses.
        doses: usize,
        /// Predictions.
        predicted: usize,
        /// Measurements.
        measured: usize,
    },
    /// A number is NaN or infinite.
    #[error("dose, prediction or measurement {0} is not finite")]
    NotFinite(usize),
    /// The tolerance is negative or NaN.
    #[error("a tolerance of {0} is not a number ≥ 0")]
    Tolerance(f64),
}

/// Summary of predictions against measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Pearson's r; `None` where one side is constant.
    pub pearson: Option<f64>,
    /// Spearman's ρ; `None` where one side is constant.
    pub spearman: Option<f64>,
    /// Slope s of measured = s·predicted through the origin by least squares, Σ pm/Σ p²: 1 where the
    /// prediction has the right size, above 1 where it is too small. `None` where all predictions are 0.
    pub slope: Option<f64>,
    /// The largest dose at which |predicted − measured| ≤ tolerance·|measured|, whatever lies below;
    /// curves may cross there by chance. `None` where there is none.
    pub largest_within: Option<f64>,
    /// The largest dose up to which that holds at every dose. `None` where it fails at the smallest.
    pub within_up_to: Option<f64>,
}

/// Compares `predicted` with `measured` (same unit) at `doses`, in any order. `tolerance` is relative:
/// 0.1 is 10 % of the measured value.
///
/// # Errors
/// [`AgreementError`], one variant a kind of bad input.
pub fn agreement(
    doses: &[f64],
    predicted: &[f64],
    measured: &[f64],
    tolerance: f64,
) -> Result<Agreement, AgreementError> {
    if doses.len() != predicted.len() || doses.len() != measured.len() {
        return Err(AgreementError::Length {
            doses: doses.len(),
            predicted: predicted.len(),
            measured: measured.len(),
        });
    }
    if tolerance.is_nan() || tolerance < 0.0 {
        return Err(AgreementError::Tolerance(tolerance));
    }
    let mut points: Vec<(f64, f64, f64)> = Vec::new();
    for (index, ((&dose, &p), &m)) in doses.iter().zip(predicted).zip(measured).enumerate() {
        if !(dose.is_finite() && p.is_finite() && m.is_finite()) {
            return Err(AgreementError::NotFinite(index));
        }
        points.push((dose, p, m));
    }
    points.sort_by(|x, y| x.0.total_cmp(&y.0));
    let within = |&&(_, p, m): &&(f64, f64, f64)| (p - m).abs() <= tolerance * m.abs();
    let fails = points.iter().find(|point| !within(point)).map(|point| point.0);
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let slope = dot(predicted, measured) / dot(predicted, predicted);
    Ok(Agreement {
        pearson: pearson(predicted, measured),
        spearman: rank::spearman(predicted, measured).ok(),
        slope: slope.is_finite().then_some(slope),
        largest_within: points.iter().rev().find(within).map(|point| point.0),
        within_up_to: points
            .iter()
            .rev()
            .map(|point| point.0)
            .find(|&dose| fails.is_none_or(|fails| dose < fails)),
    })
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    // The mean of equal numbers may round, and would leave noise to correlate.
    let constant = |v: &[f64]| v.windows(2).all(|pair| pair[0].total_cmp(&pair[1]).is_eq());
    if constant(a) || constant(b) {
        return None;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let dot = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum()
    };
    let r = dot(a, mean_a, b, mean_b) / (dot(a, mean_a, a, mean_a).sqrt() * dot(b, mean_b, b, mean_b).sqrt());
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_agreement() {
        let doses = [4.0, 1.0, 2.0, 3.0];
        let measured = [8.0, 1.0, 2.0, 4.0];
        let predicted = [8.0, 1.0, 2.1, 2.0];
        let a = agreement(&doses, &predicted, &measured, 0.1).unwrap();
        assert_eq!((a.largest_within, a.within_up_to), (Some(4.0), Some(2.0)));
        assert!((a.slope.unwrap() - 77.2 / 73.41).abs() < 1e-12);
        assert!((a.spearman.unwrap() - 0.8).abs() < 1e-12);
        // Python: statistics.correlation
        assert!((a.pearson.unwrap() - 0.947_976_410_468_176_5).abs() < 1e-12);
    }

    #[test]
    fn a_scaled_prediction_has_its_slope() {
        let x = [1.0, 2.0, 5.0];
        let a = agreement(&x, &[0.5, 1.0, 2.5], &x, 0.4).unwrap();
        assert_eq!(a.slope, Some(2.0));
        assert!((a.pearson.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!((a.spearman, a.largest_within, a.within_up_to), (Some(1.0), None, None));
    }

    #[test]
    fn what_is_not_defined_is_none_or_an_error() {
        let a = agreement(&[], &[], &[], 0.1).unwrap();
        assert_eq!((a.pearson, a.spearman, a.slope, a.largest_within), (None, None, None, None));
        // 0.1 three times has a mean that is not 0.1.
        let a = agreement(&[1.0, 1.0, 1.0], &[0.1, 0.1, 0.1], &[0.1, 0.2, 0.1], 0.1).unwrap();
        assert_eq!((a.pearson, a.spearman), (None, None));
        // A dose that is measured twice has to agree twice.
        assert_eq!((a.largest_within, a.within_up_to), (Some(1.0), None));
        let a = agreement(&[1.0, 2.0], &[0.0, 0.0], &[1.0, 2.0], 0.1).unwrap();
        assert_eq!((a.pearson, a.spearman, a.slope), (None, None, None));
        let (doses, predicted, measured) = (1, 2, 1);
        assert_eq!(
            agreement(&[1.0], &[1.0, 2.0], &[1.0], 0.1),
            Err(AgreementError::Length { doses, predicted, measured })
        );
        assert_eq!(agreement(&[1.0], &[f64::INFINITY], &[1.0], 0.1), Err(AgreementError::NotFinite(0)));
        assert_eq!(agreement(&[], &[], &[], -0.1), Err(AgreementError::Tolerance(-0.1)));
        assert!(agreement(&[], &[], &[], f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn correlations_are_bounded(points in prop::collection::vec((-1e3..1e3_f64, -1e3..1e3_f64), 0..20)) {
            let (p, m): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
            let a = agreement(&p, &p, &m, 0.1).unwrap();
            prop_assert!(a.pearson.is_none_or(|r| r.abs() <= 1.0));
            prop_assert!(a.spearman.is_none_or(|r| r.abs() <= 1.0));
            prop_assert!(a.within_up_to.is_none() || a.within_up_to <= a.largest_within);
        }
    }
}
