//! Controls that a spot is compared with: spots of as many parameters, chosen without its scores.

use super::file::Spot;
use super::{Ranked, StreamingTop, select};
use crate::llama::{ForwardError, Llama};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::vec::IntoIter;

/// A random spot matched to `spot`: at every rank the same tensor, another offset drawn without
/// replacement. So every prefix has the same number of parameters in each tensor as the spot's, and
/// prefixes nest. Reproducible: `ChaCha8` seeded with `seed`, one stream a tensor; what is drawn does
/// not depend on how many are drawn after it, so a longer spot's control begins with a shorter one's.
///
/// Scores are 0; the header's `control` names the seed.
pub fn matched_random(spot: &Spot, seed: u64) -> Spot {
    let draws = tensor_counts(spot)
        .into_iter()
        .zip(&spot.header().tensors)
        .enumerate()
        .map(|(stream, (count, tensor))| {
            random_offsets(seed, stream, tensor.numel(), count)
                .into_iter()
                .map(|offset| (offset, 0.0))
                .collect::<Vec<_>>()
                .into_iter()
        })
        .collect();
    matched(spot, draws, format!("random:{seed}"))
}

/// What [`matched_random`] draws in tensor `tensor` of `numel` parameters: `count` offsets in the order in which ranks take
/// them.
pub fn random_offsets(seed: u64, tensor: usize, numel: u64, count: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(tensor as u64);
    draw_offsets(&mut rng, numel, count)
}

/// `count` different numbers below `numel`, in the order in which they are drawn: the first steps of a
/// Fisher–Yates shuffle of all, of which only what was moved is remembered.
fn draw_offsets(rng: &mut ChaCha8Rng, numel: u64, count: usize) -> Vec<u32> {
    let mut moved: HashMap<u64, u64> = HashMap::with_capacity(count);
    (0..numel)
        .take(count)
        .map(|place| {
            let chosen = rng.random_range(place..numel);
            let here = moved.remove(&place).unwrap_or(place);
            let drawn = if chosen == place { here } else { moved.insert(chosen, here).unwrap_or(chosen) };
            u32::try_from(drawn).expect("offsets of a spot fit 32 bits")
        })
        .collect()
}

/// The largest weights of `spot`'s scope, as many: a ranking of its own by |θ|. A k means as many
/// parameters as the spot's. `model` must not be ablated. The header's `control` is `magnitude`.
///
/// # Errors
/// [`ForwardError::Device`] when the device fails.
pub async fn magnitude(model: &Llama, spot: &Spot) -> Result<Spot, ForwardError> {
    let mut top = StreamingTop::new(spot.len() as u64);
    for (index, spec) in select::in_scope(model.layout().tensors(), spot.header().scope) {
        let sizes = magnitudes(model, usize::from(index)).await?;
        debug_assert_eq!(sizes.len() as u64, spec.numel());
        top.add(index, 0, &sizes).map_err(|bad| {
            ForwardError::Device(format!(
                "{} has the weight {} at offset {}",
                spec.name, bad.score, bad.index
            ))
        })?;
    }
    let (ranked, _) = top.finish();
    let mut header = spot.header().clone();
    header.control = Some("magnitude".to_owned());
    Ok(Spot::new(header, &ranked))
}

/// The largest weights of the same tensors: at every rank the spot's tensor, and in it the next
/// smaller |θ|. Matched as [`matched_random`] is. `model` must not be ablated. The header's `control`
/// is `magnitude-matched`.
///
/// # Errors
/// [`ForwardError::Device`] when the device fails.
pub async fn matched_magnitude(model: &Llama, spot: &Spot) -> Result<Spot, ForwardError> {
    let mut draws = Vec::new();
    for (index, count) in tensor_counts(spot).into_iter().enumerate() {
        let mut top = StreamingTop::new(count as u64);
        if count > 0 {
            let tensor = u16::try_from(index).expect("a spot names tensors with 16 bits");
            top.add(tensor, 0, &magnitudes(model, index).await?).map_err(|bad| {
                ForwardError::Device(format!("tensor {index} has the weight {} at {}", bad.score, bad.index))
            })?;
        }
        let entries: Vec<(u32, f32)> =
            top.finish().0.into_iter().map(|Ranked { offset, score, .. }| (offset, score)).collect();
        draws.push(entries.into_iter());
    }
    Ok(matched(spot, draws, "magnitude-matched".to_owned()))
}

async fn magnitudes(model: &Llama, tensor: usize) -> Result<Vec<f32>, ForwardError> {
    let mut values = model.read_weight(tensor).await?;
    values.iter_mut().for_each(|value| *value = value.abs());
    Ok(values)
}

/// By tensor, how many parameters the spot has in it.
fn tensor_counts(spot: &Spot) -> Vec<usize> {
    let mut counts = vec![0_usize; spot.header().tensors.len()];
    for &tensor in spot.tensor() {
        counts[usize::from(tensor)] += 1;
    }
    counts
}

/// At every rank the spot's tensor, and the next `(offset, score)` of its draws.
fn matched(spot: &Spot, mut draws: Vec<IntoIter<(u32, f32)>>, control: String) -> Spot {
    let (offset, score) = spot
        .tensor()
        .iter()
        .map(|&tensor| draws[usize::from(tensor)].next().expect("one draw for each rank of the tensor"))
        .unzip();
    let mut header = spot.header().clone();
    header.control = Some(control);
    Spot::from_parts(header, spot.tensor().to_vec(), offset, score)
}
