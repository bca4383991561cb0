//! Whether two scores put parameters in the same order.

use std::cmp::Ordering;

/// Buckets of a histogram: the upper 16 bits of an f32.
pub const BUCKETS: usize = 1 << 16;
/// Those of finite numbers ≥ 0.
const USED: usize = 0x7F80;

/// Why a rank correlation is not defined.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RankError {
    /// The numbers don't come in pairs.
    #[error("{a} numbers can't be paired with {b}")]
    Length {
        /// Numbers on the first side.
        a: u64,
        /// Numbers on the second side.
        b: u64,
    },
    /// NaN has no rank.
    #[error("number {index} is NaN")]
    NotANumber {
        /// Its index.
        index: usize,
    },
    /// A score is negative, NaN or infinite.
    #[error("the score at {index} is {score}; expected a finite number ≥ 0")]
    BadScore {
        /// Its index in the slice that was added.
        index: usize,
        /// The score.
        score: f32,
    },
    /// All numbers of one side are tied (or there are fewer than two): 0/0.
    #[error("the rank correlation with equal numbers is not defined")]
    Constant,
    /// A histogram has not 65,536 counts, counts negative or infinite scores, or counts more than 2⁴² scores.
    #[error("expected 65536 counts, 0 beyond the finite numbers, and 2^42 scores at most")]
    Histogram,
    /// A score was added that its histogram does not know, or not all were.
    #[error("the histograms count {expected} pairs, and {added} were added")]
    Pairs {
        /// Scores in either histogram.
        expected: u64,
        /// Pairs that were added.
        added: u64,
    },
}

/// Indices in ascending order of the values; equal ones in order of their index.
fn order<T: Copy + Into<f64>>(values: &[T]) -> Result<Vec<usize>, RankError> {
    if let Some(index) = values.iter().position(|&value| value.into().is_nan()) {
        return Err(RankError::NotANumber { index });
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| compare(values[i], values[j]));
    Ok(order)
}

/// −0 equals 0, unlike in `total_cmp`.
fn compare<T: Into<f64>>(a: T, b: T) -> Ordering {
    a.into().partial_cmp(&b.into()).unwrap_or(Ordering::Equal)
}

/// Twice (midrank − mean rank), which is whole.
fn centred<T: Copy + Into<f64>>(values: &[T]) -> Result<Vec<i64>, RankError> {
    let order = order(values)?;
    let mut ranks = vec![0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&i, &j| compare(values[i], values[j]).is_eq()) {
        let end = start + group.len();
        for &index in group {
            // Ranks from start + 1 to end, about (n + 1)/2. Lengths of slices are below 2⁶³.
            ranks[index] = (start + end).cast_signed() as i64 - values.len().cast_signed() as i64;
        }
        start = end;
    }
    Ok(ranks)
}

/// Rank of every value, 1 the lowest; equal values share the mean of their ranks (midrank). −0 equals
/// 0. O(n log n).
///
/// # Errors
/// [`RankError::NotANumber`].
pub fn midranks<T: Copy + Into<f64>>(values: &[T]) -> Result<Vec<f64>, RankError> {
    let middle = values.len() as f64 + 1.0;
    Ok(centred(values)?.into_iter().map(|rank| f64::midpoint(rank as f64, middle)).collect())
}

