//! Whether the parameters of a spot are gathered in few rows (or columns) of a matrix.
//!
//! Counts are those of chosen cells by row; all rows have the same number of cells.

use crate::overlap::{Hypergeometric, LARGEST_POPULATION, OverlapError};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Why a dispersion is not defined.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum DispersionError {
    /// A row has more than fits.
    #[error("row {row} has {count} of {row_len} cells")]
    Count {
        /// Index of the row.
        row: usize,
        /// Its count.
        count: u64,
        /// Cells of a row.
        row_len: u64,
    },
    /// More cells than [`LARGEST_POPULATION`], or more rows than memory holds.
    #[error("{rows} rows of {row_len} cells are too many")]
    Cells {
        /// Number of rows.
        rows: usize,
        /// Cells of a row.
        row_len: u64,
    },
    /// Two chosen cells can't share a row, as rows have one cell, or fewer than two are chosen.
    #[error("with {chosen} chosen of rows of {row_len}, none can share a row")]
    NoPairs {
        /// Chosen cells.
        chosen: u64,
        /// Cells of a row.
        row_len: u64,
    },
    /// Nothing is chosen: 0/0.
    #[error("the shares of nothing are not defined")]
    Empty,
    /// A fraction is not between 0 and 1.
    #[error("a fraction of {0} is not between 0 and 1")]
    Fraction(f64),
    /// More are chosen than there are cells.
    #[error("can't choose {chosen} of {cells} cells")]
    Chosen {
        /// Chosen cells.
        chosen: u64,
        /// All cells.
        cells: u64,
    },
    /// A mean of no draws.
    #[error("no draws")]
    NoDraws,
}

/// Morisita's index of dispersion, and what it is by chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Morisita {
    /// I = R·Σ c(c − 1) / (n(n − 1)): how much likelier than with equal, endless rows it is that two of
    /// the n chosen cells share one of R rows. 0 to R.
    pub index: f64,
    /// Mean of I over random choices of n cells: R(m − 1)/(Rm − 1) with m cells a row. Below 1, as cells
    /// are chosen once.
    pub expected: f64,
    /// index / expected: 1 by chance, more when gathered, less when spread evenly.
    pub ratio: f64,
    /// Standard deviation of `ratio` over random choices.
    pub chance_deviation: f64,
}

impl Morisita {
    /// How many standard deviations `ratio` lies above chance; `None` where chance leaves no choice, as
    /// with a single row.
    pub fn z(&self) -> Option<f64> {
        (self.chance_deviation > 0.0).then(|| (self.ratio - 1.0) / self.chance_deviation)
    }
}

/// Number of all cells, if an f64 counts them.
fn cells(rows: usize, row_len: u64) -> Result<u64, DispersionError> {
    (rows as u64)
        .checked_mul(row_len)
        .filter(|&cells| cells <= LARGEST_POPULATION)
        .ok_or(DispersionError::Cells { rows, row_len })
}

/// Morisita's index (Morisita 1959) of the number of chosen cells in every row of `row_len` cells.
///
/// Chance: n of N = R·m cells without replacement put c in a row, which is hypergeometric, so
/// E c(c − 1) = m(m − 1)·n(n − 1)/(N(N − 1)), and E I = R(m − 1)/(N − 1) for every n. The deviation
/// follows likewise from the moments E c(c − 1)(c − 2)(c − 3), E c(c − 1)(c − 2), and, of two rows,
/// E c(c − 1)d(d − 1) = m²(m − 1)²·n(n − 1)(n − 2)(n − 3)/(N(N − 1)(N − 2)(N − 3)).
///
/// # Errors
/// [`DispersionError::Count`], [`DispersionError::Cells`] and [`DispersionError::NoPairs`].
pub fn morisita(counts: &[u64], row_len: u64) -> Result<Morisita, DispersionError> {
    if let Some((row, &count)) = counts.iter().enumerate().find(|&(_, &count)| count > row_len) {
        return Err(DispersionError::Count { row, count, row_len });
    }
    let cells = cells(counts.len(), row_len)? as f64;
    let chosen = counts.iter().sum::<u64>();
    if chosen < 2 || row_len < 2 {
        return Err(DispersionError::NoPairs { chosen, row_len });
    }
    let pairs: u128 = counts.iter().map(|&c| u128::from(c) * u128::from(c.saturating_sub(1))).sum();
    let (rows, n, m) = (counts.len() as f64, chosen as f64, row_len as f64);
    let index = rows * (pairs as f64 / (n * (n - 1.0)));
    let expected = rows * (m - 1.0) / (cells - 1.0);
    Ok(Morisita { index, expected, ratio: index / expected, chance_deviation: deviation(rows, m, n) })
}

