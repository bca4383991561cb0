//! How much two sets of parameters share, and how much they would by chance.
//!
//! Two random subsets of a and b of n parameters share I, which is hypergeometric:
//! P(I = k) = C(a, k)·C(n − a, b − k) / C(n, b). Probabilities are natural logarithms, as overlaps of
//! real spots have some that no f64 holds; divide by [`std::f64::consts::LN_10`] for powers of ten.

use rand::Rng;
use serde::{Deserialize, Serialize};
use std::f64::consts::{LN_2, TAU};

/// Largest population: up to it every count is exact as an f64.
pub const LARGEST_POPULATION: u64 = 1 << 53;

/// Why an overlap is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverlapError {
    /// More are shared than the smaller set has.
    #[error("sets of {a} and {b} can't share {intersection}")]
    Intersection {
        /// How many both have.
        intersection: u64,
        /// Size of the first set.
        a: u64,
        /// Size of the second set.
        b: u64,
    },
    /// Both sets are empty: 0/0.
    #[error("the overlap of two empty sets is not defined")]
    BothEmpty,
    /// A set is larger than what it is drawn from.
    #[error("sets of {a} and {b} can't be drawn from {n}")]
    Subset {
        /// Size of the population.
        n: u64,
        /// Size of the first set.
        a: u64,
        /// Size of the second set.
        b: u64,
    },
    /// Above [`LARGEST_POPULATION`].
    #[error("a population of {n} is above {LARGEST_POPULATION}")]
    Population {
        /// Size of the population.
        n: u64,
    },
}

/// |A ∩ B| / |A ∪ B| of sets of `a` and `b` that share `intersection`; 0 to 1 (Jaccard 1901).
///
/// # Errors
/// [`OverlapError::Intersection`] and [`OverlapError::BothEmpty`].
pub fn jaccard(intersection: u64, a: u64, b: u64) -> Result<f64, OverlapError> {
    if intersection > a.min(b) {
        return Err(OverlapError::Intersection { intersection, a, b });
    }
    let union = u128::from(a) + u128::from(b) - u128::from(intersection);
    if union == 0 {
        return Err(OverlapError::BothEmpty);
    }
    Ok(intersection as f64 / union as f64)
}

/// How many a random subset of a and one of b of n have in common.
///
/// Probabilities come from Loader's saddle-point form ("Fast and Accurate Computation of Binomial
/// Probabilities", 2000), as in R's `dhyper`: the error of ln P is about 1e-15·|ln P| + 1e-12 at 8e9,
/// where logarithms of factorials, near 1.8e11, would leave 4e-5. Sums are of ratios of neighbours, over
/// some 17 standard deviations: 0.1 ms for two sets of 1 % of 8e9, 2 ms for halves of them, seconds for
/// halves of the largest population (where rounding adds up to 1e-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hypergeometric {
    n: u64,
    a: u64,
    b: u64,
}

impl Hypergeometric {
    /// Of subsets of `a` and `b` of `n`.
    ///
    /// # Errors
    /// [`OverlapError::Subset`] and [`OverlapError::Population`].
    pub fn new(n: u64, a: u64, b: u64) -> Result<Self, OverlapError> {
        if n > LARGEST_POPULATION {
            return Err(OverlapError::Population { n });
        }
        if a > n || b > n {
            return Err(OverlapError::Subset { n, a, b });
        }
        Ok(Self { n, a, b })
    }

    /// Smallest and largest number that can be shared: max(0, a + b − n) and min(a, b).
    pub fn support(&self) -> (u64, u64) {
        // Neither overflows below 2⁵⁴.
        ((self.a + self.b).saturating_sub(self.n), self.a.min(self.b))
    }

