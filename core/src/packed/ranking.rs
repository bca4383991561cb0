//! Rankings, sorted by where their parameters lie.
//!
//! What is off is always a prefix of a ranking. Of each part of the model's buffers the prefix takes the first so many of
//! its parameters, so that moving from any count to any other touches one run of offsets a part.

use super::place::Places;
use super::{PackedError, PackedLlama};
use crate::kernels::packed::Compute;
use crate::spot::{Spot, SpotError, random_offsets};

/// How many of each part's parameters a count takes.
#[derive(Debug, Clone)]
pub(super) enum Prefix {
    /// Every count: the part of each rank.
    Ranks(Vec<u16>),
    /// Some counts, ascending, with the number of parameters of each part: `by_part[level * parts + part]`.
    Levels { counts: Vec<u64>, by_part: Vec<u32>, parts: usize },
}

impl Prefix {
    /// The number of parameters ranked.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Ranks(ranks) => ranks.len() as u64,
            Self::Levels { counts, .. } => counts.last().copied().unwrap_or(0),
        }
    }

    /// The count that is taken for `count` (the nearest there is), and how many of each part's parameters it takes.
    pub(super) fn take(&self, count: u64, parts: usize) -> (u64, Vec<usize>) {
        let mut taken = vec![0; parts];
        match self {
            Self::Ranks(ranks) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(ranks.len());
                for &part in &ranks[..count] {
                    taken[usize::from(part)] += 1;
                }
                (count as u64, taken)
            }
            Self::Levels { counts, by_part, parts } => {
                let nearest = counts.iter().enumerate().min_by_key(|(_, level)| level.abs_diff(count));
                match nearest {
                    Some((level, &found)) if found.abs_diff(count) <= count => {
                        for (taken, &of) in taken.iter_mut().zip(&by_part[level * parts..(level + 1) * parts])
                        {
                            *taken = of as usize;
                        }
                        (found, taken)
                    }
                    _ => (0, taken),
                }
            }
        }
    }
}

/// A ranking's offsets by part, and its prefixes.
#[derive(Debug, Clone)]
pub(super) struct Ranking {
    pub(super) offsets: Vec<Vec<u32>>,
    pub(super) prefix: Prefix,
}

/// A ranking while it is read.
#[derive(Debug)]
pub struct RankingBuilder {
    ranking: Ranking,
    /// By tensor, how many parameters came: what a control draws, in this order.
    by_tensor: Vec<Vec<u32>>,
}

impl RankingBuilder {
    /// The ranking of a spot, every count of which can be taken.
    ///
    /// # Errors
    /// [`SpotError::OtherLayout`] when a parameter lies outside the model (spots are checked before).
    pub fn ranks<C: Compute>(model: &PackedLlama<C>, spot: &Spot) -> Result<Self, PackedError> {
        let places = &model.places;
        let mut ranking =
            Ranking { offsets: vec![Vec::new(); places.parts.len()], prefix: Prefix::Ranks(Vec::new()) };
        let mut by_rank = Vec::with_capacity(spot.len());
        for (&tensor, &offset) in spot.tensor().iter().zip(spot.offset()) {
            by_rank.push(ranking.push(places, usize::from(tensor), offset)?);
        }
        ranking.prefix = Prefix::Ranks(by_rank);
        Ok(Self { ranking, by_tensor: Vec::new() })
    }

    /// A ranking of levels, whose parameters [`Self::push`] and [`Self::end_level`] give.
    pub fn levels<C: Compute>(model: &PackedLlama<C>) -> Self {
        let parts = model.places.parts.len();
        let prefix = Prefix::Levels { counts: Vec::new(), by_part: Vec::new(), parts };
        let tensors = model.layout().tensors().len();
        Self {
            ranking: Ranking { offsets: vec![Vec::new(); parts], prefix },
            by_tensor: vec![Vec::new(); tensors],
        }
    }

    /// Parameters of tensor `tensor` that the level in hand adds.
    ///
    /// # Errors
    /// [`SpotError::OtherLayout`] when one lies outside the tensor.
    pub fn push<C: Compute>(
        &mut self,
        model: &PackedLlama<C>,
        tensor: usize,
        offsets: &[u32],
    ) -> Result<(), PackedError> {
        for &offset in offsets {
            self.ranking.push(&model.places, tensor, offset)?;
        }
        Ok(())
    }