/// Standard deviation of Σ c(c − 1) by chance, over its mean. With S = Σ c(c − 1), falling factorials
/// x₍ₖ₎ and ρₖ = n₍ₖ₎/N₍ₖ₎:
/// E S² = R·(m₍₄₎ρ₄ + 4m₍₃₎ρ₃ + 2m₍₂₎ρ₂) + R(R − 1)·m₍₂₎²ρ₄, E S = R·m₍₂₎ρ₂.
fn deviation(rows: f64, m: f64, n: f64) -> f64 {
    let cells = rows * m;
    if rows < 2.0 {
        return 0.0;
    }
    // E S²/(E S)² − 1 loses all digits of large spots, so the ones that cancel are taken out:
    // ρ₄/ρ₂² = 1 + e and m₍₄₎/m₍₂₎² = 1 − w.
    let excess = (4.0 * cells - 6.0) / ((cells - 2.0) * (cells - 3.0));
    let lack = (4.0 * n - 6.0) / (n * (n - 1.0));
    let e = excess - lack - excess * lack;
    let w = (4.0 * m - 6.0) / (m * (m - 1.0));
    let pair = n / cells * ((n - 1.0) / (cells - 1.0));
    let third = (n - 2.0) / (cells - 2.0);
    let square = m * (m - 1.0) * pair * rows;
    let variance = e - (w + w * e) / rows + (4.0 * (m - 2.0) * third + 2.0) / square;
    variance.max(0.0).sqrt()
}

/// Counts in ascending order, and their sum.
fn sorted(counts: &[u64]) -> Result<(Vec<u64>, u128), DispersionError> {
    let total: u128 = counts.iter().map(|&count| u128::from(count)).sum();
    if total == 0 {
        return Err(DispersionError::Empty);
    }
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    Ok((sorted, total))
}

/// Share of all chosen cells that the fullest `fraction` of the rows hold, 0 to 1; a row that is partly
/// among them counts in part (that is, the Lorenz curve, linear between rows). Equal rows give
/// `fraction`. See [`chance`] for what random choices give, which is more.
///
/// # Errors
/// [`DispersionError::Fraction`] and [`DispersionError::Empty`].
pub fn top_share(counts: &[u64], fraction: f64) -> Result<f64, DispersionError> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(DispersionError::Fraction(fraction));
    }
    let (sorted, total) = sorted(counts)?;
    let rows = fraction * sorted.len() as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the number of rows")]
    let whole = rows.floor() as usize;
    let mut fullest = sorted.iter().rev();
    let held: u128 = fullest.by_ref().take(whole).map(|&count| u128::from(count)).sum();
    let part = fullest.next().map_or(0.0, |&count| count as f64 * rows.fract());
    Ok(((held as f64 + part) / total as f64).min(1.0))
}

/// Gini coefficient: Σ (2i − R − 1)·c₍ᵢ₎ / (R·Σ c) with c₍₁₎ the smallest; 0 of equal rows, 1 − 1/R when
/// one row holds everything. Few chosen cells make rows unequal by chance alone: see [`chance`].
///
/// # Errors
/// [`DispersionError::Empty`].
pub fn gini(counts: &[u64]) -> Result<f64, DispersionError> {
    let (sorted, total) = sorted(counts)?;
    let rows = sorted.len() as f64;
    let weighted: f64 =
        sorted.iter().zip(1_u32..).map(|(&c, i)| (2.0 * f64::from(i) - rows - 1.0) * c as f64).sum();
    Ok((weighted / (rows * total as f64)).max(0.0))
}

/// Mean and standard deviation of a statistic over random choices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// Mean.
    pub mean: f64,
    /// Standard deviation; 0 of one draw.
    pub deviation: f64,
}

