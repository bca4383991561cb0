//! Paired, stratified bootstrap over documents: how sure a mean loss is, and a difference of two.
//!
//! The statistic is the weighted mean over strata (languages) of Σ nats / Σ tokens over documents. A
//! draw takes, in every stratum, as many documents as there are, with replacement, together with all
//! their tokens. [`Resamples`] fixes which, so that all variants of a model see the same documents and
//! differences of [`BootstrapSample`]s are paired. With 1 token a document it is the mean of anything
//! that documents have, as of problems that are solved or not. [`BootstrapSample::combine`] makes any other
//! statistic of such means, as a ratio of two.
//!
//! ```
//! use codingspot_stats::bootstrap::Resamples;
//!
//! let tokens = [vec![10.0, 20.0, 30.0], vec![5.0, 5.0]];
//! let intact = [vec![11.0, 19.0, 33.0], vec![4.0, 6.0]];
//! let ablated = [vec![15.0, 27.0, 41.0], vec![6.0, 7.0]];
//! let resamples = Resamples::new(&[3, 2], 999, 0)?;
//! let rise = (&resamples.ratio_means(&ablated, &tokens)? - &resamples.ratio_means(&intact, &tokens)?)?;
//! let interval = rise.interval(0.95)?;
//! assert!(interval.low > 0.0 && interval.contains(rise.point().unwrap()));
//! # Ok::<(), codingspot_stats::bootstrap::BootstrapError>(())
//! ```

use crate::{Interval, interval::is_level, normal};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::ops::Sub;

/// Stream of [`resample_mean`]; strata have those from 0.
const SEED_STREAM: u64 = u64::MAX;

/// Why a bootstrap can't be made or gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BootstrapError {
    /// No strata, or a stratum without documents.
    #[error("there are no documents in stratum {0}")]
    NoDocuments(usize),
    /// No draws.
    #[error("no draws")]
    NoDraws,
    /// More documents or multiplicities than this machine can hold.
    #[error("resamples of {draws} draws of {documents} documents are too large")]
    TooLarge {
        /// Draws.
        draws: usize,
        /// Documents of all strata.
        documents: u64,
    },
    /// Nats, tokens or weights are of another number of strata.
    #[error("{found} strata, expected {expected}")]
    Strata {
        /// Strata given.
        found: usize,
        /// Strata of the resamples.
        expected: usize,
    },
    /// Nats or tokens are of another number of documents.
    #[error("{found} documents in stratum {stratum}, expected {expected}")]
    Documents {
        /// Index of the stratum.
        stratum: usize,
        /// Documents given.
        found: usize,
        /// Documents of the resamples.
        expected: usize,
    },
    /// A document's tokens are not a finite number above 0.
    #[error("document {document} of stratum {stratum} has {tokens} tokens; expected a finite number above 0")]
    Tokens {
        /// Index of the stratum.
        stratum: usize,
        /// Index of the document in it.
        document: usize,
        /// Its tokens.
        tokens: f64,
    },
    /// Weights are not finite numbers ≥ 0, or all are 0.
    #[error("weights have to be finite numbers ≥ 0, not all 0")]
    Weights,
    /// Samples come from other resamples, so they are not paired.
    #[error("samples of different resamples can't be paired")]
    Unpaired,
    /// A mean of no samples.
    #[error("there is no mean of no samples")]
    NoSamples,
    /// A document's loss or the statistic of too many draws is not finite, so there is no interval.
    #[error("the loss or what follows from it is not finite")]
    Undefined,
    /// A confidence level is not between 0 and 1.
    #[error("a confidence level of {0} is not between 0 and 1")]
    Level(f64),
}

/// How often every document is drawn, in every draw.
///
/// Documents of the stratum with index i come from stream i of `ChaCha8` seeded with the seed, draw
/// after draw. So other strata do not matter to a stratum, and fewer draws are the first of more.
/// Memory: a byte a document and draw.
#[derive(Debug, Clone)]
pub struct Resamples {
    strata: Vec<Multiplicities>,
    draws: usize,
    /// Of sizes, draws and seed: samples with the same are paired.
    identity: u64,
}

#[derive(Debug, Clone)]
struct Multiplicities {
    documents: usize,
    /// (draw, document)
    counts: Vec<u8>,
}

impl Resamples {
    /// `draws` draws of strata with these numbers of documents.
    ///
    /// # Errors
    /// [`BootstrapError::NoDocuments`], [`BootstrapError::NoDraws`] and [`BootstrapError::TooLarge`].
    pub fn new(strata_sizes: &[usize], draws: usize, seed: u64) -> Result<Self, BootstrapError> {
        if draws == 0 {
            return Err(BootstrapError::NoDraws);
        }
        if let Some(empty) =
            strata_sizes.iter().position(|&size| size == 0).or(strata_sizes.is_empty().then_some(0))
        {
            return Err(BootstrapError::NoDocuments(empty));
        }
        let documents = strata_sizes.iter().fold(0_u64, |sum, &size| sum.saturating_add(size as u64));
        let too_large = BootstrapError::TooLarge { draws, documents };
        let mut identity = fnv(fnv(FNV_START, seed), draws as u64);
        let mut strata = Vec::new();
        for (&documents, stream) in strata_sizes.iter().zip(0..) {
            identity = fnv(identity, documents as u64);
            let below = u32::try_from(documents).ok().ok_or(too_large)?;
            let length = documents.checked_mul(draws).ok_or(too_large)?;
            let mut counts = Vec::new();
            counts.try_reserve_exact(length).ok().ok_or(too_large)?;
            counts.resize(length, 0_u8);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            for draw in counts.chunks_exact_mut(documents) {
                for _ in 0..documents {
                    loop {
                        let count = &mut draw[rng.random_range(0..below) as usize];
                        // 256 times the same has a chance of 1e-507; it is drawn again.
                        if let Some(more) = count.checked_add(1) {
                            *count = more;
                            break;
                        }
                    }
                }
            }
            strata.push(Multiplicities { documents, counts });
        }
        Ok(Self { strata, draws, identity })
    }

