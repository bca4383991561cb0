//! Where a spot's parameters lie: by tensor, by row and column, by dimension of the residual stream.

use super::{Scope, Spot};
use crate::layout::{Module, ParameterLayout, TensorSpec};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How much of a spot lies in one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TensorCount {
    /// Index in the layout.
    pub tensor: usize,
    /// Parameters of the spot in it.
    pub count: u64,
    /// Parameters of the tensor.
    pub numel: u64,
    /// Parameters that it would have if the spot were spread evenly over its scope: the size of the
    /// spot times the tensor's share of the scope.
    pub expected: f64,
}

impl TensorCount {
    /// Observed over expected; `None` where nothing is expected.
    pub fn enrichment(&self) -> Option<f64> {
        (self.expected > 0.0).then(|| self.count as f64 / self.expected)
    }
}

/// Counts by tensor of the layout, those in scope only, in its order. Counts and expectations both add
/// up to the number of ranks.
///
/// # Panics
/// When the spot has fewer ranks, or belongs to another layout.
pub fn count_tensors(spot: &Spot, ranks: Range<usize>, layout: &ParameterLayout) -> Vec<TensorCount> {
    let total = ranks.len() as f64;
    let mut counts = vec![0_u64; layout.tensors().len()];
    for &tensor in &spot.tensor()[ranks] {
        counts[usize::from(tensor)] += 1;
    }
    let scope = spot.header().scope;
    let parameters = super::parameters_in_scope(layout, scope) as f64;
    let in_scope = layout.tensors().iter().zip(counts).enumerate();
    in_scope
        .filter(|(_, (spec, _))| scope.contains(spec.module))
        .map(|(tensor, (spec, count))| {
            let numel = spec.numel();
            TensorCount { tensor, count, numel, expected: total * numel as f64 / parameters }
        })
        .collect()
}

/// Lines of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lines {
    /// Rows: one output neuron, or one token of a vocabulary.
    Rows,
    /// Columns: one input neuron.
    Columns,
}

/// How many parameters of ranks `ranks` lie in each row or column of `tensor`; `None` for vectors.
///
/// # Panics
/// When the spot has fewer ranks, or belongs to another layout.
pub fn line_counts(
    spot: &Spot,
    ranks: Range<usize>,
    layout: &ParameterLayout,
    tensor: usize,
    lines: Lines,
) -> Option<Vec<u64>> {
    let &[rows, cols] = layout.tensors()[tensor].shape.as_slice() else { return None };
    let mut counts = vec![0_u64; if lines == Lines::Rows { rows } else { cols }];
    for (&found, &offset) in spot.tensor()[ranks.clone()].iter().zip(&spot.offset()[ranks]) {
        if usize::from(found) == tensor {
            let offset = offset as usize;
            counts[if lines == Lines::Rows { offset / cols } else { offset % cols }] += 1;
        }
    }
    Some(counts)
}

/// How many parameters of ranks `ranks` read from or write to each dimension of the residual stream,
/// `[hidden]`, and how many parameters in the spot's scope do so per dimension.
///
/// Columns of q, k, v, gate, up, of the embedding and of the head; rows of o and down; gains of norms.
///
/// # Panics
/// When the spot has fewer ranks, or belongs to another layout.
pub fn residual_counts(
    spot: &Spot,
    ranks: Range<usize>,
    layout: &ParameterLayout,
    hidden: usize,
) -> (Vec<u64>, u64) {
    let sides: Vec<Option<Side>> = layout.tensors().iter().map(|spec| side(spec, hidden)).collect();
    let mut counts = vec![0_u64; hidden];
    for (&tensor, &offset) in spot.tensor()[ranks.clone()].iter().zip(&spot.offset()[ranks]) {
        let spec = &layout.tensors()[usize::from(tensor)];
        let cols = spec.shape.last().copied().unwrap_or(1).max(1);
        let dimension = match sides[usize::from(tensor)] {
            Some(Side::Column) => offset as usize % cols,
            Some(Side::Row) => offset as usize / cols,
            None => continue,
        };
        if let Some(count) = counts.get_mut(dimension) {
            *count += 1;
        }
    }
    let scope: Scope = spot.header().scope;
    let touching: u64 = layout
        .tensors()
        .iter()
        .zip(&sides)
        .filter(|(spec, side)| side.is_some() && scope.contains(spec.module))
        .map(|(spec, _)| spec.numel())
        .sum();
    (counts, touching / hidden.max(1) as u64)
}

