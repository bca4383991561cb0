//! The standard normal distribution.

use std::f64::consts::{PI, SQRT_2};

/// P(Z ≤ z).
pub(crate) fn cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// The z with P(Z ≤ z) = `share`; infinite at 0 and 1, NaN outside.
///
/// Abramowitz & Stegun 26.2.23 (off by 4.5e-4 at most), then three steps of Halley's method, each of
/// which triples the digits.
pub(crate) fn quantile(share: f64) -> f64 {
    if share > 0.5 {
        // 1 − share is exact there.
        return -quantile(1.0 - share);
    }
    if share <= 0.0 || share.is_nan() {
        return if share < 0.0 { f64::NAN } else { share.ln() };
    }
    let t = (-2.0 * share.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut z = numerator / denominator - t;
    for _ in 0..3 {
        let step = (cdf(z) - share) * (2.0 * PI).sqrt() * (z * z / 2.0).exp();
        let next = z - step / (1.0 + z * step / 2.0);
        // Shares below 1e-300 leave no digits to refine with.
        if !next.is_finite() {
            break;
        }
        z = next;
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_known_ones() {
        for (share, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.95, 1.644_853_626_951_472_7),
            (0.995, 2.575_829_303_548_901),
            (1e-10, -6.361_340_902_404_056),
        ] {
            assert!((quantile(share) - z).abs() < 1e-13, "{share}: {} vs {z}", quantile(share));
        }
        assert!(quantile(0.0) == f64::NEG_INFINITY && quantile(1.0) == f64::INFINITY);
        assert!(quantile(-0.1).is_nan() && quantile(1.1).is_nan() && quantile(f64::NAN).is_nan());
        assert!(quantile(f64::MIN_POSITIVE) < -37.0);
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for i in 1..1000_u32 {
            let share = f64::from(i) / 1000.0;
            assert!((cdf(quantile(share)) - share).abs() < 1e-15);
        }
    }
}
