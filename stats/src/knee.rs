//! Where on a dose-response curve damage sets in, where it reaches a level, and where it saturates.
//!
//! x is the dose, log₁₀ of the number (or share) of ablated parameters as a rule; y is the rise of the
//! loss in nats. [`Curve`] makes it monotone, as more damage can only seem to help by noise of sampling,
//! and interpolates, so that answers are not bound to the doses that were measured.

use crate::{Interval, interval::is_level};
use serde::{Deserialize, Serialize};

/// Points at which the curve is searched for bends.
pub const GRID: u32 = 400;

/// Why a curve or an interval can't be made.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum KneeError {
    /// Doses and responses are not equally many.
    #[error("{x} doses can't be paired with {y} responses")]
    Length {
        /// Doses.
        x: usize,
        /// Responses.
        y: usize,
    },
    /// A dose or response is NaN or infinite, or so large that differences are.
    #[error("dose or response {0} is not finite, or too large")]
    NotFinite(usize),
    /// There are fewer than two different doses.
    #[error("{0} different doses make no curve")]
    TooFew(usize),
    /// A confidence level is not between 0 and 1.
    #[error("a confidence level of {0} is not between 0 and 1")]
    Level(f64),
}

/// A bend of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bend {
    /// Dose.
    pub x: f64,
    /// Response there.
    pub y: f64,
    /// How far the curve lies from its chord there, of the height of the curve: 0 to 1. The sharper the
    /// bend, the more.
    pub distance: f64,
}

/// Where a curve first reaches a level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// Below the smallest dose: it has more already.
    Before,
    /// At this dose.
    At(f64),
    /// Not up to the largest dose.
    Never,
}

impl Crossing {
    /// The dose, if it lies among those measured.
    pub fn at(self) -> Option<f64> {
        match self {
            Self::At(x) => Some(x),
            Self::Before | Self::Never => None,
        }
    }
}

