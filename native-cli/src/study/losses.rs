//! Rises of losses with bootstrap intervals, paired over documents.

use super::findings::Estimate;
use super::points::{Nats, ORIGINAL, PointLog};
use crate::measure::Subset;
use anyhow::Context as _;
use codingspot_stats::bootstrap::{BootstrapSample, Resamples};

/// Level of every interval.
pub(super) const LEVEL: f64 = 0.95;
/// Seed of the resampling: the same documents are drawn for every point, so that all are paired.
const SEED: u64 = 0;

/// The measured points, and how documents are resampled.
pub(crate) struct Losses<'a> {
    log: &'a PointLog,
    resamples: Resamples,
    /// Targets by subset and document.
    tokens: Vec<Vec<f64>>,
}

impl<'a> Losses<'a> {
    pub(crate) fn new(log: &'a PointLog, subsets: &[Subset], draws: usize) -> anyhow::Result<Self> {
        let sizes: Vec<usize> = subsets.iter().map(|subset| subset.rows.len()).collect();
        let tokens = subsets
            .iter()
            .map(|subset| subset.rows.iter().map(|row| (row.len() - 1) as f64).collect())
            .collect();
        Ok(Self { log, resamples: Resamples::new(&sizes, draws, SEED)?, tokens })
    }

    fn nats(&self, key: &str) -> anyhow::Result<&Nats> {
        self.log.get(key).with_context(|| format!("{key} was not measured"))
    }

    /// Mean loss over subsets by `weights`, nats per token.
    pub(crate) fn loss(&self, key: &str, weights: &[f64]) -> anyhow::Result<BootstrapSample> {
        Ok(self.resamples.weighted_ratio_means(self.nats(key)?, &self.tokens, weights)?)
    }

    /// Its rise over the original's.
    pub(crate) fn rise(&self, key: &str, weights: &[f64]) -> anyhow::Result<BootstrapSample> {
        Ok((&self.loss(key, weights)? - &self.loss(ORIGINAL, weights)?)?)
    }

    /// Loss of every subset, nats per token; `None` where it is not finite.
    pub(crate) fn by_subset(&self, key: &str) -> anyhow::Result<Vec<Option<f64>>> {
        let nats = self.nats(key)?.iter().zip(&self.tokens);
        let means = nats.map(|(nats, tokens)| nats.iter().sum::<f64>() / tokens.iter().sum::<f64>());
        Ok(means.map(|mean| mean.is_finite().then_some(mean)).collect())
    }
}

/// Point and interval; `None` where the sample has no number.
pub(crate) fn estimate(sample: &BootstrapSample) -> Option<Estimate> {
    let value = sample.point()?;
    let interval = sample.bca_interval(LEVEL).or_else(|_| sample.interval(LEVEL)).ok()?;
    Some(Estimate { value, low: interval.low, high: interval.high })
}