    /// Expected number: a·b/n; 0 of an empty population.
    pub fn mean(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.a as f64 * (self.b as f64 / self.n as f64) }
    }

    /// Variance: a·b·(n − a)·(n − b) / (n²·(n − 1)); 0 of a population of 0 or 1.
    pub fn variance(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        let (n, a, b) = (self.n as f64, self.a as f64, self.b as f64);
        a * (b / n) * ((n - a) / n) * ((n - b) / (n - 1.0))
    }

    /// Most probable number: ⌊(a + 1)·(b + 1) / (n + 2)⌋.
    pub fn mode(&self) -> u64 {
        let (low, high) = self.support();
        let mode = (u128::from(self.a) + 1) * (u128::from(self.b) + 1) / (u128::from(self.n) + 2);
        u64::try_from(mode).map_or(high, |mode| mode.clamp(low, high))
    }

    /// ln P(I = k); −∞ outside the support.
    pub fn ln_pmf(&self, k: u64) -> f64 {
        let (low, high) = self.support();
        if k < low || k > high {
            return f64::NEG_INFINITY;
        }
        if low == high {
            return 0.0;
        }
        // Neither set is empty or everything here, so 0 < p < 1.
        let (n, a, b, k) = (self.n as f64, self.a as f64, self.b as f64, k as f64);
        let p = b / n;
        let q = (n - b) / n;
        (ln_binomial(k, a, p, q) + ln_binomial(b - k, n - a, p, q) - ln_binomial(b, n, p, q)).min(0.0)
    }

    /// P(I = k + 1) / P(I = k), for k inside the support.
    fn ratio_up(&self, k: u64) -> f64 {
        let neither = self.n + k + 1 - self.a - self.b;
        (self.a - k) as f64 * (self.b - k) as f64 / ((k + 1) as f64 * neither as f64)
    }

    /// P(I = k − 1) / P(I = k), for k inside the support.
    fn ratio_down(&self, k: u64) -> f64 {
        let neither = self.n + k - self.a - self.b;
        k as f64 * neither as f64 / ((self.a - k + 1) as f64 * (self.b - k + 1) as f64)
    }

    /// Calls `visit(k, P(I = k) / P(I = start))` from `start` upward (or downward) until what is left,
    /// which a geometric series bounds as ratios fall, is below 1e-17 of what was visited.
    fn walk(&self, start: u64, up: bool, mut visit: impl FnMut(u64, f64)) {
        let (low, high) = self.support();
        let (mut k, mut term, mut sum) = (start, 1.0, 0.0);
        loop {
            visit(k, term);
            sum += term;
            let ratio = match up {
                true if k < high => self.ratio_up(k),
                false if k > low => self.ratio_down(k),
                _ => return,
            };
            term *= ratio;
            k = if up { k + 1 } else { k - 1 };
            if ratio < 1.0 && term < 1e-17 * sum * (1.0 - ratio) {
                return;
            }
        }
    }

    /// ln Σ P(I = j) over j from k away from the mode.
    fn ln_tail(&self, k: u64, up: bool) -> f64 {
        let mut sum = 0.0;
        self.walk(k, up, |_, term| sum += term);
        (self.ln_pmf(k) + sum.ln()).min(0.0)
    }

    /// ln P(I ≥ k), the p value of sharing more than chance.
    pub fn ln_upper_tail(&self, k: u64) -> f64 {
        let (low, high) = self.support();
        if k <= low {
            0.0
        } else if k > high {
            f64::NEG_INFINITY
        } else if k > self.mode() {
            self.ln_tail(k, true)
        } else {
            ln_complement(self.ln_tail(k - 1, false))
        }
    }

    /// ln P(I ≤ k), the p value of sharing less than chance.
    pub fn ln_lower_tail(&self, k: u64) -> f64 {
        let (low, high) = self.support();
        if k >= high {
            0.0
        } else if k < low {
            f64::NEG_INFINITY
        } else if k < self.mode() {
            self.ln_tail(k, false)
        } else {
            ln_complement(self.ln_tail(k + 1, true))
        }
    }

    /// ln of the two-sided p value: twice the smaller tail, 1 at most.
    pub fn ln_two_sided(&self, k: u64) -> f64 {
        (self.ln_upper_tail(k).min(self.ln_lower_tail(k)) + LN_2).min(0.0)
    }

    /// E[I / (a + b − I)], exact but for rounding: summed from the mode outward and divided by the sum
    /// of the weights.
    ///
    /// # Errors
    /// [`OverlapError::BothEmpty`].
    pub fn expected_jaccard(&self) -> Result<f64, OverlapError> {
        if self.a == 0 && self.b == 0 {
            return Err(OverlapError::BothEmpty);
        }
        let both = self.a + self.b;
        let (mut weights, mut sum) = (0.0, 0.0);
        let mut visit = |k: u64, weight: f64| {
            weights += weight;
            sum += weight * (k as f64 / (both - k) as f64);
        };
        let mode = self.mode();
        self.walk(mode, true, &mut visit);
        if mode > self.support().0 {
            let first = self.ratio_down(mode);
            self.walk(mode - 1, false, |k, weight| visit(k, first * weight));
        }
        Ok(sum / weights)
    }

    /// A random number with this distribution, by inversion outward from the mode: one uniform number,
    /// and as many steps as it lies from the mode.
    pub fn sample(&self, rng: &mut impl Rng) -> u64 {
        let (low, high) = self.support();
        let mode = self.mode();
        let mut left = rng.random::<f64>();
        let at_mode = self.ln_pmf(mode).exp();
        left -= at_mode;
        let (mut up, mut down) = ((mode, at_mode), (mode, at_mode));
        while left > 0.0 && (up.1 > 0.0 || down.1 > 0.0) {
            up = if up.0 < high { (up.0 + 1, up.1 * self.ratio_up(up.0)) } else { (up.0, 0.0) };
            left -= up.1;
            if left <= 0.0 {
                return up.0;
            }
            down = if down.0 > low { (down.0 - 1, down.1 * self.ratio_down(down.0)) } else { (down.0, 0.0) };
            left -= down.1;
            if left <= 0.0 {
                return down.0;
            }
        }
        // Also where rounding left something of the uniform number.
        mode
    }
}