/// From sums of products and squares of centred ranks.
fn correlation(product: i128, square_a: i128, square_b: i128) -> Result<f64, RankError> {
    if square_a == 0 || square_b == 0 {
        return Err(RankError::Constant);
    }
    Ok((product as f64 / (square_a as f64 * square_b as f64).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's ρ: Pearson's correlation of the midranks, −1 to 1. Sums are whole numbers, so the
/// result is exact but for the last division. O(n log n).
///
/// # Errors
/// [`RankError::Length`], [`RankError::NotANumber`] and [`RankError::Constant`].
pub fn spearman<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Result<f64, RankError> {
    same_length(a.len(), b.len())?;
    let (a, b) = (centred(a)?, centred(b)?);
    let product = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(&a, &b)| i128::from(a) * i128::from(b)).sum();
    correlation(product(&a, &b), product(&a, &a), product(&b, &b))
}

fn same_length(a: usize, b: usize) -> Result<(), RankError> {
    if a == b { Ok(()) } else { Err(RankError::Length { a: a as u64, b: b as u64 }) }
}

/// Kendall's τ-b: (concordant − discordant) / √((pairs − pairs tied in a)·(pairs − pairs tied in b)),
/// −1 to 1 (Kendall 1945). By counting the exchanges of a merge sort, O(n log n) (Knight 1966).
///
/// # Errors
/// [`RankError::Length`], [`RankError::NotANumber`] and [`RankError::Constant`].
pub fn kendall<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Result<f64, RankError> {
    same_length(a.len(), b.len())?;
    // Ranks, as they are compared quickly and know ties.
    let (a, b) = (centred(a)?, centred(b)?);
    let mut pairs: Vec<(i64, i64)> = a.into_iter().zip(b).collect();
    pairs.sort_unstable();
    let tied_a = tied(&pairs, |pair| pair.0);
    let tied_both = tied(&pairs, |&pair| pair);
    let mut b: Vec<i64> = pairs.into_iter().map(|(_, b)| b).collect();
    let discordant = sort_counting(&mut b);
    let tied_b = tied(&b, |&b| b);
    let all = pairs_of(b.len());
    // Those tied in neither are concordant or discordant.
    let difference = all + tied_both - tied_a - tied_b - 2 * discordant;
    correlation(difference, all - tied_a, all - tied_b)
}

fn pairs_of(n: usize) -> i128 {
    let n = n as i128;
    n * (n - 1) / 2
}

/// Pairs of sorted items with equal keys.
fn tied<T, K: PartialEq>(sorted: &[T], key: impl Fn(&T) -> K) -> i128 {
    sorted.chunk_by(|x, y| key(x) == key(y)).map(|group| pairs_of(group.len())).sum()
}

/// Sorts, and counts the pairs that were in the wrong order.
fn sort_counting(values: &mut [i64]) -> i128 {
    let mut from = values.to_vec();
    let mut into = values.to_vec();
    let mut exchanges = 0;
    let mut width = 1;
    while width < values.len() {
        for (from, into) in from.chunks(2 * width).zip(into.chunks_mut(2 * width)) {
            let (mut left, mut right) = from.split_at(width.min(from.len()));
            for slot in into {
                *slot = match (left, right) {
                    ([l, ..], [r, rest @ ..]) if r < l => {
                        // It passes all that are left.
                        exchanges += left.len() as i128;
                        right = rest;
                        *r
                    }
                    ([l, rest @ ..], _) => {
                        left = rest;
                        *l
                    }
                    ([], [r, rest @ ..]) => {
                        right = rest;
                        *r
                    }
                    ([], []) => break,
                };
            }
        }
        std::mem::swap(&mut from, &mut into);
        width *= 2;
    }
    values.copy_from_slice(&from);
    exchanges
}

/// Bucket of a score: the upper 16 bits, as numbers ≥ 0 are ordered like their bits. −0 counts as 0.
fn bucket(score: f32) -> usize {
    ((score + 0.0).to_bits() >> 16) as usize
}

/// The midrank of every bucket of a histogram of scores, in which all scores of a bucket are tied.
///
/// A bucket keeps 7 bits of the mantissa: its ends are less than 0.8 % apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRanks {
    /// Twice (midrank − mean rank).
    centred: Box<[i64]>,
    count: u64,
    squares: i128,
}

impl BucketRanks {
    /// From the number of scores by the upper 16 bits of their f32 form: [`BUCKETS`] counts, those of
    /// negative and infinite numbers and NaN 0.
    ///
    /// # Errors
    /// [`RankError::Histogram`].
    pub fn new(counts: &[u64]) -> Result<Self, RankError> {
        if counts.len() != BUCKETS || counts[USED..].iter().any(|&count| count > 0) {
            return Err(RankError::Histogram);
        }
        let counts = &counts[..USED];
        let count = counts.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count));
        // Sums of squares are below count³/3, which then fits an i128.
        let count = count.filter(|&count| count <= 1 << 42).ok_or(RankError::Histogram)?;
        let mut below = 0_u64;
        let mut squares = 0;
        let centred = counts
            .iter()
            .map(|&here| {
                let rank = (2 * below + here).cast_signed() - count.cast_signed();
                below += here;
                squares += i128::from(here) * i128::from(rank) * i128::from(rank);
                rank
            })
            .collect();
        Ok(Self { centred, count, squares })
    }

    /// Number of scores.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Twice the distance of the score's midrank from the mean rank.
    fn of(&self, score: f32) -> Option<i64> {
        self.centred.get(bucket(score)).copied()
    }
}

