//! What is switched off, on the device.

use super::PackedLlama;
use super::place::Part;
use super::ranking::{Prefix, Ranking, RankingBuilder};
use crate::kernels::packed::{Codes, Compute};

/// Parameters of one part: their offsets in it, and the codes that they have when on.
#[derive(Debug)]
struct Segment<B> {
    part: usize,
    codes: Codes,
    offsets: B,
    originals: B,
    /// How many of them are off.
    off: usize,
}

/// A ranking on the device, whose first parameters can be switched off.
///
/// Originals stay beside it, so that switching back restores every bit. One mask at a time may have something off: the
/// originals of another are read when it is made.
#[derive(Debug)]
pub struct Mask<C: Compute> {
    prefix: Prefix,
    segments: Vec<Segment<C::Buffer>>,
    /// By part, its tensor.
    tensors: Vec<usize>,
    num_tensors: usize,
    count: u64,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskChange {
    /// How many are off now.
    pub count: u64,
    /// How many changed.
    pub changed: u64,
    /// How many are off in each tensor of the layout.
    pub by_tensor: Vec<u64>,
}

impl<C: Compute> Mask<C> {
    /// Uploads a ranking and notes the originals. Nothing may be off in `model`.
    pub fn new(model: &PackedLlama<C>, ranking: RankingBuilder) -> Self {
        let Ranking { offsets, prefix } = ranking.build();
        let compute = model.compute();
        let parts = &model.places.parts;
        let segments = offsets
            .into_iter()
            .enumerate()
            .filter(|(_, offsets)| !offsets.is_empty())
            .map(|(part, offsets)| {
                let Part { slot, encoding, base, .. } = parts[part];
                let codes = Codes { encoding, base, len: offsets.len() };
                let originals = compute.reserve(codes.len);
                let offsets = compute.upload(&offsets);
                compute.gather(model.words(slot), codes, &offsets, &originals);
                Segment { part, codes, offsets, originals, off: 0 }
            })
            .collect();
        compute.flush();
        Self {
            prefix,
            segments,
            tensors: parts.iter().map(|part| part.tensor).collect(),
            num_tensors: model.layout().tensors().len(),
            count: 0,
        }
    }

    /// How many parameters are ranked.
    pub fn len(&self) -> u64 {
        self.prefix.len()
    }

    /// Whether it ranks none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The counts that can be taken, ascending, or none where every one can.
    pub fn levels(&self) -> &[u64] {
        match &self.prefix {
            Prefix::Ranks(_) => &[],
            Prefix::Levels { counts, .. } => counts,
        }
    }

    /// How many are off.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Switches off exactly the first `count` of the ranking, or the nearest count that there is; only those between the
    /// count before and this one are touched. `model` is the one that the mask was made for.
    pub fn set(&mut self, model: &PackedLlama<C>, count: u64) -> MaskChange {
        let (count, wanted) = self.prefix.take(count, self.tensors.len());
        let mut change = MaskChange { count, changed: 0, by_tensor: vec![0; self.num_tensors] };
        let mut launched = 0;
        for segment in &mut self.segments {
            let wanted = wanted[segment.part];
            let range = segment.off.min(wanted)..segment.off.max(wanted);
            change.by_tensor[self.tensors[segment.part]] += wanted as u64;
            if range.is_empty() {
                continue;
            }
            change.changed += range.len() as u64;
            let words = model.words(model.places.parts[segment.part].slot);
            model.compute().toggle(words, segment.codes, &segment.offsets, &segment.originals, range);
            segment.off = wanted;
            launched += 1;
        }
        if launched > 0 {
            model.compute().flush();
        }
        self.count = count;
        change
    }
}