    /// Number of draws.
    pub fn draws(&self) -> usize {
        self.draws
    }

    /// Mean over all strata, each with the same weight, of Σ nats / Σ tokens. `nats` and `tokens` are by
    /// stratum and document.
    ///
    /// A loss that is not finite (an ablated model can overflow) makes the sample undefined: its
    /// [`point`](BootstrapSample::point) is `None`, and it has no draws.
    ///
    /// # Errors
    /// [`BootstrapError::Strata`], [`BootstrapError::Documents`] and [`BootstrapError::Tokens`].
    pub fn ratio_means<N: AsRef<[f64]>, T: AsRef<[f64]>>(
        &self,
        nats: &[N],
        tokens: &[T],
    ) -> Result<BootstrapSample, BootstrapError> {
        self.weighted_ratio_means(nats, tokens, &vec![1.0; self.strata.len()])
    }

    /// [`ratio_means`](Self::ratio_means) with a weight for every stratum; they are divided by their sum.
    /// What nats and tokens a stratum of weight 0 has does not matter, even how many.
    ///
    /// # Errors
    /// Those of [`ratio_means`](Self::ratio_means), and [`BootstrapError::Weights`].
    pub fn weighted_ratio_means<N: AsRef<[f64]>, T: AsRef<[f64]>>(
        &self,
        nats: &[N],
        tokens: &[T],
        weights: &[f64],
    ) -> Result<BootstrapSample, BootstrapError> {
        let expected = self.strata.len();
        for found in [nats.len(), tokens.len(), weights.len()] {
            if found != expected {
                return Err(BootstrapError::Strata { found, expected });
            }
        }
        let total: f64 = weights.iter().sum();
        if !(weights.iter().all(|&weight| weight >= 0.0) && total > 0.0 && total.is_finite()) {
            return Err(BootstrapError::Weights);
        }
        let documents = self.strata.iter().map(|stratum| stratum.documents).sum();
        let (mut point, mut draws, mut influence) =
            (0.0, vec![0.0; self.draws], Vec::with_capacity(documents));
        for (stratum, (counts, &weight)) in self.strata.iter().zip(weights).enumerate() {
            let weight = weight / total;
            if weight <= 0.0 {
                influence.resize(influence.len() + counts.documents, 0.0);
                continue;
            }
            let (nats, tokens) = (nats[stratum].as_ref(), tokens[stratum].as_ref());
            for found in [nats.len(), tokens.len()] {
                if found != counts.documents {
                    return Err(BootstrapError::Documents { stratum, found, expected: counts.documents });
                }
            }
            if let Some(document) = tokens.iter().position(|&tokens| !(tokens > 0.0 && tokens.is_finite())) {
                return Err(BootstrapError::Tokens { stratum, document, tokens: tokens[document] });
            }
            let (all_nats, all_tokens): (f64, f64) = (nats.iter().sum(), tokens.iter().sum());
            let ratio = all_nats / all_tokens;
            point += weight * ratio;
            // Derivative by the share of a document, over their number.
            influence.extend(nats.iter().zip(tokens).map(|(n, t)| weight * (n - ratio * t) / all_tokens));
            for (draw, counts) in draws.iter_mut().zip(counts.counts.chunks_exact(counts.documents)) {
                let (mut sum_nats, mut sum_tokens) = (0.0, 0.0);
                for ((&count, nats), tokens) in counts.iter().zip(nats).zip(tokens) {
                    let count = f64::from(count);
                    sum_nats += count * nats;
                    sum_tokens += count * tokens;
                }
                *draw += weight * (sum_nats / sum_tokens);
            }
        }
        Ok(BootstrapSample::of(self.identity, point, draws, influence))
    }
}

const FNV_START: u64 = 0xCBF2_9CE4_8422_2325;

/// FNV-1a.
fn fnv(hash: u64, value: u64) -> u64 {
    value
        .to_le_bytes()
        .iter()
        .fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// A statistic of the documents and of every draw of them.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapSample {
    identity: u64,
    point: Option<f64>,
    /// None where there is no point; NaN where a function of other samples has no value.
    draws: Vec<f64>,
    /// By document, then by control seed: derivative of the statistic by the share of it in the stratum,
    /// over the size of the stratum. None where there is no derivative.
    influence: Vec<f64>,
    /// Likewise by control seed, once for every seed of [`resample_mean`].
    seeds: Vec<(u64, Vec<f64>)>,
}

impl BootstrapSample {
    fn of(identity: u64, point: f64, draws: Vec<f64>, influence: Vec<f64>) -> Self {
        if point.is_finite() && draws.iter().all(|draw| draw.is_finite()) {
            Self { identity, point: Some(point), draws, influence, seeds: Vec::new() }
        } else {
            Self::undefined(identity)
        }
    }

    fn undefined(identity: u64) -> Self {
        Self { identity, point: None, draws: Vec::new(), influence: Vec::new(), seeds: Vec::new() }
    }

    /// The statistic of the documents themselves; `None` where it is not finite.
    pub fn point(&self) -> Option<f64> {
        self.point
    }

    /// The statistic of every draw, in order of the draws; empty where [`point`](Self::point) is `None`. NaN
    /// where the function of [`combine`](Self::combine) has no value.
    pub fn draws(&self) -> &[f64] {
        &self.draws
    }

