//! Algebra of sets of parameters, exact, in memory proportional to the sets and not to the model.

use super::file::Spot;
use super::{Ranked, Scope};
use crate::checkpoint::Fingerprint;
use std::cmp::Ordering;
use std::ops::Range;

/// Why two sets were not put together.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// They belong to different weights.
    #[error(
        "{left} is of weights {} and {right} of weights {}; only sets of one model's parameters can be compared",
        left_fingerprint.short(), right_fingerprint.short()
    )]
    OtherWeights {
        /// Name of the one.
        left: String,
        /// Its weights.
        left_fingerprint: Fingerprint,
        /// Name of the other.
        right: String,
        /// Its weights.
        right_fingerprint: Fingerprint,
    },
    /// They were chosen among different parameters.
    #[error(
        "{left} has scope {} and {right} has scope {}; select both in one scope, or k means different numbers",
        left_scope.name(), right_scope.name()
    )]
    OtherScope {
        /// Name of the one.
        left: String,
        /// Its scope.
        left_scope: Scope,
        /// Name of the other.
        right: String,
        /// Its scope.
        right_scope: Scope,
    },
    /// Nothing is left.
    #[error("nothing is left of {left} ({left_len} parameters) {operation} {right} ({right_len} parameters)")]
    Empty {
        /// Name of the one.
        left: String,
        /// Its size.
        left_len: usize,
        /// `without`, `within` or `or`.
        operation: &'static str,
        /// Name of the other.
        right: String,
        /// Its size.
        right_len: usize,
    },
}

/// Checks that two spots can be put together: the same weights and the same scope.
///
/// # Errors
/// [`SetError`], naming both.
pub fn check_comparable(left: (&str, &Spot), right: (&str, &Spot)) -> Result<(), SetError> {
    let ((left, a), (right, b)) =
        ((left.0.to_owned(), left.1.header()), (right.0.to_owned(), right.1.header()));
    if a.fingerprint != b.fingerprint || a.tensors != b.tensors {
        let (left_fingerprint, right_fingerprint) = (a.fingerprint, b.fingerprint);
        return Err(SetError::OtherWeights { left, left_fingerprint, right, right_fingerprint });
    }
    if a.scope != b.scope {
        return Err(SetError::OtherScope { left, left_scope: a.scope, right, right_scope: b.scope });
    }
    Ok(())
}

/// A set of parameters of one model: by tensor of its layout, offsets ascending. 4 bytes each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterSet {
    by_tensor: Vec<Vec<u32>>,
}

impl ParameterSet {
    /// The parameters of ranks `ranks` of `spot`.
    ///
    /// # Panics
    /// When the spot has fewer ranks.
    pub fn of(spot: &Spot, ranks: Range<usize>) -> Self {
        let mut by_tensor = vec![Vec::new(); spot.header().tensors.len()];
        for (&tensor, &offset) in spot.tensor()[ranks.clone()].iter().zip(&spot.offset()[ranks]) {
            by_tensor[usize::from(tensor)].push(offset);
        }
        by_tensor.iter_mut().for_each(|offsets| offsets.sort_unstable());
        Self { by_tensor }
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.by_tensor.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_tensor.iter().all(Vec::is_empty)
    }

    /// Offsets in tensor `tensor`, ascending.
    pub fn offsets(&self, tensor: usize) -> &[u32] {
        self.by_tensor.get(tensor).map_or(&[], Vec::as_slice)
    }

    /// Whether the parameter at `offset` of `tensor` is in it.
    pub fn contains(&self, tensor: u16, offset: u32) -> bool {
        self.offsets(usize::from(tensor)).binary_search(&offset).is_ok()
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.merged(other, |_, _| true)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.merged(other, |here, there| here && there)
    }

    /// What is here and not there.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.merged(other, |here, there| here && !there)
    }

    /// By tensor of the layout, how many parameters both have.
    pub fn common(&self, other: &Self) -> Vec<u64> {
        let tensors = self.by_tensor.len().max(other.by_tensor.len());
        (0..tensors)
            .map(|tensor| {
                let mut count = 0;
                merge(self.offsets(tensor), other.offsets(tensor), |_, here, there| {
                    count += u64::from(here && there);
                });
                count
            })
            .collect()
    }

    fn merged(&self, other: &Self, keep: impl Fn(bool, bool) -> bool) -> Self {
        let tensors = self.by_tensor.len().max(other.by_tensor.len());
        let by_tensor = (0..tensors)
            .map(|tensor| {
                let mut kept = Vec::new();
                merge(self.offsets(tensor), other.offsets(tensor), |offset, here, there| {
                    if keep(here, there) {
                        kept.push(offset);
                    }
                });
                kept
            })
            .collect();
        Self { by_tensor }
    }
}