/// Spearman's ρ of scores that are too many to sort, with those in the same bucket tied: exactly
/// [`spearman`] of the scores with the lower 16 bits cleared.
///
/// Sums are whole numbers, so neither order nor the way in which pairs are spread over accumulators
/// matters. Each thread has one, and they [`merge`](Self::merge).
#[derive(Debug, Clone)]
pub struct SpearmanAccumulator<'r> {
    a: &'r BucketRanks,
    b: &'r BucketRanks,
    pairs: u64,
    products: i128,
}

impl<'r> SpearmanAccumulator<'r> {
    /// Of no pairs yet, of scores with these ranks.
    ///
    /// # Errors
    /// [`RankError::Length`] where one histogram counts more scores than the other.
    pub fn new(a: &'r BucketRanks, b: &'r BucketRanks) -> Result<Self, RankError> {
        if a.count != b.count {
            return Err(RankError::Length { a: a.count, b: b.count });
        }
        Ok(Self { a, b, pairs: 0, products: 0 })
    }

    /// Adds pairs of scores. Some 2 ns a pair.
    ///
    /// # Errors
    /// [`RankError::Length`], [`RankError::BadScore`]; [`RankError::Pairs`] where these are more than the
    /// histograms count. Nothing is added then.
    pub fn add(&mut self, a: &[f32], b: &[f32]) -> Result<(), RankError> {
        same_length(a.len(), b.len())?;
        let pairs = self.checked_pairs(a.len() as u64)?;
        let mut products = 0;
        for (index, (&a, &b)) in a.iter().zip(b).enumerate() {
            let Some(rank_a) = self.a.of(a) else { return Err(RankError::BadScore { index, score: a }) };
            let Some(rank_b) = self.b.of(b) else { return Err(RankError::BadScore { index, score: b }) };
            products += i128::from(rank_a) * i128::from(rank_b);
        }
        self.products += products;
        self.pairs = pairs;
        Ok(())
    }

    fn checked_pairs(&self, more: u64) -> Result<u64, RankError> {
        let added = self.pairs.saturating_add(more);
        if added > self.a.count {
            return Err(RankError::Pairs { expected: self.a.count, added });
        }
        Ok(added)
    }

    /// Adds the pairs of `other`, which must come from the same ranks.
    ///
    /// # Errors
    /// [`RankError::Pairs`] where both have more than the histograms count.
    pub fn merge(&mut self, other: &Self) -> Result<(), RankError> {
        self.pairs = self.checked_pairs(other.pairs)?;
        self.products += other.products;
        Ok(())
    }

