//! The forms of a model that are measured: as it is, and with each ranking's parameters replaced at each k.

use crate::args::ControlChoice;
use crate::measure::Arm;
use crate::results::ORIGINAL;
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::spot::{magnitude, matched_magnitude, matched_random};

/// One form of the model.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) variant: String,
    /// Percent.
    pub(crate) k: f64,
    /// Parameters that are replaced.
    pub(crate) count: usize,
    /// Place of its ranking; `None` of the original.
    pub(crate) arm: Option<usize>,
}

impl Form {
    /// Name of its directory: `original`, `spot-k0.25`, `random-1-k0.25`.
    pub(crate) fn folder(&self) -> String {
        if self.arm.is_none() {
            return ORIGINAL.to_owned();
        }
        format!("{}-k{}", self.variant.replace(':', "-"), self.k)
    }
}

/// The original, then every arm at every k above 0.
pub(crate) fn forms(arms: &[Arm], ks: &[f64]) -> anyhow::Result<Vec<Form>> {
    let mut forms = vec![Form { variant: ORIGINAL.to_owned(), k: 0.0, count: 0, arm: None }];
    let mut above_zero: Vec<f64> = ks.iter().copied().filter(|&k| k > 0.0).collect();
    above_zero.sort_by(f64::total_cmp);
    above_zero.dedup_by(|a, b| a.total_cmp(b).is_eq());
    for (place, arm) in arms.iter().enumerate() {
        for &k in &above_zero {
            let count = arm.spot.prefix_len(k)?;
            forms.push(Form { variant: arm.variant.clone(), k, count, arm: Some(place) });
        }
    }
    Ok(forms)
}

/// What was asked for, each once.
fn distinct<T: Copy + PartialEq>(asked: &[T]) -> Vec<T> {
    let mut seen = Vec::new();
    for &item in asked {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// How many rankings `controls` are.
pub(crate) fn count(controls: &[ControlChoice], seeds: &[u64]) -> usize {
    let of = |control| if control == ControlChoice::Random { distinct(seeds).len() } else { 1 };
    distinct(controls).into_iter().map(of).sum()
}

/// The controls of the first arm; without one there are none.
pub(crate) fn controls(
    controls: &[ControlChoice],
    seeds: &[u64],
    loaded: &LoadedModel,
    arms: &mut Vec<Arm>,
) -> anyhow::Result<()> {
    let Some(spot) = arms.first().map(|arm| arm.spot.clone()) else { return Ok(()) };
    for control in distinct(controls) {
        match control {
            ControlChoice::Random => arms.extend(
                distinct(seeds)
                    .into_iter()
                    .map(|seed| Arm { variant: format!("random:{seed}"), spot: matched_random(&spot, seed) }),
            ),
            ControlChoice::Magnitude => arms.push(Arm {
                variant: "magnitude".to_owned(),
                spot: pollster::block_on(magnitude(&loaded.model, &spot))?,
            }),
            ControlChoice::MagnitudeMatched => arms.push(Arm {
                variant: "magnitude-matched".to_owned(),
                spot: pollster::block_on(matched_magnitude(&loaded.model, &spot))?,
            }),
        }
    }
    Ok(())
}