/// Walks two ascending lists: `visit(offset, in a, in b)`.
fn merge(a: &[u32], b: &[u32], mut visit: impl FnMut(u32, bool, bool)) {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.cmp(b),
        };
        let (here, there) = (order.is_le(), order.is_ge());
        let from_a = if here { a.next() } else { None };
        let from_b = if there { b.next() } else { None };
        if let Some(offset) = from_a.or(from_b) {
            visit(offset, here, there);
        }
    }
}

/// One side of an operation: a name for messages, a spot, and how much of it takes part.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// For messages and the result's header.
    pub name: &'a str,
    /// The ranking.
    pub spot: &'a Spot,
    /// Its first so many ranks.
    pub count: usize,
}

impl Operand<'_> {
    fn set(&self) -> ParameterSet {
        ParameterSet::of(self.spot, 0..self.count.min(self.spot.len()))
    }

    fn describe(&self) -> String {
        format!("{} ({} parameters)", self.name, self.count)
    }
}

/// What is in `left` and in none of `others`, in the order of `left` (Wei et al. 2024, "Assessing the
/// Brittleness of Safety Alignment via Pruning and Low-Rank Modifications", set difference).
///
/// # Errors
/// [`SetError`] when they can't be compared or nothing is left.
pub fn difference(left: Operand<'_>, others: &[Operand<'_>]) -> Result<Spot, SetError> {
    filtered(left, others, "without", |inside| !inside)
}

/// What is in `left` and in all of `others`, in the order of `left`.
///
/// # Errors
/// [`SetError`] when they can't be compared or nothing is left.
pub fn intersection(left: Operand<'_>, others: &[Operand<'_>]) -> Result<Spot, SetError> {
    filtered(left, others, "within", |inside| inside)
}

