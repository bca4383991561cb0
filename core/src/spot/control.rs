//! Controls that a spot is compared with.

use super::file::Spot;
use rand::{SeedableRng as _, seq::index};
use rand_chacha::ChaCha8Rng;

/// A random spot matched to `spot`: at every rank the same tensor, another offset drawn without
/// replacement. So every prefix has the same number of parameters in each tensor as the spot's, and
/// prefixes nest. Reproducible: `ChaCha8` seeded with `seed`, one stream a tensor.
///
/// Scores are 0; the header's `control` names the seed.
pub fn matched_random(spot: &Spot, seed: u64) -> Spot {
    let mut counts = vec![0_usize; spot.header().tensors.len()];
    for &tensor in spot.tensor() {
        counts[usize::from(tensor)] += 1;
    }
    let mut draws: Vec<_> = counts
        .iter()
        .zip(&spot.header().tensors)
        .enumerate()
        .map(|(stream, (&count, tensor))| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            let numel = usize::try_from(tensor.numel()).expect("a tensor that fits this machine");
            index::sample(&mut rng, numel, count).into_iter()
        })
        .collect();
    let offset = spot
        .tensor()
        .iter()
        .map(|&tensor| {
            let draw = draws[usize::from(tensor)].next().expect("one draw for each rank of the tensor");
            u32::try_from(draw).expect("offsets of a spot fit 32 bits")
        })
        .collect();
    let mut header = spot.header().clone();
    header.control = Some(format!("random:{seed}"));
    Spot::from_parts(header, spot.tensor().to_vec(), offset, vec![0.0; spot.len()])
}