/// A monotone curve through measured doses and responses.
///
/// 1. Responses of equal doses become their mean.
/// 2. Isotonic regression: the closest responses that never fall, by pooling adjacent violators (Ayer et
///    al. 1955), each dose weighing as often as it was measured.
/// 3. Piecewise cubic interpolation that is monotone between doses too, with the conditions of Fritsch &
///    Carlson 1980 and slopes by the weighted harmonic mean of Fritsch & Butland 1984, three-point slopes
///    at the ends: as `pchip` of MATLAB and `PchipInterpolator` of `SciPy`.
///
/// Constant beyond the ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Curve {
    /// Of pairs of dose and response, in any order.
    ///
    /// # Errors
    /// [`KneeError::Length`], [`KneeError::NotFinite`] and [`KneeError::TooFew`].
    pub fn new(x: &[f64], y: &[f64]) -> Result<Self, KneeError> {
        if x.len() != y.len() {
            return Err(KneeError::Length { x: x.len(), y: y.len() });
        }
        // Differences, and slopes of neighbouring doses, have to stay finite.
        let fits = |value: f64| value.abs() < 1e100;
        if let Some(bad) = x.iter().zip(y).position(|(&x, &y)| !(fits(x) && fits(y))) {
            return Err(KneeError::NotFinite(bad));
        }
        let mut points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
        // Responses too, so that their sum does not depend on the order.
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        // Doses that rounding alone may have set apart make no slope, nor those with one that overflows.
        let span = points.last().map_or(0.0, |last| last.0 - points[0].0);
        let mut doses = Vec::new();
        let mut means = Vec::new();
        for group in points.chunk_by(|a, b| b.0 - a.0 <= (1e-12 * span).max(1e-110)) {
            let count = group.len() as f64;
            doses.push(group[0].0);
            means.push((group.iter().map(|point| point.1).sum::<f64>() / count, count));
        }
        if doses.len() < 2 {
            return Err(KneeError::TooFew(doses.len()));
        }
        let y = isotonic(&means);
        let slope = slopes(&doses, &y);
        Ok(Self { x: doses, y, slope })
    }

    fn last(&self) -> usize {
        // Two or more, by `new`.
        self.x.len() - 1
    }

    /// Different doses, ascending, and their responses after isotonic regression.
    pub fn knots(&self) -> impl Iterator<Item = (f64, f64)> {
        self.x.iter().copied().zip(self.y.iter().copied())
    }

    /// Response at the largest dose less that at the smallest; ≥ 0.
    pub fn rise(&self) -> f64 {
        self.y[self.last()] - self.y[0]
    }

    /// The response at a dose; NaN at NaN.
    pub fn value(&self, x: f64) -> f64 {
        if x <= self.x[0] {
            return self.y[0];
        }
        if x >= self.x[self.last()] {
            return self.y[self.last()];
        }
        let right = self.x.partition_point(|&knot| knot <= x).clamp(1, self.last());
        self.between(right - 1, (x - self.x[right - 1]) / (self.x[right] - self.x[right - 1]))
    }

    /// Cubic Hermite polynomial from knot `left` (t = 0) to the next (t = 1).
    fn between(&self, left: usize, t: f64) -> f64 {
        let width = self.x[left + 1] - self.x[left];
        let rise = self.y[left + 1] - self.y[left];
        let (start, end) = (self.slope[left] * width, self.slope[left + 1] * width);
        self.y[left] + t * (t * (3.0 - 2.0 * t) * rise + (1.0 - t) * ((1.0 - t) * start - t * end))
    }

    /// `count` points at equal steps of x, both ends included (two or more), as for a plot.
    pub fn sampled(&self, count: u32) -> Vec<(f64, f64)> {
        let steps = count.max(2) - 1;
        let (start, end) = (self.x[0], self.x[self.last()]);
        (0..=steps)
            .map(|step| {
                let t = f64::from(step) / f64::from(steps);
                let x = start * (1.0 - t) + end * t;
                (x, self.value(x))
            })
            .collect()
    }

    /// Whether the curve rises at least by `min_rise`, and at all.
    fn rises(&self, min_rise: f64) -> bool {
        self.rise() > 0.0 && self.rise() >= min_rise
    }

    /// Where damage sets in: the point farthest below the chord from the first to the last point, with
    /// both axes scaled to 0 … 1 (Kneedle for convex increasing curves, Satopää et al. 2011, over
    /// [`GRID`] points and offline, that is the largest maximum only).
    ///
    /// `None` where the curve is flat, that is where it rises by less than `min_rise` nats, or where it is
    /// nowhere below the chord by more than 1/(`GRID` − 1), Kneedle's threshold at sensitivity 1. For
    /// `min_rise` take a multiple of the standard error of a response: noise alone, independent between
    /// 7 to 50 doses, rises by 3 of them in 2.5 % of the cases and by 4 in 0.3 %.
    ///
    /// Bends are round, so noise moves them: that of 2 % of the height by about 2.5 % of the range of
    /// doses, five times as far as the half-effect dose.
    ///
    /// Both bends depend on the range of doses: measure from no effect to a saturated one. A curve
    /// that has not saturated has an elbow and no knee.
    pub fn elbow(&self, min_rise: f64) -> Option<Bend> {
        self.bend(min_rise, -1.0)
    }

    /// Where damage saturates: the point farthest above the chord, otherwise as [`elbow`](Self::elbow).
    pub fn knee(&self, min_rise: f64) -> Option<Bend> {
        self.bend(min_rise, 1.0)
    }

    fn bend(&self, min_rise: f64, sign: f64) -> Option<Bend> {
        if !self.rises(min_rise) {
            return None;
        }
        let span = self.x[self.last()] - self.x[0];
        let mut best: Option<Bend> = None;
        for (x, y) in self.sampled(GRID) {
            let distance = sign * ((y - self.y[0]) / self.rise() - (x - self.x[0]) / span);
            if distance > best.map_or(1.0 / f64::from(GRID - 1), |best| best.distance) {
                best = Some(Bend { x, y, distance });
            }
        }
        best
    }

    /// The smallest dose at which the response reaches `level` nats. A level of NaN is never reached.
    pub fn crossing(&self, level: f64) -> Crossing {
        if self.y[0] > level {
            return Crossing::Before;
        }
        let Some(right) = self.y.iter().position(|&y| y >= level) else { return Crossing::Never };
        // Also where a curve that levels off would leave half the digits.
        if right == 0 || self.y[right] <= level {
            return Crossing::At(self.x[right]);
        }
        let left = right - 1;
        let (mut low, mut high) = (0.0, 1.0);
        // As many halvings as an f64 has digits.
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.between(left, middle) >= level {
                high = middle;
            } else {
                low = middle;
            }
        }
        Crossing::At(self.x[left] * (1.0 - high) + self.x[right] * high)
    }

    /// The smallest dose with this fraction of the whole rise; 0.5 is the half-effect dose (ED50).
    /// `None` of a flat curve, as for [`elbow`](Self::elbow), and of fractions that are not between 0 and 1.
    pub fn effect_dose(&self, fraction: f64, min_rise: f64) -> Option<f64> {
        if !self.rises(min_rise) || !(0.0..=1.0).contains(&fraction) {
            return None;
        }
        let (low, high) = (self.y[0], self.y[self.last()]);
        // In this form 0 and 1 are exactly the ends.
        self.crossing(low * (1.0 - fraction) + high * fraction).at()
    }
}

