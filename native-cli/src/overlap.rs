//! How alike rankings are, beside what chance would give.

use crate::run::Run;
use crate::selection::for_scores;
use codingspot_core::layout::Module;
use codingspot_core::spot::{ParameterSet, Scope, ScoreHistogram, Spot, check_comparable};
use codingspot_core::tensor_name::module_of;
use codingspot_stats::overlap::{Hypergeometric, Stratified, Stratum, jaccard};
use codingspot_stats::rank::{BucketRanks, SpearmanAccumulator, spearman};
use serde::{Deserialize, Serialize};

/// A ranking under a name.
#[derive(Debug)]
pub(crate) struct Ranking {
    pub(crate) name: String,
    pub(crate) spot: Spot,
}

/// How alike two sets of parameters are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alike {
    /// Parameters of the one.
    pub(crate) left: u64,
    /// Parameters of the other.
    pub(crate) right: u64,
    /// Parameters that both have.
    pub(crate) common: u64,
    /// Common over union; 0 for two empty sets.
    pub(crate) jaccard: f64,
    /// Expected of two random sets of these sizes in the scope.
    pub(crate) chance: f64,
    /// Expected of two random sets with these numbers in every tensor.
    pub(crate) chance_by_tensor: f64,
    /// log₁₀ of the probability of as many or more in common, by chance in the scope.
    pub(crate) log10_p: f64,
}

/// A part of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartAlike {
    /// A layer (`layer 3`) or a module (`q_proj`).
    pub(crate) part: String,
    #[serde(flatten)]
    pub(crate) alike: Alike,
}

/// Two rankings at one k.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairAt {
    pub(crate) k: f64,
    #[serde(flatten)]
    pub(crate) alike: Alike,
    /// Spearman's ρ of the ranks of what both have; `None` below three.
    pub(crate) rank_correlation: Option<f64>,
    pub(crate) by_module: Vec<PartAlike>,
    pub(crate) by_layer: Vec<PartAlike>,
}

/// Two rankings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) left: String,
    pub(crate) right: String,
    pub(crate) at: Vec<PairAt>,
}

