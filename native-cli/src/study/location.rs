//! Where a spot lies, and how its parameters bunch up.

use super::findings::{Concentration, LocationAt, LocationCell, MassShare, ResidualFinding};
use crate::run::Run;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::spot::{Lines, Spot, count_tensors, line_counts, residual_counts};
use codingspot_stats::dispersion::morisita;

/// Fewer parameters in a tensor say nothing about its rows.
const FEWEST: u64 = 30;
/// Dimensions of the residual stream that are named.
const NAMED: usize = 10;

/// Counts and enrichment by tensor at each k.
pub(crate) fn at(spot: &Spot, layout: &ParameterLayout, ks: &[f64]) -> anyhow::Result<Vec<LocationAt>> {
    ks.iter()
        .map(|&k| {
            let count = spot.prefix_len(k)?;
            let cells = count_tensors(spot, 0..count, layout)
                .into_iter()
                .map(|found| {
                    let spec = &layout.tensors()[found.tensor];
                    LocationCell {
                        tensor: spec.name.clone(),
                        module: spec.module.name().to_owned(),
                        layer: spec.layer,
                        count: found.count,
                        numel: found.numel,
                        expected: found.expected,
                        enrichment: found.enrichment(),
                    }
                })
                .collect();
            Ok(LocationAt { k, count: count as u64, cells })
        })
        .collect()
}

/// Bunching by row and column of every matrix that has enough of the first `count` parameters.
pub(crate) fn concentration(spot: &Spot, count: usize, layout: &ParameterLayout) -> Vec<Concentration> {
    let mut found = Vec::new();
    for cell in count_tensors(spot, 0..count, layout) {
        if cell.count < FEWEST {
            continue;
        }
        for lines in [Lines::Rows, Lines::Columns] {
            let Some(counts) = line_counts(spot, 0..count, layout, cell.tensor, lines) else { continue };
            let line_len = cell.numel / counts.len().max(1) as u64;
            let Ok(index) = morisita(&counts, line_len) else { continue };
            let Some((fullest, &fullest_count)) =
                counts.iter().enumerate().max_by_key(|(line, count)| (**count, std::cmp::Reverse(*line)))
            else {
                continue;
            };
            found.push(Concentration {
                tensor: layout.tensors()[cell.tensor].name.clone(),
                lines,
                count: cell.count,
                morisita: index.ratio,
                z: index.z(),
                fullest,
                fullest_count,
                line_len,
            });
        }
    }
    found
}

/// Bunching by dimension of the residual stream of the first `count` parameters.
pub(crate) fn residual(
    spot: &Spot,
    count: usize,
    layout: &ParameterLayout,
    hidden: usize,
) -> Option<ResidualFinding> {
    let (counts, parameters_per_dimension) = residual_counts(spot, 0..count, layout, hidden);
    let index = morisita(&counts, parameters_per_dimension).ok()?;
    let mut fullest: Vec<(usize, u64)> = counts.iter().copied().enumerate().collect();
    fullest.sort_by_key(|&(dimension, count)| (std::cmp::Reverse(count), dimension));
    fullest.truncate(NAMED);
    Some(ResidualFinding {
        morisita: index.ratio,
        z: index.z(),
        parameters_per_dimension,
        fullest,
        total: counts.iter().sum(),
    })
}

/// Share of all scores in scope that the highest hold, by powers of ten and the `ks`.
pub(crate) fn mass(spot: &Spot, run: &Run, ks: &[f64]) -> anyhow::Result<Vec<MassShare>> {
    let total = run.score_mass(spot.header().scope)?;
    let mut tops: Vec<usize> =
        (0..).map(|power| 10_usize.pow(power)).take_while(|&top| top <= spot.len()).collect();
    for &k in ks {
        tops.push(spot.prefix_len(k)?);
    }
    tops.sort_unstable();
    tops.dedup();
    let mut shares = Vec::with_capacity(tops.len());
    let (mut sum, mut next) = (0.0, 0);
    for top in tops.into_iter().filter(|&top| top > 0) {
        sum += spot.score()[next..top].iter().map(|&score| f64::from(score)).sum::<f64>();
        next = top;
        shares.push(MassShare { top: top as u64, share: if total > 0.0 { sum / total } else { 0.0 } });
    }
    Ok(shares)
}