fn filtered(
    left: Operand<'_>,
    others: &[Operand<'_>],
    operation: &'static str,
    keep: impl Fn(bool) -> bool,
) -> Result<Spot, SetError> {
    let mut ranked: Vec<Ranked> = left.spot.ranked(0..left.count.min(left.spot.len())).collect();
    for other in others {
        check_comparable((left.name, left.spot), (other.name, other.spot))?;
        let set = other.set();
        ranked.retain(|entry| keep(set.contains(entry.tensor, entry.offset)));
        if ranked.is_empty() {
            return Err(SetError::Empty {
                left: left.name.to_owned(),
                left_len: left.count,
                operation,
                right: other.name.to_owned(),
                right_len: other.count,
            });
        }
    }
    let names: Vec<String> = others.iter().map(Operand::describe).collect();
    let derived = format!("{} {operation} {}", left.describe(), names.join(", "));
    Ok(left.spot.derive(derived, &ranked))
}

/// What is in any of `operands`: by its best rank in one, ties in the order of operands; scores are
/// those of the first operand that has it.
///
/// # Errors
/// [`SetError`] when they can't be compared or there is nothing in any.
///
/// # Panics
/// Without operands.
pub fn union(operands: &[Operand<'_>]) -> Result<Spot, SetError> {
    let (first, others) = operands.split_first().expect("a union has operands");
    for other in others {
        check_comparable((first.name, first.spot), (other.name, other.spot))?;
    }
    let mut seen = std::collections::HashSet::new();
    let mut ranked = Vec::new();
    let longest = operands.iter().map(|operand| operand.count.min(operand.spot.len())).max().unwrap_or(0);
    for rank in 0..longest {
        for operand in operands {
            if rank < operand.count.min(operand.spot.len())
                && let Some(entry) = operand.spot.ranked(rank..rank + 1).next()
                && seen.insert((entry.tensor, entry.offset))
            {
                ranked.push(entry);
            }
        }
    }
    if ranked.is_empty() {
        let (right, right_len) = others.first().map_or((first.name, 0), |other| (other.name, other.count));
        return Err(SetError::Empty {
            left: first.name.to_owned(),
            left_len: first.count,
            operation: "or",
            right: right.to_owned(),
            right_len,
        });
    }
    let names: Vec<String> = operands.iter().map(Operand::describe).collect();
    Ok(first.spot.derive(names.join(" or "), &ranked))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::config::LlamaConfig;
    use crate::layout::ParameterLayout;
    use crate::score::Estimator;
    use crate::spot::SpotHeader;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn layout() -> ParameterLayout {
        ParameterLayout::new(
            &LlamaConfig::from_json(
                r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
                "num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":8,"rms_norm_eps":1e-5}"#,
            )
            .unwrap(),
        )
    }

    fn spot(positions: &[u64]) -> Spot {
        let layout = layout();
        let fingerprint = "ab".repeat(32).parse().unwrap();
        let header = SpotHeader::new(&layout, fingerprint, Scope::All, 100.0, Estimator::Signed, vec![]);
        let ranked: Vec<Ranked> = positions
            .iter()
            .map(|&position| {
                let (tensor, offset) = layout.locate(position).unwrap();
                Ranked { score: 1.0, tensor: tensor as u16, offset: offset as u32 }
            })
            .collect();
        Spot::new(header, &ranked)
    }

    fn positions(spot: &Spot) -> Vec<u64> {
        let layout = layout();
        spot.ranked(0..spot.len())
            .map(|entry| layout.tensors()[usize::from(entry.tensor)].start + u64::from(entry.offset))
            .collect()
    }

    fn of(set: &ParameterSet) -> BTreeSet<u64> {
        let layout = layout();
        let tensors = layout.tensors().iter().enumerate();
        tensors
            .flat_map(|(tensor, spec)| {
                set.offsets(tensor).iter().map(move |&offset| spec.start + u64::from(offset))
            })
            .collect()
    }

    fn places() -> impl Strategy<Value = Vec<u64>> {
        let all: Vec<u64> = (0..layout().num_parameters()).collect();
        let most = all.len();
        proptest::sample::subsequence(all, 0..=most).prop_shuffle()
    }

    proptest! {
        #[test]
        fn operations_are_those_of_sets(a in places(), b in places()) {
            let (left, right) = (spot(&a), spot(&b));
            let (x, y) = (ParameterSet::of(&left, 0..a.len()), ParameterSet::of(&right, 0..b.len()));
            let (p, q): (BTreeSet<u64>, BTreeSet<u64>) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(of(&x.union(&y)), p.union(&q).copied().collect());
            prop_assert_eq!(of(&x.intersection(&y)), p.intersection(&q).copied().collect());
            prop_assert_eq!(of(&x.difference(&y)), p.difference(&q).copied().collect());
            // Identities.
            prop_assert_eq!(x.union(&y).len() + x.intersection(&y).len(), x.len() + y.len());
            prop_assert_eq!(x.difference(&y).union(&x.intersection(&y)), x.clone());
            prop_assert_eq!(x.common(&y).iter().sum::<u64>() as usize, x.intersection(&y).len());
            prop_assert!(x.difference(&x).is_empty());
            prop_assert_eq!(x.union(&x), x);
        }

        #[test]
        fn ranked_operations_keep_the_order_of_the_left(a in places(), b in places()) {
            let (left, right) = (spot(&a), spot(&b));
            let one = Operand { name: "a", spot: &left, count: a.len() };
            let other = Operand { name: "b", spot: &right, count: b.len() };
            let without: Vec<u64> = a.iter().copied().filter(|p| !b.contains(p)).collect();
            match difference(one, &[other]) {
                Ok(spot) => {
                    prop_assert_eq!(positions(&spot), without);
                    // All of it is a k of its own, and the file stands.
                    prop_assert_eq!(spot.prefix_len(spot.header().max_k).unwrap(), spot.len());
                    prop_assert_eq!(&Spot::from_bytes(&spot.to_bytes()).unwrap(), &spot);
                }
                Err(error) => {
                    prop_assert!(without.is_empty());
                    let text = error.to_string();
                    prop_assert!(b.is_empty() || (text.contains("of a (") && text.contains(" b (")), "{}", text);
                }
            }
            if let Ok(spot) = intersection(one, &[other]) {
                prop_assert_eq!(positions(&spot), a.iter().copied().filter(|p| b.contains(p)).collect::<Vec<_>>());
            }
            let Ok(joined) = union(&[one, other]) else {
                prop_assert!(a.is_empty() && b.is_empty());
                return Ok(());
            };
            let joined = positions(&joined);
            let all: BTreeSet<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(joined.iter().copied().collect::<BTreeSet<_>>(), all);
            let best = |p: &u64| a.iter().position(|x| x == p).into_iter().chain(b.iter().position(|x| x == p)).min();
            prop_assert!(joined.windows(2).all(|pair| best(&pair[0]) <= best(&pair[1])));
        }
    }

    #[test]
    fn sets_of_other_weights_or_scopes_are_refused_by_both_names() {
        let left = spot(&[1, 2]);
        let refused = |right: Spot| {
            let one = Operand { name: "code", spot: &left, count: 2 };
            let other = Operand { name: "english", spot: &right, count: 1 };
            let error = difference(one, &[other]).unwrap_err().to_string();
            assert!(error.contains("code") && error.contains("english"), "{error}");
            error
        };
        let with = |change: fn(&mut SpotHeader)| {
            let mut header = left.header().clone();
            change(&mut header);
            Spot::new(header, &left.ranked(0..1).collect::<Vec<_>>())
        };
        assert!(refused(with(|header| header.scope = Scope::NoNorm)).contains("scope no-norm"));
        assert!(
            refused(with(|header| header.fingerprint = "cd".repeat(32).parse().unwrap())).contains("cdcd")
        );
    }
}