/// One part of a population, as a tensor is, with the sizes of both sets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stratum {
    /// Size of this part of the population.
    pub n: u64,
    /// How many of it the first set has.
    pub a: u64,
    /// How many of it the second set has.
    pub b: u64,
}

/// How many two random sets share that have given sizes in every stratum: a sum of independent
/// [`Hypergeometric`] numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stratified {
    strata: Vec<Hypergeometric>,
}

impl Stratified {
    /// Of these strata; there may be none.
    ///
    /// # Errors
    /// Those of [`Hypergeometric::new`] for any stratum; [`OverlapError::Population`] for the sum.
    pub fn new(strata: &[Stratum]) -> Result<Self, OverlapError> {
        let mut total = 0_u64;
        for stratum in strata {
            total = total.saturating_add(stratum.n);
        }
        if total > LARGEST_POPULATION {
            return Err(OverlapError::Population { n: total });
        }
        let strata = strata.iter().map(|s| Hypergeometric::new(s.n, s.a, s.b)).collect::<Result<_, _>>()?;
        Ok(Self { strata })
    }

    /// Σ a·b/n over strata.
    pub fn mean(&self) -> f64 {
        self.strata.iter().map(Hypergeometric::mean).sum()
    }

    /// Sum of the strata's variances.
    pub fn variance(&self) -> f64 {
        self.strata.iter().map(Hypergeometric::variance).sum()
    }

    /// Sizes of both sets together.
    fn both(&self) -> f64 {
        self.strata.iter().map(|s| s.a + s.b).sum::<u64>() as f64
    }

    /// E[I / (S − I)] with S = Σ (a + b), to second order about the mean μ of I with variance σ²:
    /// μ/(S − μ) + S·σ²/(S − μ)³ (delta method). The next terms add about 1/S² of the first where sets
    /// are sparse: nothing for spots, 0.3 % for two sets of ten.
    ///
    /// # Errors
    /// [`OverlapError::BothEmpty`].
    pub fn expected_jaccard(&self) -> Result<f64, OverlapError> {
        let (both, mean) = (self.both(), self.mean());
        if both <= 0.0 {
            return Err(OverlapError::BothEmpty);
        }
        let union = both - mean;
        Ok(mean / union + both / union * (self.variance() / union / union))
    }