    /// Times `factor`; undefined if that is not finite.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        self.combined(factor, None)
    }

    /// `self`·factor plus `other` times its factor, for paired samples.
    fn combined(&self, factor: f64, other: Option<(&Self, f64)>) -> Self {
        let undefined = Self::undefined(self.identity);
        let Some(mut point) = self.point.map(|point| point * factor) else { return undefined };
        let scale = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value * factor).collect() };
        let (mut draws, mut influence) = (scale(&self.draws), scale(&self.influence));
        let mut seeds: Vec<_> = self.seeds.iter().map(|(seed, values)| (*seed, scale(values))).collect();
        if let Some((other, factor)) = other {
            let Some(other_point) = other.point else { return undefined };
            let add = |to: &mut [f64], from: &[f64]| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
            };
            point += factor * other_point;
            add(&mut draws, &other.draws);
            add(&mut influence, &other.influence);
            for (seed, from) in &other.seeds {
                // The same seed draws the same controls, so they are paired too.
                match seeds.iter_mut().find(|(other, to)| other == seed && to.len() == from.len()) {
                    Some((_, to)) => add(to, from),
                    None => seeds.push((*seed, from.iter().map(|from| factor * from).collect())),
                }
            }
        }
        Self { seeds, ..Self::of(self.identity, point, draws, influence) }
    }

    /// Mean of several paired samples, draw by draw; undefined if any is.
    ///
    /// # Errors
    /// [`BootstrapError::NoSamples`] and [`BootstrapError::Unpaired`].
    pub fn mean(samples: &[Self]) -> Result<Self, BootstrapError> {
        let (first, rest) = samples.split_first().ok_or(BootstrapError::NoSamples)?;
        let mut sum = first.clone();
        for sample in rest {
            sum = sum.plus(sample, 1.0)?;
        }
        Ok(sum.scaled(1.0 / samples.len() as f64))
    }

    /// `f` of several paired samples, draw by draw, as a ratio of two; undefined where one of them is, and where
    /// `f` of their points is not finite. Influences follow by the chain rule with central differences of `f`.
    ///
    /// `f` need not be finite of every draw: of a few solved problems, a draw may hold none to divide by. Such
    /// draws count as both below and above all others, so that an [`interval`](Self::interval) holds whatever
    /// they stand for, and there is none where an end falls among them. Anything further that is made of such a
    /// sample, but for a `combine` whose `f` is finite again, is undefined.
    ///
    /// # Errors
    /// [`BootstrapError::NoSamples`] and [`BootstrapError::Unpaired`].
    pub fn combine(samples: &[&Self], f: impl Fn(&[f64]) -> f64) -> Result<Self, BootstrapError> {
        let first = samples.first().ok_or(BootstrapError::NoSamples)?;
        if samples.iter().any(|sample| sample.identity != first.identity) {
            return Err(BootstrapError::Unpaired);
        }
        let points: Option<Vec<f64>> = samples.iter().map(|sample| sample.point).collect();
        let Some(mut at) = points else { return Ok(Self::undefined(first.identity)) };
        let point = f(&at);
        if !point.is_finite() {
            return Ok(Self::undefined(first.identity));
        }
        // The sum of the samples times their derivatives has the influences of f.
        let mut linear: Option<Self> = None;
        for (place, sample) in samples.iter().enumerate() {
            let value = at[place];
            // Errors of rounding and of the third derivative are alike at this step.
            let step = f64::EPSILON.cbrt() * value.abs().max(1.0);
            let (low, high) = (value - step, value + step);
            let mut moved = |to: f64| {
                at[place] = to;
                f(&at)
            };
            let slope = (moved(high) - moved(low)) / (high - low);
            at[place] = value;
            linear = Some(match linear {
                None => sample.scaled(slope),
                Some(sum) => sum.plus(sample, slope)?,
            });
        }
        let mut buffer = vec![0.0; samples.len()];
        let draws = (0..first.draws.len()).map(|draw| {
            buffer.iter_mut().zip(samples).for_each(|(value, sample)| *value = sample.draws[draw]);
            let value = f(&buffer);
            if value.is_finite() { value } else { f64::NAN }
        });
        let draws = draws.collect();
        let (influence, seeds) = linear.map_or_else(Default::default, |sum| (sum.influence, sum.seeds));
        Ok(Self { identity: first.identity, point: Some(point), draws, influence, seeds })
    }

    fn plus(&self, other: &Self, factor: f64) -> Result<Self, BootstrapError> {
        if self.identity != other.identity {
            return Err(BootstrapError::Unpaired);
        }
        Ok(self.combined(1.0, Some((other, factor))))
    }

    /// Draws in ascending order, with the point; those without a value as `missing`.
    fn sorted(&self, missing: f64) -> Result<(f64, Vec<f64>), BootstrapError> {
        let point = self.point.ok_or(BootstrapError::Undefined)?;
        let mut draws: Vec<f64> =
            self.draws.iter().map(|&draw| if draw.is_nan() { missing } else { draw }).collect();
        draws.sort_by(f64::total_cmp);
        Ok((point, draws))
    }

    fn is_defined(&self) -> bool {
        self.point.is_some() && self.draws.iter().all(|draw| draw.is_finite())
    }

    /// Standard deviation of the draws: the standard error of the point.
    ///
    /// # Errors
    /// [`BootstrapError::Undefined`]; [`BootstrapError::NoDraws`] of a single draw.
    pub fn standard_error(&self) -> Result<f64, BootstrapError> {
        if !self.is_defined() {
            return Err(BootstrapError::Undefined);
        }
        if self.draws.len() < 2 {
            return Err(BootstrapError::NoDraws);
        }
        // About the first draw, so that equal draws have a deviation of exactly 0.
        let first = self.draws[0];
        let count = self.draws.len() as f64;
        let mean = self.draws.iter().map(|draw| draw - first).sum::<f64>() / count;
        let squares: f64 = self.draws.iter().map(|draw| (draw - first - mean).powi(2)).sum();
        Ok((squares / (count - 1.0)).sqrt())
    }

    /// Percentile interval: draws number (B + 1)·(1 ± level)/2 in ascending order, linear between
    /// neighbours (Efron & Tibshirani 1993, ch. 13). Ends are the extreme draws where B is too small.
    ///
    /// # Errors
    /// [`BootstrapError::Undefined`] and [`BootstrapError::Level`].
    pub fn interval(&self, level: f64) -> Result<Interval, BootstrapError> {
        if !is_level(level) {
            return Err(BootstrapError::Level(level));
        }
        let end = |missing: f64, of: fn(Interval) -> f64| -> Result<f64, BootstrapError> {
            let interval = Interval::of_sorted(&self.sorted(missing)?.1, level);
            interval.map(of).filter(|end| end.is_finite()).ok_or(BootstrapError::Undefined)
        };
        Ok(Interval {
            low: end(f64::NEG_INFINITY, |interval| interval.low)?,
            high: end(f64::INFINITY, |interval| interval.high)?,
        })
    }

    /// `BCa` interval (bias-corrected and accelerated): the percentile interval with its two shares
    /// corrected for median bias z₀ and acceleration a (Efron 1987), to Φ(z₀ + (z₀ + z)/(1 − a(z₀ + z))).
    /// z₀ = Φ⁻¹ of the share of draws below the point, half of those equal to it;
    /// a = Σ L³/nᵢ³ / (6·(Σ L²/nᵢ²)^1.5) over documents with influence L in a stratum of nᵢ (Davison &
    /// Hinkley 1997, sec. 5.3), where L is the derivative of the ratio, not a jackknife. Better than
    /// the percentiles for few documents of skewed losses.
    ///
    /// # Errors
    /// [`BootstrapError::Undefined`] and [`BootstrapError::Level`].
    pub fn bca_interval(&self, level: f64) -> Result<Interval, BootstrapError> {
        if !is_level(level) {
            return Err(BootstrapError::Level(level));
        }
        if !self.is_defined() || self.influence.is_empty() {
            return Err(BootstrapError::Undefined);
        }
        let (point, sorted) = self.sorted(f64::NAN)?;
        let below = sorted.partition_point(|&draw| draw < point) as f64;
        let up_to = sorted.partition_point(|&draw| draw <= point) as f64;
        let count = sorted.len() as f64;
        // Also finite where all draws are on one side.
        let bias =
            normal::quantile((f64::midpoint(below, up_to) / count).clamp(0.5 / count, 1.0 - 0.5 / count));
        let all = || self.influence.iter().chain(self.seeds.iter().flat_map(|(_, values)| values));
        let squares: f64 = all().map(|u| u * u).sum();
        let cubes: f64 = all().map(|u| u * u * u).sum();
        let acceleration = cubes / (6.0 * squares.powf(1.5));
        // 0/0 where no document matters.
        let acceleration = if acceleration.is_finite() { acceleration } else { 0.0 };
        let share = |z: f64| {
            let shifted = bias + z;
            normal::cdf(bias + shifted / (1.0 - acceleration * shifted))
        };
        let z = -normal::quantile((1.0 - level) / 2.0);
        let at = |z| crate::interval::quantile(&sorted, share(z)).ok_or(BootstrapError::Undefined);
        Ok(Interval { low: at(-z)?, high: at(z)? })
    }

    /// Two-sided p value that the statistic is 0, by the percentile position of 0:
    /// min(1, 2·(b + 1)/(B + 1)) with b draws on its smaller side, those equal to 0 on both. At least
    /// 2/(B + 1); 1 where all draws are 0.
    ///
    /// # Errors
    /// [`BootstrapError::Undefined`].
    pub fn p_value(&self) -> Result<f64, BootstrapError> {
        self.point.ok_or(BootstrapError::Undefined)?;
        // A draw without a value may lie on either side.
        let not_above = self.draws.iter().filter(|&&draw| draw <= 0.0 || draw.is_nan()).count();
        let not_below = self.draws.iter().filter(|&&draw| draw >= 0.0 || draw.is_nan()).count();
        let smaller = not_above.min(not_below) as f64;
        Ok((2.0 * (smaller + 1.0) / (self.draws.len() as f64 + 1.0)).min(1.0))
    }
}