/// Closest (weighted squares) numbers to (mean, weight) that never fall, by pooling adjacent violators.
fn isotonic(means: &[(f64, f64)]) -> Vec<f64> {
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for &(mean, weight) in means {
        let mut block = (mean, weight, 1);
        while let Some(&(before, weight, length)) = blocks.last() {
            if before <= block.0 {
                break;
            }
            blocks.pop();
            let both = weight + block.1;
            block = (before * (weight / both) + block.0 * (block.1 / both), both, length + block.2);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(mean, _, length)| std::iter::repeat_n(mean, length)).collect()
}

/// Slopes at the knots of a monotone piecewise cubic.
fn slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let pieces: Vec<(f64, f64)> =
        x.windows(2).zip(y.windows(2)).map(|(x, y)| (x[1] - x[0], (y[1] - y[0]) / (x[1] - x[0]))).collect();
    if let [(_, secant)] = pieces[..] {
        return vec![secant; 2];
    }
    let end = |(h0, d0): (f64, f64), (h1, d1): (f64, f64)| {
        let slope = ((2.0 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
        // Secants are ≥ 0; above three times the secant the cubic would not be monotone.
        slope.clamp(0.0, 3.0 * d0)
    };
    let mut slopes = Vec::new();
    if let [first, second, ..] = pieces[..] {
        slopes.push(end(first, second));
    }
    slopes.extend(pieces.windows(2).map(|pair| {
        let ((h0, d0), (h1, d1)) = (pair[0], pair[1]);
        if d0 <= 0.0 || d1 <= 0.0 {
            return 0.0;
        }
        let (w0, w1) = (2.0 * h1 + h0, h1 + 2.0 * h0);
        (w0 + w1) / (w0 / d0 + w1 / d1)
    }));
    if let [.., before, last] = pieces[..] {
        slopes.push(end(last, before));
    }
    slopes
}

/// What a finder says of many draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OverDraws {
    /// Percentile interval over the draws in which something was found; `None` where that is none. With
    /// many missing it is that of the others only: look at [`missing`](Self::missing) first.
    pub interval: Option<Interval>,
    /// Median of the same draws.
    pub median: Option<f64>,
    /// Share of the draws in which nothing was found, 0 to 1; 1 of no draws.
    pub missing: f64,
}

/// Applies `find` to every draw (of a curve, as from [`bootstrap::by_draw`](crate::bootstrap::by_draw))
/// and takes the percentile interval. What is not finite counts as not found.
///
/// ```
/// use codingspot_stats::knee::{Curve, interval_over};
///
/// let doses = [2.0, 3.0, 4.0, 5.0];
/// let draws = [[0.0, 0.1, 1.9, 2.0], [0.0, 0.2, 1.7, 2.1], [0.0, 0.1, 1.8, 1.9]];
/// let knee = |y: &[f64; 4]| Some(Curve::new(&doses, y).ok()?.knee(0.1)?.x);
/// let found = interval_over(&draws, 0.95, knee)?;
/// // Near the third dose, in all draws.
/// assert!(found.missing == 0.0 && found.median.is_some_and(|x| (x - 4.0).abs() < 0.2));
/// # Ok::<(), codingspot_stats::knee::KneeError>(())
/// ```
///
/// # Errors
/// [`KneeError::Level`].
pub fn interval_over<T>(
    draws: impl IntoIterator<Item = T>,
    level: f64,
    mut find: impl FnMut(T) -> Option<f64>,
) -> Result<OverDraws, KneeError> {
    if !is_level(level) {
        return Err(KneeError::Level(level));
    }
    let mut found = Vec::new();
    let mut all = 0_u64;
    for draw in draws {
        all += 1;
        found.extend(find(draw).filter(|value| value.is_finite()));
    }
    found.sort_by(f64::total_cmp);
    Ok(OverDraws {
        interval: Interval::of_sorted(&found, level),
        median: crate::interval::quantile(&found, 0.5),
        missing: if all == 0 { 1.0 } else { (all - found.len() as u64) as f64 / all as f64 },
    })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::bootstrap::{Resamples, by_draw};
    use proptest::prelude::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    fn grid(start: f64, end: f64, count: u32) -> Vec<f64> {
        (0..count).map(|i| start + (end - start) * f64::from(i) / f64::from(count - 1)).collect()
    }

    fn logistic(x: f64, middle: f64, steepness: f64, height: f64) -> f64 {
        height / (1.0 + (-steepness * (x - middle)).exp())
    }

    /// Doses of elbow and knee: where the slope of the scaled curve is 1.
    fn bends(middle: f64, steepness: f64, start: f64, end: f64) -> (f64, f64) {
        let height = logistic(end, middle, steepness, 1.0) - logistic(start, middle, steepness, 1.0);
        let root = (1.0 - 4.0 * height / (steepness * (end - start))).sqrt();
        let at = |p: f64| middle + (p / (1.0 - p)).ln() / steepness;
        (at((1.0 - root) / 2.0), at(f64::midpoint(1.0, root)))
    }

    #[test]
    fn logistic_curves_have_their_bends_and_half_effect() {
        for (middle, steepness) in [(5.0, 3.0), (4.3, 5.0), (6.2, 2.5)] {
            let x = grid(2.0, 8.0, 19);
            let y: Vec<f64> = x.iter().map(|&x| logistic(x, middle, steepness, 4.0)).collect();
            let curve = Curve::new(&x, &y).unwrap();
            let (elbow, knee) = bends(middle, steepness, 2.0, 8.0);
            // Doses are 0.33 apart; what is found is closer by an order of magnitude.
            let (found_elbow, found_knee) = (curve.elbow(0.1).unwrap(), curve.knee(0.1).unwrap());
            assert!((found_elbow.x - elbow).abs() < 0.05, "{found_elbow:?} {elbow}");
            assert!((found_knee.x - knee).abs() < 0.05, "{found_knee:?} {knee}");
            assert!((found_knee.y - logistic(found_knee.x, middle, steepness, 4.0)).abs() < 0.03);
            assert!((curve.crossing(2.0).at().unwrap() - middle).abs() < 0.01);
            let half = 4.0
                * f64::midpoint(logistic(2.0, middle, steepness, 1.0), logistic(8.0, middle, steepness, 1.0));
            assert_eq!(curve.effect_dose(0.5, 0.1), {
                let crossing = curve.crossing(f64::midpoint(y[0], y[18])).at().unwrap();
                assert!((curve.value(crossing) - half).abs() < 1e-9);
                Some(crossing)
            });
        }
    }

    /// About normal, with a deviation of 1: twelve uniform numbers.
    fn noise(rng: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| rng.random::<f64>() - 0.5).sum()
    }

    #[test]
    fn bends_are_found_in_noise() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let x = grid(2.0, 8.0, 25);
        let (elbow, knee) = bends(5.0, 3.0, 2.0, 8.0);
        let mut errors = [const { Vec::new() }; 3];
        for _ in 0..500 {
            let y: Vec<f64> =
                x.iter().map(|&x| logistic(x, 5.0, 3.0, 4.0) + 0.08 * noise(&mut rng)).collect();
            let curve = Curve::new(&x, &y).unwrap();
            errors[0].push(curve.elbow(0.3).unwrap().x - elbow);
            errors[1].push(curve.knee(0.3).unwrap().x - knee);
            errors[2].push(curve.effect_dose(0.5, 0.3).unwrap() - 5.0);
        }
        // Noise of 2 % of the height. Bends are round, so noise moves them by most of the 0.25 between doses;
        // the steep middle stays. Measured: 0.15 and 0.03.
        for (errors, limit) in errors.iter().zip([0.2, 0.2, 0.04]) {
            let mean = errors.iter().sum::<f64>() / 500.0;
            let square = errors.iter().map(|error| error * error).sum::<f64>() / 500.0;
            assert!(mean.abs() < limit / 4.0 && square.sqrt() < limit, "{mean} {square}");
        }
    }

    #[test]
    fn noise_alone_rarely_rises_by_three_deviations() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let x = grid(0.0, 1.0, 13);
        let mut rising = [0_u32; 2];
        for _ in 0..5000 {
            let y: Vec<f64> = x.iter().map(|_| noise(&mut rng)).collect();
            let rise = Curve::new(&x, &y).unwrap().rise();
            rising[0] += u32::from(rise >= 3.0);
            rising[1] += u32::from(rise >= 4.0);
        }
        // 2.5 % and 0.3 %, as `elbow` says.
        assert!((75..175).contains(&rising[0]) && (3..35).contains(&rising[1]), "{rising:?}");
    }

    #[test]
    fn flat_and_straight_curves_have_no_bends() {
        let x = grid(0.0, 1.0, 11);
        let flat = Curve::new(&x, &[2.0; 11]).unwrap();
        assert_eq!((flat.elbow(0.0), flat.knee(0.0), flat.effect_dose(0.5, 0.0)), (None, None, None));
        // Falling, which isotonic regression makes flat.
        let falling: Vec<f64> = x.iter().map(|x| -x).collect();
        assert!(Curve::new(&x, &falling).unwrap().rise() < 1e-12);
        assert_eq!(Curve::new(&x, &falling).unwrap().knee(1e-9), None);
        let straight = Curve::new(&x, &x).unwrap();
        assert_eq!((straight.elbow(0.0), straight.knee(0.0)), (None, None));
        assert!((straight.effect_dose(0.5, 0.1).unwrap() - 0.5).abs() < 1e-9);
        // Less than the noise.
        assert_eq!((straight.effect_dose(0.5, 1.1), straight.effect_dose(0.5, f64::NAN)), (None, None));
    }

    #[test]
    fn convex_curves_have_an_elbow_only() {
        let x = grid(0.0, 1.0, 21);
        let y: Vec<f64> = x.iter().map(|x| x.powi(4)).collect();
        let curve = Curve::new(&x, &y).unwrap();
        // 4x³ = 1
        assert!((curve.elbow(0.1).unwrap().x - 0.25_f64.cbrt()).abs() < 0.01);
        assert_eq!(curve.knee(0.1), None);
        let mirrored: Vec<f64> = x.iter().map(|x| 1.0 - (1.0 - x).powi(4)).collect();
        let curve = Curve::new(&x, &mirrored).unwrap();
        assert!((curve.knee(0.1).unwrap().x - (1.0 - 0.25_f64.cbrt())).abs() < 0.01);
        assert_eq!(curve.elbow(0.1), None);
    }

    #[test]
    fn two_doses_make_a_straight_line() {
        let curve = Curve::new(&[3.0, 1.0], &[2.0, 1.0]).unwrap();
        assert!((curve.value(2.0) - 1.5).abs() < 1e-15);
        assert_eq!((curve.value(0.0), curve.value(9.0)), (1.0, 2.0));
        assert_eq!((curve.elbow(0.0), curve.knee(0.0)), (None, None));
        assert_eq!(curve.crossing(0.5), Crossing::Before);
        assert_eq!((curve.crossing(1.0), curve.crossing(2.0)), (Crossing::At(1.0), Crossing::At(3.0)));
        assert_eq!((curve.crossing(2.1), curve.crossing(f64::NAN)), (Crossing::Never, Crossing::Never));
        assert_eq!((curve.crossing(2.1).at(), curve.crossing(0.5).at()), (None, None));
        assert_eq!(curve.sampled(3), vec![(1.0, 1.0), (2.0, 1.5), (3.0, 2.0)]);
        assert_eq!(curve.sampled(0).len(), 2);
        assert!(curve.value(f64::NAN).is_nan());
    }

    #[test]
    fn duplicates_are_averaged_and_violators_pooled() {
        let curve = Curve::new(&[1.0, 1.0, 2.0, 3.0, 4.0], &[0.0, 2.0, 4.0, 2.5, 5.0]).unwrap();
        assert_eq!(curve.knots().collect::<Vec<_>>(), vec![(1.0, 1.0), (2.0, 3.25), (3.0, 3.25), (4.0, 5.0)]);
        // Level within a pooled block: its first dose.
        assert_eq!(curve.crossing(3.25), Crossing::At(2.0));
        // A dose that was measured thrice weighs thrice.
        let curve = Curve::new(&[1.0, 2.0, 2.0, 2.0], &[5.0, 1.0, 1.0, 1.0]).unwrap();
        assert_eq!(curve.knots().collect::<Vec<_>>(), vec![(1.0, 2.0), (2.0, 2.0)]);
    }

    #[test]
    fn interpolation_is_that_of_pchip() {
        // Slopes by hand: secants 1, 3, 0.5 of widths 1, 1, 2.
        let curve = Curve::new(&[0.0, 1.0, 2.0, 4.0], &[0.0, 1.0, 4.0, 5.0]).unwrap();
        let expected = [
            0.0,                           // (3·1 − 1·3)/2
            6.0 / (3.0 / 1.0 + 3.0 / 3.0), // equal widths: harmonic mean
            9.0 / (5.0 / 3.0 + 4.0 / 0.5), // w = 2·2 + 1, 2 + 2·1
            0.0,                           // (5·0.5 − 2·3)/3 < 0
        ];
        for (slope, expected) in curve.slope.iter().zip(expected) {
            assert!((slope - expected).abs() < 1e-15, "{:?}", curve.slope);
        }
        // ½(y₀ + y₁) + h(m₀ − m₁)/8
        assert!((curve.value(1.5) - (2.5 + (expected[1] - expected[2]) / 8.0)).abs() < 1e-15);
    }

    #[test]
    fn bad_curves_are_refused() {
        assert_eq!(Curve::new(&[1.0], &[]), Err(KneeError::Length { x: 1, y: 0 }));
        assert_eq!(Curve::new(&[], &[]), Err(KneeError::TooFew(0)));
        assert_eq!(Curve::new(&[1.0, 1.0], &[0.0, 1.0]), Err(KneeError::TooFew(1)));
        assert_eq!(Curve::new(&[0.0, 1e-300], &[0.0, 1.0]), Err(KneeError::TooFew(1)));
        for bad in [f64::NAN, f64::NEG_INFINITY, f64::MAX] {
            assert_eq!(Curve::new(&[1.0, 2.0], &[0.0, bad]), Err(KneeError::NotFinite(1)));
            assert_eq!(Curve::new(&[bad, 2.0], &[0.0, 1.0]), Err(KneeError::NotFinite(0)));
        }
        let curve = Curve::new(&[0.0, 1.0], &[0.0, 1.0]).unwrap();
        for fraction in [-0.1, 1.1, f64::NAN] {
            assert_eq!(curve.effect_dose(fraction, 0.0), None);
        }
        assert_eq!((curve.effect_dose(0.0, 0.0), curve.effect_dose(1.0, 0.0)), (Some(0.0), Some(1.0)));
        assert_eq!(interval_over([1.0], 2.0, Some), Err(KneeError::Level(2.0)));
    }

    #[test]
    fn draws_that_find_nothing_are_counted() {
        let found = interval_over(0..10_u32, 0.9, |i| (i >= 4).then(|| f64::from(i))).unwrap();
        assert_eq!((found.interval, found.median), (Some(Interval { low: 4.0, high: 9.0 }), Some(6.5)));
        assert!((found.missing - 0.4).abs() < 1e-15);
        let none = OverDraws { interval: None, median: None, missing: 1.0 };
        assert_eq!(interval_over([f64::NAN], 0.9, Some), Ok(none));
        assert_eq!(interval_over([], 0.9, Some), Ok(none));
    }

    #[test]
    fn bootstrapped_knees_cover() {
        // Losses of 60 documents at 13 doses; documents differ in how much they lose.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let x = grid(2.0, 8.0, 13);
        let tokens = [vec![1.0; 60]];
        let mut covered = 0;
        for run in 0..60 {
            let heights: Vec<f64> = (0..60).map(|_| 2.0 + 4.0 * rng.random::<f64>()).collect();
            let middles: Vec<f64> = (0..60).map(|_| 4.5 + rng.random::<f64>()).collect();
            let resamples = Resamples::new(&[60], 199, run).unwrap();
            let samples: Vec<_> = x
                .iter()
                .map(|&x| {
                    let nats: Vec<f64> =
                        heights.iter().zip(&middles).map(|(&h, &m)| logistic(x, m, 3.0, h)).collect();
                    resamples.ratio_means(&[nats], &tokens).unwrap()
                })
                .collect();
            let draws = by_draw(&samples).unwrap();
            let half = |y: &Vec<f64>| Curve::new(&x, y).ok()?.effect_dose(0.5, 0.1);
            let found = interval_over(&draws, 0.95, half).unwrap();
            assert!(found.missing == 0.0 && found.interval.unwrap().width() < 0.4);
            covered += u32::from(found.interval.unwrap().contains(5.0));
        }
        // 57 expected, with a standard deviation of 1.7.
        assert!(covered >= 51, "{covered}");
    }

    proptest! {
        #[test]
        fn curves_never_fall(
            points in prop::collection::vec((0..20_u8, -5.0..5.0_f64), 2..25),
            level in -6.0..6.0_f64,
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = points.iter().map(|&(x, y)| (f64::from(x), y)).unzip();
            if let Ok(curve) = Curve::new(&x, &y) {
                let sampled = curve.sampled(1000);
                prop_assert!(sampled.windows(2).all(|pair| pair[0].1 <= pair[1].1 + 1e-12));
                if let Crossing::At(x) = curve.crossing(level) {
                    prop_assert!(curve.value(x) >= level - 1e-9);
                    // Not reached before.
                    prop_assert!(sampled.iter().all(|point| point.0 >= x - 1e-9 || point.1 <= level + 1e-9));
                }
                // Isotonic regression keeps the mean.
                let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
                let kept: Vec<f64> = x.iter().map(|&x| curve.value(x)).collect();
                prop_assert!((mean(&kept) - mean(&y)).abs() < 1e-9);
            }
        }

        #[test]
        fn nothing_panics(
            points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..8),
            level in any::<f64>(),
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
            if let Ok(curve) = Curve::new(&x, &y) {
                let _bends = (curve.elbow(level), curve.knee(0.0));
                let _doses = (curve.crossing(level), curve.effect_dose(0.5, level));
                prop_assert!(curve.sampled(50).iter().all(|point| point.1.is_finite()));
            }
        }
    }
}