    /// Standard deviation of I / (S − I), to first order: S·σ/(S − μ)².
    ///
    /// # Errors
    /// [`OverlapError::BothEmpty`].
    pub fn jaccard_deviation(&self) -> Result<f64, OverlapError> {
        let (both, mean) = (self.both(), self.mean());
        if both <= 0.0 {
            return Err(OverlapError::BothEmpty);
        }
        Ok(both / (both - mean) * (self.variance().sqrt() / (both - mean)))
    }

    /// How many standard deviations `intersection` lies above the mean; `None` where only one value is
    /// possible.
    pub fn z(&self, intersection: u64) -> Option<f64> {
        let deviation = self.variance().sqrt();
        (deviation > 0.0).then(|| (intersection as f64 - self.mean()) / deviation)
    }
}

/// ln(1 − eˣ) for x ≤ 0.
fn ln_complement(x: f64) -> f64 {
    if x > -LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// ln of the binomial probability of x among n, with p + q = 1 and 0 < p < 1 (Loader 2000).
fn ln_binomial(x: f64, n: f64, p: f64, q: f64) -> f64 {
    if n <= 0.0 {
        return 0.0;
    }
    if x <= 0.0 {
        return n * if p < 0.5 { (-p).ln_1p() } else { q.ln() };
    }
    if x >= n {
        return n * if q < 0.5 { (-q).ln_1p() } else { p.ln() };
    }
    stirling_error(n)
        - stirling_error(x)
        - stirling_error(n - x)
        - deviance(x, n * p)
        - deviance(n - x, n * q)
        - 0.5 * (TAU.ln() + x.ln() + (-x / n).ln_1p())
}

/// ln n! − ln(√(2πn)·(n/e)ⁿ) for a whole n ≥ 1.
fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        let (mut factorial, mut i) = (1.0, 2.0);
        while i <= n {
            factorial *= i;
            i += 1.0;
        }
        // Exact up to 15!, and the rest rounds near 1e-15.
        return f64::ln(factorial) - (n + 0.5) * n.ln() + n - 0.5 * TAU.ln();
    }
    let nn = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / nn) / nn) / nn) / nn) / n
}