impl Sub for &BootstrapSample {
    type Output = Result<BootstrapSample, BootstrapError>;

    /// Paired difference, draw by draw; undefined if either is.
    ///
    /// # Errors
    /// [`BootstrapError::Unpaired`].
    fn sub(self, other: Self) -> Self::Output {
        self.plus(other, -1.0)
    }
}

/// Mean over random controls, each draw over controls that are themselves drawn with replacement, so
/// that its spread is also that of controls. The point is the mean of the points; undefined if any is.
///
/// Controls come from stream 2⁶⁴ − 1 of `ChaCha8` seeded with `seed`, draw after draw. So means over as
/// many controls with the same `seed` are paired: control i of one with control i of the other.
///
/// The variance between J controls comes out too small by the factor (J − 1)/J, and as 0 for J = 1.
///
/// # Errors
/// [`BootstrapError::NoSamples`] and [`BootstrapError::Unpaired`].
pub fn resample_mean(controls: &[BootstrapSample], seed: u64) -> Result<BootstrapSample, BootstrapError> {
    let mut mean = BootstrapSample::mean(controls)?;
    let Some(point) = mean.point else { return Ok(mean) };
    // Lengths of slices of this size are below 2³² on every machine that holds their draws.
    let Ok(below) = u32::try_from(controls.len()) else { return Err(BootstrapError::NoSamples) };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(SEED_STREAM);
    for (index, draw) in mean.draws.iter_mut().enumerate() {
        let sum: f64 =
            controls.iter().map(|_| controls[rng.random_range(0..below) as usize].draws[index]).sum();
        *draw = sum / controls.len() as f64;
    }
    let count = controls.len() as f64;
    let influence = controls.iter().filter_map(|control| Some((control.point? - point) / count)).collect();
    mean.seeds.push((seed, influence));
    Ok(mean)
}

