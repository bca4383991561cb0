//! Competition inside groups: the same share of every tensor, or of every row.

use super::{BadScore, Ranked, StreamingTop};
use crate::layout::TensorSpec;
use serde::{Deserialize, Serialize};

/// Who competes with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// One ranking over all tensors in scope.
    #[default]
    Global,
    /// The same share of every tensor.
    Tensor,
    /// The same share of every row (the weights that one output neuron reads; a norm's gain is one
    /// row).
    Row,
}

impl Group {
    /// Name as in commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Tensor => "tensor",
            Self::Row => "row",
        }
    }

    /// Parameters in one group of this tensor; 0 where groups are not its own.
    pub fn size(self, spec: &TensorSpec) -> u64 {
        match self {
            Self::Global => 0,
            Self::Tensor => spec.numel(),
            Self::Row => spec.shape.last().map_or(0, |&cols| cols as u64),
        }
    }
}

/// Groups of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSize {
    /// Parameters in each.
    pub size: u64,
    /// How many there are.
    pub count: u64,
}

/// The groups of `tensors`, by size; empty for [`Group::Global`].
pub fn group_sizes<'a>(tensors: impl IntoIterator<Item = &'a TensorSpec>, group: Group) -> Vec<GroupSize> {
    let mut sizes: Vec<GroupSize> = Vec::new();
    for spec in tensors {
        let size = group.size(spec);
        if size == 0 {
            continue;
        }
        let count = spec.numel() / size;
        match sizes.iter_mut().find(|known| known.size == size) {
            Some(known) => known.count += count,
            None => sizes.push(GroupSize { size, count }),
        }
    }
    sizes
}

/// A parameter with its place in its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupRanked {
    /// The parameter.
    pub entry: Ranked,
    /// Its rank in its group, from 0.
    pub rank: u64,
    /// Parameters of its group.
    pub size: u64,
}

impl GroupRanked {
    /// Order of a spot: by the k at which the parameter enters, ties by position. A parameter of rank
    /// r among n enters at k = 100 · (r + ½) / n, where `round(n·k/100)` becomes r + 1; so every
    /// prefix of a k has `round(n·k/100)` of every group.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        let cross = |a: &Self, b: &Self| u128::from(2 * a.rank + 1) * u128::from(b.size);
        let place = |entry: &Ranked| u64::from(entry.tensor) << 32 | u64::from(entry.offset);
        cross(self, other).cmp(&cross(other, self)).then(place(&self.entry).cmp(&place(&other.entry)))
    }
}

/// The highest `percent` of every whole group in `scores`, which are those of `tensor` from offset
/// `first` on; groups of `size` parameters.
///
/// # Errors
/// [`BadScore`] for a score that is not a finite number ≥ 0.
///
/// # Panics
/// If `size` is 0 or an offset doesn't fit 32 bits.
pub fn top_of_groups(
    tensor: u16,
    first: u32,
    scores: &[f32],
    size: u64,
    percent: f64,
) -> Result<Vec<GroupRanked>, BadScore> {
    let count = super::count_of(size, percent);
    let mut out = Vec::new();
    let step = usize::try_from(size).unwrap_or(usize::MAX);
    for (index, scores) in scores.chunks_exact(step).enumerate() {
        let start = index * step;
        let offset = first + u32::try_from(start).expect("offsets fit 32 bits");
        let ranked = if scores.len() <= SMALL {
            top_of_few(tensor, offset, scores, count)
        } else {
            let mut top = StreamingTop::new(count);
            top.add(tensor, offset, scores).map(|()| top.finish().0)
        };
        let ranked = ranked.map_err(|bad| BadScore { index: start + bad.index, ..bad })?;
        out.extend((0..).zip(ranked).map(|(rank, entry)| GroupRanked { entry, rank, size }));
    }
    Ok(out)
}

/// Groups up to this size are sorted: a histogram costs more.
const SMALL: usize = 1 << 16;

fn top_of_few(tensor: u16, first: u32, scores: &[f32], count: u64) -> Result<Vec<Ranked>, BadScore> {
    if let Some(index) = scores.iter().position(|score| !(0.0..=f32::MAX).contains(score)) {
        return Err(BadScore { index, score: scores[index] });
    }
    let entries = scores.iter().zip(first..=u32::MAX);
    let mut ranked: Vec<Ranked> =
        entries.map(|(&score, offset)| Ranked { score: score + 0.0, tensor, offset }).collect();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count < ranked.len() {
        ranked.select_nth_unstable_by(count, Ranked::rank);
        ranked.truncate(count);
    }
    ranked.sort_unstable_by(Ranked::rank);
    Ok(ranked)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_prefix_has_its_share_of_every_group(
            scores in proptest::collection::vec(prop_oneof![Just(0.5_f32), 0.0_f32..1.0], 60),
            k in 0.0_f64..60.0,
        ) {
            // Groups of 7 and of 20: two tensors of one row length each.
            let mut all = top_of_groups(0, 0, &scores[..40], 20, 60.0).unwrap();
            all.extend(top_of_groups(1, 0, &scores[40..54], 7, 60.0).unwrap());
            all.sort_by(GroupRanked::order);
            let sizes = [GroupSize { size: 20, count: 2 }, GroupSize { size: 7, count: 2 }];
            let len: u64 = sizes.iter().map(|g| g.count * crate::spot::count_of(g.size, k)).sum();
            for (tensor, size, groups) in [(0_u16, 20_u32, 2_u32), (1, 7, 2)] {
                for group in 0..groups {
                    let chosen: Vec<_> = all[..len as usize]
                        .iter()
                        .filter(|e| e.entry.tensor == tensor && e.entry.offset / size == group)
                        .collect();
                    prop_assert_eq!(chosen.len() as u64, crate::spot::count_of(u64::from(size), k));
                    let base = if tensor == 0 { 0 } else { 40 } + (group * size) as usize;
                    let lowest = chosen.iter().map(|e| e.entry.score).fold(f32::INFINITY, f32::min);
                    let higher = scores[base..base + size as usize].iter().filter(|s| **s > lowest).count();
                    prop_assert!(chosen.is_empty() || higher < chosen.len());
                }
            }
        }
    }

    #[test]
    fn large_groups_give_what_sorting_gives() {
        let scores: Vec<f32> =
            (0..SMALL as u32 + 5).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
        let large = top_of_groups(3, 0, &scores, scores.len() as u64, 2.0).unwrap();
        let few = top_of_few(3, 0, &scores, large.len() as u64).unwrap();
        assert_eq!(large.iter().map(|e| e.entry).collect::<Vec<_>>(), few);
        assert!(top_of_groups(0, 0, &[1.0, f32::NAN], 1, 100.0).is_err_and(|bad| bad.index == 1));
    }
}
