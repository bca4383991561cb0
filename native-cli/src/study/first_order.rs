//! What the gradient on the held-out documents predicts for every point of the curves.

use crate::measure::Subset;
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::score::{ScoreError, first_order};
use codingspot_core::spot::{Scope, Spot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Predictions for one subset.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Prediction {
    /// By curve, then point: predicted rise of the subset's loss, nats per token.
    pub(crate) rise: BTreeMap<String, Vec<f64>>,
    /// By tensor of the layout: parameters whose removal is predicted to lower the loss.
    pub(crate) lowering: Vec<u64>,
    /// By tensor of the layout: by how much all of them together, if effects added up.
    pub(crate) lowering_nats: Vec<f64>,
}

impl Prediction {
    /// Share of the parameters in scope whose removal is predicted to lower the loss.
    pub(crate) fn lowering_share(&self, loaded: &LoadedModel, scope: Scope) -> f64 {
        let (mut lowering, mut all) = (0, 0);
        for (spec, count) in loaded.model.layout().tensors().iter().zip(&self.lowering) {
            if scope.contains(spec.module) {
                lowering += count;
                all += spec.numel();
            }
        }
        lowering as f64 / all.max(1) as f64
    }
}

/// A curve whose points are predicted.
pub(crate) struct Predicted<'a> {
    pub(crate) name: String,
    pub(crate) spot: &'a Spot,
    /// Ranks that a point removes: the first so many.
    pub(crate) counts: Vec<usize>,
}

/// A forward and a backward pass over every subset; what `path` holds already is not computed again.
pub(crate) fn predict(
    loaded: &LoadedModel,
    subsets: &[Subset],
    batch_size: usize,
    curves: &[Predicted<'_>],
    path: &Path,
) -> anyhow::Result<BTreeMap<String, Prediction>> {
    let mut known: BTreeMap<String, Prediction> = if path.is_file() {
        let text = crate::model::read_text(path, 1 << 30)?;
        serde_json::from_str(&text).with_context(|| format!("{} was refused; remove it", path.display()))?
    } else {
        BTreeMap::new()
    };
    let missing: Vec<&Subset> = subsets.iter().filter(|subset| !known.contains_key(&subset.name)).collect();
    let documents: usize = missing.iter().map(|subset| subset.rows.len()).sum();
    let mut progress = Progress::new("Predicting", documents as u64);
    let places: Vec<Places> = curves.iter().map(|curve| Places::new(curve.spot)).collect();
    let mut done = 0;
    for subset in missing {
        let prediction = predict_subset(loaded, subset, batch_size, curves, &places, |rows| {
            progress.set(done + rows as u64);
        })?;
        done += subset.rows.len() as u64;
        known.insert(subset.name.clone(), prediction);
        crate::atomic::write_file(path, &serde_json::to_vec(&known)?)?;
    }
    progress.finish();
    Ok(known)
}

/// Ranks of a spot by tensor, offsets ascending.
struct Places {
    by_tensor: Vec<Vec<(u32, u32)>>,
}

impl Places {
    fn new(spot: &Spot) -> Self {
        let mut by_tensor = vec![Vec::new(); spot.header().tensors.len()];
        for (rank, (&tensor, &offset)) in (0..).zip(spot.tensor().iter().zip(spot.offset())) {
            by_tensor[usize::from(tensor)].push((offset, rank));
        }
        by_tensor.iter_mut().for_each(|places| places.sort_unstable());
        Self { by_tensor }
    }
}

fn predict_subset(
    loaded: &LoadedModel,
    subset: &Subset,
    batch_size: usize,
    curves: &[Predicted<'_>],
    places: &[Places],
    mut tick: impl FnMut(usize),
) -> anyhow::Result<Prediction> {
    let rows: Vec<&[u32]> = subset.rows.iter().map(Vec::as_slice).collect();
    let tensors = loaded.model.layout().tensors().len();
    let mut by_rank: Vec<Vec<f32>> = curves.iter().map(|curve| vec![0.0; curve.spot.len()]).collect();
    let (mut lowering, mut lowering_nats) = (vec![0_u64; tensors], vec![0.0_f64; tensors]);
    pollster::block_on(first_order(
        &loaded.model,
        &rows,
        batch_size,
        async |done, _| {
            tick(done);
            ControlFlow::Continue(())
        },
        |tensor, first, values| -> Result<(), ScoreError> {
            let positive = values.iter().filter(|value| **value > 0.0);
            let (count, sum) = positive.fold((0, 0.0), |(n, sum), value| (n + 1, sum + f64::from(*value)));
            lowering[tensor] += count;
            lowering_nats[tensor] += sum;
            let end = first + values.len() as u64;
            for (places, by_rank) in places.iter().zip(&mut by_rank) {
                let here = &places.by_tensor[tensor];
                let from = here.partition_point(|(offset, _)| u64::from(*offset) < first);
                let to = here.partition_point(|(offset, _)| u64::from(*offset) < end);
                for &(offset, rank) in &here[from..to] {
                    let index = usize::try_from(u64::from(offset) - first).unwrap_or(usize::MAX);
                    by_rank[rank as usize] = values[index];
                }
            }
            Ok(())
        },
    ))
    .with_context(|| format!("the gradient on {} was not computed", subset.name))?;
    let rise = curves
        .iter()
        .zip(&by_rank)
        .map(|(curve, by_rank)| {
            let mut sum = 0.0;
            let mut next = 0;
            let mut points = Vec::with_capacity(curve.counts.len());
            // Counts ascend.
            for &count in &curve.counts {
                let count = count.min(by_rank.len());
                sum -= by_rank[next..count].iter().map(|&value| f64::from(value)).sum::<f64>();
                next = count;
                points.push(sum);
            }
            (curve.name.clone(), points)
        })
        .collect();
    Ok(Prediction { rise, lowering, lowering_nats })
}