/// The draws of several paired samples by draw: row b holds draw b of every sample, as of the doses of
/// a curve. Empty if any sample is undefined.
///
/// # Errors
/// [`BootstrapError::NoSamples`] and [`BootstrapError::Unpaired`].
pub fn by_draw(samples: &[BootstrapSample]) -> Result<Vec<Vec<f64>>, BootstrapError> {
    let first = samples.first().ok_or(BootstrapError::NoSamples)?;
    if samples.iter().any(|sample| sample.identity != first.identity) {
        return Err(BootstrapError::Unpaired);
    }
    if !samples.iter().all(BootstrapSample::is_defined) {
        return Ok(Vec::new());
    }
    Ok((0..first.draws.len()).map(|draw| samples.iter().map(|sample| sample.draws[draw]).collect()).collect())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two uniform numbers to one normal number (Box & Muller).
    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Nats and tokens by stratum and document: nats = tokens·(mean + deviation·normal).
    fn documents(rng: &mut ChaCha8Rng, sizes: &[usize], mean: f64, deviation: f64) -> [Vec<Vec<f64>>; 2] {
        let (mut nats, mut tokens) = (Vec::new(), Vec::new());
        for &size in sizes {
            let t: Vec<f64> = (0..size).map(|_| f64::from(rng.random_range(200..600_u32))).collect();
            nats.push(t.iter().map(|t| t * (mean + deviation * normal(rng))).collect());
            tokens.push(t);
        }
        [nats, tokens]
    }

    #[test]
    fn intervals_cover() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let sizes = [80, 60];
        let (mut percentile, mut bca, mut rejected) = (0, 0, 0);
        let runs = 600_u32;
        for run in 0..runs {
            let [nats, tokens] = documents(&mut rng, &sizes, 1.3, 0.4);
            let sample =
                Resamples::new(&sizes, 399, run.into()).unwrap().ratio_means(&nats, &tokens).unwrap();
            percentile += u32::from(sample.interval(0.95).unwrap().contains(1.3));
            bca += u32::from(sample.bca_interval(0.95).unwrap().contains(1.3));
            // Losses about 0 have p values below 5 % in 5 % of the runs.
            let [nats, tokens] = documents(&mut rng, &sizes, 0.0, 0.4);
            let sample =
                Resamples::new(&sizes, 399, run.into()).unwrap().ratio_means(&nats, &tokens).unwrap();
            rejected += u32::from(sample.p_value().unwrap() <= 0.05);
        }
        // Three standard errors of 95 % in 600 runs are 2.7 %; the bootstrap itself falls short by 1/D or so.
        for covered in [percentile, bca, runs - rejected] {
            let share = f64::from(covered) / f64::from(runs);
            assert!((0.92..0.98).contains(&share), "{percentile} {bca} {rejected} of {runs}");
        }
    }

    #[test]
    fn bca_balances_skewed_losses() {
        // One stratum of 25 documents with exponential losses of mean 1: [below, above] the interval.
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let tokens = [vec![1.0; 25]];
        let (mut percentile, mut bca) = ([0_u32; 2], [0_u32; 2]);
        for run in 0..2000 {
            let nats = [(0..25).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect::<Vec<_>>()];
            let sample = Resamples::new(&[25], 399, run).unwrap().ratio_means(&nats, &tokens).unwrap();
            for (missed, interval) in
                [(&mut percentile, sample.interval(0.95)), (&mut bca, sample.bca_interval(0.95))]
            {
                missed[0] += u32::from(interval.unwrap().low > 1.0);
                missed[1] += u32::from(interval.unwrap().high < 1.0);
            }
        }
        // Both miss more than 50 + 50 times, as the spread of so few is underestimated. The percentiles
        // miss mostly upward, as they lean away from the long tail; BCa leans less, and misses less.
        assert!(
            bca[1].abs_diff(bca[0]) < percentile[1].abs_diff(percentile[0]) / 2,
            "{percentile:?} {bca:?}"
        );
        assert!(bca[0] + bca[1] < percentile[0] + percentile[1], "{percentile:?} {bca:?}");
    }

    #[test]
    fn acceleration_of_a_mean_is_its_skewness() {
        // Efron 1987: skewness/(6√n). Of 0, 0, 3: mean 1, central moments 2 and 2.
        let sample =
            Resamples::new(&[3], 9, 0).unwrap().ratio_means(&[[0.0, 0.0, 3.0]], &[[1.0; 3]]).unwrap();
        let squares: f64 = sample.influence.iter().map(|u| u * u).sum();
        let cubes: f64 = sample.influence.iter().map(|u| u * u * u).sum();
        let skewness = 2.0 / 2.0_f64.powf(1.5);
        assert!((cubes / squares.powf(1.5) - skewness / 3.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn standard_error_is_that_of_the_theory() {
        // Of a mean of D numbers with equal tokens: σ·√((D − 1)/D)/√D, with σ of the sample.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let nats = [(0..100).map(|_| normal(&mut rng)).collect::<Vec<_>>()];
        let mean = nats[0].iter().sum::<f64>() / 100.0;
        let expected = (nats[0].iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 100.0 / 100.0).sqrt();
        let sample = Resamples::new(&[100], 8000, 0).unwrap().ratio_means(&nats, &[vec![1.0; 100]]).unwrap();
        assert!((sample.point().unwrap() - mean).abs() < 1e-12);
        // Five standard errors of a deviation from 8,000 draws.
        assert!((sample.standard_error().unwrap() / expected - 1.0).abs() < 5.0 / 16_000_f64.sqrt());
    }

    #[test]
    fn identical_variants_differ_by_exactly_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let [nats, tokens] = documents(&mut rng, &[10, 20], 1.0, 0.3);
        let resamples = Resamples::new(&[10, 20], 100, 0).unwrap();
        let one = resamples.ratio_means(&nats, &tokens).unwrap();
        let same = Resamples::new(&[10, 20], 100, 0).unwrap().ratio_means(&nats, &tokens).unwrap();
        let difference = (&one - &same).unwrap();
        let zero = Interval { low: 0.0, high: 0.0 };
        assert_eq!((difference.point(), difference.interval(0.95)), (Some(0.0), Ok(zero)));
        assert_eq!((difference.bca_interval(0.95), difference.p_value()), (Ok(zero), Ok(1.0)));
        assert_eq!(difference.standard_error(), Ok(0.0));
    }

    #[test]
    fn pairing_removes_what_documents_share() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let [nats, tokens] = documents(&mut rng, &[50], 1.0, 0.5);
        // Each document loses 0.1 nats a token, give or take 0.02.
        let worse: Vec<Vec<f64>> = nats
            .iter()
            .zip(&tokens)
            .map(|(n, t)| n.iter().zip(t).map(|(n, t)| n + t * (0.1 + 0.02 * normal(&mut rng))).collect())
            .collect();
        let resamples = Resamples::new(&[50], 500, 0).unwrap();
        let (one, two) =
            (resamples.ratio_means(&nats, &tokens).unwrap(), resamples.ratio_means(&worse, &tokens).unwrap());
        let rise = (&two - &one).unwrap();
        assert!(rise.standard_error().unwrap() < one.standard_error().unwrap() / 10.0);
        assert!(rise.interval(0.95).unwrap().contains(0.1));
        assert!((rise.p_value().unwrap() - 2.0 / 501.0).abs() < 1e-15);
    }

    #[test]
    fn more_documents_are_surer() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let [few, many] = [40, 640].map(|size| {
            let [nats, tokens] = documents(&mut rng, &[size], 1.0, 0.5);
            Resamples::new(&[size], 1000, 0)
                .unwrap()
                .ratio_means(&nats, &tokens)
                .unwrap()
                .interval(0.9)
                .unwrap()
        });
        // √16, and what two samples of deviations leave.
        assert!((2.8..5.6).contains(&(few.width() / many.width())));
    }

    #[test]
    fn control_seeds_add_their_spread() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut fixed, mut hierarchical) = (0, 0);
        let runs = 400;
        for run in 0..runs {
            let [nats, tokens] = documents(&mut rng, &[100], 1.0, 0.2);
            let resamples = Resamples::new(&[100], 299, run).unwrap();
            let controls: Vec<_> = (0..12)
                .map(|_| {
                    let effect = 0.1 * normal(&mut rng);
                    let nats =
                        [nats[0].iter().zip(&tokens[0]).map(|(n, t)| n + t * effect).collect::<Vec<_>>()];
                    resamples.ratio_means(&nats, &tokens).unwrap()
                })
                .collect();
            let contains = |sample: BootstrapSample| u32::from(sample.interval(0.95).unwrap().contains(1.0));
            fixed += contains(BootstrapSample::mean(&controls).unwrap());
            hierarchical += contains(resample_mean(&controls, run).unwrap());
        }
        // σ² = 0.2²/100 of documents and 0.1²/12 of seeds, of which 11/12 are seen: a coverage of 94 %, less
        // 1 % as twelve are few, and four standard errors.
        assert!((0.89..0.98).contains(&(f64::from(hierarchical) / 400.0)), "{hierarchical}");
        // Without seeds only ±1.96·0.02 of 0.035: 74 %.
        assert!(fixed < 330, "{fixed}");
    }

    #[test]
    fn one_control_is_itself_and_equal_seeds_are_paired() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let resamples = Resamples::new(&[30], 50, 0).unwrap();
        let samples: Vec<_> = (0..5)
            .map(|_| {
                let [nats, tokens] = documents(&mut rng, &[30], 1.0, 0.5);
                resamples.ratio_means(&nats, &tokens).unwrap()
            })
            .collect();
        assert_eq!(resample_mean(&samples[..1], 3).unwrap().draws(), samples[0].draws());
        let doubled: Vec<_> = samples.iter().map(|sample| sample.scaled(2.0)).collect();
        let (one, two) = (resample_mean(&samples, 3).unwrap(), resample_mean(&doubled, 3).unwrap());
        let difference = (&two - &one).unwrap();
        for (a, b) in difference.draws().iter().zip(one.draws()) {
            assert!((a - b).abs() < 1e-12);
        }
        assert_eq!(difference.seeds.len(), 1);
        let other = resample_mean(&samples, 4).unwrap();
        assert_ne!(other.draws(), one.draws());
        assert_eq!((&other - &one).unwrap().seeds.len(), 2);
    }

    #[test]
    fn strata_and_draws_do_not_disturb_each_other() {
        let more = Resamples::new(&[7, 9, 4], 20, 5).unwrap();
        let fewer = Resamples::new(&[7, 9], 10, 5).unwrap();
        assert_eq!(more.strata[1].counts[..90], fewer.strata[1].counts[..]);
        for (stratum, size) in more.strata.iter().zip([7, 9, 4]) {
            for draw in stratum.counts.chunks(size) {
                assert_eq!(draw.iter().map(|&count| usize::from(count)).sum::<usize>(), size);
            }
        }
    }

    #[test]
    fn weights_choose_strata() {
        let resamples = Resamples::new(&[2, 3], 20, 0).unwrap();
        let tokens = [vec![1.0, 3.0], vec![2.0, 2.0, 2.0]];
        let nats = [vec![2.0, 2.0], vec![6.0, 6.0, 6.0]];
        // Means 1 and 3.
        let point =
            |weights: &[f64]| resamples.weighted_ratio_means(&nats, &tokens, weights).unwrap().point();
        assert_eq!(resamples.ratio_means(&nats, &tokens).unwrap().point(), Some(2.0));
        assert_eq!(
            (point(&[1.0, 0.0]), point(&[0.0, 5.0]), point(&[1.0, 3.0])),
            (Some(1.0), Some(3.0), Some(2.5))
        );
        // What is left out does not matter.
        let (nats, tokens) = ([vec![2.0, 2.0], vec![f64::NAN]], [vec![1.0, 3.0], vec![]]);
        assert_eq!(resamples.weighted_ratio_means(&nats, &tokens, &[2.0, 0.0]).unwrap().point(), Some(1.0));
    }

    #[test]
    fn overflowed_losses_are_undefined() {
        let resamples = Resamples::new(&[2], 10, 0).unwrap();
        let tokens = [[1.0, 1.0]];
        let fine = resamples.ratio_means(&[[1.0, 2.0]], &tokens).unwrap();
        for bad in [f64::NAN, f64::INFINITY, f64::MAX] {
            let bad = resamples.ratio_means(&[[bad, f64::MAX]], &tokens).unwrap();
            for sample in [
                bad.clone(),
                (&fine - &bad).unwrap(),
                (&bad - &fine).unwrap(),
                bad.scaled(2.0),
                BootstrapSample::mean(&[fine.clone(), bad.clone()]).unwrap(),
                resample_mean(&[fine.clone(), bad.clone()], 0).unwrap(),
                fine.scaled(f64::NAN),
            ] {
                assert_eq!((sample.point(), sample.draws()), (None, &[][..]));
                assert_eq!(sample.interval(0.9), Err(BootstrapError::Undefined));
                assert_eq!(sample.bca_interval(0.9), Err(BootstrapError::Undefined));
                assert_eq!(sample.p_value(), Err(BootstrapError::Undefined));
                assert_eq!(sample.standard_error(), Err(BootstrapError::Undefined));
            }
            assert_eq!(by_draw(&[fine.clone(), bad]), Ok(vec![]));
        }
    }

    #[test]
    fn bad_input_is_refused() {
        use BootstrapError as E;
        assert_eq!(Resamples::new(&[], 1, 0).unwrap_err(), E::NoDocuments(0));
        assert_eq!(Resamples::new(&[1, 0], 1, 0).unwrap_err(), E::NoDocuments(1));
        assert_eq!(Resamples::new(&[1], 0, 0).unwrap_err(), E::NoDraws);
        assert!(matches!(Resamples::new(&[usize::MAX], 2, 0), Err(E::TooLarge { draws: 2, .. })));
        assert!(matches!(Resamples::new(&[2], usize::MAX, 0), Err(E::TooLarge { documents: 2, .. })));
        let resamples = Resamples::new(&[2], 10, 0).unwrap();
        let means =
            |nats: &[f64], tokens: &[f64]| resamples.ratio_means(&[nats], &[tokens]).map(|s| s.point());
        let (stratum, expected) = (0, 2);
        assert_eq!(means(&[1.0], &[1.0, 1.0]), Err(E::Documents { stratum, found: 1, expected }));
        assert_eq!(means(&[1.0, 1.0], &[]), Err(E::Documents { stratum, found: 0, expected }));
        for tokens in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(means(&[1.0, 1.0], &[1.0, tokens]), Err(E::Tokens { stratum, document: 1, tokens }));
        }
        assert!(means(&[1.0, 1.0], &[f64::NAN, 1.0]).is_err());
        let none: [Vec<f64>; 0] = [];
        assert_eq!(resamples.ratio_means(&none, &none).unwrap_err(), E::Strata { found: 0, expected: 1 });
        let one = [[1.0, 1.0]];
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(resamples.weighted_ratio_means(&one, &one, &[weight]).unwrap_err(), E::Weights);
        }
        let sample = resamples.ratio_means(&one, &one).unwrap();
        for other in [Resamples::new(&[2], 10, 1), Resamples::new(&[2], 11, 0)] {
            let other = other.unwrap().ratio_means(&one, &one).unwrap();
            assert_eq!((&sample - &other).unwrap_err(), E::Unpaired);
            assert_eq!(by_draw(&[sample.clone(), other]), Err(E::Unpaired));
        }
        assert_eq!(sample.interval(95.0), Err(E::Level(95.0)));
        assert_eq!(sample.bca_interval(0.0), Err(E::Level(0.0)));
        let other = Resamples::new(&[2], 10, 1).unwrap().ratio_means(&one, &one).unwrap();
        assert_eq!(BootstrapSample::combine(&[&sample, &other], |x| x[0] / x[1]), Err(E::Unpaired));
        assert_eq!(BootstrapSample::combine(&[], |_| 1.0), Err(E::NoSamples));
        assert_eq!(BootstrapSample::mean(&[]), Err(E::NoSamples));
        assert_eq!(resample_mean(&[], 0), Err(E::NoSamples));
        assert_eq!(by_draw(&[]), Err(E::NoSamples));
        assert_eq!(by_draw(&[sample.clone(), sample]), Ok(vec![vec![1.0, 1.0]; 10]));
    }

    /// Shares of two kinds of 40 problems that are solved, by resamples of the problems.
    fn shares(solved: [usize; 2], draws: usize) -> [BootstrapSample; 2] {
        let resamples = Resamples::new(&[40, 40], draws, 3).expect("sizes above 0");
        let kinds = solved.map(|n| (0..40).map(|i| f64::from(u8::from(i < n))).collect::<Vec<_>>());
        let ones = [vec![1.0; 40], vec![1.0; 40]];
        [[1.0, 0.0], [0.0, 1.0]]
            .map(|weights| resamples.weighted_ratio_means(&kinds, &ones, &weights).expect("40 of each"))
    }

    #[test]
    fn ratios_have_intervals() {
        let [a, b] = shares([12, 30], 1999);
        let ratio = BootstrapSample::combine(&[&a, &b], |x| x[0] / x[1]).unwrap();
        assert!((ratio.point().unwrap() - 0.4).abs() < 1e-12);
        for ((a, b), ratio) in a.draws().iter().zip(b.draws()).zip(ratio.draws()) {
            assert!((a / b - ratio).abs() < 1e-15);
        }
        // Delta method: var(a/b) = var(a)/b² + a²·var(b)/b⁴, and the same of influences.
        let variance =
            0.3 * 0.7 / 40.0 / 0.75_f64.powi(2) + 0.3_f64.powi(2) * (0.75 * 0.25 / 40.0) / 0.75_f64.powi(4);
        assert!((ratio.standard_error().unwrap() / variance.sqrt() - 1.0).abs() < 0.1);
        let squares: f64 = ratio.influence.iter().map(|u| u * u).sum();
        assert!((squares / variance - 1.0).abs() < 1e-6, "{squares} {variance}");
        assert!(
            ratio.bca_interval(0.95).unwrap().contains(0.4) && ratio.interval(0.95).unwrap().contains(0.4)
        );
        // A sum is what it is without it.
        let sum = BootstrapSample::combine(&[&a, &b], |x| x[0] - x[1]).unwrap();
        let difference = (&a - &b).unwrap();
        assert_eq!((sum.point(), sum.draws()), (difference.point(), difference.draws()));
        for (one, other) in sum.influence.iter().zip(&difference.influence) {
            assert!((one - other).abs() < 1e-9);
        }
    }

    #[test]
    fn draws_without_a_value_widen_an_interval_or_leave_none() {
        // A draw holds none of 6 solved problems with a chance of 0.85⁴⁰ = 0.15 %, none of 2 with 13 %.
        let [few, many] = shares([6, 30], 4999);
        let ratio = |few: &BootstrapSample| BootstrapSample::combine(&[&many, few], |x| x[0] / x[1]).unwrap();
        let some = ratio(&few);
        let missing = some.draws().iter().filter(|draw| draw.is_nan()).count();
        assert!((1..25).contains(&missing), "{missing} of 4999");
        let interval = some.interval(0.95).unwrap();
        let mut finite: Vec<f64> = some.draws().iter().copied().filter(|draw| draw.is_finite()).collect();
        finite.sort_by(f64::total_cmp);
        let without = Interval::of_sorted(&finite, 0.95).unwrap();
        assert!(interval.low <= without.low && interval.high >= without.high);
        assert!(interval.low.is_finite() && interval.high.is_finite());
        assert_eq!(some.bca_interval(0.95), Err(BootstrapError::Undefined));
        assert_eq!(some.standard_error(), Err(BootstrapError::Undefined));
        assert_eq!(some.scaled(2.0).point(), None);
        assert_eq!(by_draw(&[some]), Ok(vec![]));
        let [rare, _] = shares([2, 30], 4999);
        let rare = ratio(&rare);
        assert!(rare.point().is_some());
        assert_eq!(rare.interval(0.95), Err(BootstrapError::Undefined));
        assert!(rare.p_value().unwrap() > 0.1, "the draws without a value may lie on either side");
        // Without a point there is nothing.
        let [none, _] = shares([0, 30], 4999);
        assert_eq!((ratio(&none).point(), ratio(&none).draws()), (None, &[][..]));
        // No derivative, no acceleration.
        let [a, b] = shares([20, 20], 99);
        let corner = BootstrapSample::combine(&[&a, &b], |x| {
            if (x[0] - 0.5).abs() < 1e-12 {
                1.0
            } else if x[0] > 0.5 {
                f64::NAN
            } else {
                0.0
            }
        });
        assert_eq!(corner.unwrap().bca_interval(0.95), Err(BootstrapError::Undefined));
    }

    proptest! {
        #[test]
        fn arithmetic_is_draw_by_draw(
            a in prop::collection::vec(-10.0..10.0_f64, 6),
            b in prop::collection::vec(-10.0..10.0_f64, 6),
        ) {
            let resamples = Resamples::new(&[2, 4], 25, 9).unwrap();
            let tokens = [vec![1.0, 2.0], vec![1.0, 1.0, 3.0, 2.0]];
            let sample = |v: &[f64]| resamples.ratio_means(&[&v[..2], &v[2..]], &tokens).unwrap();
            let (a, b) = (sample(&a), sample(&b));
            let mean = BootstrapSample::mean(&[a.clone(), b.clone()]).unwrap();
            let same = (&a - &(&a - &b).unwrap().scaled(0.5)).unwrap();
            for (x, y) in mean.draws().iter().zip(same.draws()) {
                prop_assert!((x - y).abs() < 1e-12);
            }
            for (x, y) in mean.influence.iter().zip(&same.influence) {
                prop_assert!((x - y).abs() < 1e-12);
            }
            // Influences of a stratum sum to 0.
            prop_assert!(a.influence[2..].iter().sum::<f64>().abs() < 1e-12);
        }
    }
}
