//! Exact selection of the highest scores, in two streaming passes and without sorting them all.

use super::{Collector, ScoreHistogram, Threshold};
use crate::layout::{Module, ParameterLayout, TensorSpec};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Which tensors compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Every parameter.
    #[default]
    All,
    /// All but the gains of norms.
    NoNorm,
    /// All but the embedding and the output head.
    NoEmbedding,
    /// The matrices of the blocks' linear layers only: no biases, no norms, no embedding, no head.
    Blocks,
}

impl Scope {
    /// Whether tensors of this module are in it.
    pub fn contains(self, module: Module) -> bool {
        match self {
            Self::All => true,
            Self::NoNorm => !module.is_norm(),
            Self::NoEmbedding => !module.is_vocabulary(),
            Self::Blocks => !module.is_norm() && !module.is_bias() && !module.is_vocabulary(),
        }
    }

    /// Name as in commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NoNorm => "no-norm",
            Self::NoEmbedding => "no-embedding",
            Self::Blocks => "blocks",
        }
    }
}

/// Number of parameters that compete.
pub fn parameters_in_scope(layout: &ParameterLayout, scope: Scope) -> u64 {
    parameters_of(layout.tensors(), scope)
}

/// The same of any tensors.
pub fn parameters_of(tensors: &[TensorSpec], scope: Scope) -> u64 {
    tensors.iter().filter(|spec| scope.contains(spec.module)).map(TensorSpec::numel).sum()
}

/// One chosen parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Its score, ≥ 0.
    pub score: f32,
    /// Tensor index in the layout.
    pub tensor: u16,
    /// Offset in the tensor, row-major.
    pub offset: u32,
}

impl Ranked {
    /// Rank order: higher scores first, then lower positions.
    pub fn rank(&self, other: &Self) -> Ordering {
        let place = |entry: &Self| u64::from(entry.tensor) << 32 | u64::from(entry.offset);
        other.score.total_cmp(&self.score).then(place(self).cmp(&place(other)))
    }
}

/// Why nothing was selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError<E> {
    /// The scores could not be read.
    #[error(transparent)]
    Read(E),
    /// A score is negative, NaN or infinite.
    #[error("the score of {tensor} at offset {offset} is {score}; expected a finite number ≥ 0")]
    BadScore {
        /// Tensor name.
        tensor: String,
        /// Offset in elements.
        offset: u64,
        /// The score.
        score: f32,
    },
    /// A tensor's scores are fewer or more than its parameters.
    #[error("{tensor} has {found} scores, expected {expected}")]
    Length {
        /// Tensor name.
        tensor: String,
        /// Scores read.
        found: u64,
        /// Parameters of the tensor.
        expected: u64,
    },
    /// A spot can't name every parameter of a tensor.
    #[error(
        "{tensor} is tensor {index} with {numel} parameters; a spot names 65536 tensors of 4294967296 parameters at most"
    )]
    TooLarge {
        /// Tensor name.
        tensor: String,
        /// Index in the layout.
        index: usize,
        /// Its parameters.
        numel: u64,
    },
    /// The second reading differs from the first.
    #[error(
        "the scores changed while they were read: {found} are high enough, {expected} were; select again"
    )]
    Changed {
        /// Scores chosen.
        found: u64,
        /// Scores that the first reading counted.
        expected: u64,
    },
}