/// x·ln(x/m) + m − x, without cancellation where both are alike.
fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let v = (x - m) / (x + m);
    let mut sum = (x - m) * v;
    let mut power = 2.0 * x * v;
    let mut odd = 3.0;
    // At most a dozen terms, as v² ≤ 0.01.
    for _ in 0..100 {
        power *= v * v;
        let next = sum + power / odd;
        if next.total_cmp(&sum).is_eq() {
            break;
        }
        sum = next;
        odd += 2.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, seq::index};
    use rand_chacha::ChaCha8Rng;
    use std::time::Instant;

    /// n, a, b, k, ln P(I = k), ln P(I ≥ k).
    const EXACT: [(u64, u64, u64, u64, f64, f64); 13] = [
        (20000, 700, 900, 31, -2.602_768_558_666_428_4, -0.573_439_206_781_341_4),
        (20000, 700, 900, 32, -2.617_220_839_568_152_4, -0.714_338_971_432_430_1),
        (20000, 700, 900, 80, -32.315_637_304_532_37, -31.904_533_584_480_323),
        (20000, 700, 900, 700, -2_556.820_100_418_875_4, -2_556.820_100_418_875_4),
        (20000, 19000, 18000, 17200, -50.781_041_414_490_01, -50.245_716_402_030_546),
        (20000, 3, 5, 1, -7.195_837_421_447_754, -7.195_637_371_435_585),
        (20000, 10000, 10000, 5600, -148.817_527_887_624_32, -147.859_566_111_119_22),
        // 70-digit Stirling series.
        (8_000_000_000, 80_000_000, 80_000_000, 800_000, -7.705_071_804_863_915, -0.692_840_922_784_832_9),
        (8_000_000_000, 80_000_000, 80_000_000, 805_000, -23.617_930_959_881_985, -18.585_835_842_069_38),
        (8_000_000_000, 80_000_000, 80_000_000, 8_000_000, -11_899_328.387_359_103, -11_899_328.301_181_419),
        (8_000_000_000, 80_000_000, 80_000_000, 79_000_000, -432_659_446.693_278_1, -432_659_446.693_276_46),
        (8_000_000_000, 80_000_000, 8_000_000, 81_000, -12.858_020_362_778_191, -8.542_074_855_647_806),
        (
            8_000_000_000,
            4_000_000_000,
            3_000_000_000,
            1_500_100_000,
            -21.568_395_270_580_584,
            -13.157_978_653_939_05,
        ),
    ];

    fn choose(n: u64, k: u64) -> f64 {
        (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64)
    }

    fn close(actual: f64, expected: f64, relative: f64) {
        assert!((actual - expected).abs() <= relative * expected.abs(), "{actual} vs {expected}");
    }

    #[test]
    fn small_populations_agree_with_counting() {
        for n in 0..=12_u64 {
            for a in 0..=n {
                for b in 0..=n {
                    let h = Hypergeometric::new(n, a, b).unwrap();
                    let (low, high) = h.support();
                    let p = |k: u64| {
                        if k < low || k > high {
                            0.0
                        } else {
                            choose(a, k) * choose(n - a, b - k) / choose(n, b)
                        }
                    };
                    let mean: f64 = (0..=n).map(|k| k as f64 * p(k)).sum();
                    let square: f64 = (0..=n).map(|k| (k * k) as f64 * p(k)).sum();
                    assert!((h.mean() - mean).abs() < 1e-12);
                    assert!((h.variance() - (square - mean * mean)).abs() < 1e-11);
                    assert!((0..=n).all(|k| p(k) <= p(h.mode()) * (1.0 + 1e-12)));
                    for k in 0..=n + 1 {
                        assert!((h.ln_pmf(k).exp() - p(k)).abs() < 1e-13, "{n} {a} {b} {k}");
                        let upper: f64 = (k..=n).map(p).sum();
                        let lower: f64 = (0..=k).map(p).sum();
                        assert!((h.ln_upper_tail(k).exp() - upper).abs() < 1e-12, "{n} {a} {b} {k}");
                        assert!((h.ln_lower_tail(k).exp() - lower).abs() < 1e-12, "{n} {a} {b} {k}");
                        let two = (2.0 * upper.min(lower)).min(1.0);
                        assert!((h.ln_two_sided(k).exp() - two).abs() < 1e-12);
                    }
                    if a + b > 0 {
                        let expected: f64 = (low..=high).map(|k| p(k) * jaccard(k, a, b).unwrap()).sum();
                        assert!((h.expected_jaccard().unwrap() - expected).abs() < 1e-13);
                    } else {
                        assert_eq!(h.expected_jaccard(), Err(OverlapError::BothEmpty));
                    }
                }
            }
        }
    }

    #[test]
    fn probabilities_agree_with_exact_ones() {
        // Python: whole numbers of `math.comb` below a million, and `Decimal` logarithms.
        for (n, a, b, k, ln_p, ln_upper) in EXACT {
            let h = Hypergeometric::new(n, a, b).unwrap();
            for (actual, expected) in [(h.ln_pmf(k), ln_p), (h.ln_upper_tail(k), ln_upper)] {
                let error = (actual - expected).abs();
                assert!(error < 1e-15 * expected.abs() + 1e-12, "{n} {a} {b} {k}: {actual} vs {expected}");
            }
        }
    }

    #[test]
    fn jaccard_of_eight_billion_is_close_to_the_second_order() {
        let (n, a) = (8_000_000_000, 80_000_000);
        let h = Hypergeometric::new(n, a, a).unwrap();
        let start = Instant::now();
        let exact = h.expected_jaccard().unwrap();
        // Measured: 0.1 ms. Loose, for a shared machine.
        assert!(start.elapsed().as_millis() < 100);
        // 0.01/1.99, and the second order adds S·σ²/(S − μ)³ ≈ 3e-11.
        let second = Stratified::new(&[Stratum { n, a, b: a }]).unwrap().expected_jaccard().unwrap();
        close(exact, second, 1e-11);
        assert!((exact - 0.01 / 1.99).abs() < 1e-9 && exact > 0.01 / 1.99);
    }

    #[test]
    fn tails_of_eight_billion_hold_far_out() {
        let h = Hypergeometric::new(8_000_000_000, 80_000_000, 80_000_000).unwrap();
        // One more of two neighbouring numbers: tails differ by the probability between them.
        for k in [800_000, 805_000, 900_000, 8_000_000, 79_999_999] {
            let between = (h.ln_upper_tail(k).exp() - h.ln_upper_tail(k + 1).exp()).ln();
            if between.is_finite() {
                assert!((between - h.ln_pmf(k)).abs() < 1e-6);
            }
            assert!(h.ln_upper_tail(k + 1) < h.ln_upper_tail(k));
            // The recurrence leads to the same place as the closed form.
            let step = h.ln_pmf(k + 1) - h.ln_pmf(k);
            assert!((step - h.ratio_up(k).ln()).abs() < 1e-15 * h.ln_pmf(k).abs() + 1e-9, "{k}");
        }
        // All shared: 1/C(n, a). Entropy form: −n·H(0.01) + ½ ln(2π·n·0.01·0.99).
        let (n, p) = (8e9_f64, 0.01_f64);
        let entropy = -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        close(h.ln_upper_tail(80_000_000), -n * entropy + 0.5 * (TAU * n * p * (1.0 - p)).ln(), 1e-13);
        assert!(h.ln_upper_tail(0) == 0.0 && h.ln_upper_tail(80_000_001) == f64::NEG_INFINITY);
        // At the mean, half.
        close(h.ln_upper_tail(800_000).exp(), 0.5, 1e-3);
    }

    #[test]
    fn tails_sum_to_one_near_the_mode() {
        let h = Hypergeometric::new(1_000_000, 30_000, 20_000).unwrap();
        for k in 500..700 {
            let sum = h.ln_lower_tail(k - 1).exp() + h.ln_upper_tail(k).exp();
            assert!((sum - 1.0).abs() < 1e-12, "{k}: {sum}");
        }
    }

    #[test]
    fn simulation_agrees() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (n, a, b) = (400_usize, 60_usize, 90_usize);
        let h = Hypergeometric::new(400, 60, 90).unwrap();
        let draws = 20_000;
        let (mut mean, mut jac, mut upper) = (0.0, 0.0, 0.0);
        for _ in 0..draws {
            let mut first = vec![false; n];
            index::sample(&mut rng, n, a).into_iter().for_each(|i| first[i] = true);
            let shared = index::sample(&mut rng, n, b).into_iter().filter(|&i| first[i]).count() as u64;
            mean += shared as f64;
            jac += jaccard(shared, 60, 90).unwrap();
            upper += f64::from(shared >= 18);
        }
        let count = f64::from(draws);
        // Five standard errors each.
        let error = (h.variance() / count).sqrt();
        assert!((mean / count - h.mean()).abs() < 5.0 * error);
        let slope = 150.0 / (150.0 - h.mean()).powi(2);
        assert!((jac / count - h.expected_jaccard().unwrap()).abs() < 5.0 * slope * error);
        let p = h.ln_upper_tail(18).exp();
        assert!((upper / count - p).abs() < 5.0 * (p * (1.0 - p) / count).sqrt());
    }

    #[test]
    fn samples_have_the_distribution() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let h = Hypergeometric::new(1000, 100, 50).unwrap();
        let mut seen = [0_u32; 51];
        let draws = 50_000;
        for _ in 0..draws {
            seen[usize::try_from(h.sample(&mut rng)).unwrap()] += 1;
        }
        for (k, &count) in seen.iter().enumerate() {
            let expected = h.ln_pmf(k as u64).exp() * f64::from(draws);
            // Five standard deviations of a Poisson count, and room for the rarest.
            assert!((f64::from(count) - expected).abs() < 5.0 * expected.sqrt() + 3.0, "{k}");
        }
        assert_eq!(Hypergeometric::new(5, 5, 3).unwrap().sample(&mut rng), 3);
        assert_eq!(Hypergeometric::new(0, 0, 0).unwrap().sample(&mut rng), 0);
    }

    #[test]
    fn strata_agree_with_simulation() {
        let strata = [
            Stratum { n: 300, a: 60, b: 30 },
            Stratum { n: 100, a: 5, b: 40 },
            Stratum { n: 50, a: 0, b: 50 },
        ];
        let all = Stratified::new(&strata).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let draws = 40_000;
        let (mut sum, mut square, mut jac, mut jac_square) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..draws {
            let mut shared = 0_u64;
            for s in &strata {
                // By drawing, not by the distribution under test.
                let mut left = (s.n, s.a);
                for _ in 0..s.b {
                    let hit = rng.random_range(0..left.0) < left.1;
                    shared += u64::from(hit);
                    left = (left.0 - 1, left.1 - u64::from(hit));
                }
            }
            let value = jaccard(shared, 65, 120).unwrap();
            sum += shared as f64;
            square += (shared * shared) as f64;
            jac += value;
            jac_square += value * value;
        }
        let count = f64::from(draws);
        let error = (all.variance() / count).sqrt();
        let (mean, jac) = (sum / count, jac / count);
        assert!((mean - all.mean()).abs() < 5.0 * error);
        // The variance of a variance is near 2σ⁴/N.
        close(square / count - mean * mean, all.variance(), 5.0 * (2.0 / count).sqrt());
        let deviation = all.jaccard_deviation().unwrap();
        assert!((jac - all.expected_jaccard().unwrap()).abs() < 5.0 * deviation / count.sqrt());
        close((jac_square / count - jac * jac).sqrt(), deviation, 0.05);
        assert!((all.z(10).unwrap() - (10.0 - all.mean()) / all.variance().sqrt()).abs() < 1e-12);
    }

    #[test]
    fn one_stratum_is_the_second_order_of_the_exact_value() {
        for (n, a, b) in [(100_000, 2_000, 3_000), (10_000, 10, 10), (1_000, 30, 20)] {
            let approximate = Stratified::new(&[Stratum { n, a, b }]).unwrap().expected_jaccard().unwrap();
            let exact = Hypergeometric::new(n, a, b).unwrap().expected_jaccard().unwrap();
            close(approximate, exact, 1.5 / ((a + b) as f64).powi(2));
        }
    }

    #[test]
    fn impossible_sets_are_refused() {
        assert_eq!(jaccard(3, 2, 5), Err(OverlapError::Intersection { intersection: 3, a: 2, b: 5 }));
        assert_eq!(jaccard(0, 0, 0), Err(OverlapError::BothEmpty));
        assert_eq!(jaccard(0, 0, 4), Ok(0.0));
        assert_eq!(jaccard(4, 4, 4), Ok(1.0));
        assert!(jaccard(u64::MAX, u64::MAX, u64::MAX).is_ok());
        assert_eq!(Hypergeometric::new(3, 4, 1), Err(OverlapError::Subset { n: 3, a: 4, b: 1 }));
        let n = u64::MAX;
        assert_eq!(Hypergeometric::new(n, 4, 1), Err(OverlapError::Population { n }));
        let half = Stratum { n: LARGEST_POPULATION, a: 1, b: 1 };
        assert!(Stratified::new(&[half, half]).is_err());
        let none = Stratified::new(&[]).unwrap();
        assert_eq!(none.expected_jaccard(), Err(OverlapError::BothEmpty));
        assert_eq!(none.jaccard_deviation(), Err(OverlapError::BothEmpty));
        assert_eq!(none.z(0), None);
        let same = Hypergeometric::new(7, 7, 7).unwrap();
        assert_eq!(same.expected_jaccard(), Ok(1.0));
        assert!(same.ln_upper_tail(7) == 0.0 && same.ln_pmf(6) == f64::NEG_INFINITY);
    }
}