    /// Ends a level.
    pub fn end_level<C: Compute>(&mut self, model: &PackedLlama<C>) {
        let Self { ranking: Ranking { offsets, prefix }, by_tensor } = self;
        if let Prefix::Levels { counts, by_part, .. } = prefix {
            counts.push(offsets.iter().map(|offsets| offsets.len() as u64).sum());
            by_part.extend(offsets.iter().map(|offsets| u32::try_from(offsets.len()).unwrap_or(u32::MAX)));
            for (tensor, at) in by_tensor.iter_mut().enumerate() {
                let so_far: usize = model.places.of(tensor).map(|part| offsets[part].len()).sum();
                at.push(u32::try_from(so_far).unwrap_or(u32::MAX));
            }
        }
    }

    pub(super) fn build(self) -> Ranking {
        self.ranking
    }

    /// The random control that is matched to the ranking: the same number of parameters in each tensor at every count,
    /// the ones that [`crate::spot::matched_random`] draws for the same seed.
    ///
    /// # Errors
    /// None but of a layout that changed.
    pub fn matched_random<C: Compute>(&self, model: &PackedLlama<C>, seed: u64) -> Result<Self, PackedError> {
        let places = &model.places;
        let tensors = model.layout().tensors();
        let mut ranking =
            Ranking { offsets: vec![Vec::new(); places.parts.len()], prefix: self.ranking.prefix.clone() };
        match &self.ranking.prefix {
            Prefix::Ranks(ranks) => {
                let mut counts = vec![0_usize; tensors.len()];
                let tensor_of = |part: u16| places.parts[usize::from(part)].tensor;
                for &part in ranks {
                    counts[tensor_of(part)] += 1;
                }
                let mut draws: Vec<_> = counts
                    .iter()
                    .enumerate()
                    .map(|(tensor, &count)| {
                        random_offsets(seed, tensor, tensors[tensor].numel(), count).into_iter()
                    })
                    .collect();
                let mut by_rank = Vec::with_capacity(ranks.len());
                for &part in ranks {
                    let tensor = tensor_of(part);
                    let offset = draws[tensor].next().expect("one draw for each rank of the tensor");
                    by_rank.push(ranking.push(places, tensor, offset)?);
                }
                ranking.prefix = Prefix::Ranks(by_rank);
            }
            Prefix::Levels { counts, parts, .. } => {
                let mut by_part = vec![0_u32; counts.len() * parts];
                for (tensor, at) in self.by_tensor.iter().enumerate() {
                    let total = at.last().map_or(0, |&total| total as usize);
                    // A tensor at a time: what a draw remembers is large.
                    let draws = random_offsets(seed, tensor, tensors[tensor].numel(), total);
                    let mut drawn = 0;
                    for (level, &end) in at.iter().enumerate() {
                        for &offset in &draws[drawn..end as usize] {
                            ranking.push(places, tensor, offset)?;
                        }
                        drawn = end as usize;
                        for part in places.of(tensor) {
                            by_part[level * parts + part] =
                                u32::try_from(ranking.offsets[part].len()).unwrap_or(u32::MAX);
                        }
                    }
                }
                ranking.prefix = Prefix::Levels { counts: counts.clone(), by_part, parts: *parts };
            }
        }
        Ok(Self { ranking, by_tensor: self.by_tensor.clone() })
    }
}

impl Ranking {
    /// Adds a parameter, and says of which part it is.
    fn push(&mut self, places: &Places, tensor: usize, offset: u32) -> Result<u16, PackedError> {
        let (part, local) = places.locate(tensor, u64::from(offset)).ok_or_else(|| {
            PackedError::Spot(SpotError::OtherLayout {
                index: tensor,
                found: format!("offset {offset}"),
                expected: "an offset inside it".to_owned(),
            })
        })?;
        self.offsets[part].push(local);
        Ok(u16::try_from(part).expect("a model has fewer than 2^16 buffers"))
    }
}