#[derive(Clone, Copy)]
enum Side {
    /// The last axis is the residual stream.
    Column,
    /// The first of two axes is.
    Row,
}

fn side(spec: &TensorSpec, hidden: usize) -> Option<Side> {
    match spec.module {
        Module::OProj | Module::DownProj => {
            (spec.shape.len() == 2 && spec.shape[0] == hidden).then_some(Side::Row)
        }
        // What they are added to is no residual stream, even where it is as wide.
        Module::QBias | Module::KBias | Module::VBias => None,
        _ => (spec.shape.last() == Some(&hidden)).then_some(Side::Column),
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::config::LlamaConfig;
    use crate::score::Estimator;
    use crate::spot::{Ranked, SpotHeader, matched_random, parameters_in_scope};
    use proptest::prelude::*;

    fn layout() -> ParameterLayout {
        ParameterLayout::new(
            &LlamaConfig::from_json(
                r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
                "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"max_position_embeddings":8,
                "rms_norm_eps":1e-5,"tie_word_embeddings":false}"#,
            )
            .unwrap(),
        )
    }

    fn any_spot() -> impl Strategy<Value = Spot> {
        let scopes = [Scope::All, Scope::NoNorm, Scope::NoEmbedding, Scope::Blocks];
        proptest::sample::select(scopes.to_vec()).prop_flat_map(|scope| {
            let layout = layout();
            let mut places = Vec::new();
            for (tensor, spec) in layout.tensors().iter().enumerate() {
                if scope.contains(spec.module) {
                    places.extend((0..spec.numel()).map(|offset| (tensor as u16, offset as u32)));
                }
            }
            let most = places.len();
            proptest::sample::subsequence(places, 1..=most).prop_shuffle().prop_map(move |places| {
                let header = SpotHeader::new(
                    &layout,
                    "ab".repeat(32).parse().unwrap(),
                    scope,
                    100.0,
                    Estimator::Signed,
                    vec![],
                );
                let entry = |&(tensor, offset): &(u16, u32)| Ranked { score: 1.0, tensor, offset };
                Spot::new(header, &places.iter().map(entry).collect::<Vec<_>>())
            })
        })
    }

    proptest! {
        #[test]
        fn counts_and_expectations_add_up(spot in any_spot(), cut in 0.0_f64..=1.0, seed: u64) {
            let layout = layout();
            let end = (spot.len() as f64 * cut) as usize;
            let cells = count_tensors(&spot, 0..end, &layout);
            prop_assert_eq!(cells.iter().map(|cell| cell.count).sum::<u64>(), end as u64);
            let expected: f64 = cells.iter().map(|cell| cell.expected).sum();
            prop_assert!((expected - end as f64).abs() < 1e-9 * (1.0 + end as f64));
            let sizes: u64 = cells.iter().map(|cell| cell.numel).sum();
            prop_assert_eq!(sizes, parameters_in_scope(&layout, spot.header().scope));
            // Enrichments average to 1 over the scope.
            let mean: f64 = cells.iter().map(|c| c.enrichment().unwrap_or(0.0) * c.numel as f64).sum();
            prop_assert!(end == 0 || (mean / sizes as f64 - 1.0).abs() < 1e-9);
            // A matched control has the same counts, at every prefix.
            let control = matched_random(&spot, seed);
            prop_assert_eq!(count_tensors(&control, 0..end, &layout), cells.clone());
            for cell in cells {
                for lines in [Lines::Rows, Lines::Columns] {
                    if let Some(counts) = line_counts(&spot, 0..end, &layout, cell.tensor, lines) {
                        prop_assert_eq!(counts.iter().sum::<u64>(), cell.count);
                        prop_assert_eq!(cell.numel % counts.len() as u64, 0);
                    }
                }
            }
        }

        #[test]
        fn everything_touches_the_residual_stream_evenly(spot in any_spot()) {
            let (counts, each) = residual_counts(&spot, 0..spot.len(), &layout(), 4);
            prop_assert!(counts.iter().all(|&count| count <= each));
            // Of the layout above every tensor touches it.
            prop_assert_eq!(counts.iter().sum::<u64>(), spot.len() as u64);
            prop_assert_eq!(4 * each, parameters_in_scope(&layout(), spot.header().scope));
        }
    }
}