/// Compares two rankings at every k that both hold.
///
/// Fails when they are of other weights or scopes, or a k is beyond what one holds.
pub(crate) fn compare(left: &Ranking, right: &Ranking, ks: &[f64]) -> anyhow::Result<Pair> {
    check_comparable((&left.name, &left.spot), (&right.name, &right.spot))?;
    let at = ks
        .iter()
        .map(|&k| {
            let count = |ranking: &Ranking| {
                ranking.spot.prefix_len(k).map_err(|error| anyhow::anyhow!("{}: {error}", ranking.name))
            };
            Ok(at(&left.spot, count(left)?, &right.spot, count(right)?, k))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Pair { left: left.name.clone(), right: right.name.clone(), at })
}

/// Compares the first `a` of `left` with the first `b` of `right`.
pub(crate) fn at(left: &Spot, a: usize, right: &Spot, b: usize, k: f64) -> PairAt {
    let (one, other) = (ParameterSet::of(left, 0..a), ParameterSet::of(right, 0..b));
    let common = one.common(&other);
    let header = left.header();
    let places: Vec<Place> = header
        .tensors
        .iter()
        .enumerate()
        .filter_map(|(tensor, spec)| {
            let (module, layer) = module_of(&spec.name)?;
            let stratum = Stratum {
                n: spec.numel(),
                a: one.offsets(tensor).len() as u64,
                b: other.offsets(tensor).len() as u64,
            };
            let common = common.get(tensor).copied().unwrap_or(0);
            header.scope.contains(module).then_some(Place { module, layer, stratum, common })
        })
        .collect();
    let mut modules: Vec<Module> = Vec::new();
    let mut layers: Vec<usize> = Vec::new();
    for place in &places {
        if !modules.contains(&place.module) {
            modules.push(place.module);
        }
        if let Some(layer) = place.layer.filter(|layer| !layers.contains(layer)) {
            layers.push(layer);
        }
    }
    let part = |part: String, inside: &dyn Fn(&Place) -> bool| PartAlike {
        part,
        alike: alike(&places.iter().filter(|place| inside(place)).collect::<Vec<_>>()),
    };
    PairAt {
        k,
        alike: alike(&places.iter().collect::<Vec<_>>()),
        rank_correlation: rank_correlation(left, a, right, b, &one.intersection(&other)),
        by_module: modules.iter().map(|&m| part(m.name().to_owned(), &|place| place.module == m)).collect(),
        by_layer: layers
            .iter()
            .map(|&l| part(format!("layer {l}"), &|place| place.layer == Some(l)))
            .collect(),
    }
}

/// One tensor: how many parameters each set has in it, and both.
struct Place {
    module: Module,
    layer: Option<usize>,
    stratum: Stratum,
    common: u64,
}

fn alike(places: &[&Place]) -> Alike {
    let sum = |of: &dyn Fn(&Place) -> u64| places.iter().map(|place| of(place)).sum::<u64>();
    let (n, left, right) =
        (sum(&|place| place.stratum.n), sum(&|place| place.stratum.a), sum(&|place| place.stratum.b));
    let common = sum(&|place| place.common);
    let strata: Vec<Stratum> = places.iter().map(|place| place.stratum).collect();
    // Both empty: nothing is shared, and nothing could be.
    let chance = Hypergeometric::new(n, left, right);
    Alike {
        left,
        right,
        common,
        jaccard: jaccard(common, left, right).unwrap_or(0.0),
        chance: chance.as_ref().ok().and_then(|chance| chance.expected_jaccard().ok()).unwrap_or(0.0),
        chance_by_tensor: Stratified::new(&strata).and_then(|s| s.expected_jaccard()).unwrap_or(0.0),
        log10_p: chance.map_or(0.0, |chance| chance.ln_upper_tail(common) / std::f64::consts::LN_10),
    }
}

/// Spearman's ρ between the two ranks of the parameters in `common`.
fn rank_correlation(left: &Spot, a: usize, right: &Spot, b: usize, common: &ParameterSet) -> Option<f64> {
    let ranks = |spot: &Spot, count: usize| {
        let mut places: Vec<(u64, f64)> = spot
            .ranked(0..count)
            .enumerate()
            .filter(|(_, entry)| common.contains(entry.tensor, entry.offset))
            .map(|(rank, entry)| (u64::from(entry.tensor) << 32 | u64::from(entry.offset), rank as f64))
            .collect();
        places.sort_unstable_by_key(|(place, _)| *place);
        places.into_iter().map(|(_, rank)| rank).collect::<Vec<_>>()
    };
    let (one, other) = (ranks(left, a), ranks(right, b));
    if one.len() < 3 { None } else { spearman(&one, &other).ok() }
}

/// Spearman's ρ of the total scores of all parameters in scope, ranks to within a bucket of 1/128 of a
/// score; two walks over the files. `None` when one run gives every parameter the same score.
pub(crate) fn spearman_of_runs(left: &Run, right: &Run, scope: Scope) -> anyhow::Result<Option<f64>> {
    let mut files = left.score_files(None)?;
    files.extend(right.score_files(None)?);
    let tensors = left.layout.tensors();
    let histograms = for_scores(
        "Ranking scores",
        &files,
        tensors,
        scope,
        || [ScoreHistogram::new(), ScoreHistogram::new()],
        |histograms, scores| {
            for (histogram, scores) in histograms.iter_mut().zip(scores) {
                histogram.add(scores)?;
            }
            Ok(())
        },
    )?;
    let mut whole = [ScoreHistogram::new(), ScoreHistogram::new()];
    for part in &histograms {
        whole[0].merge(&part[0]);
        whole[1].merge(&part[1]);
    }
    let (a, b) = (BucketRanks::new(&whole[0].counts())?, BucketRanks::new(&whole[1].counts())?);
    let empty = SpearmanAccumulator::new(&a, &b)?;
    let parts = for_scores(
        "Comparing ranks",
        &files,
        tensors,
        scope,
        || empty.clone(),
        |sum, scores| Ok(sum.add(scores[0], scores[1])?),
    )?;
    let mut sum = empty.clone();
    for part in &parts {
        sum.merge(part)?;
    }
    Ok(sum.finish().ok())
}