/// The `count` highest scores of the tensors in `scope`, in rank order: score descending, ties by
/// position.
///
/// `read(tensor, sink)` streams the scores of one tensor of the layout in order, in chunks of any
/// size; it is called twice for each tensor. Memory: 768 KiB of histogram, and a quarter more than
/// `count` entries, whatever the number of scores. For several threads, drive [`ScoreHistogram`] and
/// [`Collector`] directly.
///
/// # Errors
/// [`SelectError`] when reading fails, a score is not a finite number ≥ 0, lengths disagree, or the
/// two readings do.
pub fn select_top<E>(
    layout: &ParameterLayout,
    scope: Scope,
    count: u64,
    mut read: impl FnMut(usize, &mut dyn FnMut(&[f32])) -> Result<(), E>,
) -> Result<Vec<Ranked>, SelectError<E>> {
    let competing = competing(layout.tensors(), scope)?;
    let mut histogram = ScoreHistogram::new();
    for &(index, spec) in &competing {
        let mut seen = 0_u64;
        let mut bad = None;
        read(usize::from(index), &mut |scores| {
            if bad.is_none() {
                bad = histogram.add(scores).err().map(|bad| (seen + bad.index as u64, bad.score));
            }
            seen += scores.len() as u64;
        })
        .map_err(SelectError::Read)?;
        if let Some((offset, score)) = bad {
            return Err(SelectError::BadScore { tensor: spec.name.clone(), offset, score });
        }
        check_length(spec, seen)?;
    }
    let threshold = histogram.threshold(count);
    drop(histogram);

    let mut collector = Collector::new(threshold);
    for &(index, spec) in &competing {
        let mut seen = 0_u64;
        read(usize::from(index), &mut |scores| {
            // A length that changed is found below; meanwhile no offset may leave the tensor.
            let rest = usize::try_from(spec.numel().saturating_sub(seen)).unwrap_or(usize::MAX);
            if let Ok(first) = u32::try_from(seen) {
                collector.add(index, first, &scores[..scores.len().min(rest)]);
            }
            seen += scores.len() as u64;
        })
        .map_err(SelectError::Read)?;
        check_length(spec, seen)?;
    }
    let ranked = collector.finish();
    check_count(ranked.len(), threshold)?;
    Ok(ranked)
}

/// The tensors of `tensors` in `scope`, with the indices that a spot has room for.
pub(super) fn in_scope(tensors: &[TensorSpec], scope: Scope) -> impl Iterator<Item = (u16, &TensorSpec)> {
    (0..=u16::MAX).zip(tensors).filter(move |(_, spec)| scope.contains(spec.module))
}

/// The tensors of `tensors` that compete in `scope`, with their indices.
///
/// # Errors
/// [`SelectError::TooLarge`] when a tensor index or an offset would not fit a spot.
pub fn competing<E>(tensors: &[TensorSpec], scope: Scope) -> Result<Vec<(u16, &TensorSpec)>, SelectError<E>> {
    tensors
        .iter()
        .enumerate()
        .filter(|(_, spec)| scope.contains(spec.module))
        .map(|(index, spec)| match u16::try_from(index) {
            Ok(index) if spec.numel() <= 1 << 32 => Ok((index, spec)),
            _ => Err(SelectError::TooLarge { tensor: spec.name.clone(), index, numel: spec.numel() }),
        })
        .collect()
}

/// # Errors
/// [`SelectError::Length`] unless `found` is the number of parameters of `spec`.
fn check_length<E>(spec: &TensorSpec, found: u64) -> Result<(), SelectError<E>> {
    if found == spec.numel() {
        return Ok(());
    }
    Err(SelectError::Length { tensor: spec.name.clone(), found, expected: spec.numel() })
}