/// What `statistic` of the counts is when `chosen` cells are drawn at random without replacement.
///
/// Draw i comes from stream i of `ChaCha8` seeded with `seed`: row after row a hypergeometric number.
/// Cost: `draws`·`rows` of those, some 0.5 µs each.
///
/// # Errors
/// [`DispersionError::NoDraws`], [`DispersionError::Cells`] and [`DispersionError::Chosen`].
pub fn chance(
    rows: usize,
    row_len: u64,
    chosen: u64,
    draws: u32,
    seed: u64,
    statistic: impl Fn(&[u64]) -> f64,
) -> Result<Chance, DispersionError> {
    let cells = cells(rows, row_len)?;
    let refused = |_: OverlapError| DispersionError::Chosen { chosen, cells };
    if chosen > cells {
        return Err(DispersionError::Chosen { chosen, cells });
    }
    if draws == 0 {
        return Err(DispersionError::NoDraws);
    }
    let mut counts = Vec::new();
    counts.try_reserve_exact(rows).ok().ok_or(DispersionError::Cells { rows, row_len })?;
    let mut values = Vec::new();
    for draw in 0..draws {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(draw.into());
        let (mut cells_left, mut chosen_left) = (cells, chosen);
        counts.clear();
        for _ in 0..rows {
            let count =
                Hypergeometric::new(cells_left, row_len, chosen_left).map_err(refused)?.sample(&mut rng);
            cells_left -= row_len;
            chosen_left -= count;
            counts.push(count);
        }
        values.push(statistic(&counts));
    }
    let count = f64::from(draws);
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok(Chance { mean, deviation: (squares / (count - 1.0).max(1.0)).sqrt() })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::seq::index;

    /// Counts by row of cells chosen one by one, not by the distribution under test.
    fn chosen(rows: usize, row_len: usize, n: usize, seed: u64) -> Vec<u64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut counts = vec![0; rows];
        index::sample(&mut rng, rows * row_len, n).into_iter().for_each(|cell| counts[cell / row_len] += 1);
        counts
    }

    #[test]
    fn morisita_is_one_by_chance() {
        for (rows, m, n) in [(20, 30, 100), (50, 4, 150), (3, 2, 3), (400, 400, 1600)] {
            let draws: Vec<Morisita> =
                (0..4000).map(|seed| morisita(&chosen(rows, m, n, seed), m as u64).unwrap()).collect();
            let count = draws.len() as f64;
            let mean = draws.iter().map(|d| d.ratio).sum::<f64>() / count;
            let variance = draws.iter().map(|d| (d.ratio - mean).powi(2)).sum::<f64>() / (count - 1.0);
            let deviation = draws[0].chance_deviation;
            assert!((mean - 1.0).abs() < 5.0 * deviation / count.sqrt(), "{rows} {m} {n}: {mean}");
            // Standard error of a deviation: near σ/√2N, twice that with heavy tails.
            assert!(
                (variance.sqrt() / deviation - 1.0).abs() < 10.0 / (2.0 * count).sqrt(),
                "{rows} {m} {n}"
            );
        }
    }

    #[test]
    fn deviation_is_exact_for_all_choices() {
        // All 2^(R·m) choices of a tiny matrix, by how many are chosen.
        for (rows, m) in [(2_usize, 2_usize), (2, 3), (3, 3), (2, 5), (4, 2)] {
            for n in 2..=rows * m {
                let (mut sum, mut square, mut count) = (0.0, 0.0, 0.0);
                for choice in 0_u32..1 << (rows * m) {
                    if choice.count_ones() as usize == n {
                        let row = |row: usize| u64::from((choice >> (row * m) & ((1 << m) - 1)).count_ones());
                        let counts: Vec<u64> = (0..rows).map(row).collect();
                        let ratio = morisita(&counts, m as u64).unwrap().ratio;
                        (sum, square, count) = (sum + ratio, square + ratio * ratio, count + 1.0);
                    }
                }
                let mean: f64 = sum / count;
                assert!((mean - 1.0).abs() < 1e-12);
                let variance = square / count - mean * mean;
                let expected = deviation(rows as f64, m as f64, n as f64).powi(2);
                assert!((variance - expected).abs() < 1e-12, "{rows} {m} {n}: {variance} {expected}");
            }
        }
    }

    #[test]
    fn gathering_and_spreading_show() {
        let gathered = morisita(&[8, 0, 0, 0], 8).unwrap();
        assert!((gathered.index - 4.0).abs() < 1e-15 && (gathered.ratio - 31.0 / 7.0).abs() < 1e-12);
        assert!(gathered.z().unwrap() > 3.0);
        let spread = morisita(&[2, 2, 2, 2], 8).unwrap();
        assert!(spread.ratio < 1.0 && spread.z().unwrap() < 0.0);
        // One row leaves no choice, nor does choosing everything.
        assert_eq!(morisita(&[3], 8).unwrap().z(), None);
        let all = morisita(&[4, 4, 4], 4).unwrap();
        assert!((all.ratio - 1.0).abs() < 1e-15 && all.chance_deviation < 1e-7);
    }

    #[test]
    fn deviation_keeps_its_digits_in_large_matrices() {
        // Near √2/(λ√R) with λ = 40 a row, less as rows are finite: λ/m = 1 %.
        let d = deviation(131_072.0, 4096.0, 40.96 * 131_072.0);
        let by_poisson = (2.0_f64 / 131_072.0).sqrt() / 40.96;
        assert!((d / by_poisson - 0.99).abs() < 1e-3, "{}", d / by_poisson);
    }

    #[test]
    fn shares_of_known_counts() {
        let counts = [1, 0, 5, 4];
        for (fraction, share) in [(0.0, 0.0), (0.25, 0.5), (0.5, 0.9), (0.375, 0.7), (1.0, 1.0)] {
            assert!((top_share(&counts, fraction).unwrap() - share).abs() < 1e-15, "{fraction}");
        }
        // (−3·0 − 1·1 + 1·4 + 3·5)/(4·10)
        assert!((gini(&counts).unwrap() - 0.45).abs() < 1e-15);
        assert!(gini(&[3, 3, 3]).unwrap() < 1e-15);
        assert!((gini(&[0, 0, 9]).unwrap() - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn chance_agrees_with_choosing_cells() {
        let (rows, m, n) = (40, 50, 100);
        let statistic = |counts: &[u64]| gini(counts).unwrap();
        let chance = chance(rows, m as u64, n as u64, 3000, 5, statistic).unwrap();
        let direct: Vec<f64> = (0..3000).map(|seed| statistic(&chosen(rows, m, n, seed))).collect();
        let mean = direct.iter().sum::<f64>() / 3000.0;
        // Five standard errors of the difference of two means.
        assert!((chance.mean - mean).abs() < 5.0 * chance.deviation * (2.0 / 3000.0_f64).sqrt());
        // Far from 0, though nothing is gathered.
        assert!(chance.mean > 0.3);
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert_eq!(morisita(&[1, 9], 8), Err(DispersionError::Count { row: 1, count: 9, row_len: 8 }));
        assert_eq!(morisita(&[1, 0], 8), Err(DispersionError::NoPairs { chosen: 1, row_len: 8 }));
        assert_eq!(morisita(&[1, 1], 1), Err(DispersionError::NoPairs { chosen: 2, row_len: 1 }));
        assert_eq!(morisita(&[], 8), Err(DispersionError::NoPairs { chosen: 0, row_len: 8 }));
        let row_len = u64::MAX;
        assert_eq!(morisita(&[1, 1], row_len), Err(DispersionError::Cells { rows: 2, row_len }));
        assert_eq!(gini(&[]), Err(DispersionError::Empty));
        assert_eq!(gini(&[0]), Err(DispersionError::Empty));
        assert_eq!(top_share(&[1], 1.5), Err(DispersionError::Fraction(1.5)));
        assert!(top_share(&[1], f64::NAN).is_err());
        let none = |_: &[u64]| 0.0;
        assert_eq!(chance(2, 3, 7, 1, 0, none), Err(DispersionError::Chosen { chosen: 7, cells: 6 }));
        assert_eq!(chance(2, 3, 6, 0, 0, none), Err(DispersionError::NoDraws));
        let rows = usize::MAX;
        assert_eq!(chance(rows, 0, 0, 1, 0, none), Err(DispersionError::Cells { rows, row_len: 0 }));
        assert_eq!(chance(0, 3, 0, 2, 0, none), Ok(Chance { mean: 0.0, deviation: 0.0 }));
        assert!(gini(&[u64::MAX, u64::MAX, 0]).is_ok() && top_share(&[u64::MAX, u64::MAX], 0.5).is_ok());
    }

    proptest! {
        #[test]
        fn shares_are_bounded(counts in prop::collection::vec(0..1000_u64, 1..50), fraction in 0.0..=1.0_f64) {
            if let (Ok(share), Ok(gini)) = (top_share(&counts, fraction), gini(&counts)) {
                prop_assert!(share >= fraction - 1e-12 && share <= 1.0);
                prop_assert!((0.0..1.0).contains(&gini));
            }
        }
    }
}