    /// ρ, once every pair was added.
    ///
    /// # Errors
    /// [`RankError::Pairs`] where some are missing, [`RankError::Constant`].
    pub fn finish(&self) -> Result<f64, RankError> {
        if self.pairs != self.a.count {
            return Err(RankError::Pairs { expected: self.a.count, added: self.pairs });
        }
        correlation(self.products, self.a.squares, self.b.squares)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    fn histogram(scores: &[f32]) -> Vec<u64> {
        let mut counts = vec![0; BUCKETS];
        for &score in scores {
            counts[bucket(score)] += 1;
        }
        counts
    }

    fn cleared(scores: &[f32]) -> Vec<f32> {
        scores.iter().map(|score| f32::from_bits((score + 0.0).to_bits() & 0xFFFF_0000)).collect()
    }

    fn streamed(a: &[f32], b: &[f32]) -> Result<f64, RankError> {
        let (ranks_a, ranks_b) = (BucketRanks::new(&histogram(a))?, BucketRanks::new(&histogram(b))?);
        let mut sum = SpearmanAccumulator::new(&ranks_a, &ranks_b)?;
        for (a, b) in a.chunks(7).zip(b.chunks(7)) {
            let mut part = SpearmanAccumulator::new(&ranks_a, &ranks_b)?;
            part.add(a, b)?;
            sum.merge(&part)?;
        }
        sum.finish()
    }

    /// Σ over pairs of sign·sign, as defined.
    fn kendall_by_pairs(a: &[f64], b: &[f64]) -> Result<f64, RankError> {
        let (mut both, mut in_a, mut in_b) = (0, 0, 0);
        for i in 0..a.len() {
            for j in 0..i {
                let (x, y) = (compare(a[i], a[j]) as i128, compare(b[i], b[j]) as i128);
                both += x * y;
                in_a += x * x;
                in_b += y * y;
            }
        }
        correlation(both, in_a, in_b)
    }

    /// Pearson's correlation of ranks counted one by one.
    fn spearman_by_counting(a: &[f64], b: &[f64]) -> f64 {
        let ranks = |v: &[f64]| -> Vec<f64> {
            let rank = |x: f64| {
                let below = v.iter().filter(|&&y| y < x).count() as f64;
                let not_above = v.iter().filter(|&&y| y <= x).count() as f64;
                f64::midpoint(below + 1.0, not_above)
            };
            v.iter().map(|&x| rank(x)).collect()
        };
        let (a, b) = (ranks(a), ranks(b));
        let mean = f64::midpoint(a.len() as f64, 1.0);
        let dot =
            |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(x, y)| (x - mean) * (y - mean)).sum() };
        dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
    }

    #[test]
    fn known_correlations() {
        let (a, b) = ([1.0, 2.0, 2.0, 4.0, 5.0], [2.0, 1.0, 3.0, 5.0, 4.5]);
        assert!((spearman(&a, &b).unwrap() - spearman_by_counting(&a, &b)).abs() < 1e-15);
        assert!((kendall(&a, &b).unwrap() - kendall_by_pairs(&a, &b).unwrap()).abs() < 1e-15);
        let reversed = [5.0_f32, 4.0, 3.0, 2.0];
        assert_eq!(spearman(&[1.0_f32, 2.0, 3.0, 4.0], &reversed), Ok(-1.0));
        assert_eq!(kendall(&[1.0_f32, 2.0, 3.0, 4.0], &reversed), Ok(-1.0));
        assert_eq!(midranks(&[3.0, 1.0, 3.0, -0.0, 0.0]), Ok(vec![4.5, 3.0, 4.5, 1.5, 1.5]));
        // Infinities have ranks.
        assert_eq!(spearman(&[f64::NEG_INFINITY, 0.0, f64::INFINITY], &[1.0, 2.0, 3.0]), Ok(1.0));
    }

    #[test]
    fn undefined_correlations_are_errors() {
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]), Err(RankError::Length { a: 2, b: 1 }));
        assert_eq!(kendall(&[1.0, f64::NAN], &[1.0, 2.0]), Err(RankError::NotANumber { index: 1 }));
        for correlate in [spearman::<f32>, kendall::<f32>] {
            assert_eq!(correlate(&[], &[]), Err(RankError::Constant));
            assert_eq!(correlate(&[1.0], &[1.0]), Err(RankError::Constant));
            assert_eq!(correlate(&[1.0, 1.0], &[1.0, 2.0]), Err(RankError::Constant));
        }
        assert_eq!(midranks::<f32>(&[]), Ok(vec![]));
        assert_eq!(streamed(&[], &[]), Err(RankError::Constant));
    }

    #[test]
    fn bad_histograms_and_scores_are_refused() {
        assert_eq!(BucketRanks::new(&[0; 4]), Err(RankError::Histogram));
        let mut counts = vec![0; BUCKETS];
        counts[USED] = 1;
        assert_eq!(BucketRanks::new(&counts), Err(RankError::Histogram));
        counts[USED] = 0;
        counts[0] = u64::MAX;
        assert_eq!(BucketRanks::new(&counts), Err(RankError::Histogram));
        counts[1] = u64::MAX;
        assert_eq!(BucketRanks::new(&counts), Err(RankError::Histogram));
        let two = BucketRanks::new(&histogram(&[1.0, 2.0])).unwrap();
        let three = BucketRanks::new(&histogram(&[1.0, 2.0, 3.0])).unwrap();
        assert_eq!(SpearmanAccumulator::new(&two, &three).unwrap_err(), RankError::Length { a: 2, b: 3 });
        let mut sum = SpearmanAccumulator::new(&two, &two).unwrap();
        assert_eq!(sum.add(&[1.0], &[]), Err(RankError::Length { a: 1, b: 0 }));
        for score in [-1.0, f32::INFINITY, -f32::MIN_POSITIVE] {
            assert_eq!(sum.add(&[1.0, 2.0], &[1.0, score]), Err(RankError::BadScore { index: 1, score }));
        }
        assert!(sum.add(&[f32::NAN], &[1.0]).is_err());
        assert_eq!(sum.finish(), Err(RankError::Pairs { expected: 2, added: 0 }));
        sum.add(&[1.0, 2.0], &[2.0, 1.0]).unwrap();
        assert_eq!(sum.finish(), Ok(-1.0));
        assert_eq!(sum.add(&[1.0], &[1.0]), Err(RankError::Pairs { expected: 2, added: 3 }));
        assert_eq!(sum.clone().merge(&sum), Err(RankError::Pairs { expected: 2, added: 4 }));
        assert_eq!(streamed(&[-0.0, 1.0], &[0.0, 1.0]), Ok(1.0));
    }

    #[test]
    fn streaming_is_close_to_exact_on_scores() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // Scores spread over orders of magnitude, as products of weights and gradients are.
        let (a, b): (Vec<f32>, Vec<f32>) = (0..20_000)
            .map(|_| {
                let shared: f32 = rng.random();
                let spread = |own: f32| (12.0 * (shared + own) - 20.0).exp();
                (spread(rng.random()), spread(rng.random()))
            })
            .unzip();
        let exact = spearman(&a, &b).unwrap();
        assert!(exact > 0.3 && exact < 0.7);
        // A bucket holds at most 1 part in 400 of the scores, whose ranks it moves by half that.
        assert!((streamed(&a, &b).unwrap() - exact).abs() < 1e-4);
    }

    proptest! {
        #[test]
        fn correlations_agree_with_definitions(pairs in prop::collection::vec((0..6_u8, 0..6_u8), 2..40)) {
            let (a, b): (Vec<f64>, Vec<f64>) =
                pairs.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).unzip();
            prop_assert_eq!(kendall(&a, &b), kendall_by_pairs(&a, &b));
            if let Ok(rho) = spearman(&a, &b) {
                prop_assert!((rho - spearman_by_counting(&a, &b)).abs() < 1e-12);
                prop_assert_eq!(spearman(&b, &a), Ok(rho));
            }
        }

        #[test]
        fn streaming_is_exact_on_buckets(
            bits in prop::collection::vec((0..=f32::MAX.to_bits(), 0x3F00_0000..0x3F10_0000_u32), 2..200),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) =
                bits.into_iter().map(|(a, b)| (f32::from_bits(a), f32::from_bits(b))).unzip();
            // To the bit.
            prop_assert_eq!(streamed(&a, &b), spearman(&cleared(&a), &cleared(&b)));
        }

        #[test]
        fn nothing_panics(
            a in prop::collection::vec(any::<f64>(), 0..20),
            b in prop::collection::vec(any::<f64>(), 0..20),
        ) {
            let results = (spearman(&a, &b), kendall(&a, &b), midranks(&a));
            prop_assert!(results.0.is_err() || results.0.is_ok_and(|rho| rho.abs() <= 1.0));
        }
    }
}