/// Checks that the second reading gave what the first one counted.
///
/// # Errors
/// [`SelectError::Changed`] if it did not.
pub fn check_count<E>(found: usize, threshold: Threshold) -> Result<(), SelectError<E>> {
    let expected = threshold.count();
    if found as u64 == expected {
        Ok(())
    } else {
        Err(SelectError::Changed { found: found as u64, expected })
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::config::LlamaConfig;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn layout() -> ParameterLayout {
        ParameterLayout::new(
            &LlamaConfig::from_json(
                r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
                "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
                "max_position_embeddings":8,"rms_norm_eps":1e-5,"tie_word_embeddings":false}"#,
            )
            .unwrap(),
        )
    }

    fn split(layout: &ParameterLayout, flat: &[f32]) -> Vec<Vec<f32>> {
        layout
            .tensors()
            .iter()
            .map(|t| flat[t.start as usize..(t.start + t.numel()) as usize].to_vec())
            .collect()
    }

    fn select(flat: &[f32], scope: Scope, count: u64, chunk: usize) -> Vec<Ranked> {
        let layout = layout();
        let scores = split(&layout, flat);
        select_top(&layout, scope, count, |tensor, sink| {
            scores[tensor].chunks(chunk).for_each(sink);
            Ok::<_, Infallible>(())
        })
        .unwrap()
    }

    /// The definition: sort everything.
    fn reference(flat: &[f32], scope: Scope, count: u64) -> Vec<Ranked> {
        let layout = layout();
        let mut all: Vec<Ranked> = layout
            .tensors()
            .iter()
            .enumerate()
            .filter(|(_, t)| scope.contains(t.module))
            .flat_map(|(index, t)| {
                (0..t.numel()).map(move |offset| Ranked {
                    score: flat[(t.start + offset) as usize],
                    tensor: index as u16,
                    offset: offset as u32,
                })
            })
            .collect();
        all.sort_by(|a, b| {
            b.score.partial_cmp(&a.score).unwrap().then((a.tensor, a.offset).cmp(&(b.tensor, b.offset)))
        });
        all.truncate(count as usize);
        all
    }

    fn scores() -> impl Strategy<Value = Vec<f32>> {
        let n = layout().num_parameters() as usize;
        // Few distinct values and near neighbours: ties and full buckets are the hard cases.
        let score = prop_oneof![
            Just(0.0_f32),
            Just(1.0_f32),
            (0_u32..4).prop_map(|ulp| f32::from_bits(1.0_f32.to_bits() + ulp)),
            0.0_f32..1e-30,
            0.0_f32..10.0,
        ];
        proptest::collection::vec(score, n)
    }

    proptest! {
        #[test]
        fn equals_sorting_everything(flat in scores(), fraction in 0.0_f64..=1.0, chunk in 1_usize..40,
                                     scope in prop_oneof![Just(Scope::All), Just(Scope::NoNorm),
                                                          Just(Scope::NoEmbedding), Just(Scope::Blocks)]) {
            let count = (parameters_in_scope(&layout(), scope) as f64 * fraction) as u64;
            prop_assert_eq!(select(&flat, scope, count, chunk), reference(&flat, scope, count));
        }

        #[test]
        fn smaller_spots_are_prefixes(flat in scores(), small in 0_u64..60, more in 0_u64..60) {
            let large = select(&flat, Scope::All, small + more, 7);
            prop_assert_eq!(&select(&flat, Scope::All, small, 13)[..], &large[..small as usize]);
        }
    }

    #[test]
    fn all_tied_takes_the_lowest_positions() {
        let flat = vec![0.5; layout().num_parameters() as usize];
        let chosen = select(&flat, Scope::All, 30, 1000);
        let positions: Vec<u64> = chosen
            .iter()
            .map(|r| layout().tensors()[r.tensor as usize].start + u64::from(r.offset))
            .collect();
        assert_eq!(positions, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_score_is_named() {
        let layout = layout();
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            let mut flat = vec![0.5; layout.num_parameters() as usize];
            flat[layout.tensors()[3].start as usize + 2] = bad;
            let scores = split(&layout, &flat);
            let error = select_top(&layout, Scope::All, 3, |tensor, sink| {
                sink(&scores[tensor]);
                Ok::<_, Infallible>(())
            })
            .unwrap_err();
            assert!(error.to_string().contains("v_proj.weight at offset 2"), "{error}");
        }
    }

    #[test]
    fn missing_scores_are_refused() {
        let error = select_top(&layout(), Scope::All, 1, |_, sink| {
            sink(&[1.0]);
            Ok::<_, Infallible>(())
        });
        assert!(matches!(error, Err(SelectError::Length { .. })));
    }
}
